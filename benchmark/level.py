"""How level odometry is with an IMU: ``python -m benchmark.level [--walks N] [--motion MOTION] [--markdown FILE]``.

Walks through flats that nothing was trained on, by a camera that looks down or up by some degrees, whose mount nobody
has told: odometry is tilted from its first frame. An IMU of a common kind is simulated from the true path: noise of
0.05 m/s² and 0.002 rad/s, constant biases of 0.05 m/s² and 0.005 rad/s. Where the camera is on wheels, its height above
the floor, and which way is up there, is tried as well. The last row takes the true attitude instead: what is left of
the drift in height then is not that of roll and pitch, but of the direction of the motions.

The network does not know of an IMU: its answers along a walk are computed once and used for every sensor.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from benchmark import command
from benchmark.walk import Walk, WalkSpec, held_out
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, inverse, rotation_vector
from ttt3r_ros.stream.gravity import GRAVITY, ImuSamples

if TYPE_CHECKING:
    from ttt3r_ros.stream.stream import Stream

PER_FRAME = 8  #: samples of the IMU between two images
#: Standard deviations of noise and bias [m/s², rad/s].
FORCE_NOISE, FORCE_BIAS, RATE_NOISE, RATE_BIAS = 0.05, 0.05, 0.002, 0.005
BOTH = "accelerometer and gyroscope"
SENSORS = ("none", "accelerometer", BOTH, "camera height", f"camera height, {BOTH}", "the true attitude")
#: Stamps begin here, since 0 is none [ns].
START_NS = 1_000_000_000


class SimulatedImu:
    """An IMU in the origin of the base, on the true path of a walk.

    Attributes:
        T_world_base: (frames, 4, 4) true poses at the frames.
    """

    def __init__(self, spec: WalkSpec) -> None:
        from ttt3r_ros.synthetic import Sequence

        fps = spec.fps * PER_FRAME
        fine = Sequence(spec.seed, spec.frames * PER_FRAME, width=16, height=16, fps=fps, motion=spec.motion)
        T = fine.T_world_camera.cpu().numpy() @ inverse(T_BASE_CAMERA)
        R, rng = T[:, :3, :3], np.random.default_rng(spec.seed)
        acceleration = np.zeros((len(T), 3))
        acceleration[1:-1] = np.diff(T[:, :3, 3], n=2, axis=0) * fps**2
        rate = np.zeros((len(T), 3))
        rate[1:] = [fps * rotation_vector(a.T @ b) for a, b in itertools.pairwise(R)]

        def measured(true: FloatArray, noise: float, bias: float) -> FloatArray:
            return np.asarray(true + noise * rng.standard_normal(true.shape) + bias * rng.standard_normal(3))

        force = np.einsum("nji,nj->ni", R, acceleration + np.array([0.0, 0.0, GRAVITY]))
        self._stamps_ns = START_NS + np.round(np.arange(len(T)) * 1e9 / fps).astype(np.int64)
        self._force, self._rate = measured(force, FORCE_NOISE, FORCE_BIAS), measured(rate, RATE_NOISE, RATE_BIAS)
        self.T_world_base: FloatArray = T[::PER_FRAME]

    def samples(self, frame: int, *, has_gyroscope: bool) -> ImuSamples:
        """Return what is measured between the frame before and this one."""
        part = slice(max((frame - 1) * PER_FRAME + 1, 0), frame * PER_FRAME + 1)
        return ImuSamples(self._stamps_ns[part], self._force[part], self._rate[part] if has_gyroscope else None)


@dataclass(frozen=True)
class Level:
    """How level a walk's odometry is.

    Attributes:
        sensor: of `SENSORS`.
        drift: largest error in height over the length of the path.
        first_deg, rms_deg: angle between odometry's vertical and the true one, at the first frame and over all.
        nees: of roll and pitch, per degree of freedom.
    """

    sensor: str
    drift: float
    first_deg: float
    rms_deg: float
    nees: float


def go_along(stream: Stream, walk: Walk, imu: SimulatedImu, sensor: str) -> tuple[FloatArray, FloatArray]:
    """Return odometry's poses (n, 4, 4) along a walk, and the variances (n, 6) of them; a lost frame has the last."""
    stream.reset_odometry()
    poses, variances = [np.eye(4)], [np.ones(6)]
    for frame, stamp_ns in enumerate(walk.stamps_ns):
        has_imu, has_height = "accelerometer" in sensor, "height" in sensor
        result = stream.process(
            walk.image(frame),
            START_NS + stamp_ns,
            T_BASE_CAMERA,
            walk.intrinsics,
            outputs=frozenset(),
            imu=imu.samples(frame, has_gyroscope="gyroscope" in sensor) if has_imu else None,
            T_ground_camera=walk.T_world_camera[frame] if has_height else None,  # the floor is at 0
        )
        stream.prepare()
        poses.append(poses[-1] if result.motion is None else result.motion.T_odom_base)
        variances.append(variances[-1] if result.motion is None else result.motion.covariances.pose)
    return np.array(poses[1:]), np.array(variances[1:])


