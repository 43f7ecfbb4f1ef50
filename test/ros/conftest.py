from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import Bench
from in_process import InProcess, node_in_process

from ttt3r_ros.ros.run import run


@pytest.fixture(scope="module")
def inside(weights: Path) -> Iterator[InProcess]:
    """Return the node in this process, with default parameters."""
    with node_in_process(weights) as inside:
        yield inside


@pytest.fixture(scope="module")
def camera(inside: InProcess) -> Iterator[Bench]:
    """Return the camera of the node in this process, which also hears its odometry and diagnostics."""
    bench = Bench("camera", "odom", "diagnostics")
    bench.wait_for_node()
    bench.send_until_answered()
    yield bench
    bench.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def own_environment() -> Iterator[None]:
    """Variables that a program sets for its children are gone after the test."""
    before = set(os.environ)
    yield
    for name in os.environ.keys() - before:
        del os.environ[name]


@pytest.fixture
def start(capfd: pytest.CaptureFixture[str], own_handlers: None) -> Callable[..., tuple[int, str]]:
    """Start the node in this process with arguments that it cannot take; return its status and what it said."""

    def start(*arguments: object) -> tuple[int, str]:
        capfd.readouterr()
        return run(["ttt3r", "--ros-args", *map(str, arguments)]), capfd.readouterr().err

    return start


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user has no home folder and is on no list of users, as in many containers."""

    def unknown(_number: int) -> None:
        raise KeyError

    for name in ("HOME", "ROS_HOME", "ROS_LOG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
