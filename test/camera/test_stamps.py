"""The one rule for stamps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.camera.stamps import (
    FAR_AHEAD,
    NO_TIME,
    NOT_NEWER,
    OTHER_CLOCK,
    TOO_CLOSE,
    StampState,
    StampVerdict,
    judge_stamp,
)

T0 = 1_700_000_000 * 10**9
MS = 10**6
STEP = 100 * MS


def judge(stamps: list[int | None], arrivals: list[int] | None = None) -> tuple[list[StampVerdict], StampState]:
    """Judge stamps that arrive 100 ms apart unless told otherwise."""
    state, verdicts = StampState(), []
    for i, stamp in enumerate(stamps):
        verdict, state = judge_stamp(stamp, T0 + i * STEP if arrivals is None else arrivals[i], state)
        verdicts.append(verdict)
    return verdicts, state


def taken(verdicts: list[StampVerdict]) -> list[int]:
    return [verdict.stamp_ns for verdict in verdicts if verdict.stamp_ns is not None]


def test_good_stamps_pass_as_they_are() -> None:
    stamps = [T0 + i * STEP for i in range(5)]
    verdicts, state = judge(stamps)
    assert verdicts == [StampVerdict(stamp) for stamp in stamps]
    assert not state.dropped


def test_an_image_sent_twice_is_taken_once_counted_and_said_once() -> None:
    stamps = [T0 + i // 2 * STEP for i in range(10)]
    verdicts, state = judge(stamps)
    assert taken(verdicts) == [T0 + i * STEP for i in range(5)]
    assert [verdict.jump for verdict in verdicts] == [None] * 10
    assert state.dropped == {NOT_NEWER: 5}
    assert len([verdict.notice for verdict in verdicts if verdict.notice]) == 1


def test_images_a_few_milliseconds_out_of_order_begin_nothing() -> None:
    verdicts, state = judge([T0, T0 + 33 * MS, T0 + 66 * MS, T0 + 60 * MS, T0 + 99 * MS, T0 + 95 * MS, T0 + 133 * MS])
    assert taken(verdicts) == [T0, T0 + 33 * MS, T0 + 66 * MS, T0 + 99 * MS, T0 + 133 * MS]
    assert not any(verdict.jump for verdict in verdicts)
    assert state.dropped == {NOT_NEWER: 2}


def test_a_large_step_back_is_a_jump_at_its_second_image() -> None:
    """A looping bag."""
    once = [T0 + i * STEP for i in range(50)]
    verdicts, state = judge(once * 3)
    assert taken(verdicts) == once + once[1:] + once[1:]
    jumps = [i for i, verdict in enumerate(verdicts) if verdict.jump]
    assert jumps == [51, 101]
    assert verdicts[51].jump == "time jumped back by 4.800 s"
    assert state.dropped == {NOT_NEWER: 2}
    assert len([verdict for verdict in verdicts if verdict.notice]) == 1


def test_a_small_step_back_is_a_jump_where_it_lasts() -> None:
    """A bag of half a second in a loop: within a second it is followed."""
    once = [T0 + i * STEP for i in range(5)]
    verdicts, _ = judge(once * 5)
    (jump, *_) = [i for i, verdict in enumerate(verdicts) if verdict.jump]
    assert 15 <= jump <= 16
    assert verdicts[jump].stamp_ns == once[jump % 5]


def test_a_clock_set_back_a_little_heals_by_itself() -> None:
    stamps = [T0 + i * STEP for i in range(10)] + [T0 + i * STEP - 300 * MS for i in range(10, 30)]
    verdicts, state = judge(stamps)
    assert not any(verdict.jump for verdict in verdicts)
    assert taken(verdicts) == sorted(set(stamps))
    assert state.dropped == {NOT_NEWER: 3}


@pytest.mark.parametrize("bad", [0, None, -5 * 10**9, 2**31 * 10**9, 1])
@pytest.mark.parametrize("at", [1, 5, 9])
def test_one_bad_stamp_leaves_nothing_behind(bad: int | None, at: int) -> None:
    good: list[int | None] = [T0 + i * STEP for i in range(10)]
    verdicts, state = judge([*good[:at], bad, *good[at:]], [T0 + i * STEP for i in range(11)])
    assert verdicts[:at] + verdicts[at + 1 :] == [StampVerdict(stamp) for stamp in good]
    assert verdicts[at].stamp_ns is None
    assert verdicts[at].notice
    assert sum(state.dropped.values()) == 1
    assert (state.last_ns, state.misfit_ns) == (good[-1], None)


def test_one_stamp_far_ahead_leaves_nothing_behind() -> None:
    good = [T0 + i * STEP for i in range(10)]
    verdicts, state = judge([*good[:5], T0 + 3600 * 10**9, *good[5:]])
    assert taken(verdicts) == good
    assert state.dropped == {FAR_AHEAD: 1}


def test_a_camera_that_never_stamps_gets_the_time_of_arrival_and_a_word() -> None:
    verdicts, state = judge([0] * 30)
    assert taken(verdicts) == [T0 + i * STEP for i in range(10, 30)]
    assert state.by_arrival
    notices = [verdict.notice for verdict in verdicts if verdict.notice]
    assert len(notices) == 2
    assert "their time of arrival is used" in notices[1]
    assert not any(verdict.jump for verdict in verdicts)
    assert state.dropped == {NO_TIME: 10}


def test_a_camera_that_begins_and_ceases_to_stamp() -> None:
    stamps: list[int | None] = [0] * 20 + [5 * 10**9 + i * STEP for i in range(20)] + [None] * 20
    verdicts, state = judge(stamps)
    jumps = [i for i, verdict in enumerate(verdicts) if verdict.jump]
    assert jumps == [30, 50]
    assert verdicts[30].stamp_ns == stamps[30]
    assert verdicts[50].stamp_ns == T0 + 50 * STEP
    assert state.dropped == {NO_TIME: 20, OTHER_CLOCK: 10}


def test_a_gap_that_passed_is_none_of_this_rules_business() -> None:
    verdicts, _ = judge([T0, T0 + 3600 * 10**9], [T0, T0 + 3600 * 10**9])
    assert taken(verdicts) == [T0, T0 + 3600 * 10**9]
    assert verdicts[1].jump is None


def test_a_seek_ahead_is_a_jump_at_its_second_image() -> None:
    verdicts, _ = judge([T0, T0 + 60 * 10**9, T0 + 60 * 10**9 + STEP])
    assert [verdict.stamp_ns for verdict in verdicts] == [T0, None, T0 + 60 * 10**9 + STEP]
    assert verdicts[2].jump == "time jumped ahead by 60.100 s"


@pytest.mark.parametrize("ahead_s", [2.5, 9.0, 10.0])
def test_one_stamp_some_seconds_ahead_leaves_nothing_behind(ahead_s: float) -> None:
    good = [T0 + i * STEP for i in range(30)]
    verdicts, state = judge([*good[:5], good[5] + round(ahead_s * 1e9), *good[5:]])
    assert taken(verdicts) == good
    assert state.dropped == {FAR_AHEAD: 1}


@pytest.mark.parametrize("ms", [0.001, 1, 6, 19])
@pytest.mark.parametrize("at", [4, 10, 15])
def test_an_image_far_closer_than_usual_is_dropped_counted_and_said_once(ms: float, at: int) -> None:
    stamps: list[int | None] = [T0 + i * STEP for i in range(20)]
    stamps[at] = T0 + (at - 1) * STEP + round(ms * MS)
    verdicts, state = judge(stamps)
    assert verdicts[:at] + verdicts[at + 1 :] == [StampVerdict(s) for s in stamps[:at] + stamps[at + 1 :]]
    assert state.dropped == {TOO_CLOSE: 1}
    assert f"an image is stamped only {ms:.3f} ms after the one before it" in str(verdicts[at].notice)


def test_of_images_that_are_sent_twice_with_stamps_of_their_own_one_is_taken() -> None:
    once = [T0 + i * STEP for i in range(20)]
    verdicts, state = judge([stamp + late for stamp in once for late in (0, 3 * MS)])
    assert taken(verdicts)[-12:] == once[-12:]
    assert state.dropped[TOO_CLOSE] >= 15


def test_jitter_of_a_third_of_the_step_is_none_of_this_rules_business() -> None:
    stamps: list[int | None] = [T0 + i * STEP + (STEP // 3 if i % 3 == 0 else 0) for i in range(20)]
    assert judge(stamps)[0] == [StampVerdict(stamp) for stamp in stamps]


def test_a_camera_that_becomes_faster_is_followed_at_once() -> None:
    """From 2 to 60 images a second."""
    slow = [T0 + i * 500 * MS for i in range(10)]
    fast = [slow[-1] + i * 1000 * MS // 60 for i in range(1, 121)]
    verdicts, _ = judge([*slow, *fast], [*slow, *fast])
    early = [verdict.dropped for verdict, stamp in zip(verdicts, [*slow, *fast]) if stamp <= slow[-1] + 200 * MS]
    assert early.count(TOO_CLOSE) <= 6
    assert not any(verdict.dropped for verdict in verdicts[len(early) :])


def test_stamps_that_stand_all_but_still_are_dropped_and_said() -> None:
    verdicts, state = judge([T0 + i for i in range(30)])
    assert taken(verdicts) == [T0]
    assert state.dropped == {TOO_CLOSE: 29}


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_set_is_told_from_the_time_that_has_passed(hours: int) -> None:
    """The camera's clock and that of arrival are the same one, which NTP sets; a third one goes on."""
    passed = [T0 + i * STEP for i in range(20)]
    clock = [now + (hours * 3600 * 10**9 if i >= 10 else 0) for i, now in enumerate(passed)]
    state, verdicts = StampState(), []
    for stamp, now in zip(clock, passed, strict=True):
        verdict, state = judge_stamp(stamp, stamp, state, steady_ns=now - T0)
        verdicts.append(verdict)
    assert taken(verdicts) == clock[:10] + clock[11:]
    assert [verdict.clock_step_ns for verdict in verdicts if verdict.jump] == [hours * 3600 * 10**9]
    assert not any(verdict.clock_step_ns for verdict in verdicts if not verdict.jump)
    assert state.dropped == {FAR_AHEAD if hours > 0 else NOT_NEWER: 1}


