"""The network's step, captured once as a CUDA graph for each kind of call and replayed from then on.

A step launches more than a thousand small kernels, and the host often takes longer to launch them than the GPU to run
them. A CUDA graph launches all of them with one call. It reads and writes fixed memory, so inputs are copied in before
each replay and results are copied out after it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from ttt3r_ros.model.layers import Rotary
from ttt3r_ros.model.network import DEFAULT_OUTPUTS, Network, Prediction, State
from ttt3r_ros.model.update import Ttt3r, UpdateRule
from ttt3r_ros.runtime.tensor_tree import cloned, copy_into, layout, mapped

Step = tuple[Prediction, State]

#: Captures a function whose inputs stay at their addresses. Returns its result tensors, not yet filled, and a function
#: that reads the inputs again and fills them. Raises `CaptureError` where that is impossible.
Capture = Callable[[Callable[[], Step]], tuple[Step, Callable[[], None]]]

#: Graphs kept. A stream of one image size needs four (a segment's first frame and later ones, with and without points),
#: and six under FILT3R.
MAX_GRAPHS = 8


class CaptureError(RuntimeError):
    """A function cannot be captured; the message says why."""


class CapturedStep:
    """`Network.step` without gradients, and just as pure: no step changes what an earlier one has returned.

    If a step cannot be captured, it and all later ones run the plain network instead. The network must not change.
    Not thread-safe.
    """

    def __init__(
        self,
        network: Network,
        capture: Capture,
        warn: Callable[[str], object],
        *,
        max_graphs: int = MAX_GRAPHS,
    ) -> None:
        """Prepare; the first calls of `step` capture the graphs.

        Args:
            network: on its device, in its precision.
            capture: how to capture.
            warn: called with one sentence, at most once, when steps cannot be captured.
            max_graphs: graphs kept; the least recently used one is dropped first.
        """
        self._network, self._warn, self._max_graphs = network, warn, max_graphs
        self._capture: Capture | None = capture
        self._graphs: dict[Hashable, _CapturedGraph] = {}

    @torch.inference_mode()
    def step(
        self,
        image: Tensor,
        state: State | None,
        *,
        rule: UpdateRule | None = None,
        outputs: Set[str] = DEFAULT_OUTPUTS,
    ) -> Step:
        """Process one frame, see `Network.step`.

        Raises:
            ValueError: the network does not take this image shape or has no such output.
            torch.cuda.OutOfMemoryError: even the plain step needs more memory than there is.
        """
        rule = Ttt3r() if rule is None else rule
        key = layout((image, state)), rule, frozenset(outputs)
        graph = self._graphs.pop(key, None) or self._captured(image, state, rule, outputs)
        if graph is None:
            return self._network.step(image, state, rule=rule, outputs=outputs)
        self._graphs[key] = graph  # most recently used last
        if len(self._graphs) > self._max_graphs:
            del self._graphs[next(iter(self._graphs))]
        return graph.replayed(image, state)

    def _captured(
        self, image: Tensor, state: State | None, rule: UpdateRule, outputs: Set[str]
    ) -> _CapturedGraph | None:
        if self._capture is None:
            return None
        inputs = mapped((image, state), Tensor.clone)
        try:
            results, replay = self._capture(lambda: self._network.step(*inputs, rule=rule, outputs=outputs))
        except (CaptureError, torch.cuda.OutOfMemoryError) as error:
            self._capture = None
            self._graphs.clear()  # the plain step may need their memory
            reason = " ".join(str(error).split())[:300]
            self._warn(f"the network's step cannot be captured as a CUDA graph and runs without one, slower ({reason})")
            return None
        return _CapturedGraph(inputs, results, replay, self._network.rotary.made)


@dataclass(frozen=True)
class _CapturedGraph:
    """A captured step.

    Attributes:
        inputs: the tensors it reads image and state from.
        results: the tensors it writes to.
        replay: runs it.
        tables: rotary tables that it reads, kept alive because the network may drop them.
    """

    inputs: tuple[Tensor, State | None]
    results: Step
    replay: Callable[[], None]
    tables: tuple[Rotary, ...]

    def replayed(self, image: Tensor, state: State | None) -> Step:
        copy_into(self.inputs, (image, state))
        self.replay()
        return cloned(self.results)
