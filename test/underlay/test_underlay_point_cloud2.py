"""What this package relies on in sensor_msgs_py, be it ROS's or the underlay's."""

from __future__ import annotations

import math
import sys
from array import array

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="these packages come with ROS")

from sensor_msgs.msg import PointField
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header

RANDOM = np.random.default_rng(0)

FIELDS = [
    PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1),
    PointField(name="y", offset=4, datatype=PointField.FLOAT32, count=1),
    PointField(name="z", offset=8, datatype=PointField.FLOAT32, count=1),
    PointField(name="rgb", offset=16, datatype=PointField.UINT32, count=1),
]


def structured(count: int, step: int | None = None) -> np.ndarray:
    points = np.zeros(count, point_cloud2.dtype_from_fields(FIELDS, step))
    for name in ("x", "y", "z"):
        points[name] = RANDOM.normal(size=count)
    points["rgb"] = np.arange(count)
    return points


def test_points_come_back_from_their_cloud() -> None:
    points = structured(10)
    cloud = point_cloud2.create_cloud(Header(frame_id="camera"), FIELDS, points)
    assert (cloud.header.frame_id, cloud.width, cloud.height, cloud.point_step, cloud.row_step) == (
        "camera",
        10,
        1,
        20,
        200,
    )
    assert isinstance(cloud.data, array)
    read = point_cloud2.read_points(cloud)
    for name in ("x", "y", "z", "rgb"):
        np.testing.assert_array_equal(read[name], points[name])


def test_only_the_fields_asked_for_are_read_and_nans_left_out() -> None:
    points = structured(4)
    points["y"][2] = math.nan
    cloud = point_cloud2.create_cloud(Header(), FIELDS, points)
    read = point_cloud2.read_points(cloud, ["rgb", "y"], skip_nans=True)
    assert read.dtype.names == ("rgb", "y")
    np.testing.assert_array_equal(read["rgb"], [0, 1, 3])
    np.testing.assert_array_equal(point_cloud2.read_points(cloud, ["x"], skip_nans=True)["x"], points["x"])


def test_plain_points_make_an_xyz_cloud() -> None:
    points = RANDOM.normal(size=(6, 3)).astype(np.float32)
    cloud = point_cloud2.create_cloud_xyz32(Header(), points)
    assert [field.name for field in cloud.fields] == ["x", "y", "z"]
    np.testing.assert_array_equal(point_cloud2.read_points_numpy(cloud, ["x", "y", "z"]), points)
    np.testing.assert_array_equal(point_cloud2.read_points_numpy(cloud, ["z"])[:, 0], points[:, 2])


def test_an_organised_array_counts_as_width_by_height() -> None:
    cloud = point_cloud2.create_cloud(Header(), FIELDS, structured(12).reshape(4, 3))
    assert (cloud.width, cloud.height) == (4, 3)
    assert point_cloud2.read_points(cloud, reshape_organized_cloud=True).shape == (4, 3)


def test_points_may_be_picked_by_index() -> None:
    points = structured(5)
    cloud = point_cloud2.create_cloud(Header(), FIELDS, points)
    np.testing.assert_array_equal(point_cloud2.read_points(cloud, uvs=np.array([3, 1]))["rgb"], [3, 1])


def test_points_may_have_padding_behind_them() -> None:
    points = structured(3, step=32)
    cloud = point_cloud2.create_cloud(Header(), FIELDS, points, point_step=32)
    assert (cloud.point_step, cloud.row_step, len(cloud.data)) == (32, 96, 96)
    np.testing.assert_array_equal(point_cloud2.read_points(cloud)["z"], points["z"])


def test_points_of_another_layout_are_refused() -> None:
    with pytest.raises(AssertionError, match="do not match"):
        point_cloud2.create_cloud(Header(), FIELDS[:3], structured(2))


def test_mixed_types_do_not_make_a_plain_array() -> None:
    cloud = point_cloud2.create_cloud(Header(), FIELDS, structured(2))
    with pytest.raises(AssertionError, match="same datatype"):
        point_cloud2.read_points_numpy(cloud, ["x", "rgb"])


def test_a_cloud_of_the_other_byte_order_is_read() -> None:
    points = structured(3)
    cloud = point_cloud2.create_cloud(Header(), FIELDS, points)
    cloud.data = array("B", points.byteswap().tobytes())
    cloud.is_bigendian = sys.byteorder == "little"
    np.testing.assert_array_equal(point_cloud2.read_points(cloud)["x"], points["x"])
