"""What consumers of the node take out of its messages."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py.point_cloud2 import read_points

from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.mapping.voxel_map import MapPoints


def points_of(cloud: PointCloud2) -> MapPoints:
    """Return the finite points of a cloud, in the message's frame."""
    points = read_points(cloud, field_names=["x", "y", "z", "rgb", "confidence"])
    xyz = np.stack([points["x"], points["y"], points["z"]], axis=1)
    packed = np.ascontiguousarray(points["rgb"]).view(np.uint32)  # 0x00RRGGBB, stored in the bits of a float
    colors = np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=1).astype(np.uint8)
    finite = np.isfinite(xyz).all(axis=1)
    return MapPoints(xyz[finite], colors[finite], np.asarray(points["confidence"])[finite])


def moved(cloud: MapPoints, T: FloatArray) -> MapPoints:
    """Return a cloud with its points mapped by a (4, 4) transform."""
    positions: npt.NDArray[np.float32] = (cloud.positions @ T[:3, :3].T + T[:3, 3]).astype(np.float32)
    return MapPoints(positions, cloud.colors, cloud.confidences)
