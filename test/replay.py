"""Stands in for a CUDA graph where there is no GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ttt3r_ros.runtime.captured import Step
from ttt3r_ros.runtime.tensor_tree import cloned, copy_into, tensors


class Rerun:
    """Records a function by remembering it; to replay it is to run it again and to write into the same results.

    As with graphs that share memory, results hold nothing of use before the first replay, and are spoiled by that of
    any other recording.
    """

    def __init__(self) -> None:
        self.recorded = self.replayed = 0
        self._results: list[Step] = []

    def __call__(self, run: Callable[[], Step]) -> tuple[Step, Callable[[], None]]:
        self.recorded += 1
        results = cloned(run())
        self._results.append(results)
        self._spoil()

        def replay() -> None:
            self.replayed += 1
            self._spoil()
            copy_into(results, run())

        return results, replay

    def _spoil(self) -> None:
        for results in self._results:
            for tensor in tensors(results):
                tensor.fill_(torch.nan)
