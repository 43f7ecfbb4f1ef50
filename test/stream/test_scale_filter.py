from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.stream.alignment import LogRatio
from ttt3r_ros.stream.scale_filter import (
    BIAS,
    BIAS_WALK,
    MAX_SLEW,
    MIN_RATIO,
    OWN_METRES,
    PLACE,
    ScaleState,
    chained,
    helped,
    measured,
    reopened,
    slewed,
    travelled,
    unchained,
)


def walk(bias: float, resets: int = 300, frames: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return, per segment, what a network makes of a metre and what is published of it, as logarithms."""
    rng = np.random.default_rng(seed)
    own, state, published = [0.0], ScaleState(), [0.0]
    for _ in range(resets):
        for _ in range(frames):
            state = slewed(state)
        own.append(0.7 * own[-1] + 0.1 * rng.normal())
        ratio = own[-2] - own[-1] + bias + 0.01 * rng.normal()
        state = chained(state, LogRatio(ratio, 0.01))
        published.append(own[-1] + math.log(state.factor))
    return np.array(own), np.array(published)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))  # of noise: for all of it this holds as little as any other estimate
def test_whatever_the_bias_lengths_stay_within_what_the_network_says(seed):
    for bias in (-0.1, 0.0, 0.1):
        own, published = walk(bias, seed=seed)
        assert own[100:].min() <= published[100:].min()
        assert published[100:].max() <= own[100:].max()
        assert abs(published[100:].mean()) < 0.05
        assert np.abs(published).max() < np.abs(own).max()  # also before the bias is known


@pytest.mark.parametrize("told", [None, 0.2], ids=["network alone", "with a source"])
def test_it_is_a_kalman_filter(told):
    """Against the naive twin: the joint Gaussian of all unknowns, conditioned on all that was measured."""
    rng = np.random.default_rng(0)
    ratios, n = rng.normal(0, 0.1, 12), 12
    state = ScaleState() if told is None else helped(ScaleState())
    for k, ratio in enumerate(ratios):
        state = chained(state, LogRatio(float(ratio), 0.03))
        if told is not None and k % 3 == 2:
            state = measured(state, told, 0.05**2, gate=math.inf)[1]
    # unknowns: x_0 − m, b_0, m, noise of n ratios, steps of n biases
    prior = np.diag([OWN_METRES**2, BIAS**2, 0.0 if told is None else PLACE**2, *[0.03**2] * n, *[BIAS_WALK**2] * n])
    H, known, variances = [], [], []
    for k in range(1, n + 1):
        row = np.zeros(3 + 2 * n)
        row[0], row[1], row[2], row[3 : 3 + k] = 1.0, -k, 1.0, 1.0
        row[3 + n : 3 + n + k - 1] = -np.arange(k - 1, 0, -1)
        chain = ratios[:k].sum()
        own = row.copy()
        own[2] -= 1.0
        H.append(own)
        known.append(-chain)
        variances.append(OWN_METRES**2)
        if told is not None and k % 3 == 0:
            H.append(row)
            known.append(told - chain)
            variances.append(0.05**2)
    H = np.array(H)
    gain = prior @ H.T @ np.linalg.inv(H @ prior @ H.T + np.diag(variances))
    estimate, P = gain @ known, prior - gain @ H @ prior
    assert state.log_scale == pytest.approx(chain + row @ estimate, abs=1e-9)
    assert state.covariance[0, 0] == pytest.approx(row @ P @ row, abs=1e-9)
    bias = np.zeros(3 + 2 * n)
    bias[1], bias[3 + n :] = 1.0, 1.0
    assert state.bias == pytest.approx(bias @ estimate, abs=1e-9)
    assert state.place == pytest.approx(estimate[2], abs=1e-9)


def test_between_two_measurements_the_networks_own_metres_pull_to_what_they_are_worth_here():
    state = helped(ScaleState())
    for _ in range(30):
        state = chained(measured(state, 0.3, 0.03**2)[1], LogRatio(0.0, 0.01))
    assert state.place == pytest.approx(0.3, abs=0.05)
    for _ in range(100):  # the source is silent
        state = chained(state, LogRatio(0.0, 0.01))
    assert state.log_scale == pytest.approx(0.3, abs=0.06)


@pytest.mark.slow
@given(st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=30), st.floats(0.1, 5.0))
def test_covariances_stay_covariances(logs, metres):
    state = helped(ScaleState())
    for log in logs:
        state = chained(measured(travelled(state, metres), log, 0.01)[1], LogRatio(log, 0.02))
        assert np.linalg.eigvalsh(state.covariance)[0] >= -1e-12
    assert np.linalg.eigvalsh(reopened(state).covariance)[0] >= -1e-12
    assert reopened(state).covariance[0, 0] > state.covariance[0, 0]


@given(st.floats(-1, 1), st.floats(1e-4, 1.0))
def test_a_measurement_moves_nothing_that_is_published_at_once(log, variance):
    state = ScaleState(log_scale=0.3, lag=0.1)
    _, after = measured(state, log, variance, gate=math.inf)
    assert after.factor == pytest.approx(state.factor)
    assert abs(after.log_scale - log) <= abs(state.log_scale - log)
    assert after.covariance[0, 0] < state.covariance[0, 0]


def test_what_is_published_follows_step_by_step():
    state = measured(ScaleState(), 0.5, 0.01)[1]
    logs = [math.log(state.factor)]
    for _ in range(300):
        state = slewed(state)
        logs.append(math.log(state.factor))
    assert np.abs(np.diff(logs)).max() <= MAX_SLEW + 1e-12
    assert logs[-1] == pytest.approx(state.log_scale)
    assert state.lag == 0.0


@pytest.mark.parametrize("log", [5.0, -5.0, math.nan, math.inf])
def test_a_measurement_far_off_is_refused(log):
    state = ScaleState()
    deviations, after = measured(state, log, 0.01)
    assert deviations is not None
    assert after is state


def test_a_ratio_carries_what_is_published_over_a_reset():
    state = replace(ScaleState(), covariance=np.diag([1e-6, 1e-12, 1e-6]), lag=0.02)
    after = chained(state, LogRatio(0.3, 0.001))
    assert math.log(after.factor) == pytest.approx(0.32, abs=1e-9)
    assert after.lag == pytest.approx(0.02, abs=0.01)


@pytest.mark.parametrize("has_source", [False, True], ids=["network alone", "with a source"])
def test_over_a_reset_what_is_published_changes_by_the_ratio_without_its_bias(has_source):
    """Against the naive twin: the joint Gaussian of the old segment's factor and all that is wrong with the ratio."""
    state = replace(ScaleState(), lag=0.05)
    if has_source:
        state = measured(helped(state), 0.2, 0.05**2, gate=math.inf)[1]
    for ratio in (-0.1, -0.12, 0.3):
        mean = np.array([state.log_scale, state.bias, state.place, 0.0])  # the last: noise of the ratio
        P = np.zeros((4, 4))
        P[:3, :3], P[3, 3] = state.covariance, 0.03**2
        own = np.array([1.0, -1.0, -1.0, 1.0])
        gain = P @ own / (own @ P @ own + OWN_METRES**2)
        known = ratio - (mean - gain * (own @ mean + ratio))[1]
        after = chained(state, LogRatio(ratio, 0.03))
        assert math.log(after.factor / state.factor) == pytest.approx(known, abs=1e-12)
        state = slewed(after)


@pytest.mark.parametrize("bias", [-0.1, 0.1])
def test_a_bias_is_published_only_as_far_as_it_cannot_be_told_from_a_change(bias):
    state, published = ScaleState(), []
    for _ in range(20):
        for _ in range(6):
            state = slewed(state)
        state = chained(state, LogRatio(bias, 0.01))
        published.append(abs(math.log(state.factor)))
    assert max(published) < 0.075
    assert published[-1] < 0.005


def test_without_a_ratio_the_scale_is_less_certain():
    state = replace(ScaleState(), covariance=np.diag([1e-4, 1e-4, 0.04]))
    assert chained(state, None).covariance[0, 0] > chained(state, LogRatio(0.0, MIN_RATIO)).covariance[0, 0]


def test_a_gap_forgets_most_of_the_factor_and_all_of_the_lag():
    state = replace(ScaleState(log_scale=0.4, lag=0.1), covariance=np.diag([1e-3, 1e-4, 1e-6]))
    after = unchained(state)
    assert 0 < after.log_scale < 0.25
    assert after.lag == 0.0
    assert after.bias == pytest.approx(state.bias)
