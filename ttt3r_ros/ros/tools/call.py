"""``call``: services, state, status and parameters of the node, where ROS's own tools are missing."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import rclpy
import yaml  # type: ignore[import-untyped]
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Point, Pose, PoseWithCovariance, PoseWithCovarianceStamped, Quaternion
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetAvailableTransitions, GetState
from rcl_interfaces.msg import Parameter
from rcl_interfaces.srv import GetParameters, ListParameters, SetParameters
from rclpy.duration import Duration
from rclpy.exceptions import InvalidServiceNameException, InvalidTopicNameException
from rclpy.node import Node
from rclpy.parameter import get_parameter_value, parameter_value_to_python
from std_srvs.srv import SetBool, Trigger

from ttt3r_ros.cli.arguments import positive
from ttt3r_ros.cli.parser import CommandParser
from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.diagnostics import status_name
from ttt3r_ros.ros.initialize import creating_node, initialized
from ttt3r_ros.ros.parameters import no_such_parameter

#: What can be called, with what it does.
SERVICES = {
    "reset": "reset the recurrent state; the pose continues from the last one",
    "reset_odometry": "reset the recurrent state, return the pose to the origin, discard the accumulated map",
    "pause": "ignore images (enable with false)",
    "resume": "process images again (enable with true)",
    "save_state": "save the stream's state to the node's save_folder",
    "load_state": "continue from the saved state, discard the accumulated map",
    "save_map": "write the map: its points (with publish_map), its places (with publish_map_frame)",
    "load_map": "go on in the saved map of places (with publish_map_frame)",
}
#: Transitions of a managed node, with what they do.
TRANSITIONS = {
    "configure": "load the network, create topics and services",
    "activate": "listen and publish",
    "deactivate": "stop listening; the weights stay in memory",
    "cleanup": "remove topics and services, free the network's memory",
    "shutdown": "the same from any state, for good; a signal (Ctrl-C) ends the process",
}
#: The state that a transition leads to, and the others in which it has nothing to do.
_GOALS = {
    "configure": ("inactive", "active"),
    "activate": ("active",),
    "deactivate": ("inactive", "unconfigured"),
    "cleanup": ("unconfigured",),
    "shutdown": ("finalized",),
}
STATUS = {"status": "show what the node says of itself on /diagnostics: state, rates, counters"}
PARAMETERS = {
    "get": "get NAME shows the value of a parameter, as `ros2 param get` does",
    "set": "set NAME VALUE sets a parameter, as `ros2 param set` does",
}
#: Poses on topics, with what they do.
POSES = {
    "set_pose": "set_pose X Y YAW: go on from this pose (m, rad) in odom_frame, level at height 0, without the map",
    "initialpose": "initialpose X Y YAW: look for the robot near this pose in the map (with publish_map_frame)",
}
LIST = {"list": "list all these, as `call` alone does"}
#: Words that follow.
_WORDS = {"get": ["NAME"], "set": ["NAME", "VALUE"], **{name: ["X", "Y", "YAW"] for name in POSES}}
#: Standard deviations of a pose [m, rad]; those of the hint are RViz's.
_SIGMAS = {"set_pose": (0.05, 0.05), "initialpose": (0.5, 0.26)}
#: Largest coordinate [m], as the node has it.
_MAX_POSITION = 1e6
_LEVELS = {
    DiagnosticStatus.OK: "OK",
    DiagnosticStatus.WARN: "WARN",
    DiagnosticStatus.ERROR: "ERROR",
    DiagnosticStatus.STALE: "STALE",
}
#: Requests other than that of a Trigger, by name: the service and its data.
_SWITCHES = {"pause": ("enable", False), "resume": ("enable", True)}

#: A transition may load large weights from a slow disk, and the node answers nothing meanwhile [s].
_TRANSITION_S = 120.0
#: After so long without an answer it may be lost: ROS drops it if the node has not discovered us yet [s].
_AGAIN_S = 3.0
#: Services that change nothing more when they are asked twice.
_REPEATABLE = {"reset", "reset_odometry", "enable"}

_REFUSED, _MISTAKE, _STOPPED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `--help` lists them."""
    parser = _parser()
    options = parser.parse_intermixed_args(argv)
    wanted = _WORDS.get(options.name, [])
    if len(options.words) != len(wanted):
        parser.error(f"{options.name} wants {' '.join(wanted)}" if wanted else f"nothing follows {options.name}")
    if options.name == "list":
        print(_listed(SERVICES | TRANSITIONS | STATUS | PARAMETERS | POSES | LIST))
        return 0
    if options.name in POSES and (wrong := _why_no_pose(options.words)):
        parser.error(f"{options.name} {wrong}")
    try:
        with initialized():
            is_done, message = call(options.name, *options.words, node=options.node, timeout_s=options.timeout)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return _MISTAKE
    except KeyboardInterrupt:
        return _STOPPED
    print(message if is_done else f"error: {message}", file=sys.stdout if is_done else sys.stderr)
    return 0 if is_done else _REFUSED


