"""Pictures of the synthetic world as a camera's messages, rendered once to be sent over and over."""

from __future__ import annotations

from sensor_msgs.msg import Image
from std_msgs.msg import Header

from ttt3r_ros.ros.conversions import image_message
from ttt3r_ros.synthetic import Sequence

FRAME_ID = "camera"


def image_messages(count: int, width: int, height: int) -> list[Image]:
    """Return the first frames of a walk; stamps are for the sender to fill in."""
    frames = Sequence(0, count, width=width, height=height).render(0, count)
    return [image_message(pixels, "rgb8", Header(frame_id=FRAME_ID)) for pixels in frames.image.numpy()]
