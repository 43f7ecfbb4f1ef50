from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmark import settings
from benchmark.runner import Frame, Step
from benchmark.settings import Setting, Walk
from ttt3r_ros.evaluation.metrics import Trajectory


@pytest.mark.slow
def test_every_combination_gets_a_row_and_is_compared_with_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "alone", lambda *_: 7.0)
    out = tmp_path / "rows.json"
    arguments = ["--device", "cpu", "--seeds", "1", "--length", "4", "--json", str(out), "--size", "160", "120"]
    arguments += ["--precisions", "float32", "bfloat16", "--sizes", "128", "--policies", "interval", "never"]
    assert settings.main([*arguments, "--intervals", "2", "--motions", "handheld", "wheeled"]) == 0
    result = json.loads(out.read_text())
    assert (result["walks"], result["length"]) == (2, 4)
    rows = result["rows"]
    assert [Setting(**row["setting"]) for row in rows] == [
        Setting(precision, 128, reset_policy=policy, reset_interval=2)
        for precision in ("float32", "bfloat16")
        for policy in ("interval", "never")
    ]
    assert rows[0]["abs_rel_change_percent"] == 0.0 != rows[2]["abs_rel_change_percent"]
    assert rows[0]["abs_rel"] != rows[1]["abs_rel"]  # the policy has been in force
    assert all(row["ms_per_frame"] > 0 and row["memory_mib"] == 7.0 and row["lost"] == 0 for row in rows)
    assert all(len(row["ates_percent"]) == len(row["abs_rels"]) == 2 for row in rows)


def test_a_walk_knows_its_scale_its_errors_and_what_was_lost(monkeypatch):
    """Around a square of 1 m, which the estimate sees as one of 1.1 m."""
    truth, moved = np.tile(np.eye(4), (4, 1, 1)), np.tile(np.eye(4), (4, 1, 1))
    truth[:, :2, 3] = ((0, 0), (1, 0), (1, 1), (0, 1))
    moved[:, :2, 3] = 1.1 * truth[:, :2, 3]
    depth, cpu = np.full((2, 2), 2.0, np.float32), torch.device("cpu")
    monkeypatch.setattr(Step, "depths", lambda step: (1.5 * depth, depth))
    walk = Walk()
    for i in range(4):
        frame = Frame(np.zeros((2, 2, 3), np.uint8), i * 10**9, None, truth[i], depth)
        walk.add(Step(frame, SimpleNamespace(T_world_camera=moved[i]), object(), None, 1.0, 0.0, 0.25), cpu)
    walk.add(Step(frame, None, None, "dark", 1.0, 0.0, 0.25), cpu)
    assert walk.scales == pytest.approx([1.5] * 4)
    assert walk.abs_rels == pytest.approx([0.5] * 4)
    assert (walk.lost, walk.seconds) == (1, [0.25] * 5)
    path = Trajectory.from_transforms([i * 10**9 for i in range(4)], list(truth))
    assert walk.ate_percent(path) == pytest.approx(100 * 0.05 * np.sqrt(2) / 3)  # every corner is so far off
    assert np.isnan(Walk().ate_percent(path))


def test_memory_is_that_of_a_process_with_the_network(weights):
    args = SimpleNamespace(weights=str(weights), device="cpu", size=[64, 48])
    assert settings._memory(args, Setting()) > 50
