"""Draw what weights make of held-out apartments: ``python -m training.gallery [--weights FILE] --output gallery.jpg``.

Twelve frames, each the last of a short sequence in an apartment of its own, with every kind of motion and mount among
them: the image as the network sees it, its depth, and the true depth on the same scale.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence as Seq
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from training.evaluate import FPS
from training.measure import Frame, measure
from ttt3r_ros.errors import UserError
from ttt3r_ros.runtime.device import choose_device
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.segments import SegmentReader
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.synthetic import Motion, Sequence
from ttt3r_ros.weights.load import load_weights

FIRST_SEED = 20  # held out of training, and beyond those whose figures are told
_START, _FRAMES = 30, 4
_COLUMNS, _SCALE, _TEXT_PX = 6, 2, 18


def main(argv: list[str] | None = None) -> int:
    """Measure twelve short sequences and draw their last frames."""
    parser = argparse.ArgumentParser(prog="python -m training.gallery", description=__doc__)
    parser.add_argument("--weights", default="", help="a weights file; default: the package's own")
    parser.add_argument("--output", type=Path, required=True, help="the image file to write")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    args = parser.parse_args(argv)
    try:
        backbone = Backbone(load_weights(args.weights).network, device=choose_device(args.device))
        shown = []
        for number, motion in enumerate((*get_args(Motion), "handheld", "wheeled")):
            sequence = Sequence(FIRST_SEED + number, _START + _FRAMES, fps=FPS, motion=motion, device=backbone.device)
            measurement, frames = measure(SegmentReader(backbone, StreamSettings()), sequence, _START, motion)
            shown.append((f"{motion}, AbsRel {measurement.abs_rel:.2f}", frames[-1]))
        draw(args.output, shown)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {args.output}")
    return 0


def draw(path: Path, shown: Seq[tuple[str, Frame]]) -> None:
    """Draw captions and frames in rows of six.

    Raises:
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
    enlarged = [part.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1) for part in parts]
    band = np.full((_TEXT_PX, enlarged[0].shape[1], 3), 255, np.uint8)
    cv2.putText(band, caption, (2, _TEXT_PX - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.pad(np.concatenate([band, *enlarged]), ((2, 2), (2, 2), (0, 0)), constant_values=255)


if __name__ == "__main__":
    sys.exit(main())
