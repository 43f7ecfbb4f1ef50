"""How update rules do on long sequences: ``python benchmark/length.py [--json FILE] [--picture FILE]``.

TTT3R's paper says that its rule beats CUT3R's beyond the training length, at constant memory. Held-out flats of the
synthetic world are walked through once under every rule, with and without resets; since every estimate depends on
earlier frames alone, one long run gives the figures of all its beginnings.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ttt3r_ros.errors import UserError
from ttt3r_ros.evaluation.metrics import Trajectory, compare_depth, compare_trajectories, resample_depth
from ttt3r_ros.runtime.device import choose_device
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.segments import SegmentReader, warm_up
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.synthetic import Frames, Sequence
from ttt3r_ros.weights.load import load_weights

RULES = ("cut3r", "ttt3r", "filt3r")
LENGTHS = (10, 50, 200, 500, 1000)
FPS = 15.0
FIRST_SEED = 500  # above those of training.evaluate, below those trained on
_WIDTH, _HEIGHT = 320, 240
_BATCH = 8
#: Figure -> (how it is shown, is its axis logarithmic).
FIGURES = {
    "ate_percent": ("ATE [% of path]", True),
    "rpe_rotation_deg": ("rotation RPE [°/frame]", True),
    "rpe_translation_m": ("translation RPE [m/frame]", True),
    "abs_rel": ("depth AbsRel", False),
    "ms_per_frame": ("time per frame [ms]", False),
    "memory_mib": ("peak memory [MiB]", False),
}

_WITH_SPREAD = {"ate_percent", "rpe_rotation_deg", "abs_rel"}  # in the table; the picture has all


@dataclass(frozen=True)
class Row:
    """The figures of the first ``length`` frames of one sequence under one rule.

    Attributes:
        rule, reset: the update rule, and frames between resets (0: none).
        seed, length: which sequence, and how many frames of it.
        ate_percent: RMSE of the positions after SE(3) alignment, of the path's length [%].
        rpe_rotation_deg, rpe_translation_m: per frame.
        abs_rel: of metric depth, mean over all frames so far.
        ms_per_frame: median so far.
        memory_mib: the GPU's peak so far; on a CPU the process's present size.
    """

    rule: str
    reset: int
    seed: int
    length: int
    ate_percent: float
    rpe_rotation_deg: float
    rpe_translation_m: float
    abs_rel: float
    ms_per_frame: float
    memory_mib: float


def main(argv: list[str] | None = None) -> int:
    """Run all rules over all seeds, print a table and, if asked to, write JSON and a picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--weights", default="", help="a weights file; default: the package's own")
    parser.add_argument("--seeds", type=int, default=10, help="held-out flats")
    parser.add_argument("--length", type=int, default=LENGTHS[-1], help="frames of the longest sequence")
    parser.add_argument("--reset", type=int, default=50, help="frames between resets, where there are any")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--json", type=Path, help="also write all rows to this file")
    parser.add_argument("--picture", type=Path, help="also draw the figures against the length to this PNG")
    args = parser.parse_args(argv)
    try:
        lengths = [length for length in LENGTHS if length <= args.length]
        if args.seeds < 1 or not lengths or args.reset < 1:
            raise UserError(f"--seeds and --reset must be 1 or more, --length at least {LENGTHS[0]}")
        device = choose_device(args.device)
        source = load_weights(args.weights).source
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console = Console()
    rows: list[Row] = []
    runs = [(rule, reset) for rule in RULES for reset in (0, args.reset)]
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("sequences", total=args.seeds * len(runs))
        for seed in range(FIRST_SEED, FIRST_SEED + args.seeds):
            sequence = Sequence(seed, lengths[-1], width=_WIDTH, height=_HEIGHT, fps=FPS, device=device)
            frames = list(_rendered(sequence))
            for rule, reset in runs:
                network = load_weights(args.weights).network
                backbone = Backbone(network, device=device)
                stream = SegmentReader(backbone, StreamSettings(update_rule=rule), reset_interval=reset)
                rows += walk(stream, sequence, frames, lengths, reset)
                progress.advance(task)
    console.print(_table(rows, f"{source} on {device}, {args.seeds} held-out flats: median (quartiles)"))
    if args.json:
        settings = {"weights": source, "device": str(device), "fps": FPS, "seeds": args.seeds, "first_seed": FIRST_SEED}
        args.json.write_text(json.dumps({**settings, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    if args.picture:
        draw(args.picture, rows)
    return 0


def walk(
    stream: SegmentReader, sequence: Sequence, frames: Seq[Frames], lengths: Seq[int], reset: int
) -> Iterator[Row]:
    """Feed a sequence once, and yield a row whenever one of the lengths is reached."""
    height, width = frames[0].image.shape[:2]
    warm_up(stream.backbone, height, width, stream.settings)
    if stream.backbone.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(stream.backbone.device)
    poses, errors, seconds = [], [], []
    truth = sequence.T_world_camera.cpu().double().numpy()
    for frame in frames:
        estimate = stream.read(frame.image.cpu().numpy(), sequence.intrinsics)
        assert estimate.depth is not None
        target = estimate.pixel_map.intrinsics(sequence.intrinsics)
        errors.append(
            compare_depth(
                estimate.depth, resample_depth(frame.depth.cpu().numpy(), sequence.intrinsics, target)
            ).abs_rel
        )
        poses.append(estimate.T_world_camera)
        seconds.append(estimate.timings.total)
        n = len(poses)
        if n in lengths:
            stamps = sequence.stamps_ns[:n]
            error = compare_trajectories(
                Trajectory.from_transforms(stamps, poses), Trajectory.from_transforms(stamps, list(truth[:n]))
            )
            yield Row(
                rule=stream.settings.update_rule,
                reset=reset,
                seed=sequence.seed,
                length=n,
                ate_percent=100 * error.ate_rmse_m / error.path_length_m,
                rpe_rotation_deg=error.rpe_rotation_deg,
                rpe_translation_m=error.rpe_translation_m,
                abs_rel=float(np.mean(errors)),
                ms_per_frame=1e3 * float(np.median(seconds)),
                memory_mib=_memory(stream.backbone.device) / 2**20,
            )


def draw(path: Path, rows: Seq[Row]) -> None:
    """Draw every figure against the length: medians as lines, quartiles as bands; dashed with resets."""
    figure = Figure(figsize=(14, 8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, (title, logarithmic)) in zip(figure.subplots(2, 3).flat, FIGURES.items()):
        for (rule, reset), by_length in _groups(rows).items():
            lengths = list(by_length)
            quartiles = np.array([_quartiles(by_length[length], name) for length in lengths])
            style = "--" if reset else "-"
            color = f"C{RULES.index(rule)}"
            label = f"{rule}, reset every {reset}" if reset else rule
            axes.plot(lengths, quartiles[:, 1], style, color=color, marker="o", markersize=3, label=label)
            axes.fill_between(lengths, quartiles[:, 0], quartiles[:, 2], color=color, alpha=0.08)
        axes.set(title=title, xlabel="frames", xscale="log", yscale="log" if logarithmic else "linear")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=100)


def _rendered(sequence: Sequence) -> Iterator[Frames]:
    for start in range(0, len(sequence), _BATCH):
        part = sequence.render(start, min(start + _BATCH, len(sequence)))
        for i in range(len(part.index)):
            yield Frames(part.image[i], part.depth[i], part.T_world_camera[i], part.index[i])


def _groups(rows: Seq[Row]) -> dict[tuple[str, int], dict[int, list[Row]]]:
    groups: dict[tuple[str, int], dict[int, list[Row]]] = {}
    for row in rows:
        groups.setdefault((row.rule, row.reset), {}).setdefault(row.length, []).append(row)
    return groups


def _quartiles(rows: Seq[Row], name: str) -> list[float]:
    return [float(value) for value in np.percentile([getattr(row, name) for row in rows], [25, 50, 75])]


def _memory(device: torch.device) -> int:
    """Return bytes: the peak on a GPU, the present size of the process on a CPU (where a peak is never given back)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def _table(rows: Seq[Row], title: str) -> Table:
    table = Table(title=title)
    for column in ("rule", "reset", "frames", *(shown for shown, _ in FIGURES.values())):
        table.add_column(column, justify="right")
    for (rule, reset), by_length in _groups(rows).items():
        for length, group in by_length.items():
            cells = []
            for name in FIGURES:
                low, middle, high = _quartiles(group, name)
                cells.append(f"{middle:.3g} ({low:.2g}–{high:.2g})" if name in _WITH_SPREAD else f"{middle:.3g}")
            table.add_row(rule, str(reset) if reset else "none", str(length), *cells)
        table.add_section()
    return table


if __name__ == "__main__":
    sys.exit(main())
