"""Recording work as a CUDA graph, in the order of steps that torch's documentation asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from ttt3r_ros.runtime.captured import CaptureError

Result = TypeVar("Result")

#: Runs before a recording: libraries set themselves up, and tables are made that no recording may make.
WARM_UP_RUNS = 3


class CudaCapture:
    """Records functions of tensors on one device; all recordings share the memory they work in.

    That is safe while they are replayed one after the other on one stream, and results are copied before the next one.
    """

    def __init__(self, device: torch.device) -> None:
        # the same stream for warm-up and recording: libraries keep a workspace for each stream
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._latest: torch.cuda.CUDAGraph | None = None

    def __call__(self, run: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
        """Record a function.

        Args:
            run: called a few times, each time with the same tensors as inputs.

        Returns:
            Its results, which hold nothing of use yet, and what repeats the work on its inputs and into its results.

        Raises:
            CaptureError: something in it cannot be recorded.
            torch.cuda.OutOfMemoryError: the device's memory is too small.
        """
        stream, current = self._stream, torch.cuda.current_stream(self._stream.device)
        stream.wait_stream(current)
        try:
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP_RUNS):
                    run()
        finally:
            current.wait_stream(stream)  # for tables made there, even if what followed them failed

        graph = torch.cuda.CUDAGraph()
        pool = None if self._latest is None else self._latest.pool()
        try:
            # the outer block comes back from the stream even where a failed recording does not
            with (
                torch.cuda.stream(stream),
                torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"),
            ):
                results = run()
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            first = error.__context__ or error  # ending a recording that failed fails as well
            raise CaptureError(str(first).partition("\n")[0]) from error
        self._latest = graph  # whose pool stays valid while it lives
        return results, graph.replay
