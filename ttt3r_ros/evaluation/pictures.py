"""Pictures of a run: the trajectory, and images with their depth and confidence."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ttt3r_ros import colors
from ttt3r_ros.evaluation.metrics import Trajectory
from ttt3r_ros.geometry import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ttt3r_ros.evaluation.run_log import Moment

_ESTIMATE = colors.hex_color(colors.ESTIMATE)
_TRUTH = colors.hex_color(colors.TRUTH)
_CORRECTED = colors.hex_color(colors.CORRECTED)
_PLACE, _REJECTED = colors.hex_color(colors.PLACE), colors.hex_color(colors.REJECTED)
_MUTED = "#8a8f98"
_DPI = 110
_NOTE_COLUMNS = 80
_COLUMNS_PER_INCH = 12  # of text below a picture


def noted(caption: str, note: str) -> str:
    """Return a caption with a note below it, if there is one."""
    return f"{caption}\n{note}" if note else caption


def write_below(figure: Figure, caption: str) -> None:
    """Write a caption below a figure, in lines that it is wide enough for."""
    figure.supxlabel(_fitted(caption, figure), fontsize=10, color=_MUTED, x=0.02, ha="left")


def draw_trajectory(path: Path, estimate: Trajectory, truth: Trajectory | None, *, caption: str) -> None:
    """Draw a trajectory from above, and its height, heading and error over time.

    Args:
        path: path of the PNG file.
        estimate: at least one pose; body x forward, fixed z up.
        truth: ground truth at the same stamps, in the same frame; None if unknown.
        caption: a line below the title.
    """
    figure = Figure(figsize=(12.0, 6.4), layout="constrained")
    figure.suptitle("Trajectory", fontsize=15, fontweight="bold", x=0.02, ha="left")
    top, *series = _trajectory_axes(figure, rows=2 if truth is None else 3)
    top.set_title(_wrapped(caption, _NOTE_COLUMNS), fontsize=10, color=_MUTED, loc="left")
    if truth is not None:
        _draw_from_above(top, truth, _TRUTH, "ground truth")
    _draw_from_above(top, estimate, _ESTIMATE, "estimate")
    start = truth if truth is not None else estimate
    top.plot(*start.positions[0, :2], "o", color="black", markersize=7, zorder=5, label="start")
    top.set(xlabel="x [m]", ylabel="y [m]", aspect="equal")
    top.set_adjustable("datalim")
    top.legend(frameon=False, loc="best")

    seconds = (estimate.stamps_ns - estimate.stamps_ns[0]) * 1e-9
    height, heading = series[:2]
    if truth is not None:
        height.plot(seconds, truth.positions[:, 2], color=_TRUTH)
        heading.plot(seconds, _heading_degrees(truth), color=_TRUTH)
        error = np.linalg.norm(estimate.positions - truth.positions, axis=1)
        series[2].fill_between(seconds, error, color=_ESTIMATE, alpha=0.25, linewidth=0)
        series[2].plot(seconds, error, color=_ESTIMATE)
        series[2].set(ylabel="error [m]", ylim=(0.0, max(1.05 * error.max(), 0.01)))
    height.plot(seconds, estimate.positions[:, 2], color=_ESTIMATE)
    heading.plot(seconds, _heading_degrees(estimate), color=_ESTIMATE)
    middle, reach = np.mean(height.get_ylim()), np.ptp(height.get_ylim()) / 2
    reach = max(float(reach), 0.1)  # a level path should look level
    height.set(ylabel="z [m]", ylim=(middle - reach, middle + reach))
    heading.set(ylabel="heading [°]")
    series[-1].set(xlabel="time [s]")
    for axes in series:
        axes.margins(x=0.0)
    save(figure, path)


def draw_correction(
    path: Path,
    odometry: Trajectory,
    corrected: Trajectory,
    truth: Trajectory | None,
    *,
    places: Sequence[tuple[int, int]],
    rejected: Sequence[tuple[int, int]],
    titles: tuple[str, str],
    caption: str,
) -> None:
    """Draw a trajectory from above as odometry has it, and beside it as the map has corrected it.

    Args:
        path: path of the PNG file.
        odometry, corrected: at least one pose each; fixed z up.
        truth: ground truth in the frame of both; None if unknown.
        places: stamps [ns] of each two views that show one place: a line connects where the path was.
        rejected: the same of those that the map's graph has rejected.
        titles: of the two panels.
        caption: a line above the panels.
    """
    figure = Figure(figsize=(12.0, 6.6), layout=ConstrainedLayoutEngine(h_pad=0.1))
    figure.suptitle(_fitted(caption, figure), fontsize=10, color=_MUTED, x=0.02, ha="left")
    panels = figure.subplots(1, 2)
    x_limits, y_limits = _common_limits([odometry, corrected, *([] if truth is None else [truth])])
    drawn = ((odometry, _ESTIMATE, "odometry"), (corrected, _CORRECTED, "with the map"))
    handles: dict[str, Any] = {}
    for axes, title, (trajectory, color, name) in zip(panels, titles, drawn, strict=True):
        _style(axes)
        if truth is not None:
            axes.plot(*truth.positions[:, :2].T, color=_TRUTH, linewidth=1.5, label="ground truth")
        axes.plot(*trajectory.positions[:, :2].T, color=color, linewidth=1.5, label=name)
        for pairs, line, label in ((places, _PLACE, "recognized place"), (rejected, _REJECTED, "rejected place")):
            if len(pairs):
                ends = _nearest(trajectory, np.array(pairs)).transpose(2, 1, 0)  # x or y, end, place
                one, *_ = axes.plot(*ends, color=line, linewidth=1.0, alpha=0.8, zorder=4)
                one.set_label(f"{label} ({len(pairs)})")
        axes.plot(*trajectory.positions[0, :2], "o", color="black", markersize=7, zorder=5, label="start")
        axes.set_title(title, fontsize=11, loc="left")
        axes.set(xlabel="x [m]", ylabel="y [m]", xlim=x_limits, ylim=y_limits, aspect="equal")
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    names = sorted(handles, key=lambda name: float(handles[name].get_zorder()))  # paths first
    figure.legend([handles[name] for name in names], names, frameon=False, ncols=len(names), loc="outside lower center")
    save(figure, path)


def draw_frames(path: Path, moments: Sequence[Moment], *, caption: str) -> None:
    """Draw image, depth, true depth (if known) and confidence of one or more moments, in order of time, as a PNG."""
    depths = [moment.depth for moment in moments]
    truths = [moment.true_depth for moment in moments if moment.true_depth is not None]
    depth_scale = Normalize(0.0, colors.depth_limit([*depths, *truths]))
    confidences = [moment.confidence for moment in moments]
    confidence_scale = Normalize(*_range(confidences))
    rows: list[tuple[str, list[Any], dict[str, Any], str | None]] = [
        ("image", [moment.rgb for moment in moments], {}, None),
        ("depth", depths, {"cmap": colors.DEPTH_MAP, "norm": depth_scale}, "depth [m]"),
    ]
    if truths:
        unknown = np.full_like(truths[0], np.nan)
        images = [unknown if moment.true_depth is None else moment.true_depth for moment in moments]
        rows.append(("true depth", images, {"cmap": colors.DEPTH_MAP, "norm": depth_scale}, "depth [m]"))
    rows.append(("confidence", confidences, {"cmap": "viridis", "norm": confidence_scale}, "confidence"))

    height, width = moments[0].depth.shape
    cell = 2.3
    size = (cell * len(moments) + 1.6, cell * height / width * len(rows) + 1.0)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle("Images, depth and confidence", fontsize=15, fontweight="bold", x=0.01, ha="left")
    grid = figure.subplots(len(rows), len(moments), squeeze=False)
    for row, (name, images, style, unit) in enumerate(rows):
        for column, image in enumerate(images):
            axes = grid[row, column]
            shown = axes.imshow(image, interpolation="nearest", **style)
            axes.set(xticks=[], yticks=[])
            axes.set_facecolor(colors.hex_color(colors.NO_DEPTH))  # pixels without a measurement
            axes.spines[:].set_visible(False)
            if row == 0:
                seconds = (moments[column].stamp_ns - moments[0].stamp_ns) * 1e-9
                axes.set_title(f"+{seconds:.1f} s", fontsize=10, color=_MUTED)
            if column == 0:
                axes.set_ylabel(name, fontsize=11)
        bar = figure.colorbar(shown, ax=list(grid[row]), label=unit or "", fraction=0.05, pad=0.01, aspect=12)
        bar.ax.set_visible(unit is not None)  # an invisible bar still keeps the columns aligned
    write_below(figure, caption)
    save(figure, path)


def _fitted(text: str, figure: Figure) -> str:
    """Return a text in lines that a figure is wide enough for."""
    return _wrapped(text, int(_COLUMNS_PER_INCH * figure.get_figwidth()))


def _wrapped(text: str, columns: int) -> str:
    return "\n".join(textwrap.fill(line, columns) for line in text.splitlines())


def _trajectory_axes(figure: Figure, rows: int) -> list[Axes]:
    grid = figure.add_gridspec(rows, 2, width_ratios=(1.25, 1.0))
    series: list[Axes] = []
    for row in range(rows):
        series.append(figure.add_subplot(grid[row, 1], sharex=series[0] if series else None))
        series[-1].tick_params(labelbottom=row == rows - 1)
    axes = [figure.add_subplot(grid[:, 0]), *series]
    for one in axes:
        _style(one)
    return axes


def _style(axes: Axes) -> None:
    axes.grid(color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_MUTED)


def _common_limits(trajectories: Sequence[Trajectory]) -> FloatArray:
    """Return the limits of x and y, (2, 2), of a panel that shows all of these in full and is as high as wide."""
    positions = np.concatenate([trajectory.positions[:, :2] for trajectory in trajectories])
    low, high = positions.min(axis=0), positions.max(axis=0)
    reach = max(0.55 * float((high - low).max()), 0.5)
    return np.stack([(low + high) / 2 - reach, (low + high) / 2 + reach], axis=1)


def _nearest(trajectory: Trajectory, stamps_ns: npt.NDArray[np.int64]) -> FloatArray:
    """Return the (..., 2) positions from above at the poses that are nearest to stamps."""
    known = trajectory.stamps_ns
    after = np.searchsorted(known, stamps_ns).clip(0, len(known) - 1)
    before = (after - 1).clip(0)
    nearest = np.where(stamps_ns - known[before] < known[after] - stamps_ns, before, after)
    return trajectory.positions[nearest, :2]


def _draw_from_above(axes: Axes, trajectory: Trajectory, color: str, label: str) -> None:
    x, y = trajectory.positions[:, 0], trajectory.positions[:, 1]
    axes.plot(x, y, color=color, linewidth=2.0, label=label, solid_capstyle="round")
    # a few arrows show the heading
    every = max(1, len(trajectory) // 12)
    forward = _forward(trajectory)[::every]
    arrows: dict[str, Any] = {"color": color, "width": 0.004, "headwidth": 4.0, "alpha": 0.8}
    axes.quiver(x[::every], y[::every], forward[:, 0], forward[:, 1], scale=22.0, **arrows)


def _forward(trajectory: Trajectory) -> FloatArray:
    """Return the (N, 3) direction of the body's x axis."""
    w, x, y, z = trajectory.quaternions_wxyz.T
    return np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], axis=1)


def _heading_degrees(trajectory: Trajectory) -> FloatArray:
    forward = _forward(trajectory)
    return np.degrees(np.unwrap(np.arctan2(forward[:, 1], forward[:, 0])))


def _range(images: Sequence[npt.NDArray[np.float32]]) -> tuple[float, float]:
    """Return limits that ignore a few outlier pixels."""
    values = np.concatenate([image[np.isfinite(image)] for image in images])
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, [1.0, 99.0])
    return float(low), float(max(high, low + 0.1))


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file."""
    figure.savefig(path, dpi=_DPI, facecolor="white")
