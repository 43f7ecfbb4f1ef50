"""Progress in a log is sparse and says how much, how fast and how long."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ttt3r_ros.cli import progress


def test_log(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("ttt3r_ros.cli.progress.time.monotonic", lambda: now)
    out = io.StringIO()
    with progress.byte_progress("downloading", 100_000_000, Console(file=out)) as update:
        for second in range(31):
            now = 100.0 + second
            update(40_000_000 + 2_000_000 * second)  # resumed at 40 MB
    assert out.getvalue().splitlines() == [
        "downloading: 60 % of 100 MB, 2.0 MB/s, 20 s left",
        "downloading: 80 % of 100 MB, 2.0 MB/s, 10 s left",
        "downloading: 100 % of 100 MB, 2.0 MB/s, 0 s left",
        "downloading: 100 MB in 30 s",
    ]


def test_terminal() -> None:
    out = io.StringIO()
    with progress.byte_progress("checking", 2_000_000, Console(file=out, force_terminal=True, width=120)) as update:
        update(1_000_000)
        update(2_000_000)
    assert "checking" in out.getvalue()
    assert "2.0/2.0 MB" in out.getvalue()


def test_an_interrupted_job_does_not_claim_its_end() -> None:
    out = io.StringIO()
    with pytest.raises(KeyboardInterrupt), progress.byte_progress("checking", 10, Console(file=out)):
        raise KeyboardInterrupt
    assert out.getvalue() == ""
