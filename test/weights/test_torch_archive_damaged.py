"""Of an archive that is damaged, or lies about its tensors, one sentence is said."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from expectations import one_sentence
from published_files import rewrite

from ttt3r_ros.errors import UserError
from ttt3r_ros.weights import torch_archive
from ttt3r_ros.weights.torch_archive import TensorRecord, TorchArchive

IMPOSSIBLE = "describes a tensor of an impossible size"
BEYOND = "extends beyond its data"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save({"weight": torch.arange(6.0).reshape(2, 3), "half": torch.ones(4).half()}, tmp_path / "a.pth")
    return tmp_path / "a.pth"


def read_all(path: Path) -> None:
    archive = TorchArchive(path)
    for key, record in archive.root.items() if isinstance(archive.root, dict) else ():
        if isinstance(record, TensorRecord):
            archive.tensor(record, str(key))


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_all(path)
    said = one_sentence(caught.value)
    assert str(path) in said
    return said.replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda name, data: None if name.endswith("data/0") else data, "lacks some of its data"),
        (lambda name, data: data[:-4] if name.endswith("data/0") else data, BEYOND),
        (lambda name, data: b"" if name.endswith("data/0") else data, BEYOND),
        (lambda name, data: b"big" if name.endswith("byteorder") else data, "big-endian"),
        (lambda name, data: None if name.endswith("data.pkl") else data, "not one that torch.save wrote"),
        (lambda name, data: data[:-1] if name.endswith("data.pkl") else data, "its table of contents"),
        (lambda name, data: bytes(1001) if name.endswith("byteorder") else data, "longer than any known"),
        (lambda name, data: data + bytes(1001) if name.endswith("data.pkl") else data, "longer than any known"),
    ],
)
def test_records_that_are_missing_or_other_ones(file: Path, monkeypatch: Any, change: Any, said: str) -> None:
    monkeypatch.setattr(torch_archive, "MAX_BYTES", 1000)
    rewrite(file.read_bytes(), file, change)
    assert said in refusal(file)


def test_two_archives_in_one(file: Path) -> None:
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("other/data.pkl", b"")
    assert "not one that torch.save wrote" in refusal(file)


def test_compressed(file: Path) -> None:
    with zipfile.ZipFile(file) as old:
        records = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in records.items():
            new.writestr(name, data)
    assert "compressed" in refusal(file)


@pytest.mark.parametrize(
    ("shape", "stride", "offset", "said"),
    [
        ((16,), (1,), 1, BEYOND),
        ((16,), (2,), 0, BEYOND),
        ((16,), (1,), 2**40, BEYOND),
        ((), (), 16, BEYOND),
        ((16,), (-1,), 15, IMPOSSIBLE),
        ((16,), (1,), -1, IMPOSSIBLE),
        ((16,), (1, 1), 0, IMPOSSIBLE),
        ((16,), (2**62,), 0, IMPOSSIBLE),
        ((16.0,), (1,), 0, IMPOSSIBLE),
        ((True,), (1,), 0, IMPOSSIBLE),
        ((2**31, 2**31), (0, 0), 0, IMPOSSIBLE),
        ((2**47, 2**47, 2**47), (0, 0, 0), 0, IMPOSSIBLE),  # of which torch cannot count the elements
        ((0, 2**47, 2**47), (1, 1, 1), 0, IMPOSSIBLE),
        ((1,) * 65, (1,) * 65, 0, IMPOSSIBLE),
    ],
)
def test_tensors_that_lie(tmp_path: Path, shape: Any, stride: Any, offset: Any, said: str) -> None:
    class Liar:
        def __reduce__(self) -> Any:
            storage = torch.ones(16).untyped_storage()
            typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
            return torch._utils._rebuild_tensor_v2, (typed, offset, shape, stride, False, {})

    torch.save({"a": Liar()}, tmp_path / "a.pth")
    assert said in refusal(tmp_path / "a.pth")


def test_a_kind_of_number_that_no_weights_are(tmp_path: Path) -> None:
    torch.save({"steps": torch.ones(2, dtype=torch.int64)}, tmp_path / "a.pth")
    assert "steps has a data type that weights" in refusal(tmp_path / "a.pth")


def test_data_that_does_not_begin_where_it_is_said_to(file: Path) -> None:
    data = bytearray(file.read_bytes())
    header = data.index(b"a/data/0") - 30
    assert data[header : header + 4] == b"PK\x03\x04"
    data[header] ^= 1
    file.write_bytes(data)
    assert "truncated or damaged" in refusal(file)


def test_a_file_cut_off_anywhere_is_refused(file: Path) -> None:
    """Down to nothing."""
    data = file.read_bytes()
    for length in [*range(0, len(data), 13), len(data) - 1]:
        file.write_bytes(data[:length])
        assert "truncated or damaged" in refusal(file)


def test_a_changed_byte_is_a_sentence_or_other_data(file: Path) -> None:
    rewrite(file.read_bytes(), file, lambda name, data: data)  # without torch's padding
    data = file.read_bytes()
    for place in range(0, len(data), 2):
        mask = (0x01, 0x20, 0xFF)[place % 3]
        file.write_bytes(data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :])
        try:
            read_all(file)
        except UserError as error:
            one_sentence(error)


def test_a_directory_that_points_before_the_file(file: Path) -> None:
    """A zip file's offsets count from where its directory says that it should have been."""
    rewrite(file.read_bytes(), file, lambda name, data: data)
    data = bytearray(file.read_bytes())
    field = data.rindex(b"PK\x05\x06") + 16
    (honest,) = struct.unpack_from("<I", data, field)
    for offset in (honest + 1, honest + len(data), 2**32 - 1):
        struct.pack_into("<I", data, field, offset)
        file.write_bytes(data)
        assert "truncated or damaged" in refusal(file)
