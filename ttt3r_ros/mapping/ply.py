"""Colored point clouds as PLY files for MeshLab, CloudCompare or Blender."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

#: Properties of a vertex: name, numpy type, PLY type.
_PROPERTIES = (
    ("x", "<f4", "float"),
    ("y", "<f4", "float"),
    ("z", "<f4", "float"),
    ("red", "u1", "uchar"),
    ("green", "u1", "uchar"),
    ("blue", "u1", "uchar"),
)


def write_ply(
    file: Path | IO[bytes], points: npt.NDArray[np.float32], colors: npt.NDArray[np.uint8], *, comment: str = ""
) -> None:
    """Write a binary PLY file.

    Args:
        file: path, or an open binary file.
        points: (N, 3) float32, meters.
        colors: (N, 3) uint8, RGB.
        comment: one line for the header, for example the frame and the units.

    Raises:
        ValueError: the shapes do not match.
    """
    if points.ndim != 2 or points.shape[1] != 3 or colors.shape != points.shape:
        raise ValueError(f"points and colors must both be (N, 3), got {points.shape} and {colors.shape}")
    vertices = np.empty(len(points), dtype=[(name, kind) for name, kind, _ in _PROPERTIES])
    columns = [*points.T, *colors.T]
    for (name, _, _), column in zip(_PROPERTIES, columns, strict=True):
        vertices[name] = column
    comments = [f"comment {' '.join(comment.split())}"] if comment else []
    properties = [f"property {kind} {name}" for name, _, kind in _PROPERTIES]
    header = [
        *("ply", "format binary_little_endian 1.0", *comments),
        *(f"element vertex {len(points)}", *properties, "end_header"),
    ]
    text = "\n".join(header).encode() + b"\n"
    if isinstance(file, Path):
        file.write_bytes(text + vertices.tobytes())
    else:
        file.write(text)
        file.write(vertices.view(np.uint8).data)
