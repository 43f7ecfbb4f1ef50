"""The covariance benchmark's picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmark.covariance_fit import PARTS, Variances
from benchmark.covariance_runs import Walked
from ttt3r_ros.geometry import FloatArray

_UNITS = {"position": "m", "orientation": "rad", "linear velocity": "m/s", "angular velocity": "rad/s"}
_ERROR, _SIGMA, _MUTED = "#d1495b", "#30638e", "#8a8f98"
_BINS = 12


def draw(path: Path, walks: Sequence[Walked], variances: Sequence[Variances], title: str) -> None:
    """Draw, for each part, RMS error beside RMS σ over time, and RMS error against σ.

    Args:
        path: of the PNG.
        walks: held out.
        variances: of each, from `replay`.
        title: of the picture.
    """
    figure = Figure(figsize=(14.0, 7.0), layout="constrained")
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    grid = figure.subplots(2, 4)
    seconds = np.concatenate([walked.seconds()[1:] for walked in walks])
    for column, (name, (kind, columns)) in enumerate(PARTS.items()):
        errors = [walked.pose_errors() if kind == "pose" else walked.twist_errors() for walked in walks]
        e = np.concatenate([error[1:, columns] for error in errors])
        v = np.concatenate([pair[0 if kind == "pose" else 1][1:, columns] for pair in variances])
        _over_time(grid[0, column], seconds, e, v)
        grid[0, column].set_title(f"{name}: NEES {np.nanmean(e**2 / v):.2f}", fontsize=11, loc="left")
        grid[0, column].set_ylabel(f"[{_UNITS[name]}]")
        _against_sigma(grid[1, column], e, v, _UNITS[name])
    grid[0, 0].legend(frameon=False)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _over_time(axes: Axes, seconds: FloatArray, errors: FloatArray, variances: FloatArray) -> None:
    edges = np.linspace(0.0, seconds.max(), _BINS + 1)
    middle, rms, sigma = [], [], []
    for low, high in pairwise(edges):
        inside = (seconds > low) & (seconds <= high) & np.isfinite(errors).all(axis=1)
        if inside.any():
            middle.append((low + high) / 2)
            rms.append(np.sqrt(np.square(errors[inside]).mean()))
            sigma.append(np.sqrt(variances[inside].mean()))
    axes.plot(middle, rms, color=_ERROR, marker="o", markersize=3, label="RMS error")
    axes.plot(middle, sigma, color=_SIGMA, label="RMS σ")
    axes.set(xlabel="time [s]", ylim=(0, None))


def _against_sigma(axes: Axes, errors: FloatArray, variances: FloatArray, unit: str) -> None:
    """Draw the RMS error of frames that claim about the same σ; the band is what counts as true."""
    known = np.isfinite(errors)
    sigmas, errors = np.sqrt(variances[known]), errors[known]
    order = np.argsort(sigmas)
    claimed, found = [], []
    for chunk in np.array_split(order, _BINS):
        claimed.append(np.sqrt(np.square(sigmas[chunk]).mean()))
        found.append(np.sqrt(np.square(errors[chunk]).mean()))
    ends = np.array([min(claimed), max(claimed)]) * [0.8, 1.25]
    axes.fill_between(ends, ends * np.sqrt(0.5), ends * np.sqrt(2.0), color=_SIGMA, alpha=0.12, linewidth=0)
    axes.plot(ends, ends, color=_MUTED, linewidth=0.8)
    axes.plot(claimed, found, "o-", color=_ERROR, markersize=4)
    axes.set(xscale="log", yscale="log", xlabel=f"σ [{unit}]", ylabel=f"RMS error [{unit}]")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
