from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from benchmark import covariance
from benchmark.covariance_fit import PARTS, Steps, _balanced, calibration, fit, replay
from benchmark.covariance_runs import Kind, Walked, load, save
from ttt3r_ros.geometry import rotation_vector, twist_between
from ttt3r_ros.stream.covariance import CovarianceModel

FPS = 10.0
TRUE = CovarianceModel(
    metres=0.004,
    metres_per_metre=0.05,
    metres_per_radian=0.01,
    radians=0.002,
    radians_per_metre=0.01,
    radians_per_radian=0.03,
    lasting_translation=1.0,
    lasting_rotation=1.0,
    scale=0.05,
    confidence_power=0.5,
    translation_memory=1e-4,
    rotation_memory=1e-4,
)


def turn(vector: np.ndarray) -> np.ndarray:
    """Return the (3, 3) rotation of a rotation vector (Rodrigues)."""
    angle = np.linalg.norm(vector) + 1e-12
    x, y, z = vector / angle
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K


def rigid(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, t
    return T


def walked(seed: int, frames: int, model: CovarianceModel = TRUE, told: np.ndarray | None = None) -> Walked:
    """Return a walk whose errors are as a model says."""
    rng = np.random.default_rng(seed)
    scale = 1.0 + model.scale * rng.normal()
    truth, poses, confidences = [np.eye(4)], [np.eye(4)], [2.0]
    twists, rate = [np.zeros(6)], rng.uniform(-1.0, 1.0)
    memories = np.repeat([model.translation_memory, model.rotation_memory], 3)
    correlation, noise = np.exp(-1 / FPS / memories), rng.normal(size=6)
    for _ in range(frames - 1):
        step, angle = np.array([rng.uniform(0.0, 0.1), 0.0, 0.0]), np.array([0.0, 0.0, rate / FPS * rng.uniform(0, 1)])
        confidence = rng.uniform(1.5, 6.0)
        sigmas = model.step_sigmas(float(np.linalg.norm(step)), float(np.linalg.norm(angle)), confidence)
        truth.append(truth[-1] @ rigid(turn(angle), step))
        noise = correlation * noise + np.sqrt(1 - correlation**2) * rng.normal(size=6)
        noisy = rigid(turn(angle + sigmas[1] * noise[3:]), scale * step + sigmas[0] * noise[:3])
        poses.append(poses[-1] @ noisy)
        confidences.append(confidence)
        twists.append(np.concatenate(twist_between(poses[-2], poses[-1], 1 / FPS)))
    known = np.full((frames, 6), 0.1)
    known[0] = 9000.0
    return Walked(
        stamps_ns=(np.arange(frames) * 1e9 / FPS).astype(np.int64),
        poses=np.array(poses),
        true_poses=np.array(truth),
        twists=np.array(twists),
        confidences=np.array(confidences),
        segments=np.zeros(frames, np.int64),
        pose_variances=known,
        twist_variances=known,
        unexplained=np.zeros((frames, 6)) if told is None else told,
        is_held=np.zeros(frames, bool),
    )


def figures(walks: list[Walked], model: CovarianceModel) -> dict[str, float]:
    nees = {}
    for name, (kind, columns) in PARTS.items():
        errors = [w.pose_errors() if kind == "pose" else w.twist_errors() for w in walks]
        variances = [replay(w, model)[0 if kind == "pose" else 1] for w in walks]
        e = np.concatenate([error[1:, columns] for error in errors])
        v = np.concatenate([variance[1:, columns] for variance in variances])
        nees[name] = calibration(e, v).nees
    return nees


@pytest.mark.slow
@pytest.mark.parametrize("memory", [1e-4, 0.5])
def test_where_errors_follow_the_model_their_nees_is_one(memory):
    model = replace(TRUE, translation_memory=memory, rotation_memory=memory)
    nees = figures([walked(seed, 30, model) for seed in range(60)], model)
    assert all(0.7 < value < 1.4 for value in nees.values()), nees


@pytest.mark.slow
def test_the_fit_finds_constants_that_are_true_on_other_walks():
    start = replace(TRUE, metres=0.02, radians=0.0005, scale=0.2, metres_per_metre=0.3)
    held_out = [walked(seed, 40) for seed in range(100, 130)]
    assert not all(0.5 < value < 2 for value in figures(held_out, start).values())
    costs: list[float] = []
    model = fit([walked(seed, 40) for seed in range(12)], start, costs.append)
    assert costs[-1] < costs[0]
    nees = figures(held_out, model)
    assert all(0.6 < value < 1.6 for value in nees.values()), (nees, model)
    assert model.step_sigmas(0.05, 0.05, 3.0) == pytest.approx(TRUE.step_sigmas(0.05, 0.05, 3.0), rel=0.25)
    assert (model.lost_metres_per_second, model.lost_radians_per_second) == (
        start.lost_metres_per_second,
        start.lost_radians_per_second,
    )


@pytest.mark.parametrize("lasting", [0.2, 3.0])
def test_the_shares_of_lasting_errors_are_those_at_which_the_poses_nees_is_one(lasting):
    walks = [walked(seed, 30) for seed in range(8)]
    wrong = replace(TRUE, lasting_translation=lasting, lasting_rotation=lasting)
    nees = figures(walks, _balanced(Steps.of(walks), wrong))
    assert (nees["position"], nees["orientation"]) == pytest.approx((1.0, 1.0), abs=0.05)


def test_walks_are_grouped_by_their_kind(monkeypatch):
    """Flat by flat, as they are made."""
    monkeypatch.setattr(covariance, "_figures", lambda some, _: {"position": {"nees": list(some)}})
    kinds = [Kind("wheeled", 5.0), Kind("wheeled", 15.0), Kind("turning", 5.0)]
    walks = ["a, wheeled", "a, fast", "a, turning", "b, wheeled", "b, fast", "b, turning"]
    found = covariance._nees(walks, kinds, lambda kind: kind.motion, TRUE)
    assert found["wheeled"]["position"] == ["a, wheeled", "a, fast", "b, wheeled", "b, fast"]
    assert found["turning"]["position"] == ["a, turning", "b, turning"]


@pytest.mark.parametrize("lasting", [0.3, 2.0])
def test_the_fit_and_the_odometry_see_the_same_variances(lasting):
    told = 0.02 * np.random.default_rng(5).normal(size=(30, 6))
    told[7:9] = np.nan
    walks = [walked(3, 30, told=told), walked(4, 20)]
    rests = walks[1].poses.copy()
    rests[11] = rests[10]
    twists = walks[1].twists.copy()
    twists[12] = np.concatenate(twist_between(rests[11], rests[12], 1 / FPS))
    walks[1] = replace(walks[1], poses=rests, twists=twists, is_held=np.arange(20) == 11)
    model = replace(TRUE, lasting_translation=0.4, lasting_rotation=lasting, rotation_memory=0.7)
    pose, twist = Steps.of(walks).variances(model)
    for i, one in enumerate(walks):
        replayed = replay(one, model)
        length = len(one.poses) - 1
        np.testing.assert_allclose(pose[i, :length], replayed[0][1:], rtol=1e-9)
        np.testing.assert_allclose(twist[i, :length], replayed[1][1:], rtol=1e-9)


def test_errors_are_those_of_a_consumer():
    one = walked(1, 5)
    shifted = replace(one, poses=one.true_poses @ rigid(turn(np.array([0.0, 0.0, 0.1])), np.zeros(3)))
    errors = shifted.pose_errors()
    np.testing.assert_allclose(errors[:, :3], 0.0, atol=1e-12)
    np.testing.assert_allclose(errors[:, 3:], [[0.0, 0.0, 0.1]] * 5, atol=1e-9)
    twist = replace(one, twists=one.twists + 0.5).twist_errors() - one.twist_errors()
    assert np.isnan(twist[0]).all()
    np.testing.assert_allclose(twist[1:], 0.5)
    np.testing.assert_allclose(
        one.twists[2, 3:] * 0.1, rotation_vector(one.poses[1, :3, :3].T @ one.poses[2, :3, :3]), atol=1e-9
    )


def test_a_velocity_that_was_not_known_interrupts_the_replay():
    one = walked(2, 10)
    variances = one.twist_variances.copy()
    variances[6] = 9000.0
    interrupted = replace(one, twist_variances=variances)
    assert np.isnan(interrupted.twist_errors()[6]).all()
    pose, twist = replay(interrupted, TRUE)
    assert twist[6, 0] > 1000
    grown = pose[6, 0] - replay(one, TRUE)[0][6, 0]
    assert grown == pytest.approx((TRUE.lost_metres_per_second / FPS) ** 2)


def test_calibration_counts():
    errors = np.array([[1.0, -3.0], [np.nan, 0.5]])
    found = calibration(errors, np.ones((2, 2)))
    assert found.nees == pytest.approx((1 + 9 + 0.25) / 3)
    assert found.within_1_sigma == pytest.approx(1 / 3)
    assert found.within_2_sigma == pytest.approx(2 / 3)


def test_a_walk_comes_back_from_its_file(tmp_path):
    one = walked(4, 6)
    save(tmp_path / "walk.npz", one)
    for name, value in vars(load(tmp_path / "walk.npz")).items():
        np.testing.assert_array_equal(value, getattr(one, name))


@pytest.mark.slow
def test_a_camera_that_stops_is_given_as_such():
    kind = Kind("stopping", 10.0)
    frames = list(kind.frames(330, 40, (32, 24), "cpu"))
    assert [frame.stamp_ns for frame in frames] == [i * 100_000_000 for i in range(40)]
    still = [np.array_equal(a.T_world_camera, b.T_world_camera) for a, b in pairwise(frames)]
    assert still == [False] * 15 + [True] * 15 + [False] * 9
    assert not any(np.array_equal(a.image, b.image) for a, b in pairwise(frames))
