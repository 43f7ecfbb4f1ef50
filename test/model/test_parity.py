from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmark import parity

HERE = Path(__file__).parents[1]


def test_the_goldens_are_there():
    assert len(parity.GOLDENS) == 5


@pytest.mark.slow
@pytest.mark.parametrize("path", parity.GOLDENS, ids=lambda path: path.stem)
def test_published_numbers_are_met(path):
    comparisons = parity.compare(path)
    assert len(comparisons) >= 12
    assert [c for c in comparisons if not c.passed] == []


@pytest.mark.slow
def test_a_wrong_number_fails_the_command(tmp_path, capsys):
    with np.load(HERE / "golden" / "tiny_linear_ttt3r.npz") as archive:
        arrays = dict(archive)
    arrays["state_after"] = arrays["state_after"].copy()
    arrays["state_after"][2, 3, 4] += 1e-3 * np.abs(arrays["state_after"]).max()
    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, **arrays)
    assert parity.main([str(wrong)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "ABOVE" in line] == ["state_after"]


def test_each_rule_is_told_apart(tmp_path):
    """A golden fails when it is run under another rule: the comparison can see the update."""
    with np.load(HERE / "golden" / "tiny_linear_ttt3r.npz") as archive:
        arrays = dict(archive)
    meta = json.loads(str(arrays["meta"]))
    arrays["meta"] = np.array(json.dumps({**meta, "mode": "cut3r"}))
    path = tmp_path / "other_rule.npz"
    np.savez(path, **arrays)
    failed = {c.name for c in parity.compare(path) if not c.passed}
    assert "state_after" in failed
    assert "encoder_tokens" not in failed
