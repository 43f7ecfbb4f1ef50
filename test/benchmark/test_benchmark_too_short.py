"""Benchmarks that judge refuse to judge by too little."""

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
