"""Constants of the covariance model from measured errors, and how well variances fit errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, minimize

from benchmark.covariance_runs import Walked
from ttt3r_ros.geometry import FloatArray, rotation_vector
from ttt3r_ros.stream.covariance import FLOOR, LARGEST, SIZE, SMALLEST, CovarianceModel, at_origin, standing_variances
from ttt3r_ros.stream.odometry import OdometryState, held, interrupted, update

#: What is judged: columns of the errors, and whether of the pose or of the twist.
PARTS = {
    "position": ("pose", slice(0, 3)),
    "orientation": ("pose", slice(3, 6)),
    "linear velocity": ("twist", slice(0, 3)),
    "angular velocity": ("twist", slice(3, 6)),
}
#: A loss's growth is a choice, not a fit: how fast a robot moves while it sees nothing is not in these walks.
FIXED = (
    "standing_metres_per_second",
    "standing_radians_per_second",
    "lost_metres_per_second",
    "lost_radians_per_second",
)
_BOUNDS = (1e-5, 100.0)
_HALVES = (slice(0, 3), slice(3, 6))
#: Less confidence must mean more variance (the node's contract), even where the medians of whole frames tell little:
#: those of the small weights hardly differ, and a free fit leaves confidence out.
_LEAST_POWER = 0.25


@dataclass(frozen=True)
class Steps:
    """The motions of W walks, M each, for the model to be tried on at once; shorter walks are filled up with rest.

    Attributes:
        translations: (W, M, 3) in odom's axes [m].
        metres, radians, seconds, confidences: (W, M), the first two as the images tell of them.
        linear: (W, M, 3) velocity as published [m/s].
        unexplained, beside: (W, M, 6) what the images tell of beside the motion [m, rad], in the axes of the base and
            of odom; 0 where they tell nothing.
        witnessed, held: (W, M) whether they tell anything, and whether the camera was seen to stand still.
        pose_errors, twist_errors: (W, M, 6), NaN where there is none.
    """

    translations: FloatArray
    metres: FloatArray
    radians: FloatArray
    seconds: FloatArray
    confidences: FloatArray
    linear: FloatArray
    unexplained: FloatArray
    beside: FloatArray
    witnessed: FloatArray
    held: FloatArray
    pose_errors: FloatArray
    twist_errors: FloatArray

    @classmethod
    def of(cls, walks: Sequence[Walked]) -> Steps:
        """Return the motions between the frames of these walks."""
        most = max(len(walked.poses) for walked in walks) - 1
        columns = [_steps(walked, most) for walked in walks]
        return cls(*(np.array(column) for column in zip(*columns)))

    def variances(self, model: CovarianceModel) -> tuple[FloatArray, FloatArray]:
        """Return pose and twist variances, (W, M, 6) each, as `covariance` makes them one by one."""
        trust = (np.maximum(np.nan_to_num(self.confidences), 1.0) - 1.0 + FLOOR) ** -model.confidence_power
        blind = np.where(self.witnessed > 0, 0.0, self.seconds)
        own, any_ = model.factor(1.0), model.step_sigmas(self.metres, self.radians, 1.0)
        sigmas = np.stack([part * trust / own for part in any_], axis=-1)
        sigmas += blind[..., None] * [model.unwitnessed_metres_per_second, model.unwitnessed_radians_per_second]
        twist = np.repeat(np.square(sigmas), 3, axis=-1) / self.seconds[..., None] ** 2
        twist[..., :3] += np.square(model.scale * (self.linear + self.unexplained[..., :3] / self.seconds[..., None]))
        factors = np.repeat([model.unexplained_translation, model.unexplained_rotation], 3)
        twist += np.square(factors * self.unexplained / self.seconds[..., None])
        is_held = self.held > 0
        twist[is_held] = standing_variances(model)
        lasting = _added(model, sigmas * model.lasting((1.0, 1.0)), self.seconds, is_held)
        passing = np.square(np.repeat(sigmas, 3, axis=-1) * np.repeat(model.passing((1.0, 1.0)), 3))
        noise = np.concatenate([np.repeat(lasting, 3, axis=-1), np.zeros((*lasting.shape[:-1], 3))], axis=-1)

        P = np.tile(at_origin(model), (len(self.metres), 1, 1))
        pose = np.empty_like(twist)
        for i in range(self.metres.shape[1]):
            moved = self.translations[:, i] + self.beside[:, i, :3]
            x, y, z = moved.T
            F = np.tile(np.eye(SIZE), (len(P), 1, 1))
            F[:, 0, 4], F[:, 0, 5], F[:, 1, 5] = z, -y, x
            F[:, 1, 3], F[:, 2, 3], F[:, 2, 4] = -z, y, -x
            F[:, :3, 6] = moved
            F[:, :3, 7], F[:, 3:6, 8] = self.beside[:, i, :3], self.beside[:, i, 3:]
            F[is_held[:, i]] = np.eye(SIZE)
            passing[is_held[:, i], i] = passing[is_held[:, i], i - 1] if i else 0.0
            P = F @ P @ F.transpose(0, 2, 1)
            np.einsum("wii->wi", P)[...] += noise[:, i]
            pose[:, i] = np.einsum("wii->wi", P)[:, :6]
        return np.clip(pose + passing, SMALLEST, LARGEST), np.clip(twist, SMALLEST, LARGEST)


def _steps(walked: Walked, most: int) -> list[FloatArray]:
    """Return the columns of `Steps` of one walk, filled up to so many motions."""
    R = walked.poses[:, :3, :3]
    translations = np.diff(walked.poses[:, :3, 3], axis=0)
    unexplained = np.nan_to_num(walked.unexplained[1:])
    beside = np.concatenate([np.einsum("nij,nj->ni", R[:-1], unexplained[:, half]) for half in _HALVES], axis=1)
    turned = np.array([rotation_vector(a.T @ b) for a, b in pairwise(R)])
    columns = [
        (translations, 0.0),
        (np.linalg.norm(translations + beside[:, :3], axis=1), 0.0),
        (np.linalg.norm(turned + unexplained[:, 3:], axis=1), 0.0),
        (np.diff(walked.stamps_ns) * 1e-9, 1.0),
        (walked.confidences[1:], 1.0),
        (walked.twists[1:, :3], 0.0),
        (unexplained, 0.0),
        (beside, 0.0),
        (np.isfinite(walked.unexplained[1:, 0]).astype(float), 1.0),
        (walked.is_held[1:].astype(float), 0.0),
        (walked.pose_errors()[1:], np.nan),
        (walked.twist_errors()[1:], np.nan),
    ]
    missing = most - len(translations)
    return [
        np.pad(column, [(0, missing), *[(0, 0)] * (column.ndim - 1)], constant_values=rest) for column, rest in columns
    ]


def _added(
    model: CovarianceModel, sigmas: FloatArray, seconds: FloatArray, is_held: npt.NDArray[np.bool_]
) -> FloatArray:
    """Return the variances (W, M, 2) that motions of these standard deviations add, as `CovarianceModel.added` does."""
    decays = np.exp(-seconds[..., None] / np.array([model.translation_memory, model.rotation_memory]))
    decays[is_held], sigmas = 0.0, np.where(is_held[..., None], 0.0, sigmas)
    tails = np.zeros((len(sigmas), 2))
    added = np.empty_like(sigmas)
    for i in range(sigmas.shape[1]):
        tails = tails * decays[:, i]
        added[:, i] = sigmas[:, i] ** 2 + 2 * sigmas[:, i] * tails
        tails = tails + sigmas[:, i]
    return added


def fit(walks: Sequence[Walked], start: CovarianceModel, progress: Callable[[float], None]) -> CovarianceModel:
    """Return the constants under which the measured errors are most likely.

    Minimises the mean negative log-likelihood of zero-mean Gaussian errors, ``log σ² + e²/σ²``, each of the four parts
    of `PARTS` and every walk counting the same; then `_balanced`.

    Args:
        walks: to fit to.
        start: where to begin; constants in `FIXED` stay.
        progress: is given the cost now and then.
    """
    steps = Steps.of(walks)
    names = [field.name for field in fields(CovarianceModel) if field.name not in FIXED]

    def model_of(logs: FloatArray) -> CovarianceModel:
        return replace(start, **{name: float(np.exp(value)) for name, value in zip(names, logs)})

    def cost(logs: FloatArray) -> float:
        pose, twist = steps.variances(model_of(logs))
        total = 0.0
        for kind, columns in PARTS.values():
            e = (steps.pose_errors if kind == "pose" else steps.twist_errors)[..., columns]
            v = (pose if kind == "pose" else twist)[..., columns]
            known = np.isfinite(e)
            surprise = np.where(known, np.log(v) + np.square(e) / v, np.nan)
            total += float(np.nanmean(np.nanmean(surprise, axis=(1, 2))))
        return total

    best = minimize(
        cost,
        np.log([getattr(start, name) for name in names]),
        method="L-BFGS-B",
        bounds=[tuple(np.log(_bounds(name))) for name in names],
        options={"maxiter": 100, "ftol": 1e-7},
        callback=lambda logs: progress(cost(logs)),
    )
    return _balanced(steps, model_of(best.x))


def _balanced(steps: Steps, model: CovarianceModel) -> CovarianceModel:
    """Return the model with shares of lasting errors at which the pose's NEES, averaged over walks, is one.

    Likelihood is highest where most walks' errors are met; a few with much larger ones then have a NEES far above one.
    """
    for name, columns in (("lasting_rotation", slice(3, 6)), ("lasting_translation", slice(0, 3))):
        changed = partial(_log_nees, steps, model, name, columns)
        low, high = np.log([1e-2, 10.0])
        if changed(low) > 0 > changed(high):
            model = replace(model, **{name: float(np.exp(brentq(changed, low, high, xtol=0.01)))})
    return model


def _log_nees(steps: Steps, model: CovarianceModel, name: str, columns: slice, log: float) -> float:
    """Return the logarithm of these columns' NEES, averaged over walks, where a constant has another logarithm."""
    variances = steps.variances(replace(model, **{name: float(np.exp(log))}))[0][..., columns]
    nees = np.nanmean(np.square(steps.pose_errors[..., columns]) / variances, axis=(1, 2))
    return float(np.log(nees.mean()))


