from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmark import conditions
from benchmark.conditions import CONDITIONS, motion_errors
from ttt3r_ros.geometry import T_BASE_CAMERA, T_from_rpy
from ttt3r_ros.stream import load, stream


def test_errors_are_of_the_motion_over_a_second():
    truth = [T_from_rpy([0.1 * i, 0, 0], 0, 0, 0.02 * i) for i in range(6)]
    assert motion_errors(list(truth), truth, 2.0)[[0, 2]] == pytest.approx([0.0, 0.0], abs=1e-6)
    still = motion_errors([np.eye(4)] * 6, truth, 2.0)  # who says nothing is wrong by all of the motion
    assert still[[0, 2]] == pytest.approx(still[[1, 3]])
    assert still[[1, 3]] == pytest.approx([4 * 0.2, 4 * 0.04], rel=1e-6)
    assert motion_errors([None, *truth[1:]], truth, 2.0)[1] == pytest.approx(3 * 0.2)  # what is lost does not count
    assert motion_errors(list(truth), truth, 0.5)[1] == pytest.approx(5 * 0.1)


@pytest.mark.slow
def test_every_condition_gets_a_row(weights, tmp_path, monkeypatch):
    out = tmp_path / "rows.json"
    names = ("as it is", "every 3 frames", "in reverse", "looking backward")
    monkeypatch.setattr(conditions, "CONDITIONS", [found for found in CONDITIONS if found.name in names])
    seen = {}
    frames = conditions._frames

    def kept(condition, seed, args):
        seen[condition.name] = list(frames(condition, seed, args))
        return seen[condition.name]

    monkeypatch.setattr(conditions, "_frames", kept)
    arguments = ["--weights", str(weights), "--device", "cpu", "--seeds", "1", "--frames", "16", "--size", "48", "32"]
    assert conditions.main([*arguments, "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [(row["condition"], row["rate_hz"]) for row in rows] == list(zip(names, (15.0, 5.0, 15.0, 15.0)))
    forward, backward = seen["as it is"], seen["looking backward"]
    np.testing.assert_allclose(
        forward[0].T_world_camera[:3, :3], backward[0].T_world_camera[:3, :3] @ np.diag([-1, 1, -1]), atol=1e-6
    )
    assert not (forward[0].image == backward[0].image).all()
    reverse = seen["in reverse"]
    assert [frame.stamp_ns for frame in reverse] == [frame.stamp_ns for frame in forward]
    assert (reverse[0].image == forward[-1].image).all()
    assert (seen["every 3 frames"][1].image == forward[3].image).all()
    assert seen["every 3 frames"][1].stamp_ns == forward[3].stamp_ns


def test_the_network_alone_is_told_from_what_pixels_correct(tmp_path, monkeypatch, capsys):
    """The one stands still, which is wrong by all of the motion; the other is never wrong."""
    truth = [T_from_rpy([0.1 * i, 0, 0], 0, 0, 0.02 * i) for i in range(20)]

    def steps(settings, frames, *, outputs, T_base_camera):
        np.testing.assert_allclose(T_base_camera, T_BASE_CAMERA, atol=1e-12)
        poses = truth if settings.correct_motion else [np.eye(4)] * 20
        return [SimpleNamespace(estimate=SimpleNamespace(T_world_camera=T)) for T in poses]

    monkeypatch.setattr(conditions, "CONDITIONS", CONDITIONS[:1])
    monkeypatch.setattr(load, "load_backbone", lambda _: SimpleNamespace(backbone=None, segment_frames=6, source="a"))
    monkeypatch.setattr(stream, "Stream", lambda _, settings: settings)
    monkeypatch.setattr(conditions, "go_along", steps)
    monkeypatch.setattr(conditions, "_frames", lambda *_: [SimpleNamespace(T_world_camera=T) for T in truth])
    out = tmp_path / "rows.json"
    assert conditions.main(["--frames", "20", "--seeds", "2", "--json", str(out)]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["network_percent"] == pytest.approx([100.0, 100.0])
    assert row["corrected_percent"] == pytest.approx([0.0, 0.0], abs=1e-4)
    assert [cell for cell in capsys.readouterr().out.split() if cell in ("100", "0")] == ["100", "0", "100", "0"]
