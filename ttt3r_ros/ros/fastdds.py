"""Room for images in Fast DDS, the middleware most ROS 2 installations use."""

from __future__ import annotations

import os
from pathlib import Path

_PROFILE = Path(__file__).with_name("fastdds.xml")

#: What Fast DDS reads its profile from since 2.12; Humble's 2.6 knows the second name alone, at which newer ones warn.
_PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")

#: By these, too, users choose transports themselves.
_OTHER_VARIABLES = ("FASTDDS_BUILTIN_TRANSPORTS", "RMW_FASTRTPS_USE_QOS_FROM_XML")


def make_room_for_images() -> None:
    """Let best-effort subscribers on this machine hear the large messages of this process.

    Fast DDS passes messages through a shared memory of 0.5 MB, and drops what does not fit: of a VGA image stream
    about half, of a larger one nearly all. This gives it 16 MB. To be called before ``rclpy.init``; what the user has
    configured in the environment stays, and other middlewares do not look at it.
    """
    if any(variable in os.environ for variable in (*_PROFILE_VARIABLES, *_OTHER_VARIABLES)):
        return
    current, old = _PROFILE_VARIABLES
    os.environ[old if os.environ.get("ROS_DISTRO") == "humble" else current] = str(_PROFILE)
