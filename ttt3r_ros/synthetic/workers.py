"""Threads that each run whole jobs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import TracebackType
from typing import TypeVar

import torch

Result = TypeVar("Result")


class Workers:
    """As many threads as torch would use, each of which runs torch's operations on itself alone.

    Left to itself, torch splits every operation over its threads, which wait for each other a thousand times a frame;
    as soon as anything else runs on the machine, most of the time goes into waiting. Threads with jobs of their own
    wait once.
    """

    def __init__(self, threaded: bool) -> None:
        """With ``threaded`` False (work that a GPU does) jobs run in the caller's thread."""
        self.count = torch.get_num_threads() if threaded else 1
        self._pool: ThreadPoolExecutor | None = None
        if self.count > 1:
            threads, started = self.count, Barrier(self.count + 1)

            def start() -> None:
                torch.set_num_threads(1)
                started.wait()

            self._pool = ThreadPoolExecutor(threads, initializer=start)
            for _ in range(threads):
                self._pool.submit(int)
            started.wait()
            # the call above holds for its own thread and for those born later: take back the latter
            torch.set_num_threads(threads)

    def run(self, jobs: list[Callable[[], Result]]) -> list[Result]:
        """Run jobs in any order and return their results in the given one."""
        if self._pool is None:
            return [job() for job in jobs]
        return [future.result() for future in [self._pool.submit(job) for job in jobs]]

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()
