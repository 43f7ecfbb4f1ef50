"""A voxel map in a file between two sittings."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ttt3r_ros.errors import UserError
from ttt3r_ros.voxel_map import MapMemory, VoxelMap


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
            memory = MapMemory(float(arrays["voxel_size"]), arrays["keys"], arrays["counts"], arrays["means"])
        voxel_map.resume(memory)
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read ({error}); begin anew with --overwrite") from None
