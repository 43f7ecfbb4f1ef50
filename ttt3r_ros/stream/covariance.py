"""The covariance of the odometry: dead reckoning, by what the fit of points to pixels says of itself.

**Where pixels tell the motion** (`tracks`), it is told since a keyframe, and its error has two sources. The least
squares that find it have a covariance C (6, 6): small where many points that are spread well agree, large where few do,
or in a direction that they leave open (`Certainty`). It knows of a point's own errors, not of those that points have in
common, so that it is right but for a factor, one for translation and one for rotation. And the network is wrong about
how far away the keyframe's points are, so that the motion d since then is wrong by a share of itself. With f(c) of the
median confidence, c of the frame and k of the keyframe,

    covariance of the pose since the keyframe = since_keyframe² · f(c)² · C + f(k)² · D(d)
    covariance of the last motion             = (each_frame² + by_second² · Δt²) · f(c)² · C + f(k)² · D(Δp)
    D(d) = depth² · d·dᵀ + depth_aside² · |d|² · I,  f(c) = c^−confidence_power

Two frames shortly after one another share most of their error since the keyframe, and the longer they are apart, the
less (Δt counts as at most a second). For the same reason the errors within a keyframe do not add up: what is published
is the covariance accumulated up to the keyframe, and that of the motion since then. Neighboring keyframes see the same
things, so their errors are alike, as the camera sees them: those of two that are n keyframes apart have the correlation
exp(−n / memory), and in the depth along the motion exp(−n / depth_memory), in axes that turn with the robot. In a turn
on the spot, they thus cancel.

**Where they do not**, a motion is the network's, which then tells little: its errors are independent, alike in all
directions, and proportional to f(c) and to the time between the frames.

Position, orientation, and the relative error of the scale (constant unless something measures the scale) are propagated
together: a wrong heading shifts every later position sideways, a wrong scale shifts it along the path. What wheels or a
known height measure is the scale along with the keyframe's depth, and the scale follows by the filter's share of both
(`with_scale_measured`): later motions then make up for what earlier depths had wrong.
The diagonal is published. While the motion is unknown, both standard deviations grow with time. A camera that was seen
to stand still may have moved by what is too little to be seen, until it moves on.

Every variance is a sum of squares of constants times something that the walk determines, but for the memories and
`confidence_power`. `CovarianceModel` holds the constants, which ``python -m benchmark.covariance`` fits to measured
errors; it measures `depth` and the memories, from the errors of motions between keyframes. `confidence_power` has been
measured, from the true depth of keyframes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ttt3r_ros.geometry import FloatArray

#: Bounds of published variances: RTAB-Map reads 9999 and more as "lost".
SMALLEST, LARGEST = 1e-9, 9000.0
#: Variance of what is zero by definition on a level floor (that of robot_localization's two_d_mode) [m², rad²].
FLAT = 1e-6
#: From so far apart on, two frames share nothing of their error [s].
MAX_APART_S = 1.0
#: An unknown motion counts as at most this long [s].
MAX_LOST_S = 60.0

_POSITION, _ORIENTATION, _SCALE = slice(0, 3), slice(3, 6), 6
#: Of the sources, the depth along the motion.
_DEPTH = 6
#: Position, orientation, scale.
SIZE = 7
#: Independent sources of a keyframe's error: the fit's translation and rotation, the depth along the motion and aside.
SOURCES = 10


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
class Measured:
    """What measurements of lengths, by wheels or by a height, have done to the scale.

    Attributes:
        gain: share of the scale's error that they have taken out.
        noise: variance of what they have put in instead.
    """

    gain: float = 0.0
    noise: float = 0.0

    def then(self, gain: float, noise: float) -> Measured:
        """Return the same after another measurement."""
        return Measured(1.0 - (1.0 - self.gain) * (1.0 - gain), self.noise * (1.0 - gain) ** 2 + noise)


@dataclass(frozen=True)
class CovarianceModel:
    """The constants; see the module docstring. `scale` is the standard deviation of the scale's relative error."""

    since_keyframe_translation: float = 3.8
    since_keyframe_rotation: float = 7.86
    each_frame_translation: float = 3.2
    each_frame_rotation: float = 3.36
    by_second_translation: float = 6.99
    by_second_rotation: float = 25.7
    depth: float = 0.541
    depth_aside: float = 0.0996
    scale: float = 0.05
    network_metres_per_second: float = 1.67
    network_radians_per_second: float = 1.45
    memory: float = 1.72
    depth_memory: float = 3.29
    confidence_power: float = 1.25
    standing_metres: float = 0.002
    standing_radians: float = 0.0005
    standing_metres_per_second: float = 0.005
    standing_radians_per_second: float = 0.005
    lost_metres_per_second: float = 0.5
    lost_radians_per_second: float = 0.5

    def step_sigmas(self, seconds: float, confidence: float | None) -> tuple[float, float]:
        """Return the standard deviations [m, rad] of a motion of so many seconds that pixels do not tell."""
        rate = self.factor(confidence) * min(max(seconds, 0.0), MAX_LOST_S)
        return self.network_metres_per_second * rate, self.network_radians_per_second * rate

    def lost_sigmas(self, seconds: float) -> tuple[float, float]:
        """Return the standard deviations [m, rad] of so many seconds, or as many back, of unknown motion."""
        seconds = min(abs(seconds), MAX_LOST_S)
        return self.lost_metres_per_second * seconds, self.lost_radians_per_second * seconds

    def factor(self, confidence: float | None) -> float:
        """Return f(c) of a median confidence; anything but a finite number from 1 on counts as 1, the lowest."""
        c = confidence if confidence is not None and 1.0 <= confidence < math.inf else 1.0  # NaN compares false
        return float(c**-self.confidence_power)

    def since_keyframe(
        self, certainty: Certainty, confidence: float | None, R: FloatArray, moved: FloatArray, of_key: float | None
    ) -> FloatArray:
        """Return the error of the pose since the keyframe, but for what it owes to keyframes before.

        Args:
            certainty: of the fit.
            confidence: of the frame, see `factor`.
            R: (3, 3) orientation of the robot in odom.
            moved: (3,) since the keyframe, in odom's axes [m].
            of_key: confidence of the keyframe.

        Returns:
            (SIZE, SOURCES) A, in odom's axes, of the covariance A·Aᵀ. Each column is the effect of a unit of a source.
        """
        A, own, of_depth = np.zeros((SIZE, SOURCES)), self.factor(confidence), self.factor(of_key)
        A[:3, :3] = self.since_keyframe_translation * own * R @ _root(certainty.covariance[_POSITION, _POSITION])
        A[3:6, 3:6] = self.since_keyframe_rotation * own * R @ _root(certainty.covariance[_ORIENTATION, _ORIENTATION])
        A[:3, _DEPTH] = self.depth * of_depth * moved
        A[:3, 7:] = self.depth_aside * of_depth * float(np.linalg.norm(moved)) * R
        return A

    def of_motion(
        self,
        certainty: Certainty,
        confidence: float | None,
        seconds: float,
        moved: FloatArray,
        of_key: float | None,
    ) -> FloatArray:
        """Return the variances (6,) of the motion (3,) from the last frame, so many seconds ago, in the base's axes."""
        seconds = min(max(seconds, 0.0), MAX_APART_S)
        translation = math.hypot(self.each_frame_translation, self.by_second_translation * seconds)
        rotation = math.hypot(self.each_frame_rotation, self.by_second_rotation * seconds)
        factors = self.factor(confidence) * np.repeat([translation, rotation], 3)
        variances = np.square(factors) * np.diag(certainty.covariance)
        variances[:3] += np.square(self.factor(of_key)) * (
            np.square(self.depth * moved) + self.depth_aside**2 * float(moved @ moved)
        )
        return variances

    def correlation(self) -> FloatArray:
        """Return the correlation of the errors of neighboring keyframes, (SOURCES,)."""
        found = np.full(SOURCES, _after_one(self.memory))
        found[_DEPTH] = _after_one(self.depth_memory)
        return found


