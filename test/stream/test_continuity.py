from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.stream.continuity import why_broken

stamps = st.integers(0, 2**62)  # [ns]
gaps = st.floats(0.01, 1e6)  # [s]
MICROSECOND = 1000  #: [ns]


@given(stamps, gaps, st.floats(0, 1))
def test_a_stamp_within_the_gap_follows(last, max_gap, share):
    step = max(int(share * max_gap * 1e9) - MICROSECOND, 0)
    assert why_broken(last, last + step, max_gap) is None


@given(stamps, gaps, st.integers(MICROSECOND, 10**18))
def test_a_longer_gap_breaks(last, max_gap, more):
    reason = why_broken(last, last + int(max_gap * 1e9) + more, max_gap)
    assert reason.startswith("no image for ")


@given(stamps, gaps, st.integers(1, 10**18))
def test_time_that_goes_back_breaks_by_however_little(last, max_gap, back):
    reason = why_broken(last, last - back, max_gap)
    assert reason.startswith("time jumped back by ")
    assert "-" not in reason


@given(stamps, st.integers(1, 10_000))
def test_the_longest_gap_breaks_nothing(last, tenths):
    assert why_broken(last, last + tenths * 10**8, tenths / 10) is None
    assert why_broken(last, last + tenths * 10**8 + MICROSECOND, tenths / 10) is not None


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [(2.0, None), (2.001, "no image for 2.001 s"), (90.5, "no image for 90.500 s"), (-1.25, "jumped back by 1.250 s")],
)
def test_the_reason_says_how_long(seconds, reason):
    last = 1_700_000_000_123_456_789
    found = why_broken(last, last + round(seconds * 1e9), 2.0)
    assert found is None if reason is None else reason in found


def test_a_nanosecond_counts_in_stamps_of_this_century():
    last = 1_700_000_000_000_000_000
    assert why_broken(last, last - 1, 2.0) == "time jumped back by 0.000 s"
    assert why_broken(last, last + 2_000_000_001, 2.0) == "no image for 2.000 s"
