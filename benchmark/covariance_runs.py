"""Walks through held-out flats, and how far odometry was off at every frame: what covariances are fitted to.

Two errors are measured, as a user of nav_msgs/Odometry meets them:

* **Pose.** The odometry frame stands where the base stood at the first frame; the true path is moved there by its first
  pose alone, nothing else is aligned. Position error: the difference of the two positions along the odometry frame's
  axes [m]. Orientation error: the rotation vector of ``R_estimate · R_trueᵀ``, about the same fixed axes [rad]. It
  grows along the path, as dead reckoning does.
* **Twist.** The velocity that was published less the true mean velocity between the same two frames, both in the base
  frame [m/s, rad/s]. Frames whose velocity is not known (the first one, the first one after a loss) do not count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from benchmark.runner import Frame, frames_of, go_along
from benchmark.scale_sources import wheel_odometry
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, inverse, rotation_vector, twist_between
from ttt3r_ros.stream.covariance import Certainty
from ttt3r_ros.synthetic.limits import Motion

if TYPE_CHECKING:
    from ttt3r_ros.stream.stream import Stream

#: A velocity of a larger variance is "not known" [m²/s²].
_UNKNOWN = 1000.0
#: How long a stopping robot moves, and rests [s], and the noise of its camera [gray levels].
REST_S, NOISE = 1.5, 2.0
#: How walks without and with sources are named.
SOURCES = ("", ", height and wheels")


@dataclass(frozen=True)
class Walked:
    """One walk, frame by frame; frames without a pose are left out.

    Attributes:
        stamps_ns: (N,) int64.
        poses: (N, 4, 4) ``T_odom_base`` as estimated.
        true_poses: (N, 4, 4), the first one the identity.
        twists: (N, 6) linear [m/s] and angular [rad/s] velocity as published.
        confidences: (N,) median over the image.
        segments: (N,) number of each frame's segment.
        pose_variances, twist_variances: (N, 6) as published.
        is_held: (N,) whether the camera was seen to stand still.
        certainties, is_new: (N, 6, 6), (N,) see `Certainty`, of the base; NaN and False where pixels do not tell the
            motion.
        unaided: (N, 4, 4) ``T_odom_base`` as it was before the ground corrected it.
        scale_sigmas: (N,) standard deviation of the scale, as sources told it; infinite where none is in charge.
        grounds, is_floor_seen: (N, 4, 4), (N,) ``T_ground_camera``, NaN where it is not known; see `ground`.
        measured: (N, 2) gain and noise of what sources measured after each frame, see `Measured`.
    """

    stamps_ns: npt.NDArray[np.int64]
    poses: FloatArray
    true_poses: FloatArray
    twists: FloatArray
    confidences: FloatArray
    segments: npt.NDArray[np.int64]
    pose_variances: FloatArray
    twist_variances: FloatArray
    is_held: npt.NDArray[np.bool_]
    certainties: FloatArray
    is_new: npt.NDArray[np.bool_]
    unaided: FloatArray
    scale_sigmas: FloatArray
    grounds: FloatArray
    is_floor_seen: npt.NDArray[np.bool_]
    measured: FloatArray

    def certainty(self, i: int) -> Certainty | None:
        """Return that of a frame."""
        if np.isnan(self.certainties[i]).any():
            return None
        return Certainty(self.certainties[i], bool(self.is_new[i]))

    def pose_errors(self) -> FloatArray:
        """Return (N, 6) errors of position [m] and orientation [rad], see above."""
        rotations = self.poses[:, :3, :3] @ self.true_poses[:, :3, :3].transpose(0, 2, 1)
        positions = self.poses[:, :3, 3] - self.true_poses[:, :3, 3]
        return np.concatenate([positions, [rotation_vector(R) for R in rotations]], axis=1)

    def interrupted(self) -> npt.NDArray[np.bool_]:
        """Return (N,) whether a frame's velocity was not known."""
        return np.asarray(self.twist_variances[:, 0] > _UNKNOWN)

    def twist_errors(self) -> FloatArray:
        """Return (N, 6) errors of the velocity [m/s, rad/s], NaN where it was not known, or at rest."""
        errors = np.full((len(self.stamps_ns), 6), np.nan)
        for i in np.flatnonzero(~self.interrupted() & ~self.is_held):
            seconds = (self.stamps_ns[i] - self.stamps_ns[i - 1]) * 1e-9
            true = np.concatenate(twist_between(self.true_poses[i - 1], self.true_poses[i], seconds))
            errors[i] = self.twists[i] - true
        return errors

    def seconds(self) -> FloatArray:
        """Return (N,) seconds since the first frame."""
        return np.asarray((self.stamps_ns - self.stamps_ns[0]) * 1e-9)


