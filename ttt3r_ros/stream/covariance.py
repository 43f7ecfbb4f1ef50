"""How sure the odometry is of itself: a small model of dead reckoning, from confidence and motion.

The errors of a frame's motion are taken as isotropic. Their standard deviations are, with |Δp| the metres and |Δθ| the
radians from the frame before and c the frame's median confidence,

    σ_p = (metres  + metres_per_metre·|Δp|  + metres_per_radian·|Δθ|)  · f(c)
    σ_θ = (radians + radians_per_metre·|Δp| + radians_per_radian·|Δθ|) · f(c)
    f(c) = (c − 1 + FLOOR)^−confidence_power

A pose is the sum of such motions, but their errors are not independent. What one frame is seen too far ahead, the next
motion takes back: only `lasting_translation` times σ_p and `lasting_rotation` times σ_θ are added up along the path;
the rest passes, but is in the pose while it lasts. And a network that sees one motion too short does so again: lasting
errors of motions a time t apart correlate by exp(−t / memory), with `translation_memory` and `rotation_memory`, so that
a pose's standard deviation grows with the path at first, and with its root in the long run.

Position, orientation and one more unknown, the error of the scale, which stays the same through a session, are
propagated as a whole: a wrong heading moves every later position sideways, a wrong scale moves it along. What is
published is the diagonal. While nothing is known of the motion, both standard deviations grow with the seconds. A
velocity is one frame's motion over its time, so that its variances are that motion's.

`CovarianceModel` holds the constants, fitted by ``python -m benchmark.covariance`` to measured error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ttt3r_ros.geometry import FloatArray

FLOOR = 0.05
#: Variances stay inside these bounds: RTAB-Map reads 9999 and more as "lost".
SMALLEST, LARGEST = 1e-9, 9000.0
#: No more is added for a longer time without a known motion: beyond it nothing is known at all [s].
LONGEST_LOST = 60.0

_POSITION, _ORIENTATION, _SCALE = slice(0, 3), slice(3, 6), 6


@dataclass(frozen=True)
class CovarianceModel:
    """The constants; see the module. `scale` is the standard deviation of the scale's relative error."""

    metres: float = 0.00964
    metres_per_metre: float = 1e-5
    metres_per_radian: float = 0.0008
    radians: float = 0.00257
    radians_per_metre: float = 0.0217
    radians_per_radian: float = 0.113
    lasting_translation: float = 0.426
    lasting_rotation: float = 0.689
    translation_memory: float = 0.983
    rotation_memory: float = 0.321
    scale: float = 0.343
    confidence_power: float = 0.25
    lost_metres_per_second: float = 0.5
    lost_radians_per_second: float = 0.5

    def step_sigmas(self, metres: float, radians: float, confidence: float | None) -> tuple[float, float]:
        """Return the standard deviations [m, rad] of a motion's translation and rotation.

        Args:
            metres: length of its translation.
            radians: angle of its rotation.
            confidence: median of the frame, >= 1; anything else counts as 1, no confidence.
        """
        c = confidence if confidence is not None and confidence >= 1.0 else 1.0  # NaN compares false
        factor = (c - 1.0 + FLOOR) ** -self.confidence_power
        return (
            factor * (self.metres + self.metres_per_metre * metres + self.metres_per_radian * radians),
            factor * (self.radians + self.radians_per_metre * metres + self.radians_per_radian * radians),
        )

    def lasting(self, sigmas: tuple[float, float]) -> tuple[float, float]:
        """Return what of a motion's standard deviations [m, rad] adds up along the path."""
        return self.lasting_translation * sigmas[0], self.lasting_rotation * sigmas[1]

    def added(
        self, sigmas: tuple[float, float], tails: tuple[float, float], seconds: float
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return by how much a motion makes a pose uncertain, given the motions before it.

        Of errors with standard deviations s₁, s₂, … that correlate by ρ from each to the next, the n-th adds
        ``sₙ² + 2·sₙ·(ρ·sₙ₋₁ + ρ²·sₙ₋₂ + …)`` to the variance of the sum.

        Args:
            sigmas: what lasts of this motion's [m, rad], `lasting`.
            tails: the sum in brackets, but for its first ρ; 0 where no motion goes before.
            seconds: that the motion took.

        Returns:
            The standard deviations [m, rad] to be given to `after_motion`, and the tails for the next motion.
        """
        memories = (self.translation_memory, self.rotation_memory)
        before = [tail * math.exp(-seconds / memory) for tail, memory in zip(tails, memories)]
        added = [math.sqrt(sigma**2 + 2 * sigma * tail) for sigma, tail in zip(sigmas, before)]
        after = [sigma + tail for sigma, tail in zip(sigmas, before)]
        return (added[0], added[1]), (after[0], after[1])

    def passing(self, sigmas: tuple[float, float]) -> tuple[float, float]:
        """Return what of a motion's standard deviations [m, rad] is only in the pose that it led to."""
        shares = (max(0.0, 1.0 - lasting**2) ** 0.5 for lasting in (self.lasting_translation, self.lasting_rotation))
        translation, rotation = (share * sigma for share, sigma in zip(shares, sigmas))
        return translation, rotation


@dataclass(frozen=True)
class Covariances:
    """Variances in ROS order (x, y, z, roll, pitch, yaw), (6,) each; pose in m² and rad², twist in the same per s²."""

    pose: FloatArray
    twist: FloatArray


def at_origin(model: CovarianceModel) -> FloatArray:
    """Return the (7, 7) covariance of position, orientation (both about odom's axes) and scale where odom begins."""
    P = np.zeros((7, 7))
    P[_SCALE, _SCALE] = model.scale**2
    return P


def after_motion(P: FloatArray, translation: FloatArray, sigmas: tuple[float, float]) -> FloatArray:
    """Return the covariance after a motion: (3,) translation in odom's axes, and `CovarianceModel.added`."""
    x, y, z = translation
    F = np.eye(7)
    F[_POSITION, _ORIENTATION] = [[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]]  # −[Δp]×: δθ × Δp
    F[_POSITION, _SCALE] = translation
    noise = np.repeat([sigmas[0] ** 2, sigmas[1] ** 2, 0.0], [3, 3, 1])
    return np.asarray(F @ P @ F.T + np.diag(noise))


def after_loss(P: FloatArray, seconds: float, model: CovarianceModel) -> FloatArray:
    """Return the covariance after so many seconds in which the motion was not known."""
    seconds = min(abs(seconds), LONGEST_LOST)
    sigmas = np.repeat([model.lost_metres_per_second, model.lost_radians_per_second, 0.0], [3, 3, 1]) * seconds
    return P + np.diag(sigmas**2)


def pose_variances(P: FloatArray, passing: tuple[float, float] = (0.0, 0.0)) -> FloatArray:
    """Return what is published of a pose's covariance, (6,): what has lasted, and `CovarianceModel.passing`."""
    return _well_formed(np.diag(P)[:6] + np.repeat(np.square(passing), 3))


def twist_variances(
    linear: FloatArray, sigmas: tuple[float, float], seconds: float | None, model: CovarianceModel
) -> FloatArray:
    """Return the variances (6,) of a velocity; the largest where none is known.

    Args:
        linear: (3,) velocity [m/s].
        sigmas: of the motion it is made of, `CovarianceModel.step_sigmas`.
        seconds: that the motion took; None or not positive where no velocity is known.
        model: the constants.
    """
    if seconds is None or not seconds > 0:
        return _well_formed(np.full(6, LARGEST))
    seconds = float(np.clip(seconds, 1e-6, 1e6))
    variances = np.repeat(np.square(sigmas), 3) / seconds**2
    variances[:3] += np.square(model.scale * linear)
    return _well_formed(variances)


def _well_formed(variances: FloatArray) -> FloatArray:
    """Keep variances positive, finite, below "lost", and off exactly 1.0, which RTAB-Map reads as "none given"."""
    bounded = np.fmax(np.fmin(variances, LARGEST), SMALLEST)  # what is not a number becomes the largest
    return np.where(bounded == 1.0, 1.0 + 1e-6, bounded)
