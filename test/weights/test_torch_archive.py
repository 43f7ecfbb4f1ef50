"""An archive is read as data, its tensors are windows of the file."""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt3r_ros.weights.inert_pickle import Inert
from ttt3r_ros.weights.torch_archive import Storage, TensorRecord, TorchArchive

OTHER_TORCHES = Path(__file__).parents[1] / "data" / "torch"
CONTENT = {"weight": torch.arange(6.0).reshape(2, 3), "half": torch.ones(4, dtype=torch.float16)}


def read(path: Path) -> dict[str, torch.Tensor]:
    archive = TorchArchive(path)
    assert isinstance(archive.root, dict)
    return {key: archive.tensor(record, key) for key, record in archive.root.items()}


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save(CONTENT, tmp_path / "a.pth")
    return tmp_path / "a.pth"


@settings(max_examples=40)
@given(st.data())
def test_tensors_come_back_whatever_their_layout(tmp_path_factory: Any, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "layouts.pth"
    shape = data.draw(st.lists(st.integers(0, 4), max_size=4))
    dtype = data.draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
    tensor = torch.randn(shape).to(dtype).permute(data.draw(st.permutations(range(len(shape)))))
    part = tensor[tuple(slice(data.draw(st.integers(0, side)), None, 2) for side in tensor.shape)]
    content = {"whole": tensor, "part": part, "expanded": torch.ones(1, dtype=dtype).expand(3, 2)}
    torch.save(content, path)
    assert_equal(read(path), content)


def test_what_is_no_tensor_is_plain_data_or_inert(tmp_path: Path) -> None:
    tensor = torch.ones(2, 3)
    root = {"all": OrderedDict(p=torch.nn.Parameter(tensor)), "epoch": [3, (0.5, None)], "path": Path("x")}
    torch.save(root, tmp_path / "a.pth")
    found = TorchArchive(tmp_path / "a.pth").root
    assert found["all"]["p"] == TensorRecord(Storage("0", torch.float32), 0, (2, 3), (3, 1))
    assert found["all"]["p"].nbytes == 24
    assert found["epoch"] == [3, (0.5, None)]
    assert isinstance(found["path"], Inert)


def test_tensors_are_windows_of_one_mapping_that_keeps_writes_to_itself(file: Path) -> None:
    before, archive = file.read_bytes(), TorchArchive(file)
    once, again = (archive.tensor(archive.root["weight"], "weight") for _ in range(2))
    once.zero_()
    assert torch.equal(again, once)
    assert file.read_bytes() == before
    assert_equal(read(file), CONTENT)


@pytest.mark.parametrize("file", sorted(OTHER_TORCHES.glob("*.pth")), ids=lambda file: f"torch {file.stem}")
def test_archives_of_other_versions_of_torch(file: Path) -> None:
    """How they were made: data/torch/make.py."""
    archive = TorchArchive(file)
    assert_equal({key: archive.tensor(value, key) for key, value in archive.root["model"].items()}, CONTENT)
    assert archive.tensor(archive.root["loss"], "loss").item() == 0.25
    assert isinstance(archive.root["best_so_far"], Inert)
    assert archive.root["args"].state["model"] == "none"


def test_files_from_before_byteorder_was_stored(file: Path) -> None:
    """Their storages need not be aligned."""
    with zipfile.ZipFile(file) as old:
        records = {name.removeprefix("a/"): old.read(name) for name in old.namelist()}
    for length in range(1, 9):
        with zipfile.ZipFile(file, "w") as new:
            for name in ("data.pkl", "data/0", "data/1"):
                new.writestr(f"{'n' * length}/{name}", records[name])
        found = read(file)
        assert_equal(found, CONTENT)
        assert all(tensor.data_ptr() % tensor.itemsize == 0 for tensor in found.values())


def test_a_description_further_down_is_not_the_archives(file: Path) -> None:
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("a/extra/data.pkl", b"")
    assert_equal(read(file), CONTENT)
