"""Finds an unused DDS domain."""

from __future__ import annotations

import random
import socket

from ttt3r_ros.errors import UserError

_FIRST_PARTICIPANT = 10  #: offset of the first participant's port from the domain's base port (DDSI-RTPS 9.6.2.3)
_CLAIM = 2  #: offset of a port that DDS leaves unused

_claims: list[socket.socket] = []  #: stay bound until this process ends


def free_domain() -> int:
    """Claim a DDS domain that no process on this machine uses or has claimed, and return it.

    Domain d owns the UDP ports from 7400 + 250 · d; above domain 101 these overlap the ports that Linux assigns to
    outgoing connections. The claim lasts until this process ends, so that two processes never choose the same domain
    before either has a participant in it.

    Raises:
        UserError: all domains are in use.
    """
    for domain in random.sample(range(1, 102), 101):
        ports = 7400 + 250 * domain
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", ports + _CLAIM))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("", ports + _FIRST_PARTICIPANT))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return domain
    raise UserError("all ROS domains from 1 to 101 are in use on this machine; stop some ROS nodes first")
