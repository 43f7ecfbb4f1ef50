"""How sure the odometry is of itself: a simple model from the network's confidence.

A frame's uncertainty factor is ``u = 1 / (c − 1 + FLOOR)`` with c its median confidence (>= 1), so that a confident
frame has small variances and a frame with none has large ones. Position and orientation have a standard deviation of
``SIGMA · sqrt(u)``, and a velocity is the difference of two such poses over the time between them. The constants are
round numbers, not a fit: well-formed for consumers, not yet calibrated against measured error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ttt3r_ros.geometry import FloatArray

SIGMA_POSITION = 0.05  #: [m]
SIGMA_ORIENTATION = 0.03  #: [rad]
FLOOR = 0.05
#: Variances stay inside these bounds: RTAB-Map reads 9999 and more as "lost".
SMALLEST, LARGEST = 1e-9, 9000.0


@dataclass(frozen=True)
class Covariances:
    """Variances in ROS order (x, y, z, roll, pitch, yaw), (6,) each; pose in m² and rad², twist in the same per s²."""

    pose: FloatArray
    twist: FloatArray


def covariances(median_confidence: float, seconds: float | None) -> Covariances:
    """Return the variances of a frame's pose and of the velocity up to it.

    Args:
        median_confidence: of the frame, >= 1; anything else counts as 1, no confidence.
        seconds: since the frame before; None or not positive where no velocity is known.
    """
    confidence = median_confidence if median_confidence >= 1.0 else 1.0  # NaN compares false
    uncertainty = 1.0 / (confidence - 1.0 + FLOOR)
    sigma_squared = np.repeat([SIGMA_POSITION**2, SIGMA_ORIENTATION**2], 3) * uncertainty
    pose = _well_formed(sigma_squared)
    if seconds is None or not seconds > 0:
        return Covariances(pose, _well_formed(np.full(6, LARGEST)))
    return Covariances(pose, _well_formed(2.0 * sigma_squared / float(np.clip(seconds, 1e-6, 1e6)) ** 2))


def _well_formed(variances: FloatArray) -> FloatArray:
    """Keep variances positive, finite, below "lost", and off exactly 1.0, which RTAB-Map reads as "none given"."""
    bounded = np.clip(variances, SMALLEST, LARGEST)
    return np.where(bounded == 1.0, 1.0 + 1e-6, bounded)
