"""Which frames of a source are taken, and going on where an earlier run ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ttt3r_ros.errors import UserError
from ttt3r_ros.sources import Source, SourceFrame

#: A resumed source without a clock of its own is entered this long before the frame to go on after [s].
_RUN_UP_S = 1.0


@dataclass(frozen=True)
class Place:
    """Where in a source a frame stands.

    Attributes:
        index: of the frame, counted from the first one of the selection, those left out included.
        stamp_ns: of the frame [ns].
        first_stamp_ns: of the selection's first frame [ns].
    """

    index: int
    stamp_ns: int
    first_stamp_ns: int


@dataclass(frozen=True)
class Selection:
    """Frames of a source.

    Attributes:
        start_s: skip this much of the source.
        duration_s: take this much of it; None to its end.
        every: take one frame of so many.
        max_frames: take at most so many; None for no limit.
    """

    start_s: float = 0.0
    duration_s: float | None = None
    every: int = 1
    max_frames: int | None = None

    def frames(self, source: Source, after: Place | None = None) -> Iterator[tuple[Place, SourceFrame]]:
        """Yield the chosen frames and their places.

        Args:
            source: to read.
            after: go on behind this place, which an earlier reading of the same source and selection gave.

        Raises:
            UserError: there is nothing to take, or the source no longer has the frame to go on after.
        """
        start_s = self.start_s
        if after is not None and not source.recorded_time:  # stamps are then what frames are looked up by
            start_s = max(start_s, after.stamp_ns * 1e-9 - _RUN_UP_S)
        index = 0
        first_stamp_ns: int | None = None
        found = after is None
        jump: str | None = None  # of a frame that is not taken, for the next one
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
            jump = frame.jump or jump
            if index % self.every == 0:
                yield Place(index, frame.stamp_ns, first_stamp_ns), replace(frame, jump=jump)
                jump = None
            index += 1
        if not found:
            assert after is not None
            raise UserError(
                f"{source.name} no longer has the frame at {after.stamp_ns * 1e-9:.3f} s, after which an earlier run "
                "ended: it has changed; begin anew with --overwrite"
            )
        if first_stamp_ns is None:
            raise UserError(f"{source.name} has no frame {self.start_s:g} s after its beginning; start earlier")

    def count(self, source: Source) -> int | None:
        """Return how many frames will be taken, about; None where only reading to the end would tell."""
        counts = []
        if source.length is not None:
            counts.append(max(0, source.length - round(self.start_s * source.rate_hz)))
        if self.duration_s is not None:
            counts.append(round(self.duration_s * source.rate_hz))
        taken = [-(-count // self.every) for count in counts]
        if self.max_frames is not None:
            taken.append(self.max_frames)
        return min(taken, default=None)

    def taken(self, place: Place | None) -> int:
        """Return how many frames have been taken up to a place, its own included."""
        return 0 if place is None else place.index // self.every + 1
