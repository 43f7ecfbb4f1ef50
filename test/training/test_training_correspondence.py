from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from training_recipe import TINY_RECIPE, generator

from training.clips import Clips, training_camera
from training.correspondence import CELLS, correspondence
from training.losses import compress
from training.motion import random_turns, rotation_from_vector
from ttt3r_ros.model.config import PATCH

CAMERA = training_camera(replace(TINY_RECIPE, width=128, height=96))
ROWS, COLUMNS = 6, 8


def clips_with(T_first_camera: torch.Tensor, depth: torch.Tensor | None = None) -> Clips:
    count, frames = T_first_camera.shape[:2]
    if depth is None:
        depth = 1.5 + 3 * torch.rand((count, frames, 96, 128), generator=generator(1))
    return Clips(torch.zeros((count, frames, 96, 128, 3), dtype=torch.uint8), depth, T_first_camera, torch.ones(count))


def small_motions(count: int, twist: torch.Tensor) -> torch.Tensor:
    """Return (count, 2, 4, 4): nothing, then a small turn and shift."""
    T = torch.eye(4).repeat(count, 2, 1, 1)
    T[:, 1, :3, :3] = rotation_from_vector(twist[:, :3])
    T[:, 1, :3, 3] = twist[:, 3:]
    return T


def places() -> torch.Tensor:
    """Return (M, 2) x, y of all patches."""
    return torch.cartesian_prod(torch.arange(ROWS), torch.arange(COLUMNS)).flip(-1).float()


def test_nothing_moves_where_the_camera_stands():
    truth = correspondence(clips_with(torch.eye(4).repeat(2, 3, 1, 1)), CAMERA)
    assert truth.displacement.shape == (2, 2, ROWS * COLUMNS, CELLS**2, 2)
    assert truth.displacement.abs().max() < 1e-5
    assert truth.known.all()
    assert truth.moments.abs().max() < 1e-4
    assert truth.shift.abs().max() < 1e-5


def test_a_turn_moves_everything_alike_at_any_depth():
    """Seen from the first camera, what a camera turned right by 5° has in its middle lies 5° to the right."""
    twist = torch.tensor([[0.0, torch.pi / 36, 0.0, 0.0, 0.0, 0.0]])
    truth = correspondence(clips_with(small_motions(1, twist)), CAMERA)
    middle = truth.displacement[0, 0].view(ROWS, COLUMNS, CELLS**2, 2)[2:4, 3:5]
    expected = CAMERA.fx * torch.tan(twist[0, 1]) / PATCH
    assert middle[..., 0].mean() == pytest.approx(float(expected), rel=0.02)
    assert middle[..., 1].abs().max() < 0.05
    # the places of patches move with their points: bilinear weights say where to
    seen = truth.weights[0, 0] @ places()
    expected_place = places() + truth.displacement[0, 0].mean(dim=1)
    inside = truth.inside[0, 0]
    assert inside.any()
    torch.testing.assert_close(seen[inside], expected_place[inside], atol=1e-4, rtol=0)
    torch.testing.assert_close(truth.weights[0, 0].sum(-1)[inside], torch.ones(int(inside.sum())))
    assert not inside.view(ROWS, COLUMNS)[:, -1].any()  # they were out of sight


def test_a_shift_moves_what_is_near_further():
    depth = torch.full((1, 2, 96, 128), 2.0)
    depth[..., 64:] = 4.0
    truth = correspondence(clips_with(small_motions(1, torch.tensor([[0, 0, 0, 0.2, 0, 0]])), depth), CAMERA)
    cells = truth.displacement[0, 0].view(ROWS, COLUMNS, CELLS**2, 2)[..., 0]
    torch.testing.assert_close(cells[:, :4].mean(), torch.tensor(CAMERA.fx * 0.1 / PATCH), rtol=1e-4, atol=0)
    torch.testing.assert_close(cells[:, 4:].mean(), torch.tensor(CAMERA.fx * 0.05 / PATCH), rtol=1e-4, atol=0)


def test_the_average_moments_give_the_motion():
    """Jᵀf summed is the right side of the normal equations: with their left side the motion comes out."""
    count = 8
    twist = 0.01 * torch.randn((count, 6), generator=generator(2))
    depth = (1.5 + 3 * torch.rand((count, 1, 96, 128), generator=generator(3))).expand(-1, 2, -1, -1)
    moments = correspondence(clips_with(small_motions(count, twist), depth), CAMERA).moments[:, 0].mean(dim=1)
    basis = [
        correspondence(clips_with(small_motions(count, 1e-3 * torch.eye(6)[k].expand(count, 6)), depth), CAMERA)
        for k in range(6)
    ]
    left = torch.stack([b.moments[:, 0].mean(dim=1) / 1e-3 for b in basis], dim=-1)  # one column for each motion
    torch.testing.assert_close(left, left.mT, atol=0.1, rtol=0.02)  # JᵀJ is symmetric
    found = torch.linalg.solve(left, moments)
    assert (found - twist).norm(dim=-1).max() < 0.1 * twist.norm(dim=-1).min()


def test_shifts_are_the_difference_of_raw_points():
    T = random_turns(2, 3, 15.0, 0.3, generator())
    clips = clips_with(T)
    truth = correspondence(clips, CAMERA)
    row, column, cell = 2, 5, 3  # the lower right cell of four
    pixel = (PATCH * row + 3 * PATCH // 4, PATCH * column + 3 * PATCH // 4)
    z = clips.depth[:, 1:, pixel[0], pixel[1]]
    point = torch.stack([(pixel[1] - CAMERA.cx) / CAMERA.fx * z, (pixel[0] - CAMERA.cy) / CAMERA.fy * z, z], dim=-1)
    there = torch.einsum("btij,btj->bti", T[:, 1:, :3, :3], point) + T[:, 1:, :3, 3]
    torch.testing.assert_close(truth.shift[:, :, row * COLUMNS + column, cell], compress(there) - compress(point))


def test_what_is_behind_the_first_camera_is_left_out():
    back = torch.tensor([[0.0, torch.pi * 0.9, 0.0, 0.0, 0.0, 0.0]])
    truth = correspondence(clips_with(small_motions(1, back)), CAMERA)
    assert not truth.known.any()
    assert not truth.inside.any()
    assert torch.isfinite(truth.displacement).all()
    assert truth.moments.abs().max() == 0
