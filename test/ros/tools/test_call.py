"""Calling the node's services without the tools of ROS."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from itertools import groupby
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from rcl_interfaces.msg import SetParametersResult
from rclpy.client import Client
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger
from waiting import wait_until

from ttt3r_ros.ros.diagnostics import WARN, Counters, Health, diagnostic_array
from ttt3r_ros.ros.pose_input import read_pose
from ttt3r_ros.ros.tools import call

pytestmark = pytest.mark.dds


class StandIn(LifecycleNode):
    noted: list[object]

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.FAILURE if "fail" in self.noted else TransitionCallbackReturn.SUCCESS


@pytest.fixture
def calls() -> Iterator[list[object]]:
    """Offer services and diagnostics of the node /robot/ttt3r, and note how it is called."""
    context, noted = rclpy.Context(), []
    rclpy.init(args=[], context=context)
    stand_in = StandIn("ttt3r", namespace="robot", context=context)
    stand_in.noted = noted

    def trigger(name: str) -> None:
        def answer(_request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            noted.append(name)
            response.success, response.message = name == "reset", f"answer to {name}"
            return response

        stand_in.create_service(Trigger, f"~/{name}", answer)

    def enable(request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        noted.append(request.data)
        response.success = True
        return response

    def decide(changes: list[Parameter]) -> SetParametersResult:
        noted.extend(p.value for p in changes if p.value != 7)
        return SetParametersResult(successful=changes[0].value != 7, reason="7 is too much")

    stand_in.declare_parameter("limit", 0)
    stand_in.declare_parameter("label", "")
    stand_in.add_on_set_parameters_callback(decide)
    diagnostics = stand_in.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def say() -> None:
        name, now, slow = stand_in.get_fully_qualified_name(), stand_in.get_clock().now(), "only 2 images arrive"
        diagnostics.publish(diagnostic_array(name, now, Health(WARN, "slow", slow), Counters(), {"imu": "level"}))

    stand_in.create_timer(0.1, say)
    trigger("reset")
    trigger("save_map")
    for topic in ("~/set_pose", "initialpose"):
        stand_in.create_subscription(PoseWithCovarianceStamped, topic, noted.append, 1)
    stand_in.create_service(SetBool, "~/enable", enable)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(stand_in)

    def spin() -> None:
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin)
    thread.start()
    yield noted
    executor.shutdown()  # first, or else what is under way would fail
    thread.join()
    stand_in.destroy_node()
    context.shutdown()


def test_an_answer_that_is_lost_is_asked_for_again(calls, capsys, monkeypatch):
    """ROS drops it if the node has not discovered the client yet: each client's first one here."""
    original, heard = Client.call_async, set[Client]()  # kept, so that no later one is at the address of another

    def call_async(client: Client, request: object) -> Future:
        answer = original(client, request)
        is_first = client not in heard
        heard.add(client)
        return Future() if is_first else answer

    monkeypatch.setattr(Client, "call_async", call_async)
    monkeypatch.setattr(call, "_AGAIN_S", 0.5)
    there = ["--node", "robot/ttt3r", "--timeout", "60"]
    assert call.main(["reset", *there]) == 0
    assert capsys.readouterr() == ("answer to reset\n", "")
    assert calls[:2] == ["reset", "reset"]
    assert call.main(["configure", *there]) == 0
    assert capsys.readouterr() == ("/robot/ttt3r is inactive\n", "")
    assert call.main(["save_map", *there, "--timeout", "8"]) == 2
    assert "/robot/ttt3r has not answered within 8 s" in capsys.readouterr().err
    assert calls.count("save_map") == 1  # twice might be refused, or write twice


