"""Which part of its 16 bits a camera uses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Bits per sample that cameras and image files have.
_DEPTHS = (8, 10, 12, 14, 16)


@dataclass(frozen=True)
class SampleRange:
    """The range that the samples of a camera's 16-bit images have taken so far; it only grows.

    Sensors of 10 or 12 bits fill the low bits of 16, and nothing in an image says how many: the samples themselves
    must. The range is held from frame to frame, so that a dark frame is not brightened.

    Attributes:
        bits: 8, 10, 12, 14 or 16.
    """

    bits: int = _DEPTHS[0]

    def widened(self, samples: npt.NDArray[np.uint16]) -> SampleRange:
        """Return the range that holds these samples, too."""
        brightest = int(samples.max(initial=0))
        bits = next(bits for bits in _DEPTHS if brightest < 1 << bits)
        return SampleRange(bits) if bits > self.bits else self

    def to_8_bits(self, samples: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
        """Return samples within the range in eight bits, contiguous."""
        return np.ascontiguousarray((samples >> (self.bits - 8)).astype(np.uint8))
