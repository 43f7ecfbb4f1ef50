"""Removes lens distortion from raw images."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.errors import UserError, quoted
from ttt3r_ros.geometry import FloatArray, Intrinsics

#: Distortion coefficients are invalid if a smaller share of the undistorted pixels lies within the raw image.
MIN_SOURCE_SHARE = 0.1

#: sensor_msgs/distortion_models that OpenCV supports, and the numbers of coefficients that it accepts for each.
MODELS = {"plumb_bob": (4, 5), "rational_polynomial": (4, 5, 8, 12, 14), "equidistant": (4,)}
#: Other names that some drivers use.
OTHER_NAMES = {"fisheye": "equidistant"}


class Rectifier:
    """Maps the images of one distorted camera to those of a pinhole camera with the same camera matrix K."""

    def __init__(self, camera: Intrinsics, distortion: npt.ArrayLike, model: str) -> None:
        """Precompute the undistortion maps.

        Args:
            camera: of the distorted image.
            distortion: coefficients in OpenCV's order.
            model: one of the names in sensor_msgs/distortion_models, or ``fisheye`` for ``equidistant``.

        Raises:
            UserError: the model is unknown, its coefficients do not fit it, or they leave almost no image.
        """
        self.camera = camera
        K: FloatArray = camera.matrix()
        size = (camera.width, camera.height)
        model = OTHER_NAMES.get(model, model)
        D = _coefficients(np.asarray(distortion, dtype=np.float64), model)
        make_maps = cv2.fisheye.initUndistortRectifyMap if model == "equidistant" else cv2.initUndistortRectifyMap
        x, y = make_maps(K, D, np.eye(3), K, size, cv2.CV_32FC1)
        with np.errstate(invalid="ignore"):  # NaN compares false
            has_source = (x > -1) & (x < camera.width) & (y > -1) & (y < camera.height)
        if has_source.mean() < MIN_SOURCE_SHARE:
            raise UserError(
                f"the camera_info's distortion {quoted(str(D.tolist()))} leaves only {100 * has_source.mean():.0f} % "
                "of the image; calibrate the camera again"
            )
        self._maps = cv2.convertMaps(x, y, cv2.CV_16SC2)

    def rectify(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the undistorted (H, W, 3) image; pixels without a source are black."""
        return np.asarray(cv2.remap(image, *self._maps, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _coefficients(given: FloatArray, model: str) -> FloatArray:
    """Add or remove trailing zeros so that OpenCV accepts the coefficients of a model.

    Raises:
        UserError: the model is unknown, or its coefficients do not fit it.
    """
    if model not in MODELS:
        raise UserError(
            f"the camera_info's distortion model {quoted(model)} is not one of plumb_bob, rational_polynomial and "
            "equidistant (fisheye); rectify the images first, for example with image_proc"
        )
    counts = MODELS[model]
    used = int(np.max(np.nonzero(given)[0], initial=-1)) + 1 if given.ndim == 1 else 0  # NaN is not zero
    if given.ndim != 1 or len(given) < counts[0] or used > counts[-1] or not np.isfinite(given).all():
        raise UserError(
            f"the camera_info's distortion model {model!r} needs {' or '.join(map(str, counts))} finite "
            f"coefficients but has {quoted(str(given.tolist()))}; calibrate the camera again"
        )
    fitting = np.zeros(next(count for count in counts if count >= used))
    fitting[: min(len(fitting), len(given))] = given[: len(fitting)]
    return fitting
