"""How far off path and depth are, computed as the node does: ``python -m benchmark.walks``.

Walks through held-out apartments, with the defaults of the node. Beside the path stands that of the network alone, and
that of an estimate that stands still.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from benchmark import command
from benchmark.runner import frames_of, go_along
from ttt3r_ros.cli.frame_progress import FrameProgress
from ttt3r_ros.errors import UserError
from ttt3r_ros.evaluation.metrics import Trajectory, compare_trajectories
from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.stream.estimate import DEFAULT_OUTPUTS
from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings

if TYPE_CHECKING:
    from ttt3r_ros.synthetic import Sequence

FIRST_SEED = 700  # of the apartments, held out from training
MIN_FRAMES = 3  # that can be aligned


@dataclass(frozen=True)
class Walk:
    """The figures of one walk.

    Attributes:
        seed: of its apartment.
        length_m: of the true path [m].
        abs_rel: mean of |depth - truth| / truth, without alignment of scale.
        ate_percent, network_ate_percent, still_ate_percent: error of the path (ATE RMSE after SE(3) alignment) as the
            node has it, of the network alone, and of an estimate that stands still, of the path's length [%].
        turned_deg, network_turned_deg: root mean square error of the rotation from frame to frame, as above [deg].
        lost: frames without a pose.
    """

    seed: int
    length_m: float
    abs_rel: float
    ate_percent: float
    network_ate_percent: float
    still_ate_percent: float
    turned_deg: float
    network_turned_deg: float
    lost: int


def main(argv: list[str] | None = None) -> int:
    """Measure, and print a table."""
    shared = ("weights", "device", "motion", "seeds", "frames", "fps", "size", "markdown")
    parser = command.parser(__doc__, *shared, motion="handheld", seeds=16, frames=100, size=[640, 480])
    return command.start(parser, run, report, argv)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Return the figures of all walks.

    Raises:
        UserError: an option cannot be used.
    """
    if args.frames < MIN_FRAMES:
        raise UserError(f"--frames must be at least {MIN_FRAMES}, not {args.frames}")

    from ttt3r_ros.stream.load import load_backbone
    from ttt3r_ros.stream.stream import Stream
    from ttt3r_ros.synthetic import Sequence

    loaded = load_backbone(NetworkSettings(weights=args.weights, device=args.device))
    width, height = args.size
    walks: list[Walk] = []
    with FrameProgress("walks", args.frames * args.seeds, console) as progress:
        for seed in range(FIRST_SEED, FIRST_SEED + args.seeds):
            sequence = Sequence(seed, args.frames, width=width, height=height, fps=args.fps, motion=args.motion)
            poses: dict[bool, list[tuple[int, FloatArray]]] = {True: [], False: []}
            depth_errors: list[float] = []
            streams = {
                corrects: Stream(
                    loaded.backbone,
                    StreamSettings(weights_interval=loaded.segment_frames, correct_motion=corrects),
                )
                for corrects in (True, False)
            }
            for number, frame in enumerate(frames_of(sequence)):
                for corrects, stream in streams.items():
                    outputs = DEFAULT_OUTPUTS if corrects else frozenset[str]()
                    (step,) = go_along(stream, [frame], outputs=outputs)
                    if step.motion is not None and step.estimate is not None:
                        poses[corrects].append((frame.stamp_ns, step.estimate.T_world_camera))
                    if corrects:
                        depth_errors.append(step.abs_rel())
                progress.update(len(walks) * args.frames + number + 1)
            walks.append(_walk(seed, sequence, poses, depth_errors))
    return {"weights": loaded.source, "frames": args.frames, "walks": [asdict(walk) for walk in walks]}


def report(result: dict[str, Any], args: argparse.Namespace, console: Console) -> bool:
    """Print mean and median over the walks; nothing is demanded."""
    walks = [Walk(**walk) for walk in result["walks"]]
    title = f"{len(walks)} {args.motion} walks of {result['frames']} frames; {result['weights']}"
    rows = []
    for name, label, unit in (
        ("abs_rel", "depth, AbsRel", ""),
        ("ate_percent", "path, ATE", " %"),
        ("network_ate_percent", "… of the network alone", " %"),
        ("still_ate_percent", "… of an estimate that stands still", " %"),
        ("turned_deg", "rotation of a frame", "°"),
        ("network_turned_deg", "… of the network alone", "°"),
        ("length_m", "length of the path", " m"),
        ("lost", "frames without a pose", ""),
    ):
        values = np.array([getattr(walk, name) for walk in walks])
        rows.append((label, *(f"{value:.3g}{unit}" for value in (values.mean(), np.median(values), values.max()))))
    command.show(("", "mean", "median", "worst"), rows, args, console, title=title)
    return True


def _walk(
    seed: int, sequence: Sequence, poses: dict[bool, list[tuple[int, FloatArray]]], depth_errors: list[float]
) -> Walk:
    truth = Trajectory.from_transforms(sequence.stamps_ns, list(sequence.T_world_camera.cpu().double().numpy()))
    errors = {
        way: compare_trajectories(Trajectory.from_transforms(*map(list, zip(*found))), truth)
        for way, found in poses.items()
    }
    still_m = float(np.sqrt(truth.positions.var(axis=0).sum()))  # aligned, an estimate that stands still is one point
    length = truth.path_length()
    return Walk(
        seed=seed,
        length_m=length,
        abs_rel=float(np.nanmean(depth_errors)),
        ate_percent=100 * errors[True].ate_rmse_m / length,
        network_ate_percent=100 * errors[False].ate_rmse_m / length,
        still_ate_percent=100 * still_m / length,
        turned_deg=errors[True].rpe_rotation_deg,
        network_turned_deg=errors[False].rpe_rotation_deg,
        lost=len(sequence) - len(poses[True]),
    )


if __name__ == "__main__":
    sys.exit(main())