def test_an_arrival_clock_set_back_changes_nothing() -> None:
    stamps: list[int | None] = [T0 + i * STEP for i in range(5)]
    verdicts, _ = judge(stamps, [T0 + i * STEP - (10**12 if i > 2 else 0) for i in range(5)])
    assert verdicts == [StampVerdict(stamp) for stamp in stamps]


@given(
    st.lists(
        st.tuples(
            st.one_of(
                st.none(),
                st.sampled_from([0, 1, -1, T0, 2**63]),
                st.integers(T0 - 20 * 10**9, T0 + 20 * 10**9),
            ),
            st.integers(0, 2 * 10**9),
        ),
        max_size=60,
    )
)
def test_stamps_increase_from_jump_to_jump_and_every_image_is_accounted_for(
    images: list[tuple[int | None, int]],
) -> None:
    arrival, state, last, count = T0, StampState(), None, 0
    told: list[str] = []
    for stamp, passed in images:
        arrival += passed
        verdict, state = judge_stamp(stamp, arrival, state)
        assert (verdict.stamp_ns is None) == (verdict.dropped is not None)
        told += [verdict.notice] if verdict.notice and verdict.dropped else []
        if verdict.stamp_ns is None:
            continue
        assert verdict.stamp_ns == (arrival if state.by_arrival else stamp)
        assert last is None or verdict.jump or verdict.stamp_ns > last
        last, count = verdict.stamp_ns, count + 1
    assert count + sum(state.dropped.values()) == len(images)
    assert len(told) == len(state.dropped)
