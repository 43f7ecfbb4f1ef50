"""Evaluate weights in held-out apartments: ``python -m training.evaluate [--weights FILE] [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence as Seq
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from training.config import FIRST_TRAINING_SEED
from training.measure import Frame, Measurement, measure
from training.pictures import draw
from training.report import table
from ttt3r_ros.cli.arguments import at_least_one, output_file
from ttt3r_ros.errors import UserError, program
from ttt3r_ros.model.config import UPDATE_RULES
from ttt3r_ros.runtime.device import choose_device
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.synthetic.limits import Motion

if TYPE_CHECKING:
    import torch

    from ttt3r_ros.weights.load import Weights

#: What the small weights are meant to reach: name -> (bound, is it an upper one, how it is shown).
TARGETS = {
    "abs_rel": (0.08, True, "depth AbsRel"),
    "delta_125": (0.93, False, "depth δ<1.25"),
    "ate_percent": (4.0, True, "ATE [% of path]"),
    "rpe_rotation_deg": (0.3, True, "rotation RPE [°/frame]"),
}
#: The walkers have set off by then.
_START = 30
FPS = 15.0
USUAL: tuple[Motion, ...] = ("handheld", "wheeled")  #: the motions that the targets are about
_MOVED_M = 0.05  # a path that is shorter has no errors in shares of it
_PICTURED = 6  # frames in the picture


@program
def main(argv: list[str] | None = None) -> int:
    """Measure, print a table and, if asked to, write JSON and a picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="", help="a weights file; default: the package's own")
    parser.add_argument("--seeds", type=at_least_one, default=10, help="held-out flats, each with every motion")
    parser.add_argument("--frames", type=at_least_one, default=16, help="of a sequence, at 15 a second")
    motions = get_args(Motion)
    parser.add_argument("--motions", choices=motions, nargs="+", default=motions, help="default: all")
    parser.add_argument("--rule", default="ttt3r", choices=UPDATE_RULES, help="update rule")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--json", type=output_file, help="also write everything to this file")
    parser.add_argument("--picture", type=output_file, help="also draw image, depth and true depth to this PNG")
    args = parser.parse_args(argv)

    from ttt3r_ros.weights.load import load_weights

    weights = load_weights(args.weights)
    device = choose_device(args.device)
    evaluation = evaluate(weights, device, rule=args.rule, seeds=args.seeds, frames=args.frames, motions=args.motions)
    if args.json:
        args.json.write_text(json.dumps(evaluation.record(), indent=2) + "\n")
    if args.picture:
        draw(args.picture, evaluation.pictured)
    print(evaluation.text())
    return 0


@dataclass(frozen=True)
class Evaluation:
    """What came of it.

    Attributes:
        source, rule, frames: of the weights, under which update rule, frames of a sequence.
        measurements: one for every sequence.
        pictured: the last frames of the first sequences, with captions.
    """

    source: str
    rule: str
    frames: int
    measurements: list[Measurement]
    pictured: list[tuple[str, Frame]]

    def record(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "weights": self.source,
            "settings": {"rule": self.rule, "frames": self.frames, "fps": FPS, "start": _START},
            "summary": summarize(self._usual()),
            "motions": {motion: summarize(mine) for motion, mine in self._by_motion().items()},
            "targets": {name: {"bound": bound, "upper": upper} for name, (bound, upper, _) in TARGETS.items()},
            "sequences": [asdict(m) | {"ate_percent": m.ate_percent} for m in self.measurements],
        }

    def text(self) -> str:
        """Return it as Markdown: every figure of the usual motions beside its target, and every motion's own."""
        usual = self._usual()
        summary = summarize(usual)
        rows = []
        for name, (bound, is_upper, shown) in TARGETS.items():
            met = summary[name] <= bound if is_upper else summary[name] >= bound
            still = summary.get(f"still_{name}")
            rows.append(
                [shown, f"{summary[name]:.3f}", f"{'≤' if is_upper else '≥'} {bound:g}", "yes" if met else "no",
                 "" if still is None else f"{still:.3f}"]
            )  # fmt: skip
        rows.append(["depth AbsRel, scale matched", f"{summary['abs_rel_scaled']:.3f}", "", "", ""])
        rows.append(["time per frame [ms]", f"{summary['ms_per_frame']:.0f}", "≤ 100", "", ""])
        title = f"{self.source}, {self.rule}, {len(usual)} sequences of {self.frames} frames, {' and '.join(USUAL)}"
        figures = table(["figure", "reached", "target", "met", "standing still"], rows)
        return f"{title}\n\n{figures}\n\n{self._motions()}"

    def _motions(self) -> str:
        header = ["motion", "sequences", "AbsRel", "δ<1.25", "ATE [cm]", "standing still", "ATE [% of path]",
                  "rotation RPE [°]", "standing still"]  # fmt: skip
        rows = []
        for motion, mine in self._by_motion().items():
            s = summarize(mine)
            moved = s["path_m"] > _MOVED_M
            rows.append(
                [motion, str(len(mine)), f"{s['abs_rel']:.3f}", f"{s['delta_125']:.3f}", f"{100 * s['ate_m']:.1f}",
                 f"{100 * s['still_ate_m']:.1f}", f"{s['ate_percent']:.1f}" if moved else "",
                 f"{s['rpe_rotation_deg']:.2f}", f"{s['still_rpe_rotation_deg']:.2f}"]
            )  # fmt: skip
        return table(header, rows)

    def _usual(self) -> list[Measurement]:
        """Return those of the usual motions; all where there are none of these."""
        return [m for m in self.measurements if m.motion in USUAL] or self.measurements

    def _by_motion(self) -> dict[str, list[Measurement]]:
        motions = dict.fromkeys(m.motion for m in self.measurements)
        return {motion: [m for m in self.measurements if m.motion == motion] for motion in motions}