@dataclass(frozen=True)
class Covariances:
    """Variances in ROS order (x, y, z, roll, pitch, yaw), (6,) each: pose [m², rad²], twist [m²/s², rad²/s²]."""

    pose: FloatArray
    twist: FloatArray


def at_origin(model: CovarianceModel) -> FloatArray:
    """Return the initial (7, 7) covariance of position, orientation (both in odom's axes) and scale."""
    P = np.zeros((SIZE, SIZE))
    P[_SCALE, _SCALE] = model.scale**2
    return P


def at_pose(covariance: FloatArray, P: FloatArray | None, model: CovarianceModel) -> FloatArray:
    """Return the (7, 7) covariance at a pose of known (6, 6) covariance; what P says of the scale stays."""
    known = np.diag(np.diag(at_origin(model) if P is None else P))
    known[:_SCALE, :_SCALE] = covariance
    return known


def with_scale(P: FloatArray, sigma: float) -> FloatArray:
    """Return the covariance where nothing measures the scale: its error has at least this standard deviation."""
    P = P.copy()
    P[_SCALE, _SCALE] = max(float(P[_SCALE, _SCALE]), sigma**2)
    return P


def after_motion(P: FloatArray, translation: FloatArray, sigmas: tuple[float, float] = (0.0, 0.0)) -> FloatArray:
    """Return the covariance after a motion.

    Args:
        P: (7, 7) before it.
        translation: (3,) in odom's axes [m].
        sigmas: standard deviations that it adds [m, rad], alike in all directions.
    """
    F = _along(translation)
    noise = np.repeat([sigmas[0] ** 2, sigmas[1] ** 2, 0.0], [3, 3, 1])
    return np.asarray(F @ P @ F.T + np.diag(noise))


