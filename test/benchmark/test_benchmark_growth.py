from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict

import pytest
from rich.console import Console

from benchmark import growth
from benchmark.growth import WAYS, Sample, Way, main, report


@pytest.mark.slow
def test_every_way_is_gone_and_measured(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "alone", lambda _, work, *arguments: work(*arguments))  # a process each takes long
    monkeypatch.setattr(growth, "SAMPLES", 8)
    for name in ("draw_frames", "draw_trajectory"):  # a second each
        monkeypatch.setattr(f"ttt3r_ros.offline.report.{name}", lambda *_, **__: None)
    options = ["--frames", "16", "--size", "64", "48", "--weights", str(weights), "--device", "cpu"]
    files = ["--work", str(tmp_path / "work"), "--json", str(tmp_path / "r.json"), "--picture", str(tmp_path / "r.png")]
    assert main([*options, *files]) in (0, 1)  # which one is up to the machine's other work
    results = json.loads((tmp_path / "r.json").read_text())
    assert [result["way"] for result in results] == list(WAYS)
    stream, with_map, places, offline = (result["samples"][-1] for result in results)
    assert stream["frame"] == with_map["frame"] == places["frame"] == offline["frame"] == 16
    assert stream["keyframes"] == 0
    assert places["keyframes"] > 0
    assert places["map_mib"] > 0
    assert all(result["cpu_s"] > 1e-3 * result["samples"][-1]["cpu_ms"] for result in results)
    assert stream["points"] == 0
    assert with_map["points"] == offline["points"] > 0
    assert stream["cpu_ms"] > 0
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("last", "is_flat"), [(10.0, True), (13.0, False)])
def test_a_way_that_becomes_slower_is_a_failure(last, is_flat):
    samples = [Sample(n, last if n > 30 else 10.0, 300.0, 0) for n in range(1, 41)]
    way = asdict(Way("stream", 40, 1.0, samples))

    assert report([way], Namespace(markdown=None, picture=None), Console(quiet=True)) is is_flat