def call(name: str, *words: str, node: str, timeout_s: float) -> tuple[bool, str]:
    """Call one of `SERVICES` of a node, make a transition, ask for its `STATUS`, or one of `PARAMETERS` or `POSES`.

    The node is looked for, and its answer waited for, so long (longer for a transition) [s]. Returns whether it
    succeeded, and a message; values of parameters are in YAML.

    Raises:
        UserError: there is no such node, it does not answer, or ROS has no such values.
    """
    node = f"/{node.strip('/')}"
    if not re.fullmatch(r"(/[A-Za-z_][A-Za-z0-9_]*)+", node):
        raise UserError(_no_name(node))
    with creating_node():
        caller = Node("call", start_parameter_services=False, enable_rosout=False)
    try:
        if name in TRANSITIONS:
            return _change_state(caller, node, name, timeout_s)
        if name in STATUS:
            return True, _status(caller, node, timeout_s)
        if name in PARAMETERS:
            parameter = _get_parameter if name == "get" else _set_parameter
            return parameter(caller, node, *words, timeout_s=timeout_s)
        if name in POSES:
            return True, _send_pose(caller, node, name, words, timeout_s)
        service, data = _SWITCHES.get(name, (name, None))
        kind: Any = Trigger if data is None else SetBool
        request = kind.Request() if data is None else kind.Request(data=data)
        result = _answer(caller, kind, node, service, request, timeout_s, timeout_s)
        return bool(result.success), str(result.message)
    finally:
        caller.destroy_node()


def _change_state(caller: Node, node: str, name: str, timeout_s: float) -> tuple[bool, str]:
    def ask(kind: Any, service: str) -> Any:
        return _answer(caller, kind, node, service, kind.Request(), timeout_s, max(timeout_s, _TRANSITION_S))

    offered = ask(GetAvailableTransitions, "get_available_transitions").available_transitions
    possible = [description.transition.label for description in offered]
    if name in possible:
        return _transition(caller, node, name, timeout_s, lambda: str(ask(GetState, "get_state").current_state.label))
    state = ask(GetState, "get_state").current_state.label
    if state in _GOALS[name]:
        return False, f"{node} is already {state}"
    then = f"possible are {', '.join(possible)}" if possible else "only a restart of the process makes it work again"
    return False, f"{node} is {state}, from where it cannot {name}: {then}"


def _transition(caller: Node, node: str, name: str, timeout_s: float, state: Callable[[], str]) -> tuple[bool, str]:
    client = _client(caller, ChangeState, node, "change_state", timeout_s)
    answer = client.call_async(ChangeState.Request(transition=Transition(label=name)))
    deadline = time.monotonic() + max(timeout_s, _TRANSITION_S)
    while not answer.done() and time.monotonic() < deadline:
        _spin(caller, [answer], min(_AGAIN_S, deadline - time.monotonic()))
        if not answer.done() and state() == _GOALS[name][0]:
            return True, f"{node} is {_GOALS[name][0]}"
    if not answer.done():
        raise UserError(_no_answer(node, max(timeout_s, _TRANSITION_S)))
    if answer.result().success:
        return True, f"{node} is {state()}"
    return False, f"{node} is {state()}, and {name} did not succeed: its log and /diagnostics say why"


