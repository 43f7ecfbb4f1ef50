from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from rule_weights import TINY, rule_network
from scripted_network import view

from benchmark import scale_sources
from benchmark.kept_backbone import KeptBackbone
from benchmark.scale_sources import (
    BIAS,
    SLIP,
    Result,
    _errors,
    _lengths,
    rows_of,
    wheel_odometry,
)
from benchmark.walk import FPS, held_out
from ttt3r_ros.geometry import T_BASE_CAMERA
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.stream.stream import Stream


def straight(frames: int, step: float) -> SimpleNamespace:
    """Return a walk straight ahead."""
    T = np.tile(np.eye(4), (frames, 1, 1))
    T[:, 0, 3] = step * np.arange(frames)
    stamps = tuple(round(i * 1e9 / FPS) + 1 for i in range(frames))
    return SimpleNamespace(T_world_camera=T @ T_BASE_CAMERA, stamps_ns=stamps, spec=SimpleNamespace(seed=1))


def test_wheels_go_too_far_and_slip_for_five_seconds():
    walk = straight(400, 0.02)
    samples = wheel_odometry(walk.T_world_camera, walk.stamps_ns, walk.spec.seed)
    x = np.array([sample.T_odom_base[0, 3] for sample in samples])
    assert [sample.stamp_ns for sample in samples] == list(walk.stamps_ns)
    steps, slips = np.diff(x) / 0.02, np.zeros(399, bool)
    slips[round(SLIP[0] * FPS) - 1 : round(SLIP[1] * FPS) - 1] = True
    assert steps[slips].mean() == pytest.approx((1 + BIAS) * SLIP[2], abs=0.02)
    assert steps[~slips].mean() == pytest.approx(1 + BIAS, abs=0.005)


def test_lengths_are_those_of_stretches():
    q = np.cumsum(np.random.default_rng(0).normal(size=(100, 3)), axis=0)
    assert _lengths(1.1 * q, q) == pytest.approx([1.1] * len(_lengths(q, q)))


def test_the_table_has_a_row_for_each_case_that_was_measured():
    nees, said = [0.5, 1.0, 1.5, 2.0], ["the wheel odometry is not used: slip"]
    results = [Result(340, "wheels", [1.0, 1.1], [0.9], 0.2, 0.01, nees, {}, said)]
    ((case, *_, nees_cell, said_cell),) = rows_of(results)
    assert (case, nees_cell, said_cell) == ("wheels", "0.50, 1.00, 1.50, 2.00", "1 of 1")


def test_errors_are_those_of_covariances():
    """A robot goes ahead and turns left; odometry is 1 % too long and says the same speed at every frame."""
    frames, dt = 20, 0.1
    true = np.tile(np.eye(4), (frames, 1, 1))
    for i in range(1, frames):
        step = np.eye(4)
        step[:2, :2], step[0, 3] = [[np.cos(0.01), -np.sin(0.01)], [np.sin(0.01), np.cos(0.01)]], 0.05
        true[i] = true[i - 1] @ step
    estimated = true.copy()
    estimated[:, :3, 3] *= 1.01
    twists = np.tile([0.6, 0, 0, 0, 0, 0.1], (frames, 1))
    errors = _errors(estimated, true, twists, [round(1e9 * dt * i) for i in range(frames)])
    np.testing.assert_allclose(errors[:, :3], 0.01 * true[:, :3, 3], atol=1e-12)
    np.testing.assert_allclose(errors[:, 3:6], 0.0, atol=1e-7)
    np.testing.assert_allclose(errors[0, 6:], 0.0)
    np.testing.assert_allclose(errors[1:, 6:], np.tile([0.1, 0, 0, 0, 0, 0], (frames - 1, 1)), atol=0.01)


def test_the_network_answers_once_whatever_the_scale(monkeypatch):
    network = rule_network(TINY)
    steps, step = [], network.step
    monkeypatch.setattr(network, "step", lambda *args, **kwargs: steps.append(1) or step(*args, **kwargs))
    ground = np.diag([1.0, -1.0, -1.0, 1.0])
    ground[2, 3] = 1.5
    poses, counts = [], []
    settings = StreamSettings(max_speed=0.0, max_turn_rate=0.0, reset_interval=4)
    kept = KeptBackbone(network)
    for backbone, height in ((kept, None), (kept, ground), (Backbone(network), ground)):
        stream = Stream(backbone, settings)
        for number in range(1, 8):
            stream.process(view(number), number * 100_000_000, T_ground_camera=height)
            stream.prepare()
        poses.append(stream.state.segments.T_world_camera)
        counts.append(len(steps))
    assert counts == [counts[0], counts[0], 2 * counts[0]]
    np.testing.assert_array_equal(poses[1], poses[2])
    kept.forget()
    Stream(kept, settings).process(view(1), 1)
    assert len(steps) == 2 * counts[0] + 1


@pytest.mark.slow
def test_the_walks_so_far_are_kept(weights, tmp_path, monkeypatch):
    out = tmp_path / "rows.json"

    def two_walks_then_none(*args):
        (walk,) = held_out(1, 4, tmp_path, (64, 48))
        yield walk
        yield walk
        raise KeyboardInterrupt

    def go_along(stream, walk, case):
        return Result(walk.spec.seed, case, [1.0], [1.0], 0.1, 0.01, [1.0] * 4, {}, [])

    monkeypatch.setattr(scale_sources, "held_out", two_walks_then_none)
    monkeypatch.setattr(scale_sources, "go_along", go_along)
    with pytest.raises(KeyboardInterrupt):
        scale_sources.main(["--weights", str(weights), "--cases", "nothing", "wheels", "--json", str(out)])
    assert [row["case"] for row in json.loads(out.read_text())] == ["nothing", "wheels"] * 2
