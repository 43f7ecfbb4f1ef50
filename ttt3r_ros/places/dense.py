"""Whether two keyframes' depth images can be of one place: nothing floats in front of what the other sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ttt3r_ros.places.keyframe import Keyframe
from ttt3r_ros.places.similarity import Similarity

#: Points are taken from so many columns of a keyframe's depth.
COLUMNS = 48
#: Two depths are of one surface if they differ by less than this fraction.
TOLERANCE = 0.15


@dataclass(frozen=True)
class Agreement:
    """How two depth images fit at a relative pose.

    Attributes:
        overlap: share of one keyframe's points that lie in the other's image; the smaller of both directions.
        agreeing: share of these that lie on a surface the other one sees, among those that do or that float in front of
            one; points behind a surface are hidden, and say nothing. The smaller of both directions.
    """

    overlap: float
    agreeing: float


def agreement(old: Keyframe, new: Keyframe, S_old_new: Similarity) -> Agreement:
    """Compare two keyframes at a relative pose."""
    shares = [_one_way(old, new, S_old_new), _one_way(new, old, S_old_new.inverse())]
    return Agreement(*(min(values) for values in zip(*shares)))


def _one_way(seer: Keyframe, seen: Keyframe, S: Similarity) -> tuple[float, float]:
    step = max(seen.depth.shape[1] // COLUMNS, 1)
    rows, columns = (np.arange(side)[step // 2 :: step] for side in seen.depth.shape)
    x, y = np.meshgrid(columns, rows)
    depth = seen.depth[step // 2 :: step, step // 2 :: step].astype(np.float64)
    camera, first, stride = seen.intrinsics, seen.stride // 2, seen.stride
    rays = np.stack([(first + stride * x - camera.cx) / camera.fx, (first + stride * y - camera.cy) / camera.fy], -1)
    points = np.concatenate([rays * depth[..., None], depth[..., None]], axis=-1)[np.isfinite(depth)]
    if not len(points):
        return 0.0, 0.0
    X, Y, Z = S.apply(points).T
    camera, first, stride = seer.intrinsics, seer.stride // 2, seer.stride
    in_front = Z > 1e-6
    z = np.where(in_front, Z, 1.0)
    height, width = seer.depth.shape
    column = np.rint(np.clip((camera.fx * X / z + camera.cx - first) / stride, -1, width)).astype(int)
    row = np.rint(np.clip((camera.fy * Y / z + camera.cy - first) / stride, -1, height)).astype(int)
    inside = in_front & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    there = seer.depth[row[inside], column[inside]].astype(np.float64)
    ratio = Z[inside] / there
    on_surface = int((np.abs(ratio - 1) < TOLERANCE).sum())  # NaN compares false
    floating = int((ratio <= 1 - TOLERANCE).sum())
    return float(inside.mean()), on_surface / max(on_surface + floating, 1)
