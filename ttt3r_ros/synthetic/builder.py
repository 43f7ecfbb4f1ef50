"""Collects painted boxes, cylinders and ellipsoids and converts them to the arrays of a scene."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ttt3r_ros.synthetic.atlas import LAYER, TEXELS_PER_LAYER
from ttt3r_ros.synthetic.families import STRETCHED
from ttt3r_ros.synthetic.patterns import PERIOD_M, SIZE
from ttt3r_ros.synthetic.pictures import PICTURES, SHEETS

Color = tuple[float, float, float]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Paint:
    """The material of a surface.

    Attributes:
        name: name of a pattern, mapped in meters, or of a picture, stretched over the face.
        tint: multiplies the texture's linear albedo.
        scale: scale of a pattern; 2 draws it twice as large.
        turned: whether a pattern runs along the face's other axis; None aligns it with the longer side.
        cell: index of a picture in its sheet, row by row.
        glow: 0 is lit by the room, 1 emits light.
        anchored: whether a pattern starts at the world's origin, so that it continues across adjacent boxes.
    """

    name: str
    tint: Color = (1.0, 1.0, 1.0)
    scale: float = 1.0
    turned: bool | None = False
    cell: int = 0
    glow: float = 0.0
    anchored: bool = False


@dataclass(frozen=True)
class Place:
    """Where a piece of furniture stands: its own x runs along the wall behind it, y into the room, z up."""

    x: float
    y: float
    yaw: float = 0.0
    z: float = 0.0

    def at(self, x: float, y: float, yaw: float = 0.0, z: float = 0.0) -> Place:
        """Return the place with these coordinates in this place's axes."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return Place(self.x + c * x - s * y, self.y + s * x + c * y, self.yaw + yaw, self.z + z)


