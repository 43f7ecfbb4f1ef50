"""Constants of the covariance model from measured errors, and how well variances fit errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy.optimize import brentq, minimize

from benchmark.covariance_runs import Kind, Walked
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, inverse, rotation_vector
from ttt3r_ros.stream import ground
from ttt3r_ros.stream.covariance import (
    LARGEST,
    MAX_APART_S,
    MAX_LOST_S,
    SIZE,
    SMALLEST,
    SOURCES,
    CovarianceModel,
    Measured,
    at_origin,
    standing_variances,
    unseen,
)
from ttt3r_ros.stream.ground import GroundState
from ttt3r_ros.stream.odometry import OdometryState, held, interrupted, rescaled, update

#: What is judged: columns of the errors, and whether of the pose or of the twist.
PARTS = {
    "position": ("pose", slice(0, 3)),
    "orientation": ("pose", slice(3, 6)),
    "linear velocity": ("twist", slice(0, 3)),
    "angular velocity": ("twist", slice(3, 6)),
}
#: Pose and twist variances along a walk, (N, 6) each.
Variances: TypeAlias = tuple[FloatArray, FloatArray]
#: Measured before the fit, see `measured`: free, they stand in for errors of other kinds.
MEASURED = ("depth", "memory", "depth_memory")
#: Neither. A loss's growth is a choice: how fast a robot moves while it sees nothing is not in these walks. How much
#: less wrong depth is with confidence, and what is left over whole walks, has been measured from true depth.
FIXED = (
    "scale",
    "confidence_power",
    "standing_metres",
    "standing_radians",
    "standing_metres_per_second",
    "standing_radians_per_second",
    "lost_metres_per_second",
    "lost_radians_per_second",
)
FITTED = tuple(field.name for field in fields(CovarianceModel) if field.name not in (*FIXED, *MEASURED))
_BOUNDS = (1e-5, 30.0)
_HALVES = (slice(0, 3), slice(3, 6))
_RESAMPLED = 300
#: So many motions in a row, each from one keyframe to the next, tell how long errors are alike; fewest walks for that.
_IN_A_ROW, _MIN_WALKS = 8, 5
#: Shortest mean motion from keyframe to keyframe that tells how wrong depth is [m].
_MIN_MOTION = 0.05
#: How much a group's NEES in one part that is off by a factor e counts beside the likelihood.
_BALANCE = 1.0


@dataclass(frozen=True)
class Steps:
    """The motions of W walks, M each, for the model to be tried on at once; shorter walks are filled up with rest.

    Attributes:
        translations, in_base: (W, M, 3) in the axes of odom, and of the base at the frame before [m].
        seconds, confidences, before: (W, M), the last two of a motion's frame and of the one before.
        linear: (W, M, 3) velocity as published [m/s].
        held: (W, M) whether the camera was seen to stand still.
        rotations: (W, M, 3, 3) of the base, in odom.
        certainties, is_new: (W, M, 6, 6), (W, M) see `Walked`.
        pose_errors, twist_errors: (W, M, 6), NaN where there is none.
    """

    translations: FloatArray
    in_base: FloatArray
    seconds: FloatArray
    confidences: FloatArray
    before: FloatArray
    linear: FloatArray
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
        own, of_before = (
            np.maximum(np.nan_to_num(c), 1.0) ** -model.confidence_power for c in (self.confidences, self.before)
        )
        certainties = np.nan_to_num(self.certainties) * np.square(own)[..., None, None]
        by_network = (model.network_metres_per_second, model.network_radians_per_second)
        sigmas = np.repeat(by_network, 3) * (own * np.clip(self.seconds, 0.0, MAX_LOST_S))[..., None]
        noise = np.square(sigmas) * ~(is_fitted | is_held)[..., None]

        W, M = self.seconds.shape
        since_constants = np.repeat([model.since_keyframe_translation, model.since_keyframe_rotation], 3)
        roots = np.zeros((W, M, 6, 6))
        for half in _HALVES:
            values, vectors = np.linalg.eigh(certainties[..., half, half])
            roots[..., half, half] = (vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]) @ np.swapaxes(
                vectors, -1, -2
            )
        roots *= since_constants
        P, pose, of_depth = np.tile(at_origin(model), (W, 1, 1)), np.empty((W, M, 6)), np.ones((W, M))
        moved, of_key = np.zeros((W, 3)), np.ones(W)
        error, tails, since = np.zeros((W, 6, SOURCES)), np.zeros((W, 6, SOURCES)), np.zeros((W, 6, 6))
        for i in range(M):
            now = is_fitted[:, i] & ~is_held[:, i]
            is_new = (self.is_new[:, i] > 0) & now
            step = np.where(is_held[:, i, None], 0.0, self.translations[:, i])
            P[is_new, :6, :6] += since[is_new]
            tails[is_new] = model.correlation() * (tails + error)[is_new]
            moved[is_new], of_key[is_new] = 0.0, of_before[is_new, i]
            moved, of_depth[:, i] = moved + step, of_key
            F = np.tile(np.eye(SIZE), (W, 1, 1))
            x, y, z = step.T
            F[:, 0, 4], F[:, 0, 5], F[:, 1, 5] = z, -y, x
            F[:, 1, 3], F[:, 2, 3], F[:, 2, 4] = -z, y, -x
            F[:, :3, 6] = step
            P, tails, error = F @ P @ F.transpose(0, 2, 1), F[:, :6, :6] @ tails, F[:, :6, :6] @ error
            np.einsum("wii->wi", P)[:, :6] += noise[:, i]
            R, A = self.rotations[:, i], np.zeros((W, 6, SOURCES))
            for half in _HALVES:
                A[:, half, half] = R @ roots[:, i, half, half]
            A[:, :3, 6] = model.depth * of_key[:, None] * moved
            A[:, :3, 7:] = (model.depth_aside * of_key * np.linalg.norm(moved, axis=1))[:, None, None] * R
            error[now] = A[now]
            both = error @ tails.transpose(0, 2, 1)
            since = error @ error.transpose(0, 2, 1) + both + both.transpose(0, 2, 1)
            pose[:, i] = np.einsum("wii->wi", P)[:, :6] + np.einsum("wii->wi", since)
            pose[is_held[:, i], i] += np.diag(unseen(model))[:6]

        each = (model.each_frame_translation, model.each_frame_rotation)
        by_second = (model.by_second_translation, model.by_second_rotation)
        apart = np.clip(self.seconds, 0.0, MAX_APART_S)
        factors = np.stack([a**2 + np.square(b * apart) for a, b in zip(each, by_second)], axis=-1)
        twist = noise + np.repeat(factors, 3, axis=-1) * np.einsum("wmii->wmi", certainties)
        squares = np.square(self.in_base)
        shares = model.depth**2 * squares + model.depth_aside**2 * squares.sum(axis=-1, keepdims=True)
        twist[..., :3] += (np.square(of_depth) * is_fitted)[..., None] * shares
        twist[..., :3] += np.square(model.scale * self.linear * self.seconds[..., None])
        return pose, twist / self.seconds[..., None] ** 2


def _steps(walked: Walked, most: int) -> list[FloatArray]:
    """Return the columns of `Steps` of one walk, filled up to so many motions."""
    R = walked.poses[:, :3, :3]
    translations = np.diff(walked.poses[:, :3, 3], axis=0)
    columns = [
        (translations, 0.0),
        (np.einsum("nji,nj->ni", R[:-1], translations), 0.0),
        (np.diff(walked.stamps_ns) * 1e-9, 1.0),
        (walked.confidences[1:], 1.0),
        (walked.confidences[:-1], 1.0),
        (walked.twists[1:, :3], 0.0),
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
        groups: (g, n) the same among the walks of one of `Kind.groups`.
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
        off = np.log(nees)
        cost += _BALANCE * float(np.square(off).sum())
        by_v -= _BALANCE * (2.0 * off / nees) @ self.groups * ratio / v
        return cost, by_v @ self.bases


def measured(walks: Sequence[Walked], start: CovarianceModel) -> CovarianceModel:
    """Return the model with the `MEASURED` constants that errors of motions between keyframes have.

    How wrong depth is: the error along such motions, relative to their lengths. How long errors are alike: by how much
    the error of several motions in a row, in axes of the robot, is larger than if they were independent.

    Args:
        walks: any; what too few of them tell stays as it is.
        start: the model to begin with.
    """
    of_depth, of_turns = [], []
    for walked in walks:
        keys = np.flatnonzero(walked.is_new) - 1
        if len(keys) < 2 * _IN_A_ROW:
            continue
        along, shares, turns, sigmas = _between_keyframes(walked, keys, start)
        if np.linalg.norm(np.diff(walked.poses[keys, :3, 3], axis=0), axis=1).mean() >= _MIN_MOTION:
            of_depth.append(_in_a_row(along[:, None], shares[:, None]))
        of_turns.append(_in_a_row(turns, sigmas))
    found = {}
    for rows, memory in ((of_depth, "depth_memory"), (of_turns, "memory")):
        known = np.array([row for row in rows if np.isfinite(row).all()])
        if len(known) >= _MIN_WALKS:
            one, several, *alike = known.mean(axis=0)
            found[memory] = _memory(several / one, np.array(alike))
            if memory == "depth_memory":
                found["depth"] = float(np.sqrt(one))
    return replace(start, **found)


def _between_keyframes(walked: Walked, keys: npt.NDArray[np.int64], model: CovarianceModel) -> tuple[FloatArray, ...]:
    """Return, of the motions from each keyframe to the next, in the robot's axes at the first of them.

    The error along the motion (K,) [m] and the same for a constant `depth` of one; the error of the rotation (K, 3)
    [rad] and the same for a constant `since_keyframe_rotation` of one. NaN where not all of it is told by pixels.
    """
    rows = []
    for i, j in pairwise(keys):
        if not np.isfinite(walked.certainties[i + 1 : j + 1]).all() or walked.is_held[i + 1 : j + 1].any():
            rows.append(np.full(8, np.nan))
            continue
        told, true = (inverse(poses[i]) @ poses[j] for poses in (walked.poses, walked.true_poses))
        way = float(np.linalg.norm(told[:3, 3]))
        along = (told[:3, 3] - true[:3, 3]) @ told[:3, 3] / max(way, 1e-9)
        sigmas = np.sqrt(np.diag(walked.certainties[j])[3:]) * model.factor(walked.confidences[j])
        turned = rotation_vector(told[:3, :3] @ true[:3, :3].T)
        rows.append(np.array([along, way * model.factor(walked.confidences[i]), *turned, *sigmas]))
    columns = np.array(rows)
    return columns[:, 0], columns[:, 1], columns[:, 2:5], columns[:, 5:]


def _in_a_row(errors: FloatArray, sigmas: FloatArray) -> FloatArray:
    """Return the mean squares of (K, n) errors, and of the sums of `_IN_A_ROW` in a row, over those of such sigmas.

    What follows, `_IN_A_ROW` values, is the second for sigmas that are alike at each distance in the row, and nowhere
    else. NaN where there are too few.
    """
    errors, sigmas = (sliding_window_view(values, _IN_A_ROW, axis=0) for values in (errors, sigmas))
    known = np.isfinite(errors).all(axis=(1, 2))
    errors, sigmas = errors[known], sigmas[known]
    whole = float(np.square(sigmas).sum())
    if len(errors) < _IN_A_ROW // 2 or whole == 0.0:
        return np.full(2 + _IN_A_ROW, np.nan)
    alike = [2.0 * (sigmas[..., n:] * sigmas[..., : _IN_A_ROW - n]).sum() for n in range(1, _IN_A_ROW)]
    sums = np.square(errors.sum(axis=-1)).sum()
    return np.array([np.square(errors).sum(), sums, whole, *alike]) / whole


def _memory(ratio: float, alike: FloatArray) -> float:
    """Return the memory with which errors' sums have so many times the variance of one; see `_in_a_row`."""

    def off(memory: float) -> float:
        return float(alike @ np.exp(-np.arange(len(alike)) / memory) - ratio)

    shortest, longest = 0.01, 100.0
    if off(shortest) >= 0.0:
        return 0.0
    return float(brentq(off, shortest, longest)) if off(longest) > 0.0 else longest


