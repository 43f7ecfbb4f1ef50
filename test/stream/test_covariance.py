from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.geometry import T_from_pose, rotation_from_quaternion, rotation_vector
from ttt3r_ros.stream.covariance import (
    SIZE,
    SOURCES,
    Certainty,
    CovarianceModel,
    Measured,
    after_loss,
    after_motion,
    at_origin,
    carried,
    joint,
    pose_variances,
    twist_variances,
    with_keyframe,
    with_scale,
    with_scale_measured,
)

MODEL = CovarianceModel()
anything = st.floats(allow_nan=True, allow_infinity=True)


def well_formed(diagonal: np.ndarray) -> bool:
    fine = np.isfinite(diagonal).all() and (diagonal > 0).all() and (diagonal < 9999).all() and diagonal[0] != 1.0
    return diagonal.shape == (6,) and bool(fine)


@given(anything, anything, st.one_of(st.none(), anything), st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3))
def test_always_well_formed(confidence, of_key, seconds, translation):
    moved, fit = np.array(translation), Certainty(0.01 * np.eye(6), False)
    P = at_origin(MODEL)
    assert well_formed(pose_variances(P))
    for _ in range(3):
        P = after_motion(P, moved, MODEL.step_sigmas(0.1, confidence))
        A = MODEL.since_keyframe(fit, confidence, np.eye(3), moved, of_key)
        assert well_formed(pose_variances(P, joint(A, A)))
    assert well_formed(pose_variances(after_loss(P, 1e9, MODEL)))
    assert well_formed(twist_variances(moved, MODEL.of_motion(fit, confidence, 0.1, moved, of_key), seconds, MODEL))


@given(st.floats(1, 1000), st.floats(1.01, 10))
def test_less_confidence_is_more_variance(confidence, factor):
    assert MODEL.factor(confidence) > MODEL.factor(confidence * factor) > 0
    assert MODEL.step_sigmas(0.1, confidence) > MODEL.step_sigmas(0.1, confidence * factor)


@given(st.floats(1e-3, 10), st.floats(1.1, 3))
def test_more_time_is_more_variance_where_pixels_tell_nothing(seconds, times):
    brief, long = MODEL.step_sigmas(seconds, 2.0), MODEL.step_sigmas(times * seconds, 2.0)
    np.testing.assert_allclose(long, np.multiply(times, brief))
    assert min(brief) > 0.0
    assert MODEL.step_sigmas(-1.0, 2.0) == (0.0, 0.0)


spread_out = st.lists(st.floats(-1.0, 1.0), min_size=36, max_size=36).map(lambda x: np.reshape(x, (6, 6)))
vectors = st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=3).map(np.array)


@given(spread_out, vectors, vectors, st.floats(0.01, 0.5), st.floats(1, 1000), st.floats(1.01, 10))
def test_what_is_told_by_pixels_is_as_certain_as_their_fit(root, moved, axis, seconds, confidence, times):
    """The formulas of the module, as they stand there; larger where the fit's is and for frames farther apart."""
    C, R, of_key = root @ root.T, rotation_from_quaternion([1.0, *axis]), 2.0
    fit, larger = Certainty(C, False), Certainty(times * C, False)
    A = MODEL.since_keyframe(fit, confidence, R, moved, of_key)
    own, of_depth = confidence ** (-2 * MODEL.confidence_power), of_key ** (-2 * MODEL.confidence_power)
    D = MODEL.depth**2 * np.outer(moved, moved) + MODEL.depth_aside**2 * (moved @ moved) * np.eye(3)
    position = MODEL.since_keyframe_translation**2 * own * R @ C[:3, :3] @ R.T + of_depth * D
    orientation = MODEL.since_keyframe_rotation**2 * own * R @ C[3:, 3:] @ R.T
    zero = np.zeros((3, 3))
    np.testing.assert_allclose((A @ A.T)[:6, :6], np.block([[position, zero], [zero, orientation]]), atol=1e-9)
    found = MODEL.of_motion(fit, confidence, seconds, moved, of_key)
    assert (MODEL.of_motion(larger, confidence, seconds, moved, of_key) >= found).all()
    assert (MODEL.of_motion(fit, confidence, times * seconds, moved, of_key) >= found).all()
    assert (MODEL.of_motion(fit, confidence, seconds, times * moved, of_key) >= found).all()


