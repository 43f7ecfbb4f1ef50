"""Enlarges the shared memory of Fast DDS, the middleware of most ROS 2 installations, for images."""

from __future__ import annotations

import os
from pathlib import Path

_PROFILE = Path(__file__).with_name("fastdds.xml")

#: Fast DDS 3 (Kilted) reads its profile from the first and warns at the second; Fast DDS 2 (Humble, Jazzy) knows only
#: the second.
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
    os.environ[old if _is_version_2() else current] = str(_PROFILE)


def _is_version_2() -> bool:
    """Return whether the library that will be loaded still has its old name, libfastrtps."""
    folders = [Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if folder]
    return any((folder / "libfastrtps.so").exists() for folder in folders)