def fit(
    walks: Sequence[Walked], kinds: Sequence[Kind], start: CovarianceModel, progress: Callable[[float], None]
) -> CovarianceModel:
    """Return the constants under which the measured errors are most likely, and every kind of motion is told truly.

    Minimises the mean negative log-likelihood of zero-mean Gaussian errors, ``log σ² + e²/σ²``, each of the four parts
    of `PARTS`, every kind of motion at every rate and every walk of a kind counting the same; plus the squared
    logarithm of the NEES of each motion, of each rate and of longer walks, so that none is told truly at the cost of
    another.

    Args:
        walks: to fit to.
        kinds: of each walk.
        start: where to begin; constants in `FIXED` stay, those in `MEASURED` are measured.
        progress: is given the cost now and then.
    """
    start = measured(walks, start)
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
    names = sorted({name for kind in kinds for name in kind.groups})
    groups = [[name in kind.groups for kind in kinds] for name in names]
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
    state, on_ground, rows = OdometryState(), GroundState(), []
    is_interrupted = walked.interrupted()
    for i, (stamp, pose, confidence) in enumerate(zip(walked.stamps_ns, walked.unaided, walked.confidences)):
        before = interrupted(state) if is_interrupted[i] else state
        if walked.is_held[i]:
            motion, state = held(before, pose, np.eye(4), int(stamp), model)
        else:
            told = replace(model, scale=min(model.scale, float(walked.scale_sigmas[i])))
            motion, state = update(
                before,
                pose,
                np.eye(4),
                int(stamp),
                float(confidence),
                told,
                walked.certainty(i),
                is_scale_measured=bool(np.isfinite(walked.scale_sigmas[i])),
            )
            T_ground_camera = None if np.isnan(walked.grounds[i]).any() else walked.grounds[i]
            motion, state, on_ground = ground.corrected(
                on_ground,
                before,
                motion,
                state,
                T_BASE_CAMERA,
                T_ground_camera,
                is_floor_seen=bool(walked.is_floor_seen[i]),
                is_level=False,
            )
        rows.append((motion.covariances.pose, motion.covariances.twist))
        state = rescaled(state, Measured(*walked.measured[i].tolist()), model)
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
