"""Two network namespaces of this computer as two hosts, joined by a bad wire: ``host - veth - wire - veth - host``.

Nothing of it touches the computer's own network: interfaces and addresses exist only inside the namespaces.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17

#: No shared memory, which all processes of one kernel have in common.
ENVIRONMENT = {
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
    "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
    "OMP_NUM_THREADS": "1",
}


@dataclass
class Wire:
    """The process that carries frames between the hosts."""

    process: subprocess.Popen[str]

    def cut(self) -> list[dict[str, int]]:
        """Lose everything from now on; return what was carried so far, each way."""
        return self._tell("cut")

    def join(self) -> list[dict[str, int]]:
        """Carry frames again; return what was carried so far, each way."""
        return self._tell("join")

    def _tell(self, command: str) -> list[dict[str, int]]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer: list[dict[str, int]] = json.loads(self.process.stdout.readline())
        return answer


@dataclass
class TwoHosts:
    """The names of the hosts' namespaces, and what joins them."""

    camera: str
    robot: str
    wire: Wire


def why_not() -> str | None:
    """Return why two hosts cannot be made here, None if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no `ip` command (package iproute2)"
    probe = f"ttt3r-probe-{os.getpid()}"
    try:
        with _namespace(probe):
            _ip("-n", probe, "link", "add", "name", "end1", "type", "veth", "peer", "name", "end2")
            _in(probe, [sys.executable, "-S", "-c", "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"])
    except subprocess.CalledProcessError as error:
        return f"network namespaces are not permitted here: {(error.stderr or str(error)).strip().splitlines()[-1]}"
    return None


@contextlib.contextmanager
def two_hosts(*, loss: float, delay: float) -> Iterator[TwoHosts]:
    """Make two hosts; frames between them are lost with this probability and come after this delay [s], each way."""
    camera, robot, middle = (f"ttt3r-{role}-{os.getpid()}" for role in ("camera", "robot", "wire"))
    with _namespace(camera), _namespace(robot), _namespace(middle):
        for number, host in enumerate((camera, robot), start=1):
            _ip("-n", middle, "link", "add", "name", "eth", "type", "veth", "peer", "name", f"port{number}")
            _in(middle, [sys.executable, "-S", __file__, "eth"])
            _ip("-n", middle, "link", "set", "eth", "netns", host)
            _ip("-n", middle, "link", "set", f"port{number}", "up")
            _ip("-n", host, "addr", "add", f"10.99.0.{number}/24", "dev", "eth")
            _ip("-n", host, "link", "set", "lo", "up")
            _ip("-n", host, "link", "set", "eth", "up")
            _ip("-n", host, "route", "add", "default", "dev", "eth")  # for multicast
        command = [sys.executable, "-S", str(Path(__file__).with_name("lossy_wire.py")), "port1", "port2"]
        command = ["ip", "netns", "exec", middle, *command, "--loss", str(loss), "--delay", str(delay)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            try:
                yield TwoHosts(camera, robot, Wire(process))
            finally:
                process.kill()


@contextlib.contextmanager
def _namespace(name: str) -> Iterator[None]:
    _ip("netns", "add", name)
    try:
        yield
    finally:
        _ip("netns", "del", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _in(namespace: str, command: list[str]) -> None:
    _ip("netns", "exec", namespace, *command)


def _compute_checksums(interface: str) -> None:
    """Have the kernel write checksums, which it leaves out between veths: the wire carries frames as they are."""
    command = ctypes.create_string_buffer(struct.pack("II", _ETHTOOL_STXCSUM, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sP", interface.encode(), ctypes.addressof(command)).ljust(40, b"\0")
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)


if __name__ == "__main__":
    _compute_checksums(sys.argv[1])
