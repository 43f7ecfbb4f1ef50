from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import Bench
from rule_weights import TINY, rule_network

from ttt3r_ros.weights.checkpoint import save_network


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_network(rule_network(TINY), path, provenance={"made": "by rule, for tests"})
    return path


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
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user has no home folder and is on no list of users, as in many containers."""

    def unknown(_number: int) -> None:
        raise KeyError

    for name in ("HOME", "ROS_HOME", "ROS_LOG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
