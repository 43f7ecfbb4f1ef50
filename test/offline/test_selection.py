from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.errors import UserError
from ttt3r_ros.offline.selection import Selection
from ttt3r_ros.sources import SourceFrame

PERIOD_NS = 10**8


class Recording:
    """Frames at 10 Hz; notes from where it was asked to begin."""

    name, rate_hz = "a recording", 10.0

    def __init__(self, length: int, *, recorded_time: bool = False) -> None:
        self.length: int | None = length
        self.recorded_time = recorded_time
        self._first_ns = 1_700_000_000 * 10**9 if recorded_time else 0
        self.starts: list[float] = []

    def frames(self, start_s: float = 0.0) -> Iterator[SourceFrame]:
        self.starts.append(start_s)
        for i in range(self.length or 0):
            if i * PERIOD_NS >= round(start_s * 1e9):
                yield SourceFrame(np.full((8, 8, 3), i, np.uint8), self._first_ns + i * PERIOD_NS)


def numbers(selection: Selection, source: Recording, after=None) -> list[int]:
    return [int(frame.image[0, 0, 0]) for _, frame in selection.frames(source, after)]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), list(range(20))),
        (Selection(start_s=1.5), [15, 16, 17, 18, 19]),
        (Selection(duration_s=0.5), [0, 1, 2, 3, 4]),
        (Selection(start_s=0.5, duration_s=0.3), [5, 6, 7]),
        (Selection(every=7), [0, 7, 14]),
        (Selection(every=3, max_frames=2), [0, 3]),
        (Selection(start_s=1.0, every=4, max_frames=9), [10, 14, 18]),
    ],
)
@pytest.mark.parametrize("recorded_time", [True, False])
def test_what_is_chosen(selection, expected, recorded_time):
    source = Recording(20, recorded_time=recorded_time)
    assert numbers(selection, source) == expected
    assert selection.count(source) == len(expected)


@given(
    start=st.integers(0, 20),
    every=st.integers(1, 5),
    most=st.none() | st.integers(1, 12),
    duration=st.none() | st.integers(1, 30),
    cut=st.integers(0, 40),
    recorded_time=st.booleans(),
)
def test_two_sessions_take_what_one_takes(start, every, most, duration, cut, recorded_time):
    source = Recording(40, recorded_time=recorded_time)
    selection = Selection(start / 10, None if duration is None else duration / 10, every, most)
    whole = list(selection.frames(source))
    cut = min(cut, len(whole) - 1)
    cursor = whole[cut][0]
    assert selection.taken(cursor) == cut + 1
    rest = list(selection.frames(source, cursor))
    assert [p for p, _ in rest] == [p for p, _ in whole[cut + 1 :]]
    assert [f.stamp_ns for _, f in rest] == [f.stamp_ns for _, f in whole[cut + 1 :]]


def test_a_long_recording_is_not_read_again_from_its_beginning():
    source = Recording(200)
    cursor = [cursor for cursor, _ in Selection().frames(source)][150]
    assert numbers(Selection(), source, cursor)[0] == 151
    assert source.starts[-1] == pytest.approx(14.0)


def test_a_recording_that_has_changed_is_said():
    cursor = [cursor for cursor, _ in Selection().frames(Recording(20))][-1]
    with pytest.raises(UserError, match=r"the frame at 1\.900 s.*no longer exists; start over with --overwrite"):
        numbers(Selection(), Recording(10), cursor)


def test_nothing_to_take_is_said():
    with pytest.raises(UserError, match="no frame 5 s after its start"):
        numbers(Selection(start_s=5.0), Recording(20))
    source = Recording(20)
    source.length = None
    assert Selection().count(source) is None
    assert Selection(max_frames=4).count(source) == 4


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_jump_of_time_at_a_frame_left_out_is_the_next_ones(at):
    class Looping(Recording):
        def frames(self, start_s: float = 0.0) -> Iterator[SourceFrame]:
            for i, frame in enumerate(super().frames(start_s)):
                yield replace(frame, jump="time jumped" if i == at else None)

    frames = [frame for _, frame in Selection(every=3).frames(Looping(9))]
    assert [frame.jump for frame in frames] == [None, "time jumped", None]