def _status(caller: Node, node: str, timeout_s: float) -> str:
    """Return the next status of a node's stream, with one key and its value per line."""
    heard: dict[str, DiagnosticStatus] = {}
    wanted, suffix = status_name(node), status_name("")

    def note(message: DiagnosticArray) -> None:
        heard.update({status.name: status for status in message.status})

    caller.create_subscription(DiagnosticArray, "/diagnostics", note, 10)
    deadline = time.monotonic() + timeout_s
    while wanted not in heard and time.monotonic() < deadline:
        rclpy.spin_once(caller, timeout_sec=0.1)
    if (status := heard.get(wanted)) is not None:
        width = max((len(item.key) for item in status.values), default=0)
        values = [f"  {item.key:<{width}}  {item.value}".rstrip() for item in status.values]
        return "\n".join([f"{_LEVELS.get(bytes(status.level), 'unknown')}: {status.message}", *values])
    silence = f"{node} has said nothing on /diagnostics within {timeout_s:g} s"
    if node in {f"{namespace.rstrip('/')}/{name}" for name, namespace in caller.get_node_names_and_namespaces()}:
        raise UserError(f"{silence}; it may be loading or busy: see its log")
    raise UserError(silence + _elsewhere([f"/{name.removesuffix(suffix)}" for name in heard if name.endswith(suffix)]))


def _get_parameter(caller: Node, node: str, name: str, *, timeout_s: float) -> tuple[bool, str]:
    def ask(kind: Any, service: str, **request: Any) -> Any:
        return _answer(caller, kind, node, service, kind.Request(**request), timeout_s, timeout_s)

    found = [parameter_value_to_python(value) for value in ask(GetParameters, "get_parameters", names=[name]).values]
    if found in ([], [None]):  # as releases of ROS differ
        return False, no_such_parameter(name, ask(ListParameters, "list_parameters").result.names)
    said = yaml.safe_dump(found[0], default_flow_style=True, allow_unicode=True, width=math.inf)
    return True, said.removesuffix("...\n").rstrip("\n")


def _set_parameter(caller: Node, node: str, name: str, value: str, *, timeout_s: float) -> tuple[bool, str]:
    try:
        parameter = Parameter(name=name, value=get_parameter_value(value))
        is_value = isinstance(parameter.value.string_value, str) and abs(parameter.value.integer_value) < 2**63
    except (AssertionError, yaml.YAMLError):  # some releases of ROS check what they put into a message
        is_value = False
    if not is_value:
        raise UserError(f"{value!r} is not a value of a ROS parameter: write a number, true, false or a text")
    request = SetParameters.Request(parameters=[parameter])
    (result,) = _answer(caller, SetParameters, node, "set_parameters", request, timeout_s, timeout_s).results
    return bool(result.successful), f"{name} is set to {value}" if result.successful else str(result.reason)


def _why_no_pose(words: Sequence[str]) -> str:
    """Return why these are not X, Y [m] and YAW [rad], to end a sentence with; empty if they are."""
    try:
        x, y, yaw = (float(word) for word in words)
    except ValueError:
        return f"wants three numbers, X Y [m] YAW [rad], got {' '.join(words)}"
    if not (abs(x) < _MAX_POSITION and abs(y) < _MAX_POSITION):  # NaN compares false
        return f"wants X and Y in meters, got {words[0]} {words[1]}"
    return "" if abs(yaw) <= 2 * math.pi else f"wants YAW in radians, got {words[2]}"


def _send_pose(caller: Node, node: str, name: str, words: Sequence[str], timeout_s: float) -> str:
    """Publish a pose to a node once it listens; return what was sent. Its frame is left to the node.

    Raises:
        UserError: the node does not listen.
    """
    x, y, yaw = (float(word) for word in words)
    sigma_m, sigma_rad = _SIGMAS[name]
    topic = f"{node if name == 'set_pose' else node.rpartition('/')[0]}/{name}"
    try:
        publisher = caller.create_publisher(PoseWithCovarianceStamped, topic, 1)
    except InvalidTopicNameException:
        raise UserError(_no_name(node)) from None
    turned = Quaternion(z=math.sin(yaw / 2.0), w=math.cos(yaw / 2.0))
    with_covariance = PoseWithCovariance(pose=Pose(position=Point(x=x, y=y), orientation=turned))
    with_covariance.covariance[::7] = [sigma_m**2] * 3 + [sigma_rad**2] * 3
    deadline = time.monotonic() + timeout_s
    while not _listens(caller, node, topic):
        if time.monotonic() > deadline:
            asleep = " (it is inactive" + (")" if name == "set_pose" else ", or publish_map_frame is off)")
            known = node in {f"{space.rstrip('/')}/{name}" for name, space in caller.get_node_names_and_namespaces()}
            raise UserError(f"no node {node} listens to {topic}{asleep if known else _elsewhere([])}")
        rclpy.spin_once(caller, timeout_sec=0.1)
    publisher.publish(PoseWithCovarianceStamped(pose=with_covariance))
    if not publisher.wait_for_all_acked(Duration(seconds=timeout_s)):
        raise UserError(_no_answer(node, timeout_s))
    return f"sent ({x:g}, {y:g}) m, {yaw:g} rad to {topic}; the node's log says if it cannot use it"


