"""Capturing functions as CUDA graphs, in the steps that torch's documentation prescribes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from ttt3r_ros.runtime.captured import CaptureError

Result = TypeVar("Result")

#: Runs before a capture: libraries initialize themselves, and the rotary tables are computed, which a capture must not.
WARM_UP_RUNS = 3


class CudaCapture:
    """Captures functions of tensors on one device; all graphs share one memory pool.

    This is safe if they replay one after another on one stream and each result is copied before the next replay.
    """

    def __init__(self, device: torch.device) -> None:
        # one stream for warm-up and capture, since libraries keep a workspace per stream
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._latest: torch.cuda.CUDAGraph | None = None

    def __call__(self, run: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
        """Capture a function.

        Args:
            run: called a few times; it must read the same input tensors each time.

        Returns:
            Its result tensors, not yet filled, and a function that replays the work from the inputs into the results.

        Raises:
            CaptureError: some operation in it cannot be captured.
            torch.cuda.OutOfMemoryError: the device's memory is too small.
        """
        stream, current = self._stream, torch.cuda.current_stream(self._stream.device)
        stream.wait_stream(current)
        try:
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP_RUNS):
                    run()
        finally:
            current.wait_stream(stream)  # for tables computed there, even if a later operation failed

        graph = torch.cuda.CUDAGraph()
        pool = None if self._latest is None else self._latest.pool()
        try:
            # the outer block restores the current stream even if a failed capture does not
            with (
                torch.cuda.stream(stream),
                torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"),
            ):
                results = run()
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            first = error.__context__ or error  # ending a failed capture raises a second error
            raise CaptureError(str(first).partition("\n")[0]) from error
        self._latest = graph  # its pool stays valid as long as it lives
        return results, graph.replay
