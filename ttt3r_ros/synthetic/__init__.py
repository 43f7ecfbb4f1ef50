"""A deterministic world with exact images, depth, intrinsics and poses; see docs/adr/0002-synthetic-world.md."""

from ttt3r_ros.synthetic.path import Motion
from ttt3r_ros.synthetic.scene import Variety
from ttt3r_ros.synthetic.sequence import HORIZONTAL_FOV_DEG, Frames, Sequence, render_clips

__all__ = ["HORIZONTAL_FOV_DEG", "Frames", "Motion", "Sequence", "Variety", "render_clips"]
