"""Words for a DDS security (SROS 2) that was asked for and cannot be had; ROS itself says little."""

from __future__ import annotations

import os
from pathlib import Path

ENABLE, KEYSTORE = "ROS_SECURITY_ENABLE", "ROS_SECURITY_KEYSTORE"


def is_wanted() -> bool:
    """Return whether the environment asks for security; ROS knows this one spelling."""
    return os.environ.get(ENABLE) == "true"


def missing_keystore() -> str | None:
    """Return a sentence if security is wanted and there is no keystore, else None."""
    keystore = os.environ.get(KEYSTORE, "")
    if not is_wanted() or Path(keystore, "enclaves").is_dir():
        return None
    found = f"there is none at {keystore!r}" if keystore else "it is not set"
    return f"{ENABLE} asks for DDS security, so {KEYSTORE} must name a keystore made by `ros2 security`, but {found}"


def under_security() -> str:
    """Return what to add to an error of ROS where security is wanted, which is then the likeliest cause."""
    return f" with the DDS security that {ENABLE} asks for (docs/security.md)" if is_wanted() else ""
