"""What the parameters of a stream cost and save: ``python -m benchmark.settings [--weights FILE] [--json FILE]``.

Walks through apartments of the synthetic world as the node does, with every combination of the given values of
`precision`, `image_size`, `update_rule`, `reset_policy`, `reset_interval` and `correct_motion`. All combinations
alternate at every frame, so their times stay comparable if the machine's speed drifts; the memory of each precision and
size is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence as Seq
from dataclasses import asdict, dataclass, field, replace
from itertools import product, tee
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmark import command
from benchmark.runner import Step, alone, frames_of, go_along, resident_bytes
from ttt3r_ros.cli.arguments import zero_or_more
from ttt3r_ros.errors import UserError
from ttt3r_ros.evaluation.metrics import Trajectory, compare_depth, compare_trajectories
from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.model.config import UPDATE_RULES
from ttt3r_ros.runtime.device import PRECISIONS, choose_device
from ttt3r_ros.stream.settings import POLICIES, NetworkSettings, ResetPolicy, StreamSettings
from ttt3r_ros.synthetic.limits import Motion

if TYPE_CHECKING:
    import torch

    from ttt3r_ros.stream.stream import Stream

FPS = 15.0
FIRST_SEED = 700  # held out of training, and not benchmark/length.py's
MIN_FRAMES = 3  # that can be aligned


@dataclass(frozen=True)
class Setting:
    """One choice of the parameters of these names; by default those of the node with the weights' own interval."""

    precision: str = "float32"
    image_size: int = 0
    update_rule: str = "ttt3r"
    reset_policy: ResetPolicy = "interval"
    reset_interval: int = 0
    correct_motion: bool = True


@dataclass(frozen=True)
class Row:
    """The figures of one setting.

    Attributes:
        setting: which; image size and interval as they are in force.
        ms_per_frame: mean, until the stream is ready for the next image; on a CPU the processor's time.
        memory_mib: of a process that runs nothing else with this precision and size; on a GPU the peak of its memory.
        ate_percent: RMSE of the positions after SE(3) alignment, of the path's length, mean over the walks [%].
        abs_rel: of metric depth, mean over all frames.
        scale: depth over true depth, median of a frame: 5th, 50th and 95th percentile of all frames.
        lost: frames without a pose.
        ates_percent, abs_rels: of every walk.
        ate_change_percent, abs_rel_change_percent: against the first row; lower is better.
    """

    setting: Setting
    ms_per_frame: float
    memory_mib: float
    ate_percent: float
    abs_rel: float
    scale: tuple[float, float, float]
    lost: int
    ates_percent: list[float]
    abs_rels: list[float]
    ate_change_percent: float = 0.0
    abs_rel_change_percent: float = 0.0


@dataclass
class Walk:
    """What one setting has made of a walk so far."""

    stamps_ns: list[int] = field(default_factory=list)
    poses: list[FloatArray] = field(default_factory=list)
    abs_rels: list[float] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lost: int = 0

    def add(self, step: Step, device: torch.device) -> None:
        """Take in what came of a frame."""
        self.seconds.append(step.seconds if device.type == "cuda" else step.cpu_seconds)
        if step.motion is None or step.estimate is None:
            self.lost += 1
            return
        self.stamps_ns.append(step.frame.stamp_ns)
        self.poses.append(step.estimate.T_world_camera)
        if depths := step.depths():
            self.abs_rels.append(compare_depth(*depths).abs_rel)
            self.scales.append(1 / compare_depth(*depths, match_median=True).scale)

    def ate_percent(self, truth: Trajectory) -> float:
        """Return the error of the path, of its length [%]; NaN where too little of it is known."""
        if len(self.poses) < MIN_FRAMES:
            return float("nan")
        error = compare_trajectories(Trajectory.from_transforms(self.stamps_ns, self.poses), truth)
        return 100 * error.ate_rmse_m / truth.path_length()


def main(argv: list[str] | None = None) -> int:
    """Measure every setting, print a table and write JSON if asked to."""
    shared = ("weights", "device", "seeds", "size", "markdown")
    arguments = command.parser(__doc__, *shared, seeds=4, size=[640, 480])
    add, usual = arguments.add_argument, Setting()
    add("--precisions", nargs="+", choices=PRECISIONS, help="default: all that the device supports")
    add("--sizes", nargs="+", type=int, default=[usual.image_size], help="image sizes; 0 (the default): as trained")
    add("--rules", nargs="+", choices=UPDATE_RULES, default=[usual.update_rule], help="update rules")
    add("--policies", nargs="+", choices=POLICIES, default=[usual.reset_policy], help="reset policies")
    add("--intervals", nargs="+", type=int, default=[usual.reset_interval], help="between resets; 0: recommended")
    add("--corrections", nargs="+", choices=("on", "off"), default=["on"], help="correct_motion")
    add("--length", type=int, default=100, help="frames of a walk (default: %(default)s)")
    add(
        "--first-seed", type=zero_or_more, default=FIRST_SEED, help="of the apartments (default: %(default)s, held out)"
    )
    add("--motions", nargs="+", choices=get_args(Motion), default=["handheld"], help="in each apartment")
    return command.start(arguments, measure, report, argv)


