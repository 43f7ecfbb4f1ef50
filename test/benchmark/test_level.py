from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.level import FORCE_BIAS, PER_FRAME, SENSORS, START_NS, SimulatedImu, _level, main
from benchmark.walk import FPS, WalkSpec
from ttt3r_ros.geometry import rotation_vector
from ttt3r_ros.stream.gravity import GRAVITY, turn


def test_the_simulated_imu_measures_what_the_path_says():
    """Over seconds the mean force, turned upright, is gravity; rates add up to the rotation."""
    imu = SimulatedImu(WalkSpec(340, "wheeled", 60, 16, 16, FPS))
    force, seen = [], imu.T_world_base[0, :3, :3]
    for frame in range(1, 60):
        samples = imu.samples(frame, has_gyroscope=True)
        assert len(samples.stamps_ns) == PER_FRAME
        assert samples.stamps_ns[-1] == START_NS + round(frame * 1e9 / FPS)
        force.append(imu.T_world_base[frame, :3, :3] @ samples.force.mean(axis=0))
        for rate in samples.rate:
            seen = seen @ turn(rate / (FPS * PER_FRAME))
    np.testing.assert_allclose(np.mean(force, axis=0), [0, 0, GRAVITY], atol=0.5 + 3 * FORCE_BIAS)
    assert np.linalg.norm(rotation_vector(imu.T_world_base[59, :3, :3].T @ seen)) < 0.1
    assert imu.samples(1, has_gyroscope=False).rate is None


def test_a_tilt_is_measured():
    true = np.tile(np.eye(4), (3, 1, 1))
    true[:, 0, 3] = [0.0, 1.0, 2.0]
    poses = true.copy()
    poses[:, :3, :3] = turn(np.array([0, 0.1, 1.0]))
    poses[:, 2, 3] = [0.0, 0.1, 0.0]
    level = _level("none", poses, np.full((3, 6), 0.005), true)
    assert level.drift == pytest.approx(0.05)
    assert level.rms_deg == pytest.approx(level.first_deg)
    assert 3 < level.rms_deg < 6.5
    assert level.nees == pytest.approx(np.sin(np.radians(level.rms_deg)) ** 2 / 0.01)


@pytest.mark.slow
def test_it_measures_a_walk(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["--walks", "1", "--frames", "12", "--weights", str(weights), "--work", str(tmp_path)]
    assert main([*arguments, "--markdown", str(tmp_path / "table.md")]) == 0
    assert len((tmp_path / "table.md").read_text().splitlines()) == 2 + len(SENSORS)
    assert main(["--weights", str(tmp_path / "none")]) == 2
    assert "error: " in capsys.readouterr().err
