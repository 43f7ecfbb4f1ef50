"""Benchmarks refuse to judge by too little, and mistakes that would only show when all is done."""

from __future__ import annotations

import pytest

from benchmark import covariance, soak


@pytest.mark.parametrize("options", [["--frames", "39"], ["--flats", "1"]])
def test_covariances_are_not_judged_by_few_walks(capsys, tmp_path, options):
    assert covariance.main([*options, "--work", str(tmp_path)]) == 2
    assert "error: too little to judge covariances by" in capsys.readouterr().err


def test_growth_is_not_judged_by_few_frames(capsys):
    assert soak.main(["--frames", "4999"]) == 2
    assert "error: --frames must be at least 5000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--weights", "nosuch.pth"], "error: nosuch.pth does not exist"),
        (["--param", "device"], "argument --param: must be NAME:=VALUE, got 'device'"),
        (["--json", "nosuch/soak.json"], "argument --json: cannot write nosuch/soak.json: there is no folder nosuch"),
    ],
)
def test_mistakes_are_said_before_anything_is_measured(capsys, monkeypatch, options, sentence):
    monkeypatch.setattr(soak, "MIN_FRAMES", 10**9)  # it would complain of too few frames
    try:
        status = soak.main(options)
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert sentence in capsys.readouterr().err
