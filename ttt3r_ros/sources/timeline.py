"""Time in recordings: increasing stamps, and playing part of a source once or in a loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, cycle, repeat

from ttt3r_ros.camera.stamps import MAX_LEAD_NS, StampState, judge_stamp
from ttt3r_ros.errors import UserError
from ttt3r_ros.sources.frame import Source, SourceFrame, SourceReport

#: Smallest step between stamps after a jump back, if the recording does not tell how much time passed [ns].
_MIN_STEP_NS = 10**6


@dataclass(frozen=True)
class PlacedStamp:
    """The time of a frame in a recording.

    Attributes:
        stamp_ns: later than the stamps of all previous frames [ns].
        shift_ns: added to the recorded stamp to get it [ns].
        jump: why the frame does not continue the previous one, in one clause; None if it does.
        clock_step_ns: by how much the clock of the stamps has been set since the previous one [ns].
    """

    stamp_ns: int
    shift_ns: int
    jump: str | None
    clock_step_ns: int = 0


class RecordingClock:
    """Applies the rule for stamps (`ttt3r_ros.camera.stamps`); stamps keep increasing when recorded time jumps back."""

    def __init__(
        self, report: SourceReport, subject: str, *, by_arrival: bool = False, max_lead_ns: int = MAX_LEAD_NS
    ) -> None:
        """Start a clock.

        Args:
            report: counts dropped frames and gets the warnings about them.
            subject: name of the recording, with which warnings begin.
            by_arrival: whether the camera is known not to stamp its images.
            max_lead_ns: see `judge_stamp`.
        """
        self._report, self._subject, self._max_lead_ns = report, subject, max_lead_ns
        self._state = StampState(by_arrival=by_arrival)
        self._last_ns: int | None = None
        self._last_recorded_ns = 0
        self._shift_ns = 0

    def place(self, stamp_ns: int | None, recorded_ns: int) -> PlacedStamp | None:
        """Return the time of the next frame, by its stamp (None if invalid) and its recording; None to skip it."""
        verdict, self._state = judge_stamp(stamp_ns, recorded_ns, self._state, max_lead_ns=self._max_lead_ns)
        if verdict.notice is not None:
            self._report.warn(f"{self._subject}: {verdict.notice}")
        if verdict.stamp_ns is None:
            self._report.left_out[verdict.dropped or ""] += 1
            return None
        placed_ns, clock_step_ns = verdict.stamp_ns + self._shift_ns, verdict.clock_step_ns
        if self._last_ns is not None and placed_ns <= self._last_ns:  # a jump back
            placed_ns = self._last_ns + max(recorded_ns - self._last_recorded_ns, _MIN_STEP_NS)
            self._shift_ns, clock_step_ns = placed_ns - verdict.stamp_ns, 0
        self._last_ns, self._last_recorded_ns = placed_ns, recorded_ns
        return PlacedStamp(placed_ns, self._shift_ns, verdict.jump, clock_step_ns)


@dataclass(frozen=True)
class TimedFrame:
    """A frame and its two times.

    Attributes:
        frame: as read from the source.
        play_ns: time since the first frame played [ns]; always increasing.
        stamp_ns: in the source's clock [ns]; also increasing, unless the recording's time jumps back or the timeline
            restarts its stamps.
        lap: how many passes of a loop have been played before this one.
    """

    frame: SourceFrame
    play_ns: int
    stamp_ns: int
    lap: int = 0


@dataclass(frozen=True)
class Timeline:
    """Which part of a source to play, and how often.

    Attributes:
        start_s: skip this much of the source [s].
        duration_s: play this much of it [s]; None to play to the end.
        max_frames: stop after this many frames in total; None for no limit.
        loop: start again at the end.
        restart_stamps: in a loop, let stamps jump back to the first one, as a looping bag does, instead of increasing.
        pause_s: in a loop, where the camera jumps from its end to its start, this much more time than between two
            frames passes [s].
    """

    start_s: float = 0.0
    duration_s: float | None = None
    max_frames: int | None = None
    loop: bool = False
    restart_stamps: bool = False
    pause_s: float = 0.0

    def frames(self, source: Source) -> Iterator[TimedFrame]:
        """Yield the frames of a source with their times; a loop begins again at the start.

        Raises:
            UserError: there is nothing to play.
        """
        is_empty = True
        passes = (source.frames(self.start_s) for _ in (count() if self.loop else range(1)))
        for timed in self._timed(passes, source.rate_hz):
            is_empty = False
            yield timed
        if is_empty:
            raise UserError(f"{source.name} has no frame {self.start_s:g} s after its start; reduce --start")

    def turns(self, frames: Sequence[SourceFrame]) -> bool:
        """Return whether `repeated` plays these frames there and back, so that the camera never jumps."""
        is_one_walk = all(frame.jump is None for frame in frames[1:])
        return self.loop and not self.restart_stamps and is_one_walk

    def repeated(self, frames: Sequence[SourceFrame], rate_hz: float) -> Iterator[TimedFrame]:
        """Yield frames that one pass, without loop, has yielded, again and again, the first time as `frames` does.

        Args:
            frames: what is kept of the source, at least one.
            rate_hz: of the source.
        """
        if len(frames) == 1:
            return replace(self, pause_s=0.0)._timed(repeat(frames), rate_hz)
        if not self.turns(frames):
            return self._timed(repeat(frames), rate_hz)
        there, back = frames[1:], frames[-2::-1]  # each turn is one frame, which is not repeated
        return self._timed(chain([frames], cycle([back, there])), rate_hz, turns=True)

    def _timed(
        self, passes: Iterable[Iterable[SourceFrame]], rate_hz: float, *, turns: bool = False
    ) -> Iterator[TimedFrame]:
        number, play_ns, pass_begins_ns = 0, 0, 0
        first: SourceFrame | None = None
        last: SourceFrame | None = None
        for lap, frames in enumerate(passes):
            pass_first_ns: int | None = None
            for frame in frames:
                first = first or frame
                if pass_first_ns is None:
                    pass_first_ns = frame.stamp_ns
                    if last is not None:
                        between_ns = round((1 / rate_hz + self.pause_s) * 1e9)
                        pass_begins_ns = play_ns + (abs(frame.stamp_ns - last.stamp_ns) if turns else between_ns)
                since_ns = abs(frame.stamp_ns - pass_first_ns)
                if self.duration_s is not None and since_ns >= round(self.duration_s * 1e9):
                    break
                if number == self.max_frames:
                    return
                play_ns = pass_begins_ns + since_ns
                stamp_ns = first.stamp_ns + (since_ns if self.restart_stamps else play_ns) - frame.shift_ns
                yield TimedFrame(frame, play_ns, stamp_ns, lap)
                last, number = frame, number + 1
            if pass_first_ns is None:
                return

    def length(self, source: Source) -> int | None:
        """Return the approximate number of frames that will be played; None if unlimited or unknown."""
        if self.loop:
            return self.max_frames
        counts = [self.max_frames] if self.max_frames is not None else []
        if source.length is not None:
            counts.append(max(0, source.length - round(self.start_s * source.rate_hz)))
        if self.duration_s is not None:
            counts.append(round(self.duration_s * source.rate_hz))
        return min(counts, default=None)
