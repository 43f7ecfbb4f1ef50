"""Who can get in: ports, code in data, and DDS security."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import ROOT, Bench, node
from rclpy.node import Node
from waiting import PATIENCE, settled

from ttt3r_ros.ros import localization

POLICY = ROOT / "config" / "sros2" / "ttt3r.policy.xml"

#: A ROS node that has nothing to do with ours: what a port is compared with.
PLAIN_NODE = """
import sys, rclpy
from rclpy.node import Node
from std_msgs.msg import Empty
rclpy.init()
node = Node("plain")
node.create_publisher(Empty, "~/a", 1), node.create_subscription(Empty, "~/b", print, 1)
print("ready", flush=True)
sys.stdin.read()
"""

LISTENING, UNCONNECTED = "0A", "07"


@pytest.fixture(scope="module")
def running(weights, tmp_path_factory):
    with node(tmp_path_factory.mktemp("node") / "node.log", weights=weights, wait_for_transform=0.1) as running:
        bench = Bench("bench", "odom")
        bench.wait_for_node()
        bench.send_until_answered()
        yield running, bench
        bench.close()


# --- ports ---


def sockets(pid: int, table: str) -> list[tuple[int, str]]:
    """Return (local port, state) of a process's sockets in one table of /proc/net: tcp, tcp6, udp, udp6."""
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    own = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    path = Path(f"/proc/{pid}/net/{table}")
    lines = path.read_text().splitlines()[1:] if path.exists() else []
    fields = [line.split() for line in lines]
    return [(int(field[1].rpartition(":")[2], 16), field[3]) for field in fields if field[9] in own]


def kind_of_port(port: int) -> str:
    """Return what a port is in DDS: of the domain, whose range RTPS 2.5 § 9.6.2 lays down, or chosen freely."""
    domain = 7400 + 250 * int(os.environ["ROS_DOMAIN_ID"])
    return "of the domain" if domain <= port < domain + 250 else "any"


@pytest.mark.dds
def test_no_port_is_open_beside_those_of_dds(running):
    process = running[0].process
    for table in ("tcp", "tcp6"):
        assert not [port for port, state in sockets(process.pid, table) if state == LISTENING]
    command = [sys.executable, "-c", PLAIN_NODE]
    profile = str(ROOT / "ttt3r_ros" / "ros" / "fastdds.xml")
    environment = {**os.environ, "FASTDDS_DEFAULT_PROFILES_FILE": profile, "FASTRTPS_DEFAULT_PROFILES_FILE": profile}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as plain:
        assert plain.stdout
        assert plain.stdout.readline() == "ready\n"
        ours, theirs = (
            Counter(kind_of_port(port) for table in ("udp", "udp6") for port, _ in sockets(pid, table))
            for pid in (process.pid, plain.pid)
        )
        plain.communicate()
    assert ours["of the domain"] > 0
    assert ours == theirs


# --- code in data ---

#: Calls that run what they are given.
DANGEROUS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load", "yaml.load", "yaml.unsafe_load"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open", "numpy.load"),
    *("np.load", "torch.hub.load", "importlib.import_module", "runpy.run_path", "runpy.run_module", "ctypes.CDLL"),
}
#: Modules that open a door or load code from data.
DOORS = {"socket", "socketserver", "http.server", "xmlrpc", "multiprocessing.connection", "pickle", "marshal", "shelve"}

#: (file, what it does): why it may.
ALLOWED = {
    ("ttt3r_ros/places/solver.py", "pickle"): "talks to a process that it has started, through pipes of its own",
    ("ttt3r_ros/places/solver.py", "pickle.load"): "the same",
    ("ttt3r_ros/ros/domain.py", "socket"): "binds a port for a moment, to find a ROS domain that nobody uses",
    ("ttt3r_ros/viewer/server.py", "socket"): "binds a port for a moment, to check the address of the viewer's page",
}


def findings(path: Path) -> set[str]:
    found = set()
    for item in ast.walk(ast.parse(path.read_text())):
        if isinstance(item, ast.Call):
            name = ast.unparse(item.func)
            if name in DANGEROUS:
                found.add(name)
            shell = [keyword.value for keyword in item.keywords if keyword.arg == "shell"]
            if shell and ast.unparse(shell[0]) != "False":
                found.add("shell=True")
            pickles = [keyword.value for keyword in item.keywords if keyword.arg == "allow_pickle"]
            if name.endswith("load") and pickles and ast.unparse(pickles[0]) != "False":
                found.add("allow_pickle")
        elif isinstance(item, ast.Import):
            found |= {alias.name for alias in item.names if alias.name in DOORS}
        elif isinstance(item, ast.ImportFrom) and item.module:
            found |= {item.module} & DOORS
            found |= {name for alias in item.names if (name := f"{item.module}.{alias.name}") in DANGEROUS | DOORS}
    return found


def test_nothing_in_the_package_runs_what_it_reads():
    found = {
        (str(path.relative_to(ROOT)), what) for path in (ROOT / "ttt3r_ros").rglob("*.py") for what in findings(path)
    }
    assert found == set(ALLOWED), "explain what is needed in ALLOWED, and take out what is gone"


