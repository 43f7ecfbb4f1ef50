"""How weights cope with rates, directions and mounts they may not know: ``python -m benchmark.conditions``.

Each walk through a held-out apartment is seen at lower rates, backward in time (a robot in reverse), and by cameras
that are tilted, turned or rolled. What counts is the error of the motion over one second, relative to that motion: at
100 % the estimate says no more than that the robot stands still. Every walk is seen by the network alone, and by a
stream that corrects its motion by pixels, as the node does. Both know the mount, so that a camera that is rolled by a
quarter turn or more is turned upright.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console

from benchmark import command
from benchmark.runner import Frame, frames_of, go_along
from ttt3r_ros.cli.frame_progress import FrameProgress
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, T_from_rpy, inverse, rotation_vector
from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings

FIRST_SEED = 300  # of the apartments, held out from training


@dataclass(frozen=True)
class Condition:
    """How a walk is seen.

    Attributes:
        name: for the table.
        every: of its frames, every so many.
        is_reversed: from its end to its beginning.
        mount_deg: roll, pitch and yaw of the camera on the robot [deg]; zeros look forward.
    """

    name: str
    every: int = 1
    is_reversed: bool = False
    mount_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)


CONDITIONS = (
    *(Condition(f"every {every} frames" if every > 1 else "as it is", every) for every in (1, 2, 3, 5, 8, 15)),
    Condition("in reverse", is_reversed=True),
    Condition("tilted down 15°", mount_deg=(0, 15, 0)),
    Condition("tilted down 30°", mount_deg=(0, 30, 0)),
    Condition("turned left 45°", mount_deg=(0, 0, 45)),
    Condition("turned left 90°", mount_deg=(0, 0, 90)),
    Condition("looking backward", mount_deg=(0, 0, 180)),
    Condition("rolled 15°", mount_deg=(15, 0, 0)),
    Condition("rolled 90°", mount_deg=(90, 0, 0)),
    Condition("upside down", mount_deg=(180, 0, 0)),
)

MIN_FRAMES = max(condition.every for condition in CONDITIONS)


@dataclass(frozen=True)
class Row:
    """The figures of one condition.

    Attributes:
        condition, rate_hz: what it was.
        network_percent, corrected_percent: error of the motion over a second, of that motion, of the network alone and
            corrected by pixels: translation and rotation [%].
    """

    condition: str
    rate_hz: float
    network_percent: tuple[float, float]
    corrected_percent: tuple[float, float]


def main(argv: list[str] | None = None) -> int:
    """Measure, and print a table."""
    shared = ("weights", "device", "motion", "seeds", "frames", "fps", "size", "markdown")
    parser = command.parser(__doc__, *shared, seeds=4, frames=120, size=[320, 240])
    return command.start(parser, run, report, argv)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Return the figures of all conditions.

    Raises:
        UserError: an option cannot be used.
    """
    if args.frames <= MIN_FRAMES:
        raise UserError(f"--frames must be more than {MIN_FRAMES}, not {args.frames}")

    from ttt3r_ros.stream.load import load_backbone
    from ttt3r_ros.stream.stream import Stream

    loaded = load_backbone(NetworkSettings(weights=args.weights, device=args.device))
    settings = StreamSettings(
        weights_interval=loaded.segment_frames, check_images=False, max_speed=0.0, max_turn_rate=0.0
    )
    both_settings = [replace(settings, correct_motion=corrects) for corrects in (False, True)]
    rows: list[Row] = []
    with FrameProgress("conditions", len(CONDITIONS) * args.seeds, console) as progress:
        for condition in CONDITIONS:
            sums, rate_hz = np.zeros((2, 4)), args.fps / condition.every
            mount = T_from_rpy([0, 0, 0], *np.deg2rad(condition.mount_deg)) @ T_BASE_CAMERA
            for seed in range(FIRST_SEED, FIRST_SEED + args.seeds):
                frames = list(_frames(condition, seed, args))
                for row, stream_settings in enumerate(both_settings):
                    stream = Stream(loaded.backbone, stream_settings)
                    steps = go_along(stream, frames, outputs=frozenset(), T_base_camera=mount)
                    poses = [None if s.estimate is None else s.estimate.T_world_camera for s in steps]
                    sums[row] += motion_errors(poses, [frame.T_world_camera for frame in frames], rate_hz)
                progress.update(len(rows) * args.seeds + seed - FIRST_SEED + 1)
            network, corrected = (100 * sums[:, [0, 2]] / sums[:, [1, 3]]).tolist()
            rows.append(Row(condition.name, rate_hz, tuple(network), tuple(corrected)))
    return {"weights": loaded.source, "seeds": args.seeds, "frames": args.frames, "rows": [asdict(row) for row in rows]}


def motion_errors(poses: list[FloatArray | None], truth: list[FloatArray], rate_hz: float) -> FloatArray:
    """Return sums over all motions of one second, or of one frame if that takes longer.

    Args:
        poses: estimated camera-to-world, (4, 4) each; None where there is none.
        truth: the true ones.
        rate_hz: of the frames.

    Returns:
        Error of the translation, true translation [m]; error of the rotation, true rotation [rad].
    """
    step, sums = max(1, round(rate_hz)), np.zeros(4)
    for first, second, true_first, true_second in zip(poses, poses[step:], truth, truth[step:]):
        if first is None or second is None:
            continue
        moved, truly = inverse(first) @ second, inverse(true_first) @ true_second
        sums += [
            np.linalg.norm(moved[:3, 3] - truly[:3, 3]),
            np.linalg.norm(truly[:3, 3]),
            np.linalg.norm(rotation_vector(moved[:3, :3].T @ truly[:3, :3])),
            np.linalg.norm(rotation_vector(truly[:3, :3])),
        ]
    return sums


def report(result: dict[str, Any], args: argparse.Namespace, console: Console) -> bool:
    """Print the table; nothing is demanded."""
    title = f"error of the motion over a second: {args.seeds} walks of {args.frames} frames; {result['weights']}"
    header = ("", "rate", "translation, network alone", "corrected", "rotation, network alone", "corrected")
    ways = [(way, kind) for kind in (0, 1) for way in ("network_percent", "corrected_percent")]
    rows = [
        (row["condition"], f"{row['rate_hz']:.3g} Hz", *(f"{row[way][kind]:.0f} %" for way, kind in ways))
        for row in result["rows"]
    ]
    command.show(header, rows, args, console, title=title)
    return True


def _frames(condition: Condition, seed: int, args: argparse.Namespace) -> Iterator[Frame]:
    """Render the walk through one apartment as the condition has it."""
    import torch

    from ttt3r_ros.synthetic import Sequence

    width, height = args.size
    sequence = Sequence(seed, args.frames, width=width, height=height, fps=args.fps, motion=args.motion)
    turn = T_from_rpy([0, 0, 0], *np.deg2rad(condition.mount_deg))
    turned = torch.from_numpy(inverse(T_BASE_CAMERA) @ turn @ T_BASE_CAMERA)
    sequence.T_world_camera = sequence.T_world_camera @ turned.to(sequence.T_world_camera.dtype)
    frames = list(frames_of(sequence))[:: -1 if condition.is_reversed else 1][:: condition.every]
    for number, frame in enumerate(frames):
        yield replace(frame, stamp_ns=round(number * condition.every / args.fps * 1e9))


if __name__ == "__main__":
    sys.exit(main())
