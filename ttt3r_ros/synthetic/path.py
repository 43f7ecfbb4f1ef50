"""Camera poses over time, carried by a walking person or mounted on a wheeled robot."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import numpy as np
import numpy.typing as npt

from ttt3r_ros.synthetic.limits import Motion
from ttt3r_ros.synthetic.route import Floor
from ttt3r_ros.synthetic.walk import STEP_S, Gait, wander

Array = npt.NDArray[np.float64]

_MAX_TURN_RATE = np.deg2rad(45)  # on the spot [rad/s]
_CLIMB_M, _CLIMB_HZ = (0.15, 1.9), 0.05
_RETURN_S = 8.0  # until the camera is back where it started
_FIXED: tuple[Motion, ...] = ("wheeled", "turning", "reversing", "sideways", "inverted")  #: to a robot on the floor


def camera_path(floor: Floor, motion: Motion, seed: int, times: Array) -> Array:
    """Return (n, 4, 4) poses T_world_camera (OpenCV camera axes) at ascending times.

    The path depends only on seed and motion; other times sample the same path. Position and angles are twice
    continuously differentiable.

    Args:
        floor: the walkable part of the floor.
        motion: "handheld": 1.4 to 1.6 m high, swaying and looking around; "wheeled": 0.35 to 0.5 m high and level. The
            others are variants of these two. Handheld: "standing" (nobody walks), "revisiting" (along a path for four
            seconds, then back), "tilted" (looking 20 to 48° down on average and leaning 10 to 30°). Wheeled: "turning"
            (on the spot, once around in 8 to 20 seconds), "reversing" (a rear camera), "sideways" (a left or right
            camera), "climbing" (the height oscillates between 0.15 and 1.9 m), "inverted" (mounted upside down).
        seed: seed of the path.
        times: (n,) seconds, >= 0.
    """
    rng, walker, turn_rate, place = _drawn(motion, seed)
    walked = times
    if motion in ("standing", "turning"):
        walked = np.zeros_like(times)
    elif motion == "revisiting":
        walked = _RETURN_S / 2 * (1 - np.cos(2 * np.pi * times / _RETURN_S))
    steps = int(np.ceil(walked.max() / STEP_S)) + 4 if len(times) else 0
    # the walker draws random numbers without end, so everything else must be drawn before
    control = np.array(list(islice(wander(floor, walker, rng), steps))).reshape(-1, 3)
    x, y, heading = _spline(control, walked).T
    heading = heading + turn_rate * times
    forward, left, up, yaw, pitch, roll = place(times)
    x = x + forward * np.cos(heading) - left * np.sin(heading)
    y = y + forward * np.sin(heading) + left * np.cos(heading)
    return _poses(np.stack([x, y, up], axis=1), heading + yaw, pitch, roll)


def camera_mount(motion: Motion, seed: int) -> Array | None:
    """Return the (4, 4) mount T_base_camera of the camera whose path this is, None if it is not fixed to a robot.

    The base is on the floor, below the camera or, where the robot turns on the spot, on its axis: x forward (where a
    camera that looks back or aside does not look), z up.

    Args:
        motion, seed: as for `camera_path`.
    """
    if motion not in _FIXED:
        return None
    *_, place = _drawn(motion, seed)
    forward, left, up, yaw, pitch, roll = place(np.zeros(1))
    T: Array = _poses(np.stack([forward, left, up], axis=1), yaw, pitch, roll)[0]
    return T


def _drawn(motion: Motion, seed: int) -> tuple[np.random.Generator, Gait, float, Callable[[Array], Array]]:
    """Return what is drawn for a seed: the generator for the walk, who walks, and how they carry the camera.

    That is a turn rate [rad/s] beside the walk's, and a function of (n,) times that returns (6, n): forward, left, up
    [m], yaw, pitch, roll [rad].
    """
    held = motion in ("handheld", "standing", "revisiting", "tilted")
    rng = np.random.Generator(np.random.PCG64([seed, 1 if held else 2]))
    own = np.random.Generator(np.random.PCG64([seed, 3]))  # for what distinguishes the variants
    walker, still = (_handheld if held else _wheeled)(rng)
    turn_rate, phase, added = 0.0, 0.0, np.zeros((6, 1))
    if motion == "turning":
        turn_rate = own.uniform(0.4, 1.0) * own.choice([-1, 1]) * _MAX_TURN_RATE
        added[0] = own.uniform(0.0, 0.25)  # of the axis
    elif motion == "reversing":
        added[3] = np.pi
    elif motion == "sideways":
        added[3] = own.choice([-1, 1]) * np.pi / 2
    elif motion == "climbing":
        phase = own.uniform()
    elif motion == "inverted":
        added[5] = np.pi
    elif motion == "tilted":
        added[4] = np.deg2rad(own.uniform(15, 35))
        added[5] = np.deg2rad(own.uniform(10, 30)) * own.choice([-1, 1])

    def place(times: Array) -> Array:
        offsets = still(times) + added
        if motion == "climbing":
            middle, half = sum(_CLIMB_M) / 2, (_CLIMB_M[1] - _CLIMB_M[0]) / 2
            offsets[2] = middle + half * np.sin(2 * np.pi * (_CLIMB_HZ * times + phase))
        return offsets

    return rng, walker, turn_rate, place


class _Offsets:
    """Slow waves in position and angle: the motion that hand and neck add to walking."""

    def __init__(
        self, rng: np.random.Generator, waves: tuple[tuple[float, float, float], ...], constant: tuple[float, ...]
    ) -> None:
        """``waves`` are (index of forward/left/up/yaw/pitch/roll, amplitude, frequency [Hz])."""
        self._waves = [
            (int(i), a * rng.uniform(0.6, 1.0), f * rng.uniform(0.85, 1.15), rng.uniform(0, 2 * np.pi))
            for i, a, f in waves
        ]
        self._constant = constant

    def __call__(self, times: Array) -> Array:
        out = np.tile(np.array(self._constant)[:, None], (1, len(times)))
        for i, amplitude, frequency, phase in self._waves:
            out[i] += amplitude * np.sin(2 * np.pi * frequency * times + phase)
        return out


def _handheld(rng: np.random.Generator) -> tuple[Gait, _Offsets]:
    gait = Gait(rng.uniform(0.45, 0.75), 0.5, np.deg2rad(28), np.deg2rad(60))
    deg = np.pi / 180
    waves = (
        (1, 0.012, 0.85), (2, 0.009, 1.7), (2, 0.03, 0.07),
        (3, 16 * deg, 0.09), (3, 6 * deg, 0.21), (3, 0.5 * deg, 0.85),
        (4, 5 * deg, 0.08), (4, 2.5 * deg, 0.23), (4, 0.35 * deg, 1.7),
        (5, 2 * deg, 0.13), (5, 0.6 * deg, 0.85),
    )  # fmt: skip
    return gait, _Offsets(rng, waves, (0.0, 0.0, rng.uniform(1.42, 1.58), 0.0, rng.uniform(5, 13) * deg, 0.0))


def _wheeled(rng: np.random.Generator) -> tuple[Gait, _Offsets]:
    gait = Gait(rng.uniform(0.35, 0.55), 0.4, np.deg2rad(40), np.deg2rad(80))
    return gait, _Offsets(rng, (), (0.0, 0.0, rng.uniform(0.35, 0.5), 0.0, np.deg2rad(rng.uniform(-4, 2)), 0.0))


def _spline(control: Array, times: Array) -> Array:
    """Return (n, k) samples of the cubic B-spline with (m, k) control points every STEP_S, the second at time 0."""
    position = times / STEP_S
    index = np.floor(position).astype(int)
    u = (position - index)[:, None]
    weights = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
    return sum((w * control[index + i] for i, w in enumerate(weights)), np.zeros((len(times), control.shape[1]))) / 6


def _poses(position: Array, yaw: Array, pitch: Array, roll: Array) -> Array:
    """Return (n, 4, 4). Yaw turns left from +x, pitch looks down and roll leans right for positive angles [rad]."""
    zero = np.zeros_like(yaw)
    forward = np.stack([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), -np.sin(pitch)], axis=1)
    level = np.stack([np.sin(yaw), -np.cos(yaw), zero], axis=1)
    down = np.cross(forward, level)
    c, s = np.cos(roll)[:, None], np.sin(roll)[:, None]
    T = np.tile(np.eye(4), (len(yaw), 1, 1))
    T[:, :3, 0] = c * level + s * down
    T[:, :3, 1] = c * down - s * level
    T[:, :3, 2] = forward
    T[:, :3, 3] = position
    return T