def after_loss(P: FloatArray, seconds: float, model: CovarianceModel) -> FloatArray:
    """Return the covariance after so many seconds of unknown motion."""
    return after_motion(P, np.zeros(3), model.lost_sigmas(seconds))


def with_keyframe(P: FloatArray, since: FloatArray) -> FloatArray:
    """Return the covariance where the motion since the keyframe, of covariance (7, 7) in odom's axes, is over."""
    return np.asarray(P + since)


def with_scale_measured(
    P: FloatArray, tails: FloatArray, measured: Measured, depth: float
) -> tuple[FloatArray, FloatArray]:
    """Return the covariance and `tails` where something has measured a length of the way, and the scale follows.

    What was measured is the error of the scale together with that of the keyframe's depth, u times `depth`. The filter
    takes its share g of both from the scale: ``s' = s − g·(s + depth·u) + noise``. So the next motions make up for what
    the keyframe's depth had wrong, and errors of depth do not add up along the way.

    Args:
        P: (7, 7) before it.
        tails: (SIZE, SOURCES), see `joint`.
        measured: what came of it.
        depth: standard deviation of the relative error of the keyframe's depth.
    """
    M, effect = np.eye(SIZE), np.zeros(SIZE)
    M[_SCALE, _SCALE] = 1.0 - measured.gain
    effect[_SCALE] = -measured.gain * depth
    tails = M @ tails
    with_depth = np.outer(tails[:, _DEPTH], effect)
    P = M @ P @ M.T + with_depth + with_depth.T + np.outer(effect, effect)
    P[_SCALE, _SCALE] += measured.noise
    tails[:, _DEPTH] += effect
    return P, tails


def carried(tails: FloatArray, translation: FloatArray) -> FloatArray:
    """Return the errors (SIZE, SOURCES) of keyframes before, see `joint`, after a motion (3,) in odom's axes [m]."""
    return np.asarray(_along(translation) @ tails)


