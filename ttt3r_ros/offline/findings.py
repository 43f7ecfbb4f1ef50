"""What a run has found so far, and keeping it in a file between two sittings."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ttt3r_ros.errors import UserError
from ttt3r_ros.evaluation.metrics import Trajectory
from ttt3r_ros.evaluation.run_log import EvenlySpaced, Moment
from ttt3r_ros.geometry import FloatArray, Intrinsics
from ttt3r_ros.offline.selection import Place

#: Frames that are kept whole, for the picture.
MOMENTS = 12

_MOMENT_IMAGES = ("rgb", "depth", "confidence", "true_depth")
_NO_POINTS = np.empty((0, 3), np.float32)


@dataclass
class Findings:
    """Everything that the results are made of, but depth images and the map.

    Attributes:
        poses: ``T_odom_base`` by stamp [ns].
        true_poses: ``T_world_base`` by stamp [ns]; empty without ground truth.
        lost: stamps [ns] of frames without a pose.
        lost_reasons: how many of them were lost for what kind of reason.
        depth_errors: AbsRel and δ<1.25 of each frame with true depth.
        segments: of the network's state so far.
        segment_reasons: how many of them began for what kind of reason.
        camera: of the depth images; None while unknown.
        seconds: of work so far, over all sittings.
        moments: whole frames, spread over the run.
        place: of the last frame taken; None before the first.
    """

    poses: dict[int, FloatArray] = field(default_factory=dict)
    true_poses: dict[int, FloatArray] = field(default_factory=dict)
    lost: list[int] = field(default_factory=list)
    lost_reasons: Counter[str] = field(default_factory=Counter)
    depth_errors: list[tuple[float, float]] = field(default_factory=list)
    segments: int = 0
    segment_reasons: Counter[str] = field(default_factory=Counter)
    camera: Intrinsics | None = None
    seconds: float = 0.0
    moments: EvenlySpaced[Moment] = field(default_factory=lambda: EvenlySpaced(MOMENTS))
    place: Place | None = None

    @property
    def frames(self) -> int:
        """How many frames have been taken."""
        return len(self.poses) + len(self.lost)

    def trajectory(self) -> Trajectory:
        """Return the estimated path of the base in the odometry frame."""
        return Trajectory.from_transforms(list(self.poses), list(self.poses.values()))

    def ground_truth(self) -> Trajectory:
        """Return the true path of the base in the world."""
        return Trajectory.from_transforms(list(self.true_poses), list(self.true_poses.values()))


def save_findings(path: Path, findings: Findings) -> None:
    """Write all of it to an .npz file.

    Raises:
        ValueError: no frame has been taken yet, so that there is nothing to go on from.
    """
    place = findings.place
    if place is None:
        raise ValueError("there is nothing to save before the first frame")
    arrays: dict[str, npt.NDArray[Any]] = {
        "place": np.array([place.index, place.stamp_ns, place.first_stamp_ns], np.int64),
        "lost": np.array(findings.lost, np.int64),
        "depth_errors": np.array(findings.depth_errors, np.float64).reshape(-1, 2),
        "segments": np.array(findings.segments),
        "reasons": np.array(json.dumps([findings.lost_reasons, findings.segment_reasons])),
        "seconds": np.array(findings.seconds),
        "moments_seen": np.array(findings.moments.seen),
        "moment_stamps": np.array([moment.stamp_ns for moment in findings.moments], np.int64),
    }
    for name, poses in (("poses", findings.poses), ("true_poses", findings.true_poses)):
        arrays[f"{name}_stamps"] = np.array(list(poses), np.int64)
        arrays[name] = np.array(list(poses.values()), np.float64).reshape(-1, 4, 4)
    camera = findings.camera
    if camera is not None:
        arrays["camera"] = np.array([camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height])
    for i, moment in enumerate(findings.moments):
        for name in _MOMENT_IMAGES:
            image = getattr(moment, name)
            if image is not None:
                arrays[f"moment{i}_{name}"] = image
    arrays["names"] = np.array(sorted(arrays))  # a damaged directory may lack some that are not always there
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes **kwds for allow_pickle


def load_findings(path: Path) -> Findings:
    """Read what `save_findings` wrote.

    Raises:
        UserError: the file is damaged, or is something else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if sorted(arrays.files) != sorted(["names", *arrays["names"].tolist()]):
                raise ValueError("some arrays are missing")
            index, stamp_ns, first_stamp_ns = (int(value) for value in arrays["place"])
            moments = [_moment(arrays, i, int(stamp)) for i, stamp in enumerate(arrays["moment_stamps"])]
            lost_reasons, segment_reasons = json.loads(str(arrays["reasons"]))
            return Findings(
                poses=_poses(arrays, "poses"),
                true_poses=_poses(arrays, "true_poses"),
                lost=[int(stamp) for stamp in arrays["lost"]],
                depth_errors=[(float(a), float(b)) for a, b in arrays["depth_errors"]],
                lost_reasons=Counter(lost_reasons),
                segments=int(arrays["segments"]),
                segment_reasons=Counter(segment_reasons),
                camera=_camera(arrays["camera"]) if "camera" in arrays else None,
                seconds=float(arrays["seconds"]),
                moments=EvenlySpaced.resumed(MOMENTS, moments, int(arrays["moments_seen"])),
                place=Place(index, stamp_ns, first_stamp_ns),
            )
    except Exception as error:  # damage makes numpy and zipfile raise nearly anything, and say it at any length
        reason = isinstance(error, OSError) and error.strerror
        raise UserError(
            f"{path} cannot be read ({reason or 'it is damaged or nothing of this run'}); begin anew with --overwrite"
        ) from error


def _poses(arrays: Any, name: str) -> dict[int, FloatArray]:
    return dict(zip((int(stamp) for stamp in arrays[f"{name}_stamps"]), arrays[name], strict=True))


def _camera(values: FloatArray) -> Intrinsics:
    fx, fy, cx, cy, width, height = (float(value) for value in values)
    return Intrinsics(fx, fy, cx, cy, int(width), int(height))


def _moment(arrays: Any, index: int, stamp_ns: int) -> Moment:
    images: dict[str, Any] = {
        name: arrays[key] if (key := f"moment{index}_{name}") in arrays else None for name in _MOMENT_IMAGES
    }
    return Moment(
        stamp_ns=stamp_ns,
        **images,
        points_odom=_NO_POINTS,
        colours=np.empty((0, 3), np.uint8),
        point_confidence=np.empty(0, np.float32),
    )
