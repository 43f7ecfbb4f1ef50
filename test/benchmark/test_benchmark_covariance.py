from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from benchmark import covariance
from benchmark.covariance import Trial
from benchmark.covariance_fit import (
    FITTED,
    FIXED,
    PARTS,
    Steps,
    calibration,
    fit,
    measured,
    nees,
    replay,
    with_error,
)
from benchmark.covariance_runs import Kind, Walked, aided, load, save, walk
from ttt3r_ros.geometry import rotation_vector, twist_between
from ttt3r_ros.stream.covariance import CovarianceModel
from ttt3r_ros.stream.load import load_backbone
from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings
from ttt3r_ros.stream.stream import Stream

FPS = 10.0
KIND = Kind("wheeled", FPS)
TRUE = CovarianceModel(
    since_keyframe_translation=1.3,
    since_keyframe_rotation=1.8,
    each_frame_translation=1.3,
    each_frame_rotation=1.8,
    by_second_translation=0.02,
    by_second_rotation=0.02,
    network_metres_per_second=0.05,
    network_radians_per_second=0.03,
    depth=0.0,
    depth_aside=1e-4,
    scale=0.05,
    confidence_power=0.5,
    memory=0.0,
    depth_memory=0.0,
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


def walked(seed: int, frames: int, model: CovarianceModel = TRUE, by_pixels: float = 0.5) -> Walked:
    """Return a walk whose errors are as a model says, in a share of the frames by pixels, each from a new keyframe."""
    rng = np.random.default_rng(seed)
    scale = 1.0 + model.scale * rng.normal()
    truth, poses, confidences = [np.eye(4)], [np.eye(4)], [2.0]
    twists, rate = [np.zeros(6)], rng.uniform(-1.0, 1.0)
    certainties = [np.full((6, 6), np.nan)]
    for _ in range(frames - 1):
        step, angle = np.array([rng.uniform(0.0, 0.1), 0.0, 0.0]), np.array([0.0, 0.0, rate / FPS * rng.uniform(0, 1)])
        confidence = rng.uniform(1.5, 6.0)
        sigmas = np.repeat(model.step_sigmas(1 / FPS, confidence), 3)
        certainty = np.full((6, 6), np.nan)
        if rng.uniform() < by_pixels:
            certainty = np.diag(np.square(rng.uniform(0.002, 0.01, 6)))
            factors = np.repeat([model.since_keyframe_translation, model.since_keyframe_rotation], 3)
            sigmas = factors * model.factor(confidence) * np.sqrt(np.diag(certainty))
        certainties.append(certainty)
        truth.append(truth[-1] @ rigid(turn(angle), step))
        off = sigmas * rng.normal(size=6)
        poses.append(poses[-1] @ rigid(turn(angle) @ turn(off[3:]), scale * step + off[:3]))
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
        is_held=np.zeros(frames, bool),
        certainties=np.array(certainties),
        is_new=np.isfinite(np.array(certainties)[:, 0, 0]),
        unaided=np.array(poses),
        scale_sigmas=np.full(frames, np.inf),
        grounds=np.full((frames, 4, 4), np.nan),
        is_floor_seen=np.zeros(frames, bool),
        measured=np.zeros((frames, 2)),
    )


def figures(walks: list[Walked], model: CovarianceModel) -> dict[str, float]:
    found = {}
    for name, (kind, columns) in PARTS.items():
        errors = [w.pose_errors() if kind == "pose" else w.twist_errors() for w in walks]
        variances = [replay(w, model)[0 if kind == "pose" else 1] for w in walks]
        e = np.concatenate([error[1:, columns] for error in errors])
        v = np.concatenate([variance[1:, columns] for variance in variances])
        found[name] = calibration(e, v).nees
    return found


@pytest.mark.slow
@pytest.mark.parametrize("by_pixels", [0.0, 1.0])
def test_where_errors_follow_the_model_their_nees_is_one(by_pixels):
    found = figures([walked(seed, 30, by_pixels=by_pixels) for seed in range(60)], TRUE)
    assert all(0.7 < value < 1.4 for value in found.values()), found