@dataclass
class Builder:
    """Collects primitives; ``room`` is the index of the room that lights the primitives added next."""

    rng: np.random.Generator
    room: int = 0
    _rows: list[tuple[float, ...]] = field(default_factory=list)
    _paints: dict[Paint, int] = field(default_factory=dict)
    _copies: dict[int, int] = field(default_factory=dict)  # rows whose patterns begin where those of others do

    def box(
        self,
        place: Place,
        x: tuple[float, float],
        y: tuple[float, float],
        z: tuple[float, float],
        paint: Paint,
        *,
        front: Paint | None = None,
        top: Paint | None = None,
    ) -> None:
        """Add a box by its extent in the axes of a place; ``front`` covers its +y face and ``top`` its +z face."""
        middle = place.at((x[0] + x[1]) / 2, (y[0] + y[1]) / 2, z=(z[0] + z[1]) / 2)
        half = ((x[1] - x[0]) / 2, (y[1] - y[0]) / 2, (z[1] - z[0]) / 2)
        body = self._paint(paint)
        self._add(
            middle, half, 0.0, 0.0, (body, self._paint(front) if front else body, self._paint(top) if top else body)
        )

    def cylinder(self, place: Place, radius: float, z: tuple[float, float], paint: Paint) -> None:
        """Add an upright cylinder around the z axis of a place."""
        middle = place.at(0.0, 0.0, z=(z[0] + z[1]) / 2)
        self._add(middle, (radius, radius, (z[1] - z[0]) / 2), 0.0, 1.0, (self._paint(paint),) * 3)

    def ellipsoid(self, place: Place, radius: float, z: tuple[float, float], paint: Paint) -> None:
        """Add an ellipsoid, round seen from above."""
        half_height = (z[1] - z[0]) / 2
        middle = place.at(0.0, 0.0, z=(z[0] + z[1]) / 2)
        flatness = (radius / half_height) ** 2
        self._add(middle, (radius, radius, half_height), flatness, 1.0, (self._paint(paint),) * 3)

    def __len__(self) -> int:
        """Return the number of primitives so far."""
        return len(self._rows)

    def _add(
        self,
        middle: Place,
        half: tuple[float, float, float],
        flatness: float,
        roundness: float,
        paints: tuple[int, int, int],
    ) -> None:
        yaw = 0.0 if roundness else middle.yaw  # round primitives are rotationally symmetric; tracing assumes yaw 0
        self._rows.append((middle.x, middle.y, middle.z, *half, yaw, flatness, roundness, self.room, *paints))

    def _paint(self, paint: Paint) -> int:
        return self._paints.setdefault(paint, len(self._paints))

    def copy(self, first: int, last: int, room: int, move: float, *, mirrored: bool = False) -> None:
        """Add copies of primitives first, ..., last - 1, with the same patterns, for another room.

        Args:
            first, last: which ones.
            room: that lights the copies.
            move: along x [m]; if mirrored, the copies' x is this minus the originals'.
            mirrored: whether the copies are mirror images.
        """
        for index in range(first, last):
            x, y, z, half_x, half_y, half_z, yaw, *rest = self._rows[index]
            x, yaw = (move - x, -yaw) if mirrored else (move + x, yaw)
            flatness, roundness, _, *paints = rest
            self._copies[len(self._rows)] = index
            self._rows.append((x, y, z, half_x, half_y, half_z, yaw, flatness, roundness, room, *paints))

    def primitives(self) -> dict[str, Array]:
        """Return center (N, 3), half (N, 3), yaw, flatness, roundness, room (N,)."""
        rows = np.array(self._rows)
        names = ("yaw", "flatness", "roundness", "room")
        return {"center": rows[:, :3], "half": rows[:, 3:6], **{n: rows[:, 6 + i] for i, n in enumerate(names)}}

    def surfaces(self) -> dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int32]]:
        """Return the columns of the surface table, each (6 · N,): the mapping from faces to texels."""
        rows = np.array(self._rows)
        center, half, room = rows[:, None, :3], rows[:, None, 3:6], rows[:, None, 9]
        body, front, top = rows[:, 10:13].astype(np.int64).T
        paint = np.stack([body, body, body, front, body, top], axis=1)  # faces -x +x -y +y -z +z
        columns = np.array(
            [
                (
                    LAYER[p.name], p.scale, -1.0 if p.turned is None else float(p.turned), p.cell, p.glow,
                    float(p.anchored), float(p.name in PICTURES or p.name in STRETCHED), SHEETS.get(p.name, 1), *p.tint,
                )
                for p in self._paints
            ]
        )[paint]  # fmt: skip
        layer, scale, turned, cell, glow, anchored, stretched, grid, red, green, blue = np.moveaxis(columns, 2, 0)

        along_p, along_q = np.array([1, 1, 0, 0, 0, 0]), np.array([2, 2, 2, 2, 1, 1])  # the axes of a face
        size_p, size_q = 2 * half[:, 0, along_p], 2 * half[:, 0, along_q]
        # patterns: texels per meter, from the world's origin or a random start
        texels = SIZE / (PERIOD_M * scale)
        anywhere = self.rng.uniform(0, SIZE, (2, *paint.shape))
        start_p = np.where(anchored > 0, texels * center[:, 0, along_p], anywhere[0])
        start_q = np.where(anchored > 0, texels * center[:, 0, along_q], anywhere[1])
        if self._copies:
            copies, originals = list(self._copies), list(self._copies.values())
            start_p[copies], start_q[copies] = start_p[originals], start_q[originals]
        turn = np.where(turned < 0, size_q > size_p, turned > 0)
        # pictures: the whole cell over the whole face, its first row on top
        width = SIZE / grid
        left, upper = (cell % grid + 0.5) * width, (cell // grid + 0.5) * width
        table = {
            "u_p": np.where(stretched > 0, width / size_p, np.where(turn, 0.0, texels)),
            "u_q": np.where(stretched > 0, 0.0, np.where(turn, texels, 0.0)),
            "u_0": np.where(stretched > 0, left, np.where(turn, start_q, start_p)),
            "v_p": np.where(stretched > 0, 0.0, np.where(turn, texels, 0.0)),
            "v_q": np.where(stretched > 0, -width / size_q, np.where(turn, 0.0, -texels)),
            "v_0": np.where(stretched > 0, upper, np.where(turn, start_p, -start_q)),
            "detail": np.log2(np.where(stretched > 0, width / np.sqrt(size_p * size_q), texels)),
            "red": red, "green": green, "blue": blue, "glow": glow,
        }  # fmt: skip
        out: dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int32]]
        out = {name: column.astype(np.float32).ravel() for name, column in table.items()}
        out["first_texel"] = (layer.astype(np.int32) * TEXELS_PER_LAYER).ravel()
        out["room"] = np.broadcast_to(room, paint.shape).astype(np.int32).ravel()
        return out
