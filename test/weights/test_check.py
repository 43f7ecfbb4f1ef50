"""What is said of a file is what loading it does."""

from __future__ import annotations

import argparse
import itertools
import os
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from expectations import one_sentence
from hypothesis import given, settings
from hypothesis import strategies as st
from published_files import MODEL_STRING, TINY, published_state, save_published
from resident import resident_bytes
from rule_weights import rule_network

from ttt3r_ros.errors import UserError
from ttt3r_ros.weights.check import Report, check_file
from ttt3r_ros.weights.checkpoint import load_network, save_network
from ttt3r_ros.weights.contents import check_finite

INTEGERS = {key: value.to(torch.int32) for key, value in published_state().items()}


def checked(path: Path) -> tuple[dict[str, str], str | None]:
    """Return a file's facts, and the refusal, which has to be that of loading it."""
    report = check_file(path)
    if report.refusal:
        one_sentence(UserError(report.refusal))
    assert report.refusal == loading(path)
    assert all(name.isprintable() and value.isprintable() for name, value in report.facts)
    assert len(dict(report.facts)) == len(report.facts)
    return dict(report.facts), report.refusal


def loading(path: Path) -> str | None:
    try:
        load_network(path)
    except UserError as error:
        return str(error)
    return None


def test_a_published_file(tmp_path: Path) -> None:
    facts, refusal = checked(save_published(tmp_path / "tiny.pth", epoch=3, best_so_far=0.5))
    assert refusal is None
    assert facts == {
        "format": "published checkpoint (torch.save archive)",
        "tensors": f"{len(published_state())} float32",
        "beside them": "2 items (best_so_far, epoch)",
        "model": MODEL_STRING,
        "network": facts["network"],
    }
    count = sum(parameter.numel() for parameter in rule_network(TINY).parameters())
    assert facts["network"] == f"{count / 1e6:.1f} million parameters in use, linear heads, trained at 512 pixels"


def test_a_file_of_ours(tmp_path: Path) -> None:
    provenance = {"source": "so\x1b[2Jmewhere", "license": None}
    save_network(rule_network(TINY), tmp_path / "t.safetensors", provenance=provenance, dtype=torch.float16)
    facts, refusal = checked(tmp_path / "t.safetensors")
    assert refusal is None
    assert facts["format"] == "ttt3r_ros weights (safetensors)"
    assert facts["tensors"] == f"{len(rule_network(TINY).state_dict())} float16"
    assert facts["made from"] == r"source 'so\x1b[2Jmewhere'"


@pytest.mark.filterwarnings("ignore:.* sets 1 keyword")
def test_unknown_keywords_are_facts(tmp_path: Path) -> None:
    args = argparse.Namespace(model=MODEL_STRING.replace("dec_depth", "zeta=1, dec_depth"))
    facts, refusal = checked(save_published(tmp_path / "tiny.pth", args=args))
    assert refusal is None
    assert facts["unknown"] == "1 keyword (zeta), ignored"


