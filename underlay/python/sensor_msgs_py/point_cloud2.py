"""Point clouds to and from numpy."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured, unstructured_to_structured
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

DUMMY_FIELD_PREFIX = "unnamed_field"
_DATATYPES = {
    PointField.INT8: np.dtype(np.int8),
    PointField.UINT8: np.dtype(np.uint8),
    PointField.INT16: np.dtype(np.int16),
    PointField.UINT16: np.dtype(np.uint16),
    PointField.INT32: np.dtype(np.int32),
    PointField.UINT32: np.dtype(np.uint32),
    PointField.FLOAT32: np.dtype(np.float32),
    PointField.FLOAT64: np.dtype(np.float64),
}


def create_cloud(
    header: Header, fields: Iterable[PointField], points: Iterable, point_step: int | None = None
) -> PointCloud2:
    """Makes a cloud.

    Args:
        header: Is put on the cloud.
        fields: What a point consists of.
        points: Structured array whose dtype is that of ``fields``; or array or list of points with one value per
            field. Of the points' dimensions the first becomes the width, the second the height (as upstream).
        point_step: Bytes from one point to the next, where a point has padding behind its last field.

    Raises:
        AssertionError: ``points`` do not fit ``fields``, or have more than two dimensions of points.
    """
    fields = list(fields)
    dtype = dtype_from_fields(fields, point_step)
    if not isinstance(points, np.ndarray):
        points = np.array([tuple(point) for point in points], dtype=dtype)
    elif points.dtype.names is None:
        assert len({field.datatype for field in fields}) == 1, (
            "All fields need to have the same datatype. Pass a structured NumPy array with multiple dtypes otherwise."
        )
        points = unstructured_to_structured(points, dtype=dtype)
    else:
        assert points.dtype == dtype, (
            "PointFields and structured NumPy array dtype do not match for all fields! "
            "Check their field order, names and types."
        )
    assert points.ndim <= 2, "Too many dimensions for an organized cloud: points have at most two"
    width = points.shape[0]
    height = points.shape[1] if points.ndim == 2 else 1
    return PointCloud2(
        header=header,
        height=height,
        width=width,
        fields=fields,
        is_bigendian=sys.byteorder != "little",
        point_step=points.dtype.itemsize,
        row_step=points.dtype.itemsize * width,
        data=array("B", points.tobytes()),  # other types are copied byte by byte
        is_dense=False,
    )


def create_cloud_xyz32(header: Header, points: Iterable) -> PointCloud2:
    """Makes a cloud of float32 x, y, z from (N, 3) points."""
    fields = [PointField(name=n, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, n in enumerate("xyz")]
    return create_cloud(header, fields, points)


def read_points(
    cloud: PointCloud2,
    field_names: list[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable | None = None,
    reshape_organized_cloud: bool = False,
) -> np.ndarray:
    """Reads the points of a cloud.

    Args:
        cloud: To read.
        field_names: Only these; all where not given.
        skip_nans: Leave out points with a NaN in any of the fields read.
        uvs: Only the points at these indices.
        reshape_organized_cloud: Return an organized cloud as (width, height) (as upstream).

    Returns:
        Structured array with one element per point.
    """
    dtype = dtype_from_fields(cloud.fields, point_step=cloud.point_step)
    points = np.ndarray((cloud.width * cloud.height,), dtype=dtype, buffer=cloud.data)
    if field_names is not None:
        assert all(name in points.dtype.names for name in field_names), "Requested field is not in the PointCloud!"
        points = points[list(field_names)]
    if bool(sys.byteorder != "little") != bool(cloud.is_bigendian):
        points = points.byteswap()
    if skip_nans and not cloud.is_dense:
        has_nan = np.zeros(len(points), dtype=bool)
        for name in points.dtype.names:
            has_nan |= np.isnan(points[name])
        points = points[~has_nan]
    if uvs is not None:
        points = points[uvs if isinstance(uvs, np.ndarray) else np.fromiter(uvs, int)]
    if reshape_organized_cloud and cloud.height > 1:
        points = points.reshape(cloud.width, cloud.height)
    return points


def read_points_numpy(
    cloud: PointCloud2,
    field_names: list[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable | None = None,
    reshape_organized_cloud: bool = False,
) -> np.ndarray:
    """Like ``read_points``, as a plain (..., fields) array. All fields read must have the type of the first field."""
    of_one_type = all(
        field.datatype == cloud.fields[0].datatype
        for field in cloud.fields
        if field_names is None or field.name in field_names
    )
    assert of_one_type, "All fields need to have the same datatype. Use `read_points()` otherwise."
    return structured_to_unstructured(read_points(cloud, field_names, skip_nans, uvs, reshape_organized_cloud))


def dtype_from_fields(fields: Iterable[PointField], point_step: int | None = None) -> np.dtype:
    """Returns the structured dtype of a point. A field of count n becomes n fields with suffixes _0 to _(n-1)."""
    names, offsets, formats = [], [], []
    for position, field in enumerate(fields):
        datatype = _DATATYPES[field.datatype]
        name = field.name or f"{DUMMY_FIELD_PREFIX}_{position}"
        assert field.count > 0, "Can't process fields with count = 0."
        for element in range(field.count):
            names.append(f"{name}_{element}" if field.count > 1 else name)
            offsets.append(field.offset + element * datatype.itemsize)
            formats.append(datatype)
    layout = {"names": names, "formats": formats, "offsets": offsets}
    return np.dtype(layout if point_step is None else {**layout, "itemsize": point_step})
