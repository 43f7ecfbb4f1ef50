"""Constants of the covariance model from measured errors, and how well variances fit errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from scipy.optimize import minimize

from benchmark.covariance_runs import Kind, Walked
from ttt3r_ros.geometry import FloatArray, rotation_vector
from ttt3r_ros.stream.covariance import (
    FLOOR,
    LARGEST,
    MAX_APART_S,
    SIZE,
    SMALLEST,
    CovarianceModel,
    at_origin,
    standing_variances,
)
from ttt3r_ros.stream.odometry import OdometryState, held, interrupted, update

#: What is judged: columns of the errors, and whether of the pose or of the twist.
PARTS = {
    "position": ("pose", slice(0, 3)),
    "orientation": ("pose", slice(3, 6)),
    "linear velocity": ("twist", slice(0, 3)),
    "angular velocity": ("twist", slice(3, 6)),
}
#: Pose and twist variances along a walk, (N, 6) each.
Variances: TypeAlias = tuple[FloatArray, FloatArray]
#: Not fitted. A loss's growth is a choice: how fast a robot moves while it sees nothing is not in these walks. Less
#: confidence must mean more variance, but medians of whole frames hardly differ. The scale's error has been measured,
#: from the depth of keyframes: free, it stands in for errors of other kinds. What is left is not a factor.
FIXED = (
    "scale",
    "memory",
    "confidence_power",
    "standing_metres_per_second",
    "standing_radians_per_second",
    "lost_metres_per_second",
    "lost_radians_per_second",
)
FITTED = tuple(field.name for field in fields(CovarianceModel) if field.name not in FIXED)
_BOUNDS = (1e-5, 30.0)
_HALVES = (slice(0, 3), slice(3, 6))
_RESAMPLED = 300
#: How much a group's NEES in one part that is off by a factor e counts beside the likelihood, and what it shall be:
#: walks that are not in the fit have a larger one.
_BALANCE, _AIM = 1.0, 0.9


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
        rotations: (W, M, 3, 3) of the base, in odom.
        certainties, is_new: (W, M, 6, 6), (W, M) see `Walked`.
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
    rotations: FloatArray
    certainties: FloatArray
    is_new: FloatArray
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
        pose, twist = self.sums(model)
        twist[self.held > 0] = standing_variances(model)
        return np.clip(pose, SMALLEST, LARGEST), np.clip(twist, SMALLEST, LARGEST)

    def sums(self, model: CovarianceModel) -> tuple[FloatArray, FloatArray]:
        """Return the same without bounds: sums of what each of the constants `FITTED` adds on its own."""
        is_held, is_fitted = self.held > 0, np.isfinite(self.certainties[..., 0, 0])
        trust = np.square((np.maximum(np.nan_to_num(self.confidences), 1.0) - 1.0 + FLOOR) ** -model.confidence_power)
        own = np.nan_to_num(self.certainties) * trust[..., None, None]
        squares = [_squares(self, model, trust, part) for part in (0, 1)]
        noise = np.repeat(np.stack(squares, axis=-1), 3, axis=-1) * ~(is_fitted | is_held)[..., None]
        told = np.where((is_fitted | is_held)[..., None], 0.0, 1.0)
        unexplained, beside = self.unexplained * told, self.beside * told

        each = (model.each_frame_translation, model.each_frame_rotation)
        by_second, apart = (
            (model.by_second_translation, model.by_second_rotation),
            np.clip(self.seconds, 0.0, MAX_APART_S),
        )
        factors = np.stack([a**2 + np.square(b * apart) for a, b in zip(each, by_second)], axis=-1)
        twist = noise + np.repeat(factors, 3, axis=-1) * np.einsum("wmii->wmi", own)
        twist[..., :3] += np.square(model.scale * (self.linear * self.seconds[..., None] + unexplained[..., :3]))
        twist += np.square(np.repeat([model.unexplained_translation, model.unexplained_rotation], 3) * unexplained)
        twist /= self.seconds[..., None] ** 2

        blocks = np.zeros_like(own)
        for half, factor in zip(_HALVES, (model.since_keyframe_translation, model.since_keyframe_rotation)):
            blocks[..., half, half] = factor**2 * own[..., half, half]
        spreads = np.sqrt(np.einsum("wmii->wmi", blocks).reshape(*is_held.shape, 2, 3).mean(axis=-1))
        P = np.tile(at_origin(model), (len(self.metres), 1, 1))
        since, sigmas, tails = np.zeros((len(P), 6, 6)), np.zeros((len(P), 2)), np.zeros((len(P), 2))
        pose = np.empty_like(twist)
        for i in range(self.metres.shape[1]):
            moved = np.where(is_held[:, i, None], 0.0, self.translations[:, i] + beside[:, i, :3])
            F = np.tile(np.eye(SIZE), (len(P), 1, 1))
            x, y, z = moved.T
            F[:, 0, 4], F[:, 0, 5], F[:, 1, 5] = z, -y, x
            F[:, 1, 3], F[:, 2, 3], F[:, 2, 4] = -z, y, -x
            F[:, :3, 6] = moved
            F[:, :3, 7], F[:, 3:6, 8] = beside[:, i, :3], beside[:, i, 3:]
            is_new, now = (self.is_new[:, i] > 0) & ~is_held[:, i], is_fitted[:, i] & ~is_held[:, i]
            P[is_new, :6, :6] += since[is_new]
            tails[is_new] = model.correlation() * (tails + sigmas)[is_new]
            P = F @ P @ F.transpose(0, 2, 1)
            np.einsum("wii->wi", P)[:, :6] += noise[:, i]
            more = 1.0 + 2.0 * tails / np.maximum(spreads[:, i], 1e-12)
            R = np.zeros((len(P), 6, 6))
            R[:, :3, :3] = R[:, 3:, 3:] = self.rotations[:, i]
            turned = R @ (blocks[:, i] * np.repeat(more, 3, axis=-1)[..., None]) @ R.transpose(0, 2, 1)
            since[now], sigmas[now] = turned[now], spreads[now, i]
            pose[:, i] = np.einsum("wii->wi", P)[:, :6] + np.einsum("wii->wi", since)
        return pose, twist


def _squares(steps: Steps, model: CovarianceModel, trust: FloatArray, part: int) -> FloatArray:
    """Return the variances (W, M) of the network's motions, as `CovarianceModel.step_sigmas` does."""
    blind = np.where(steps.witnessed > 0, 0.0, steps.seconds)
    constant, by_metre, by_radian, by_second = (
        (model.metres, model.metres_per_metre, model.metres_per_radian, model.unwitnessed_metres_per_second),
        (model.radians, model.radians_per_metre, model.radians_per_radian, model.unwitnessed_radians_per_second),
    )[part]
    seen = constant**2 + np.square(by_metre * steps.metres) + np.square(by_radian * steps.radians)
    return np.asarray(trust * seen + np.square(by_second * blind))


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
        (R[1:], 0.0),
        (walked.certainties[1:], np.nan),
        (walked.is_new[1:].astype(float), 0.0),
        (walked.pose_errors()[1:], np.nan),
        (walked.twist_errors()[1:], np.nan),
    ]
    missing = most - len(translations)
    return [
        np.pad(column, [(0, missing), *[(0, 0)] * (column.ndim - 1)], constant_values=rest) for column, rest in columns
    ]


