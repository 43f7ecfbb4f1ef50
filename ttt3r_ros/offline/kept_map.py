"""Keeps the voxel map of a run in a file while the run is interrupted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ttt3r_ros.mapping.voxel_map import MapState, VoxelMap
from ttt3r_ros.serialize import FileFormat

FORMAT = FileFormat(MapState, "ttt3r_ros_map", 1, "a map of a run", "start over with --overwrite", allows_nan=True)


def save_map(path: Path, voxel_map: VoxelMap) -> None:
    """Write a map's state to a file."""
    path.write_bytes(FORMAT.to_bytes(voxel_map.state()))


def load_map(path: Path, voxel_map: VoxelMap) -> None:
    """Restore a map from what `save_map` wrote.

    Raises:
        UserError: the file is damaged or of another kind.
    """
    state = FORMAT.read(path)
    try:
        _check(state)
        voxel_map.resume(state)
    except ValueError as error:
        raise FORMAT.damaged(str(path)) from error


def _check(state: MapState) -> None:
    """Raise a ValueError if no map can have this state."""
    keys, counts, means = state.keys, state.counts, state.means
    count = len(keys) if keys.ndim else -1
    if not (
        (keys.shape, counts.shape, means.shape) == ((count,), (count,), (count, 7))
        and state.voxel_size > 0
        and (keys > 0).all()
        and len(np.unique(keys)) == count
        and (counts > 0).all()
        and np.isfinite(means[:, :3]).all()
    ):
        raise ValueError("no map can have this state")
