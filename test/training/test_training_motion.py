from __future__ import annotations

import numpy as np
import pytest
import torch
from training_recipe import generator

from training.motion import invert, quaternion_from_rotation, random_turns, roams, rotation_from_vector, tilts, walks
from ttt3r_ros import geometry


def test_quaternions_are_those_of_the_core():
    angle = torch.linspace(1e-5, 3.1, 50)[:, None]
    axis = torch.nn.functional.normalize(torch.randn(50, 3, generator=generator()), dim=-1)
    R = rotation_from_vector(axis * angle)
    expected = [geometry.quaternion_from_rotation(one.double().numpy()) for one in R]
    np.testing.assert_allclose(quaternion_from_rotation(R).numpy(), expected, atol=3e-4)
    small = angle[:, 0] < 2.5  # what a clip can hold
    np.testing.assert_allclose(quaternion_from_rotation(R[small]).numpy(), np.array(expected)[small], atol=2e-6)


def test_rotation_vectors_are_those_of_the_core():
    vectors = torch.randn(20, 3, generator=generator()) * 0.5
    for R, vector in zip(rotation_from_vector(vectors), vectors):
        np.testing.assert_allclose(geometry.rotation_vector(R.double().numpy()), vector.numpy(), atol=1e-5)


def test_inverses():
    T = random_turns(4, 3, 90.0, 2.0, generator())
    torch.testing.assert_close(invert(T) @ T, torch.eye(4).expand(4, 3, 4, 4), atol=1e-6, rtol=0)


def test_turns_start_with_none_and_keep_to_their_limits():
    T = random_turns(500, 3, 10.0, 0.3, generator())
    assert torch.equal(T[:, 0], torch.eye(4).expand(500, 4, 4))
    angles = 2 * quaternion_from_rotation(T[:, 1:, :3, :3])[..., 0].clamp(max=1).acos().rad2deg()
    shifts = T[:, 1:, :3, 3].norm(dim=-1)
    assert 9.0 < angles.max() <= 10.01
    assert 0.28 < shifts.max() <= 0.3001
    assert 4.5 < angles.mean() < 5.5  # uniform
    assert torch.equal(random_turns(5, 2, 10.0, 0.0, generator())[..., :3, 3], torch.zeros(5, 2, 3))


def test_a_tilt_turns_and_does_not_move():
    T = tilts(50, 4.0, generator())
    assert T.shape == (50, 1, 4, 4)
    assert torch.equal(T[..., :3, 3], torch.zeros(50, 1, 3))
    angles = 2 * quaternion_from_rotation(T[..., :3, :3])[..., 0].clamp(max=1).acos().rad2deg()
    assert 3.0 < angles.max() <= 4.01


def test_walks_follow_their_path_both_ways():
    paths = torch.eye(4).repeat(200, 30, 1, 1)
    paths[:, :, 0, 3] = torch.arange(30.0)  # x tells the time
    paths[:, :, 1, 3] = torch.arange(200.0)[:, None]  # y tells the path
    pieces = walks(paths, 5, 3, generator())
    assert torch.equal(pieces[:, :, 1, 3], torch.arange(200.0)[:, None].expand(200, 5))
    steps = pieces[:, 1:, 0, 3] - pieces[:, :-1, 0, 3]
    assert torch.equal(steps, steps[:, :1].expand(200, 4))
    assert set(steps[:, 0].tolist()) == {-3.0, -2.0, -1.0, 1.0, 2.0, 3.0}
    assert 0.05 < (steps[:, 0] < 0).float().mean() < 0.3
    assert pieces[..., 0, 3].min() == 0
    assert pieces[..., 0, 3].max() == 29


def test_roaming_is_all_that_a_robot_does():
    """On a straight path along x, looking along it at height 1."""
    paths = torch.zeros((2000, 60, 4, 4))
    paths[..., 0, 2] = paths[..., 3, 3] = 1.0
    paths[..., 1, 0] = paths[..., 2, 1] = -1.0
    paths[..., 0, 3], paths[..., 2, 3] = 0.1 * torch.arange(60.0), 1.0
    T = roams(paths, 16, 3, generator())
    torch.testing.assert_close(
        T[..., :3, :3].mT @ T[..., :3, :3], torch.eye(3).expand(2000, 16, 3, 3), atol=1e-5, rtol=0
    )
    way = T[:, 1:, 0, 3] - T[:, :-1, 0, 3]
    turned = (T[:, 1:, :3, :3] - T[:, :-1, :3, :3]).flatten(1).abs().amax(dim=1) > 1e-4
    still = (way.abs().amax(dim=1) < 1e-6) & ~turned
    ahead, back = (way > 0.05).all(dim=1), (way < -0.05).all(dim=1)
    again = (way > 0.05).any(dim=1) & (way < -0.05).any(dim=1) & ~turned
    for happens, share in ((ahead, 0.40), (back, 0.15), (again, 0.15), (turned, 0.22), (still, 0.08)):
        assert abs(happens.float().mean() - share) < 0.04
    assert (ahead | back | again | turned | still).all()
    spot = T[turned]
    assert (spot[:, :, :2, 3] - spot[:, :1, :2, 3]).norm(dim=-1).max() <= 0.5
    around = (
        2 * quaternion_from_rotation(spot[:, 0, :3, :3].mT @ spot[:, 1, :3, :3])[:, 0].clamp(max=1).acos().rad2deg()
    )
    assert 0.4 < around.min() < 360 / 31 < around.max() < 12.1  # 31 motions in the longest clips
    height = T[:, 0, 2, 3]
    assert ((height - 1).abs() < 1e-6).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert 0.15 <= height.min() < 0.3
    assert 1.7 < height.max() <= 1.9
    rise = T[:, 1:, 2, 3] - T[:, :-1, 2, 3]
    assert rise.abs().max() <= 0.0601
    assert 0.1 < (rise.abs().amax(dim=1) > 1e-3).float().mean() < 0.2
    assert 0.149 < T[..., 2, 3].min() < T[..., 2, 3].max() < 1.901
    upside_down = (T[:, 0, 2, 1] > 0.3).float().mean()  # the image's down is up
    assert 0.05 < upside_down < 0.15
    back_mounted = (T[:, 0, 0, 2] < -0.3).float().mean()
    assert 0.03 < back_mounted < 0.2
    on_side = (T[:, 0, 2, 0].abs() > 0.5).float().mean()  # the image's right is up or down, by more than 30°
    assert 0.04 < on_side < 0.1