@pytest.mark.parametrize("confidence", [None, 0.0, float("nan")])
def test_no_confidence_is_the_least(confidence):
    assert MODEL.factor(confidence) == MODEL.factor(1.0) == 1.0


def test_an_unknown_velocity_has_the_largest_variance():
    variances = np.repeat(np.square(MODEL.step_sigmas(0.1, 3.0)), 3)
    for seconds in (None, 0.0, -1.0):
        unknown = twist_variances(np.zeros(3), variances, seconds, MODEL)
        assert (unknown > 1000).all()
        assert (unknown > twist_variances(np.array([1.0, 0, 0]), variances, 0.1, MODEL)).all()


def test_a_velocity_is_the_surer_the_longer_it_was_measured():
    variances = np.repeat(np.square(MODEL.step_sigmas(0.1, 3.0)), 3)
    brief, long = (twist_variances(np.zeros(3), variances, seconds, MODEL) for seconds in (0.1, 1.0))
    np.testing.assert_allclose(brief, 100 * long)


def test_a_wrong_heading_moves_later_positions_sideways():
    P = np.zeros((SIZE, SIZE))
    P = after_motion(P, np.zeros(3), (0.0, 0.1))
    P = after_motion(P, np.array([5.0, 0.0, 0.0]))
    np.testing.assert_allclose(np.diag(P)[:3], [0.0, 0.25, 0.25], atol=1e-12)