def _listens(caller: Node, node: str, topic: str) -> bool:
    infos = caller.get_subscriptions_info_by_topic(topic)
    return node in {f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in infos}


def _answer(caller: Node, kind: Any, node: str, service: str, request: Any, find_s: float, answer_s: float) -> Any:
    """Return the answer of a service of a node, looked for and waited for so long [s].

    Raises:
        UserError: there is no such node, or it does not answer.
    """
    client = _client(caller, kind, node, service, find_s)
    is_repeatable = kind is not Trigger or service in _REPEATABLE
    deadline, answers = time.monotonic() + answer_s, list[Any]()
    while (left := deadline - time.monotonic()) > 0:
        if is_repeatable or not answers:
            answers.append(client.call_async(request))
        if answer := _spin(caller, answers, min(_AGAIN_S, left)):
            return answer.result()
    raise UserError(_no_answer(node, answer_s))


def _client(caller: Node, kind: Any, node: str, service: str, find_s: float) -> Any:
    try:
        client: Any = caller.create_client(kind, f"{node}/{service}")
    except InvalidServiceNameException:
        raise UserError(_no_name(node)) from None  # it is too long
    if not client.wait_for_service(find_s):
        raise UserError(f"no node {node} offers {service}{_where(caller, node, service)}")
    return client


def _spin(caller: Node, answers: Sequence[Any], seconds: float) -> Any:
    """Wait for one of these answers, so long [s] at most; return it, None if none has come."""
    until = time.monotonic() + seconds
    while True:
        if (done := next((answer for answer in answers if answer.done()), None)) or time.monotonic() > until:
            return done
        rclpy.spin_once(caller, timeout_sec=0.1)


def _no_name(node: str) -> str:
    return f"{node!r} is not the name of a node, of A to Z, a to z, 0 to 9, _ and /; see --node"


def _no_answer(node: str, seconds: float) -> str:
    return f"{node} has not answered within {seconds:g} s; it may be busy: see its log"


def _where(caller: Node, node: str, service: str) -> str:
    """Return which other nodes offer a service, as `_elsewhere`."""
    names = (name.rpartition("/") for name, _ in caller.get_service_names_and_types())
    others = (other for other, _, offered in names if offered == service and other != node)  # `node` is our client
    return _elsewhere(others)


def _elsewhere(nodes: Iterable[str]) -> str:
    """Return which nodes there are instead, or where to look for them, to end a sentence with."""
    if others := sorted(nodes):
        return f", but {', '.join(others)}: choose with --node"
    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    return f" in the ROS domain {domain}: is it running, with the same ROS_DOMAIN_ID?"


def _listed(names: Mapping[str, str], indent: str = "") -> str:
    return "\n".join(f"{indent}{name:<15} {does}" for name, does in names.items())


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "call",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Call a service of the running node, change its state, show its status, get or set a parameter,\n"
        "tell it a pose; `ros2 service call`, `ros2 lifecycle set`, `ros2 topic echo /diagnostics`, `ros2 param get`,\n"
        "`ros2 param set` and `ros2 topic pub` do the same where they are installed.",
        epilog=f"services:\n{_listed(SERVICES, '  ')}\n\n"
        f"transitions of a managed node:\n{_listed(TRANSITIONS, '  ')}\n\n"
        f"status and parameters:\n{_listed(STATUS | PARAMETERS, '  ')}\n\n"
        f"poses:\n{_listed(POSES, '  ')}\n\n"
        "exit status: 0 done; 1 the node refused, and said why; 2 no node answered",
    )
    add = parser.add_argument
    names = [*SERVICES, *TRANSITIONS, *STATUS, *PARAMETERS, *POSES, *LIST]
    what = "one of those below; list, or nothing, lists them"
    add("name", nargs="?", default="list", choices=names, metavar="WHAT", help=what)
    words = "for get: a parameter; for set: also its value, in YAML; for a pose: X Y [m] YAW [rad]"
    add("words", nargs="*", metavar="WORD", help=words)
    add("--node", default="/ttt3r", help="full name of the node, with its namespace (default %(default)s)")
    add(
        "--timeout",
        type=positive,
        default=5.0,
        metavar="S",
        help="how long to look for the node, and to wait for a service (default %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
