from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.stream.alignment import scale_between


def room(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a pointmap (96, 128, 3) and a confidence (96, 128)."""
    generator = torch.Generator().manual_seed(seed)
    depth = 1 + 4 * torch.rand(96, 128, generator=generator)
    v, u = torch.meshgrid(torch.linspace(-0.4, 0.4, 96), torch.linspace(-0.6, 0.6, 128), indexing="ij")
    return torch.stack([u * depth, v * depth, depth], dim=-1), 1 + 3 * torch.rand(96, 128, generator=generator)


@given(st.floats(0.2, 5.0))
def test_an_exact_scale_is_found(scale):
    points, confidence = room()
    assert scale_between(points, confidence, points / scale, confidence) == pytest.approx(scale, rel=1e-4)


def test_noise_outliers_and_doubtful_regions_do_not_move_it():
    points, confidence = room()
    generator = torch.Generator().manual_seed(1)
    other = points / 1.3 * (1 + 0.05 * torch.randn(96, 128, 1, generator=generator))
    other[torch.rand(96, 128, generator=generator) < 0.2] *= 4.0  # gross errors
    other[:, :60] *= 0.5  # nearly half the image is wrong, and the network knows it
    doubtful = confidence.clone()
    doubtful[:, :60] = 1.01
    assert scale_between(points, confidence, other, doubtful) == pytest.approx(1.3, rel=0.03)


def test_a_scale_and_its_inverse_cancel():
    (a, confidence_a), (b, confidence_b) = room(0), room(1)
    forth, back = scale_between(a, confidence_a, b, confidence_b), scale_between(b, confidence_b, a, confidence_a)
    assert forth * back == pytest.approx(1.0, rel=1e-2)


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