@pytest.mark.slow
def test_the_fit_finds_constants_that_are_true_on_other_walks():
    start = replace(TRUE, network_metres_per_second=0.5, network_radians_per_second=0.003, since_keyframe_rotation=0.1)
    held_out = [walked(seed, 40) for seed in range(100, 130)]
    assert not all(0.5 < value < 2 for value in figures(held_out, start).values())
    costs: list[float] = []
    model = fit([walked(seed, 40) for seed in range(20)], [KIND] * 20, start, costs.append)
    assert costs[-1] < costs[0]
    found = figures(held_out, model)
    assert all(0.6 < value < 1.6 for value in found.values()), (found, model)
    assert model.step_sigmas(1.0, 3.0) == pytest.approx(TRUE.step_sigmas(1.0, 3.0), rel=0.3)
    assert model.since_keyframe_rotation == pytest.approx(TRUE.since_keyframe_rotation, rel=0.3)
    assert all(getattr(model, name) == getattr(start, name) for name in FIXED)


def test_how_wrong_depth_is_and_for_how_long_is_measured():
    """Errors between keyframes, each from the one before on: of shares of the motion, and of rotations."""
    model, walks = replace(TRUE, depth=0.3, depth_memory=4.0, memory=1.5), []
    for seed in range(30):
        one, rng = walked(seed, 80, by_pixels=1.0), np.random.default_rng(seed)
        sigmas = model.since_keyframe_rotation * 0.005 * model.factor(2.0)
        poses, share, turned = [np.eye(4)], rng.normal(), rng.normal(size=3)
        for before, after in pairwise(one.true_poses):
            moved = np.linalg.inv(before) @ after
            moved[:3, 3] /= 1 - model.depth * model.factor(2.0) * share
            poses.append(poses[-1] @ rigid(turn(sigmas * turned), np.zeros(3)) @ moved)
            keep = [np.exp(-1 / model.depth_memory), np.exp(-1 / model.memory)]
            share = keep[0] * share + np.sqrt(1 - keep[0] ** 2) * rng.normal()
            turned = keep[1] * turned + np.sqrt(1 - keep[1] ** 2) * rng.normal(size=3)
        certainties = np.tile(np.diag([0.005**2] * 6), (80, 1, 1))
        walks.append(replace(one, poses=np.array(poses), confidences=np.full(80, 2.0), certainties=certainties))
    found = measured(walks, TRUE)
    assert found.depth == pytest.approx(model.depth, rel=0.15)
    assert found.depth_memory == pytest.approx(model.depth_memory, rel=0.25)
    assert found.memory == pytest.approx(model.memory, rel=0.25)
    assert measured(walks[:4], TRUE) == TRUE  # too few


def test_a_kind_of_few_walks_counts_as_much_as_one_of_many():
    """Eight wheeled walks are as TRUE says, two turning ones are ten times as far off: neither shall be given up."""
    rough = replace(TRUE, since_keyframe_rotation=18.0, network_radians_per_second=0.3)
    walks = [walked(seed, 30) for seed in range(8)] + [walked(seed, 30, rough) for seed in range(8, 10)]
    model = fit(walks, [KIND] * 8 + [Kind("turning", FPS)] * 2, TRUE, lambda cost: None)
    found = [nees(one, replay(one, model))["orientation"] for one in walks]
    assert 0.9 < np.sqrt(np.mean(found[:8]) * np.mean(found[8:])) * 10 < 90
    assert np.mean(found[8:]) < 10 * (1.0 / np.mean(found[:8])) ** 0.5


def test_walks_are_grouped_by_motion_and_by_rate():
    kinds = [Kind("wheeled", 5.0), Kind("wheeled", 15.0), Kind("turning", 5.0), Kind("wheeled", 15.0, 300, True)]
    known = [one for seed in (1, 2) for one in (walked(seed, 6),) * 4]
    trials = [
        Trial(flat, kind, one, (np.full((6, 6), float(i + 1)),) * 2)
        for i, (one, kind, flat) in enumerate(zip(known, kinds * 2, [300] * 4 + [301] * 4))
    ]
    alone = [nees(trial.walked, trial.variances)["position"] for trial in trials]
    groups = covariance._by_group(trials)
    longer = "wheeled, 300 frames, height and wheels"
    assert list(groups) == ["wheeled", "turning", "5 Hz", "15 Hz", "all", longer]
    members = {
        "wheeled": [0, 1, 4, 5],
        "turning": [2, 6],
        "5 Hz": [0, 2, 4, 6],
        "15 Hz": [1, 5],
        "all": [0, 1, 2, 4, 5, 6],
        longer: [3, 7],
    }
    for name, those in members.items():
        assert groups[name]["position"][0] == pytest.approx(np.mean([alone[i] for i in those]))


