"""How far the odometry's place in the map can be off: since a place was recognized, or as somebody has hinted."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.places.graph import Sigmas


@dataclass(frozen=True)
class Hint:
    """Where somebody says that the odometry stands in the map.

    Attributes:
        T_map_odom: (4, 4).
        sigma: of the position [m].
        keyframes_left: for how many more, whose places are looked for, it holds.
    """

    T_map_odom: FloatArray
    sigma: float
    keyframes_left: int


@dataclass(frozen=True)
class Drift:
    """How uncertain a track's pose in the map has become since a place was last recognized from it.

    Attributes:
        translation, rotation: variances [m², rad²].
        scale: of the logarithm.
        meters: path length.
    """

    translation: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    meters: float = 0.0

    def after(self, sigmas: Sigmas, meters: float) -> Drift:
        """Return the drift after a further motion."""
        return Drift(
            self.translation + sigmas.translation**2,
            self.rotation + sigmas.rotation**2,
            self.scale + sigmas.scale**2,
            self.meters + meters,
        )

    @property
    def sigma(self) -> float:
        """Standard deviation of the position [m]: errors of heading and scale act along the path, by a third each."""
        return math.sqrt(self.translation + self.meters**2 * (self.rotation + self.scale) / 3)
