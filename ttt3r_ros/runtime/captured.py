"""The network's step recorded once for every kind of call, and replayed from then on.

On a GPU a step is more than a thousand small pieces of work, and a host that launches them one by one is often slower
than the GPU that does them. A CUDA graph launches all with one call. What it reads and writes lies at fixed places, so
that inputs are copied there before it runs and results from there afterwards.
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

#: Records a function whose inputs stay where they are. Returns its results, which hold nothing of use yet, and what
#: reads the inputs anew and writes the same results. Raises `CaptureError` where that is impossible.
Capture = Callable[[Callable[[], Step]], tuple[Step, Callable[[], None]]]

#: Recordings kept. A stream of one image size needs four (a segment's first frame and later ones, with and without
#: points), under FILT3R six.
MOST_RECORDINGS = 8


class CaptureError(RuntimeError):
    """Work cannot be recorded; the message says why."""


class CapturedStep:
    """`Network.step` without gradients, and as pure: no later step changes what an earlier one has returned.

    Where a step cannot be recorded, that one and all later ones are computed as the network does by itself.
    The network must stay as it is. Not safe for use from several threads at once.
    """

    def __init__(
        self,
        network: Network,
        capture: Capture,
        warn: Callable[[str], object],
        *,
        most: int = MOST_RECORDINGS,
    ) -> None:
        """Record nothing yet.

        Args:
            network: on its device, in its precision.
            capture: how to record.
            warn: is told in a sentence, at most once, that steps are not recorded.
            most: recordings kept; the one that has not been used for longest goes first.
        """
        self._network, self._warn, self._most = network, warn, most
        self._capture: Capture | None = capture
        self._recordings: dict[Hashable, _Recording] = {}

    @torch.inference_mode()
    def step(
        self,
        image: Tensor,
        state: State | None,
        *,
        rule: UpdateRule | None = None,
        outputs: Set[str] = DEFAULT_OUTPUTS,
    ) -> Step:
        """Read one frame, see `Network.step`.

        Raises:
            ValueError: the image's shape or a requested output is impossible.
            torch.cuda.OutOfMemoryError: the plain step, too, needs more memory than there is.
        """
        rule = Ttt3r() if rule is None else rule
        key = layout((image, state)), rule, frozenset(outputs)
        recording = self._recordings.pop(key, None) or self._record(image, state, rule, outputs)
        if recording is None:
            return self._network.step(image, state, rule=rule, outputs=outputs)
        self._recordings[key] = recording  # the latest is the last
        if len(self._recordings) > self._most:
            del self._recordings[next(iter(self._recordings))]
        return recording.replayed(image, state)

    def _record(self, image: Tensor, state: State | None, rule: UpdateRule, outputs: Set[str]) -> _Recording | None:
        if self._capture is None:
            return None
        inputs = mapped((image, state), Tensor.clone)
        try:
            results, replay = self._capture(lambda: self._network.step(*inputs, rule=rule, outputs=outputs))
        except (CaptureError, torch.cuda.OutOfMemoryError) as error:
            self._capture = None
            self._recordings.clear()  # their memory is what a plain step may need now
            reason = " ".join(str(error).split())[:300]
            self._warn(f"the network's step cannot be recorded as a CUDA graph and runs without, slower ({reason})")
            return None
        return _Recording(inputs, results, replay, self._network.rotary.made)


@dataclass(frozen=True)
class _Recording:
    """A recorded step.

    Attributes:
        inputs: where it reads image and state.
        results: where it writes.
        replay: does the work.
        tables: that it reads too, kept because the network may let go of them.
    """

    inputs: tuple[Tensor, State | None]
    results: Step
    replay: Callable[[], None]
    tables: tuple[Rotary, ...]

    def replayed(self, image: Tensor, state: State | None) -> Step:
        copy_into(self.inputs, (image, state))
        self.replay()
        return cloned(self.results)
