"""A contact sheet of the synthetic world: ``python -m ttt3r_ros.synthetic --seed 1 --output sheet.png``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.colors import depth_colors
from ttt3r_ros.errors import UserError, program
from ttt3r_ros.synthetic.limits import Kind, Motion
from ttt3r_ros.synthetic.scene import Variety
from ttt3r_ros.synthetic.sequence import Sequence

Image = npt.NDArray[np.uint8]


@program
def main(argv: list[str] | None = None) -> int:
    """Write the sheet: for each seed a row of images and a row of depths, at equally spaced moments."""
    parser = argparse.ArgumentParser(prog="python -m ttt3r_ros.synthetic", description=__doc__)
    parser.add_argument("--seed", type=int, nargs="+", default=[1], help="one or more apartments")
    parser.add_argument("--output", type=Path, required=True, help="image file to write (.png or .jpg)")
    parser.add_argument("--motion", choices=get_args(Motion), default="handheld")
    parser.add_argument("--place", choices=get_args(Kind), default="apartment")
    parser.add_argument("--wide-textures", action="store_true", help="random textures on most surfaces")
    parser.add_argument("--people", type=int, default=0, help="how many walk about")
    parser.add_argument("--moving-doors", action="store_true")
    parser.add_argument("--fov", type=float, help="horizontal field of view, degrees")
    parser.add_argument("--columns", type=int, default=4, help="moments per seed")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds between two moments")
    parser.add_argument("--width", type=int, default=320, help="width of one image, pixels; the aspect ratio is 4:3")
    args = parser.parse_args(argv)
    rows = [row for seed in args.seed for row in _rows(seed, args)]
    sheet = np.ascontiguousarray(np.concatenate(rows)[..., ::-1])
    try:
        written = cv2.imwrite(str(args.output), sheet)
    except cv2.error:  # an unknown file extension
        written = False
    if not written:
        raise UserError(f"cannot write {args.output}: name a file ending in .png or .jpg in an existing folder")
    print(f"wrote {args.output}, {sheet.shape[1]} x {sheet.shape[0]} pixels")
    return 0


def _rows(seed: int, args: argparse.Namespace) -> list[Image]:
    if args.columns < 1 or args.seconds <= 0:
        raise UserError("a contact sheet needs --columns of at least 1 and --seconds greater than 0")
    sequence = Sequence(
        seed, args.columns, width=args.width, height=args.width * 3 // 4, fps=1.0 / args.seconds, motion=args.motion,
        samples_per_axis=2, horizontal_fov_deg=args.fov,
        variety=Variety(args.place, args.wide_textures, args.people, args.moving_doors),
    )  # fmt: skip
    frames = sequence.render(0, args.columns)
    depths = [depth_colors(depth) for depth in frames.depth.numpy()]
    return [np.concatenate(list(frames.image.numpy()), axis=1), np.concatenate(depths, axis=1)]


if __name__ == "__main__":
    sys.exit(main())
