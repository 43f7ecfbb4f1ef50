"""Another odometry beside the camera's (wheels, legs, a lidar): poses of the robot with stamps, at times of its own.

Samples may come late, stop, begin anew from another origin. What is kept is one unbroken run of them; a motion between
two times is known where both lie within that run, by interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from ttt3r_ros.geometry import FloatArray, T_from_pose, inverse, quaternion_from_rotation

#: Samples that lie further apart are not interpolated [s]; so many are kept.
MAX_GAP_S, MAX_SAMPLES = 0.5, 400
#: The other odometry has not begun anew as long as it moves no faster [m/s, rad/s], nor by more at once [m, rad].
MAX_SPEED, MAX_TURN_RATE, MAX_JUMP = 10.0, 10.0, 0.2


@dataclass(frozen=True)
class OdometrySample:
    """A pose by another odometry.

    Attributes:
        stamp_ns: by the clock of the images [ns].
        T_odom_base: (4, 4) pose of the robot's base, in a frame of that odometry's own.
    """

    stamp_ns: int
    T_odom_base: FloatArray


@dataclass(frozen=True)
class WheelState:
    """What is kept of another odometry.

    Attributes:
        samples: (n, 8) of one unbroken run: stamp [ns], position [m], quaternion (w, x, y, z).
        problem: why the run began anew, in one clause; None where it has not.
    """

    samples: FloatArray = field(default_factory=lambda: np.zeros((0, 8)))
    problem: str | None = None


def received(state: WheelState, samples: Iterable[OdometrySample]) -> WheelState:
    """Return the state with new samples, in the order of their arrival.

    A sample that is older than the one before, comes after a gap, or is somewhere else begins a new run.
    """
    for sample in samples:
        state = _with_sample(state, sample)
    return state


def _with_sample(state: WheelState, sample: OdometrySample) -> WheelState:
    T = sample.T_odom_base
    if not np.isfinite(T).all():
        return replace(state, problem="a pose of it is not finite")
    row = np.array([sample.stamp_ns, *T[:3, 3], *quaternion_from_rotation(T[:3, :3])])
    if not len(state.samples):
        return replace(state, samples=row[None])
    last = state.samples[-1]
    seconds = (row[0] - last[0]) * 1e-9
    if seconds == 0.0:
        return state
    moved = float(np.linalg.norm(row[1:4] - last[1:4]))
    turned = 2.0 * math.acos(min(abs(float(row[4:] @ last[4:])), 1.0))
    problem = None
    if seconds < 0.0:
        problem = f"its time went back by {-seconds:.3f} s"
    elif seconds > MAX_GAP_S:
        problem = f"nothing came of it for {seconds:.1f} s"
    elif moved > MAX_JUMP + MAX_SPEED * seconds or turned > MAX_JUMP + MAX_TURN_RATE * seconds:
        problem = f"it jumped by {moved:.2f} m and {math.degrees(turned):.0f} degrees, as after a restart"
    if problem:
        return WheelState(row[None], problem)
    return replace(state, samples=np.concatenate([state.samples[-MAX_SAMPLES + 1 :], row[None]]))


def reaches(state: WheelState, stamp_ns: int) -> bool:
    """Return whether the samples go on to a stamp [ns]."""
    return len(state.samples) > 0 and float(stamp_ns) <= state.samples[-1, 0]  # as floats, as samples are


def motion(state: WheelState, start_ns: int, stop_ns: int) -> FloatArray | None:
    """Return the (4, 4) pose of the base at one stamp in its frame at another; None where the samples lack one."""
    samples = state.samples
    if not len(samples) or float(start_ns) < samples[0, 0] or float(stop_ns) > samples[-1, 0]:
        return None
    return inverse(_at(samples, start_ns)) @ _at(samples, stop_ns)


def _at(samples: FloatArray, stamp_ns: int) -> FloatArray:
    """Return the (4, 4) pose at a stamp between the first and the last: linear, rotations along the shorter arc."""
    after = min(int(np.searchsorted(samples[:, 0], float(stamp_ns), "right")), len(samples) - 1)
    a, b = samples[max(after - 1, 0)], samples[after]
    share = (stamp_ns - a[0]) / (b[0] - a[0]) if b[0] > a[0] else 0.0
    q = b[4:] if a[4:] @ b[4:] >= 0 else -b[4:]
    return T_from_pose(a[1:4] + share * (b[1:4] - a[1:4]), a[4:] + share * (q - a[4:]))
