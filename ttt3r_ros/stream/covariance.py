"""The covariance of the odometry: a small dead-reckoning model driven by confidence and motion.

The errors of a frame's motion are modeled as isotropic. With |Δp| the distance [m] and |Δθ| the angle [rad] from the
previous frame, and c the frame's median confidence, their standard deviations are

    σ_p = (metres  + metres_per_metre·|Δp|  + metres_per_radian·|Δθ|)  · f(c)
    σ_θ = (radians + radians_per_metre·|Δp| + radians_per_radian·|Δθ|) · f(c)
    f(c) = (c − 1 + FLOOR)^−confidence_power

A pose is the sum of such motions, but their errors are not independent. The next motion compensates an overestimate in
one frame: only the shares `lasting_translation` of σ_p and `lasting_rotation` of σ_θ accumulate along the path; the
rest affects only the frame's own pose. And a network that underestimates one motion tends to underestimate the next:
the accumulating errors of two motions a time t apart have the correlation exp(−t / memory), with `translation_memory`
and `rotation_memory`. So a pose's standard deviation grows with the path at first, later with its square root.

Position, orientation and the relative error of the scale (constant unless something measures the scale,
`with_scale`) are propagated together: a wrong
heading shifts every later position sideways, a wrong scale shifts it along the path. The diagonal is published. While
the motion is unknown, both standard deviations grow with time. A velocity is a frame's motion divided by its duration,
and its variances are that motion's, scaled accordingly.

What the images say of a motion that its pose does not explain (`flow.unexplained`) is a witness of its error, sign and
all: an error of that vector times a factor of zero mean, the same factor for the whole session, is propagated like that
of the scale. So a network that takes reversing for rest is seen to be wrong by as much as it is, and the longer the
wronger. `unexplained_translation` and `unexplained_rotation` are the factors' standard deviations. Where points
cannot be followed, as in a motion that is too large, there is no witness, and the standard deviations are larger by
`unwitnessed_metres_per_second` and `unwitnessed_radians_per_second`. Δp and Δθ above are those that the images tell of.

`CovarianceModel` holds the constants, which ``python -m benchmark.covariance`` fits to measured errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ttt3r_ros.geometry import FloatArray

Number = TypeVar("Number", float, FloatArray)

FLOOR = 0.05
#: Bounds of published variances: RTAB-Map reads 9999 and more as "lost".
SMALLEST, LARGEST = 1e-9, 9000.0
#: Variance of what is zero by definition on a level floor (that of robot_localization's two_d_mode) [m², rad²].
FLAT = 1e-6
#: An unknown motion counts as at most this long [s].
MAX_LOST_S = 60.0

_POSITION, _ORIENTATION, _SCALE, _TRANSLATION, _ROTATION = slice(0, 3), slice(3, 6), 6, 7, 8
#: Position, orientation, scale, and the two factors of what is unexplained.
SIZE = 9


@dataclass(frozen=True)
class CovarianceModel:
    """The constants; see the module docstring. `scale` is the standard deviation of the scale's relative error."""

    metres: float = 0.000138
    metres_per_metre: float = 0.0814
    metres_per_radian: float = 0.0566
    radians: float = 7.83e-05
    radians_per_metre: float = 0.0263
    radians_per_radian: float = 0.00703
    lasting_translation: float = 0.511
    lasting_rotation: float = 1.44
    translation_memory: float = 0.738
    rotation_memory: float = 0.0803
    scale: float = 0.176
    confidence_power: float = 0.25
    unexplained_translation: float = 0.664
    unexplained_rotation: float = 0.407
    unwitnessed_metres_per_second: float = 0.18
    unwitnessed_radians_per_second: float = 0.286
    standing_metres_per_second: float = 0.005
    standing_radians_per_second: float = 0.005
    lost_metres_per_second: float = 0.5
    lost_radians_per_second: float = 0.5

    def step_sigmas(
        self, meters: Number, radians: Number, confidence: float | None, unwitnessed: Number | float = 0.0
    ) -> tuple[Number, Number]:
        """Return the standard deviations [m, rad] of a motion's translation and rotation.

        Args:
            meters: length of its translation [m], as the images tell of it where they do.
            radians: angle of its rotation [rad], likewise.
            confidence: the frame's median, >= 1; anything else counts as 1, the lowest confidence.
            unwitnessed: its duration [s] if no points could be followed in the images, else 0.
        """
        factor, blind_m, blind_rad = (
            self.factor(confidence),
            self.unwitnessed_metres_per_second,
            self.unwitnessed_radians_per_second,
        )
        return (
            factor * (self.metres + self.metres_per_metre * meters + self.metres_per_radian * radians)
            + blind_m * unwitnessed,
            factor * (self.radians + self.radians_per_metre * meters + self.radians_per_radian * radians)
            + blind_rad * unwitnessed,
        )

    def factor(self, confidence: float | None) -> float:
        """Return f(c)."""
        c = confidence if confidence is not None and confidence >= 1.0 else 1.0  # NaN compares false
        return float((c - 1.0 + FLOOR) ** -self.confidence_power)

    def lasting(self, sigmas: tuple[float, float]) -> tuple[float, float]:
        """Return the part of a motion's standard deviations [m, rad] that accumulates along the path."""
        return self.lasting_translation * sigmas[0], self.lasting_rotation * sigmas[1]

    def added(
        self, sigmas: tuple[float, float], tails: tuple[float, float], seconds: float
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return how much uncertainty a motion adds to the pose, given the motions before it.

        For errors with standard deviations s₁, s₂, … and the correlation ρ between neighbors, the n-th adds
        ``sₙ² + 2·sₙ·(ρ·sₙ₋₁ + ρ²·sₙ₋₂ + …)`` to the variance of the sum.

        Args:
            sigmas: this motion's `lasting` standard deviations [m, rad].
            tails: the sum in parentheses divided by ρ; 0 before the first motion.
            seconds: duration of the motion.

        Returns:
            The standard deviations [m, rad] for `after_motion`, and the tails for the next motion.
        """
        memories = (self.translation_memory, self.rotation_memory)
        before = [tail * math.exp(-seconds / memory) for tail, memory in zip(tails, memories)]
        added = [math.sqrt(sigma**2 + 2 * sigma * tail) for sigma, tail in zip(sigmas, before)]
        after = [sigma + tail for sigma, tail in zip(sigmas, before)]
        return (added[0], added[1]), (after[0], after[1])

    def passing(self, sigmas: tuple[float, float]) -> tuple[float, float]:
        """Return the part of a motion's standard deviations [m, rad] that affects only the pose at its end."""
        shares = (max(0.0, 1.0 - lasting**2) ** 0.5 for lasting in (self.lasting_translation, self.lasting_rotation))
        translation, rotation = (share * sigma for share, sigma in zip(shares, sigmas))
        return translation, rotation


@dataclass(frozen=True)
class Covariances:
    """Variances in ROS order (x, y, z, roll, pitch, yaw), (6,) each: pose [m², rad²], twist [m²/s², rad²/s²]."""

    pose: FloatArray
    twist: FloatArray


#: What is unexplained where the images agree with the pose.
NOTHING: FloatArray = np.zeros(6)


def at_origin(model: CovarianceModel) -> FloatArray:
    """Return the initial (9, 9) covariance of position, orientation (both in odom's axes) and three factors."""
    P = np.zeros((SIZE, SIZE))
    P[_SCALE, _SCALE] = model.scale**2
    P[_TRANSLATION, _TRANSLATION] = model.unexplained_translation**2
    P[_ROTATION, _ROTATION] = model.unexplained_rotation**2
    return P


def at_pose(covariance: FloatArray, P: FloatArray | None, model: CovarianceModel) -> FloatArray:
    """Return the (9, 9) covariance at a pose of known (6, 6) covariance; what P says of the factors stays."""
    known = np.diag(np.diag(at_origin(model) if P is None else P))
    known[:_SCALE, :_SCALE] = covariance
    return known


def with_scale(P: FloatArray, sigma: float) -> FloatArray:
    """Return the covariance where the scale's error has another standard deviation from here on.

    Where it has become smaller, something has measured the scale, and what is left of its error has that much less to
    do with the position reached so far; where it has become larger, something unknown has been added.
    """
    before, variance = float(P[_SCALE, _SCALE]), sigma**2
    kept = min(variance / before, 1.0) if before > 0.0 else 1.0
    P = P.copy()
    P[_SCALE, :_SCALE] *= kept
    P[:_SCALE, _SCALE] *= kept
    P[_SCALE, _SCALE] = variance
    return P


def after_motion(
    P: FloatArray, translation: FloatArray, sigmas: tuple[float, float], unexplained: FloatArray = NOTHING
) -> FloatArray:
    """Return the covariance after a motion.

    Args:
        P: (9, 9) before it.
        translation: (3,) in odom's axes [m].
        sigmas: see `CovarianceModel.added`.
        unexplained: (6,) translation [m] and rotation [rad] in odom's axes that the images tell of beside it.
    """
    moved = translation + unexplained[:3]
    x, y, z = moved
    F = np.eye(SIZE)
    F[_POSITION, _ORIENTATION] = [[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]]  # −[Δp]×: δθ × Δp
    F[_POSITION, _SCALE] = moved
    F[_POSITION, _TRANSLATION] = unexplained[:3]
    F[_ORIENTATION, _ROTATION] = unexplained[3:]
    noise = np.repeat([sigmas[0] ** 2, sigmas[1] ** 2, 0.0], 3)
    return np.asarray(F @ P @ F.T + np.diag(noise))


def after_loss(P: FloatArray, seconds: float, model: CovarianceModel) -> FloatArray:
    """Return the covariance after so many seconds of unknown motion."""
    seconds = min(abs(seconds), MAX_LOST_S)
    sigmas = np.repeat([model.lost_metres_per_second, model.lost_radians_per_second, 0.0], 3) * seconds
    return P + np.diag(sigmas**2)


def pose_variances(P: FloatArray, passing: tuple[float, float] = (0.0, 0.0)) -> FloatArray:
    """Return the published variances (6,) of a pose: the accumulated ones plus `CovarianceModel.passing`."""
    return _well_formed(np.diag(P)[:6] + np.repeat(np.square(passing), 3))


def twist_variances(
    linear: FloatArray,
    sigmas: tuple[float, float],
    seconds: float | None,
    model: CovarianceModel,
    unexplained: FloatArray = NOTHING,
) -> FloatArray:
    """Return the variances (6,) of a velocity, the largest possible if it is unknown.

    Args:
        linear: (3,) velocity [m/s].
        sigmas: `CovarianceModel.step_sigmas` of its motion.
        seconds: duration of the motion; None or not positive if the velocity is unknown.
        model: the constants.
        unexplained: (6,) see `after_motion`, in the base frame.
    """
    if seconds is None or not seconds > 0:
        return _well_formed(np.full(6, LARGEST))
    seconds = float(np.clip(seconds, 1e-6, 1e6))
    variances = np.repeat(np.square(sigmas), 3) / seconds**2
    variances[:3] += np.square(model.scale * (linear + unexplained[:3] / seconds))
    factors = np.repeat([model.unexplained_translation, model.unexplained_rotation], 3)
    variances += np.square(factors * unexplained / seconds)
    return _well_formed(variances)


def standing_variances(model: CovarianceModel) -> FloatArray:
    """Return the variances (6,) of the velocity of a camera that stands still: slower motion is not seen as such."""
    sigmas = np.repeat([model.standing_metres_per_second, model.standing_radians_per_second], 3)
    return _well_formed(np.square(sigmas))


def flat_variances(variances: FloatArray) -> FloatArray:
    """Return variances (6,) with those of z, roll and pitch replaced by `FLAT`."""
    flat = variances.copy()
    flat[2:5] = FLAT
    return flat


def _well_formed(variances: FloatArray) -> FloatArray:
    """Keep variances positive, finite, below "lost", and off exactly 1.0, which RTAB-Map reads as "not set"."""
    bounded = np.fmax(np.fmin(variances, LARGEST), SMALLEST)  # NaN becomes LARGEST
    return np.where(bounded == 1.0, 1.0 + 1e-6, bounded)
