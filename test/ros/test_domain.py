from __future__ import annotations

import random
import socket
import subprocess
import sys

import pytest

from ttt3r_ros.errors import UserError
from ttt3r_ros.ros import domain


@pytest.fixture
def in_order(monkeypatch):
    """Domains are tried from the first one on; what a test has claimed is free again after it."""
    monkeypatch.setattr(random, "sample", lambda domains, count: list(domains)[:count])
    monkeypatch.setattr(domain, "_claims", [])
    yield
    for claim in domain._claims:
        claim.close()


def test_a_domain_that_somebody_uses_is_not_taken(in_order):
    used = domain.free_domain() + 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        participant.bind(("", 7410 + 250 * used))
        assert domain.free_domain() > used


def test_nobody_gets_a_domain_that_another_process_has_claimed(in_order):
    claim = "import random; random.sample = lambda domains, count: list(domains)\n"
    claim += "from ttt3r_ros.ros.domain import free_domain; print(free_domain(), flush=True); input()"
    command = [sys.executable, "-c", claim]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        theirs = int(other.stdout.readline())
        ours = domain.free_domain()
        other.communicate("\n")
    assert ours != theirs


def test_without_a_free_domain_it_says_so(monkeypatch):
    class Taken(socket.socket):
        def bind(self, address: object) -> None:
            raise OSError("in use")

    monkeypatch.setattr(socket, "socket", Taken)
    with pytest.raises(UserError, match="stop some ROS nodes"):
        domain.free_domain()
