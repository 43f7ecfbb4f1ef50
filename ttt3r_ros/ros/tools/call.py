"""``call``: calls a service of the node, where the command line tools of ROS are not installed."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import SetBool, Trigger

from ttt3r_ros.cli.arguments import positive
from ttt3r_ros.cli.parser import CommandParser
from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.initialize import initialize

#: The node's services, with what they do.
SERVICES = {
    "reset": "reset the recurrent state; the pose continues from the last one",
    "reset_odometry": "reset the recurrent state and return the pose to the origin",
    "pause": "ignore images (enable with false)",
    "resume": "process images again (enable with true)",
    "save_state": "save the stream's state to the node's save_folder",
    "load_state": "continue from the saved state",
    "save_map": "write the map: its points (with publish_map), its places (with publish_map_frame)",
    "load_map": "go on in the saved map of places (with publish_map_frame)",
}
#: Requests other than that of a Trigger, by name: the service and its data.
_SWITCHES = {"pause": ("enable", False), "resume": ("enable", True)}

_REFUSED, _MISTAKE, _STOPPED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `--help` lists them."""
    options = _parser().parse_args(argv)
    if options.service is None:
        print("\n".join(f"{name:<15} {does}" for name, does in SERVICES.items()))
        return 0
    try:
        initialize([], signal_handlers=SignalHandlerOptions.NO)
        try:
            is_done, message = call(options.service, node=options.node, timeout_s=options.timeout)
        finally:
            rclpy.try_shutdown()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return _MISTAKE
    except KeyboardInterrupt:
        return _STOPPED
    print(message if is_done else f"error: {message}", file=sys.stdout if is_done else sys.stderr)
    return 0 if is_done else _REFUSED


def call(name: str, *, node: str, timeout_s: float) -> tuple[bool, str]:
    """Call a service of a node and return whether it succeeded, and its message.

    Args:
        name: one of `SERVICES`.
        node: full name of the node.
        timeout_s: how long to look for the node, and then to wait for its answer [s].

    Raises:
        UserError: there is no such node, or it does not answer.
    """
    service, data = _SWITCHES.get(name, (name, None))
    kind: Any = Trigger if data is None else SetBool
    node = f"/{node.strip('/')}"
    caller = Node("call", start_parameter_services=False, enable_rosout=False)
    try:
        client: Any = caller.create_client(kind, f"{node}/{service}")
        if not client.wait_for_service(timeout_s):
            raise UserError(f"no node {node} offers {service}{_where(caller, node, service)}")
        request = kind.Request() if data is None else kind.Request(data=data)
        answer = client.call_async(request)
        deadline = time.monotonic() + timeout_s
        while not answer.done() and time.monotonic() < deadline:
            rclpy.spin_once(caller, timeout_sec=0.1)
        if not answer.done():
            raise UserError(f"{node} has not answered within {timeout_s:g} s; it may be busy: see its log")
        result: Any = answer.result()
        return bool(result.success), str(result.message)
    finally:
        caller.destroy_node()


def _where(caller: Node, node: str, service: str) -> str:
    """Return which other nodes offer a service, or where to look for them, to end a sentence with."""
    names = (name.rpartition("/") for name, _ in caller.get_service_names_and_types())
    nodes = sorted(other for other, _, offered in names if offered == service and other != node)  # `node` is our client
    if nodes:
        return f", but {', '.join(nodes)}: choose with --node"
    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    return f" in the ROS domain {domain}: is it running, with the same ROS_DOMAIN_ID?"


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "call",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Call a service of the running node; `ros2 service call` does the same where it is installed.",
        epilog="services:\n"
        + "\n".join(f"  {name:<15} {does}" for name, does in SERVICES.items())
        + "\n\nexit status: 0 done; 1 the node refused, and said why; 2 no node answered",
    )
    add = parser.add_argument
    add("service", nargs="?", choices=SERVICES, metavar="SERVICE", help="one of those below; none lists them")
    add("--node", default="/ttt3r", help="full name of the node, with its namespace (default %(default)s)")
    add("--timeout", type=positive, default=5.0, metavar="S", help="how long to wait for it (default %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
