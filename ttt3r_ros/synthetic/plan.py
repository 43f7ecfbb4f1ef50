"""The floor plan: a rectangle cut into rooms, with doorways between them, windows and doors to the outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

DOORWAY_M = (1.4, 2.1)  # width and height: wide enough for a camera that stays 0.55 m away from everything
DOOR_M = (0.9, 2.0)  # width and height of every door leaf
WALL_M = 0.12  # thickness between two rooms
OUTER_WALL_M = 0.3
SIDES = ("west", "east", "south", "north")  # at -x, +x, -y, +y


@dataclass(frozen=True)
class Opening:
    """A part of a room's wall; ``along`` is its extent in world x (south, north) or y (west, east)."""

    kind: str  # "doorway", "window" or "door" (closed)
    side: str
    along: tuple[float, float]
    z: tuple[float, float]


@dataclass
class Room:
    """The inner rectangle of a room, meters."""

    x: tuple[float, float]
    y: tuple[float, float]
    outer: set[str]
    openings: list[Opening] = field(default_factory=list)

    def extent(self, side: str) -> tuple[float, float]:
        """Return the extent of a side along its own direction."""
        return self.y if side in ("west", "east") else self.x

    def free(self, side: str, along: tuple[float, float], gap: float) -> bool:
        """Return whether a part of a wall, and ``gap`` on either side of it, has no opening."""
        return all(
            o.side != side or along[1] + gap <= o.along[0] or along[0] - gap >= o.along[1] for o in self.openings
        )

    @property
    def area(self) -> float:
        return (self.x[1] - self.x[0]) * (self.y[1] - self.y[0])


@dataclass(frozen=True)
class Plan:
    """The rooms of an apartment, its ceiling height and its size."""

    rooms: list[Room]
    height: float
    size: tuple[float, float]


def draw_plan(rng: np.random.Generator) -> Plan:
    """Draw an apartment of three or four rooms."""
    width, depth, height = rng.uniform(9.6, 12.4), rng.uniform(7.6, 9.6), rng.uniform(2.4, 2.7)
    cut = width * rng.uniform(0.44, 0.56)
    gap = WALL_M / 2
    rooms: list[Room] = []
    columns = (((0.0, cut - gap), {"west"}, "east"), ((cut + gap, width), {"east"}, "west"))
    one_room = int(rng.integers(0, 3))  # the column that stays whole, if any
    junctions = []
    for i, (x, outer, _) in enumerate(columns):
        if i == one_room:
            rooms.append(Room(x, (0.0, depth), outer | {"south", "north"}))
            continue
        middle = depth * rng.uniform(0.44, 0.56)
        lower, upper = (
            Room(x, (0.0, middle - gap), outer | {"south"}),
            Room(x, (middle + gap, depth), outer | {"north"}),
        )
        rooms += [lower, upper]
        junctions.append(middle)
        along = spot(rng, x, DOORWAY_M[0])
        for room, side in ((lower, "north"), (upper, "south")):
            room.openings.append(Opening("doorway", side, along, (0.0, DOORWAY_M[1])))
    # doorways in the wall between the columns, near both ends of the apartment and clear of wall junctions
    stops = sorted([0.0, *junctions, depth])
    spans = [(a, b) for a, b in pairwise(stops) if b - a > DOORWAY_M[0] + 1.2]
    for span in spans if len(spans) < 3 else (spans[0], spans[-1]):
        along = spot(rng, span, DOORWAY_M[0])
        for room in rooms:
            side = "east" if "west" in room.outer else "west"
            if room.y[0] <= along[0] and along[1] <= room.y[1]:
                room.openings.append(Opening("doorway", side, along, (0.0, DOORWAY_M[1])))
    for room in rooms:
        add_windows(rng, room)
        add_doors(rng, room)
    return Plan(rooms, height, (width, depth))


def spot(rng: np.random.Generator, span: tuple[float, float], width: float) -> tuple[float, float]:
    start = rng.uniform(span[0] + 0.55, span[1] - 0.55 - width)
    return (start, start + width)


def add_windows(rng: np.random.Generator, room: Room) -> None:
    for side in sorted(room.outer):
        low, high = room.extent(side)
        for start in np.arange(low + 0.7, high - 1.9, 2.4):
            width, sill = rng.uniform(1.1, 1.7), rng.uniform(0.82, 0.95)
            along = (start + rng.uniform(0, 0.5), start + rng.uniform(0, 0.5) + width)
            along = (along[0], min(along[1], high - 0.4))
            if rng.random() < 0.65 and room.free(side, along, 0.4):
                room.openings.append(Opening("window", side, along, (sill, sill + rng.uniform(1.15, 1.35))))


def add_doors(rng: np.random.Generator, room: Room) -> None:
    """Add closed doors where there is space: a door is the most reliable cue to a room's size."""
    for side in rng.permutation(SIDES):
        low, high = room.extent(side)
        start = rng.uniform(low + 0.3, high - 0.3 - DOOR_M[0])
        along = (start, start + DOOR_M[0])
        if room.free(side, along, 0.25):
            room.openings.append(Opening("door", str(side), along, (0.0, DOOR_M[1])))
            if rng.random() < 0.6:
                return
