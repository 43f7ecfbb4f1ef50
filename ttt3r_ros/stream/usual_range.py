"""Detects when a value leaves the range that is usual in the current segment."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

#: The last WINDOW values define what is usual, once there are ENOUGH.
WINDOW, ENOUGH = 50, 20
#: A value is outside if it is this many robust standard deviations from the median...
DEVIATIONS = 6.0
#: ...and at least this fraction of the median; it is well inside at half that distance.
SHARE = 0.25
#: Standard deviation of a normal distribution over its median absolute deviation.
ROBUST = 1.4826


@dataclass(frozen=True)
class UsualRange:
    """The last values inside the range, and the number of values outside since the last one well inside."""

    values: tuple[float, ...] = ()
    outside: int = 0

    def with_value(self, value: float) -> UsualRange:
        """Return the range after another value. Values outside do not shift it."""
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
