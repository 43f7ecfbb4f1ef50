"""Progress of a job over frames: a live bar on a terminal, occasional lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

#: Between two lines in a log.
LOG_PERIOD_S = 5.0


class FrameProgress:
    """Counts frames; used as a context manager."""

    def __init__(
        self, title: str, total: int | None, console: Console, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare; nothing is shown until the context is entered.

        Args:
            title: what is being done, such as "playing".
            total: number of frames, None if unknown.
            console: where to show it.
            monotonic: the clock [s].
        """
        self._title = title
        self._total = total
        self._console = console
        self._monotonic = monotonic
        self._logged_at = monotonic()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        if console.is_terminal:
            detail = TextColumn("{task.fields[detail]}")
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), detail)
            self._bar = Progress(*columns, console=console)
            self._task = self._bar.add_task(title, total=total, detail="")

    def update(self, done: int, detail: str = "") -> None:
        """Report ``done`` frames, with a short status."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, detail=detail)
            return
        now = self._monotonic()
        if now - self._logged_at >= LOG_PERIOD_S:
            self._logged_at = now
            of_total = f"/{self._total}" if self._total is not None else ""
            line = f"{self._title}: {done}{of_total} frames {detail}".rstrip()
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> FrameProgress:
        """Start the bar."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.stop()
