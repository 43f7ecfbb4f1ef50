"""Scenes as tensors on a device, stacked into a batch."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ttt3r_ros.synthetic.atlas import FAMILY_TEXEL
from ttt3r_ros.synthetic.scene import Scene


@dataclass(frozen=True)
class World:
    """S scenes, padded to the same number of primitives. All tensors are float32 on one device unless stated otherwise.

    Attributes:
        center, half: (S, N, 3) meters, world frame; ``half`` along the primitive's own axes.
        cosine, sine: (S, N) of the yaw of a primitive's own x axis; 1 and 0 for round primitives.
        flatness: (S, N), of a round primitive: 0 for an upright cylinder, (r / half height)² for an ellipsoid.
        roundness: (S, N), 1 for a round primitive, 0 for a box.
        kinds: number of axis-aligned boxes, rotated boxes and round primitives, which are stored in this order.
        occluders: (S, O, 6) lower and upper corners of large axis-aligned boxes used for culling.
        surfaces: column name -> (S · N · 6,); row 6 · primitive + face. ``first_texel`` and ``room`` are int32.
        rooms: column name -> (S · rooms,): position and power of a room's lights; ``first_cell``, int32, is the start
            of its scene's part of ``openness``.
        openness: (S · rows · columns,) int32, see ``Scene``.
        map_rows, map_columns: size of ``openness``; cells are MAP_CELL_M wide, the first is centered at MAP_ORIGIN_M.
        has_families: it needs an atlas with the textures of ``families``.
    """

    center: Tensor
    half: Tensor
    cosine: Tensor
    sine: Tensor
    flatness: Tensor
    roundness: Tensor
    kinds: tuple[int, int, int]
    occluders: Tensor
    surfaces: dict[str, Tensor]
    rooms: dict[str, Tensor]
    openness: Tensor
    map_rows: int
    map_columns: int
    has_families: bool = False

    @property
    def device(self) -> torch.device:
        return self.center.device

    @property
    def primitives(self) -> int:
        return self.center.shape[1]

    @classmethod
    def stack(cls, scenes: Seq[Scene], device: str | torch.device) -> World:
        """Stack scenes on a device, in order."""
        kind_of = [_kinds(scene) for scene in scenes]
        kinds = [max(int((kind == k).sum()) for kind in kind_of) for k in range(3)]
        total = sum(kinds)
        places = [_places(kind, kinds) for kind in kind_of]

        def spread(name: str, fill: float) -> np.ndarray:
            first = getattr(scenes[0], name)
            out = np.full((len(scenes), total, *first.shape[1:]), fill, np.float32)
            for i, scene in enumerate(scenes):
                out[i, places[i]] = getattr(scene, name)
            return out

        # padding primitives lie far below the floor, where no camera sees them
        center, half = spread("center", -1e3), spread("half", 0.01)
        surfaces: dict[str, Tensor] = {}
        room_count = max(len(s.rooms["lamp_x"]) for s in scenes)
        for name, column in scenes[0].surfaces.items():
            rows = np.zeros((len(scenes), total, 6), column.dtype)
            for i, scene in enumerate(scenes):
                rows[i, places[i]] = scene.surfaces[name].reshape(-1, 6) + (i * room_count if name == "room" else 0)
            surfaces[name] = torch.from_numpy(rows.ravel()).to(device)
        rooms: dict[str, Tensor] = {}
        for name in scenes[0].rooms:
            values = np.zeros((len(scenes), room_count), np.float32)
            for i, scene in enumerate(scenes):
                values[i, : len(scene.rooms[name])] = scene.rooms[name]
            rooms[name] = torch.from_numpy(values.ravel()).to(device)
        map_rows, map_columns = (max(scene.openness.shape[axis] for scene in scenes) for axis in range(2))
        maps = [np.pad(s.openness, tuple((0, to - of) for to, of in zip((map_rows, map_columns), s.openness.shape)),
                       mode="edge") for s in scenes]  # fmt: skip
        cells = map_rows * map_columns
        rooms["first_cell"] = (
            torch.arange(len(scenes), dtype=torch.int32, device=device).mul_(cells).repeat_interleave(room_count)
        )
        occluders = np.full((len(scenes), max(len(s.occluders) for s in scenes), 6), -1e3, np.float32)
        for i, scene in enumerate(scenes):
            occluders[i, : len(scene.occluders)] = scene.occluders

        def put(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)

        return cls(
            center=put(center), half=put(half), cosine=put(spread("cosine", 1.0)), sine=put(spread("sine", 0.0)),
            flatness=put(spread("flatness", 0.0)), roundness=put(spread("roundness", 0.0)),
            kinds=(kinds[0], kinds[1], kinds[2]), occluders=put(occluders), surfaces=surfaces, rooms=rooms,
            openness=torch.from_numpy(np.stack(maps).ravel()).to(device), map_rows=map_rows, map_columns=map_columns,
            has_families=any(int(scene.surfaces["first_texel"].max()) >= FAMILY_TEXEL for scene in scenes),
        )  # fmt: skip


def _kinds(scene: Scene) -> np.ndarray:
    aligned = np.abs(scene.sine * scene.cosine) < 1e-9
    return np.where(scene.roundness != 0, 2, np.where(aligned, 0, 1))


def _places(kind: np.ndarray, kinds: list[int]) -> np.ndarray:
    """Return the index of each primitive in the padded arrays, given its kind and the size of each kind's block."""
    places = np.empty(len(kind), np.int64)
    for k in range(3):
        places[kind == k] = sum(kinds[:k]) + np.arange((kind == k).sum())
    return places
