"""Finds out how many of 16 bits a camera uses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Bits per sample of common cameras and image files.
_DEPTHS = (8, 10, 12, 14, 16)


@dataclass(frozen=True)
class SampleRange:
    """The range of the samples in a camera's 16-bit images so far; it only grows.

    Sensors with 10 or 12 bits use the low bits of 16, and an image does not say how many, so the samples must tell. The
    range carries over from frame to frame, so that a dark frame is not brightened.

    Attributes:
        bits: 8, 10, 12, 14 or 16.
    """

    bits: int = _DEPTHS[0]

    def widened(self, samples: npt.NDArray[np.uint16]) -> SampleRange:
        """Return the range extended to include these samples."""
        brightest = int(samples.max(initial=0))
        bits = next(bits for bits in _DEPTHS if brightest < 1 << bits)
        return SampleRange(bits) if bits > self.bits else self

    def to_8_bits(self, samples: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
        """Scale samples within the range to 8 bits; the result is contiguous."""
        return np.ascontiguousarray((samples >> (self.bits - 8)).astype(np.uint8))
