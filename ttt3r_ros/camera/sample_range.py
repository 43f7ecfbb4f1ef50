"""Finds out how many of 16 bits a camera uses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Bits per sample of common cameras and image files.
_DEPTHS = (8, 10, 12, 14, 16)
#: At most this share of an image's samples is brighter than the range that it needs: hot pixels, sparks, a lamp.
MAX_OUTLIERS = 0.005
#: Marks pixels without data; as the brightest sample of all it is white in any range.
_NO_DATA = 65535
#: The range grows when two of so many images in a row need more, so that no single damaged image can change it.
_RECENT = 3


@dataclass(frozen=True)
class SampleRange:
    """The range of the samples in a camera's 16-bit images so far; it only grows.

    Sensors with 10 or 12 bits use the low bits of 16, and an image does not say how many, so the samples must tell. The
    range carries over from frame to frame, so that a dark frame is not brightened. Brighter samples become white.

    Attributes:
        known_bits: 8, 10, 12, 14 or 16, confirmed by more than one image.
        recent: bits that each of the last `_RECENT` images needs.
    """

    known_bits: int = _DEPTHS[0]
    recent: tuple[int, ...] = ()

    @property
    def bits(self) -> int:
        """Number of bits in use: until there are enough images to confirm it, the largest that one of them needs."""
        return self.known_bits if len(self.recent) == _RECENT else max(self.known_bits, *self.recent, 0)

    def widened(self, samples: npt.NDArray[np.uint16]) -> SampleRange:
        """Return the range after another image with these samples."""
        recent = (*self.recent, _needed_bits(samples))[-_RECENT:]
        known = max(self.known_bits, sorted(recent)[-2]) if len(recent) == _RECENT else self.known_bits
        return SampleRange(known, recent)

    def to_8_bits(self, samples: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
        """Scale samples within the range to 8 bits; the result is contiguous."""
        return np.ascontiguousarray(np.minimum(samples >> (self.bits - 8), 255).astype(np.uint8))


def _needed_bits(samples: npt.NDArray[np.uint16]) -> int:
    """Return the smallest number of bits that all but a few samples of an image fit in."""
    allowed, brightest = MAX_OUTLIERS * samples.size, int(samples.max(initial=0))
    for bits in _DEPTHS[-2::-1]:
        beyond = np.count_nonzero(samples >> bits) if brightest >> bits else 0
        if beyond > allowed and beyond - np.count_nonzero(samples == _NO_DATA) > allowed:
            return next(more for more in _DEPTHS if more > bits)
    return _DEPTHS[0]
