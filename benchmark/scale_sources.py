"""What height and wheels do for the metres: ``python -m benchmark.scale_sources [--json FILE] [--markdown FILE]``.

A wheeled camera goes along walks through flats that nothing was trained on or fitted to, with the stream's own
settings: without help; with the known height of the camera; with wheel odometry (2 % noise, 1 % too long, and for five
seconds slip: the wheels turn 1.4 times as far as the robot goes); with both; and with a height that is wrong by 30 %,
alone and beside the wheels. Of each: depth over true depth (5th, 50th, 95th percentile over frames), length of the path
over the true one (over stretches of three seconds), trajectory error, the worst error in height over the length of the
path, and NEES of position, orientation, linear and angular velocity (means over frames and walks, the first three
seconds left out).

The network does not know the scale: its answers along a walk are computed once and used for every case.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from benchmark import command
from benchmark.runner import depths_of, median_ratio
from benchmark.walk import FPS, Walk, held_out
from ttt3r_ros.evaluation.metrics import Trajectory, compare_trajectories
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, inverse, rotation_vector, twist_between
from ttt3r_ros.stream.wheels import OdometrySample

if TYPE_CHECKING:
    from ttt3r_ros.stream.stream import Stream

#: Of the wheels: noise of a motion and what all have in common (shares), and from when to when they slip how much.
NOISE, BIAS, SLIP = 0.02, 0.01, (10.0, 15.0, 1.4)
#: Cases: by which factor the height is known, None where it is not; and whether there are wheels.
CASES: dict[str, tuple[float | None, bool]] = {
    "nothing": (None, False),
    "height": (1.0, False),
    "wheels": (None, True),
    "both": (1.0, True),
    "height 30 % too large": (1.3, False),
    "the same, and wheels": (1.3, True),
    "height 30 % too small, and wheels": (0.7, True),
}
STRETCH = round(3 * FPS)


@dataclass(frozen=True)
class Result:
    """Of a case on a walk: the docstring's figures, frames by the sources in charge, and what was said of them."""

    seed: int
    case: str
    depth: list[float]
    path: list[float]
    ate_m: float
    height: float
    nees: list[float]
    charge: dict[str, int]
    said: list[str]


def wheel_odometry(T_world_camera: FloatArray, stamps_ns: Sequence[int], seed: int) -> list[OdometrySample]:
    """Return poses of a robot's wheels, one for every (N, 4, 4) pose of its camera and at its time."""
    rng = np.random.default_rng(seed)
    T_world_base = T_world_camera @ inverse(T_BASE_CAMERA)
    T, samples = np.eye(4), []
    for index, stamp_ns in enumerate(stamps_ns):
        if index:
            moved = inverse(T_world_base[index - 1]) @ T_world_base[index]
            slips = SLIP[0] <= (stamp_ns - stamps_ns[0]) * 1e-9 < SLIP[1]
            moved[:3, 3] *= (1 + BIAS + NOISE * rng.standard_normal()) * (SLIP[2] if slips else 1.0)
            T = T @ moved
        samples.append(OdometrySample(int(stamp_ns), T))
    return samples


def go_along(stream: Stream, walk: Walk, case: str) -> Result:
    """Feed a walk to a stream; a frame's wheel odometry comes with the next frame."""
    factor, has_wheels = CASES[case]
    samples = wheel_odometry(walk.T_world_camera, walk.stamps_ns, walk.spec.seed) if has_wheels else []
    stream.reset_odometry()
    depth: list[float] = []
    poses, truth, twists, variances, stamps, charge, said = [], [], [], [], [], dict[str, int](), []
    for index in range(walk.spec.frames):
        ground = None
        if factor is not None:
            ground = walk.T_world_camera[index].copy()  # the floor is at 0
            ground[2, 3] *= factor
        result = stream.process(
            walk.image(index), walk.stamps_ns[index], camera=walk.intrinsics, T_ground_camera=ground,
            other_odometry=samples[max(index - 1, 0) : index],
        )  # fmt: skip
        stream.prepare()
        said += [event for event in result.events if "camera height" in event or "wheel odometry" in event]
        names = " and ".join(stream.state.sources.in_charge) or "network"
        charge[names] = charge.get(names, 0) + 1
        if result.motion is None or result.estimate is None:
            continue
        poses.append(result.motion.T_odom_base)
        truth.append(walk.T_world_camera[index] @ inverse(T_BASE_CAMERA))
        twists.append(np.concatenate(result.motion.twist))
        variances.append(np.concatenate([result.motion.covariances.pose, result.motion.covariances.twist]))
        stamps.append(int(walk.stamps_ns[index]))
        if depths := depths_of(result.estimate, walk.depth(index), walk.intrinsics):
            depth.append(median_ratio(depths))
    T_odom_base, T_true = np.array(poses), inverse(truth[0]) @ np.array(truth)
    ate = compare_trajectories(*(Trajectory.from_transforms(stamps, list(T)) for T in (T_odom_base, T_true)))
    p, q = T_odom_base[:, :3, 3], T_true[:, :3, 3]
    up = truth[0][2, :3]  # in the axes of odom, which stands as the first base does
    height = float(np.abs((p - q) @ up).max() / np.linalg.norm(np.diff(q, axis=0), axis=1).sum())
    errors = _errors(T_odom_base, T_true, np.array(twists), stamps)
    normalised = np.square(errors[STRETCH:]) / np.array(variances)[STRETCH:]
    nees = [float(part.mean()) for part in np.split(normalised, 4, axis=1)]
    return Result(walk.spec.seed, case, depth, _lengths(p, q), ate.ate_rmse_m, height, nees, charge, said)


