"""Receives the mask of the camera's images, from a file or a latched topic."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image

from ttt3r_ros.camera.calibration import Camera
from ttt3r_ros.camera.image_messages import read_image
from ttt3r_ros.camera.mask import Mask, read_mask
from ttt3r_ros.camera.sample_range import SampleRange
from ttt3r_ros.errors import UserError, quoted
from ttt3r_ros.ros.notices import Notices

ENCODINGS = ("mono8", "8UC1")


class MaskInput:
    """Keeps the latest mask: that of mask_file until one arrives on ~/mask. Any thread may read it."""

    def __init__(self, node: Node, notices: Notices, mask_file: str) -> None:
        """Read the file and subscribe.

        Raises:
            UserError: the file cannot be used.
        """
        self._notices = notices
        self._mask, self._source = read_mask(mask_file), "mask_file"
        self._last: tuple[Mask, Camera | None, Mask | None] | None = None  # a mask, a camera, the mask for its images
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(Image, "~/mask", self._on_mask, latched)

    def mask(self, width: int, height: int, camera: Camera | None) -> Mask | None:
        """Return the mask for images of this size [px], undistorted like those of this camera; None if none fits."""
        mask = self._mask
        if mask is None:
            return None
        if self._last is None or self._last[0] is not mask or self._last[1] is not camera:
            self._last = mask, camera, self._fitting(mask, camera)
        fitting = self._last[2]
        if fitting is not None and fitting.size != (width, height):
            self._refuse(fitting, width, height)
            return None
        return fitting

    def fact(self) -> str:
        """Say for the diagnostics which mask is used."""
        mask = self._mask
        return "none" if mask is None else f"{mask.share:.1%} of the image, from {self._source}"

    def _fitting(self, mask: Mask, camera: Camera | None) -> Mask | None:
        """Return the mask of the images as the stream sees them."""
        if camera is None or camera.rectifier is None:
            return mask
        size = camera.intrinsics.width, camera.intrinsics.height
        if mask.size != size:
            self._refuse(mask, *size)
            return None
        try:
            return mask.rectified(camera.rectifier)
        except UserError as error:
            self._notices.warn(f"the mask is ignored: {error}")
            return None

    def _refuse(self, mask: Mask, width: int, height: int) -> None:
        try:
            mask.check(width, height)
        except UserError as error:
            self._notices.warn(f"{error}; it is ignored until then")

    def _on_mask(self, message: Image) -> None:
        try:
            if message.encoding not in ENCODINGS:
                raise UserError(f"a mask must be mono8, but this one is {quoted(message.encoding)}")
            mask = Mask(read_image(message, SampleRange())[0][..., 0])
        except UserError as error:
            self._notices.warn(f"~/mask: {error}; the message is ignored")
            return
        self._mask, self._source = (mask if mask.share else None), "~/mask"
        self._notices.info(f"~/mask: {mask.share:.1%} of the image is hidden")
