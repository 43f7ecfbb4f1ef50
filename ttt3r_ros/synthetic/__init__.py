"""A deterministic world with exact images, depth, intrinsics and poses; see docs/adr/0002-synthetic-world.md."""

from ttt3r_ros.synthetic.path import Motion
from ttt3r_ros.synthetic.scene import Variety
from ttt3r_ros.synthetic.sequence import HORIZONTAL_FOV_DEG, Frames, Sequence, render_clips
from ttt3r_ros.synthetic.traps import TRAPS, Trap

__all__ = ["HORIZONTAL_FOV_DEG", "TRAPS", "Frames", "Motion", "Sequence", "Trap", "Variety", "render_clips"]
