from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ttt3r_ros.camera.sample_range import SampleRange

Samples = npt.NDArray[np.uint16]


def scene(bits: int, *, brightness: float = 1.0, seed: int = 0) -> Samples:
    """Return an image of a camera with so many bits: a gradient with shot and read noise, full scale at the right."""
    rng, full = np.random.default_rng(seed), (1 << bits) - 1
    clean = np.tile(np.linspace(0, brightness * full, 160), (120, 1))
    return np.clip(rng.normal(clean, 0.002 * full + 0.02 * clean), 0, full).astype(np.uint16)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_full_scale_is_white_whatever_the_bits(bits: int) -> None:
    samples = np.array([[0, (1 << bits) // 2, (1 << bits) - 1]], np.uint16)
    held = SampleRange().widened(samples)
    assert held.bits == bits
    np.testing.assert_array_equal(held.to_8_bits(samples), [[0, 128, 255]])


def test_the_range_is_held_over_dark_frames() -> None:
    held = SampleRange()
    for samples in ([4095], [100], [4095], [100], [100], [100], [100]):
        held = held.widened(np.array(samples, np.uint16))
        assert held.bits == 12
    np.testing.assert_array_equal(held.to_8_bits(np.array([100], np.uint16)), [6])
    for bits in (12, 14, 14):  # a brighter view is believed with its second image
        held = held.widened(np.array([4096], np.uint16))
        assert held.bits == bits


def test_nothing_has_the_smallest_range() -> None:
    assert SampleRange().widened(np.zeros((0, 3), np.uint16)).bits == 8
    assert SampleRange().bits == 8


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("fault", ["none", "hot pixel", "hot pixels", "no data", "noise"])
def test_a_cameras_range_is_found_in_spite_of_single_samples(bits: int, fault: str) -> None:
    """Hot pixels shine in every image; a marker of missing data may cover any part; noise hits other pixels each time.

    Each image is as bright as the camera without the fault would make it, from the first one on.
    """
    held = SampleRange()
    for frame in range(6):
        clean = scene(bits, seed=frame)
        samples, rng = clean.copy(), np.random.default_rng(frame)
        if fault == "hot pixel":
            samples[40, 3] = 65535
        elif fault == "hot pixels":
            samples.ravel()[::251] = 60000
        elif fault == "no data":
            samples[:, :50] = 65535
        elif fault == "noise":
            samples[rng.random(samples.shape) < 0.004] = rng.integers(0, 65536)
        held = held.widened(samples)
        assert held.bits == bits
        good = samples == clean
        assert good.mean() > 0.6
        np.testing.assert_array_equal(held.to_8_bits(samples)[good], (clean >> (bits - 8))[good])
        assert (held.to_8_bits(samples)[samples == 65535] == 255).all()


@pytest.mark.parametrize("at", range(6))
def test_one_damaged_image_darkens_no_later_one(at: int) -> None:
    """An image whose bytes are swapped or random needs 16 bits; those from the third on are right whenever it comes."""
    held, bits = SampleRange(), []
    for frame in range(9):
        samples = scene(10, seed=frame)
        held = held.widened(samples.byteswap() if frame == at else samples)
        bits.append(held.bits)
    assert bits[2:] == [10] * 7