def evaluate(
    weights: Weights,
    device: torch.device,
    *,
    rule: str = "ttt3r",
    seeds: int = 10,
    frames: int = 16,
    motions: Seq[Motion] = get_args(Motion),
    until: float = math.inf,
) -> Evaluation:
    """Measure weights on held-out flats, all kinds of motion in each.

    Args:
        weights: what to measure.
        device: where.
        rule: the update rule.
        seeds: how many flats.
        frames: of a sequence, at 15 a second.
        motions: in each flat.
        until: no sequence but the first is begun after this reading of `time.monotonic`.

    Raises:
        UserError: a number is out of range, or the rule is unknown.
    """
    if not 1 <= seeds <= FIRST_TRAINING_SEED // 2 or frames < 3:
        raise UserError(f"--seeds must be 1 to {FIRST_TRAINING_SEED // 2} and --frames at least 3")

    from ttt3r_ros.model import rule_by_name
    from ttt3r_ros.stream.backbone import Backbone
    from ttt3r_ros.stream.segments import SegmentReader
    from ttt3r_ros.synthetic import Sequence

    backbone = Backbone(weights.network, device=device)
    settings = StreamSettings(update_rule=rule_by_name(rule).name)
    jobs = [(seed, motion) for seed in range(seeds) for motion in motions]
    measurements: list[Measurement] = []
    pictured: list[tuple[str, Frame]] = []
    for seed, motion in jobs:
        if measurements and time.monotonic() >= until:
            break
        sequence = Sequence(seed, _START + frames, fps=FPS, motion=motion, device=device)
        measurement, seen = measure(SegmentReader(backbone, settings), sequence, _START, motion)
        measurements.append(measurement)
        pictured.append((measurement.caption, seen[-1]))
    return Evaluation(weights.source, rule, frames, measurements, pictured[:_PICTURED])


def summarize(measurements: Seq[Measurement]) -> dict[str, float]:
    """Return means of depth, and medians over sequences of what a single short path can spoil."""

    def over(function: Any, name: str) -> float:
        return float(function([getattr(measurement, name) for measurement in measurements]))

    return {
        "abs_rel": over(np.mean, "abs_rel"),
        "delta_125": over(np.mean, "delta_125"),
        "abs_rel_scaled": over(np.mean, "abs_rel_scaled"),
        "ate_m": over(np.median, "ate_m"),
        "still_ate_m": over(np.median, "still_ate_m"),
        "ate_percent": over(np.median, "ate_percent"),
        "still_ate_percent": float(np.median([100 * m.still_ate_m / max(m.path_m, 1e-9) for m in measurements])),
        "rpe_rotation_deg": over(np.median, "rpe_rotation_deg"),
        "still_rpe_rotation_deg": over(np.median, "still_rpe_rotation_deg"),
        "path_m": over(np.median, "path_m"),
        "ms_per_frame": over(np.median, "ms_per_frame"),
    }


if __name__ == "__main__":
    sys.exit(main())
