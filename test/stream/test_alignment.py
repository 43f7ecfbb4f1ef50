from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.stream.alignment import INDEPENDENT, LogRatio, scale_between


def room(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a pointmap (96, 128, 3) and a confidence (96, 128)."""
    generator = torch.Generator().manual_seed(seed)
    depth = 1 + 4 * torch.rand(96, 128, generator=generator)
    v, u = torch.meshgrid(torch.linspace(-0.4, 0.4, 96), torch.linspace(-0.6, 0.6, 128), indexing="ij")
    return torch.stack([u * depth, v * depth, depth], dim=-1), 1 + 3 * torch.rand(96, 128, generator=generator)


@given(st.floats(0.2, 5.0))
def test_an_exact_scale_is_found(scale):
    points, confidence = room()
    found = scale_between(points, confidence, points / scale, confidence)
    assert found.log == pytest.approx(math.log(scale), abs=1e-4)
    assert found.sigma < 1e-4


def test_noise_outliers_and_doubtful_regions_do_not_move_it():
    points, confidence = room()
    generator = torch.Generator().manual_seed(1)
    other = points / 1.3 * (1 + 0.05 * torch.randn(96, 128, 1, generator=generator))
    other[torch.rand(96, 128, generator=generator) < 0.2] *= 4.0  # gross errors
    other[:, :60] *= 0.5  # nearly half the image is wrong, and the network knows it
    doubtful = confidence.clone()
    doubtful[:, :60] = 1.01
    assert scale_between(points, confidence, other, doubtful).log == pytest.approx(math.log(1.3), abs=0.03)


def test_a_scale_and_its_inverse_cancel():
    (a, confidence_a), (b, confidence_b) = room(0), room(1)
    forth, back = scale_between(a, confidence_a, b, confidence_b), scale_between(b, confidence_b, a, confidence_a)
    assert forth.log + back.log == pytest.approx(0.0, abs=1e-2)
    assert forth.sigma == pytest.approx(back.sigma, rel=0.05)


def test_pixels_that_differ_make_a_ratio_doubtful():
    points, confidence = room()
    generator = torch.Generator().manual_seed(1)
    sigmas = []
    for noise in (0.01, 0.05, 0.2):
        other = points * (noise * torch.randn(96, 128, 1, generator=generator)).exp()
        sigmas.append(scale_between(points, confidence, other, confidence).sigma)
    assert sigmas == sorted(sigmas)
    assert sigmas[1] == pytest.approx(0.05 * math.sqrt(math.pi / 2 / INDEPENDENT), rel=0.1)
    assert isinstance(scale_between(points, confidence, points, confidence), LogRatio)


@pytest.mark.parametrize("spoil", ["nan", "behind", "unsure"])
def test_where_nothing_is_usable_nothing_is_said(spoil):
    points, confidence = room()
    if spoil == "nan":
        other, other_confidence = points * float("nan"), confidence
    elif spoil == "behind":
        other, other_confidence = -points, confidence
    else:
        other, other_confidence = points, torch.ones_like(confidence)
    assert scale_between(points, confidence, other, other_confidence) is None
