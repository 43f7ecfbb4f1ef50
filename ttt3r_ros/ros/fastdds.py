"""Enlarges the shared memory of Fast DDS, the middleware of most ROS 2 installations, for images."""

from __future__ import annotations

import os
from pathlib import Path

_PROFILE = Path(__file__).with_name("fastdds.xml")

#: Fast DDS reads its profile from the first since 2.12; Humble's 2.6 knows only the second, and newer ones warn at it.
_PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")

#: Users may also have chosen their own transports with these.
_OTHER_VARIABLES = ("FASTDDS_BUILTIN_TRANSPORTS", "RMW_FASTRTPS_USE_QOS_FROM_XML")


def make_room_for_images() -> None:
    """Let best-effort subscribers on this machine receive this process's large messages.

    Fast DDS passes messages through 0.5 MB of shared memory and drops what does not fit: about half of a VGA image
    stream, nearly all of a larger one. This raises it to 16 MB. Call it before ``rclpy.init``. It leaves the user's own
    settings in the environment alone, and other middlewares ignore it.
    """
    if any(variable in os.environ for variable in (*_PROFILE_VARIABLES, *_OTHER_VARIABLES)):
        return
    current, old = _PROFILE_VARIABLES
    os.environ[old if os.environ.get("ROS_DISTRO") == "humble" else current] = str(_PROFILE)
