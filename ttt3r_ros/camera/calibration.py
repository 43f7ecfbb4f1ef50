"""A camera's calibration as in sensor_msgs/CameraInfo, and the pinhole camera that it describes. No ROS.

The node, ``play`` and the bag reader all use this module, so that they agree on a recording's camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ttt3r_ros.camera.rectify import Rectifier
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, Intrinsics

#: Plausible range of the focal length divided by the image's long side.
FOCAL_RANGE = (0.01, 1000.0)
#: Pixels are at most this many times as long as wide, or as wide as long: twice if every other line is read out.
MAX_PIXEL_ASPECT = 2.0
#: Largest skew of a camera matrix, relative to fx, that is ignored: less than the error of a typical calibration.
MAX_SKEW = 0.01

_REMEDY = (
    "calibrate the camera or stop publishing camera_info; the focal length is estimated from the images until then"
)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        intrinsics: of the images, once they are rectified.
        rectifier: of the images; None if they have no distortion.
        warning: what of the calibration is ignored, in a sentence; empty if nothing.
    """

    intrinsics: Intrinsics
    rectifier: Rectifier | None
    warning: str = ""


@dataclass(frozen=True)
class Distortion:
    """Lens distortion.

    Attributes:
        model: ``plumb_bob``, ``rational_polynomial`` or ``equidistant``.
        coefficients: of the model, in the order that CameraInfo and OpenCV use.
    """

    model: str
    coefficients: tuple[float, ...]