def test_the_standard_error_is_that_of_flats():
    """A hundred walks of two flats tell no more than two numbers do."""
    values, flats = np.repeat([1.0, 3.0], 50), [300] * 50 + [301] * 50
    mean, error = with_error(values, flats)
    assert mean == pytest.approx(2.0)
    assert error == pytest.approx(2.0 / 2 / 2**0.5, rel=0.15)
    assert with_error(values, list(range(100)))[1] == pytest.approx(1.0 / 10, rel=0.15)


@pytest.mark.parametrize("memory", [0.0, 2.0])
def test_the_fit_and_the_odometry_see_the_same_variances(memory):
    rng, walks = np.random.default_rng(6), [walked(3, 30), walked(4, 20, by_pixels=0.9)]
    model = replace(
        TRUE, memory=memory, depth_memory=2 * memory, by_second_translation=15.0, depth=0.3, depth_aside=0.1
    )
    for i, one in enumerate(walks):
        is_told = np.isfinite(one.certainties[:, 0, 0])
        roots = rng.normal(0, 0.01, (len(is_told), 6, 6))
        certainties = np.where(is_told[:, None, None], roots @ roots.transpose(0, 2, 1), np.nan)
        walks[i] = replace(one, certainties=certainties, is_new=is_told & (rng.uniform(size=len(is_told)) < 0.5))
    rests = walks[1].poses.copy()
    rests[11] = rests[10]
    twists = walks[1].twists.copy()
    twists[12] = np.concatenate(twist_between(rests[11], rests[12], 1 / FPS))
    walks[1] = replace(walks[1], poses=rests, unaided=rests, twists=twists, is_held=np.arange(20) == 11)
    pose, twist = Steps.of(walks).variances(model)
    for i, one in enumerate(walks):
        replayed = replay(one, model)
        length = len(one.poses) - 1
        np.testing.assert_allclose(pose[i, :length], replayed[0][1:], rtol=1e-9)
        np.testing.assert_allclose(twist[i, :length], replayed[1][1:], rtol=1e-9)


def test_every_variance_is_a_sum_of_what_the_constants_add():
    steps = Steps.of([walked(3, 30), walked(4, 20)])
    nothing = replace(TRUE, **dict.fromkeys(FITTED, 0.0))
    rest = steps.sums(nothing)
    for which, whole in enumerate(steps.sums(TRUE)):
        added = [
            getattr(TRUE, name) ** 2 * (steps.sums(replace(nothing, **{name: 1.0}))[which] - rest[which])
            for name in FITTED
        ]
        np.testing.assert_allclose(whole, rest[which] + np.sum(added, axis=0), rtol=1e-9, atol=1e-15)


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
def test_with_sources_the_replay_is_what_odometry_has_published():
    """The camera's height and wheels, told one frame late, of a robot that moves, rests and moves."""
    frames = aided(list(Kind("stopping", FPS, 32, True).walk(330, 50, (160, 120), "cpu")), 330)
    assert len(frames) == 32
    assert [sample.stamp_ns for sample in frames[7].other_odometry] == [frames[6].stamp_ns]
    backbone = load_backbone(NetworkSettings(device="cpu")).backbone
    one = walk(Stream(backbone, StreamSettings(reset_interval=6)), frames)
    assert np.isfinite(one.scale_sigmas).sum() > 15
    assert one.is_floor_seen.sum() > 15
    assert not np.allclose(one.poses, one.unaided)
    assert 10 < one.is_held.sum() < 20
    pose, twist = replay(one, CovarianceModel())
    np.testing.assert_allclose(pose, one.pose_variances, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(twist, one.twist_variances, rtol=1e-6, atol=1e-12)


@pytest.mark.slow
def test_a_camera_that_stops_is_given_as_such():
    kind = Kind("stopping", 10.0)
    frames = list(kind.walk(330, 40, (32, 24), "cpu"))
    assert [frame.stamp_ns for frame in frames] == [i * 100_000_000 for i in range(40)]
    still = [np.array_equal(a.T_world_camera, b.T_world_camera) for a, b in pairwise(frames)]
    assert still == [False] * 15 + [True] * 15 + [False] * 9
    assert not any(np.array_equal(a.image, b.image) for a, b in pairwise(frames))
