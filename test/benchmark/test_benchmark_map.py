"""The benchmark of the map, on a walk of a few frames."""

from __future__ import annotations

import io
import json
from argparse import Namespace
from dataclasses import replace

import cv2
import pytest
from rich.console import Console

from benchmark import map as map_benchmark
from benchmark import map_trials
from benchmark.map import Result, report
from benchmark.map_trials import Trial


@pytest.mark.slow
def test_the_benchmark_runs_and_says_what_the_map_has_done(tmp_path, capsys, monkeypatch):
    for name, value in (("WATCHED_S", 4.0), ("APART_M", 0.0), ("BACK_M", 100.0), ("BACK_RAD", 4.0)):
        monkeypatch.setattr(map_trials, name, value)  # so that there is a place for a trial in so short a walk
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
    said = capsys.readouterr().out
    assert all(word in said for word in ("twins", "kidnapped: ", "restarted: "))
    assert [trial["kind"] for trial in found["trials"]] == ["kidnapped", "restarted"]
    again = ["--trials", "0", "--json", str(tmp_path / "b.json"), "--work", str(tmp_path)]  # from what has been kept
    map_benchmark.main([*options, *again])
    (repeated,) = json.loads((tmp_path / "b.json").read_text())
    assert (repeated["ate_map_m"], repeated["stream_s"]) == (found["ate_map_m"], found["stream_s"])


def test_a_false_place_that_is_kept_or_a_camera_in_another_room_is_a_failure():
    right, lost = Trial("restarted", 30, 2.0, (0.1, 0.05)), Trial("restarted", 40, None, None)
    good = Result(
        name="flat 1", frames=100, path_m=9.0, ate_odometry_m=0.5, ate_map_m=0.1, ate_map_scaled_m=0.1,
        depth_scale_odometry=(0.9, 1.0, 1.1), depth_scale_map=(0.9, 1.0, 1.1), keyframes=20, places=4, rejected=1,
        false=1, false_kept=0, refused={}, back_s=1.0, recall=0.5, stream_s=10.0, map_s=2.0, bytes_per_keyframe=5e4,
        trials=(right, lost),
    )  # fmt: skip

    def said(*results: Result) -> tuple[bool, str]:
        out = io.StringIO()
        found = [(result, None) for result in results]
        return report(found, Namespace(markdown=None, picture=None), Console(file=out, width=200)), out.getvalue()

    is_good, text = said(good)
    assert is_good
    assert "restarted: 1 of 2 found again, after 2.0 s (median; at most 2.0 s), 0.10 m off" in text
    assert "0.10 m off (median; at most 0.10 m); 0 of them in another place" in text
    assert not said(good, replace(good, false_kept=1))[0]
    assert not said(replace(good, trials=(right, replace(right, error=(3.0, 0.1)))))[0]
