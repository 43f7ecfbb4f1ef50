"""Frames of measurements, drawn to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.measure import Frame
from ttt3r_ros.errors import UserError

#: Columns of the picture; smaller images are enlarged to nearly so many pixels across.
_COLUMNS, _WIDTH, _TEXT_PX = 6, 256, 18


def draw(path: Path, shown: Sequence[tuple[str, Frame]]) -> None:
    """Draw captions and frames in rows of six.

    Raises:
        ImportError: OpenCV is missing.
        UserError: the file cannot be written.
    """
    import cv2

    tiles = [_tile(caption, frame) for caption, frame in shown]
    rows = [np.concatenate(tiles[i : i + _COLUMNS], axis=1) for i in range(0, len(tiles), _COLUMNS)]
    picture = np.ascontiguousarray(np.concatenate(rows)[..., ::-1])
    try:
        written = cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
    except cv2.error:  # an unknown file extension
        written = False
    if not written:
        raise UserError(f"cannot write {path}: name a file ending in .png or .jpg in an existing folder")


def _tile(caption: str, frame: Frame) -> npt.NDArray[np.uint8]:
    """Return a caption above an image, its depth and the true depth, (H, W, 3) RGB."""
    import cv2

    from ttt3r_ros.colors import depth_colors, depth_limit

    far = depth_limit([frame.truth])
    parts = [frame.image, depth_colors(frame.depth, far), depth_colors(frame.truth, far)]
    scale = max(1, _WIDTH // frame.image.shape[1])
    enlarged = [part.repeat(scale, axis=0).repeat(scale, axis=1) for part in parts]
    band = np.full((_TEXT_PX, enlarged[0].shape[1], 3), 255, np.uint8)
    cv2.putText(band, caption, (2, _TEXT_PX - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.pad(np.concatenate([band, *enlarged]), ((2, 2), (2, 2), (0, 0)), constant_values=255)
