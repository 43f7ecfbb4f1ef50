from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.model.heads import decode_color, decode_points, expand


@given(st.lists(st.floats(-8, 8, width=32), min_size=3, max_size=3))
def test_expand_keeps_direction_and_stretches_length(values):
    raw = torch.tensor(values)
    length = float(raw.norm())
    found = expand(raw)
    assert float(found.norm()) == pytest.approx(math.expm1(length), rel=1e-4, abs=1e-6)
    assert float(found @ raw) == pytest.approx(float(found.norm()) * length, rel=1e-4, abs=1e-6)


def test_expand_is_smooth_at_zero():
    raw = torch.zeros(3, requires_grad=True)
    expand(raw).sum().backward()
    assert torch.equal(expand(raw).detach(), torch.zeros(3))
    assert raw.grad is not None
    torch.testing.assert_close(raw.grad, torch.ones(3))


def test_points_and_confidence_are_told_apart():
    raw = torch.tensor([0.0, 0.0, math.log(3.0), 0.0]).view(1, 4, 1, 1).expand(1, 4, 2, 3)
    points, confidence = decode_points(raw)
    torch.testing.assert_close(points, torch.tensor([0.0, 0.0, 2.0]).expand(1, 2, 3, 3))
    torch.testing.assert_close(confidence, torch.full((1, 2, 3), 2.0))


def test_colors_stay_inside_their_range():
    colors = decode_color(torch.tensor([-1e3, 0.0, 1e3]).view(1, 3, 1, 1))
    assert colors.flatten().tolist() == pytest.approx([-1.0, 0.0, 1.0], abs=1e-5)
    assert colors.abs().max() < 1
