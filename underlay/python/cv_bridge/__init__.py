"""The part of cv_bridge that ttt3r_ros calls, for environments that have no cv_bridge: see underlay/README.md."""

from cv_bridge.core import CvBridge, CvBridgeError

__all__ = ["CvBridge", "CvBridgeError"]
