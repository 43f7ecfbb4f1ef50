"""What is not downloaded from, and what is said then."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from expectations import one_sentence
from mirror_server import CONTENT, Server, Transfer

from ttt3r_ros.errors import UserError
from ttt3r_ros.weights import download as download_module
from ttt3r_ros.weights.download import Mirror, MirrorError


def refusal(transfer: Transfer) -> str:
    """Return the sentence of a mirror that is not asked twice."""
    with pytest.raises(MirrorError) as caught:
        transfer.run()
    assert transfer.pauses == []
    return one_sentence(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"statuses": [404]}, "404"),
        ({"statuses": [403]}, "403"),
        ({"content_type": "text/html; charset=utf-8"}, "web page"),
        ({"content": b"x" * 1000}, "1000 bytes instead of"),
        ({"redirect_to": "file:///etc/passwd"}, "redirects"),
        ({"redirect_to": "tiny.pth"}, "redirects"),  # to itself
        ({"redirect_to": "ftp://127.0.0.1/x"}, "https"),
        ({"redirect_to": "http://example.org/x"}, "https"),
        ({"redirect_to": "http://127.0.0.1:99999/x"}, "https"),
        ({"redirect_to": "http://[/x"}, "malformed"),
        ({"redirect_to": "https://a..b/x"}, "malformed"),
    ],
)
def test_refused_at_once(server: Server, transfer: Transfer, change: dict[str, Any], said: str) -> None:
    for name, value in change.items():
        setattr(server, name, value)
    assert said in refusal(transfer)
    assert transfer.part.read_bytes() == b""


@pytest.mark.parametrize(
    ("content_range", "said"),
    [
        ("bytes 500-999/1000", "1000 bytes instead of"),
        ("bytes 499-51199/51200", "different part"),
        ("bytes 0-51199/51200", "different part"),
        ("bytes 500-51199", "different part"),
        ("\x1b[2J", "different part"),
    ],
)
def test_another_file_or_part_when_resuming(server: Server, transfer: Transfer, content_range: str, said: str) -> None:
    transfer.part.write_bytes(CONTENT[:500])
    server.content_range = content_range
    assert said in refusal(transfer)
    assert transfer.part.read_bytes() == CONTENT[:500]


def test_a_part_of_a_file_of_unknown_length_is_taken(server: Server, transfer: Transfer) -> None:
    transfer.part.write_bytes(CONTENT[:500])
    server.content_range = "bytes 500-51199/*"
    assert transfer.run() == CONTENT
    assert server.ranges == ["bytes=500-"]


@pytest.mark.parametrize("resumes", [True, False])
def test_gives_up_when_nothing_new_arrives(server: Server, transfer: Transfer, resumes: bool) -> None:
    """Also on a server that always starts over."""
    server.cuts, server.resumes = [10_000] + [0 if resumes else 10_000] * 100, resumes
    with pytest.raises(MirrorError, match="run the command again"):
        transfer.run()
    assert len(transfer.pauses) == 1 + download_module.PATIENCE
    assert transfer.part.read_bytes() == CONTENT[:10_000]


def test_a_server_that_is_not_there_is_given_up_sooner(transfer: Transfer) -> None:
    transfer.mirror = Mirror("One", "http://127.0.0.1:9/tiny.pth")
    with pytest.raises(MirrorError, match="refused"):
        transfer.run()
    assert len(transfer.pauses) == download_module.FIRST_PATIENCE


@pytest.mark.parametrize("answer", [b"\x1b[2J\x07 hello\r\n\r\n", b"HTTP/1.1 200 \r\nContent-Length: \x1b[2J\r\n\r\n"])
def test_a_server_cannot_speak_to_the_terminal(transfer: Transfer, answer: bytes) -> None:
    def answer_all() -> None:
        for _ in range(10):
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(2**16)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        transfer.mirror = Mirror("One", f"http://127.0.0.1:{listener.getsockname()[1]}/")
        thread = threading.Thread(target=answer_all)
        thread.start()
        with pytest.raises(MirrorError) as caught:
            transfer.run()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert "?[2J" in one_sentence(caught.value)
    assert all(note.isprintable() for note in transfer.notes)


def test_a_server_that_does_not_prove_its_identity(transfer: Transfer, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(connection: http.client.HTTPSConnection) -> None:
        error = ssl.SSLCertVerificationError(1, "certificate verify failed")
        error.verify_message = "self-signed certificate"
        raise error

    monkeypatch.setattr(http.client.HTTPSConnection, "connect", connect)
    transfer.mirror = Mirror("One", "https://127.0.0.1/tiny.pth")
    assert refusal(transfer) == "the certificate of One is invalid: self-signed certificate"


@pytest.mark.parametrize(("part", "said"), [("/dev/full", "No space left"), ("/dev/null/x", "cannot be written")])
def test_a_file_that_cannot_be_written(transfer: Transfer, part: str, said: str) -> None:
    transfer.part = Path(part)
    with pytest.raises(UserError) as caught:
        transfer.run()
    assert said in one_sentence(caught.value)
    assert not isinstance(caught.value, MirrorError)  # no other mirror would help
