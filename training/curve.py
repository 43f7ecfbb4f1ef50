"""Draw the curves of a run's log: ``python -m training.curve --run NAME``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.run_folder import RunFolder
from ttt3r_ros.errors import UserError, program

_PANELS = (
    (
        "loss, training",
        ("camera", "world", "rotation", "translation", "flow", "moments", "shift", "attention", "keep"),
        "log",
    ),
    ("depth, held-out flats", ("abs_rel", "delta_125"), "linear"),
    ("motion error over motion, held-out flats", ("rotation_ratio", "translation_ratio"), "linear"),
    ("rotation error [°], held-out flats", ("rotation_deg",), "log"),
)


@program
def main(argv: list[str] | None = None) -> int:
    """Draw, where this could not be done while training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="name of the run: its folder in training/runs, or a path")
    folder = RunFolder.named(parser.parse_args(argv).run)
    if not folder.entries():
        raise UserError(f"the run {folder.path} has no log to draw")
    if not draw_curve(folder.curve, folder.entries()):
        raise UserError("drawing needs matplotlib, which is not installed here")
    print(folder.curve)
    return 0


def draw_curve(path: Path, entries: Sequence[dict[str, Any]]) -> bool:
    """Draw losses and figures over the minutes trained, a shade for every stage.

    Returns:
        Whether there is a picture; there is none of an empty log, nor without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return False
    if not entries:
        return False
    figure = Figure(figsize=(12, 7), layout="constrained")
    minutes = np.array([entry["seconds"] / 60 for entry in entries])
    for axes, (title, names, scale) in zip(figure.subplots(2, 2).flat, _PANELS):
        for name in names:
            values = np.array([entry.get(name, np.nan) for entry in entries], dtype=float)
            if np.isfinite(values).any():
                axes.plot(minutes, values, label=name, linewidth=1.5)
        axes.set(title=title, xlabel="minutes", xlim=(0, None))
        if axes.lines:
            if scale == "log" and all(
                (line.get_ydata()[np.isfinite(line.get_ydata())] > 0).all() for line in axes.lines
            ):
                axes.set_yscale("log")
            axes.legend(frameon=False)
        for number, stage in enumerate(dict.fromkeys(entry["stage"] for entry in entries)):
            inside = [m for m, entry in zip(minutes, entries) if entry["stage"] == stage]
            axes.axvspan(min(inside), max(inside), alpha=0.08, color=f"C{number}")
            axes.text(min(inside), 1.0, f" {stage}", transform=axes.get_xaxis_transform(), va="top", fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)
    return True


if __name__ == "__main__":
    sys.exit(main())
