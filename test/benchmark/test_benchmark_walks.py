from __future__ import annotations

import json

import pytest

from benchmark import walks


@pytest.mark.slow
def test_a_walk_has_its_figures(tmp_path, capsys):
    out = tmp_path / "walks.json"
    arguments = ["--device", "cpu", "--seeds", "1", "--frames", "14", "--size", "160", "120", "--json", str(out)]
    assert walks.main(arguments) == 0
    (walk,) = json.loads(out.read_text())["walks"]
    assert (walk["seed"], walk["lost"]) == (700, 0)
    assert 0.2 < walk["length_m"] < 1
    assert 0.01 < walk["abs_rel"] < 0.3
    assert 20 < walk["still_ate_percent"] < 32  # of a straight path with many poses: 29
    assert walk["ate_percent"] < walk["network_ate_percent"] < walk["still_ate_percent"]
    assert walk["turned_deg"] < walk["network_turned_deg"]
    assert "an estimate that stands still" in capsys.readouterr().out
