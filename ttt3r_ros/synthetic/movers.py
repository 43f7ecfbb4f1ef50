"""People who walk and doors that swing: the part of a world that changes with time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from ttt3r_ros.synthetic.builder import Builder, Color, Paint, Place
from ttt3r_ros.synthetic.palette import Palette, color
from ttt3r_ros.synthetic.plan import Plan
from ttt3r_ros.synthetic.route import Floor
from ttt3r_ros.synthetic.shell import against
from ttt3r_ros.synthetic.walk import STEP_S, Gait, wander

Array = npt.NDArray[np.float64]

_WALK_S = 90.0  # a person walks that long, then back again
_STRIDE_M = 0.75
_LEAF_M = 0.66  # of a swinging door, which does not reach the middle of its doorway
_OPEN_RAD = np.deg2rad([80.0, 165.0])  # a leaf swings between these, never across the way
_SKINS: tuple[Color, ...] = ((0.75, 0.5, 0.36), (0.5, 0.3, 0.19), (0.22, 0.12, 0.07), (0.85, 0.62, 0.5))


@dataclass(frozen=True)
class Door:
    """A door leaf that swings to and fro.

    Attributes:
        first, count: its primitives among those of the scene.
        hinge: (x, y) [m].
        closed_rad: heading of the closed leaf, from the hinge.
        way: 1 or -1, the direction in which it opens.
        period_s, phase: of the motion.
    """

    first: int
    count: int
    hinge: tuple[float, float]
    closed_rad: float
    way: int
    period_s: float
    phase: float

    def at(self, time_s: float) -> tuple[float, float, float]:
        """Return x, y [m] and heading [rad] of the leaf's own axes."""
        middle, half = _OPEN_RAD.mean(), np.ptp(_OPEN_RAD) / 2
        angle = middle + half * np.sin(2 * np.pi * (time_s / self.period_s + self.phase))
        return (*self.hinge, self.closed_rad + self.way * float(angle))


@dataclass(frozen=True)
class Person:
    """A person who wanders around.

    Attributes:
        first, count: its primitives: two legs first.
        way: (n, 3) x, y [m] and heading [rad, continuous], every STEP_S.
        start_s: where on the way it is at time 0.
    """

    first: int
    count: int
    way: Array
    start_s: float

    def at(self, time_s: float) -> tuple[float, float, float]:
        """Return x, y [m] and heading [rad]; at the end of its way it goes back the same way."""
        last = len(self.way) - 1
        step = (self.start_s + time_s) / STEP_S % (2 * last)
        x, y, heading = (np.interp(min(step, 2 * last - step), np.arange(last + 1), self.way[:, i]) for i in range(3))
        return float(x), float(y), float(heading)

    def stride(self, time_s: float) -> float:
        """Return how far the right foot is ahead of the body [m]; the left one is as far behind."""
        last = len(self.way) - 1
        gone = np.concatenate([[0.0], np.hypot(*np.diff(self.way[:, :2], axis=0).T).cumsum()])
        step = (self.start_s + time_s) / STEP_S % (2 * last)
        return 0.2 * float(np.sin(np.pi / _STRIDE_M * np.interp(min(step, 2 * last - step), np.arange(last + 1), gone)))


Mover = Door | Person


def hang_doors(builder: Builder, plan: Plan, palette: Palette) -> list[Door]:
    """Hang a swinging leaf in every other doorway."""
    rng, doors = builder.rng, []
    for index, room in enumerate(plan.rooms):
        for opening in room.openings:
            if opening.kind != "doorway" or opening.side in ("east", "north") or rng.random() < 0.3:
                continue  # every doorway belongs to two rooms
            builder.room = index
            place = against(room, opening.side, sum(opening.along) / 2)
            half, way = (opening.along[1] - opening.along[0]) / 2, int(rng.choice([-1, 1]))
            hinge = place.at(-way * half, 0.03)
            first = len(builder)
            leaf = Place(0.0, 0.0)
            builder.box(leaf, (0.0, _LEAF_M), (-0.02, 0.02), (0.01, 2.0), palette.trim, front=palette.door)
            builder.box(leaf, (_LEAF_M - 0.1, _LEAF_M - 0.04), (-0.06, 0.06), (0.98, 1.02), Paint("lacquer"))
            closed = place.yaw + (0.0 if way > 0 else np.pi)
            period, phase = rng.uniform(4.0, 12.0), rng.uniform()
            doors.append(Door(first, len(builder) - first, (hinge.x, hinge.y), closed, way, period, phase))
    return doors


