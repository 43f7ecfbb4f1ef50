"""Rigid transforms as plain numbers: translation (x, y, z), quaternion (x, y, z, w)."""

from __future__ import annotations

import math
from typing import NamedTuple

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


class Rigid(NamedTuple):
    """``T_a_b``: maps points in b to a."""

    translation: Vector = (0.0, 0.0, 0.0)
    rotation: Quaternion = (0.0, 0.0, 0.0, 1.0)

    def __matmul__(self, other: Rigid) -> Rigid:
        x, y, z = rotate(self.rotation, other.translation)
        a, b, c = self.translation
        return Rigid((a + x, b + y, c + z), multiply(self.rotation, other.rotation))

    def inverse(self) -> Rigid:
        x, y, z, w = self.rotation
        conjugate = (-x, -y, -z, w)
        a, b, c = rotate(conjugate, self.translation)
        return Rigid((-a, -b, -c), conjugate)


def normalized(q: Quaternion) -> Quaternion:
    """Returns ``q`` at unit length, or NaN if its length is 0."""
    norm = math.hypot(*q)
    x, y, z, w = (value / norm if norm else math.nan for value in q)
    return (x, y, z, w)


def multiply(p: Quaternion, q: Quaternion) -> Quaternion:
    """Returns the Hamilton product."""
    px, py, pz, pw = p
    qx, qy, qz, qw = q
    return (
        pw * qx + px * qw + py * qz - pz * qy,
        pw * qy - px * qz + py * qw + pz * qx,
        pw * qz + px * qy - py * qx + pz * qw,
        pw * qw - px * qx - py * qy - pz * qz,
    )


def rotate(q: Quaternion, v: Vector) -> Vector:
    """Rotates ``v`` by the unit quaternion ``q``."""
    x, y, z, w = q
    # v + 2 w (u x v) + 2 u x (u x v), with u the vector part
    cx, cy, cz = 2 * (y * v[2] - z * v[1]), 2 * (z * v[0] - x * v[2]), 2 * (x * v[1] - y * v[0])
    return (
        v[0] + w * cx + y * cz - z * cy,
        v[1] + w * cy + z * cx - x * cz,
        v[2] + w * cz + x * cy - y * cx,
    )


def interpolate(a: Rigid, b: Rigid, ratio: float) -> Rigid:
    """Interpolates from ``a`` (ratio 0) to ``b`` (1): translation linearly, rotation along the shorter arc."""
    x, y, z = (p + ratio * (q - p) for p, q in zip(a.translation, b.translation))
    return Rigid((x, y, z), _slerp(a.rotation, b.rotation, ratio))


def _slerp(p: Quaternion, q: Quaternion, ratio: float) -> Quaternion:
    cosine = sum(i * j for i, j in zip(p, q))
    sign = math.copysign(1.0, cosine)
    angle = math.acos(min(abs(cosine), 1.0))
    if angle < 1e-9:
        return p
    start, end = math.sin((1 - ratio) * angle) / math.sin(angle), sign * math.sin(ratio * angle) / math.sin(angle)
    x, y, z, w = (start * i + end * j for i, j in zip(p, q))
    return (x, y, z, w)
