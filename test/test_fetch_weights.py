"""Getting weights over a bad network: from a server on the loopback interface that misbehaves on purpose."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from expectations import assert_equal, one_sentence
from published_files import TINY, save_published
from rule_weights import rule_network

from ttt3r_ros import download as download_module
from ttt3r_ros import fetch_weights
from ttt3r_ros.download import Mirror, MirrorError, check_url, download
from ttt3r_ros.errors import UserError
from ttt3r_ros.model.checkpoint import load_network
from ttt3r_ros.published_weights import CUT3R_512_DPT, LICENSE_ID, Weights


@dataclass
class Server:
    """What the server does, and what it was asked."""

    content: bytes
    url: str = ""
    cuts: list[int] = field(default_factory=list)  # close the connection after so many bytes; one per answer
    resumes: bool = True
    statuses: list[int] = field(default_factory=list)  # answer with these errors first
    content_type: str = "application/octet-stream"
    announce_length: bool = True
    redirect_to: str = ""
    stalls: list[threading.Event] = field(default_factory=list)  # say nothing more until these are set; one per answer
    ranges: list[str | None] = field(default_factory=list)


@contextlib.contextmanager
def serve(content: bytes) -> Iterator[Server]:
    behaviour = Server(content)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            behaviour.ranges.append(asked)
            if self.path != "/final" and behaviour.redirect_to:
                self.send_response(302)
                self.send_header("Location", behaviour.redirect_to)
                self.end_headers()
                return
            if behaviour.statuses:
                self.send_error(behaviour.statuses.pop(0))
                return
            data, total = behaviour.content, len(behaviour.content)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and behaviour.resumes else 0
            if start and start >= total:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Type", behaviour.content_type)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            if behaviour.announce_length:
                self.send_header("Content-Length", str(total - start))
            self.end_headers()
            rest = data[start:]
            with contextlib.suppress(ConnectionError):
                self.wfile.write(rest[: behaviour.cuts.pop(0)] if behaviour.cuts else rest)
                if behaviour.stalls:
                    behaviour.stalls.pop(0).wait(5.0)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        behaviour.url = f"http://127.0.0.1:{server.server_port}/tiny.pth"
        yield behaviour
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return save_published(tmp_path_factory.mktemp("published") / "tiny.pth").read_bytes()


@pytest.fixture
def server(published: bytes) -> Iterator[Server]:
    with serve(published) as behaviour:
        yield behaviour


@pytest.fixture
def weights(server: Server, published: bytes) -> Weights:
    mirrors = {"one": Mirror("One", server.url), "other": Mirror("Other", server.url + "?other")}
    return Weights("tiny.pth", len(published), hashlib.sha256(published).hexdigest(), mirrors)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


class Transfer:
    """Downloads into a folder, without waiting between attempts."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.mirror, self.part, self.size = Mirror("One", server.url), folder / "tiny.pth.part", len(server.content)
        self.pauses: list[float] = []
        self.notes: list[str] = []
        self.progress: list[int] = []

    def run(self) -> bytes:
        download(
            self.mirror,
            self.part,
            self.size,
            progress=self.progress.append,
            note=self.notes.append,
            pause=self.pauses.append,
        )
        return self.part.read_bytes()


@pytest.fixture
def transfer(server: Server, tmp_path: Path) -> Transfer:
    return Transfer(server, tmp_path)


