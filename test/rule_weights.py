"""Where tests look for what lies in `ttt3r_ros.weights.rule`."""

from ttt3r_ros.weights.rule import TINY, rule_image, rule_network, rule_weight

__all__ = ["TINY", "rule_image", "rule_network", "rule_weight"]
