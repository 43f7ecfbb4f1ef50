"""How update rules perform on long sequences: ``python -m benchmark.length [--json FILE] [--picture FILE]``.

The TTT3R paper claims that its rule beats CUT3R's beyond the training length, at constant memory (`benchmark.growth`
measures memory and time). This benchmark walks through held-out apartments of the synthetic world once with every rule,
without resets and, if asked to, with them. Every estimate depends only on earlier frames, so one long run also gives
the figures for shorter ones. Poses are the network's own, without any correction by pixels. It says whether the claim
holds, and after how many frames a reset is best for these poses (`benchmark.settings` says it for the corrected ones).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress

from benchmark import command
from benchmark.runner import Frame, frames_of, go_along, trajectory_error
from ttt3r_ros.cli.arguments import at_least_one
from ttt3r_ros.errors import UserError
from ttt3r_ros.model.config import UPDATE_RULES
from ttt3r_ros.runtime.device import choose_device
from ttt3r_ros.stream.estimate import DEFAULT_OUTPUTS
from ttt3r_ros.stream.settings import StreamSettings

if TYPE_CHECKING:
    from ttt3r_ros.stream.segments import SegmentReader
    from ttt3r_ros.synthetic import Sequence

LENGTHS = (10, 50, 200, 500, 1000)
FPS = 15.0
FIRST_SEED = 500  # above those of training.evaluate, below those trained on
DEPTH_EVERY = 7  # frames; without a divisor in common with usual intervals between resets
#: Figure -> (how it is shown, is its axis logarithmic).
FIGURES = {
    "ate_percent": ("ATE [% of path]", True),
    "rpe_rotation_deg": ("rotation RPE [°/frame]", True),
    "rpe_translation_m": ("translation RPE [m/frame]", True),
    "abs_rel": ("depth AbsRel", False),
}

#: The claim: without resets, this rule's median ATE is at most so much of the other's, and their quartiles are apart.
CLAIM = ("ttt3r", "cut3r", 0.8)
_BEYOND = 200  # frames from which on the claim is made

_WITH_SPREAD = {"ate_percent", "rpe_rotation_deg", "abs_rel"}  # in the table; the picture has all


@dataclass(frozen=True)
class Row:
    """The figures of the first ``length`` frames of one sequence under one rule.

    Attributes:
        rule, reset: the update rule, and frames between resets (0: none).
        seed, length: which sequence, and how many frames of it.
        ate_percent: RMSE of the positions after SE(3) alignment, of the path's length [%].
        rpe_rotation_deg, rpe_translation_m: per frame.
        abs_rel: of metric depth, mean over every `DEPTH_EVERY`-th frame so far.
    """

    rule: str
    reset: int
    seed: int
    length: int
    ate_percent: float
    rpe_rotation_deg: float
    rpe_translation_m: float
    abs_rel: float


def main(argv: list[str] | None = None) -> int:
    """Run all rules over all seeds, print a table and, if asked to, write JSON and a picture."""
    shared = ("weights", "device", "seeds", "size", "markdown", "picture")
    arguments = command.parser(__doc__, *shared, seeds=10, size=[320, 240])
    add = arguments.add_argument
    add("--length", type=int, default=LENGTHS[-1], help="frames of the longest sequence")
    add("--reset", type=at_least_one, nargs="+", default=[], help="frames between resets, in further runs")
    add("--rules", choices=UPDATE_RULES, nargs="+", default=list(UPDATE_RULES), help="update rules (default: all)")
    return command.start(arguments, measure, report, argv)


def measure(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Walk through every flat under every rule, with and without resets."""
    lengths = [length for length in LENGTHS if length <= args.length]
    if not lengths:
        raise UserError(f"--length must be at least {LENGTHS[0]}, not {args.length}")

    from ttt3r_ros.stream.backbone import Backbone
    from ttt3r_ros.stream.segments import SegmentReader
    from ttt3r_ros.synthetic import Sequence
    from ttt3r_ros.weights.load import load_weights

    device = choose_device(args.device)
    source = load_weights(args.weights).source
    width, height = args.size
    rows: list[Row] = []
    runs = [(rule, reset) for rule in args.rules for reset in (0, *args.reset)]
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("sequences", total=args.seeds * len(runs))
        for seed in range(FIRST_SEED, FIRST_SEED + args.seeds):
            sequence = Sequence(seed, lengths[-1], width=width, height=height, fps=FPS, device=device)
            frames = list(frames_of(sequence))
            for rule, reset in runs:
                backbone = Backbone(load_weights(args.weights).network, device=device)
                stream = SegmentReader(backbone, StreamSettings(update_rule=rule), reset_interval=reset)
                rows += _walk(stream, sequence, frames, lengths)
                progress.advance(task)
    settings = {"weights": source, "device": str(device), "fps": FPS, "seeds": args.seeds, "first_seed": FIRST_SEED}
    return {**settings, "rows": [asdict(row) for row in rows]}