@dataclass(frozen=True)
class Calibration:
    """The content of a camera_info. Matrices and offsets refer to the full sensor, before binning.

    Attributes:
        width, height: of the full-resolution image [px].
        K: (9,) camera matrix of the raw images, row-major; zeros if the camera is not calibrated.
        model: distortion model of the lens.
        D: its coefficients.
        R: (9,) rotation that rectifies a stereo pair, row-major.
        P: (12,) projection matrix of the rectified images, row-major; zeros if there is none.
        binning: number of pixels combined into one, along x and y; 0 means 1.
        region: region of interest (x, y, width, height) [px]; a size of 0 means the full image.
    """

    width: int
    height: int
    K: tuple[float, ...]
    model: str
    D: tuple[float, ...]
    R: tuple[float, ...]
    P: tuple[float, ...]
    binning: tuple[int, int] = (1, 1)
    region: tuple[int, int, int, int] = (0, 0, 0, 0)

    @classmethod
    def from_message(cls, info: Any) -> Calibration:
        """Return the calibration in a message.

        Args:
            info: a sensor_msgs/CameraInfo from rclpy or from the rosbags library, whose ROS 1 fields are uppercase.
        """
        roi = info.roi
        matrices = {
            name: tuple(
                float(value) for value in (getattr(info, name) if hasattr(info, name) else getattr(info, upper))
            )
            for name, upper in zip("kdrp", "KDRP")
        }
        return cls(
            width=int(info.width),
            height=int(info.height),
            K=matrices["k"],
            model=str(info.distortion_model),
            D=matrices["d"],
            R=matrices["r"],
            P=matrices["p"],
            binning=(int(info.binning_x), int(info.binning_y)),
            region=(int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)),
        )

    @classmethod
    def of(cls, intrinsics: Intrinsics, distortion: Distortion | None = None) -> Calibration:
        """Return the calibration of a camera with these intrinsics, which also apply to its undistorted images."""
        K = intrinsics.matrix()
        return cls(
            width=intrinsics.width,
            height=intrinsics.height,
            K=tuple(K.ravel().tolist()),
            model=distortion.model if distortion else "plumb_bob",
            D=distortion.coefficients if distortion else (0.0,) * 5,
            R=tuple(np.eye(3).ravel().tolist()),
            P=tuple(np.hstack([K, np.zeros((3, 1))]).ravel().tolist()),
        )

    def camera(self, *, rectified: bool, image_size: tuple[int, int] | None = None) -> Camera:
        """Return the camera that this calibration describes.

        Args:
            rectified: if true, the images have no distortion and P describes them, or K if P is empty or was left at
                identity. If false, K and D describe them, or P if K is empty and there is no distortion.
            image_size: actual width and height of the images [px]; None to use the calibration's.

        Raises:
            UserError: the calibration does not describe a valid camera, or is for a different image size.
        """
        matrix = self._matrix(rectified=rectified)
        fx, fy, cx, cy = (float(matrix[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
        if not (np.isfinite(matrix).all() and fx > 0 and fy > 0):
            raise UserError(f"the camera_info is not calibrated (fx={fx:g}, fy={fy:g}): {_REMEDY}")
        warning = check_matrix(matrix)
        x, y, region_width, region_height = self.region
        binning_x, binning_y = (max(factor, 1) for factor in self.binning)
        width, height = (region_width or self.width) // binning_x, (region_height or self.height) // binning_y
        if image_size not in (None, (width, height)):  # checked before allocating undistortion maps of that size
            raise UserError(
                f"the camera_info is for {width}x{height} pixels but the images have {'x'.join(map(str, image_size))}: "
                "it is ignored and the focal length is estimated from the images"
            )
        if not (
            0 <= x <= self.width - (region_width or self.width)
            and 0 <= y <= self.height - (region_height or self.height)
        ):
            raise UserError(
                f"the camera_info's region of interest ({region_width}x{region_height} at {x}, {y}) lies outside its "
                f"{self.width}x{self.height} pixels: width and height must be those of the whole sensor; {_REMEDY}"
            )
        focals = np.array([fx / binning_x, fy / binning_y]) / max(width, height, 1)
        in_range = ((focals > FOCAL_RANGE[0]) & (focals < FOCAL_RANGE[1])).all()
        # relative to the full image: the principal point may well lie outside the region of interest
        if not (in_range and -0.5 <= cx <= self.width - 0.5 and -0.5 <= cy <= self.height - 0.5):
            raise UserError(
                f"the camera_info cannot be that of a camera with {self.width}x{self.height} pixels (fx={fx:g}, "
                f"fy={fy:g}, cx={cx:g}, cy={cy:g}): {_REMEDY}"
            )
        if max(focals) > 1.01 * MAX_PIXEL_ASPECT * min(focals):
            raise UserError(
                f"the camera_info's focal lengths differ too much to be those of one camera (fx={fx:g}, fy={fy:g}): "
                f"{_REMEDY}"
            )
        intrinsics = Intrinsics(
            fx=fx / binning_x,
            fy=fy / binning_y,
            cx=(cx - x + 0.5) / binning_x - 0.5,
            cy=(cy - y + 0.5) / binning_y - 0.5,
            width=width,
            height=height,
        )
        distorted = not rectified and any(self.D)
        return Camera(intrinsics, Rectifier(intrinsics, self.D, self.model) if distorted else None, warning)

    def _matrix(self, *, rectified: bool) -> FloatArray:
        """Return the (3, 3) camera matrix of the images."""
        K = np.array(self.K, dtype=np.float64).reshape(3, 3)
        P = np.array(self.P, dtype=np.float64).reshape(3, 4)[:, :3]
        if rectified:
            return P if P.any() and not (K.any() and np.array_equal(P, np.eye(3))) else K
        return P if not K.any() and not any(self.D) else K


def check_matrix(matrix: FloatArray) -> str:
    """Check that (3, 3) numbers are a camera matrix; return a sentence if it has a small skew, else an empty string.

    Raises:
        UserError: it is none, or has a skew too large to ignore.
    """
    fx, skew = float(matrix[0, 0]), float(matrix[0, 1])
    if matrix[1, 0] != 0 or matrix[2, :2].any() or matrix[2, 2] not in (0, 1):  # some drivers leave out the 1
        raise UserError(f"the camera matrix is not [fx 0 cx; 0 fy cy; 0 0 1], row by row: {_REMEDY}")
    if abs(skew) > MAX_SKEW * fx:
        raise UserError(
            f"the camera matrix has a skew of {skew:g} px, which no lens model has: calibrate the camera without it; "
            "the focal length is estimated from the images until then"
        )
    return f"the camera matrix's skew of {skew:g} px is ignored: calibrate the camera without it" if skew else ""