def joint(A: FloatArray, tails: FloatArray) -> FloatArray:
    """Return what an error A adds to the covariance of the sum with earlier ones, (7, 7).

    For errors A₁, A₂, … whose sources each have a correlation ρ between neighbors, the n-th adds
    ``Aₙ·Aₙᵀ + Aₙ·Tᵀ + T·Aₙᵀ`` with the tails ``T = ρ·Aₙ₋₁ + ρ²·Aₙ₋₂ + …``: the covariance of all errors so far with a
    unit of each of the sources.

    Args:
        A, tails: (SIZE, SOURCES) see `CovarianceModel.since_keyframe`.
    """
    both = A @ tails.T
    return np.asarray(A @ A.T + both + both.T)


def larger_by(before: FloatArray, after: FloatArray) -> tuple[float, float]:
    """Return by which standard deviations [m, rad], alike in all directions, a covariance (7, 7) has grown, or 0."""
    grown = np.diag(after - before)
    metres, radians = (math.sqrt(max(float(grown[half].sum()) / 3, 0.0)) for half in (_POSITION, _ORIENTATION))
    return metres, radians


def pose_variances(P: FloatArray, since: FloatArray | None = None) -> FloatArray:
    """Return the published variances (6,) of a pose: the accumulated ones, and those since the keyframe (7, 7)."""
    return _well_formed(np.diag(P if since is None else P + since)[:_SCALE])


def twist_variances(
    linear: FloatArray, motion: FloatArray, seconds: float | None, model: CovarianceModel
) -> FloatArray:
    """Return the variances (6,) of a velocity, the largest possible if it is unknown.

    Args:
        linear: (3,) velocity [m/s].
        motion: (6,) variances of the motion.
        seconds: duration of the motion; None or not positive if the velocity is unknown.
        model: the constants.
    """
    if seconds is None or not seconds > 0:
        return _well_formed(np.full(6, LARGEST))
    variances = motion / float(np.clip(seconds, 1e-6, 1e6)) ** 2
    variances[:3] += np.square(model.scale * linear)
    return _well_formed(variances)


def unseen(model: CovarianceModel) -> FloatArray:
    """Return the covariance (7, 7) of a motion that is too small to be seen."""
    return np.diag(np.square(np.repeat([model.standing_metres, model.standing_radians, 0.0], [3, 3, 1])))


def standing_variances(model: CovarianceModel) -> FloatArray:
    """Return the variances (6,) of the velocity of a camera that stands still: slower motion is not seen as such."""
    sigmas = np.repeat([model.standing_metres_per_second, model.standing_radians_per_second], 3)
    return _well_formed(np.square(sigmas))


def flat_variances(variances: FloatArray) -> FloatArray:
    """Return variances (6,) with those of z, roll and pitch replaced by `FLAT`."""
    flat = variances.copy()
    flat[2:5] = FLAT
    return flat


def _after_one(memory: float) -> float:
    """Return the correlation of errors that are one keyframe apart."""
    return math.exp(-1.0 / memory) if memory > 0.0 else 0.0


def _along(translation: FloatArray) -> FloatArray:
    """Return what a motion (3,) does to an error (7,) before it, (7, 7)."""
    F = np.eye(SIZE)
    F[_POSITION, _ORIENTATION] = _lever(translation)
    F[_POSITION, _SCALE] = translation
    return F


def _lever(translation: FloatArray) -> FloatArray:
    """Return what a wrong orientation before a motion does to the position after it: −[Δp]×, as δθ × Δp."""
    x, y, z = translation
    return np.array([[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]])


def _root(C: FloatArray) -> FloatArray:
    """Return the symmetric root of a covariance (3, 3)."""
    values, vectors = np.linalg.eigh(C)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T)


def _well_formed(variances: FloatArray) -> FloatArray:
    """Keep variances positive, finite, below "lost", and off exactly 1.0, which RTAB-Map reads as "not set"."""
    bounded = np.fmax(np.fmin(variances, LARGEST), SMALLEST)  # NaN becomes LARGEST
    return np.where(bounded == 1.0, 1.0 + 1e-6, bounded)