def _errors(T_odom_base: FloatArray, T_true: FloatArray, twists: FloatArray, stamps_ns: list[int]) -> FloatArray:
    """Return (n, 12) errors of position, orientation, linear and angular velocity (0 at the first frame)."""
    turned = [rotation_vector(R) for R in T_odom_base[:, :3, :3] @ T_true[:, :3, :3].transpose(0, 2, 1)]
    true = [np.concatenate(twist_between(a, b, dt * 1e-9)) for a, b, dt in zip(T_true, T_true[1:], np.diff(stamps_ns))]
    of_twists = twists - np.vstack([twists[:1], true])
    return np.hstack([T_odom_base[:, :3, 3] - T_true[:, :3, 3], turned, of_twists])


def _lengths(p: FloatArray, q: FloatArray) -> list[float]:
    """Return the distance covered in each stretch over the true one, where that is 30 cm or more."""
    starts = range(0, len(p) - STRETCH, STRETCH // 3)
    both = [(np.linalg.norm(p[i + STRETCH] - p[i]), np.linalg.norm(q[i + STRETCH] - q[i])) for i in starts]
    return [float(a / b) for a, b in both if b >= 0.3]


def rows_of(results: list[Result]) -> list[tuple[str, ...]]:
    """Return the table, a row for each case."""
    rows: list[tuple[str, ...]] = []
    for case in CASES:
        some = [result for result in results if result.case == case]
        if not some:
            continue
        said = sum(any("is not used" in event for event in result.said) for result in some)
        rows.append(
            (
                case,
                command.spread([value for result in some for value in result.depth]),
                command.spread([value for result in some for value in result.path]),
                f"{np.median([result.ate_m for result in some]):.3f}",
                f"{np.median([result.height for result in some]):.1%}",
                ", ".join(f"{part:.2f}" for part in np.mean([result.nees for result in some], axis=0)),
                f"{said} of {len(some)}",
            )
        )
    return rows


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table, write what was asked for."""
    shared = ("weights", "reset_interval", "walks", "motion", "frames", "size", "work", "markdown")
    parser = command.parser(__doc__, *shared, frames=400, size=(320, 240), work=Path(".cache/scale"))
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="(default: all)")
    return command.start(parser, run, report, argv, figures=figures)


def figures(results: list[Result]) -> list[dict[str, Any]]:
    """Return what goes to ``--json``."""
    return [asdict(result) for result in results]


def run(args: argparse.Namespace, console: Console) -> list[Result]:
    """Return what came of every case on every walk."""
    from benchmark.kept_backbone import KeptBackbone

    stream = command.stream(args)
    stream.backbone = backbone = KeptBackbone(stream.backbone.network)
    results: list[Result] = []
    for walk in held_out(args.walks, args.frames, args.work, args.size, args.motion):
        backbone.forget()
        for case in args.cases:
            results.append(go_along(stream, walk, case))
            said = " | ".join(rows_of(results[-1:])[0][1:])
            console.print(f"{walk.spec.seed}, {case}: {said}", highlight=False)
        command.keep(figures(results), args)
    return results


def report(results: list[Result], args: argparse.Namespace, console: Console) -> bool:
    """Print the table; nothing is demanded."""
    header = (
        "with", "depth over true", "path over true", "ATE [m]", "height off, of the path",
        "NEES of position, orientation, velocities", "a source refused, and said",
    )  # fmt: skip
    command.show(header, rows_of(results), args, console)
    return True


if __name__ == "__main__":
    sys.exit(main())
