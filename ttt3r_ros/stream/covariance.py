"""The covariance of the odometry: dead reckoning, by what the fit of points to pixels says of itself.

**Where pixels tell the motion** (`tracks`), it is told since a keyframe, and the least squares that find it have a
covariance C (6, 6): small where many points that are spread well agree, large where few do, or in a direction that they
leave open (`Certainty`). It knows of a point's own errors, not of those that points have in common, so that it is right
but for a factor, one for translation and one for rotation: with f(c) of the frame's median confidence c,

    covariance of the pose since the keyframe = since_keyframe² · f(c)² · C
    covariance of the last motion             = (each_frame² + by_second² · Δt²) · f(c)² · C
    f(c) = (c − 1 + FLOOR)^−confidence_power

Two frames shortly after one another share most of their error since the keyframe, and the longer they are apart, the
less (Δt counts as at most a second). For the same reason the errors within a keyframe do not add up: what is published
is the covariance accumulated up to the keyframe, and that of the motion since then. Neighboring keyframes see the same
things, so their errors are alike: those of two that are n keyframes apart have the correlation exp(−n / memory).

**Where they do not**, a motion is the network's, with independent errors, alike in all directions. With the distance
|Δp| [m] and the angle |Δθ| [rad] that the images tell of,

    σ_p² = (metres²  + metres_per_metre²·|Δp|²  + metres_per_radian²·|Δθ|²)  · f(c)²
    σ_θ² = (radians² + radians_per_metre²·|Δp|² + radians_per_radian²·|Δθ|²) · f(c)²

What the images say of a motion that its pose does not explain (`flow.unexplained`) is a witness of its error, sign and
all: an error of that vector times a factor of zero mean, the same factor for the whole session. Where points
cannot be followed, as in a motion that is too large, there is no witness, and the standard deviations are larger by
`unwitnessed_metres_per_second` and `unwitnessed_radians_per_second`.

Position, orientation, the relative error of the scale (constant unless something measures the scale, `with_scale`) and
these factors are propagated together: a wrong heading shifts every later position sideways, a wrong scale shifts it
along the path. The diagonal is published. While the motion is unknown, both standard deviations grow with time.

Every variance is a sum of squares of constants times something that the walk determines, but for `memory` and
`confidence_power`. `CovarianceModel` holds the constants, which ``python -m benchmark.covariance`` fits to measured
errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ttt3r_ros.geometry import FloatArray

FLOOR = 0.05
#: Bounds of published variances: RTAB-Map reads 9999 and more as "lost".
SMALLEST, LARGEST = 1e-9, 9000.0
#: Variance of what is zero by definition on a level floor (that of robot_localization's two_d_mode) [m², rad²].
FLAT = 1e-6
#: From so far apart on, two frames share nothing of their error [s].
MAX_APART_S = 1.0
#: An unknown motion counts as at most this long [s].
MAX_LOST_S = 60.0

_POSITION, _ORIENTATION, _SCALE, _TRANSLATION, _ROTATION = slice(0, 3), slice(3, 6), 6, 7, 8
#: Position, orientation, scale, and the two factors of what is unexplained.
SIZE = 9


@dataclass(frozen=True)
class Certainty:
    """What a fit to pixels says of a camera's, or a robot's, motion since the keyframe.

    Attributes:
        covariance: (6, 6) of position [m] and rotation vector [rad], in its own axes; see above.
        is_new: whether it is the first since this keyframe.
    """

    covariance: FloatArray
    is_new: bool


@dataclass(frozen=True)
class CovarianceModel:
    """The constants; see the module docstring. `scale` is the standard deviation of the scale's relative error."""

    since_keyframe_translation: float = 1.44
    since_keyframe_rotation: float = 1.5
    each_frame_translation: float = 0.677
    each_frame_rotation: float = 0.595
    by_second_translation: float = 3.94
    by_second_rotation: float = 5.55
    scale: float = 0.13
    metres: float = 0.00101
    metres_per_metre: float = 0.363
    metres_per_radian: float = 1.18
    radians: float = 0.000965
    radians_per_metre: float = 0.00736
    radians_per_radian: float = 0.15
    unexplained_translation: float = 1.76
    unexplained_rotation: float = 2.57
    unwitnessed_metres_per_second: float = 0.143
    unwitnessed_radians_per_second: float = 0.263
    memory: float = 2.8
    confidence_power: float = 0.25
    standing_metres_per_second: float = 0.005
    standing_radians_per_second: float = 0.005
    lost_metres_per_second: float = 0.5
    lost_radians_per_second: float = 0.5

    def step_sigmas(
        self, meters: float, radians: float, confidence: float | None, unwitnessed: float = 0.0
    ) -> tuple[float, float]:
        """Return the standard deviations [m, rad] of a motion that pixels do not tell.

        Args:
            meters: length of its translation [m], as the images tell of it where they do.
            radians: angle of its rotation [rad], likewise.
            confidence: the frame's median, >= 1; anything else counts as 1, the lowest confidence.
            unwitnessed: its duration [s] if no points could be followed in the images, else 0.
        """
        factor = self.factor(confidence)
        return (
            math.hypot(
                factor * self.metres,
                factor * self.metres_per_metre * meters,
                factor * self.metres_per_radian * radians,
                self.unwitnessed_metres_per_second * unwitnessed,
            ),
            math.hypot(
                factor * self.radians,
                factor * self.radians_per_metre * meters,
                factor * self.radians_per_radian * radians,
                self.unwitnessed_radians_per_second * unwitnessed,
            ),
        )

    def factor(self, confidence: float | None) -> float:
        """Return f(c)."""
        c = confidence if confidence is not None and confidence >= 1.0 else 1.0  # NaN compares false
        return float((c - 1.0 + FLOOR) ** -self.confidence_power)

    def since_keyframe(self, certainty: Certainty, confidence: float | None) -> FloatArray:
        """Return the covariance (6, 6) of the pose since the keyframe, but for what it owes to keyframes before."""
        return self._scaled(certainty, confidence, self.since_keyframe_translation, self.since_keyframe_rotation)

    def of_motion(self, certainty: Certainty, confidence: float | None, seconds: float) -> FloatArray:
        """Return the covariance (6, 6) of the motion from the last frame, so many seconds ago."""
        seconds = min(max(seconds, 0.0), MAX_APART_S)
        translation = math.hypot(self.each_frame_translation, self.by_second_translation * seconds)
        rotation = math.hypot(self.each_frame_rotation, self.by_second_rotation * seconds)
        return self._scaled(certainty, confidence, translation, rotation)

    def _scaled(
        self, certainty: Certainty, confidence: float | None, translation: float, rotation: float
    ) -> FloatArray:
        """Return the blocks of position and of rotation times a factor each; they count as independent."""
        C, factor = np.zeros((6, 6)), self.factor(confidence) ** 2
        C[_POSITION, _POSITION] = factor * translation**2 * certainty.covariance[_POSITION, _POSITION]
        C[_ORIENTATION, _ORIENTATION] = factor * rotation**2 * certainty.covariance[_ORIENTATION, _ORIENTATION]
        return C

    def correlation(self) -> float:
        """Return the correlation of the errors of neighboring keyframes."""
        return math.exp(-1.0 / self.memory) if self.memory > 0.0 else 0.0


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


