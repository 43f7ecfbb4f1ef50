"""What the endurance benchmark shows: verdict, table and picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

#: Share of a run after which memory and time are settled.
SETTLED = 0.1
#: What counts as flat: resident and device memory around their middle, and the time of the last third over the first's.
MAX_MEMORY_CHANGE, MAX_SLOWDOWN = 0.01, 1.2

_COLORS = {"never": "#8a8f98", "interval": "#30638e", "adaptive": "#d1495b"}
COLUMNS = (
    "policy",
    "segments",
    "lost",
    "ATE [m]",
    "ATE [% of path]",
    "local ATE [m]",
    "depth scale",
    "memory [MB]",
    "GPU [MB]",
    "time [ms] p50, p99, worst",
    "of that, worst after publishing [ms]",
    "slowdown",
)


def verdict(result: dict[str, Any]) -> list[str]:
    """Return what grew, in sentences."""
    faults = []
    for name, title in (("rss_mb", "resident memory"), ("device_mb", "device memory")):
        change = _change(_settled(result, name))
        if change > MAX_MEMORY_CHANGE:
            faults.append(f"{title} moves by ±{100 * change:.1f} % after warm-up")
    slowdown = _slowdown(result)
    if slowdown > MAX_SLOWDOWN:
        faults.append(f"time per frame grew by a factor of {slowdown:.2f}")
    return faults


def rows(results: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the cells of the table, one row a policy."""
    table: list[tuple[str, ...]] = []
    for result in results:
        ate = _column(result, "ate_m")[-1]
        rss, device = _settled(result, "rss_mb"), _settled(result, "device_mb")
        scales = _column(result, "depth_scale")
        table.append(
            (
                result["policy"],
                str(result["segments"]),
                str(sum(result["lost"].values())),
                f"{ate:.3g}",
                f"{100 * ate / result['path_m']:.2g}",
                f"{np.nanmedian(_column(result, 'local_ate_m')):.3g}",
                f"{np.nanmedian(scales):.3f} ({np.nanmin(scales):.2f} to {np.nanmax(scales):.2f})",
                f"{np.median(rss):.0f} ± {100 * _change(rss):.2f} %",
                f"{np.median(device):.0f} ± {100 * _change(device):.2f} %" if device.any() else "-",
                f"{result['ms_p50']:.1f}, {result['ms_p99']:.1f}, {result['ms_worst']:.1f}",
                f"{result['ms_settling_worst']:.1f}",
                f"{_slowdown(result):.2f}",
            )
        )
    return table


def draw(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw memory, time per frame, errors and scale over the frames, the policies side by side."""
    figure = Figure(figsize=(13.0, 8.0), layout="constrained")
    figure.suptitle(walk_title(results), fontsize=12, x=0.01, ha="left")
    panels: tuple[tuple[str, str, str | None], ...] = (
        ("rss_mb", "resident memory [MB]", None),
        ("ms_p50", "time per frame [ms], median; dotted: worst", None),
        ("ate_m", "ATE so far [m]", "log"),
        ("local_ate_m", "ATE since the last sample [m]", "log"),
        ("depth_scale", "depth scale, estimate / truth", None),
        ("lost", "lost frames since the last sample", None),
    )
    for axes, (name, title, scale) in zip(figure.subplots(2, 3, sharex=True).flat, panels):
        for result in results:
            frames, values = _column(result, "frame"), _column(result, name)
            color = _COLORS.get(result["policy"], "black")
            axes.plot(frames, values, color=color, label=result["policy"], linewidth=1.4)
            if name == "ms_p50":
                axes.plot(frames, _column(result, "ms_worst"), ":", color=color, linewidth=0.9)
        axes.set_title(title, fontsize=10, loc="left")
        if scale and all(np.nanmin(_column(result, name)) > 0 for result in results):
            axes.set_yscale(scale)
        elif name in ("rss_mb", "ms_p50"):
            axes.set_ylim(0, None)
        elif name == "depth_scale":
            axes.axhline(1.0, color="black", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    for axes in figure.axes[3:]:
        axes.set_xlabel("frame")
    figure.axes[0].legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)


def walk_title(results: Sequence[dict[str, Any]]) -> str:
    """Return which walk it was, and what went along it."""
    first = results[0]
    task, walk = first["task"], first["task"]["walk"]
    return (
        f"{first['frames']} frames at {walk['width']}x{walk['height']}, {first['path_m']:.0f} m, {walk['motion']}; "
        f"{Path(task['source']).name}, {task['rule']}, {task['device']}, {task['precision']}"
    )


def _column(result: dict[str, Any], name: str) -> npt.NDArray[np.float64]:
    return np.array([sample[name] for sample in result["samples"]], dtype=np.float64)


def _settled(result: dict[str, Any], name: str) -> npt.NDArray[np.float64]:
    values = _column(result, name)
    settled: npt.NDArray[np.float64] = values[_column(result, "frame") >= SETTLED * result["frames"]]
    return settled


def _change(values: npt.NDArray[np.float64]) -> float:
    """Return by which share of their middle values go up and down."""
    middle = (values.max() + values.min()) / 2
    return float((values.max() - values.min()) / 2 / middle) if middle else 0.0


def _slowdown(result: dict[str, Any]) -> float:
    """Return the time per frame late in a run over that early in it; on a CPU its own, which others take nothing of."""
    times = _settled(result, "cpu_ms_p50" if result["task"]["device"] == "cpu" else "ms_p50")
    third = max(len(times) // 3, 1)
    return float(np.median(times[-third:]) / np.median(times[:third]))
