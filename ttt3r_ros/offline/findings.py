"""The results of a run so far, and the file that keeps them while a run is interrupted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ttt3r_ros.errors import kind_of
from ttt3r_ros.evaluation.run_log import EvenlySpaced, Moment, Paths
from ttt3r_ros.geometry import Intrinsics
from ttt3r_ros.offline.selection import Cursor
from ttt3r_ros.serialize import FileFormat

#: Number of complete frames that are kept for the picture.
MOMENTS = 12


@dataclass
class Findings(Paths):
    """Everything that goes into the results, except depth images and the map.

    Attributes:
        lost: stamps [ns] of frames without a pose.
        lost_reasons: number of lost frames by reason; see `count`.
        depth_errors: AbsRel and δ<1.25 of each frame with true depth.
        segments: number of segments so far.
        unconnected: number of frames with a pose that follow on none, so that the motion up to them is unknown: the
            first one, and those after a gap or a change of the images' size. Not those after a reset.
        segment_reasons: number of segments by the reason why they began.
        camera: of the depth images; None while unknown.
        seconds: processing time so far, including that before interruptions [s].
        moments: complete frames, spread over the run.
        cursor: position of the last processed frame; None before the first.
    """

    lost: list[int] = field(default_factory=list)
    lost_reasons: Counter[str] = field(default_factory=Counter)
    depth_errors: list[tuple[float, float]] = field(default_factory=list)
    segments: int = 0
    unconnected: int = 0
    segment_reasons: Counter[str] = field(default_factory=Counter)
    camera: Intrinsics | None = None
    seconds: float = 0.0
    moments: EvenlySpaced[Moment] = field(default_factory=lambda: EvenlySpaced(MOMENTS))
    cursor: Cursor | None = None

    @property
    def frames(self) -> int:
        """Number of frames processed."""
        return len(self.poses) + len(self.lost)


def count(reasons: Counter[str], reason: str, times: int = 1) -> None:
    """Count a reason with those that differ only in numbers, under the first of them."""
    kind = kind_of(reason)
    reasons[next((known for known in reasons if kind_of(known) == kind), reason)] += times


@dataclass(frozen=True)
class _Kept:
    """`Findings` as stored in a file: N poses, stamps in nanoseconds."""

    cursor: Cursor
    stamps_ns: npt.NDArray[np.int64]
    poses: npt.NDArray[np.float64]
    true_stamps_ns: npt.NDArray[np.int64]
    true_poses: npt.NDArray[np.float64]
    lost: npt.NDArray[np.int64]
    lost_reasons: tuple[tuple[str, int], ...]
    segment_reasons: tuple[tuple[str, int], ...]
    depth_errors: npt.NDArray[np.float64]
    segments: int
    unconnected: int
    camera: Intrinsics | None
    seconds: float
    moments: tuple[Moment, ...]
    moments_seen: int


FORMAT = FileFormat(_Kept, "ttt3r_ros_findings", 3, "part of a run", "start over with --overwrite", allows_nan=True)


def save_findings(path: Path, findings: Findings) -> None:
    """Write findings to a file.

    Raises:
        ValueError: no frame has been processed yet, so there is nothing to resume from.
    """
    if findings.cursor is None:
        raise ValueError("there is nothing to save before the first frame")
    kept = _Kept(
        cursor=findings.cursor,
        stamps_ns=np.array(list(findings.poses), np.int64),
        poses=np.array(list(findings.poses.values()), np.float64).reshape(-1, 4, 4),
        true_stamps_ns=np.array(list(findings.true_poses), np.int64),
        true_poses=np.array(list(findings.true_poses.values()), np.float64).reshape(-1, 4, 4),
        lost=np.array(findings.lost, np.int64),
        lost_reasons=tuple(findings.lost_reasons.items()),
        segment_reasons=tuple(findings.segment_reasons.items()),
        depth_errors=np.array(findings.depth_errors, np.float64).reshape(-1, 2),
        segments=findings.segments,
        unconnected=findings.unconnected,
        camera=findings.camera,
        seconds=findings.seconds,
        moments=tuple(findings.moments),
        moments_seen=findings.moments.seen,
    )
    path.write_bytes(FORMAT.to_bytes(kept))


def load_findings(path: Path) -> Findings:
    """Read what `save_findings` wrote.

    Raises:
        UserError: the file is damaged or of another kind.
    """
    kept = FORMAT.read(path)
    try:
        return Findings(
            poses=dict(zip(kept.stamps_ns.tolist(), kept.poses, strict=True)),
            true_poses=dict(zip(kept.true_stamps_ns.tolist(), kept.true_poses, strict=True)),
            lost=kept.lost.tolist(),
            lost_reasons=Counter(dict(kept.lost_reasons)),
            segment_reasons=Counter(dict(kept.segment_reasons)),
            depth_errors=[(float(abs_rel), float(delta)) for abs_rel, delta in kept.depth_errors],
            segments=kept.segments,
            unconnected=kept.unconnected,
            camera=kept.camera,
            seconds=kept.seconds,
            moments=EvenlySpaced.resumed(MOMENTS, kept.moments, kept.moments_seen),
            cursor=kept.cursor,
        )
    except (ValueError, TypeError) as error:
        raise FORMAT.damaged(str(path)) from error
