"""CUT3R's recurrent backbone with its state update rules; torch only, no ROS."""

from ttt3r_ros.model.config import CUT3R_224_LINEAR, CUT3R_512_DPT, NetworkConfig
from ttt3r_ros.model.network import Network, Prediction, State
from ttt3r_ros.model.update import Cut3r, Filt3r, Ttt3r, UpdateRule, rule_by_name

__all__ = [
    "CUT3R_224_LINEAR",
    "CUT3R_512_DPT",
    "Cut3r",
    "Filt3r",
    "Network",
    "NetworkConfig",
    "Prediction",
    "State",
    "Ttt3r",
    "UpdateRule",
    "rule_by_name",
]
