"""Which frames are played, and when."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest

from ttt3r_ros.errors import UserError
from ttt3r_ros.sources import SourceFrame
from ttt3r_ros.sources.frame import SourceReport
from ttt3r_ros.sources.timeline import RecordingClock, Timeline

BEGIN_NS = 1_700_000_000 * 10**9
STEP_NS = 10**8


class FiveFrames:
    """Five frames at 10 Hz with recorded times."""

    name, length, rate_hz, recorded_time = "five frames", 5, 10.0, True

    def frames(self, start_s: float = 0.0) -> Iterator[SourceFrame]:
        for i in range(5):
            if i * STEP_NS >= round(start_s * 1e9):
                yield SourceFrame(np.zeros((2, 2, 3), np.uint8), BEGIN_NS + i * STEP_NS)


def times(timeline: Timeline, most: int = 100) -> list[tuple[int, int]]:
    """Return (play time, stamp) of every frame in steps."""
    frames = islice(timeline.frames(FiveFrames()), most)
    return [(t.play_ns // STEP_NS, (t.stamp_ns - BEGIN_NS) // STEP_NS) for t in frames]


def test_once() -> None:
    assert times(Timeline()) == [(i, i) for i in range(5)]
    assert times(Timeline(start_s=0.2)) == [(0, 2), (1, 3), (2, 4)]
    assert times(Timeline(start_s=0.1, duration_s=0.2)) == [(0, 1), (1, 2)]
    assert times(Timeline(max_frames=2)) == [(0, 0), (1, 1)]


def test_loops() -> None:
    assert times(Timeline(loop=True), 8) == [(i, i) for i in range(8)]
    assert times(Timeline(loop=True, restart_stamps=True), 8) == [(i, i % 5) for i in range(8)]
    assert times(Timeline(loop=True, duration_s=0.2, max_frames=5)) == [(i, i) for i in range(5)]


def test_lengths() -> None:
    for timeline in (Timeline(), Timeline(start_s=0.2), Timeline(duration_s=0.3), Timeline(max_frames=2)):
        assert timeline.length(FiveFrames()) == len(times(timeline))
    assert Timeline(loop=True).length(FiveFrames()) is None
    assert Timeline(loop=True, max_frames=9).length(FiveFrames()) == 9


def test_a_start_behind_the_end_is_said() -> None:
    with pytest.raises(UserError, match="five frames has no frame 9 s after its start"):
        times(Timeline(start_s=9.0))


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_set_while_recording_is_no_time_that_has_passed(hours):
    """The twin: the stamps of a camera whose clock is not set."""
    recorded = [BEGIN_NS + i * STEP_NS for i in range(20)]
    clock, placed = RecordingClock(SourceReport(), "it"), []
    for i, now_ns in enumerate(recorded):
        placed.append(clock.place(now_ns + (hours * 3600 * 10**9 if i >= 10 else 0), now_ns))
    assert placed[10] is None  # which might be one wrong stamp
    kept = [stamp for stamp in placed if stamp is not None]
    as_passed = np.cumsum([stamp.clock_step_ns for stamp in kept])
    assert [stamp.stamp_ns - step for stamp, step in zip(kept, as_passed)] == recorded[:10] + recorded[11:]
    assert [bool(stamp.jump) for stamp in kept] == [i == 10 for i in range(19)]
