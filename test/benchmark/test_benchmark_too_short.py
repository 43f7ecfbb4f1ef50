"""Benchmarks refuse to judge by too little, and mistakes that would only show when all is done."""

from __future__ import annotations

import pytest

from benchmark import conditions, covariance, growth, length, settings, soak, walks


@pytest.mark.parametrize(
    ("benchmark", "option", "too_few", "words"),
    [
        (conditions, "--frames", 15, "--frames must be more than 15"),
        (covariance, "--frames", 39, "too little to judge covariances by"),
        (covariance, "--flats", 1, "too little to judge covariances by"),
        (growth, "--frames", 79, "--frames must be at least 80"),
        (length, "--length", 9, "--length must be at least 10"),
        (settings, "--length", 2, "--length must be at least 3"),
        (soak, "--frames", 4999, "--frames must be at least 5000"),
        (walks, "--frames", 2, "--frames must be at least 3"),
    ],
)
def test_nothing_is_judged_by_too_little(capsys, benchmark, option, too_few, words):
    assert benchmark.main([option, str(too_few)]) == 2
    assert f"error: {words}" in capsys.readouterr().err


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
