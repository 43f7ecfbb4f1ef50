"""The benchmark of the map, on a walk of a few frames."""

from __future__ import annotations

import json

import cv2
import pytest

from benchmark import map as map_benchmark


@pytest.mark.slow
def test_the_benchmark_runs_and_says_what_the_map_has_done(tmp_path, capsys):
    options = [
        "--frames",
        "40",
        "--fps",
        "3",
        "--seed",
        "3",
        "--size",
        "96",
        "72",
        "--device",
        "cpu",
        "--trap",
        "twins",
        "--trials",
        "1",
    ]
    files = ["--json", str(tmp_path / "a.json"), "--picture", str(tmp_path / "a.png"), "--work", str(tmp_path)]
    assert map_benchmark.main([*options, *files]) in (0, 1)
    (found,) = json.loads((tmp_path / "a.json").read_text())
    assert found["keyframes"] > 3
    assert found["ate_odometry_m"] > 0
    assert 0.3 < found["depth_scale_map"][1] < 3
    assert cv2.imread(str(tmp_path / "a.png")).std() > 5
    assert "twins" in capsys.readouterr().out
    assert {trial["kind"] for trial in found["trials"]} <= {"kidnapped", "restarted"}
    again = ["--json", str(tmp_path / "b.json"), "--work", str(tmp_path)]  # from what has been kept
    map_benchmark.main([*options, *again])
    (repeated,) = json.loads((tmp_path / "b.json").read_text())
    assert (repeated["ate_map_m"], repeated["stream_s"]) == (found["ate_map_m"], found["stream_s"])