def test_services_are_called_and_their_answers_shown(calls, capsys, monkeypatch):
    there = ["--node", "robot/ttt3r", "--timeout", "60"]
    assert call.main(["reset", *there]) == 0
    assert capsys.readouterr() == ("answer to reset\n", "")
    assert call.main(["save_map", *there]) == 1
    assert capsys.readouterr() == ("", "error: answer to save_map\n")
    assert call.main(["pause", *there]) == 0
    assert call.main(["resume", *there]) == 0
    assert [name for name, _ in groupby(calls)] == ["reset", "save_map", False, True]  # asked again on a busy machine
    capsys.readouterr()
    for transition, state in (
        ("configure", "inactive"),
        ("activate", "active"),
        ("deactivate", "inactive"),
        ("cleanup", "unconfigured"),
    ):
        assert call.main([transition, *there]) == 0
        assert capsys.readouterr().out == f"/robot/ttt3r is {state}\n"
        if state == "active":
            assert call.main(["configure", *there]) == 1
            assert capsys.readouterr() == ("", "error: /robot/ttt3r is already active\n")

    def refused(transition: str) -> str:
        assert call.main([transition, *there]) == 1
        return capsys.readouterr().err

    assert refused("cleanup") == "error: /robot/ttt3r is already unconfigured\n"
    assert refused("activate") == (
        "error: /robot/ttt3r is unconfigured, from where it cannot activate: possible are configure, shutdown\n"
    )
    calls.append("fail")
    assert refused("configure").startswith("error: /robot/ttt3r is unconfigured, and configure did not succeed")
    assert call.main(["shutdown", *there]) == 0  # whose number differs from state to state
    assert capsys.readouterr().out == "/robot/ttt3r is finalized\n"
    assert refused("configure").endswith("cannot configure: only a restart of the process makes it work again\n")
    where, offered = call._where, ("/robot/ttt3r/reset", ["std_srvs/srv/Trigger"])

    def where_all_are_known(caller: Node, node: str, service: str) -> str:
        wait_until(lambda: offered in caller.get_service_names_and_types(), "the other node to be discovered")
        return where(caller, node, service)

    monkeypatch.setattr(call, "_where", where_all_are_known)
    assert call.main(["reset", "--timeout", "0.1"]) == 2
    assert capsys.readouterr().err.endswith(
        "error: no node /ttt3r offers reset, but /robot/ttt3r: choose with --node\n"
    )


def test_poses_are_sent_to_the_node_that_listens(calls, capsys):
    there = ["--node", "robot/ttt3r", "--timeout", "60"]
    for name, topic, sigma_m in (
        ("set_pose", "/robot/ttt3r/set_pose", 0.05),
        ("initialpose", "/robot/initialpose", 0.5),
    ):
        assert call.main([name, "1.5", "-2", "-1.57079633", *there]) == 0
        said = f"sent (1.5, -2) m, -1.5708 rad to {topic}; the node's log says if it cannot use it\n"
        assert capsys.readouterr() == (said, "")
        wait_until(lambda: calls, "the pose")
        pose, covariance = read_pose(calls.pop(), "odom_or_map")
        np.testing.assert_allclose(pose, [[0, 1, 0, 1.5], [-1, 0, 0, -2], [0, 0, 1, 0], [0, 0, 0, 1]], atol=1e-8)
        assert covariance[0, 0] == pytest.approx(sigma_m**2)
    assert call.main(["set_pose", "1", "2", "0", "--timeout", "0.2"]) == 2
    assert "error: no node /ttt3r listens to /ttt3r/set_pose in the ROS domain " in capsys.readouterr().err
    assert call.main(["set_pose", "1", "2", "0", "--node", "my robot"]) == 2
    assert "error: '/my robot' is not the name of a node" in capsys.readouterr().err


def test_parameters_are_set_and_shown_or_refused_in_the_nodes_words(calls, capsys):
    there = ["--node", "robot/ttt3r", "--timeout", "60"]
    for words in (["limit", "-1"], ["label", "front left"], ["label", "''"]):
        assert call.main([*there, "set", *words]) == 0
        assert capsys.readouterr() == (f"{words[0]} is set to {words[1]}\n", "")
    assert calls == [-1, "front left", ""]
    assert call.main(["get", "label", *there]) == 0
    assert capsys.readouterr() == ("''\n", "")  # as it can be set again
    assert call.main(["get", "limits", *there]) == 1
    assert capsys.readouterr() == ("", "error: parameter 'limits' is unknown: did you mean limit?\n")
    assert call.main(["set", *there, "limit", "7"]) == 1
    assert capsys.readouterr() == ("", "error: 7 is too much\n")
    for no_value in ("{a: 1}", "2026-01-01", str(2**63), "'a"):
        assert call.main(["set", "limit", no_value, *there]) == 2
        assert f"error: {no_value!r} is not a value of a ROS parameter" in capsys.readouterr().err


