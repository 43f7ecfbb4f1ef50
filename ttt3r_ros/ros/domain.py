"""A DDS domain that nobody else uses."""

from __future__ import annotations

import random
import socket

from ttt3r_ros.errors import UserError


def free_domain() -> int:
    """Return a DDS domain that nobody on this machine seems to use.

    The first participant of a domain binds UDP port 7410 + 250 · domain (DDSI-RTPS 9.6.2.3); above domain 101 these run
    into the ports that Linux gives to outgoing connections.

    Raises:
        UserError: all are in use.
    """
    domains = list(range(1, 102))
    random.shuffle(domains)
    for domain in domains:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", 7410 + 250 * domain))
            except OSError:
                continue
            return domain
    raise UserError("all ROS domains from 1 to 101 are in use on this machine; stop some ROS nodes first")
