"""The command as its user meets it: a server on the loopback interface has the weights."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from expectations import assert_equal, one_sentence
from mirror_server import Server, serve
from published_files import TINY, save_published
from rule_weights import rule_network

from ttt3r_ros.errors import UserError
from ttt3r_ros.weights import fetch as fetch_weights
from ttt3r_ros.weights.checkpoint import load_network
from ttt3r_ros.weights.download import Mirror, download
from ttt3r_ros.weights.published_weights import LICENSE_ID, Weights


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return save_published(tmp_path_factory.mktemp("published") / "tiny.pth").read_bytes()


@pytest.fixture
def server(published: bytes) -> Iterator[Server]:
    with serve(published) as behavior:
        yield behavior


@pytest.fixture
def weights(server: Server, published: bytes) -> Weights:
    mirrors = {"one": Mirror("One", server.url), "other": Mirror("Other", server.url + "?other")}
    return Weights("tiny.pth", len(published), hashlib.sha256(published).hexdigest(), mirrors)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


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
    @pytest.mark.slow
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
        assert "free some space" in result.error
        assert server.ranges == []

    def test_another_fetch_is_running(self, command: Any, tmp_path: Path) -> None:
        with fetch_weights.locked_folder(tmp_path, ""):
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
        assert "already exists" in command("--convert", tmp_path / "mine.pth", "--output", tmp_path).error


class TestCheck:
    def test_the_published_file(self, command: Any, tmp_path: Path, published: bytes, weights: Weights) -> None:
        (tmp_path / "any.pth").write_bytes(published)
        result = command("--check", tmp_path / "any.pth", accept=False)
        assert result.code == 0
        assert f"{weights.sha256}, the published file\n" in result.out
        assert f"size        {len(published)} bytes\n" in result.out
        assert result.out.endswith("would load  yes\n")
        assert files(tmp_path) == ["any.pth"]

    def test_a_converted_file(self, command: Any, tmp_path: Path, weights: Weights) -> None:
        command("--output", tmp_path / "w.safetensors")
        result = command("--check", tmp_path / "w.safetensors", accept=False)
        assert result.code == 0
        assert f"license '{LICENSE_ID}', sha256 '{weights.sha256}'" in result.out

    def test_half_of_a_file(self, command: Any, tmp_path: Path, published: bytes) -> None:
        (tmp_path / "tiny.pth").write_bytes(published[: len(published) // 2])
        result = command("--check", tmp_path / "tiny.pth", accept=False)
        assert result.code == 1
        assert f"{len(published) // 2} bytes; the published file of this name has {len(published)}\n" in result.out
        assert "would load  no: " in result.out
        assert "truncated" in result.out

    @pytest.mark.parametrize("name", ["missing.pth", "folder", "text"])
    def test_mistakes_are_said_before_torch_is_loaded(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "text").write_text("hello")
        code = (
            "import sys\nfrom ttt3r_ros.weights.fetch import main\ncode = main(['--check', sys.argv[1]])\n"
            "assert 'torch' not in sys.modules\nsys.exit(code)"
        )
        command = [sys.executable, "-c", code, str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
        assert done.returncode == 1, done.stderr
        assert f"would load  no: {tmp_path / name} " in done.stdout
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--check", ""], "argument --check: must name a file, got an empty string"),
        (["--convert", ""], "argument --convert: must name a file, got an empty string"),
        (["--check", "a.pth", "--convert", "b.pth"], "argument --convert: not allowed with argument --check"),
    ],
)
def test_what_makes_no_sense_is_said(
    command: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as end:
        command(*arguments)
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_a_user_without_a_home_folder_is_asked_for_one(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_number: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert command().error == "this user has no home folder to store the weights in; name one with --output"