def test_the_status_is_shown_as_a_list_of_the_node_asked_for(calls, capsys, monkeypatch):
    assert call.main(["status", "--node", "robot/ttt3r", "--timeout", "60"]) == 0
    said, *rows = capsys.readouterr().out.splitlines()
    assert said == "WARN: only 2 images arrive"
    assert rows[0] == "  state                    slow"
    assert "  imu                      level" in rows
    assert {len(row) - len(row.split(maxsplit=1)[1]) for row in rows} == {27}
    heard, create = [], Node.create_subscription

    def noting(node: Node, kind: type, topic: str, note: Callable[[object], None], qos: int) -> object:
        return create(node, kind, topic, lambda message: (note(message), heard.append(message)), qos)

    monkeypatch.setattr(Node, "create_subscription", noting)
    monkeypatch.setattr(call, "time", SimpleNamespace(monotonic=lambda: 5.0 if heard else 0.0))
    assert call.main(["status"]) == 2
    assert capsys.readouterr().err == (
        "error: /ttt3r has said nothing on /diagnostics within 5 s, but /robot/ttt3r: choose with --node\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set", "limit"], "set wants NAME VALUE"),
        (["get"], "get wants NAME"),
        (["reset", "it"], "nothing follows reset"),
        (["list", "it"], "nothing follows list"),
        (["set_pose", "1", "2"], "set_pose wants X Y YAW"),
        (["set_pose", "1", "two", "0"], "set_pose wants three numbers, X Y [m] YAW [rad], got 1 two 0"),
        (["initialpose", "nan", "2", "0"], "initialpose wants X and Y in meters, got nan 2"),
        (["initialpose", "1", "nan", "0"], "initialpose wants X and Y in meters, got 1 nan"),
        (["initialpose", "1", "2", "90"], "initialpose wants YAW in radians, got 90"),
    ],
)
def test_words_that_do_not_belong_there_are_said(capsys, words, said):
    with pytest.raises(SystemExit):
        call.main(words)
    assert said in capsys.readouterr().err


def test_where_no_node_answers_it_says_so(capsys, monkeypatch):
    assert call.main(["reset_odometry", "--timeout", "0.2"]) == 2
    assert "error: no node /ttt3r offers reset_odometry in the ROS domain " in capsys.readouterr().err
    silence = "has said nothing on /diagnostics within 0.2 s"
    assert call.main(["status", "--timeout", "0.2"]) == 2
    assert f"error: /ttt3r {silence} in the ROS domain " in capsys.readouterr().err
    assert call.main(["status", "--timeout", "0.2", "--node", "call"]) == 2  # itself is there, and says nothing
    assert f"error: /call {silence}; it may be loading or busy: see its log" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "my robot", "ünï", "robot//ttt3r", "3rd", "x" * 300])
@pytest.mark.parametrize("what", ["reset", "status", "configure"])
def test_what_is_no_name_of_a_node_is_said(name, what, capsys, monkeypatch):
    """Before anything is waited for."""
    if len(name) < 256:
        monkeypatch.setattr(call, "Node", None)
    elif what == "status":
        pytest.skip("what has no service has no limit")
    assert call.main([what, "--node", name]) == 2
    assert f"error: '/{name}' is not the name of a node" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["list"]])
def test_without_a_service_it_lists_them(words, capsys):
    assert call.main(words) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        *call.SERVICES,
        *call.TRANSITIONS,
        "status",
        "get",
        "set",
        *call.POSES,
        "list",
    ]
    with pytest.raises(SystemExit):
        call.main(["jump"])
    assert "invalid choice: 'jump'" in capsys.readouterr().err


def test_a_peer_that_cannot_be_found_is_said_in_one_sentence(monkeypatch, capsys):
    monkeypatch.setenv("ROS_STATIC_PEERS", "robot.invalid")
    assert call.main(["reset", "--timeout", "1"]) == 2
    assert (
        "error: ROS could not create the node: error creating node: Unable to resolve peer" in capsys.readouterr().err
    )
