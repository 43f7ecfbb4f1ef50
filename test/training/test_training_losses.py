from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from training_recipe import TINY_RECIPE, generator

from training.clips import Clips, training_camera
from training.config import Stage
from training.losses import CONFIDENCE_REWARD, Targets, compress, figures, losses, targets
from training.motion import random_turns
from training.unroll import RawClip
from ttt3r_ros.model.heads import expand

CAMERA = training_camera(TINY_RECIPE)
STAGE = Stage("all", 1.0, frames=2, batch=3, camera=1.0, world=1.0, pose=1.0)


@pytest.fixture
def truth() -> Targets:
    depth = 1 + 4 * torch.rand((3, 2, CAMERA.height, CAMERA.width), generator=generator())
    motion = random_turns(3, 2, 30.0, 0.5, generator())
    image = torch.zeros((3, 2, CAMERA.height, CAMERA.width, 3), dtype=torch.uint8)
    return targets(Clips(image, depth, motion, torch.ones(len(image))), CAMERA)


def perfect(truth: Targets, confidence: float = 0.0) -> RawClip:
    def with_confidence(points: torch.Tensor) -> torch.Tensor:
        return torch.cat([points, torch.full_like(points[:, :, :1], confidence)], dim=2)

    return RawClip(
        with_confidence(truth.camera), with_confidence(truth.world), truth.translation, 3.0 * truth.quaternion
    )


def test_raw_space_is_the_heads_own():
    meters = torch.randn(50, 3, generator=generator()) * 3
    torch.testing.assert_close(expand(compress(meters)), meters, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(compress(meters.T, dim=0).T, compress(meters))


def test_the_truth_is_laid_out_as_the_heads_are(truth: Targets):
    points = expand(truth.camera.movedim(2, -1))
    torch.testing.assert_close(points[..., 2], truth.depth, atol=1e-4, rtol=1e-4)
    # a pixel to the right looks right, one further down looks down
    assert (points[..., -1, 0] > 0).all()
    assert (points[..., 0, 0] < 0).all()
    assert (points[..., -1, :, 1] > 0).all()
    # the first camera is the world
    torch.testing.assert_close(truth.world[:, 0], truth.camera[:, 0])
    world = expand(truth.world.movedim(2, -1))[0, 1]
    T = truth.T_first_camera[0, 1]
    torch.testing.assert_close(world, points[0, 1] @ T[:3, :3].T + T[:3, 3], atol=1e-4, rtol=1e-4)


def test_a_perfect_prediction_has_no_error(truth: Targets):
    _, parts = losses(perfect(truth, confidence=-30.0), truth, STAGE)
    assert parts.keys() == {"camera", "edges", "world", "rotation", "translation"}
    for name, value in parts.items():
        assert abs(value) < 3e-3, name
    judged = figures(perfect(truth), truth)
    assert judged["abs_rel"] < 1e-4
    assert judged["delta_125"] == 1
    assert judged["rotation_ratio"] < 1e-2
    assert judged["translation_ratio"] < 1e-3


def test_a_quaternion_and_its_negative_are_one_rotation(truth: Targets):
    raw = perfect(truth)
    turned = replace(raw, quaternion=-0.1 * raw.quaternion)
    _, parts = losses(turned, truth, STAGE)
    assert parts["rotation"] < 3e-3
    assert figures(turned, truth)["rotation_ratio"] < 1e-2


def test_the_pose_losses_are_about_angle_and_way(truth: Targets):
    """Far off, a component's error counts as it is; close by, its square."""
    raw = perfect(truth)

    def parts_for(angle: float, shift: float) -> dict[str, float]:
        turn = torch.tensor([math.cos(angle / 2), 0.0, math.sin(angle / 2), 0.0]).expand(3, 2, 4)
        still = replace(truth, quaternion=torch.tensor([1.0, 0, 0, 0]).expand(3, 2, 4))
        moved = raw.translation + torch.tensor([0.0, shift, 0.0])
        parts = losses(replace(raw, quaternion=turn, translation=moved), still, STAGE)[1]
        return {name: float(value) for name, value in parts.items()}

    far, further = parts_for(0.2, 0.5), parts_for(0.3, 0.7)
    assert further["rotation"] - far["rotation"] == pytest.approx(0.1, rel=0.1)
    assert further["translation"] - far["translation"] == pytest.approx(0.2, rel=0.01)
    near, nearer = parts_for(0.02, 0.1), parts_for(0.01, 0.05)
    for name in ("rotation", "translation"):
        assert near[name] == pytest.approx(4 * nearer[name], rel=0.05)


def test_a_network_that_sees_no_motion_is_off_by_all_of_it(truth: Targets):
    still = replace(perfect(truth), quaternion=torch.tensor([1.0, 0, 0, 0]).expand(3, 2, 4))
    assert figures(still, truth)["rotation_ratio"] == pytest.approx(1.0)


def test_the_edge_loss_sees_what_differs_between_neighbors_alone(truth: Targets):
    raw = perfect(truth)
    everywhere = torch.tensor([0.0, 0.0, 0.4, 0.0]).view(1, 1, 4, 1, 1)
    assert losses(replace(raw, camera=raw.camera + everywhere), truth, STAGE)[1]["edges"] < 1e-5
    beside = raw.camera.clone()
    beside[..., 2, :, 32:] += 0.4  # one seam between two columns, of which step 1 sees 1 in 63 and step 4, 4 in 60
    expected = 0.4 * (1 / 63 + 4 / 60)
    assert losses(replace(raw, camera=beside), truth, STAGE)[1]["edges"] == pytest.approx(expected, rel=1e-3)


def test_confidence_pays_where_the_error_is_small(truth: Targets):
    error = 0.05
    best = CONFIDENCE_REWARD / error
    assert best > 1
    stage = replace(STAGE, edges=0.0, world=0.0, pose=0.0)
    off = torch.tensor([0.0, 0.0, error, 0.0]).view(1, 1, 4, 1, 1)

    def loss(confidence: float) -> float:
        raw = perfect(truth, float(torch.tensor(confidence - 1).log()))
        return float(losses(replace(raw, camera=raw.camera + off, world=None), truth, stage)[0])

    assert loss(best) < loss(1.2 * best)
    assert loss(best) < loss(0.9 * best)
