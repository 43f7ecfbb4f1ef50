"""Draw what weights make of held-out apartments: ``python -m training.gallery [--weights FILE] --output gallery.jpg``.

Twelve frames, each the last of a short sequence in an apartment of its own, with every kind of motion and mount among
them: the image as the network sees it, its depth, and the true depth on the same scale.
"""

from __future__ import annotations

import argparse
import sys
from typing import get_args

from training.evaluate import FPS
from training.measure import measure
from training.pictures import draw
from ttt3r_ros.cli.arguments import output_file
from ttt3r_ros.errors import program
from ttt3r_ros.runtime.device import choose_device
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.synthetic.limits import Motion

FIRST_SEED = 20  # held out of training, and beyond those whose figures are told
_START, _FRAMES = 30, 4


@program
def main(argv: list[str] | None = None) -> int:
    """Measure twelve short sequences and draw their last frames."""
    parser = argparse.ArgumentParser(prog="python -m training.gallery", description=__doc__)
    parser.add_argument("--weights", default="", help="a weights file; default: the package's own")
    parser.add_argument("--output", type=output_file, required=True, help="the image file to write")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    args = parser.parse_args(argv)

    from ttt3r_ros.stream.backbone import Backbone
    from ttt3r_ros.stream.segments import SegmentReader
    from ttt3r_ros.synthetic import Sequence
    from ttt3r_ros.weights.load import load_weights

    backbone = Backbone(load_weights(args.weights).network, device=choose_device(args.device))
    shown = []
    for number, motion in enumerate((*get_args(Motion), "handheld", "wheeled")):
        sequence = Sequence(FIRST_SEED + number, _START + _FRAMES, fps=FPS, motion=motion, device=backbone.device)
        measurement, frames = measure(SegmentReader(backbone, StreamSettings()), sequence, _START, motion)
        shown.append((measurement.caption, frames[-1]))
    draw(args.output, shown)
    print(f"wrote {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
