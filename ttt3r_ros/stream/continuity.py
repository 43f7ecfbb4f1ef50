"""Whether time has jumped between two frames."""

from __future__ import annotations


def why_broken(last_stamp_ns: int, stamp_ns: int, max_gap: float) -> str | None:
    """Return why the stream breaks between two stamps, in one clause, or None if it does not.

    Args:
        last_stamp_ns: stamp of the frame before [ns].
        stamp_ns: stamp of this frame [ns].
        max_gap: longest gap that does not break the stream [s].
    """
    seconds = (stamp_ns - last_stamp_ns) / 1e9  # exact for whole seconds, unlike a product with 1e-9
    if seconds < 0:
        return f"time jumped back by {-seconds:.3f} s"
    if seconds > max_gap:
        return f"no image for {seconds:.3f} s"
    return None
