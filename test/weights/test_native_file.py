from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from expectations import refusal
from published_files import TINY
from rule_weights import rule_network
from safetensors.torch import load_file, save_file

from ttt3r_ros.errors import UserError
from ttt3r_ros.weights.native_file import read_native, write_native

NETWORK = rule_network(TINY)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_native(tmp_path / "t.safetensors", TINY, NETWORK.state_dict(), provenance={"by": ["us"]}, dtype=torch.float32)
    return tmp_path / "t.safetensors"


def header(file: Path) -> tuple[dict[str, Any], bytes]:
    """Return a file's header and the data behind it."""
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def rewrite(file: Path, dtype: torch.dtype = torch.float32, **metadata: str | None) -> Path:
    """Write one of our files again with other metadata; None takes an entry out."""
    kept = header(file)[0]["__metadata__"] | metadata
    tensors = {key: value.to(dtype) for key, value in NETWORK.state_dict().items()}
    save_file(tensors, file, {key: value for key, value in kept.items() if value is not None})
    return file


def test_a_file_says_what_it_holds(file):
    found = read_native(file)
    assert (found.path, found.config, found.provenance) == (file, TINY, {"by": ["us"]})
    assert found.shapes == {key: tuple(value.shape) for key, value in NETWORK.state_dict().items()}
    assert found.dtypes == {torch.float32}
    assert found.checksum == hashlib.sha256(header(file)[1]).hexdigest()


def test_its_contents_are_the_tensors_and_a_network_for_them(file):
    contents = read_native(file).contents()
    assert contents.network.config == TINY
    assert all(parameter.is_meta for parameter in contents.network.parameters())
    assert contents.provenance == {"by": ["us"]}
    tensors = dict(contents.tensors)
    assert tensors.keys() == NETWORK.state_dict().keys()
    assert all(torch.equal(tensors[key], value) for key, value in NETWORK.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_tensors_of_any_layout_and_size_are_written(tmp_path, dtype):
    tensors = {"turned": torch.arange(6.0).view(2, 3).T, "none": torch.zeros(0, 3), "one": torch.tensor(0.1)}
    calls: list[tuple[int, int]] = []
    write_native(tmp_path / "t", TINY, tensors, provenance={}, dtype=dtype, progress=lambda *done: calls.append(done))
    read = load_file(tmp_path / "t")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[key], value.to(dtype)) for key, value in tensors.items())
    assert calls == [(count * dtype.itemsize, 7 * dtype.itemsize) for count in (6, 6, 7)]
    assert read_native(tmp_path / "t").is_intact()


def test_a_value_that_is_not_finite_is_not_written(tmp_path):
    tensors = {"fine": torch.ones(3), "wrong": torch.tensor([1.0, float("nan")])}
    with pytest.raises(UserError, match="wrong has values that are NaN"):
        write_native(tmp_path / "t", TINY, tensors, provenance={}, dtype=torch.float32)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"ttt3r_ros_format": None}, "without this package's metadata"),
        ({"ttt3r_ros_format": "2"}, "update"),
        ({"ttt3r_ros_format": "\x1b[2J"}, "update"),
        ({"config": None}, "damaged metadata"),
        ({"config": "{}"}, "damaged metadata"),
        ({"config": "{"}, "damaged metadata"),
        ({"config": "[1]"}, "damaged metadata"),
        ({"config": "5"}, "damaged metadata"),
        ({"config": "[" * 100_000}, "damaged metadata"),
        ({"config": json.dumps({**TINY.to_dict(), "mlp_ratio": 10**400})}, "mlp_ratio is out of range"),
        ({"config": json.dumps({**TINY.to_dict(), "enc_depth": 3})}, "lacks"),
        ({"config": json.dumps({**TINY.to_dict(), "enc_depth": 1})}, "does not explain"),
        ({"config": json.dumps({**TINY.to_dict(), "state_size": 6})}, "shape"),
        ({"config": json.dumps({**TINY.to_dict(), "dec_depth": 10**6})}, "layers"),
        ({"config": json.dumps({**TINY.to_dict(), "enc_depth": "two"})}, "enc_depth"),
        ({"config": json.dumps({**TINY.to_dict(), "enc_num_heads": 3})}, "heads"),
        ({"config": json.dumps({**TINY.to_dict(), "enc_embed_dim": 800_000, "mlp_ratio": 1e6})}, "shape"),
        ({"provenance": "[]"}, "damaged metadata"),
        ({"provenance": None}, "damaged metadata"),
    ],
)
def test_metadata_of_another_kind_are_refused(file, metadata, said):
    assert said in refusal(rewrite(file, **metadata))


def test_a_truncated_file_is_refused(file):
    content = file.read_bytes()
    for length in (9, 100, 5000, len(content) - 1):
        file.write_bytes(content[:length])
        assert "truncated or damaged" in refusal(file)


def test_weights_of_another_kind_of_number_are_refused(file):
    assert "only F32, F16 and BF16" in refusal(rewrite(file, torch.int8))


def test_the_checksum_finds_one_bit(file):
    content = file.read_bytes()
    calls: list[tuple[int, int]] = []
    assert read_native(file).is_intact(lambda done, total: calls.append((done, total)))
    assert calls[-1] == (len(content), len(content))
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert not read_native(file).is_intact()


def test_a_file_without_a_checksum_is_not_known_to_be_intact(file):
    assert not read_native(rewrite(file, data_sha256=None)).is_intact()


def test_a_head_of_another_width_is_in_the_file(tmp_path: Path) -> None:
    narrow = dataclasses.replace(TINY, head_type="dpt", dpt_width=16)
    network = rule_network(narrow)
    write_native(tmp_path / "n.safetensors", narrow, network.state_dict(), provenance={}, dtype=torch.float32)
    found = read_native(tmp_path / "n.safetensors")
    assert found.config == narrow
    assert found.contents().network.config.dpt_width == 16
    assert sum(p.numel() for p in network.camera_head.parameters()) < 100_000


def test_files_from_before_that_could_be_chosen_are_those_of_its_default(file: Path) -> None:
    assert "dpt_width" not in json.loads(header(file)[0]["__metadata__"]["config"])
    assert read_native(file).config.dpt_width == 256
