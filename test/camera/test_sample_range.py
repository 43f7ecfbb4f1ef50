from __future__ import annotations

import numpy as np
import pytest

from ttt3r_ros.camera.sample_range import SampleRange


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_full_scale_is_white_whatever_the_bits(bits: int) -> None:
    samples = np.array([[0, (1 << bits) // 2, (1 << bits) - 1]], np.uint16)
    held = SampleRange().widened(samples)
    assert held == SampleRange(bits)
    np.testing.assert_array_equal(held.to_8_bits(samples), [[0, 128, 255]])


def test_the_range_is_held_over_dark_frames() -> None:
    held = SampleRange().widened(np.array([4095], np.uint16))
    assert held.widened(np.array([100], np.uint16)) is held
    np.testing.assert_array_equal(held.to_8_bits(np.array([100], np.uint16)), [6])
    assert held.widened(np.array([4096], np.uint16)) == SampleRange(14)


def test_nothing_has_the_smallest_range() -> None:
    assert SampleRange().widened(np.zeros((0, 3), np.uint16)) == SampleRange(8)
