"""Progress of a long job over bytes: a bar on a terminal, occasional lines in a log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

LOG_INTERVAL_S = 10.0


@contextlib.contextmanager
def byte_progress(label: str, total: int, console: Console) -> Iterator[Callable[[int], None]]:
    """Show the progress of a job over so many bytes; yields a function to call with the bytes done so far."""
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
            task = bar.add_task(label, total=total)
            yield lambda done: bar.update(task, completed=done)
    else:
        log = _Log(label, total, console)
        yield log.update
        log.finish()


class _Log:
    """Sparse lines with percentage, speed and remaining time."""

    def __init__(self, label: str, total: int, console: Console) -> None:
        self.label, self.total, self.console = label, total, console
        self.first: int | None = None  # a resumed job does not start at 0; earlier bytes must not count as speed
        self.done = 0
        self.started = self.written = time.monotonic()

    def update(self, done: int) -> None:
        self.done = done
        now = time.monotonic()
        if self.first is None:
            self.first = done
        if now - self.written >= LOG_INTERVAL_S:
            self.written = now
            speed = max(done - self.first, 0) / (now - self.started)
            left = f", {(self.total - done) / speed:.0f} s left" if speed else ""
            percent = 100 * done / max(self.total, 1)
            self._write(f"{percent:.0f} % of {self.total / 1e6:.0f} MB, {speed / 1e6:.1f} MB/s{left}")

    def finish(self) -> None:
        self._write(f"{self.done / 1e6:.0f} MB in {time.monotonic() - self.started:.0f} s")

    def _write(self, text: str) -> None:
        self.console.print(f"{self.label}: {text}", soft_wrap=True, highlight=False)
