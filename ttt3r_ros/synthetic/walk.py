"""A walker that wanders through an apartment indefinitely: the planar part of a camera's motion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ttt3r_ros.synthetic.route import CLEARANCE_M, Floor, Point

STEP_S = 0.25  # between two decisions
_AHEAD_M = 0.8  # look-ahead distance along the path
_ROLLOUT_S = np.arange(1, 6) * 0.25
_BRAKE_M = np.linspace(0.25, 1.0, 3)


@dataclass(frozen=True)
class Gait:
    """Limits of a walker [m/s, m/s², rad/s, rad/s²]."""

    speed: float
    acceleration: float
    turn_rate: float
    turn_acceleration: float


def wander(floor: Floor, gait: Gait, rng: np.random.Generator) -> Iterator[tuple[float, float, float]]:
    """Yield x, y [m] and heading [rad, continuous] every STEP_S, forever.

    At each step the walker tries small changes of speed and turn rate and takes the one that brings it furthest along
    its path (the dynamic window approach of Fox, Burgard and Thrun, 1997). It can always stop in time: it chooses no
    motion that would bring it closer than CLEARANCE_M to an object before it has come to rest.
    """
    place = floor.spot(rng)
    way, reached = floor.way(place, floor.spot(rng, place)), 0
    place = way[0].copy()
    first = way[min(4, len(way) - 1)] - place
    heading, speed, turn = float(np.arctan2(first[1], first[0])) + rng.uniform(-0.4, 0.4), 0.0, 0.0
    stuck = 0
    while True:
        yield float(place[0]), float(place[1]), heading
        reached = _progress(way, reached, place)
        if np.hypot(*(way[-1] - place)) < 0.4 or stuck > 40:
            way, reached, stuck = floor.way(place, floor.spot(rng, place)), 0, 0
        carrot = _carrot(way, reached, place)
        speed, turn = _decide(floor, gait, place, heading, speed, turn, carrot)
        stuck = stuck + 1 if speed < 0.02 else 0
        middle = heading + turn * STEP_S / 2
        place = place + speed * STEP_S * np.array([np.cos(middle), np.sin(middle)])
        heading += turn * STEP_S


def _progress(way: npt.NDArray[np.float64], reached: int, place: Point) -> int:
    window = way[reached : reached + 12]
    return reached + int(np.hypot(*(window - place).T).argmin())


def _carrot(way: npt.NDArray[np.float64], reached: int, place: Point) -> Point:
    ahead = np.hypot(*np.diff(way[reached:], axis=0).T).cumsum()
    return np.asarray(way[reached + min(int(np.searchsorted(ahead, _AHEAD_M)) + 1, len(way) - 1 - reached)])


def _decide(
    floor: Floor, gait: Gait, place: Point, heading: float, speed: float, turn: float, carrot: Point
) -> tuple[float, float]:
    """Return the speed and turn rate of the next step."""
    speeds = np.clip(speed + np.array([-1.0, -0.5, 0.0, 0.5, 1.0]) * gait.acceleration * STEP_S, 0.0, gait.speed)
    turns = np.clip(turn + np.linspace(-1, 1, 7) * gait.turn_acceleration * STEP_S, -gait.turn_rate, gait.turn_rate)
    v, w = (a.ravel() for a in np.meshgrid(speeds, turns))
    along = np.concatenate([v[:, None] * _ROLLOUT_S], axis=1)
    angles = heading + w[:, None] * _ROLLOUT_S / 2
    x = place[0] + along * np.cos(angles)
    y = place[1] + along * np.sin(angles)
    last = heading + w * _ROLLOUT_S[-1]
    brake = (v**2 / (2 * gait.acceleration))[:, None] * _BRAKE_M
    x_all = np.concatenate([x, x[:, -1:] + brake * np.cos(last)[:, None]], axis=1)
    y_all = np.concatenate([y, y[:, -1:] + brake * np.sin(last)[:, None]], axis=1)
    safe = floor.clearance(x_all, y_all).min(axis=1) > CLEARANCE_M
    to_carrot = np.hypot(x[:, -1] - carrot[0], y[:, -1] - carrot[1])
    bearing = np.arctan2(carrot[1] - y[:, -1], carrot[0] - x[:, -1])
    miss = np.abs(np.angle(np.exp(1j * (bearing - last))))
    cost = to_carrot + 0.35 * miss + 0.15 * np.abs(w - turn) + np.where(safe, 0.0, 1e3 + 10 * v)
    best = int(cost.argmin())
    if safe[best]:
        return float(v[best]), float(w[best])
    # no option is safe: brake, and turn toward the path
    error = float(np.angle(np.exp(1j * (np.arctan2(carrot[1] - place[1], carrot[0] - place[0]) - heading))))
    wanted = np.clip(error, -gait.turn_rate, gait.turn_rate)
    change = gait.turn_acceleration * STEP_S
    return max(0.0, speed - gait.acceleration * STEP_S), float(np.clip(wanted, turn - change, turn + change))
