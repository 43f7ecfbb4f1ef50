from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mirror_server import CONTENT, Server, Transfer, serve
from published_files import TINY, save_published
from rule_weights import rule_network

from ttt3r_ros.model import Network


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serve(CONTENT) as behavior:
        yield behavior


@pytest.fixture
def transfer(server: Server, tmp_path: Path) -> Transfer:
    return Transfer(server, tmp_path)


@pytest.fixture(scope="module")
def network() -> Network:
    return rule_network(TINY)


@pytest.fixture(scope="module")
def pth_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return save_published(tmp_path_factory.mktemp("pth") / "tiny.pth").read_bytes()
