"""How uncertain the odometry's motion between two keyframes is, worked out frame by frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.places.graph import Sigmas
from ttt3r_ros.stream.covariance import CovarianceModel

#: What an edge is uncertain by at least, and how much the logarithm of the scale wanders from segment to segment.
MIN_SIGMAS = Sigmas(0.003, 0.01, 0.03)
SCALE_PER_SEGMENT = 0.05


@dataclass(frozen=True)
class Stretch:
    """The frames since a keyframe.

    Attributes:
        T_odom_camera: (4, 4) pose at the last frame.
        stamp_ns: of the last frame [ns].
        segment: of the last frame.
        rotation, translation, scale: variances so far [rad², m², logarithm].
        is_known: whether odometry has seen all of the motion.
    """

    T_odom_camera: FloatArray
    stamp_ns: int
    segment: int
    rotation: float = 0.0
    translation: float = 0.0
    scale: float = 0.0
    is_known: bool = True

    def restarted(self) -> Stretch:
        """Return the path of a keyframe at the last frame."""
        return replace(self, rotation=0.0, translation=0.0, scale=0.0, is_known=True)

    def extended(
        self,
        T_odom_camera: FloatArray,
        stamp_ns: int,
        segment: int,
        added: tuple[float, float],
        model: CovarianceModel,
        *,
        is_known: bool,
    ) -> Stretch:
        """Return the path to a further frame.

        Args:
            T_odom_camera: its pose.
            stamp_ns: its stamp [ns].
            segment: its segment.
            added: standard deviations that the motion to it adds [m, rad], see `Motion.added`.
            model: how errors grow while nothing is seen.
            is_known: whether odometry has seen the motion; if not, the camera may have gone anywhere meanwhile.
        """
        metres, radians = added
        if not is_known:  # as long as since the last frame of the map, which may be earlier than that of the odometry
            lost = model.lost_sigmas((stamp_ns - self.stamp_ns) * 1e-9)
            metres, radians = max(metres, lost[0]), max(radians, lost[1])
        return Stretch(
            T_odom_camera=T_odom_camera,
            stamp_ns=stamp_ns,
            segment=segment,
            rotation=self.rotation + radians**2,
            translation=self.translation + metres**2,
            scale=self.scale + SCALE_PER_SEGMENT**2 * (segment - self.segment),
            is_known=self.is_known and is_known,
        )

    @property
    def sigmas(self) -> Sigmas:
        """Standard deviations of the motion since the keyframe."""
        return Sigmas(
            math.sqrt(self.rotation + MIN_SIGMAS.rotation**2),
            math.sqrt(self.translation + MIN_SIGMAS.translation**2),
            math.sqrt(self.scale + MIN_SIGMAS.scale**2),
        )