@pytest.mark.parametrize(
    "line",
    [
        "eval(text)",
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "subprocess.run(text, shell=True)",
        "from os import system",
        "from http import server",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_what_would_run_code_is_found(tmp_path, line):
    (tmp_path / "bad.py").write_text(line)
    assert findings(tmp_path / "bad.py")


# --- DDS security ---


def permitted(kind: str, permission: str) -> set[str]:
    """Return the full names that the policy allows the node in its default namespace."""
    names = set()
    for group in ElementTree.parse(POLICY).iterfind(f".//profile/{kind}s[@{permission}='ALLOW']"):
        for element in group.iterfind(kind):
            name = (element.text or "").strip()
            names.add(name.replace("~", "/ttt3r", 1) if name.startswith("~") else "/" + name.lstrip("/"))
    return names


@pytest.mark.dds
def test_the_policy_permits_what_the_node_does_and_nothing_else(running):
    graph: Node = running[1].node

    def names(query: Callable[[str, str], list[tuple[str, list[str]]]], *others: str) -> Callable[[], set[str]]:
        return lambda: {name for name, _ in query("ttt3r", "/")} | {*others}

    with_map_frame = [f"/ttt3r/{name}" for name in localization.TOPICS]
    published = names(graph.get_publisher_names_and_types_by_node, *with_map_frame)
    # where image_transport is compressed, use_sim_time is true, publish_map_frame is true
    heard = names(graph.get_subscriber_names_and_types_by_node, "/image/compressed", "/clock", "/initialpose")
    served = names(graph.get_service_names_and_types_by_node)
    for allowed, seen in (
        (permitted("topic", "publish"), published),
        (permitted("topic", "subscribe"), heard),
        (permitted("service", "reply"), served),
    ):
        assert settled(seen, allowed) == allowed
    assert not permitted("service", "request")


PEER_POLICY = """<?xml version="1.0"?>
<policy version="0.2.0"><enclaves><enclave path="/bench"><profiles><profile ns="/" node="bench">
  <topics publish="ALLOW"><topic>image</topic><topic>/parameter_events</topic><topic>/rosout</topic></topics>
  <topics subscribe="ALLOW"><topic>/ttt3r/odom</topic></topics>
</profile></profiles></enclave></enclaves></policy>
"""


def secured(keystore: Path) -> dict[str, str]:
    return {
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
        "ROS_SECURITY_KEYSTORE": str(keystore),
    }


@pytest.fixture(scope="module")
def lack_of_security(tmp_path_factory) -> str | None:
    """What a secured node that is not ours dies of, if it is for want of security in the middleware."""
    keystore = tmp_path_factory.mktemp("keystore")
    (keystore / "enclaves" / "plain").mkdir(parents=True)
    command = [sys.executable, "-c", PLAIN_NODE, "--ros-args", "--enclave", "/plain"]
    environment = {**os.environ, **secured(keystore)}
    run = subprocess.run(
        command, env=environment, input="", capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    said = [line for line in run.stderr.splitlines() if "security libraries" in line]
    return said[-1].partition("error creating node: ")[2] if said else None


@pytest.mark.dds
@pytest.mark.parametrize("has_keystore", [True, False])
def test_security_that_cannot_be_had_ends_the_node_in_one_sentence(
    start, tmp_path, monkeypatch, lack_of_security, has_keystore
):
    if has_keystore and lack_of_security is None:
        pytest.skip("this middleware has DDS security")
    keystore = tmp_path / "keystore"
    if has_keystore:
        (keystore / "enclaves" / "ttt3r").mkdir(parents=True)
    for name, value in secured(keystore).items():
        monkeypatch.setenv(name, value)
    status, said = start("--enclave", "/ttt3r")
    assert status == 2
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    for words in ("ROS_SECURITY_ENABLE", "security libraries") if has_keystore else ("ROS_SECURITY_KEYSTORE",):
        assert words in error
    assert "Traceback" not in said


@pytest.mark.dds
def test_the_node_works_enclosed_and_strangers_hear_nothing(tmp_path, weights, lack_of_security, monkeypatch):
    if lack_of_security is not None:
        pytest.skip(f"the middleware says: {lack_of_security}")
    if shutil.which("ros2") is None:
        pytest.skip("there is no `ros2 security` command to make keys with")
    keystore = tmp_path / "keystore"
    peer = tmp_path / "peer.policy.xml"
    peer.write_text(PEER_POLICY)
    commands = [["create_keystore", keystore]]
    for enclave, policy in (("/ttt3r", POLICY), ("/bench", peer)):
        commands += [["create_enclave", keystore, enclave], ["create_permission", keystore, enclave, policy]]
    for command in commands:
        subprocess.run(["ros2", "security", *map(str, command)], check=True)
    stranger = Bench("stranger")
    with node(tmp_path / "node.log", "--enclave", "/ttt3r", variables=secured(keystore), weights=weights) as enclosed:
        for name, value in secured(keystore).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ROS_SECURITY_ENCLAVE_OVERRIDE", "/bench")
        friend = Bench()
        try:
            for bench in (friend, stranger):
                bench.hear("odom")
            friend.wait_for_node()
            friend.send_until_answered()
            answered = len(friend.received["odom"])
            for _ in range(20):
                stranger.send()
                time.sleep(0.1)
            assert not stranger.received["odom"]
            assert len(friend.received["odom"]) == answered
            assert enclosed.process.poll() is None
        finally:
            friend.close()
            stranger.close()
