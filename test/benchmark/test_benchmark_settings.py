from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rule_weights import TINY, rule_network

from benchmark import settings
from ttt3r_ros.weights.checkpoint import save_network


@pytest.mark.slow
def test_every_setting_gets_a_row_and_is_compared_with_float32(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "_memory_alone", lambda weights, setting, device: 7.0)
    weights, out = tmp_path / "tiny.safetensors", tmp_path / "rows.json"
    save_network(rule_network(replace(TINY, image_size=64)), weights, provenance={"source": "rule"})
    arguments = ["--weights", str(weights), "--device", "cpu", "--seeds", "1", "--length", "3", "--json", str(out)]
    assert settings.main([*arguments, "--precisions", "float32", "bfloat16", "--sizes", "0", "48"]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [(row["precision"], row["image_size"]) for row in rows] == [
        ("float32", 64), ("bfloat16", 64), ("float32", 48), ("bfloat16", 48)
    ]  # fmt: skip
    assert rows[0]["abs_rel_change_percent"] == 0.0 != rows[1]["abs_rel_change_percent"]
    assert all(row["ms_per_frame"] > 0 and row["memory_mib"] == 7.0 for row in rows)


def test_a_bad_length_is_said_in_a_sentence(capsys):
    assert settings.main(["--length", "1"]) == 2
    assert "--length 2 or more" in capsys.readouterr().err


def test_memory_is_that_of_a_process_with_the_network(tmp_path):
    weights = tmp_path / "tiny.safetensors"
    save_network(rule_network(TINY), weights, provenance={"source": "rule"})
    assert settings._memory(str(weights), settings.Setting("float32", 0), "cpu") > 50
