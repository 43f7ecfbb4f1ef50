"""The picture of a run's log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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


def draw_curve(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Draw losses and figures over the minutes trained, a shade for every stage."""
    figure = Figure(figsize=(12, 7), layout="constrained")
    FigureCanvasAgg(figure)
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