@dataclass(frozen=True)
class _Part:
    """Errors of one of `PARTS`, one row each: what constants add to the variance, and whose they are.

    Attributes:
        rest: (n,) variance without any of them.
        bases: (n, k) what a constant of one adds to it, on its own.
        squares: (n,) squared errors.
        weights: (n,) such that each kind of motion at each rate counts the same, and each walk of a kind; of sum 1.
        groups: (g, n) the same among the walks of one motion, or one rate.
    """

    rest: FloatArray
    bases: FloatArray
    squares: FloatArray
    weights: FloatArray
    groups: FloatArray

    def cost(self, q: FloatArray) -> tuple[float, FloatArray]:
        """Return the cost of squared constants q (k,), and its derivative."""
        v = np.maximum(self.rest + self.bases @ q, SMALLEST)
        ratio = self.squares / v
        cost = float(self.weights @ (np.log(v) + ratio))
        by_v = self.weights * (1.0 - ratio) / v
        nees = self.groups @ ratio
        off = np.log(nees / _AIM)
        cost += _BALANCE * float(np.square(off).sum())
        by_v -= _BALANCE * (2.0 * off / nees) @ self.groups * ratio / v
        return cost, by_v @ self.bases


def fit(
    walks: Sequence[Walked], kinds: Sequence[Kind], start: CovarianceModel, progress: Callable[[float], None]
) -> CovarianceModel:
    """Return the constants under which the measured errors are most likely, and every kind of motion is told truly.

    Minimises the mean negative log-likelihood of zero-mean Gaussian errors, ``log σ² + e²/σ²``, each of the four parts
    of `PARTS`, every kind of motion at every rate and every walk of a kind counting the same; plus the squared
    logarithm of the NEES of each motion and of each rate, so that none is told truly at the cost of another.

    Args:
        walks: to fit to.
        kinds: of each walk.
        start: where to begin; constants in `FIXED` stay.
        progress: is given the cost now and then.
    """
    steps, nothing = Steps.of(walks), replace(start, **dict.fromkeys(FITTED, 0.0))
    sums = [steps.sums(nothing), *(steps.sums(replace(nothing, **{name: 1.0})) for name in FITTED)]
    parts = [_part(steps, kinds, sums, kind, columns) for kind, columns in PARTS.values()]

    def cost(logs: FloatArray) -> tuple[float, FloatArray]:
        q = np.exp(2.0 * logs)
        costs, slopes = zip(*(part.cost(q) for part in parts))
        return float(np.sum(costs)), np.sum(slopes, axis=0) * 2.0 * q

    best = minimize(
        cost,
        np.log([max(getattr(start, name), 10 * _BOUNDS[0]) for name in FITTED]),
        jac=True,
        method="L-BFGS-B",
        bounds=[tuple(np.log(_BOUNDS))] * len(FITTED),
        options={"maxiter": 500, "ftol": 1e-8},
        callback=lambda logs: progress(cost(logs)[0]),
    )
    return replace(start, **{name: float(np.exp(value)) for name, value in zip(FITTED, best.x)})


