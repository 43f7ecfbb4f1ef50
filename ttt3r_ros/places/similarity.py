"""Similarity transforms: a rotation, a translation and a scale, since monocular odometry drifts in all three."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ttt3r_ros.geometry import FloatArray, rotation_vector


@dataclass(frozen=True)
class Similarity:
    """``S_a_b`` maps points in b, in b's meters, to a, in a's: ``p_a = scale · R · p_b + t``.

    Attributes:
        scale: how many of a's meters one of b's is, > 0.
        R: (3, 3) rotation.
        t: (3,) b's origin in a.
    """

    scale: float
    R: FloatArray
    t: FloatArray

    @classmethod
    def of(cls, T: FloatArray, scale: float = 1.0) -> Similarity:
        """Return the similarity of a (4, 4) rigid transform and a scale about b's origin."""
        return cls(scale, np.array(T[:3, :3]), np.array(T[:3, 3]))

    def __matmul__(self, other: Similarity) -> Similarity:
        """Return ``S_a_c`` for ``S_a_b @ S_b_c``."""
        return Similarity(self.scale * other.scale, self.R @ other.R, self.scale * (self.R @ other.t) + self.t)

    def inverse(self) -> Similarity:
        """Return ``S_b_a``."""
        return Similarity(1.0 / self.scale, self.R.T, -(self.R.T @ self.t) / self.scale)

    def apply(self, points: FloatArray) -> FloatArray:
        """Map (..., 3) points."""
        return self.scale * (points @ self.R.T) + self.t

    @property
    def rigid(self) -> FloatArray:
        """(4, 4) pose of b's axes in a, without the scale."""
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = self.R, self.t
        return T

    @property
    def angle(self) -> float:
        """Angle of the rotation [rad]."""
        return float(np.linalg.norm(rotation_vector(self.R)))

    @property
    def distance(self) -> float:
        """Distance of b's origin from a's, in a's meters."""
        return float(np.linalg.norm(self.t))

    @property
    def log_scale(self) -> float:
        """Natural logarithm of the scale."""
        return math.log(self.scale)
