"""Selects frames of a source, and resumes where an earlier run ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ttt3r_ros.errors import UserError
from ttt3r_ros.sources import Source, SourceFrame

#: How long before the frame to resume after to start reading a source whose stamps start at zero [s].
_RUN_UP_S = 1.0


@dataclass(frozen=True)
class Cursor:
    """The position of a frame in a source.

    Attributes:
        index: of the frame, counted from the first one of the selection, including skipped ones.
        stamp_ns: of the frame [ns].
        first_stamp_ns: of the selection's first frame [ns].
    """

    index: int
    stamp_ns: int
    first_stamp_ns: int


@dataclass(frozen=True)
class Selection:
    """Which frames of a source to process.

    Attributes:
        start_s: skip this much of the source [s].
        duration_s: process this much of it [s]; None to process it to the end.
        every: process every Nth frame.
        max_frames: process at most this many frames; None for no limit.
    """

    start_s: float = 0.0
    duration_s: float | None = None
    every: int = 1
    max_frames: int | None = None

    def frames(self, source: Source, after: Cursor | None = None) -> Iterator[tuple[Cursor, SourceFrame]]:
        """Yield the selected frames and their cursors.

        Args:
            source: to read.
            after: resume after this cursor, which must be from the same source and selection.

        Raises:
            UserError: the selection is empty, or the source no longer has the frame to resume after.
        """
        start_s = self.start_s
        if after is not None and not source.recorded_time:  # frames are found by stamp
            start_s = max(start_s, after.stamp_ns * 1e-9 - _RUN_UP_S)
        index = 0
        first_stamp_ns: int | None = None
        found = after is None
        jump: str | None = None  # of skipped frames, to be passed on to the next one
        clock_step_ns = 0  # likewise
        if after is not None:
            index, first_stamp_ns = after.index + 1, after.first_stamp_ns
        for frame in source.frames(start_s):
            if first_stamp_ns is None:
                first_stamp_ns = frame.stamp_ns
            if not found:
                assert after is not None
                if frame.stamp_ns > after.stamp_ns:
                    break
                found = frame.stamp_ns == after.stamp_ns
                continue
            since_ns = frame.stamp_ns - first_stamp_ns
            if self.duration_s is not None and since_ns >= round(self.duration_s * 1e9):
                return
            if self.max_frames is not None and index >= self.max_frames * self.every:
                return
            jump, clock_step_ns = frame.jump or jump, frame.clock_step_ns + clock_step_ns
            if index % self.every == 0:
                yield (
                    Cursor(index, frame.stamp_ns, first_stamp_ns),
                    replace(frame, jump=jump, clock_step_ns=clock_step_ns),
                )
                jump, clock_step_ns = None, 0
            index += 1
        if not found:
            assert after is not None
            raise UserError(
                f"{source.name} has changed: the frame at {after.stamp_ns * 1e-9:.3f} s, after which an earlier run "
                "ended, no longer exists; start over with --overwrite"
            )
        if first_stamp_ns is None:
            raise UserError(f"{source.name} has no frame {self.start_s:g} s after its start; reduce --start")

    def count(self, source: Source) -> int | None:
        """Return the approximate number of frames to process; None if unknown before reading to the end."""
        counts = []
        if source.length is not None:
            counts.append(max(0, source.length - round(self.start_s * source.rate_hz)))
        if self.duration_s is not None:
            counts.append(round(self.duration_s * source.rate_hz))
        taken = [-(-count // self.every) for count in counts]
        if self.max_frames is not None:
            taken.append(self.max_frames)
        return min(taken, default=None)

    def taken(self, cursor: Cursor | None) -> int:
        """Return the number of frames processed up to a cursor, including its own."""
        return 0 if cursor is None else cursor.index // self.every + 1
