"""A network's step, plain, captured and compiled, in turns with its slow reference."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmark.gpu.clock import figures, in_turns, spread, timed
from benchmark.gpu.findings import Findings
from benchmark.gpu.memory import peak, reset_peak
from benchmark.gpu.networks import NAIVE, blocks_of, capture_for, reference_work, refuse
from benchmark.gpu.setting import Setting
from benchmark.stages import stages_of
from ttt3r_ros.model import Network, State
from ttt3r_ros.model.network import Prediction
from ttt3r_ros.runtime.captured import CapturedStep
from ttt3r_ros.stream.backbone import dtype_of
from ttt3r_ros.weights.rule import rule_image

Step = Callable[[Tensor, State | None], tuple[Prediction, State]]

#: Of a run's time for one precision, what goes into timing whole steps and stages.
_SHARE = 0.4
_FRAMES = 4


class StepBench:
    """Measures one network's step at one image size."""

    def __init__(
        self, make: Callable[[], Network], size: tuple[int, int], setting: Setting, findings: Findings
    ) -> None:
        """Take what is measured: `make` returns a new float32 network on the device, each time the same one."""
        self._make, self._size, self._setting, self._findings = make, size, setting, findings
        self._device = setting.torch_device

    def measure(self, seconds: float, *, compiled: bool = True) -> None:
        """Measure every precision, then, if wanted, what a compiler adds.

        Args:
            seconds: that all of it may take; what is late goes by fewer rounds, down to a few.
            compiled: whether to compile.
        """
        width, height = self._size
        each = seconds / (len(self._setting.precisions) + 1.5)
        for precision in self._setting.precisions:
            name = f"{width}x{height} {precision}"
            self._findings.attempt(name, self._eager, precision, each)
        if not compiled:
            return
        fastest = "bfloat16" if "bfloat16" in self._setting.precisions else self._setting.precisions[-1]
        self._findings.attempt(f"{width}x{height} {fastest}, compiled", self._compiled, fastest, each)

    @torch.inference_mode()
    def _eager(self, precision: str, seconds: float) -> None:
        network, images = self._network(precision), self._images()
        captured = CapturedStep(network, capture_for(self._device), refuse)
        steps: dict[str, Step] = {"plain": network.step, "captured": captured.step}
        rows: dict[str, dict[str, Any]] = {}
        for name, step in steps.items():
            rows[name], state = self._first_steps(step, images)
        variants = {name: _again(step, images, state) for name, step in steps.items()}
        self._time(f"{precision}", rows, variants, images, seconds * _SHARE)
        self._stages(precision, network, images[0], state, seconds * _SHARE)

    @torch.inference_mode()
    def _compiled(self, precision: str, seconds: float) -> None:
        network, compiled, images = self._network(precision), self._network(precision), self._images()
        import torch._dynamo  # takes a second, and is nobody else's business

        torch._dynamo.reset()
        for block in blocks_of(compiled):
            block.compile(dynamic=False, backend=self._setting.compiler)
        begun = time.perf_counter()
        row, _ = self._first_steps(compiled.step, images)
        row["compiling [s]"] = time.perf_counter() - begun
        breaks = torch._dynamo.utils.counters["graph_break"]
        row["graph breaks"] = "; ".join(f"{count}: {why[:200]}" for why, count in breaks.items()) or "none"
        rows: dict[str, dict[str, Any]] = {"compiled": row}
        recorded = CapturedStep(compiled, capture_for(self._device), refuse)
        rows["compiled, captured"], _ = self._first_steps(recorded.step, images)
        captured = CapturedStep(network, capture_for(self._device), refuse)
        rows["captured"], state = self._first_steps(captured.step, images)
        steps = {"captured": captured.step, "compiled": compiled.step, "compiled, captured": recorded.step}
        variants = {name: _again(step, images, state) for name, step in steps.items()}
        self._time(f"{precision}, compiled", rows, variants, images, seconds * _SHARE)

    def _time(
        self,
        title: str,
        rows: dict[str, dict[str, Any]],
        variants: dict[str, Callable[[], object]],
        images: list[Tensor],
        seconds: float,
    ) -> None:
        """Time variants in turns with the reference, and add their table."""
        reference = reference_work(self._make, images)
        work = {**variants, NAIVE: reference[0]} if reference else variants
        samples = in_turns(work, self._device, rounds=self._setting.rounds, seconds=seconds)
        for name in variants:
            found = rows[name].pop("found")
            rows[name].update(figures(samples[name], samples.get(NAIVE)))
            if reference:
                rows[name]["pose, to naive's"] = _difference(found.translation[0], reference[1]["translation"])
                rows[name]["confidence, to naive's"] = _difference(found.confidence[0], reference[1]["confidence"])
        rows[NAIVE] = figures(samples[NAIVE]) if reference else {"ms": "does not fit beside it"}
        width, height = self._size
        self._findings.add(f"{width}x{height}, {title}", rows)

    def _stages(self, precision: str, network: Network, image: Tensor, state: State, seconds: float) -> None:
        plain = stages_of(network, image, state)
        capture = capture_for(self._device)
        captured = {name: capture(work)[1] for name, work in plain.items()}  # type: ignore[arg-type]  # whatever a stage returns
        rows: dict[str, dict[str, Any]] = {name: {} for name in plain}
        for kind, work in (("plain [ms]", plain), ("captured [ms]", captured)):
            for each in work.values():
                timed(each, self._device)
            found = in_turns(work, self._device, rounds=self._setting.rounds, seconds=seconds / 2)
            for name, samples in found.items():
                rows[name][kind] = spread([sample.wall for sample in samples])
        width, height = self._size
        self._findings.add(f"{width}x{height}, {precision}, by stage", rows)

    def _network(self, precision: str) -> Network:
        return self._make().drop_world_and_color().set_precision(dtype_of(precision))

    def _images(self) -> list[Tensor]:
        width, height = self._size
        return [rule_image(index, height, width)[None].to(self._device) for index in range(_FRAMES)]

    def _first_steps(self, step: Step, images: list[Tensor]) -> tuple[dict[str, Any], State]:
        """Warm a variant up; return its peak memory with what it says of the second frame, and the state after it."""
        reset_peak(self._device)
        _, first = step(images[0], None)
        prediction, state = step(images[1], first)
        for image in images:
            step(image, state)
        return {**peak(self._device), "found": prediction}, state


def _again(step: Step, images: list[Tensor], state: State) -> Callable[[], object]:
    return lambda: step(images[2], state)


def _difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, of the largest value."""
    return float((found.float() - expected).abs().max() / expected.abs().max())
