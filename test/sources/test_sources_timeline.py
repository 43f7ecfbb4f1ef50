"""Which frames are played, and when."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_a_loop_pauses_before_it_begins_again() -> None:
    assert times(Timeline(loop=True, pause_s=2.0), 7) == [*((i, i) for i in range(5)), (25, 25), (26, 26)]
    assert times(Timeline(loop=True, pause_s=2.0, duration_s=0.2), 4) == [(0, 0), (1, 1), (22, 22), (23, 23)]


def recorded(*steps: int, jump_at: int | None = None) -> list[SourceFrame]:
    """Return frames at these times, in steps after the begin; one of them may not follow on the one before."""
    pixels = np.zeros((2, 2, 3), np.uint8)
    return [
        SourceFrame(pixels, BEGIN_NS + step * STEP_NS, jump="time jumped" if i == jump_at else None)
        for i, step in enumerate(steps)
    ]


def repeated(frames: list[SourceFrame], most: int, **options: Any) -> list[tuple[int, int, int, int]]:
    """Return (index of the frame, play time, stamp, pass) of every frame, times in steps."""
    timeline = Timeline(loop=True, **options)
    index = {id(frame): i for i, frame in enumerate(frames)}
    return [
        (index[id(t.frame)], t.play_ns // STEP_NS, (t.stamp_ns - BEGIN_NS) // STEP_NS, t.lap)
        for t in islice(timeline.repeated(frames, 10.0), most)
    ]


def test_what_is_kept_is_played_there_and_back() -> None:
    frames = recorded(0, 1, 5, 7)
    assert Timeline(loop=True).turns(frames)
    there, back = (
        [(0, 0, 0, 0), (1, 1, 1, 0), (2, 5, 5, 0), (3, 7, 7, 0)],
        [(2, 9, 9, 1), (1, 13, 13, 1), (0, 14, 14, 1)],
    )
    again = [(1, 15, 15, 2), (2, 19, 19, 2), (3, 21, 21, 2), (2, 23, 23, 3)]
    assert repeated(frames, 11, pause_s=9.0) == there + back + again
    assert repeated(frames, 99, max_frames=6) == (there + back)[:6]
    two = recorded(0, 3)
    assert repeated(two, 4) == [(0, 0, 0, 0), (1, 3, 3, 0), (0, 6, 6, 1), (1, 9, 9, 2)]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(1, 40))
def test_there_and_back_the_camera_only_goes_to_a_neighbor_in_its_own_time(steps: list[int], most: int) -> None:
    """The twin: a walker on the frames who turns where there is none ahead."""
    frames = recorded(0, *np.cumsum(steps).tolist())
    at, ahead, now = 0, 1, 0
    for index, play, stamp, _ in repeated(frames, most):
        assert (index, play, stamp) == (at, now, now)
        if not 0 <= at + ahead < len(frames):
            ahead = -ahead
        now += steps[min(at, at + ahead)]
        at += ahead


@pytest.mark.parametrize(
    ("frames", "options"),
    [(recorded(0, 1, 2, jump_at=1), {}), (recorded(0, 1, 2), {"restart_stamps": True})],
)
def test_what_is_no_walk_begins_again_at_its_start(frames: list[SourceFrame], options: dict[str, Any]) -> None:
    timeline, n = Timeline(loop=True, pause_s=1.0, **options), len(frames)
    assert not timeline.turns(frames)
    played = repeated(frames, 2 * n, pause_s=1.0, **options)
    assert [index for index, *_ in played] == [*range(n)] * 2
    assert played[n][1] == played[n - 1][1] + 11
    assert not Timeline().turns(recorded(0, 1))


def test_a_single_image_is_repeated_at_its_rate() -> None:
    played = repeated(recorded(0), 3, pause_s=1.0)
    assert [(index, at - played[0][1]) for index, at, *_ in played] == [(0, 0), (0, 1), (0, 2)]


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
