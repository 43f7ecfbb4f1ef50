from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ttt3r_ros.errors import UserError
from ttt3r_ros.evaluation import reconstruction
from ttt3r_ros.evaluation.reconstruction import (
    CloudErrors,
    compare_clouds,
    icp,
    moved,
    normalization,
    normals_of,
    thinned,
    world_clouds,
)
from ttt3r_ros.geometry import Intrinsics, T_from_pose, inverse, unproject

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "evaluation" / "reconstruction.npz")


@pytest.fixture(params=["scipy", "open3d"], autouse=True)
def library(request, monkeypatch):
    if request.param == "open3d":
        pytest.importorskip("open3d", reason="the optional extra open3d cannot be imported", exc_type=ImportError)
    else:
        monkeypatch.setattr(reconstruction, "_open3d", lambda: None)


def accuracy(e: CloudErrors) -> list[float]:
    return [e.acc, e.acc_median, e.nc1, e.nc1_median]


def completeness(e: CloudErrors) -> list[float]:
    return [e.comp, e.comp_median, e.nc2, e.nc2_median]


def views() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    depth = GOLDEN["views/depth_mm"].astype(np.float32) / np.float32(1000)
    depth[GOLDEN["views/depth_mm"] == 65535] = 0
    depth[(depth > 10) | (depth < 0.001)] = 0
    K, poses = GOLDEN["views/K"].astype(np.float64), GOLDEN["views/T_world_camera"].astype(np.float64)
    camera = Intrinsics(K[0, 0], K[1, 1], K[0, 2], K[1, 2], 48, 40)
    truth = np.stack([moved(unproject(d, camera), T) for d, T in zip(depth, poses)])
    return truth, GOLDEN["views/pred_points_in_camera1"], depth > 0, poses


def test_icp_and_errors_of_clouds_are_the_published_ones():
    predicted, truth = GOLDEN["clouds/pred"], GOLDEN["clouds/gt"]
    T, fitness, rmse = icp(predicted, truth)
    np.testing.assert_allclose(T, GOLDEN["clouds/icp_T"], atol=1e-6)
    assert [fitness, rmse] == pytest.approx(GOLDEN["clouds/icp_fitness_rmse"].tolist(), rel=1e-6)
    errors = compare_clouds(predicted, truth)
    assert accuracy(errors) == pytest.approx(GOLDEN["clouds/acc_mean_median_nc1_mean_median"].tolist(), rel=1e-5)
    assert completeness(errors) == pytest.approx(GOLDEN["clouds/comp_mean_median_nc2_mean_median"].tolist(), rel=1e-5)
    cosines = (normals_of(truth)[:200] * GOLDEN["clouds/gt_normals_first_200"]).sum(axis=1)
    assert np.abs(cosines).min() > 1 - 1e-5


def test_shifts_and_sizes_are_the_published_ones():
    truth, predicted, valid, poses = views()
    found = normalization(moved(truth, inverse(poses[0]))[valid], predicted[valid])
    values = [found.truth_shift, found.predicted_shift, found.truth_size, found.predicted_size]
    assert values == pytest.approx(GOLDEN["views/gt_shift_pred_shift_gt_scale_pred_scale"].tolist(), rel=1e-5)
    shift = np.array([0, 0, found.predicted_shift], np.float32)
    np.testing.assert_allclose((predicted - shift) * found.scale, GOLDEN["views/aligned_pred_points"], atol=1e-5)


def test_errors_of_views_are_the_published_ones():
    truth, predicted, valid, poses = views()
    clouds = world_clouds(truth, predicted, valid, poses[0], 24)
    assert len(clouds[0]) == len(clouds[1]) == GOLDEN["views/points_used"]
    np.testing.assert_allclose(icp(*clouds)[0], GOLDEN["views/icp_T"], atol=1e-4)
    errors = compare_clouds(*clouds)
    assert accuracy(errors) == pytest.approx(GOLDEN["views/acc_mean_median_nc1_mean_median"].tolist(), rel=3e-4)
    assert completeness(errors) == pytest.approx(
        GOLDEN["views/comp_mean_median_nc2_mean_median"].tolist(), rel=3e-4
    )  # rounding of float32 points moves the normals' cosines by up to 3e-4 here


def test_a_perfect_prediction_in_another_scale_is_perfect():
    truth, _, valid, poses = views()
    predicted = np.float32(0.4) * moved(truth, inverse(poses[0]))
    errors = compare_clouds(*world_clouds(truth, predicted, valid, poses[0], 24))
    assert max(errors.acc, errors.comp) < 1e-4
    assert min(errors.nc1, errors.nc2) > 0.99


def test_clouds_without_partners_stay_where_they_are():
    cloud = np.random.default_rng(1).uniform(0, 1, (40, 3))
    T, fitness, rmse = icp(cloud, cloud + 50)
    np.testing.assert_array_equal(T, np.eye(4))
    assert (fitness, rmse) == (0, 0)


def test_icp_finds_a_small_motion():
    cloud = np.random.default_rng(1).uniform(0, 1, (400, 3))
    T = T_from_pose((0.01, -0.02, 0.01), (1, 0.005, 0.0, -0.004))
    np.testing.assert_allclose(icp(cloud, moved(cloud, T))[0], T, atol=1e-6)


def test_a_thinned_cloud_has_one_mean_point_a_voxel():
    points = np.array([[0.01, 0, 0], [0.03, 0, 0], [0.11, 0, 0]], np.float32)
    assert thinned(points, 0.1).tolist() == [pytest.approx([0.02, 0, 0]), pytest.approx([0.11, 0, 0])]
    cloud = GOLDEN["clouds/gt"]
    voxelised = compare_clouds(cloud, cloud, voxel=0.05)
    assert voxelised.acc == pytest.approx(0, abs=1e-6)


def test_nothing_to_compare_is_said():
    with pytest.raises(UserError, match="no pixel of the sequence has a true depth"):
        normalization(np.empty((0, 3), np.float32), np.empty((0, 3), np.float32))
    with pytest.raises(UserError, match="without points"):
        compare_clouds(np.empty((0, 3), np.float32), np.ones((3, 3), np.float32))
