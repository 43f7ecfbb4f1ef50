"""How well weights do on one held-out sequence, through the same stream as the node's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from training.path_error import path_error
from ttt3r_ros.evaluation.metrics import compare_depth, resample_depth
from ttt3r_ros.stream.estimate import IMAGE, POINTS
from ttt3r_ros.synthetic.limits import Motion

if TYPE_CHECKING:
    from ttt3r_ros.stream.segments import SegmentReader
    from ttt3r_ros.synthetic import Sequence


@dataclass(frozen=True)
class Frame:
    """One frame of a measurement, to look at; all of the network's size H×W.

    Attributes:
        image: (H, W, 3) uint8, what the network saw.
        depth, truth: (H, W) float32, metres.
    """

    image: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    truth: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Measurement:
    """One sequence's figures.

    Attributes:
        seed, motion: which sequence.
        abs_rel, delta_125: of metric depth, without any scale matching; means over frames.
        abs_rel_scaled: the same with every frame's median matched.
        ate_m: of the positions after SE(3) alignment.
        still_ate_m: the same for an estimate that never moves.
        path_m: length of the true path.
        rpe_rotation_deg: per frame, root mean square.
        still_rpe_rotation_deg: the same for an estimate that never moves.
        ms_per_frame: median, without rendering.
    """

    seed: int
    motion: Motion
    abs_rel: float
    delta_125: float
    abs_rel_scaled: float
    ate_m: float
    still_ate_m: float
    path_m: float
    rpe_rotation_deg: float
    still_rpe_rotation_deg: float
    ms_per_frame: float

    @property
    def ate_percent(self) -> float:
        """ATE as a share of the path's length [%]."""
        return 100 * self.ate_m / max(self.path_m, 1e-9)

    @property
    def caption(self) -> str:
        """What a picture of it says."""
        return f"{self.motion}, AbsRel {self.abs_rel:.2f}"


def measure(reader: SegmentReader, sequence: Sequence, start: int, motion: Motion) -> tuple[Measurement, list[Frame]]:
    """Feed the frames from ``start`` on, as one segment, and compare.

    Args:
        reader: has not read a frame yet.
        sequence: at least three frames from start on.
        start: first frame.
        motion: of the sequence, for the record.
    """
    depths, scaled, frames, poses, seconds = [], [], [], [], []
    for index in range(start, len(sequence)):
        rendered = sequence.render(index)
        estimate = reader.read(rendered.image[0].cpu().numpy(), sequence.intrinsics, outputs={POINTS, IMAGE})
        assert estimate.depth is not None
        assert estimate.image is not None
        target = estimate.pixel_map.intrinsics(sequence.intrinsics)
        truth = resample_depth(rendered.depth[0].cpu().numpy(), sequence.intrinsics, target)
        depths.append(compare_depth(estimate.depth, truth))
        scaled.append(compare_depth(estimate.depth, truth, match_median=True))
        frames.append(Frame(estimate.image, estimate.depth, truth))
        poses.append(estimate.T_world_camera)
        seconds.append(estimate.timings.total)
    truth_path = sequence.T_world_camera[start:].cpu().double().numpy()
    error = path_error(np.stack(poses), truth_path)
    still = path_error(np.broadcast_to(np.eye(4), truth_path.shape), truth_path)
    return Measurement(
        seed=sequence.seed,
        motion=motion,
        abs_rel=float(np.mean([depth.abs_rel for depth in depths])),
        delta_125=float(np.mean([depth.delta_125 for depth in depths])),
        abs_rel_scaled=float(np.mean([depth.abs_rel for depth in scaled])),
        ate_m=error.ate_m,
        still_ate_m=still.ate_m,
        path_m=error.path_m,
        rpe_rotation_deg=error.rpe_rotation_deg,
        still_rpe_rotation_deg=still.rpe_rotation_deg,
        ms_per_frame=1e3 * float(np.median(seconds)),
    ), frames