def _bounds(name: str) -> tuple[float, float]:
    return (_LEAST_POWER if name == "confidence_power" else _BOUNDS[0]), _BOUNDS[1]


def replay(walked: Walked, model: CovarianceModel) -> tuple[FloatArray, FloatArray]:
    """Return the pose and twist variances, (N, 6) each, that odometry with these constants publishes along a walk."""
    state, rows = OdometryState(), []
    is_interrupted = walked.interrupted()
    for i, (stamp, pose, confidence) in enumerate(zip(walked.stamps_ns, walked.poses, walked.confidences)):
        if is_interrupted[i]:
            state = interrupted(state)
        if walked.is_held[i]:
            motion, state = held(state, pose, np.eye(4), int(stamp), model)
        else:
            told = walked.unexplained[i] if np.isfinite(walked.unexplained[i, 0]) else None
            motion, state = update(state, pose, np.eye(4), int(stamp), float(confidence), model, told)
        rows.append((motion.covariances.pose, motion.covariances.twist))
    pose, twist = zip(*rows)
    return np.array(pose), np.array(twist)


@dataclass(frozen=True)
class Calibration:
    """How errors of one part fit their variances.

    Attributes:
        nees: mean normalised squared error per degree of freedom; 1 is ideal, more is overconfident.
        within_1_sigma, within_2_sigma: share of errors, 0.68 and 0.95 where they are Gaussian.
        rms_error, rms_sigma: of the errors, and of the standard deviations.
    """

    nees: float
    within_1_sigma: float
    within_2_sigma: float
    rms_error: float
    rms_sigma: float


def calibration(errors: FloatArray, variances: FloatArray) -> Calibration:
    """Compare (N, k) errors with their variances; NaN errors do not count."""
    known = np.isfinite(errors)
    e, v = errors[known], variances[known]
    ratio = np.abs(e) / np.sqrt(v)
    return Calibration(
        nees=float(np.square(ratio).mean()),
        within_1_sigma=float((ratio < 1).mean()),
        within_2_sigma=float((ratio < 2).mean()),
        rms_error=float(np.sqrt(np.square(e).mean())),
        rms_sigma=float(np.sqrt(v.mean())),
    )
