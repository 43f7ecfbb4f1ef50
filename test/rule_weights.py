"""Where tests look for what lies in `ttt3r_ros.weights.rule`."""

from copy import deepcopy
from functools import lru_cache

from ttt3r_ros.model import Network, NetworkConfig
from ttt3r_ros.weights import rule
from ttt3r_ros.weights.rule import TINY, rule_image, rule_weight

__all__ = ["TINY", "rule_image", "rule_network", "rule_weight"]


def rule_network(config: NetworkConfig) -> Network:
    """Return a network of the rule's own, which a process draws once and then copies."""
    return deepcopy(_drawn(config))


@lru_cache(maxsize=4)
def _drawn(config: NetworkConfig) -> Network:
    return rule.rule_network(config)
