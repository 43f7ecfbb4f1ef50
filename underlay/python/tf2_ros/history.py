"""The transforms from one frame to its parent over time."""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter
from typing import NamedTuple

from tf2_ros.exceptions import ExtrapolationException
from tf2_ros.rigid import Rigid, interpolate

LATEST = 0  # the stamp that requests the newest transform

_stamp_of = attrgetter("stamp")


class Sample(NamedTuple):
    """``T_parent_child`` at ``stamp`` nanoseconds."""

    stamp: int
    parent: str
    transform: Rigid


class StaticHistory:
    """One transform, valid at all times."""

    def __init__(self) -> None:
        self._sample: Sample | None = None

    def insert(self, sample: Sample) -> bool:
        self._sample = sample
        return True

    def at(self, stamp: int) -> Sample | None:
        return self._sample

    def latest_stamp(self) -> int | None:
        return None

    def clear(self) -> None:
        """Does nothing: static transforms do not expire."""


class MovingHistory:
    """Samples of the last ``duration`` nanoseconds, oldest first."""

    def __init__(self, duration: int) -> None:
        self._duration = duration
        self._samples: list[Sample] = []

    def insert(self, sample: Sample) -> bool:
        """Inserts a sample by its stamp; rejects (False) one that is older than ``duration``."""
        samples = self._samples
        if samples and sample.stamp < samples[-1].stamp - self._duration:
            return False
        index = bisect_left(samples, sample.stamp, key=_stamp_of)
        same_stamp = index < len(samples) and samples[index].stamp == sample.stamp
        samples[index : index + same_stamp] = [sample]
        del samples[: bisect_left(samples, samples[-1].stamp - self._duration, key=_stamp_of)]
        return True

    def at(self, stamp: int) -> Sample | None:
        """Returns the transform at ``stamp``, interpolated between samples; None if there are no samples.

        Raises:
            ExtrapolationException: ``stamp`` lies outside the samples.
        """
        samples = self._samples
        if not samples:
            return None
        if stamp == LATEST:
            return samples[-1]
        index = bisect_left(samples, stamp, key=_stamp_of)
        if index < len(samples) and samples[index].stamp == stamp:
            return samples[index]
        if len(samples) == 1:
            raise ExtrapolationException(
                f"Lookup would require extrapolation at time {_seconds(stamp)}, "
                f"but only time {_seconds(samples[0].stamp)} is in the buffer"
            )
        if index == len(samples):
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the future.  Requested time {_seconds(stamp)} "
                f"but the latest data is at time {_seconds(samples[-1].stamp)}"
            )
        if index == 0:
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the past.  Requested time {_seconds(stamp)} "
                f"but the earliest data is at time {_seconds(samples[0].stamp)}"
            )
        before, after = samples[index - 1], samples[index]
        if before.parent != after.parent:  # the frame was moved to another parent in between
            return before
        ratio = (stamp - before.stamp) / (after.stamp - before.stamp)
        return Sample(stamp, before.parent, interpolate(before.transform, after.transform, ratio))

    def latest_stamp(self) -> int | None:
        return self._samples[-1].stamp if self._samples else None

    def clear(self) -> None:
        self._samples.clear()


def _seconds(stamp: int) -> str:
    return f"{stamp / 1e9:.6f}"
