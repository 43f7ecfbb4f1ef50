"""CUT3R's recurrent backbone with its state update rules; torch only, no ROS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ttt3r_ros.model.config import CUT3R_224_LINEAR, CUT3R_512_DPT, NetworkConfig

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    if name in __all__:  # lazy, since `config` is needed before torch, which is slow to import
        from ttt3r_ros.model import network, update

        return getattr(network if hasattr(network, name) else update, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
