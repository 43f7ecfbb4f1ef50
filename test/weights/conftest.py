from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mirror_server import CONTENT, Server, Transfer, serve


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serve(CONTENT) as behavior:
        yield behavior


@pytest.fixture
def transfer(server: Server, tmp_path: Path) -> Transfer:
    return Transfer(server, tmp_path)
