from __future__ import annotations

import random
import socket

import pytest

from ttt3r_ros.errors import UserError
from ttt3r_ros.ros import domain


def test_a_domain_that_somebody_uses_is_not_taken(monkeypatch):
    monkeypatch.setattr(random, "shuffle", lambda domains: None)
    first = domain.free_domain()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        participant.bind(("", 7410 + 250 * first))
        assert domain.free_domain() > first


def test_without_a_free_domain_it_says_so(monkeypatch):
    class Taken(socket.socket):
        def bind(self, address: object) -> None:
            raise OSError("in use")

    monkeypatch.setattr(socket, "socket", Taken)
    with pytest.raises(UserError, match="stop some ROS nodes"):
        domain.free_domain()
