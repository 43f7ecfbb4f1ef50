"""Measure weights on held-out flats: ``python -m training.evaluate [--weights FILE] [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence as Seq
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table

from training.config import FIRST_TRAINING_SEED
from training.measure import Frame, Measurement, measure
from ttt3r_ros.errors import UserError
from ttt3r_ros.model import rule_by_name
from ttt3r_ros.runtime.device import choose_device
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.segments import SegmentReader
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.synthetic import Motion, Sequence
from ttt3r_ros.weights.load import load_weights

#: What the small weights are meant to reach: name -> (bound, is it an upper one, how it is shown).
TARGETS = {
    "abs_rel": (0.10, True, "depth AbsRel"),
    "delta_125": (0.90, False, "depth δ<1.25"),
    "ate_percent": (5.0, True, "ATE [% of path]"),
    "rpe_rotation_deg": (1.0, True, "rotation RPE [°/frame]"),
}
#: The walkers have set off by then.
_START = 30
FPS = 15.0


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table and, if asked to, write JSON and a picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="", help="a weights file; default: the package's own")
    parser.add_argument("--seeds", type=int, default=10, help="held-out flats, each with both kinds of motion")
    parser.add_argument("--frames", type=int, default=16, help="of a sequence, at 15 a second")
    parser.add_argument("--rule", default="ttt3r", help="update rule: cut3r, ttt3r or filt3r")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    parser.add_argument("--picture", type=Path, help="also draw image, depth and true depth to this PNG")
    args = parser.parse_args(argv)
    try:
        if not 1 <= args.seeds <= FIRST_TRAINING_SEED // 2 or args.frames < 3:
            raise UserError(f"--seeds must be 1 to {FIRST_TRAINING_SEED // 2} and --frames at least 3")
        device = choose_device(args.device)
        weights = load_weights(args.weights)
        backbone, settings = (
            Backbone(weights.network, device=device),
            StreamSettings(update_rule=rule_by_name(args.rule).name),
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    measurements, pictured = [], []
    jobs: list[tuple[int, Motion]] = [(seed, motion) for seed in range(args.seeds) for motion in get_args(Motion)]
    console = Console()
    for seed, motion in track(jobs, "measuring", console=console, transient=True):
        sequence = Sequence(seed, _START + args.frames, fps=FPS, motion=motion, device=device)
        measurement, frames = measure(SegmentReader(backbone, settings), sequence, _START, motion)
        measurements.append(measurement)
        pictured.append(frames[-1])
    summary = summarise(measurements)
    console.print(_table(summary, f"{weights.source}, {args.rule}, {len(jobs)} sequences of {args.frames} frames"))
    if args.json:
        args.json.write_text(json.dumps(_record(args, weights.source, summary, measurements), indent=2) + "\n")
    if args.picture:
        draw_depths(args.picture, pictured[:6])
    return 0


def summarise(measurements: Seq[Measurement]) -> dict[str, float]:
    """Return means of depth, and medians over sequences of what a single short path can spoil."""

    def over(function: Any, name: str) -> float:
        return float(function([getattr(measurement, name) for measurement in measurements]))

    return {
        "abs_rel": over(np.mean, "abs_rel"),
        "delta_125": over(np.mean, "delta_125"),
        "abs_rel_scaled": over(np.mean, "abs_rel_scaled"),
        "ate_percent": over(np.median, "ate_percent"),
        "still_ate_percent": float(np.median([100 * m.still_ate_m / m.path_m for m in measurements])),
        "rpe_rotation_deg": over(np.median, "rpe_rotation_deg"),
        "still_rpe_rotation_deg": over(np.median, "still_rpe_rotation_deg"),
        "path_m": over(np.median, "path_m"),
        "ms_per_frame": over(np.median, "ms_per_frame"),
    }


def draw_depths(path: Path, frames: Seq[Frame]) -> None:
    """Draw frames side by side: what the network saw, its depth, and the true one on the same scale."""
    figure = Figure(figsize=(2.6 * len(frames), 6), layout="constrained")
    FigureCanvasAgg(figure)
    for column, frame in enumerate(frames):
        scale: dict[str, Any] = {"vmin": 0.5, "vmax": float(np.nanmax(frame.truth)), "cmap": "turbo"}
        pictures: dict[str, tuple[npt.NDArray[Any], dict[str, Any]]] = {
            "image": (frame.image, {}),
            "depth": (frame.depth, scale),
            "true depth": (frame.truth, scale),
        }
        for row, (title, (picture, style)) in enumerate(pictures.items()):
            axes = figure.add_subplot(len(pictures), len(frames), row * len(frames) + column + 1)
            axes.imshow(picture, **style)
            axes.set(title=title if column == 0 else "", xticks=[], yticks=[])
    figure.savefig(path, dpi=90)


def _table(summary: dict[str, float], title: str) -> Table:
    table = Table(title=title)
    for column in ("figure", "reached", "target", "standing still"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for name, (bound, is_upper, shown) in TARGETS.items():
        value = summary[name]
        met = value <= bound if is_upper else value >= bound
        still = summary.get(f"still_{name}")
        table.add_row(
            shown,
            f"[{'green' if met else 'red'}]{value:.3f}[/]",
            f"{'≤' if is_upper else '≥'} {bound:g}",
            "" if still is None else f"{still:.3f}",
        )
    table.add_row("depth AbsRel, scale matched", f"{summary['abs_rel_scaled']:.3f}", "", "")
    table.add_row("time per frame [ms]", f"{summary['ms_per_frame']:.0f}", "≤ 100", "")
    return table


def _record(
    args: argparse.Namespace, source: str, summary: dict[str, float], measurements: Seq[Measurement]
) -> dict[str, Any]:
    settings = {"rule": args.rule, "seeds": args.seeds, "frames": args.frames, "fps": FPS, "start": _START}
    rows = [asdict(m) | {"ate_percent": m.ate_percent} for m in measurements]
    targets = {name: {"bound": bound, "upper": upper} for name, (bound, upper, _) in TARGETS.items()}
    return {"weights": source, "settings": settings, "summary": summary, "targets": targets, "sequences": rows}


if __name__ == "__main__":
    sys.exit(main())
