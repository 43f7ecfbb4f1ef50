"""Image messages to and from OpenCV images."""

from __future__ import annotations

import sys

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from cv_bridge.encodings import CONVERSIONS, Encoding, opencv_type, parse


class CvBridgeError(TypeError):
    """A conversion is not possible."""


class CvBridge:
    """Converts image messages; keeps no state."""

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = "passthrough") -> np.ndarray:
        """Returns the image of a message, (H, W) or (H, W, channels), converted to ``desired_encoding``.

        With "passthrough" nothing is converted, and the result may share the message's memory.

        Raises:
            CvBridgeError: The encoding is unknown, or the conversion does not exist.
            TypeError: The message holds less data than its size requires.
        """
        encoding = _parse(img_msg.encoding)
        image = _view(img_msg, encoding)
        if desired_encoding == "passthrough":
            return image
        return _convert(image, encoding, _parse(desired_encoding))

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough"
    ) -> np.ndarray | None:
        """Returns the image of a compressed message as OpenCV decodes it (BGR for color), converted.

        With "passthrough", returns None if it cannot be decoded.

        Raises:
            CvBridgeError: The image cannot be decoded, or is not BGR and cannot be converted to ``desired_encoding``.
        """
        image = cv2.imdecode(np.frombuffer(cmprs_img_msg.data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
        if desired_encoding == "passthrough":
            return image
        if image is None:
            raise CvBridgeError(f"The compressed image ({cmprs_img_msg.format}) cannot be decoded")
        return _convert(image, _parse("bgr8"), _parse(desired_encoding))

    def cv2_to_imgmsg(self, cvim: np.ndarray, encoding: str = "passthrough", header: Header | None = None) -> Image:
        """Returns the message of an (H, W) or (H, W, channels) image. "passthrough" sets the OpenCV type, such as 8UC3.

        Raises:
            CvBridgeError: ``encoding`` does not describe this type of image.
            TypeError: ``cvim`` is not an array.
        """
        if not isinstance(cvim, (np.ndarray, np.generic)):
            raise TypeError("Your input type is not a numpy array")
        actual = opencv_type(cvim.dtype, 1 if cvim.ndim < 3 else cvim.shape[2])
        if encoding != "passthrough" and _parse(encoding).opencv_type != actual:
            raise CvBridgeError(f"encoding specified as {encoding}, but image has incompatible type {actual}")
        message = Image()
        if header is not None:
            message.header = header
        message.height, message.width = cvim.shape[:2]
        message.encoding = actual if encoding == "passthrough" else encoding
        message.is_bigendian = cvim.dtype.byteorder == ">"
        message.data.frombytes(cvim.tobytes())  # one copy; assigning an array would check every byte
        message.step = len(message.data) // message.height
        return message


def _parse(name: str) -> Encoding:
    try:
        return parse(name)
    except KeyError as error:
        raise CvBridgeError(error.args[0]) from error


def _view(message: Image, encoding: Encoding) -> np.ndarray:
    """Returns the pixels of a message in native byte order, without row padding."""
    row = message.width * encoding.channels * encoding.dtype.itemsize
    if message.step < row:
        raise CvBridgeError(
            f"Image is wrongly formed: step {message.step} is less than the {row} bytes of a row of "
            f"{message.width} pixels {encoding.name}"
        )
    rows = np.ndarray((message.height, message.step), dtype=np.uint8, buffer=message.data)
    pixels = np.ascontiguousarray(rows[:, :row]).view(encoding.dtype.newbyteorder(">" if message.is_bigendian else "<"))
    if encoding.dtype.itemsize > 1 and bool(message.is_bigendian) == (sys.byteorder == "little"):
        pixels = pixels.astype(encoding.dtype)
    shape = (message.height, message.width)
    return pixels.reshape(shape if encoding.channels == 1 else (*shape, encoding.channels))


def _convert(image: np.ndarray, source: Encoding, target: Encoding) -> np.ndarray:
    """Returns a converted copy of ``image``."""
    if source == target:
        return image.copy()
    if source.layout is None and target.layout is not None:
        raise CvBridgeError(
            f"[{source.name}] is not a color format. but [{target.name}] is. The conversion does not make sense"
        )
    if source.layout is None or target.layout is None:
        if source.channels != target.channels:
            raise CvBridgeError(f"[{source.name}] and [{target.name}] do not have the same number of channels")
    elif source.layout != target.layout:
        code = CONVERSIONS.get((source.layout, target.layout))
        if code is None:
            raise CvBridgeError(f"Unsupported conversion from [{source.name}] to [{target.name}]")
        try:
            image = cv2.cvtColor(image, code)
        except cv2.error as error:
            raise CvBridgeError(f"This image is not {source.name}: {error}") from error
    return _change_depth(image, source.dtype, target.dtype)


def _change_depth(image: np.ndarray, source: np.dtype, target: np.dtype) -> np.ndarray:
    """Converts to ``target``, rounding and saturating; between 8 and 16 bits per channel, white stays white."""
    if source == target:
        return image
    scale = {(1, 2): 65535 / 255, (2, 1): 255 / 65535}.get((source.itemsize, target.itemsize), 1.0)
    values = image.astype(np.float64) * scale
    if np.issubdtype(target, np.integer):
        limits = np.iinfo(target)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(target)