def test_all_that_a_file_lacks_and_has_too_much(tmp_path: Path) -> None:
    state = published_state() | {
        "extra\x1b[2J": torch.ones(2),
        "pose_token": torch.ones(3),
        "enc_norm.bias": torch.ones(1),
    }
    for layer in range(2):
        del state[f"enc_blocks.{layer}.mlp.fc1.weight"], state[f"enc_blocks.{layer}.mlp.fc2.weight"]
    facts, refusal = checked(save_published(tmp_path / "tiny.pth", state))
    assert refusal
    names = ", ".join(f"enc_blocks.{layer}.mlp.fc{part}.weight" for layer in range(2) for part in (1, 2))
    assert facts["lacks"] == f"4 tensors ({names})"
    assert facts["unexplained"] == r"1 tensor ('extra\x1b[2J')"
    assert facts["misshapen"] == "2 tensors (enc_norm.bias, pose_token)"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"args": argparse.Namespace(lr=1), "model": published_state()}, {"format", "tensors", "beside them"}),
        ({"args": argparse.Namespace(model="x\x1b[2J"), "model": published_state()}, {"format", "tensors", "model"}),
        ({"args": argparse.Namespace(model=MODEL_STRING), "model": {}}, set()),
        ({"args": None, "model": published_state(), "o\x1b": 1, ((1, 2),): 3}, {"beside them"}),
        ({"args": argparse.Namespace(model=MODEL_STRING), "model": INTEGERS}, {"model", "network"}),
        ([1], set()),
    ],
)
def test_as_much_is_told_as_can_be_read(tmp_path: Path, content: Any, told: set[str]) -> None:
    torch.save(content, tmp_path / "tiny.pth")
    facts, refusal = checked(tmp_path / "tiny.pth")
    assert refusal
    assert told <= facts.keys()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(tmp_path: Path, value: float) -> None:
    state = published_state() | {"dec_norm.weight": torch.tensor([value, *[1.0] * 15])}
    _, refusal = checked(save_published(tmp_path / "tiny.pth", state))
    assert "image_norm.weight has values" in (refusal or "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"hello, I am a text\n" * 100, "neither"),
        (b"{}", "neither"),
        (b"\x80\x02", "neither"),
        (b"\x80\x04K\x01.", "neither"),
        (b"\n<!DOCTYPE html><html></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"\x00" * 1000, "neither"),
        (b"PK\x03\x04", "truncated or damaged"),
        (struct.pack("<Q", 2**62) + b"{" + b" " * 100, "truncated or damaged"),
        (struct.pack("<Q", 100) + b"{" * 100_000, "truncated or damaged"),
        (struct.pack("<Q", 2) + b"{}", "metadata"),
        (None, "does not exist"),
        ("folder", "folder"),
        ("pipe", "not a regular file"),  # which is not waited for
    ],
)
def test_other_files(tmp_path: Path, content: bytes | str | None, said: str) -> None:
    path = tmp_path / "file"
    if content == "folder":
        path.mkdir()
    elif content == "pipe":
        os.mkfifo(path)
    elif content is not None:
        path.write_bytes(content)
    facts, refusal = checked(path)
    assert not facts
    assert said in (refusal or "").replace(str(path), "")


def test_our_own_files_are_compared_with_their_checksum_too(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    save_network(rule_network(TINY), path, provenance={})
    content = path.read_bytes()
    path.write_bytes(content[:-4] + bytes([content[-4] ^ 1]) + content[-3:])
    assert loading(path) is None
    assert "damaged" in one_sentence(UserError(str(check_file(path).refusal)))


@pytest.mark.slow
def test_no_more_than_a_tensor_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [save_published(tmp_path / "tiny.pth"), tmp_path / "tiny.safetensors"]
    save_network(rule_network(TINY), paths[1], provenance={})
    for path in paths:
        most, tensors = 0, itertools.count()

        def watched(*tensor: Any, path: Path = path, tensors: Iterator[int] = tensors) -> None:
            nonlocal most
            check_finite(*tensor)
            if next(tensors) % 25 == 0:  # to ask the system takes long
                most = max(most, resident_bytes(path))

        monkeypatch.setattr("ttt3r_ros.weights.check.check_finite", watched)
        report = check_file(path)
        assert report == Report(report.facts, None)
        largest = max(value.nbytes for value in rule_network(TINY).state_dict().values())
        assert 0 < most <= largest + 2**17  # the kernel reads a little around
        assert resident_bytes(path) == 0


@pytest.mark.slow
@settings(max_examples=12)
@given(data=st.data())
def test_a_damaged_file_is_told_as_loading_it_tells(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "tiny.pth"
    if not path.exists():
        save_published(path)
    content = bytearray(path.read_bytes())
    described, directory = content.index(b"PK\x03\x04", 4), content.index(b"PK\x01\x02")
    start, stop = data.draw(st.sampled_from([(0, described), (described, len(content)), (directory, len(content))]))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(start, stop - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / "damaged").write_bytes(content)
    checked(tmp_path / "damaged")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_only_a_file_of_old_pytorch_is_called_one(tmp_path: Path, protocol: int) -> None:
    torch.save([1], tmp_path / "old", _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    _, refusal = checked(tmp_path / "old")
    assert "is a PyTorch file in the legacy format (before PyTorch 1.6)" in (refusal or "")
    (tmp_path / "other").write_bytes(pickle.dumps([1], protocol))
    _, refusal = checked(tmp_path / "other")
    assert "is neither a safetensors file nor a published .pth checkpoint" in (refusal or "")
