"""Places that look alike, as much as they are said to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ttt3r_ros.errors import UserError
from ttt3r_ros.synthetic import TRAPS, Sequence


def views(trap: str, *places: tuple[float, float, float]):
    """Render a trap from places (x, y, yaw)."""
    sequence = Sequence(3, 1, width=80, height=60, motion="wheeled", trap=trap)
    poses = np.tile(np.eye(4), (len(places), 1, 1))
    for T, (x, y, yaw) in zip(poses, places):
        T[:3, 0], T[:3, 1] = (np.sin(yaw), -np.cos(yaw), 0), (0, 0, -1)
        T[:3, 2], T[:3, 3] = (np.cos(yaw), np.sin(yaw), 0), (x, y, 1.2)
    sequence.T_world_camera = torch.from_numpy(poses)
    return sequence.render(0, len(places))


def test_twins_cannot_be_told_apart():
    seen = views("twins", (3.0, 3.4, 1.3), (3.0 + 6.06, 3.4, 1.3))
    assert float((seen.depth[0] - seen.depth[1]).abs().max()) < 1e-3
    assert float((seen.image[0].float() - seen.image[1].float()).abs().mean()) < 1.0


def test_a_mirrored_room_has_a_mirrored_shape():
    seen = views("mirrored", (3.0, 3.4, 1.3), (9.0, 3.4, np.pi - 1.3))
    assert float((seen.depth[0] - seen.depth[1].flip(1)).abs().max()) < 1e-3
    assert float((seen.depth[0] - seen.depth[1]).abs().max()) > 0.1


def test_doors_are_equal_along_the_corridor():
    seen = views("doors", (3.0, 1.3, -np.pi / 2), (4.5, 1.3, -np.pi / 2))
    assert float((seen.depth[0] - seen.depth[1]).abs().median()) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("trap", TRAPS)
def test_a_robot_can_walk_through_a_trap(trap):
    path = Sequence(5, 600, width=80, height=60, fps=5, motion="wheeled", trap=trap).T_world_camera[:, :3, 3]
    assert float(path[:, 0].max() - path[:, 0].min()) > 4.0


def test_an_unknown_trap_is_refused():
    with pytest.raises(UserError, match="one of twins, mirrored, doors"):
        Sequence(1, 1, trap="pit")