def report(result: dict[str, Any], args: argparse.Namespace, console: Console) -> bool:
    """Print the table, and draw the picture if asked to."""
    rows = [Row(**row) for row in result["rows"]]
    title = f"{result['weights']} on {result['device']}, {result['seeds']} held-out flats: median (quartiles)"
    header = ("rule", "reset", "frames", *(shown for shown, _ in FIGURES.values()))
    command.show(header, _table(rows), args, console, title=title)
    for sentence in (*claim(rows), *best_reset(rows)):
        console.print(sentence)
    if args.picture:
        draw(args.picture, rows)
    return True


def _walk(stream: SegmentReader, sequence: Sequence, frames: Seq[Frame], lengths: Seq[int]) -> Iterator[Row]:
    """Feed a sequence once, and yield a row whenever one of the lengths is reached."""
    poses, errors = [], []
    for number, frame in enumerate(frames):
        is_dense = number % DEPTH_EVERY == 0
        (step,) = go_along(stream, [frame], outputs=DEFAULT_OUTPUTS if is_dense else frozenset())
        assert step.estimate is not None
        poses.append(step.estimate.T_world_camera)
        if is_dense:
            errors.append(step.abs_rel())
        if len(poses) in lengths:
            error = trajectory_error(sequence, poses)
            yield Row(
                rule=stream.settings.update_rule,
                reset=stream.reset_interval,
                seed=sequence.seed,
                length=len(poses),
                ate_percent=100 * error.ate_rmse_m / error.path_length_m,
                rpe_rotation_deg=error.rpe_rotation_deg,
                rpe_translation_m=error.rpe_translation_m,
                abs_rel=float(np.mean(errors)),
            )


def claim(rows: Seq[Row]) -> list[str]:
    """Return a sentence for every length from 200 on: whether the claim holds there; none where a rule was not run."""
    groups = _groups(rows)
    ours, other, share = CLAIM
    one, two = groups.get((ours, 0), {}), groups.get((other, 0), {})
    sentences = []
    for length in (length for length in one if length in two and length >= _BEYOND):
        low, middle, high = _quartiles(one[length], "ate_percent")
        low_other, middle_other, _ = _quartiles(two[length], "ate_percent")
        verdict = "holds" if middle <= share * middle_other and high < low_other else "does not hold"
        sentences.append(
            f"{length} frames without resets: {ours} {middle:.1f} % ({low:.1f} to {high:.1f}), "
            f"{middle / middle_other:.2f} of {other}; the claim (at most {share}, quartiles apart) {verdict}"
        )
    return sentences


def best_reset(rows: Seq[Row]) -> list[str]:
    """Return a sentence for every rule that was run with several intervals: which has the lowest ATE at the end."""
    ates: dict[str, dict[int, float]] = {}
    for (rule, reset), by_length in _groups(rows).items():
        ates.setdefault(rule, {})[reset] = _quartiles(by_length[max(by_length)], "ate_percent")[1]
    sentences = []
    for rule, by_reset in ates.items():
        if len(by_reset) > 2:
            best = min(by_reset, key=lambda reset: by_reset[reset])
            sentences.append(f"{rule} is best {f'with a reset every {best} frames' if best else 'without resets'}")
    return sentences


def draw(path: Path, rows: Seq[Row]) -> None:
    """Draw every figure against the length: medians as lines, quartiles as bands; dashed with resets."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    for axes, (name, (title, logarithmic)) in zip(figure.subplots(2, 2).flat, FIGURES.items()):
        for (rule, reset), by_length in _groups(rows).items():
            lengths = list(by_length)
            quartiles = np.array([_quartiles(by_length[length], name) for length in lengths])
            style = "--" if reset else "-"
            color = f"C{UPDATE_RULES.index(rule)}"
            label = f"{rule}, reset every {reset}" if reset else rule
            axes.plot(lengths, quartiles[:, 1], style, color=color, marker="o", markersize=3, label=label)
            axes.fill_between(lengths, quartiles[:, 0], quartiles[:, 2], color=color, alpha=0.08)
        axes.set(title=title, xlabel="frames", xscale="log", yscale="log" if logarithmic else "linear")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=100)


def _groups(rows: Seq[Row]) -> dict[tuple[str, int], dict[int, list[Row]]]:
    groups: dict[tuple[str, int], dict[int, list[Row]]] = {}
    for row in rows:
        groups.setdefault((row.rule, row.reset), {}).setdefault(row.length, []).append(row)
    return groups


def _quartiles(rows: Seq[Row], name: str) -> list[float]:
    return [float(value) for value in np.percentile([getattr(row, name) for row in rows], [25, 50, 75])]


def _table(rows: Seq[Row]) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = []
    for (rule, reset), by_length in _groups(rows).items():
        for length, group in by_length.items():
            cells = []
            for name in FIGURES:
                low, middle, high = _quartiles(group, name)
                cells.append(f"{middle:.3g} ({low:.2g}–{high:.2g})" if name in _WITH_SPREAD else f"{middle:.3g}")
            table.append((rule, str(reset) if reset else "none", str(length), *cells))
    return table


if __name__ == "__main__":
    sys.exit(main())
