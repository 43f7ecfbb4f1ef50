"""The pictures of a report. Where what draws them is not installed, there are none, and the report says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.gpu.findings import SERIES
from benchmark.gpu.report import Report

Image = npt.NDArray[np.uint8]
Depth = npt.NDArray[np.floating[Any]]

_BARS = ("naive, float32", "plain", "captured", "compiled", "compiled, captured")


def draw(report: Report, path: Path) -> bool:
    """Draw times by kind of step, and what became of time and memory over a long stream.

    Returns:
        Whether there was something to draw.

    Raises:
        ImportError: matplotlib is not installed.
    """
    steps = {
        title: {name: rows[name]["ms"] for name in _BARS if isinstance(rows.get(name, {}).get("ms"), dict)}
        for chapter in report.chapters
        for title, rows in chapter.tables.items()
        if chapter.part == "step" and "by stage" not in title
    }
    streams = {
        f"{chapter.title}: {title}": series
        for chapter in report.chapters
        for title, series in chapter.tables.get(SERIES, {}).items()
    }
    if not steps and not streams:
        return False
    from matplotlib.figure import Figure

    count = bool(steps) + len(streams)
    figure = Figure(figsize=(13, 4.5 * count), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(count, 1)))
    if steps:
        _draw_steps(axes.pop(0), steps)
    for panel, (title, series) in zip(axes, streams.items()):
        _draw_stream(panel, title, series)
    temporary = path.with_suffix(".part.png")
    figure.savefig(temporary, dpi=90)
    temporary.replace(path)
    return True


def _draw_steps(axes: Any, steps: dict[str, dict[str, dict[str, float]]]) -> None:
    width = 0.8 / len(_BARS)
    for number, name in enumerate(_BARS):
        at = [
            (place + (number - 2) * width, found[name]) for place, found in enumerate(steps.values()) if name in found
        ]
        if at:
            places, values = zip(*at)
            median = np.array([value["median"] for value in values])
            spread = np.array([[v["median"] - v["q1"] for v in values], [v["q3"] - v["median"] for v in values]])
            axes.bar(places, median, width, yerr=spread, label=name, color=f"C{number}")
            for place, value in zip(places, median):
                axes.annotate(f"{value:.3g}", (place, value), ha="center", va="bottom", fontsize=7)
    axes.set(yscale="log", ylabel="ms per step, median and quartiles", title="The full network's step")
    axes.set_xticks(range(len(steps)), list(steps), fontsize=8)
    axes.legend(frameon=False, fontsize=8)


def _draw_stream(axes: Any, title: str, series: dict[str, list[float]]) -> None:
    axes.plot(series["ms"], linewidth=0.6, color="C0")
    axes.set(title=title, xlabel="frame", ylabel="ms", ylim=(0, 1.5 * float(np.percentile(series["ms"], 99))))
    memory = axes.twinx()
    memory.plot(series["device MB"], color="C1", label="allocated on the device")
    memory.plot(series["host MB"], color="C2", label="the process on the host")
    memory.set(ylabel="MB", ylim=(0, 1.2 * max(series["device MB"] + series["host MB"])))
    memory.legend(frameon=False, fontsize=8, loc="lower right")


def write_frames(path: Path, frames: Sequence[tuple[Image, Depth, Depth]]) -> None:
    """Write images over true and estimated depth, near bright and far dark, all depths at one scale.

    Raises:
        ImportError: neither OpenCV nor Pillow is installed.
    """
    far = float(np.nanmax([np.nanpercentile(true, 98) for _, true, _ in frames]))

    def gray(depth: Depth) -> Image:
        value = np.nan_to_num(255 * (1 - np.clip(depth / far, 0, 1)), nan=0.0).astype(np.uint8)
        return np.repeat(value[..., None], 3, axis=2)

    columns = [np.vstack([image, gray(true), gray(estimated)]) for image, true, estimated in frames]
    picture = np.hstack(columns)
    try:
        import cv2
    except ImportError:
        import PIL.Image

        PIL.Image.fromarray(picture).save(path)
        return
    cv2.imwrite(str(path), np.ascontiguousarray(picture[..., ::-1]))
