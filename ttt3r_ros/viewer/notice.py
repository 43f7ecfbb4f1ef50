"""A notice: a file by which whoever runs the viewer has it show a sentence in place of the node's state."""

from __future__ import annotations

from pathlib import Path


def write_notice(file: Path, level: str, message: str) -> None:
    """Write a notice, or replace it at once by another one.

    Args:
        file: the file; beside it a temporary one is written.
        level: see `ttt3r_ros.viewer.live.state_html`.
        message: one sentence, without a full stop: at the viewer's end more is said after it.
    """
    unfinished = file.with_name(f"{file.name}.new")
    unfinished.write_text(f"{level} {message}", encoding="utf-8")
    unfinished.replace(file)


def read_notice(file: Path | None) -> tuple[str, str] | None:
    """Return level and sentence of a notice; None while there is none."""
    if file is None or not file.exists():
        return None
    level, _, message = file.read_text(encoding="utf-8").partition(" ")
    return level, message
