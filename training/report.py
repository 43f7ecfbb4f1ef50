"""The page that a run leaves for people: every part is on the disk as soon as it is done."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Report:
    """A Markdown file that grows."""

    def __init__(self, path: Path, title: str) -> None:
        self._path = path
        self._text = f"# {title}\n"
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, heading: str, text: str) -> None:
        """Add a part, and show it."""
        self._text += f"\n## {heading}\n\n{text.strip()}\n"
        self._path.write_text(self._text, encoding="utf-8")
        print(f"\n{heading}: {text.strip()}\n", flush=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, its columns as wide as what is in them."""
    lines = [list(header), ["---"] * len(header), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines)


def machine(device: torch.device) -> str:
    """Return where and with what a run took place."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return f"{device} ({name}), torch {torch.__version__}, Python {platform.python_version()}"


def stages(entries: Sequence[dict[str, Any]]) -> str:
    """Return what every stage of a log took and reached, as a table."""
    rows, before = [], 0.0
    for name in dict.fromkeys(entry["stage"] for entry in entries):
        mine = [entry for entry in entries if entry["stage"] == name]
        last = mine[-1]
        speeds = [
            f"{sum(entry.get(key, 0.0) for entry in mine) / len(mine):.0f}"
            for key in ("frames_per_second", "rendered_per_second")
        ]
        shown = [
            f"{last[key]:.3f}" if key in last else ""
            for key in ("abs_rel", "delta_125", "rotation_ratio", "translation_ratio")
        ]
        rows.append([name, f"{(last['seconds'] - before) / 60:.1f}", str(last["step"]), str(last["frames"]), *speeds,
                     *shown])  # fmt: skip
        before = last["seconds"]
    header = ["stage", "minutes", "steps", "frames", "trained/s", "rendered/s", "AbsRel", "δ<1.25", "rotation ratio",
              "translation ratio"]  # fmt: skip
    return table(header, rows)