def add_people(builder: Builder, count: int) -> list[tuple[int, int]]:
    """Add people at the origin, facing along x; return the first primitive of each, and their number."""
    rng, people = builder.rng, []
    for _ in range(count):
        first, size = len(builder), rng.uniform(0.9, 1.08)
        shirt = Paint(str(rng.choice(["fabric", "plaid", "lacquer"])), color(rng, (0.1, 0.9), (0.1, 0.95)))
        trousers = Paint("fabric", color(rng, (0.0, 0.5), (0.05, 0.5)))
        skin = Paint("lacquer", _SKINS[int(rng.integers(len(_SKINS)))])
        hair = Paint("foliage", color(rng, (0.2, 0.7), (0.02, 0.5), (0.03, 0.12)), scale=0.2)
        for side in (-1, 1):
            builder.cylinder(Place(0.0, 0.1 * side), 0.085 * size, (0.0, 0.85 * size), trousers)
        builder.box(Place(0.0, 0.0), (-0.12, 0.12), (-0.2 * size, 0.2 * size), (0.8 * size, 1.42 * size), shirt)
        for side in (-1, 1):
            builder.cylinder(Place(0.0, 0.26 * side), 0.055 * size, (0.72 * size, 1.4 * size), shirt)
        builder.cylinder(Place(0.0, 0.0), 0.06 * size, (1.42 * size, 1.52 * size), skin)
        builder.ellipsoid(Place(0.02, 0.0), 0.095 * size, (1.47 * size, 1.72 * size), skin)
        builder.ellipsoid(Place(-0.02, 0.0), 0.1 * size, (1.58 * size, 1.75 * size), hair)
        people.append((first, len(builder) - first))
    return people


def walk_about(people: list[tuple[int, int]], floor: Floor, rng: np.random.Generator) -> list[Person]:
    """Give each of the people a way on a floor."""
    walkers = []
    for first, count in people:
        gait = Gait(rng.uniform(0.6, 1.3), 0.8, np.deg2rad(70), np.deg2rad(140))
        way = np.array(list(islice(wander(floor, gait, rng), int(_WALK_S / STEP_S))))
        walkers.append(Person(first, count, way, rng.uniform(0.0, _WALK_S)))
    return walkers


def moved(
    center: Array, cosine: Array, sine: Array, roundness: Array, movers: tuple[Mover, ...], time_s: float
) -> tuple[Array, Array, Array]:
    """Return (N, 3) centers and (N,) cosines and sines of a scene's primitives, with the movers where they are then.

    Args:
        center, cosine, sine, roundness: of the scene, in which movers stand at the origin, facing along x.
        movers: which primitives move, and how.
        time_s: since the beginning.
    """
    center, cosine, sine = center.copy(), cosine.copy(), sine.copy()
    for mover in movers:
        part = slice(mover.first, mover.first + mover.count)
        own = center[part].copy()
        if isinstance(mover, Person):
            ahead = mover.stride(time_s)
            own[:2, 0] += [-ahead, ahead]
        x, y, heading = mover.at(time_s)
        c, s = np.cos(heading), np.sin(heading)
        center[part, 0] = x + c * own[:, 0] - s * own[:, 1]
        center[part, 1] = y + s * own[:, 0] + c * own[:, 1]
        upright = roundness[part] == 0  # what is round has no heading
        cosine[part], sine[part] = np.where(upright, c, 1.0), np.where(upright, s, 0.0)
    return center, cosine, sine
