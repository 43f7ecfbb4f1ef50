"""A wire between two network interfaces that loses and delays frames and can be cut, for `two_hosts`.

In user space, since few kernels that tests run on have the netem queue. Takes two interfaces of its network namespace;
reads ``cut`` and ``join`` from stdin; answers each with a line of JSON: what it has carried so far. Ends with stdin.
"""

from __future__ import annotations

import argparse
import json
import random
import select
import socket
import sys
import time
from collections import deque

_EVERY_PROTOCOL = 3  # ETH_P_ALL
_LONGEST_FRAME = 65536


class Direction:
    """Frames on their way from one interface to the other."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source, self._target = source, target
        self.carried_frames = self.carried_bytes = self.lost_frames = 0
        self._under_way: deque[tuple[float, bytes]] = deque()

    def take(self, loss: float, delay: float, dice: random.Random) -> None:
        """Receive one frame."""
        frame, address = self.source.recvfrom(_LONGEST_FRAME)
        if address[2] == socket.PACKET_OUTGOING:  # what this wire itself has put there
            return
        if dice.random() < loss:
            self.lost_frames += 1
        else:
            self._under_way.append((time.monotonic() + delay, frame))

    def deliver(self) -> None:
        """Send the frames that have been under way long enough."""
        while self._under_way and self._under_way[0][0] <= time.monotonic():
            frame = self._under_way.popleft()[1]
            try:
                self._target.send(frame)
            except OSError:  # the interface's queue is full
                self.lost_frames += 1
                continue
            self.carried_frames += 1
            self.carried_bytes += len(frame)

    def seconds_until_due(self) -> float:
        return max(0.0, self._under_way[0][0] - time.monotonic()) if self._under_way else 1.0


def _port(interface: str) -> socket.socket:
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL))
    port.bind((interface, _EVERY_PROTOCOL))
    return port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("interfaces", nargs=2)
    parser.add_argument("--loss", type=float, default=0.0, help="share of frames lost, each way")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds, each way")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    left, right = map(_port, options.interfaces)
    there, back = Direction(left, right), Direction(right, left)
    dice, is_cut = random.Random(options.seed), False
    print("ready", flush=True)
    while True:
        waiting = min(there.seconds_until_due(), back.seconds_until_due())
        readable, _, _ = select.select([left, right, sys.stdin], [], [], waiting)
        for direction in (there, back):
            if direction.source in readable:
                direction.take(1.0 if is_cut else options.loss, options.delay, dice)
            direction.deliver()
        if sys.stdin in readable:
            command = sys.stdin.readline().strip()
            if not command:
                return
            is_cut = command == "cut"
            keys = ("carried_frames", "carried_bytes", "lost_frames")
            print(
                json.dumps([{key: getattr(direction, key) for key in keys} for direction in (there, back)]), flush=True
            )


if __name__ == "__main__":
    main()
