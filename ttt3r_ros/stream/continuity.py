"""Whether one stamp follows on another, or time has jumped between the two."""

from __future__ import annotations


def why_broken(last_stamp_ns: int, stamp_ns: int, max_gap: float) -> str | None:
    """Return why a stream does not go on from one stamp to the next, in one clause; None where it does.

    Args:
        last_stamp_ns: of the frame before [ns].
        stamp_ns: of this frame [ns].
        max_gap: the longest gap that breaks nothing [s].
    """
    seconds = (stamp_ns - last_stamp_ns) / 1e9  # times 1e-9, 15 s would be more than 15
    if seconds < 0:
        return f"time jumped back by {-seconds:.3f} s"
    if seconds > max_gap:
        return f"no image for {seconds:.3f} s"
    return None
