from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ttt3r_ros.errors import UserError
from ttt3r_ros.evaluation.pose_errors import pose_errors
from ttt3r_ros.geometry import T_from_pose

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "evaluation" / "pose.npz")


def figures(estimate: np.ndarray, truth: np.ndarray) -> list[float]:
    found = pose_errors(estimate.astype(np.float64), truth)
    return [found.ate, found.rpe_translation, found.rpe_rotation]


def tum_poses(rows: np.ndarray) -> np.ndarray:
    return np.array([T_from_pose(row[1:4], row[[7, 4, 5, 6]]) for row in rows])


@pytest.mark.parametrize("name", ["walk", "loop"])
def test_errors_are_the_published_ones(name):
    estimate = GOLDEN[f"{name}/est_T_world_camera"]
    found = figures(estimate, tum_poses(GOLDEN[f"{name}/gt_tum"]))
    assert found == pytest.approx(GOLDEN[f"{name}/ate_rpetrans_rperot"].tolist(), rel=1e-5)
    assert [round(value, 6) for value in found] == pytest.approx(GOLDEN[f"{name}/as_parsed_from_text"], abs=1.1e-6)
    of_rows = figures(estimate, GOLDEN[f"{name}/gt_rows16"])
    assert of_rows == pytest.approx(GOLDEN[f"{name}/ate_rpetrans_rperot_rows16"].tolist(), rel=1e-5)


def test_their_mean_is_the_published_one():
    found = [figures(GOLDEN[f"{n}/est_T_world_camera"], tum_poses(GOLDEN[f"{n}/gt_tum"])) for n in ("walk", "loop")]
    assert np.round(found, 6).mean(axis=0) == pytest.approx(GOLDEN["average"], abs=1e-6)


def test_a_path_in_another_world_and_scale_is_perfect():
    truth = tum_poses(GOLDEN["loop/gt_tum"])
    other = T_from_pose((3, -2, 1), (0.5, 0.1, -0.7, 0.4)) @ truth
    other[:, :3, 3] *= 0.3
    assert figures(other, truth) == pytest.approx([0, 0, 0], abs=1e-5)
    assert figures(np.linalg.inv(other), truth)[0] > 0.05


@pytest.mark.parametrize("truth", [np.zeros((5, 3)), np.outer(np.arange(5), (1, 0, 0))], ids=["still", "straight"])
def test_a_path_that_cannot_be_aligned_is_refused(truth):
    poses = np.array([T_from_pose(position, (1, 0, 0, 0)) for position in truth])
    with pytest.raises(UserError, match="stands still or moves exactly on a line"):
        pose_errors(poses, poses)


def test_a_truth_that_is_not_finite_is_refused():
    poses = tum_poses(GOLDEN["loop/gt_tum"])
    lost = poses.copy()
    lost[7] = -np.inf
    with pytest.raises(UserError, match="frame 7 is not finite"):
        pose_errors(poses, lost)
