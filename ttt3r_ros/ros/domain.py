"""A DDS domain that nobody else uses."""

from __future__ import annotations

import random
import socket

from ttt3r_ros.errors import UserError

_FIRST_PARTICIPANT = 10  #: port of a domain's first participant, above that of the domain (DDSI-RTPS 9.6.2.3)
_CLAIM = 2  #: a port that DDS leaves unused, above that of the domain

_claims: list[socket.socket] = []  #: bound as long as this process lives


def free_domain() -> int:
    """Claim a DDS domain that nobody on this machine uses or has claimed, and return it.

    Domain d owns the UDP ports from 7400 + 250 · d on; above domain 101 these run into the ports that Linux gives to
    outgoing connections. The claim lasts until this process ends, so that two processes never choose the same domain
    while neither of them has a participant in it yet.

    Raises:
        UserError: all are in use.
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
