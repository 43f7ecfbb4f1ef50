"""What is made of the network's word on two keyframes, from a network that is told what to say."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from ttt3r_ros.camera.preprocess import PixelMap
from ttt3r_ros.camera.upright import turned_axes
from ttt3r_ros.geometry import inverse, quaternion_from_rotation, unproject
from ttt3r_ros.places.keyframe import Keyframe
from ttt3r_ros.places.pieces import finished
from ttt3r_ros.places.two_frame import both_ways

#: How many of the keyframes' meters one of the network's is.
FACTOR = 1.5


class Told:
    """Knows the depth and the pose of two keyframes, in lengths of its own."""

    def __init__(self, keyframes, poses, *, hidden: float = 0.0) -> None:
        self.seen = [
            (k.image, unproject(full(k) / FACTOR / scale, k.intrinsics)) for k, scale in zip(keyframes, (1, 0.8))
        ]
        self.poses, self.hidden, self.steps = poses, hidden, 0

    def planes(self, image, mapping):
        assert mapping.size == image.shape[1::-1]
        return torch.from_numpy(image.copy()).permute(2, 0, 1)

    def step(self, image, state, *, rule, outputs):
        self.steps += 1
        rgb = ((image[0].permute(1, 2, 0) + 1) * 127.5).round().numpy()
        index = int(np.argmin([np.abs(known - rgb).mean() for known, _ in self.seen]))
        first = index if state is None else state
        T = inverse(self.poses[first].rigid) @ self.poses[index].rigid
        points = self.seen[index][1].copy()
        points[: round(self.hidden * len(points))] = np.nan
        prediction = SimpleNamespace(
            translation=torch.from_numpy(T[None, :3, 3]) / FACTOR,
            quaternion=torch.from_numpy(quaternion_from_rotation(T[:3, :3])[None]),
            points_camera=torch.from_numpy(points)[None],
        )
        return prediction, first


def full(keyframe):
    return np.repeat(np.repeat(keyframe.depth.astype(np.float32), 2, axis=0), 2, axis=1)


def test_both_orders_say_pose_and_scale_in_the_keyframes_meters(views, pair):
    old, new, true = pair
    network = Told((old, new), views[1])
    looks = finished(both_ways(network, old, new))
    assert network.steps == 4
    for look in looks:
        np.testing.assert_allclose(look.S_old_new.R, true.R, atol=1e-6)
        np.testing.assert_allclose(look.S_old_new.t, true.t, atol=1e-3)
        assert look.S_old_new.scale == pytest.approx(true.scale, rel=1e-3)
        assert look.spread < 1e-3


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_rolled_camera_is_turned_upright_and_answered_as_it_is(views, pair, turns):
    old, new, true = pair
    R, looks = (
        turned_axes(turns),
        finished(both_ways(Told((old, new), views[1]), *(turned(k, turns) for k in pair[:2]))),
    )
    for look in looks:
        np.testing.assert_allclose(look.S_old_new.R, R.T @ true.R @ R, atol=1e-6)
        np.testing.assert_allclose(look.S_old_new.t, R.T @ true.t, atol=1e-3)
        assert look.S_old_new.scale == pytest.approx(true.scale, rel=1e-3)
        assert look.spread < 1e-3


def turned(keyframe: Keyframe, turns: int) -> Keyframe:
    """Return what a rolled camera would have seen there."""
    width, height = keyframe.pixel_map.size[:: -1 if turns % 2 else 1]
    image = np.ascontiguousarray(np.rot90(keyframe.image, -turns)[..., ::-1])
    return dataclasses.replace(
        keyframe,
        turns=turns,
        jpeg=cv2.imencode(".png", image)[1],
        pixel_map=PixelMap((width, height), (width, height), (0, 0), (width, height)),
        depth=np.rot90(keyframe.depth, -turns),
        confidence=np.rot90(keyframe.confidence, -turns),
    )


def test_a_network_that_sees_no_depth_is_of_no_use(views, pair):
    old, new, _ = pair
    assert finished(both_ways(Told((old, new), views[1], hidden=0.95), old, new)) is None