def measure(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Go along every walk, all settings side by side.

    Raises:
        UserError: an option cannot be used.
    """
    if args.length < MIN_FRAMES:
        raise UserError(f"--length must be at least {MIN_FRAMES}, not {args.length}")

    import torch

    from ttt3r_ros.stream.segments import warm_up
    from ttt3r_ros.synthetic import Sequence

    device = choose_device(args.device)
    precisions = args.precisions or [name for name in PRECISIONS if name != "int8" or device.type == "cpu"]
    corrections = [word == "on" for word in args.corrections]
    settings = [
        Setting(precision, size, *others)
        for size, precision, *others in product(
            args.sizes, precisions, args.rules, args.policies, args.intervals, corrections
        )
    ]
    streams = [_stream(args, setting) for setting in settings]
    width, height = args.size
    for stream in streams:
        warm_up(stream.backbone, height, width, stream.settings)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    walks: list[list[Walk]] = [[] for _ in settings]
    ates: list[list[float]] = [[] for _ in settings]
    for seed, motion in product(seeds, args.motions):
        sequence = Sequence(seed, args.length, width=width, height=height, fps=FPS, motion=motion, device=device)
        for stream, mine in zip(streams, walks):
            stream.reset_odometry()
            mine.append(Walk())
        ways = [go_along(stream, frames) for stream, frames in zip(streams, tee(frames_of(sequence), len(streams)))]
        for steps in track(zip(*ways), f"flat {seed}, {motion}", args.length, console=console, transient=True):
            for mine, step in zip(walks, steps):
                mine[-1].add(step, device)
        truth = Trajectory.from_transforms(sequence.stamps_ns, list(sequence.T_world_camera.cpu().double().numpy()))
        for errors, mine in zip(ates, walks):
            errors.append(mine[-1].ate_percent(truth))
    memory = {which: alone("a setting", _memory, args, Setting(*which)) for which in product(precisions, args.sizes)}
    rows = [
        _row(setting, stream, mine, errors, memory[setting.precision, setting.image_size])
        for setting, stream, mine, errors in zip(settings, streams, walks, ates, strict=True)
    ]
    return {
        "weights": args.weights or "the package's",
        "device": str(device),
        "threads": torch.get_num_threads(),
        "walks": len(seeds) * len(args.motions),
        "length": args.length,
        "rows": [asdict(_compared(row, rows[0])) for row in rows],
    }


def report(result: dict[str, Any], args: argparse.Namespace, console: Console) -> bool:
    """Print the table."""
    walks = f"{result['walks']} walks of {result['length']} frames"
    title = f"{result['weights']} on {result['device']}, {result['threads']} threads, {walks}"
    settings = [row["setting"] for row in result["rows"]]
    varied = [name for name in settings[0] if len({setting[name] for setting in settings}) > 1] or ["precision"]
    header = (*varied, "ms/frame", "MiB", "ATE [%]", "AbsRel", "depth/true: median, 5 %, 95 %", "lost")
    rows = []
    for row, setting in zip(result["rows"], settings):
        low, middle, high = row["scale"]
        rows.append(
            (
                *(str(setting[name]) for name in varied),
                f"{row['ms_per_frame']:.1f}",
                f"{row['memory_mib']:.0f}",
                f"{row['ate_percent']:.3g} ({row['ate_change_percent']:+.2f} %)",
                f"{row['abs_rel']:.4f} ({row['abs_rel_change_percent']:+.2f} %)",
                f"{middle:.3f}, {low:.2f}, {high:.2f}",
                str(row["lost"]),
            )
        )
    command.show(header, rows, args, console, title=title)
    return True


def _row(setting: Setting, stream: Stream, walks: Seq[Walk], ates: list[float], memory: float) -> Row:
    low, middle, high = np.percentile([scale for walk in walks for scale in walk.scales] or [np.nan], [5, 50, 95])
    return Row(
        setting=replace(
            setting,
            image_size=stream.backbone.image_size(setting.image_size),
            reset_interval=stream.settings.segment_frames,
        ),
        ms_per_frame=1e3 * float(np.mean([seconds for walk in walks for seconds in walk.seconds])),
        memory_mib=memory,
        ate_percent=float(np.nanmean(ates)),
        abs_rel=float(np.mean([error for walk in walks for error in walk.abs_rels])),
        scale=(float(low), float(middle), float(high)),
        lost=sum(walk.lost for walk in walks),
        ates_percent=ates,
        abs_rels=[float(np.mean(walk.abs_rels)) for walk in walks],
    )


def _stream(args: argparse.Namespace, setting: Setting) -> Stream:
    from ttt3r_ros.stream.load import load_backbone
    from ttt3r_ros.stream.stream import Stream

    loaded = load_backbone(NetworkSettings(weights=args.weights, device=args.device, precision=setting.precision))
    settings = StreamSettings(
        image_size=setting.image_size,
        update_rule=setting.update_rule,
        reset_policy=setting.reset_policy,
        reset_interval=setting.reset_interval,
        correct_motion=setting.correct_motion,
        weights_interval=loaded.segment_frames,
    )
    return Stream(loaded.backbone, settings)


def _memory(args: argparse.Namespace, setting: Setting) -> float:
    """Return the memory of this process, which runs nothing else [MiB]."""
    import torch

    from ttt3r_ros.stream.segments import warm_up

    stream = _stream(args, setting)
    warm_up(stream.backbone, args.size[1], args.size[0], stream.settings)
    if stream.backbone.device.type == "cuda":
        return torch.cuda.max_memory_allocated(stream.backbone.device) / 2**20
    # what it holds now: float32 weights that were only read to be converted are given back by then
    return resident_bytes() / 2**20


def _compared(row: Row, first: Row) -> Row:
    """Return the row with its changes against the first."""

    return replace(
        row,
        ate_change_percent=100 * (row.ate_percent / first.ate_percent - 1),
        abs_rel_change_percent=100 * (row.abs_rel / first.abs_rel - 1),
    )


if __name__ == "__main__":
    sys.exit(main())
