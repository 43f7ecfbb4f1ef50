"""Removing lens distortion, for cameras whose images arrive raw."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.errors import UserError, quoted
from ttt3r_ros.geometry import FloatArray, Intrinsics

#: Less of an image than this has a source where coefficients describe no lens.
SMALLEST_SOURCE = 0.1

#: sensor_msgs/distortion_models that OpenCV can undo.
FISHEYE_MODELS = ("equidistant",)
POLYNOMIAL_MODELS = ("plumb_bob", "rational_polynomial")


class Rectifier:
    """Maps images of one distorted camera to those of the pinhole camera with the same matrix K."""

    def __init__(self, camera: Intrinsics, distortion: npt.ArrayLike, model: str) -> None:
        """Prepare the maps.

        Args:
            camera: of the distorted image.
            distortion: coefficients in OpenCV's order.
            model: one of the names in sensor_msgs/distortion_models.

        Raises:
            UserError: the model is unknown, its coefficients do not fit it, or they leave next to nothing of the image.
        """
        self.camera = camera
        K: FloatArray = camera.matrix()
        D = np.asarray(distortion, dtype=np.float64)
        size = (camera.width, camera.height)
        wanted = {"equidistant": (4,), "plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14)}.get(model)
        if wanted is None:
            raise UserError(
                f"the camera_info's distortion model {quoted(model)} is not one of plumb_bob, rational_polynomial and "
                "equidistant; rectify the images first, with image_proc for example"
            )
        if D.ndim != 1 or len(D) not in wanted or not np.isfinite(D).all():
            raise UserError(
                f"the camera_info's distortion model {model!r} needs {' or '.join(map(str, wanted))} finite "
                f"coefficients, it has {quoted(str(D.tolist()))}; calibrate the camera again"
            )
        make_maps = cv2.fisheye.initUndistortRectifyMap if model in FISHEYE_MODELS else cv2.initUndistortRectifyMap
        x, y = make_maps(K, D, np.eye(3), K, size, cv2.CV_32FC1)
        with np.errstate(invalid="ignore"):  # NaN compares false
            has_source = (x > -1) & (x < camera.width) & (y > -1) & (y < camera.height)
        if has_source.mean() < SMALLEST_SOURCE:
            raise UserError(
                f"the camera_info's distortion {quoted(str(D.tolist()))} leaves {100 * has_source.mean():.0f} % of the "
                "image; calibrate the camera again"
            )
        self._maps = cv2.convertMaps(x, y, cv2.CV_16SC2)

    def rectify(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the undistorted (H, W, 3) image; pixels without a source are black."""
        return np.asarray(cv2.remap(image, *self._maps, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
