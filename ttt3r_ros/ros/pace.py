"""Judges whether images arrive, and are processed, fast enough for the weights."""

from __future__ import annotations

from ttt3r_ros.ros.statistics import StampRate

ENOUGH = 0.9  #: share of what is needed that is enough, since stamps jitter and cameras are a little slow
HOLD_NS = 5 * 10**9  #: a judgement gives way when the rates have said something else for so long, by stamps [ns]


class Pace:
    """One judgement for log and diagnostics; what it says changes only when the rates have changed for good.

    Attributes:
        why_slow: why the weights cannot follow the camera, in a sentence with advice; None if they can.
    """

    def __init__(self, arriving: StampRate) -> None:
        """Begin with a good judgement; ``arriving`` is the rate of the camera's images."""
        self._arriving, self._processed = arriving, StampRate()
        self._cause: str | None = None
        self._doubted_ns = 0  # for so long, the rates have said something else
        self.why_slow: str | None = None

    def processed(self, stamp_ns: int, needed_hz: float, *, follows_break: bool = False) -> None:
        """Judge after an image with this stamp [ns] has been taken to be processed.

        Args:
            stamp_ns: of the image.
            needed_hz: rate of images below which the weights cannot track.
            follows_break: the time since the image before says nothing about the rate.
        """
        interval_ns = self._processed.add(stamp_ns, follows_break=follows_break)
        cause, why = self._now(needed_hz)
        self._doubted_ns = 0 if cause == self._cause else self._doubted_ns + interval_ns
        if cause == self._cause or self._cause is None or self._doubted_ns >= HOLD_NS:
            self._cause, self.why_slow, self._doubted_ns = cause, why, 0

    def _now(self, needed_hz: float) -> tuple[str | None, str | None]:
        """Return which side is slow by the present rates, and the sentence about it."""
        processed, arriving, steady = self._processed.hz(), self._arriving.hz(), self._arriving.hz(without_longest=True)
        if processed is None or arriving is None or steady is None:
            return self._cause, self.why_slow
        need = f"but these weights need at least {needed_hz:.3g} to follow the camera: its pose is unreliable"
        if steady < ENOUGH * needed_hz:
            advice = "raise the camera's rate, or move more slowly"
            return "camera", f"only {steady:.3g} images per second arrive, {need}; {advice}"
        if processed < ENOUGH * min(needed_hz, arriving):
            return "computer", (
                f"only {processed:.3g} of {arriving:.3g} images per second are processed, {need}; this computer is too "
                "slow or busy: end other programs, use smaller weights or a faster computer, or move more slowly"
            )
        return None, None