def with_keyframe(P: FloatArray, since: FloatArray) -> FloatArray:
    """Return the covariance where the motion since the keyframe, of covariance (6, 6) in odom's axes, is over."""
    P = P.copy()
    P[:_SCALE, :_SCALE] += since
    return P


def spread(covariance: FloatArray) -> tuple[float, float]:
    """Return the standard deviations [m, rad] of a (6, 6) covariance as if it were alike in all directions."""
    diagonal = np.diag(covariance)
    return math.sqrt(diagonal[_POSITION].sum() / 3), math.sqrt(diagonal[_ORIENTATION].sum() / 3)


def pose_variances(P: FloatArray, since: FloatArray | None = None) -> FloatArray:
    """Return the published variances (6,) of a pose: the accumulated ones, and those since the keyframe (6, 6)."""
    variances = np.diag(P)[:6]
    return _well_formed(variances if since is None else variances + np.diag(since))


def twist_variances(
    linear: FloatArray,
    motion: FloatArray,
    seconds: float | None,
    model: CovarianceModel,
    unexplained: FloatArray = NOTHING,
) -> FloatArray:
    """Return the variances (6,) of a velocity, the largest possible if it is unknown.

    Args:
        linear: (3,) velocity [m/s].
        motion: (6,) variances of the motion.
        seconds: duration of the motion; None or not positive if the velocity is unknown.
        model: the constants.
        unexplained: (6,) see `after_motion`, in the base frame.
    """
    if seconds is None or not seconds > 0:
        return _well_formed(np.full(6, LARGEST))
    seconds = float(np.clip(seconds, 1e-6, 1e6))
    variances = motion / seconds**2
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
