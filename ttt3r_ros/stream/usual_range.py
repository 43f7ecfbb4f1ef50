"""Whether a figure of a running segment has left the range that is usual there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

#: The last values tell what is usual, once there are enough of them.
WINDOW, ENOUGH = 50, 20
#: Outside are values so many standard deviations (of the robust kind) from the median...
DEVIATIONS = 6.0
#: ...and at least this share of it; a value counts as back at half of either.
SHARE = 0.25
#: A median absolute deviation times this is a standard deviation where errors are normal.
ROBUST = 1.4826


@dataclass(frozen=True)
class UsualRange:
    """The last values within range, and how many have been outside since the last one that was well within."""

    values: tuple[float, ...] = ()
    outside: int = 0

    def with_value(self, value: float) -> UsualRange:
        """Return the range with another value seen. Those outside do not move it."""
        if not np.isfinite(value):
            return replace(self, outside=self.outside + 1)
        if len(self.values) < ENOUGH:
            return replace(self, values=(*self.values, value))
        middle = float(np.median(self.values))
        spread = ROBUST * float(np.median(np.abs(np.subtract(self.values, middle))))
        width = max(DEVIATIONS * spread, SHARE * abs(middle))
        distance = abs(value - middle)
        if distance > width:
            return replace(self, outside=self.outside + 1)
        return UsualRange((*self.values, value)[-WINDOW:], 0 if distance < width / 2 else self.outside)
