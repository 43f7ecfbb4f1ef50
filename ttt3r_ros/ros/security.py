"""Clear errors for when DDS security (SROS 2) is requested but not available; ROS itself says little."""

from __future__ import annotations

import os
from pathlib import Path

ENABLE, KEYSTORE = "ROS_SECURITY_ENABLE", "ROS_SECURITY_KEYSTORE"


def is_requested() -> bool:
    """Return whether the environment requests security; ROS accepts only this spelling of "true"."""
    return os.environ.get(ENABLE) == "true"


def missing_keystore() -> str | None:
    """Return a sentence if security is requested but there is no keystore, else None."""
    keystore = os.environ.get(KEYSTORE, "")
    if not is_requested() or Path(keystore, "enclaves").is_dir():
        return None
    found = f"there is none at {keystore!r}" if keystore else "it is not set"
    return f"{ENABLE} requests DDS security, so {KEYSTORE} must name a keystore made by `ros2 security`, but {found}"


def under_security() -> str:
    """Return what to append to a ROS error if security is requested, since it is then the likeliest cause."""
    return f" with the DDS security that {ENABLE} requests (docs/security.md)" if is_requested() else ""
