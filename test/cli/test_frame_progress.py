"""Progress on a terminal and in a log."""

from __future__ import annotations

import io

from rich.console import Console

from ttt3r_ros.cli.frame_progress import LOG_PERIOD_S, FrameProgress


def test_a_log_gets_a_line_now_and_then() -> None:
    out, now = io.StringIO(), [0.0]
    with FrameProgress("playing [x]", 100, Console(file=out), monotonic=lambda: now[0]) as progress:
        for i in range(100):
            now[0] = i * LOG_PERIOD_S / 10
            progress.update(i, "9 Hz")
    lines = out.getvalue().splitlines()
    assert len(lines) == 9
    assert lines[0] == "playing [x]: 10/100 frames 9 Hz"


def test_a_terminal_gets_a_bar() -> None:
    out = io.StringIO()
    with FrameProgress("playing", None, Console(file=out, force_terminal=True, width=100)) as progress:
        progress.update(7, "9 Hz")
    assert "playing" in out.getvalue()
    assert "7/?" in out.getvalue()
    assert "9 Hz" in out.getvalue()