@dataclass(frozen=True)
class Kind:
    """A kind of motion, at a frame rate.

    Attributes:
        motion: of the camera; "stopping" is "wheeled" with rests of `REST_S` every `REST_S`.
        fps: frames per second.
        frames: of a walk that is longer than the others; 0 where it is not.
        has_sources: whether the camera's height is known, and there is wheel odometry.
    """

    motion: str
    fps: float
    frames: int = 0
    has_sources: bool = False

    @property
    def name(self) -> str:
        length = f", {self.frames} frames" if self.frames else ""
        return f"{self.motion}, {self.fps:g} Hz{length}{SOURCES[self.has_sources]}"

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups that its walks are judged in."""
        if self.frames:
            return (f"{self.motion}, {self.frames} frames{SOURCES[self.has_sources]}",)
        return self.motion, f"{self.fps:g} Hz"

    def walk(self, seed: int, length: int, size: tuple[int, int], device: str) -> Iterator[Frame]:
        """Yield the frames of a walk through the flat of this seed, so many unless it is a longer one."""
        from ttt3r_ros.synthetic import Sequence as Rendered

        length = self.frames or length
        motion = cast(Motion, "wheeled" if self.motion == "stopping" else self.motion)
        width, height = size
        sequence = Rendered(seed, length, width=width, height=height, fps=self.fps, motion=motion, device=device)
        frames = frames_of(sequence)
        return _stopping(frames, seed, self.fps, length) if self.motion == "stopping" else frames


def aided(frames: Sequence[Frame], seed: int) -> list[Frame]:
    """Return the frames with the camera's height, and with what wheels say one frame late."""
    wheels = wheel_odometry(
        np.array([frame.T_world_camera for frame in frames]), [frame.stamp_ns for frame in frames], seed
    )
    return [
        replace(frame, T_ground_camera=frame.T_world_camera, other_odometry=wheels[max(i - 1, 0) : i])  # floor at 0
        for i, frame in enumerate(frames)
    ]


def _stopping(frames: Iterable[Frame], seed: int, fps: float, length: int) -> Iterator[Frame]:
    """Yield so many frames of a camera that rests now and then, with the noise of a sensor."""
    rng, rest, count = np.random.default_rng(seed), round(REST_S * fps), 0
    for i, frame in enumerate(frames):
        for _ in range(rest + 1 if i % (rest + 1) == rest else 1):
            if count == length:
                return
            noisy = np.clip(frame.image + rng.normal(0.0, NOISE, frame.image.shape), 0, 255).astype(np.uint8)
            yield replace(frame, image=noisy, stamp_ns=round(count * 1e9 / fps))
            count += 1


def walk(stream: Stream, frames: Iterable[Frame]) -> Walked:
    """Feed frames to a stream, from its origin on."""
    from ttt3r_ros.stream import scale_sources

    stream.reset_odometry()
    rows: list[tuple[Any, ...]] = []
    T_camera_base = inverse(T_BASE_CAMERA)
    T_start_world, confidence, sources = None, math.nan, stream.state.sources
    for step in go_along(stream, frames):
        before, sources = sources, stream.state.sources
        T_world_base = step.frame.T_world_camera @ T_camera_base
        if T_start_world is None:
            T_start_world = inverse(T_world_base)
        estimate, motion = step.estimate, step.motion
        if estimate is None or motion is None:
            continue
        confidence = estimate.typical_confidence() or confidence
        rows.append(
            (
                step.frame.stamp_ns,
                motion.T_odom_base,
                T_start_world @ T_world_base,
                np.concatenate(motion.twist),
                confidence,
                estimate.segment,
                motion.covariances.pose,
                motion.covariances.twist,
                step.is_still,
                *_columns(motion.certainty),
                T_BASE_CAMERA @ estimate.T_world_camera @ T_camera_base,
                scale_sources.sigma(before, estimate, math.inf),
                np.full((4, 4), np.nan) if step.frame.T_ground_camera is None else step.frame.T_ground_camera,
                scale_sources.is_floor_seen(before),
                (stream.state.sources.measured.gain, stream.state.sources.measured.noise),
            )
        )
    return Walked(*(np.array(column) for column in zip(*rows)))


def _columns(certainty: Certainty | None) -> tuple[FloatArray, bool]:
    return (np.full((6, 6), np.nan), False) if certainty is None else (certainty.covariance, certainty.is_new)


def save(path: Path, walked: Walked) -> None:
    """Keep a walk in a file, which is there only once it is whole."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **{field.name: getattr(walked, field.name) for field in fields(walked)})
    part.replace(path)


def load(path: Path) -> Walked:
    """Return a walk from its file."""
    with np.load(path, allow_pickle=False) as arrays:
        return Walked(**{field.name: arrays[field.name] for field in fields(Walked)})
