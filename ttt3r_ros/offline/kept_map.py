"""A voxel map in a file between two sittings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ttt3r_ros.errors import UserError
from ttt3r_ros.mapping.voxel_map import MapMemory, VoxelMap

_DTYPES = [np.dtype(np.int64), np.dtype(np.float32), np.dtype(np.float32)]  # of keys, counts and means


def save_map(path: Path, voxel_map: VoxelMap) -> None:
    """Write all that a map carries to an .npz file."""
    memory = voxel_map.memory()
    with path.open("wb") as file:
        np.savez(file, voxel_size=memory.voxel_size, keys=memory.keys, counts=memory.counts, means=memory.means)


def load_map(path: Path, voxel_map: VoxelMap) -> None:
    """Let a map go on from what `save_map` wrote.

    Raises:
        UserError: the file is damaged, or is something else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            memory = _checked(arrays)
        voxel_map.resume(memory)
    except Exception as error:  # damage makes numpy and zipfile raise nearly anything, and say it at any length
        reason = isinstance(error, OSError) and error.strerror
        raise UserError(
            f"{path} cannot be read ({reason or 'it is damaged or no map of this run'}); begin anew with --overwrite"
        ) from error


def _checked(arrays: Mapping[str, npt.NDArray[Any]]) -> MapMemory:
    """Return what a file holds.

    Raises:
        ValueError: no map could have had it.
    """
    memory = MapMemory(float(arrays["voxel_size"]), arrays["keys"], arrays["counts"], arrays["means"])
    keys, counts, means = memory.keys, memory.counts, memory.means
    count = len(keys)
    if not (
        [array.dtype for array in (keys, counts, means)] == _DTYPES
        and (keys.shape, counts.shape, means.shape) == ((count,), (count,), (count, 7))
        and 0 < memory.voxel_size < np.inf
        and (keys > 0).all()
        and len(np.unique(keys)) == count
        and (counts > 0).all()
        and np.isfinite(means[:, :3]).all()
    ):
        raise ValueError("this is no memory of a map")
    return memory
