"""A deterministic world with exact images, depth, intrinsics and poses; see docs/adr/0002-synthetic-world.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ttt3r_ros.synthetic.limits import HORIZONTAL_FOV_DEG, TRAPS, Motion, Trap

if TYPE_CHECKING:
    from ttt3r_ros.synthetic.scene import Variety
    from ttt3r_ros.synthetic.sequence import Frames, Sequence, render_clips

__all__ = ["HORIZONTAL_FOV_DEG", "TRAPS", "Frames", "Motion", "Sequence", "Trap", "Variety", "render_clips"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # lazy, since `limits` is needed before torch, which is slow to import
        from ttt3r_ros.synthetic import scene, sequence

        return next(getattr(module, name) for module in (sequence, scene) if hasattr(module, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
