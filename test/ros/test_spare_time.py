"""The share of the map: property of a simulated machine, and the pipeline that keeps to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.ros.spare_time import MAX_BUSY_S, SHARE, SpareTime

seconds = st.floats(0.001, 1.0)


@given(frame_s=seconds, piece_s=seconds)
def test_a_machine_that_is_never_idle_gives_the_map_its_share_and_one_piece_more_at_most(frame_s, piece_s):
    now = 0.0
    spare = SpareTime(lambda: now)
    assert not spare.allows(is_idle=False)
    worked = 0.0
    while now < 60.0:
        now += frame_s
        while spare.allows(is_idle=False):
            assert now > MAX_BUSY_S
            with spare.taken():
                now += piece_s
            worked += piece_s
        assert worked <= SHARE * now + piece_s
    assert worked >= SHARE * (now - MAX_BUSY_S) - frame_s - piece_s


@given(piece_s=seconds)
def test_time_that_the_map_did_not_need_is_not_made_up_for(piece_s):
    """An image would wait all that long."""
    now = worked = 0.0
    spare = SpareTime(lambda: now)
    for _ in range(600):
        now += 0.1
        spare.allows(is_idle=False)
    while spare.allows(is_idle=False):
        with spare.taken():
            now += piece_s
        worked += piece_s
    assert worked <= SHARE * MAX_BUSY_S / (1 - SHARE) + 2 * piece_s


@given(st.lists(st.tuples(st.booleans(), seconds), min_size=1))
def test_whoever_is_idle_has_time_and_who_has_just_been_has_no_share(steps):
    now = 0.0
    spare = SpareTime(lambda: now)
    idle_at = 0.0
    for is_idle, step in steps:
        now += step
        allowed = spare.allows(is_idle=is_idle)
        idle_at = now if is_idle else idle_at
        assert allowed or not is_idle
        assert is_idle or not allowed or now - idle_at > MAX_BUSY_S
