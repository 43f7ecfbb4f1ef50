"""A file comes whole over a network that does what networks do."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from mirror_server import CONTENT, Server, Transfer

from ttt3r_ros.weights import download as download_module
from ttt3r_ros.weights.download import Mirror, sha256


def test_whole(server: Server, transfer: Transfer) -> None:
    assert transfer.run() == CONTENT
    assert server.ranges == [None]
    assert transfer.progress == sorted(transfer.progress)
    assert transfer.progress[-1] == transfer.size
    assert transfer.notes == []


def test_goes_on_after_cuts(server: Server, transfer: Transfer) -> None:
    server.cuts = [10_000, 20_000, 0]
    assert transfer.run() == CONTENT
    assert server.ranges == [None, "bytes=10000-", "bytes=30000-", "bytes=30000-"]
    assert len(transfer.pauses) == 3


def test_goes_on_where_an_earlier_run_stopped(server: Server, transfer: Transfer) -> None:
    transfer.part.write_bytes(CONTENT[:12_345])
    assert transfer.run() == CONTENT
    assert server.ranges == ["bytes=12345-"]
    assert transfer.progress[0] == 12_345


def test_what_has_arrived_is_kept_when_the_user_stops(transfer: Transfer) -> None:
    def stop(done: int) -> None:
        if done:
            raise KeyboardInterrupt

    transfer.told = stop
    with pytest.raises(KeyboardInterrupt):
        transfer.run()
    kept = transfer.part.read_bytes()
    assert 0 < len(kept) <= len(CONTENT)
    assert CONTENT.startswith(kept)


def test_complete_already(server: Server, transfer: Transfer) -> None:
    transfer.part.write_bytes(CONTENT)
    assert transfer.run() == CONTENT
    assert server.ranges == []


def test_a_file_that_takes_a_little_at_a_time(transfer: Transfer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(io.FileIO):
        def write(self, data: Any) -> int:
            return super().write(data[:1000])

    monkeypatch.setattr(Path, "open", lambda path, mode, **options: Slow(path, mode))
    transfer.run()
    with open(transfer.part, "rb") as file:
        assert file.read() == CONTENT


def test_server_that_cannot_resume(server: Server, transfer: Transfer) -> None:
    server.cuts, server.resumes = [10_000], False
    assert transfer.run() == CONTENT


def test_too_much_is_there(transfer: Transfer) -> None:
    transfer.part.write_bytes(CONTENT + b"more")
    assert transfer.run() == CONTENT


def test_416_starts_over(server: Server, transfer: Transfer) -> None:
    transfer.part.write_bytes(CONTENT[:500])
    server.statuses = [416]
    assert transfer.run() == CONTENT
    assert server.ranges == ["bytes=500-", None]


@pytest.mark.parametrize("more", [b"", b"and more than there should be" * 1000])
def test_no_announced_length(server: Server, transfer: Transfer, more: bytes) -> None:
    server.announce_length, server.content = False, CONTENT + more
    assert transfer.run() == CONTENT


def test_passing_errors(server: Server, transfer: Transfer) -> None:
    server.statuses = [503, 429, 500]
    assert transfer.run() == CONTENT
    assert transfer.pauses == [2.0, 4.0, 8.0]
    assert "503" in transfer.notes[0]


def test_pauses_are_bounded_and_start_anew_with_what_arrives(server: Server, transfer: Transfer) -> None:
    server.cuts = [10_000, 0, 0, 0, 0, 0, 1, 0]
    assert transfer.run() == CONTENT
    assert transfer.pauses == [1.0, 2.0, 4.0, 8.0, 16.0, download_module.MAX_PAUSE_S, 1.0, 2.0]


def test_server_that_falls_silent(server: Server, transfer: Transfer, monkeypatch: Any) -> None:
    monkeypatch.setattr(download_module, "TIMEOUT_S", 1.0)
    silence = threading.Event()
    server.cuts, server.stalls = [10_000], [silence]
    assert transfer.run() == CONTENT
    assert "timed out" in transfer.notes[0]
    silence.set()


def test_redirection_keeps_the_range(server: Server, transfer: Transfer) -> None:
    server.redirect_to = server.url.replace("tiny.pth", "final")
    transfer.part.write_bytes(CONTENT[:500])
    assert transfer.run() == CONTENT
    assert server.ranges == ["bytes=500-", "bytes=500-"]


def test_the_proxy_of_the_environment_is_asked(server: Server, transfer: Transfer, monkeypatch: Any) -> None:
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/tiny.pth"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    transfer.mirror = Mirror("One", "http://localhost:9/tiny.pth")  # where nobody answers
    assert transfer.run() == CONTENT


@pytest.mark.parametrize("size", [0, 1, 2**18, 2**18 + 1])
def test_sha256(tmp_path: Path, size: int) -> None:
    content, done = os.urandom(size), [0]
    (tmp_path / "file").write_bytes(content)
    assert sha256(tmp_path / "file", done.append) == hashlib.sha256(content).hexdigest()
    assert done == sorted(set(done))
    assert done[-1] == size
