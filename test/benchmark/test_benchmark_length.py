from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.length import Row, best_reset, claim, main


def row(rule: str, ate: float, *, seed: int = 0, length: int = 200, reset: int = 0) -> Row:
    return Row(rule, reset, seed, length, ate, 1.0, 0.1, 0.1)


def test_the_claim_needs_a_fifth_less_and_quartiles_apart() -> None:
    cut3r = [row("cut3r", 10.0 + i, seed=i) for i in range(4)]
    assert "0.50 of cut3r" in claim([*cut3r, *(row("ttt3r", 5.0 + i / 2, seed=i) for i in range(4))])[0]
    for ates, holds in (((5, 6, 7, 8), True), ((9.2, 9.3, 9.4, 9.5), False), ((1, 2, 30, 40), False)):
        (sentence,) = claim([*cut3r, *(row("ttt3r", ate, seed=i) for i, ate in enumerate(ates))])
        assert ("does not hold" not in sentence) == holds
    assert claim(cut3r) == []
    assert claim([row("cut3r", 9.0, length=50), row("ttt3r", 1.0, length=50)]) == []
    assert claim([row("cut3r", 9.0, reset=6), row("ttt3r", 1.0, reset=6)]) == []


def test_the_best_interval_is_that_of_the_longest_walks() -> None:
    rows = [row("ttt3r", ate, reset=reset) for reset, ate in ((0, 9.0), (6, 4.0), (12, 3.0))]
    assert best_reset(rows) == ["ttt3r is best with a reset every 12 frames"]
    rows += [row("ttt3r", ate, reset=reset, length=500) for reset, ate in ((0, 1.0), (6, 4.0), (12, 3.0))]
    assert best_reset(rows) == ["ttt3r is best without resets"]
    assert best_reset(rows[:2]) == []


@pytest.mark.slow
def test_rules_and_intervals_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "length.json"
    options = f"--length 10 --seeds 1 --size 160 120 --rules ttt3r --reset 3 5 --json {out}"
    assert main(options.split()) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [(r["rule"], r["reset"], r["length"]) for r in rows] == [("ttt3r", reset, 10) for reset in (0, 3, 5)]
    assert "ttt3r is best" in capsys.readouterr().out
