"""What `precision` and `image_size` cost and save: ``python -m benchmark.settings [--weights FILE] [--json FILE]``.

Walks through held-out apartments of the synthetic world, with every setting. All settings alternate at every frame, so
their times stay comparable if the machine's speed drifts; the memory of each is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence as Seq
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import tee
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmark import command
from benchmark.runner import frames_of, go_along, resident_bytes, trajectory_error
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.runtime.device import PRECISIONS, choose_device
from ttt3r_ros.stream.backbone import Backbone, dtype_of
from ttt3r_ros.stream.segments import SegmentReader, warm_up
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.synthetic import Sequence
from ttt3r_ros.weights.load import load_weights

FPS = 15.0
FIRST_SEED = 700  # held out of training, and not benchmark/length.py's
INPUT = (640, 480)


@dataclass(frozen=True)
class Setting:
    """One choice of the two parameters; a size of 0 is the one the network was trained at."""

    precision: str
    image_size: int


@dataclass(frozen=True)
class Row:
    """The figures of one setting.

    Attributes:
        ms_per_frame: median of preprocessing, network and download.
        memory_mib: of a process that runs this setting alone; on a GPU the peak of its memory.
        ate_percent: RMSE of the positions after SE(3) alignment, of the path's length, mean over the flats [%].
        abs_rel: of metric depth, mean over all frames.
        ate_change_percent, abs_rel_change_percent: against float32 at the same image size; lower is better.
    """

    precision: str
    image_size: int
    ms_per_frame: float
    memory_mib: float
    ate_percent: float
    abs_rel: float
    ate_change_percent: float = 0.0
    abs_rel_change_percent: float = 0.0


def main(argv: list[str] | None = None) -> int:
    """Measure every setting, print a table and write JSON if asked to."""
    arguments = command.parser(__doc__, "weights", "device", "seeds", seeds=4)
    add = arguments.add_argument
    add("--precisions", nargs="+", choices=PRECISIONS, help="default: all that the device supports")
    add("--sizes", nargs="+", type=int, default=[0], help="image sizes; 0 (the default) is the trained size")
    add("--length", type=int, default=100, help="frames per apartment (default: %(default)s)")
    return command.start(arguments, measure, report, argv)


def measure(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Walk through every flat, all settings side by side."""
    device = choose_device(args.device)
    if args.seeds < 1 or args.length < 2:
        raise UserError("--seeds must be 1 or more and --length 2 or more")
    precisions = args.precisions or [name for name in PRECISIONS if name != "int8" or device.type == "cpu"]
    settings = [Setting(precision, size) for size in args.sizes for precision in precisions]
    streams = [_stream(args.weights, setting, device) for setting in settings]
    seconds: list[list[float]] = [[] for _ in settings]
    errors: list[list[float]] = [[] for _ in settings]
    ate: list[list[float]] = [[] for _ in settings]
    for stream in streams:
        warm_up(stream.backbone, INPUT[1], INPUT[0], stream.settings)
    for seed in range(FIRST_SEED, FIRST_SEED + args.seeds):
        sequence = Sequence(seed, args.length, width=INPUT[0], height=INPUT[1], fps=FPS, device=device)
        poses: list[list[FloatArray]] = [[] for _ in settings]
        for stream in streams:
            stream.restart()
        walks = [go_along(stream, frames) for stream, frames in zip(streams, tee(frames_of(sequence), len(streams)))]
        for steps in track(zip(*walks), f"flat {seed}", args.length, console=console, transient=True):
            for index, step in enumerate(steps):
                assert step.estimate is not None
                errors[index].append(step.abs_rel())
                seconds[index].append(step.estimate.timings.total)
                poses[index].append(step.estimate.T_world_camera)
        for index, path in enumerate(poses):
            error = trajectory_error(sequence, path)
            ate[index].append(100 * error.ate_rmse_m / error.path_length_m)
    rows = [
        Row(
            precision=setting.precision,
            image_size=stream.backbone.image_size(setting.image_size),
            ms_per_frame=1e3 * float(np.median(seconds[index])),
            memory_mib=_memory_alone(args.weights, setting, device),
            ate_percent=float(np.mean(ate[index])),
            abs_rel=float(np.mean(errors[index])),
        )
        for index, (setting, stream) in enumerate(zip(settings, streams, strict=True))
    ]
    return {
        "weights": load_weights(args.weights).source,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "seeds": args.seeds,
        "rows": [asdict(_compared(row, rows)) for row in rows],
    }


def report(result: dict[str, Any], args: argparse.Namespace, console: Console) -> bool:
    """Print the table."""
    console.print(_table(result))
    return True


def _stream(weights: str, setting: Setting, device: torch.device) -> SegmentReader:
    loaded = load_weights(weights, device=device, precision=dtype_of(setting.precision))
    backbone = Backbone(loaded.network, precision=setting.precision, device=device)
    return SegmentReader(backbone, StreamSettings(image_size=setting.image_size), reset_interval=loaded.segment_frames)


def _memory_alone(weights: str, setting: Setting, device: torch.device) -> float:
    """Return the memory [MiB] of a process that runs nothing else."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(_memory, weights, setting, str(device)).result()


def _memory(weights: str, setting: Setting, device: str) -> float:
    stream = _stream(weights, setting, torch.device(device))
    warm_up(stream.backbone, INPUT[1], INPUT[0], stream.settings)
    if stream.backbone.device.type == "cuda":
        return torch.cuda.max_memory_allocated(stream.backbone.device) / 2**20
    # what it holds now: float32 weights that were only read to be converted are given back by then
    return resident_bytes() / 2**20


def _compared(row: Row, rows: Seq[Row]) -> Row:
    """Return the row with its changes against float32 at the same size, NaN where that was not measured."""
    plain = next((r for r in rows if r.image_size == row.image_size and r.precision == "float32"), None)

    def change(name: str) -> float:
        return 100 * (getattr(row, name) / getattr(plain, name) - 1) if plain else float("nan")

    return replace(row, ate_change_percent=change("ate_percent"), abs_rel_change_percent=change("abs_rel"))


def _table(result: dict[str, Any]) -> Table:
    title = f"{result['weights']} on {result['device']}, {result['threads']} threads, {result['seeds']} held-out flats"
    table = Table(title=title)
    for column in ("precision", "image_size", "ms/frame", "MiB", "ATE [% of path]", "depth AbsRel"):
        table.add_column(column, justify="left" if column == "precision" else "right")
    for row in (Row(**row) for row in result["rows"]):
        table.add_row(
            row.precision,
            str(row.image_size),
            f"{row.ms_per_frame:.1f}",
            f"{row.memory_mib:.0f}",
            f"{row.ate_percent:.3f} ({row.ate_change_percent:+.2f} %)",
            f"{row.abs_rel:.4f} ({row.abs_rel_change_percent:+.2f} %)",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
