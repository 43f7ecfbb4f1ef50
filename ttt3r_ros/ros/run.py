"""Starts the node, keeps it running, and shuts it down on a signal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.initialize import initialize
from ttt3r_ros.ros.ttt3r_node import Ttt3rNode


def run(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; return the exit status. Call it from the main thread."""
    try:
        return _run(args)
    except KeyboardInterrupt:  # during a shutdown with another cause
        return 0


def _run(args: Sequence[str] | None) -> int:
    status = 0
    node: Ttt3rNode | None = None
    try:
        # rclpy later chains its own handlers, which wake the executor. These also interrupt the loading of weights.
        _on_signals(_interrupt)
        initialize(args)
        node = Ttt3rNode(sys.argv if args is None else args)
        _spin(node)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok():  # otherwise a signal has shut the context down during a call that needs it, such as at startup
            raise
    finally:
        _on_signals(signal.SIG_IGN)  # shutdown has begun, further signals change nothing
        if node is not None:
            node.stop()
            node.destroy_node()
        rclpy.try_shutdown()
    return status


def _spin(node: Ttt3rNode) -> None:
    """Run callbacks until the context shuts down. A failing callback is logged and does not stop the node."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while rclpy.ok():
        try:
            executor.spin_once()
        except ExternalShutdownException:
            return
        except Exception as error:
            if not rclpy.ok():
                return
            node.survive(error)


def _interrupt(number: int, frame: Any) -> None:
    """Raise KeyboardInterrupt, and silence the complaints of ROS objects whose construction it interrupts."""
    sys.unraisablehook = lambda _: None
    signal.default_int_handler(number, frame)


def _on_signals(handler: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