class TestDownload:
    def test_whole(self, server: Server, transfer: Transfer) -> None:
        assert transfer.run() == server.content
        assert server.ranges == [None]
        assert transfer.progress[-1] == transfer.size
        assert transfer.notes == []

    def test_goes_on_after_cuts(self, server: Server, transfer: Transfer) -> None:
        server.cuts = [10_000, 20_000, 0]
        assert transfer.run() == server.content
        assert server.ranges == [None, "bytes=10000-", "bytes=30000-", "bytes=30000-"]
        assert len(transfer.pauses) == 3

    def test_goes_on_where_an_earlier_run_stopped(self, server: Server, transfer: Transfer) -> None:
        transfer.part.write_bytes(server.content[:12_345])
        assert transfer.run() == server.content
        assert server.ranges == ["bytes=12345-"]

    def test_complete_already(self, server: Server, transfer: Transfer) -> None:
        transfer.part.write_bytes(server.content)
        assert transfer.run() == server.content
        assert server.ranges == []

    def test_server_that_cannot_resume(self, server: Server, transfer: Transfer) -> None:
        server.cuts, server.resumes = [10_000], False
        assert transfer.run() == server.content

    def test_too_much_is_there(self, server: Server, transfer: Transfer) -> None:
        transfer.part.write_bytes(server.content + b"more")
        assert transfer.run() == server.content

    def test_416_starts_over(self, server: Server, transfer: Transfer) -> None:
        transfer.part.write_bytes(server.content[:500])
        server.statuses = [416]
        assert transfer.run() == server.content
        assert server.ranges == ["bytes=500-", None]

    def test_no_announced_length(self, server: Server, transfer: Transfer) -> None:
        server.announce_length = False
        assert transfer.run() == server.content

    def test_passing_errors(self, server: Server, transfer: Transfer) -> None:
        server.statuses = [503, 429, 500]
        assert transfer.run() == server.content
        assert transfer.pauses == [2.0, 4.0, 8.0]
        assert "503" in transfer.notes[0]

    def test_gives_up_when_nothing_new_arrives(self, server: Server, transfer: Transfer) -> None:
        server.cuts = [10_000] + [0] * 100
        with pytest.raises(MirrorError) as caught:
            transfer.run()
        assert "run the command again" in one_sentence(caught.value)
        assert len(transfer.pauses) == 1 + download_module.PATIENCE
        assert transfer.part.read_bytes() == server.content[:10_000]

    def test_gives_up_on_a_server_that_always_starts_over(self, server: Server, transfer: Transfer) -> None:
        server.cuts, server.resumes = [10_000] * 100, False
        with pytest.raises(MirrorError):
            transfer.run()

    def test_server_that_falls_silent(self, server: Server, transfer: Transfer, monkeypatch: Any) -> None:
        monkeypatch.setattr(download_module, "TIMEOUT_S", 0.1)
        silence = threading.Event()
        server.cuts, server.stalls = [10_000], [silence]
        assert transfer.run() == server.content
        assert "timed out" in transfer.notes[0]
        silence.set()

    def test_server_is_gone(self, transfer: Transfer) -> None:
        transfer.mirror = Mirror("One", "http://127.0.0.1:9/tiny.pth")
        with pytest.raises(MirrorError, match="refused"):
            transfer.run()
        assert len(transfer.pauses) == download_module.FIRST_PATIENCE

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"statuses": [404]}, "404"),
            ({"statuses": [403]}, "403"),
            ({"content_type": "text/html; charset=utf-8"}, "web page"),
            ({"content": b"x" * 1000}, "1000 bytes instead of"),
            ({"redirect_to": "file:///etc/passwd"}, "redirects"),
            ({"redirect_to": "ftp://127.0.0.1/x"}, "https"),
            ({"redirect_to": "http://example.org/x"}, "https"),
        ],
    )
    def test_refused_at_once(self, server: Server, transfer: Transfer, change: dict[str, Any], said: str) -> None:
        for name, value in change.items():
            setattr(server, name, value)
        with pytest.raises(MirrorError) as caught:
            transfer.run()
        assert said in one_sentence(caught.value)
        assert transfer.pauses == []
        assert transfer.part.read_bytes() == b""

    def test_another_file_when_resuming(self, server: Server, transfer: Transfer) -> None:
        transfer.part.write_bytes(server.content[:500])
        server.content = b"x" * 1000
        with pytest.raises(MirrorError, match="1000 bytes instead of"):
            transfer.run()
        assert transfer.part.stat().st_size == 500

    def test_redirection_keeps_the_range(self, server: Server, transfer: Transfer) -> None:
        server.redirect_to = server.url.replace("tiny.pth", "final")
        transfer.part.write_bytes(server.content[:500])
        assert transfer.run() == server.content
        assert server.ranges == ["bytes=500-", "bytes=500-"]

    def test_full_disk(self, server: Server, transfer: Transfer) -> None:
        transfer.part = Path("/dev/full")
        with pytest.raises(UserError, match="No space left"):
            transfer.run()

    @pytest.mark.parametrize(
        "url",
        [
            "http://example.org/x",
            "file:///etc/passwd",
            "ftp://a/b",
            "x",
            "",
            "https://",
            "https://a b/",
            "http://[/",
            "https://ü/",
        ],
    )
    def test_addresses_that_are_refused(self, url: str) -> None:
        with pytest.raises(MirrorError) as caught:
            check_url(url)
        one_sentence(caught.value)

    def test_published_addresses(self) -> None:
        for mirror in CUT3R_512_DPT.mirrors.values():
            check_url(mirror.url, loopback=False)