def _part(
    steps: Steps, kinds: Sequence[Kind], sums: Sequence[tuple[FloatArray, FloatArray]], which: str, columns: slice
) -> _Part:
    errors = (steps.pose_errors if which == "pose" else steps.twist_errors)[..., columns]
    known = np.isfinite(errors)
    counts = np.maximum(known.sum(axis=(1, 2)), 1)
    has_any = np.asarray(known.any(axis=(1, 2)))
    in_kind = np.array([sum(a == b and has for b, has in zip(kinds, has_any)) for a in kinds])
    owner = np.nonzero(known)[0]
    groups = [[kind.motion == motion for kind in kinds] for motion in sorted({kind.motion for kind in kinds})]
    groups += [[kind.fps == fps for kind in kinds] for fps in sorted({kind.fps for kind in kinds})]
    members = np.array(groups) & has_any
    weights = np.where(has_any, 1.0 / np.maximum(in_kind, 1) / counts, 0.0)[owner]
    in_groups = (members / np.maximum(members.sum(axis=1, keepdims=True), 1) / counts)[:, owner]
    rest, *with_one = (pair[0 if which == "pose" else 1][..., columns][known] for pair in sums)
    return _Part(
        rest,
        np.stack(with_one, axis=-1) - rest[:, None],
        np.square(errors[known]),
        weights / weights.sum(),
        in_groups[members.any(axis=1)],
    )


def replay(walked: Walked, model: CovarianceModel) -> Variances:
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
            motion, state = update(
                state, pose, np.eye(4), int(stamp), float(confidence), model, told, walked.certainty(i)
            )
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


def nees(walked: Walked, variances: Variances) -> dict[str, float]:
    """Return the mean normalised squared error of each part along a walk, NaN where nothing is known of it."""
    found = {}
    for name, (which, columns) in PARTS.items():
        errors = (walked.pose_errors() if which == "pose" else walked.twist_errors())[1:, columns]
        known = np.isfinite(errors)
        ratios = np.square(errors[known]) / variances[0 if which == "pose" else 1][1:, columns][known]
        found[name] = float(ratios.mean()) if ratios.size else float("nan")
    return found


def with_error(values: FloatArray, flats: Sequence[int]) -> tuple[float, float]:
    """Return the mean of walks' values and its standard error, by resampling flats, since walks of one are alike."""
    by_flat = [np.array([v for v, flat in zip(values, flats) if flat == one]) for one in sorted(set(flats))]
    rng = np.random.default_rng(0)
    means = []
    for _ in range(_RESAMPLED):
        chosen = np.concatenate([by_flat[i] for i in rng.integers(0, len(by_flat), len(by_flat))])
        means.append(np.nanmean(chosen) if np.isfinite(chosen).any() else np.nan)
    return float(np.nanmean(values)), float(np.nanstd(means))
