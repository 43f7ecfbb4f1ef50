from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
import pytest

from benchmark import endurance
from benchmark.endurance import main
from benchmark.endurance_figures import verdict
from benchmark.walk import DEPTH_EVERY, Walk, WalkSpec
from ttt3r_ros.synthetic import Sequence

SPEC = WalkSpec(seed=3, motion="wheeled", frames=50, width=32, height=24, fps=15.0)


@pytest.mark.slow
def test_a_stopped_rendering_goes_on_and_gives_the_same_frames(tmp_path):
    def stop_at_40(done: int) -> None:
        if done >= 40:
            raise KeyboardInterrupt

    walk = Walk(SPEC, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        walk.render(stop_at_40)
    with (tmp_path / f"{SPEC.name}.rgb").open("ab") as images:  # a frame of which half was written
        images.write(bytes(1000))
    done: list[int] = []
    walk.render(done.append)
    assert done == [50]
    expected = Sequence(3, 50, width=32, height=24, fps=15.0, motion="wheeled").render(0, 50)
    for index in (0, 39, 40, 49):
        np.testing.assert_array_equal(walk.image(index), expected.image[index].numpy())
    np.testing.assert_array_equal(walk.depth(40), expected.depth[40].numpy())
    assert walk.depth(40 + DEPTH_EVERY - 1) is None
    walk.render(done.append)
    assert done == [50]
    with pytest.raises(EOFError, match="render the walk first"):
        walk.image(50)


@pytest.mark.slow
def test_what_is_measured_and_that_a_finished_policy_is_not_run_again(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(endurance, "alone", lambda _, work, *arguments: work(*arguments))  # a process takes seconds
    files = {name: tmp_path / f"out.{name}" for name in ("json", "md", "png")}
    arguments = [
        "--frames",
        "100",
        "--interval",
        "20",
        "--size",
        "64",
        "48",
        "--weights",
        str(weights),
        "--device",
        "cpu",
    ]
    results: list[list[dict[str, Any]]] = []
    arguments += ["--work", str(tmp_path / "work"), "--json", str(files["json"])]
    for _ in range(2):
        main([*arguments, "--policies", "interval", "--markdown", str(files["md"]), "--picture", str(files["png"])])
        results.append(json.loads(files["json"].read_text()))
    assert results[0] == results[1]  # times included: it was not run again
    ((result,), _) = results
    assert result["segments"] >= 5
    samples = result["samples"]
    assert [sample["frame"] for sample in samples] == list(range(10, 101, 10))
    assert all(sample["rss_mb"] > 50 and sample["ms_p50"] > 0 for sample in samples)
    assert samples[-1]["ate_m"] > 0
    assert samples[-1]["segments"] == result["segments"]
    assert any(sample["depth_scale"] for sample in samples)
    assert sum(sample["lost"] for sample in samples) == sum(result["lost"].values())
    assert f"| interval | {result['segments']} |" in files["md"].read_text()
    assert cv2.imread(str(files["png"])).std() > 10
    capsys.readouterr()
    assert main([*arguments, "--frames", "5"]) == 2
    assert capsys.readouterr().err == "error: --frames must be at least 100, not 5\n"


def result(device: str = "cpu", **columns: Any) -> dict[str, Any]:
    """Return a flat run of a hundred samples, with some columns replaced."""
    flat = {"rss_mb": np.full(100, 400.0), "device_mb": np.zeros(100), "ms_p50": np.full(100, 20.0)}
    flat["cpu_ms_p50"] = np.full(100, 30.0)
    values = {**flat, **columns}
    samples = [{"frame": 10 * i + 10, **{name: value[i] for name, value in values.items()}} for i in range(100)]
    return {"frames": 1000, "task": {"device": device}, "samples": samples}


def test_what_is_flat_and_what_is_not():
    warming_up = np.where(np.arange(100) < 9, 300.0, 400.0)
    assert verdict(result()) == []
    assert verdict(result(rss_mb=warming_up)) == []
    assert "resident memory moves by ±1.7 %" in verdict(result(rss_mb=np.linspace(400, 415, 100)))[0]
    assert "device memory" in verdict(result(device_mb=np.linspace(100, 110, 100)))[0]
    slower = np.linspace(20, 40, 100)
    assert "grew by a factor of 1.5" in verdict(result(cpu_ms_p50=slower))[0]
    assert "grew by a factor of 1.5" in verdict(result("cuda:0", ms_p50=slower))[0]
    assert verdict(result(ms_p50=slower)) == []  # other processes took the time