def measure(stream: Stream, walk: Walk) -> list[Level]:
    """Return how level a walk is with every sensor."""
    imu, levels, poses = SimulatedImu(walk.spec), [], np.zeros((0, 4, 4))
    for sensor in SENSORS[:-1]:
        if "height" in sensor and walk.spec.motion == "handheld":
            continue
        found, variances = go_along(stream, walk, imu, sensor)
        poses = found if sensor == "none" else poses
        levels.append(_level(sensor, found, variances, imu.T_world_base))
    steps = np.einsum("nji,nj->ni", poses[:-1, :3, :3], np.diff(poses[:, :3, 3], axis=0))
    turned = imu.T_world_base.copy()
    turned[1:, :3, 3] = np.einsum("nij,nj->ni", turned[:-1, :3, :3], steps).cumsum(axis=0)
    turned[0, :3, 3] = 0.0
    return [*levels, _level(SENSORS[-1], turned, np.full((len(turned), 6), np.nan), imu.T_world_base)]


def _level(sensor: str, poses: FloatArray, variances: FloatArray, true: FloatArray) -> Level:
    path = float(np.linalg.norm(np.diff(true[:, :3, 3], axis=0), axis=1).sum())
    height = poses[:, 2, 3] - (true[:, 2, 3] - true[0, 2, 3])
    errors = np.cross(poses[:, 2, :3], true[:, 2, :3])  # about the base's axes; small, and level, so about odom's
    sines = np.linalg.norm(errors, axis=1)
    angles = np.degrees(np.arcsin(np.clip(sines, 0, 1)))
    nees = float((sines**2 / variances[:, 3:5].sum(axis=1)).mean())
    rms = float(np.sqrt((angles**2).mean()))
    return Level(sensor, float(np.abs(height).max()) / path, float(angles[0]), rms, nees)


def rows_of(levels: list[Level]) -> list[tuple[str, ...]]:
    """Return the table: means over the walks."""
    rows: list[tuple[str, ...]] = []
    for sensor in SENSORS:
        some = [level for level in levels if level.sensor == sensor]
        if not some:
            continue
        drift, first, rms, nees = (
            float(np.mean([getattr(level, name) for level in some]))
            for name in ("drift", "first_deg", "rms_deg", "nees")
        )
        certain = f"{nees:.2f}" if sensor in SENSORS[1:-1] else "-"
        rows.append((sensor, str(len(some)), f"{first:.1f}°", f"{rms:.1f}°", f"{drift:.2%}", certain))
    return rows


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table, write what was asked for."""
    shared = ("weights", "reset_interval", "walks", "motion", "frames", "work", "markdown")
    parser = command.parser(__doc__, *shared, frames=300, work=Path(".cache/scale"))
    return command.start(parser, run, report, argv, figures=lambda levels: [asdict(level) for level in levels])


def run(args: argparse.Namespace, console: Console) -> list[Level]:
    """Return how level every walk is with every sensor."""
    from benchmark.kept_backbone import KeptBackbone

    stream, levels = command.stream(args), list[Level]()
    stream.backbone = backbone = KeptBackbone(stream.backbone.network)
    for walk in held_out(args.walks, args.frames, args.work, motion=args.motion):
        backbone.forget()
        of_walk = measure(stream, walk)
        levels += of_walk
        tilts = (f"{level.rms_deg:.1f}" for level in of_walk if level.sensor in ("none", BOTH))
        degrees = f"{' to '.join(tilts)} degrees"
        drifts = ", ".join(f"{level.sensor} {level.drift:.2%}" for level in of_walk)
        console.print(f"walk {walk.spec.seed}: {degrees}; height: {drifts}", highlight=False)
    return levels


def report(levels: list[Level], args: argparse.Namespace, console: Console) -> bool:
    """Print the table; nothing is demanded."""
    header = ("known", "walks", "tilt at first", "tilt, RMS", "height, worst error over path", "NEES of roll and pitch")
    command.show(header, rows_of(levels), args, console)
    return True


if __name__ == "__main__":
    sys.exit(main())
