"""Constants of the covariance model from measured errors, and how well variances fit errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize

from benchmark.covariance_runs import Walked
from ttt3r_ros.geometry import FloatArray, rotation_vector
from ttt3r_ros.stream.covariance import LARGEST, SMALLEST, CovarianceModel, at_origin
from ttt3r_ros.stream.odometry import OdometryState, interrupted, update

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
#: Less confidence must mean more variance (the node's contract), even where the medians of whole frames tell little:
#: those of the small weights hardly differ, and a free fit leaves confidence out.
_LEAST_POWER = 0.25


@dataclass(frozen=True)
class Steps:
    """The motions of W walks, M each, for the model to be tried on at once; shorter walks are filled up with rest.

    Attributes:
        translations: (W, M, 3) in odom's axes [m].
        metres, radians, seconds, confidences: (W, M).
        linear: (W, M, 3) velocity as published [m/s].
        pose_errors, twist_errors: (W, M, 6), NaN where there is none.
    """

    translations: FloatArray
    metres: FloatArray
    radians: FloatArray
    seconds: FloatArray
    confidences: FloatArray
    linear: FloatArray
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
        motions = zip(self.metres.ravel(), self.radians.ravel(), self.confidences.ravel())
        sigmas = np.array([model.step_sigmas(*motion) for motion in motions]).reshape(*self.metres.shape, 2)
        twist = np.repeat(np.square(sigmas), 3, axis=-1) / self.seconds[..., None] ** 2
        twist[..., :3] += np.square(model.scale * self.linear)
        lasting = _added(model, sigmas * model.lasting((1.0, 1.0)), self.seconds)
        passing = np.square(np.repeat(sigmas, 3, axis=-1) * np.repeat(model.passing((1.0, 1.0)), 3))
        noise = np.concatenate([np.repeat(lasting, 3, axis=-1), np.zeros_like(lasting[..., :1])], axis=-1)

        P = np.tile(at_origin(model), (len(self.metres), 1, 1))
        pose = np.empty_like(twist)
        for i in range(self.metres.shape[1]):
            x, y, z = self.translations[:, i].T
            F = np.tile(np.eye(7), (len(P), 1, 1))
            F[:, 0, 4], F[:, 0, 5], F[:, 1, 5] = z, -y, x
            F[:, 1, 3], F[:, 2, 3], F[:, 2, 4] = -z, y, -x
            F[:, :3, 6] = self.translations[:, i]
            P = F @ P @ F.transpose(0, 2, 1)
            np.einsum("wii->wi", P)[...] += noise[:, i]
            pose[:, i] = np.einsum("wii->wi", P)[:, :6]
        return np.clip(pose + passing, SMALLEST, LARGEST), np.clip(twist, SMALLEST, LARGEST)


def _steps(walked: Walked, most: int) -> list[FloatArray]:
    """Return the columns of `Steps` of one walk, filled up to so many motions."""
    R = walked.poses[:, :3, :3]
    translations = np.diff(walked.poses[:, :3, 3], axis=0)
    columns = [
        (translations, 0.0),
        (np.linalg.norm(translations, axis=1), 0.0),
        (np.array([np.linalg.norm(rotation_vector(a.T @ b)) for a, b in pairwise(R)]), 0.0),
        (np.diff(walked.stamps_ns) * 1e-9, 1.0),
        (walked.confidences[1:], 1.0),
        (walked.twists[1:, :3], 0.0),
        (walked.pose_errors()[1:], np.nan),
        (walked.twist_errors()[1:], np.nan),
    ]
    missing = most - len(translations)
    return [
        np.pad(column, [(0, missing), *[(0, 0)] * (column.ndim - 1)], constant_values=rest) for column, rest in columns
    ]


def _added(model: CovarianceModel, sigmas: FloatArray, seconds: FloatArray) -> FloatArray:
    """Return the variances (W, M, 2) that motions of these standard deviations add, as `CovarianceModel.added` does."""
    decays = np.exp(-seconds[..., None] / np.array([model.translation_memory, model.rotation_memory]))
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
    of `PARTS` counting the same. Where a constant scales a part's variances alone, that part's mean NEES is 1 at the
    minimum.

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
            total += float((np.log(v[known]) + e[known] ** 2 / v[known]).mean())
        return total

    best = minimize(
        cost,
        np.log([getattr(start, name) for name in names]),
        method="L-BFGS-B",
        bounds=[tuple(np.log(_bounds(name))) for name in names],
        options={"maxiter": 60, "ftol": 1e-5},
        callback=lambda logs: progress(cost(logs)),
    )
    return model_of(best.x)


def _bounds(name: str) -> tuple[float, float]:
    return (_LEAST_POWER if name == "confidence_power" else _BOUNDS[0]), _BOUNDS[1]


def replay(walked: Walked, model: CovarianceModel) -> tuple[FloatArray, FloatArray]:
    """Return the pose and twist variances, (N, 6) each, that odometry with these constants publishes along a walk."""
    state, rows = OdometryState(), []
    is_interrupted = walked.interrupted()
    for i, (stamp, pose, confidence) in enumerate(zip(walked.stamps_ns, walked.poses, walked.confidences)):
        if is_interrupted[i]:
            state = interrupted(state)
        motion, state = update(state, pose, np.eye(4), int(stamp), float(confidence), model)
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