def test_a_wrong_scale_grows_along_the_path_and_shrinks_on_the_way_back():
    P = at_origin(dataclasses.replace(MODEL, scale=0.2))
    for _ in range(10):
        P = after_motion(P, np.array([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(np.diag(P)[:3], [0.0, 4.0, 0.0], atol=1e-12)
    P = after_motion(P, np.array([0.0, -10.0, 0.0]))
    np.testing.assert_allclose(np.diag(P)[:3], 0.0, atol=1e-12)


def test_what_is_lost_grows_with_the_seconds_up_to_a_bound():
    P = at_origin(MODEL)
    spreads = [pose_variances(after_loss(P, seconds, MODEL))[0] for seconds in (0.1, 1.0, 10.0, 60.0, 1e6)]
    assert spreads == sorted(spreads)
    assert spreads[3] == spreads[4]
    np.testing.assert_array_equal(after_loss(P, -3.0, MODEL), after_loss(P, 3.0, MODEL))  # time that jumped back


def test_errors_that_follow_the_model_are_told_truly():
    """Walks with errors drawn from the model: squared errors over published variances are one on average."""
    rng = np.random.default_rng(0)
    scale, sigmas = 0.05, (0.01, 0.01)
    ratios = []
    for _ in range(300):
        error_of_scale = scale * rng.standard_normal()
        truth, found, P = np.eye(4), np.eye(4), at_origin(dataclasses.replace(MODEL, scale=scale))
        for step in range(30):
            turn = 0.1 * np.sin(step / 5)
            seen = T_from_pose([0.2, 0.0, 0.0], [np.cos(turn / 2), 0, 0, np.sin(turn / 2)])
            true = seen.copy()
            true[:3, 3] = (1 + error_of_scale) * seen[:3, 3] + sigmas[0] * rng.standard_normal(3)
            half = sigmas[1] * rng.standard_normal(3) / 2
            true[:3, :3] = seen[:3, :3] @ rotation_from_quaternion([1.0, *half])
            moved = found @ seen
            P = after_motion(P, moved[:3, 3] - found[:3, 3], sigmas)
            truth, found = truth @ true, moved
        errors = np.concatenate([truth[:3, 3] - found[:3, 3], rotation_vector(truth[:3, :3] @ found[:3, :3].T)])
        ratios.append(errors**2 / pose_variances(P))
    np.testing.assert_allclose(np.mean(ratios, axis=0), 1.0, atol=0.25)


def test_a_scale_that_nothing_measures_any_more_is_no_surer_than_without():
    P = after_motion(at_origin(MODEL), np.array([2.0, 1.0, 0.0]), (0.1, 0.02))
    measured, _ = with_scale_measured(P, np.zeros((SIZE, SOURCES)), Measured(0.9, 0.0), 0.1)
    assert measured[6, 6] == pytest.approx((0.1 * MODEL.scale) ** 2 + (0.9 * 0.1) ** 2)
    for sigma in (0.02, 0.3):
        found = with_scale(measured, sigma)
        assert found[6, 6] == max(measured[6, 6], sigma**2)
        np.testing.assert_array_equal(found[6, :6], measured[6, :6])
        np.testing.assert_array_equal(found[:6], measured[:6])


keyframes = st.tuples(vectors, spread_out, vectors, st.floats(1.0, 5.0), st.floats(0.0, 1.0), st.floats(0.0, 0.1))


@given(st.lists(keyframes, min_size=1, max_size=5))
def test_errors_of_keyframes_and_of_the_scale_add_up_as_they_are_alike(walk):
    """Against the naive twin: what each source of each keyframe, alike from one to the next, does to the pose.

    After each keyframe, something measures the scale together with the error of the keyframe's depth, and the scale
    follows by a share of it.
    """
    count = len(walk)
    P, tails, error = at_origin(MODEL), np.zeros((SIZE, SOURCES)), np.zeros((SIZE, SOURCES))
    effects, own = np.zeros((SIZE, count, SOURCES)), at_origin(MODEL)
    order = np.arange(count)
    alike = MODEL.correlation() ** np.abs(order[:, None] - order)[..., None]  # (count, count, SOURCES)
    for number, (moved, root, axis, confidence, gain, noise) in enumerate(walk):
        P, tails = with_keyframe(P, joint(error, tails)), MODEL.correlation() * (tails + error)
        P, tails = after_motion(P, moved, (0.01, 0.01)), carried(tails, moved)
        fit = Certainty(root @ root.T, True)
        error = MODEL.since_keyframe(fit, 2.0, rotation_from_quaternion([1.0, *axis]), moved, confidence)
        depth = MODEL.depth * MODEL.factor(confidence)
        P, tails = with_scale_measured(P, tails, Measured(gain, noise), depth)

        F, follows = np.eye(SIZE), np.eye(SIZE)
        for i in range(3):
            F[:3, 3 + i] = np.cross(np.eye(3)[i], moved)
        F[:3, 6] = moved
        follows[6, 6] -= gain
        effects = np.einsum("ij,jks->iks", follows @ F, effects)
        effects[6, number, 6] -= gain * depth
        own = F @ own @ F.T + np.diag(np.repeat([1e-4, 1e-4, 0.0], [3, 3, 1]))
        own = follows @ own @ follows.T
        own[6, 6] += noise
        effects[:, number] += error
        twin = own + np.einsum("iks,kls,jls->ij", effects, alike, effects)
        found = P + joint(error, tails)
        np.testing.assert_allclose(found, twin, atol=1e-9)
        np.testing.assert_allclose(P, P.T, atol=1e-12)
        assert np.linalg.eigvalsh(found)[0] > -1e-9


def test_a_scale_that_is_measured_makes_up_for_what_depth_had_wrong():
    """Errors of depth along a way of 30 keyframes do not add up where each of them is measured."""
    sigmas = []
    for gain in (0.0, 0.2):
        P, tails, error = at_origin(MODEL), np.zeros((SIZE, SOURCES)), np.zeros((SIZE, SOURCES))
        moved = np.array([0.3, 0.0, 0.0])
        for _ in range(30):
            P, tails = with_keyframe(P, joint(error, tails)), MODEL.correlation() * (tails + error)
            P, tails = after_motion(P, moved), carried(tails, moved)
            error = MODEL.since_keyframe(Certainty(np.zeros((6, 6)), True), 3.0, np.eye(3), moved, 3.0)
            P, tails = with_scale_measured(P, tails, Measured(gain, 0.0), MODEL.depth * MODEL.factor(3.0))
        sigmas.append(float(np.sqrt(pose_variances(P, joint(error, tails))[0])))
    assert sigmas[1] < 0.4 * sigmas[0]


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 0.1)), max_size=4))
def test_several_measurements_do_what_each_of_them_does_in_turn(measured):
    depth, one = 0.2, Measured()
    P, tails = after_motion(at_origin(MODEL), np.array([1.0, 2.0, 0.0])), np.ones((SIZE, SOURCES))
    found = P, tails
    for gain, noise in measured:
        found = with_scale_measured(*found, Measured(gain, noise), depth)
        one = one.then(gain, noise)
    for a, b in zip(found, with_scale_measured(P, tails, one, depth)):
        np.testing.assert_allclose(a, b, atol=1e-9)