@dataclass
class Run:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one sentence that a failed run ends in."""
        last = self.err.strip().splitlines()[-1]
        assert last.startswith("error: ")
        assert "Traceback" not in self.err
        return one_sentence(UserError(last.removeprefix("error: ")))


@pytest.fixture
def command(weights: Weights, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str | Path, accept: bool = True, what: Weights = weights) -> Run:
        given = [str(argument) for argument in arguments] + (["--accept-license"] if accept else [])
        code = fetch_weights.main(given, what)
        captured = capsys.readouterr()
        return Run(code, captured.out, captured.err)

    return run


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class TestFetch:
    def test_to_the_default_place(self, command: Any, tmp_path: Path, weights: Weights) -> None:
        result = command()
        output = tmp_path / "data" / "ttt3r_ros" / "tiny.safetensors"
        assert result.code == 0
        assert f"weights:={output}" in result.out
        assert files(tmp_path) == ["data/ttt3r_ros/tiny.safetensors"]
        network, provenance = load_network(output)
        assert_equal(network, rule_network(TINY))
        assert provenance["sha256"] == weights.sha256
        assert provenance["license"] == LICENSE_ID
        assert "CC BY-NC-SA 4.0" in result.err
        assert "no commercial use" in result.err

    def test_home_without_xdg(self, command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("XDG_DATA_HOME")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert command().code == 0
        assert files(tmp_path) == [".local/share/ttt3r_ros/tiny.safetensors"]

    def test_twice(self, command: Any, server: Server, tmp_path: Path) -> None:
        assert command("--output", tmp_path / "w.safetensors").code == 0
        requests = len(server.ranges)
        result = command("--output", tmp_path / "w.safetensors", accept=False)
        assert result.code == 0
        assert "already there and verified" in result.err
        assert len(server.ranges) == requests

    def test_damage_of_what_is_there_is_found(self, command: Any, tmp_path: Path) -> None:
        output = tmp_path / "w.safetensors"
        command("--output", output)
        content = output.read_bytes()
        output.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
        result = command("--output", output)
        assert result.code == 1
        assert "damaged" in result.error

    def test_nothing_of_the_user_is_overwritten(self, command: Any, tmp_path: Path, server: Server) -> None:
        output = tmp_path / "w.safetensors"
        output.write_bytes(b"mine")
        result = command("--output", output)
        assert result.code == 1
        assert "choose another --output" in result.error
        assert output.read_bytes() == b"mine"
        assert server.ranges == []

    def test_half_precision(self, command: Any, tmp_path: Path) -> None:
        assert command("--output", tmp_path, "--dtype", "float16").code == 0
        assert files(tmp_path) == ["tiny_float16.safetensors"]
        assert "already there" in command("--output", tmp_path, "--dtype", "float16").err
        assert command("--output", tmp_path / "tiny_float16.safetensors").code == 1

    def test_keeping_the_pth_spares_a_download(self, command: Any, tmp_path: Path, server: Server) -> None:
        assert command("--output", tmp_path, "--keep-pth").code == 0
        assert files(tmp_path) == ["tiny.pth", "tiny.safetensors"]
        assert command("--output", tmp_path, "--dtype", "bfloat16", "--keep-pth").code == 0
        assert len(server.ranges) == 1

    def test_a_wrong_pth_of_the_user_is_left_alone(self, command: Any, tmp_path: Path) -> None:
        (tmp_path / "tiny.pth").write_bytes(b"mine")
        result = command("--output", tmp_path)
        assert result.code == 1
        assert "move it away" in result.error
        assert files(tmp_path) == ["tiny.pth"]

    def test_corrupt_byte(self, command: Any, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """The file is removed before anything has opened it."""
        monkeypatch.setattr(fetch_weights, "convert", lambda *args, **kwargs: pytest.fail("opened unverified"))
        server.content = server.content[:5000] + bytes([server.content[5000] ^ 1]) + server.content[5001:]
        result = command("--output", tmp_path)
        assert result.code == 1
        assert "sha256" in result.error
        assert files(tmp_path) == []

    def test_second_mirror(self, command: Any, tmp_path: Path, server: Server) -> None:
        server.statuses = [404]
        result = command("--output", tmp_path)
        assert result.code == 0
        assert "404" in result.err
        assert "from Other" in result.err

    def test_chosen_mirror(self, command: Any, tmp_path: Path, server: Server) -> None:
        server.statuses = [404]
        assert "404" in command("--output", tmp_path, "--source", "other").error

    def test_other_address(self, command: Any, tmp_path: Path, server: Server, weights: Weights) -> None:
        nowhere = dataclasses.replace(weights, mirrors={"one": Mirror("One", "http://127.0.0.1:9/")})
        assert command("--output", tmp_path, "--url", server.url, what=nowhere).code == 0

    def test_disk_too_small(
        self, command: Any, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        full = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
        result = command("--output", tmp_path)
        assert result.code == 1
        assert "make room" in result.error
        assert server.ranges == []

    def test_another_fetch_is_running(self, command: Any, tmp_path: Path) -> None:
        with fetch_weights._exclusive(tmp_path):
            result = command("--output", tmp_path)
        assert result.code == 1
        assert "another process" in result.error
        assert command("--output", tmp_path).code == 0

    def test_leftovers_of_a_killed_conversion_are_removed(self, command: Any, tmp_path: Path) -> None:
        (tmp_path / ".tiny.safetensors.123.tmp").write_bytes(b"half")
        assert command("--output", tmp_path).code == 0
        assert files(tmp_path) == ["tiny.safetensors"]

    def test_interruption_while_downloading(
        self, command: Any, tmp_path: Path, server: Server, monkeypatch: Any
    ) -> None:
        def interrupted(*args: Any, **kwargs: Any) -> None:
            server.cuts = [10_000]
            kwargs["pause"] = raise_interrupt
            download(*args, **kwargs)

        monkeypatch.setattr(fetch_weights, "download", interrupted)
        result = command("--output", tmp_path)
        assert result.code == 130
        assert "run the same command again" in result.err
        assert files(tmp_path) == ["tiny.pth.part"]
        monkeypatch.setattr(fetch_weights, "download", download)
        assert command("--output", tmp_path).code == 0
        assert server.ranges[-1] == "bytes=10000-"

    def test_interruption_while_converting(self, command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", raise_interrupt)
            assert command("--output", tmp_path).code == 130
        assert files(tmp_path) == ["tiny.pth"]
        assert command("--output", tmp_path).code == 0

    @pytest.mark.parametrize("output", ["weights.pth", "/proc/nowhere/w.safetensors", "/dev/null/w.safetensors"])
    def test_impossible_outputs(self, command: Any, output: str) -> None:
        result = command("--output", output)
        assert result.code == 1
        assert result.error


def raise_interrupt(*args: Any) -> None:
    raise KeyboardInterrupt


class TestLicense:
    @pytest.mark.parametrize(("answer", "code"), [("yes", 0), (" YES ", 0), ("y", 1), ("", 1), ("no", 1), (None, 1)])
    def test_question(
        self, command: Any, tmp_path: Path, server: Server, monkeypatch: Any, answer: str | None, code: int
    ) -> None:
        def reply(prompt: str) -> str:
            if answer is None:
                raise EOFError
            return answer

        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", reply)
        result = command("--output", tmp_path, accept=False)
        assert result.code == code
        if code:
            assert "not accepted" in result.error
            assert server.ranges == []
            assert files(tmp_path) == []

    def test_nobody_to_ask(self, command: Any, tmp_path: Path, monkeypatch: Any, server: Server) -> None:
        monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
        result = command("--output", tmp_path, accept=False)
        assert result.code == 1
        assert "--accept-license" in result.error
        assert server.ranges == []


class TestConvert:
    def test_own_file(self, command: Any, tmp_path: Path, published: bytes, server: Server) -> None:
        source = tmp_path / "mine.pth"
        source.write_bytes(published)
        result = command("--convert", source, "--output", tmp_path / "new" / "mine.safetensors", accept=False)
        assert result.code == 0
        assert source.exists()
        assert server.ranges == []
        assert_equal(load_network(tmp_path / "new" / "mine.safetensors")[0], rule_network(TINY))

    def test_license_is_known_by_the_content_alone(self, command: Any, tmp_path: Path, published: bytes) -> None:
        (tmp_path / "same.pth").write_bytes(published)
        torch.save(torch.load(tmp_path / "same.pth", weights_only=False), tmp_path / "tiny.pth", pickle_protocol=4)
        for name, license_id in (("same", LICENSE_ID), ("tiny", None)):
            assert command("--convert", tmp_path / f"{name}.pth", "--output", tmp_path).code == 0
            provenance = load_network(tmp_path / f"{name}.safetensors")[1]
            assert provenance["license"] == license_id
            assert provenance["sha256"] == hashlib.sha256((tmp_path / f"{name}.pth").read_bytes()).hexdigest()

    @pytest.mark.parametrize("name", ["missing.pth", "folder", "text.pth"])
    def test_what_cannot_be_converted(self, command: Any, tmp_path: Path, name: str) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "text.pth").write_text("hello")
        result = command("--convert", tmp_path / name, "--output", tmp_path / "w.safetensors")
        assert result.code == 1
        assert name in result.error
        assert files(tmp_path) == ["text.pth"]

    def test_nothing_is_overwritten(self, command: Any, tmp_path: Path, published: bytes) -> None:
        (tmp_path / "mine.pth").write_bytes(published)
        (tmp_path / "mine.safetensors").write_bytes(b"old")
        assert "exists already" in command("--convert", tmp_path / "mine.pth", "--output", tmp_path).error


def test_help_needs_no_torch() -> None:
    code = "import sys, ttt3r_ros.fetch_weights; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=False).returncode == 0
