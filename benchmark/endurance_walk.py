"""One policy's way along the walk of the endurance benchmark: what is measured, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.runner import go_along, resident_bytes
from benchmark.walk import Walk, WalkSpec
from ttt3r_ros.errors import UserError
from ttt3r_ros.evaluation.metrics import Trajectory, TrajectoryError, compare_trajectories
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, inverse
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.estimate import IMAGE, POINTS
from ttt3r_ros.stream.segments import warm_up
from ttt3r_ros.stream.settings import ResetPolicy, StreamSettings
from ttt3r_ros.stream.stream import Stream
from ttt3r_ros.weights.load import load_weights

#: Samples in a run, of each figure.
SAMPLES = 100
#: Poses that the error of all frames so far is worked out from; more of them change nothing.
MAX_COMPARED = 1000
_WARM_UP = 10  #: frames that do not count for the worst time


@dataclass(frozen=True)
class Task:
    """One policy of one run; equal tasks have equal results, but for the times.

    Attributes:
        walk: fields of its `WalkSpec`.
        work: folder with the walk's images.
        weights, fingerprint, source: file (empty: the package's), which ones they are, and what they are called.
        device, precision, rule: of the network.
        policy, interval: of the resets.
    """

    walk: dict[str, Any]
    work: str
    weights: str
    fingerprint: str
    source: str
    device: str
    precision: str
    rule: str
    policy: ResetPolicy
    interval: int


@dataclass(frozen=True)
class Sample:
    """Figures of the frames since the sample before, or of all frames so far; None where too few have a pose.

    Attributes:
        frame: number of frames so far.
        rss_mb: resident memory of the process.
        device_mb: of the GPU's memory, allocated; 0 on a CPU.
        ms_p50, ms_worst: from an image to its estimate and the stream being ready for the next image, since the
            sample before.
        cpu_ms_p50: the processor's time for that, over all threads, which no other process takes a share of.
        depth_scale: estimated depth over true depth, median over pixels and frames since the sample before.
        ate_m: RMSE of the positions of all frames so far after SE(3) alignment.
        local_ate_m: the same of the frames since the sample before alone.
        path_scale: what the estimate must be multiplied by to fit the truth best, all frames so far.
        lost: frames without a pose since the sample before.
        segments: begun so far.
    """

    frame: int
    rss_mb: float
    device_mb: float
    ms_p50: float
    ms_worst: float
    cpu_ms_p50: float
    depth_scale: float | None
    ate_m: float | None
    local_ate_m: float | None
    path_scale: float | None
    lost: int
    segments: int


def run_policy(task: Task, progress: Callable[[int, str], None]) -> dict[str, Any]:
    """Feed the whole walk to a stream and return the figures, plain enough for JSON."""
    walk = Walk(WalkSpec(**task.walk), Path(task.work))
    frames = walk.spec.frames
    stream = _stream(task, walk)
    log = _Log.empty(frames)
    every = max(frames // SAMPLES, 10)
    memory: list[tuple[int, int, int]] = []
    reasons: dict[str, int] = {}
    for index, step in enumerate(go_along(stream, walk.frames(), outputs=frozenset({POINTS, IMAGE}))):
        log.preparing[index] = step.preparing
        log.seconds[index] = step.seconds
        log.cpu_seconds[index] = step.cpu_seconds
        estimate = step.estimate
        if step.motion is not None:
            log.poses[index] = step.motion.T_odom_base
        else:
            reason = _kind(step.lost or "")
            reasons[reason] = reasons.get(reason, 0) + 1
        if estimate is not None:
            log.segment[index] = estimate.segment
            if step.motion is not None:
                log.scale[index] = step.depth_ratio()
        elif index:
            log.segment[index] = log.segment[index - 1]
        if (index + 1) % every == 0 or index == frames - 1:
            memory.append((index + 1, resident_bytes(), _device_bytes(stream.backbone.device)))
            progress(index + 1, f"{1e3 * log.seconds[index]:.0f} ms, {memory[-1][1] / 1e6:.0f} MB")
    starts = [0, *(frame for frame, _, _ in memory[:-1])]
    samples = [_sample(log, walk, start, *figures) for start, figures in zip(starts, memory)]
    error = _error(log, walk, range(frames))
    return {
        "policy": task.policy,
        "task": asdict(task),
        "frames": frames,
        "segments": int(log.segment[-1]) + 1,
        "lost": reasons,
        "path_m": float(np.linalg.norm(np.diff(walk.T_world_camera[:, :3, 3], axis=0), axis=1).sum()),
        "ms_p50": 1e3 * float(np.median(log.seconds)),
        "ms_p99": 1e3 * float(np.percentile(log.seconds, 99)),
        "ms_worst": 1e3 * float(log.seconds[_WARM_UP:].max()),
        "ms_settling_worst": 1e3 * float(log.preparing[_WARM_UP:].max()),
        "rpe_translation_m": error.rpe_translation_m if error else None,
        "rpe_rotation_deg": error.rpe_rotation_deg if error else None,
        "samples": [asdict(sample) for sample in samples],
    }


@dataclass
class _Log:
    """What is noted of every frame, in arrays that are there from the beginning, so that the log does not grow."""

    poses: FloatArray
    seconds: FloatArray
    cpu_seconds: FloatArray
    preparing: FloatArray
    scale: FloatArray
    segment: np.ndarray[Any, np.dtype[np.int64]]

    @classmethod
    def empty(cls, frames: int) -> _Log:
        return cls(
            poses=np.full((frames, 4, 4), np.nan),
            seconds=np.zeros(frames),
            cpu_seconds=np.zeros(frames),
            preparing=np.zeros(frames),
            scale=np.full(frames, np.nan),
            segment=np.zeros(frames, np.int64),
        )


def _stream(task: Task, walk: Walk) -> Stream:
    backbone = Backbone(load_weights(task.weights).network, device=task.device, precision=task.precision)
    settings = StreamSettings(update_rule=task.rule, reset_policy=task.policy, reset_interval=task.interval)
    warm_up(backbone, walk.spec.height, walk.spec.width, settings)
    return Stream(backbone, settings)


def _sample(log: _Log, walk: Walk, start: int, stop: int, rss: int, device: int) -> Sample:
    """Work out what the errors were; only when all is over, since evo needs memory of its own."""
    so_far = _error(log, walk, range(0, stop, max(stop // MAX_COMPARED, 1)))
    local = _error(log, walk, range(start, stop))
    scales = log.scale[start:stop]
    scale = float(np.nanmedian(scales)) if np.isfinite(scales).any() else None
    return Sample(
        frame=stop,
        rss_mb=rss / 1e6,
        device_mb=device / 1e6,
        ms_p50=1e3 * float(np.median(log.seconds[start:stop])),
        ms_worst=1e3 * float(log.seconds[start:stop].max()),
        cpu_ms_p50=1e3 * float(np.median(log.cpu_seconds[start:stop])),
        depth_scale=scale,
        ate_m=so_far.ate_rmse_m if so_far else None,
        local_ate_m=local.ate_rmse_m if local else None,
        path_scale=so_far.scale if so_far and np.isfinite(so_far.scale) else None,
        lost=int(np.isnan(log.poses[start:stop, 0, 0]).sum()),
        segments=int(log.segment[stop - 1]) + 1,
    )


def _error(log: _Log, walk: Walk, frames: range) -> TrajectoryError | None:
    try:
        return compare_trajectories(*_trajectories(log, walk, frames))
    except UserError:
        return None  # fewer than three poses


def _trajectories(log: _Log, walk: Walk, frames: range) -> tuple[Trajectory, Trajectory]:
    """Return estimate and truth of those of the frames that have a pose."""
    known = [index for index in frames if np.isfinite(log.poses[index]).all()]
    stamps = [walk.stamps_ns[index] for index in known]
    T_camera_base = inverse(T_BASE_CAMERA)
    truth = [walk.T_world_camera[index] @ T_camera_base for index in known]
    return Trajectory.from_transforms(stamps, list(log.poses[known])), Trajectory.from_transforms(stamps, truth)


def _device_bytes(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _kind(reason: str) -> str:
    """Return a reason without its numbers, so that reasons of a kind can be counted."""
    return "".join(character for character in reason if not character.isdigit() and character != ".").strip()
