"""One place with everything in it, built from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import numpy.typing as npt

from ttt3r_ros.synthetic.builder import Builder, Paint, Place
from ttt3r_ros.synthetic.clearance import cells_for, distance_map
from ttt3r_ros.synthetic.furnish import furnish
from ttt3r_ros.synthetic.limits import Kind
from ttt3r_ros.synthetic.movers import Mover, add_people, hang_doors, moved, walk_about
from ttt3r_ros.synthetic.palette import Palette, draw_palette, widened
from ttt3r_ros.synthetic.places import (
    build_yard,
    daylight,
    draw_corridor,
    draw_hall,
    draw_yard,
    furnish_hall,
)
from ttt3r_ros.synthetic.plan import OUTER_WALL_M, Plan, draw_plan
from ttt3r_ros.synthetic.route import Floor
from ttt3r_ros.synthetic.shell import build_shell, lay_sunlight

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Variety:
    """What a world is made of, beside its seed; the default is an apartment as it has always been.

    Attributes:
        place: "apartment", "corridor" (an office floor), "hall", or "yard" (outdoors, under a sky).
        wide_textures: give most surfaces a random texture, see ``families``.
        people: how many walk about.
        doors: hang swinging leaves in doorways.
    """

    place: Kind = "apartment"
    wide_textures: bool = False
    people: int = 0
    doors: bool = False


USUAL = Variety()


@dataclass(frozen=True)
class Scene:
    """A place as arrays. World frame: z up, the floor at 0, meters.

    Attributes:
        plan: its floor plan.
        center, half: (N, 3); cosine, sine, flatness, roundness: (N,). See ``world.World``.
        occluders: (O, 6) lower and upper corners of the walls, the floor and the ceiling.
        surfaces: column name -> (6 · N,).
        rooms: column name -> (rooms,).
        openness: (rows, columns) int32, ambient light in [0, 255] low above the floor, plus 65536 times that high above
            it.
        distance: (rows, columns), distance to the nearest obstacle for a person or robot [m], on the same grid;
            negative inside obstacles. It knows nothing of movers.
        movers: what moves; ``at`` says where they are.
        has_sky: what is further away than ``HORIZON_M`` is the sky.
    """

    plan: Plan
    center: Array
    half: Array
    cosine: Array
    sine: Array
    flatness: Array
    roundness: Array
    occluders: Array
    surfaces: dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int32]]
    rooms: dict[str, Array]
    openness: npt.NDArray[np.int32]
    distance: npt.NDArray[np.float32]
    movers: tuple[Mover, ...] = ()
    has_sky: bool = False

    def at(self, time_s: float) -> Scene:
        """Return the scene at a time since the beginning."""
        center, cosine, sine = moved(self.center, self.cosine, self.sine, self.roundness, self.movers, time_s)
        return replace(self, center=center, cosine=cosine, sine=sine)


def build_scene(seed: int, variety: Variety = USUAL) -> Scene:
    """Build the place of a seed."""
    number = get_args(Kind).index(variety.place)
    rng = np.random.Generator(np.random.PCG64([seed, 0, number] if number else [seed, 0]))
    plan = {"apartment": draw_plan, "corridor": draw_corridor, "hall": draw_hall, "yard": draw_yard}[variety.place](rng)
    builder = Builder(rng)
    of_textures = np.random.Generator(np.random.PCG64([seed, 4]))  # whose numbers leave everything in its place

    def palette_of_a_room() -> Palette:
        palette = draw_palette(rng)
        return widened(palette, of_textures) if variety.wide_textures else palette

    occluders, lights = slabs(plan), []
    if variety.place == "yard":
        palette = palette_of_a_room()
        occluders = build_yard(builder, plan, palette) or [(-1e3,) * 6]
        lights.append(daylight(builder, plan))
    else:
        for index, kind in enumerate(_kinds(rng, plan, variety.place)):
            palette = palette_of_a_room()
            occluders += build_room(builder, plan, index, kind, palette)
            if variety.place == "hall":
                furnish_hall(builder, plan, palette)
            lights.append(hang_light(builder, plan, index, bright=variety.place == "hall"))
    standing = len(builder)
    doors = hang_doors(builder, plan, palette) if variety.doors else []
    people = add_people(builder, variety.people)
    scene = assembled(builder, plan, occluders, lights, standing, doors, has_sky=variety.place == "yard")
    if not people:
        return scene
    return replace(scene, movers=(*scene.movers, *walk_about(people, Floor(scene), rng)))


def slabs(plan: Plan) -> list[tuple[float, ...]]:
    """Return the occluders below the floor and above the ceiling."""
    low, high = -OUTER_WALL_M, (plan.size[0] + OUTER_WALL_M, plan.size[1] + OUTER_WALL_M)
    return [(low, low, z, *high, z + 0.2) for z in (-0.2, plan.height)]


def build_room(builder: Builder, plan: Plan, index: int, kind: str | None, palette: Palette) -> list[tuple[float, ...]]:
    """Build a room and, if it is of a kind, furnish it; return its occluders."""
    occluders = build_shell(builder, plan, index, palette)
    if builder.rng.random() < 0.5 and any(o.kind == "window" for o in plan.rooms[index].openings):
        lay_sunlight(builder, plan, index, palette)
    if kind is not None:
        furnish(builder, plan, index, kind, palette)
    return occluders


def assembled(
    builder: Builder,
    plan: Plan,
    occluders: list[tuple[float, ...]],
    lights: list[dict[str, float]],
    standing: int,
    doors: Sequence[Mover] = (),
    *,
    has_sky: bool = False,
) -> Scene:
    """Return the scene of what has been built, of which the first `standing` primitives never move."""
    things = builder.primitives()
    cells = cells_for(plan.size)
    top, bottom = things["center"][:, 2] + things["half"][:, 2], things["center"][:, 2] - things["half"][:, 2]

    def near(part: npt.NDArray[np.bool_], reach_m: float) -> npt.NDArray[np.float32]:
        part = part & (np.arange(len(part)) < standing)
        center, half, yaw, roundness = (things[name][part] for name in ("center", "half", "yaw", "roundness"))
        return distance_map(center, half, yaw, roundness, reach_m, cells)

    low_things, high_things = (bottom < 0.8) & (top > 0.03), (top > 1.7) & (bottom < plan.height - 0.01)
    solid = (bottom < 2.15) & (top > 0.03)
    return Scene(
        plan=plan,
        center=things["center"], half=things["half"], flatness=things["flatness"], roundness=things["roundness"],
        cosine=np.cos(things["yaw"]), sine=np.sin(things["yaw"]),
        occluders=np.array(occluders),
        surfaces=builder.surfaces(),
        rooms={name: np.array([light[name] for light in lights]) for name in lights[0]},
        openness=_open(near(low_things, 0.6), 0.5) + 65536 * _open(near(high_things, 0.6), 0.35),
        distance=near(solid, 1.2), movers=tuple(doors), has_sky=has_sky,
    )  # fmt: skip


def _kinds(rng: np.random.Generator, plan: Plan, place: Kind) -> list[str]:
    """Return the use of each room: the largest of an apartment is the living room."""
    if place == "hall":
        return ["hall"]
    if place == "corridor":
        return ["corridor", *(str(rng.choice(["study", "kitchen", "living"])) for _ in plan.rooms[1:])]
    others = list(rng.permutation(["bedroom", "kitchen", "study", "bedroom"]))
    largest = max(plan.rooms, key=lambda room: room.area)
    return ["living" if room is largest else str(others.pop()) for room in plan.rooms]


def hang_light(builder: Builder, plan: Plan, index: int, *, bright: bool = False) -> dict[str, float]:
    """Hang a lamp and return the light sources of a room: the lamp, one window, and (if bright, more) ambient light."""
    rng, room = builder.rng, plan.rooms[index]
    x, y = sum(room.x) / 2, sum(room.y) / 2
    shade = Paint("fabric", (0.95, 0.9, 0.78), glow=0.8)
    builder.cylinder(Place(x, y), 0.22, (plan.height - 0.12, plan.height), shade)
    windows = [o for o in room.openings if o.kind == "window"]
    sky = (x, y, plan.height - 0.5)
    for w in windows[:1]:
        along, z = sum(w.along) / 2, sum(w.z) / 2
        inset = 0.1
        sky = {
            "west": (room.x[0] - inset, along, z), "east": (room.x[1] + inset, along, z),
            "south": (along, room.y[0] - inset, z), "north": (along, room.y[1] + inset, z),
        }[w.side]  # fmt: skip
    lamp_power, sky_power = rng.uniform(0.5, 1.0), rng.uniform(0.6, 1.3) * (len(windows) > 0)
    ambient = rng.uniform(0.3, 0.4) + 0.12 * (len(windows) == 0) + 0.25 * bright
    warm, cool = rng.uniform(0.0, 1.0), rng.uniform(0.0, 1.0)
    return {
        "lamp_x": x, "lamp_y": y, "lamp_z": plan.height - 0.35,
        "sky_x": sky[0], "sky_y": sky[1], "sky_z": sky[2],
        "lamp_red": lamp_power, "lamp_green": lamp_power * (1 - 0.1 * warm),
        "lamp_blue": lamp_power * (1 - 0.32 * warm),
        "sky_red": sky_power * (1 - 0.12 * cool), "sky_green": sky_power * (1 - 0.05 * cool), "sky_blue": sky_power,
        "ambient_red": ambient, "ambient_green": ambient * (1 - 0.02 * warm),
        "ambient_blue": ambient * (1 - 0.06 * warm),
    }  # fmt: skip


def _open(distance: npt.NDArray[np.float32], strength: float) -> npt.NDArray[np.int32]:
    """Convert distances to the nearest object [m] to light in [0, 255]: less near objects, least beneath them."""
    light = 1.0 - strength * np.exp(-np.maximum(distance, 0.0) / 0.16) - 0.15 * (distance < -0.05)
    return np.asarray(np.round(255 * light), dtype=np.int32)
