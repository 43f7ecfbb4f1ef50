from __future__ import annotations

from pathlib import Path

import pytest
import torch
from resident import resident_bytes

from ttt3r_ros.weights.mapped_file import MappedFile

VALUES = torch.arange(2**18, dtype=torch.float32)  # a megabyte


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"head" + VALUES.numpy().tobytes())
    return tmp_path / "file"


def opened(path: Path) -> MappedFile:
    with path.open("rb") as file:
        return MappedFile(file)


def test_values_are_a_window_of_the_file(path):
    mapped = opened(path)
    assert mapped.size == 4 + 4 * len(VALUES)
    assert mapped.read(0, 4) == b"head"
    window = mapped.values(torch.float32, 4, len(VALUES))
    assert torch.equal(window, VALUES)
    assert mapped.values(torch.float32, 8, 2).data_ptr() == window.data_ptr() + 4


@pytest.mark.parametrize("start", [1, 2, 3])
def test_values_that_are_not_aligned_are_a_copy(path, start):
    expected = torch.frombuffer(bytearray(path.read_bytes()[start : start + 40]), dtype=torch.float32)
    assert torch.equal(opened(path).values(torch.float32, start, 10).view(torch.int32), expected.view(torch.int32))


def test_no_values_at_the_very_end(path):
    mapped = opened(path)
    assert mapped.values(torch.float16, mapped.size, 0).shape == (0,)


def test_a_write_stays_in_memory(path):
    before = path.read_bytes()
    opened(path).values(torch.float32, 4, 10).zero_()
    assert path.read_bytes() == before


def test_what_has_been_read_can_be_let_go_of_and_read_again(path):
    mapped = opened(path)
    window = mapped.values(torch.float32, 4, len(VALUES))
    assert torch.equal(window, VALUES)
    assert resident_bytes(path) >= 4 * len(VALUES)
    mapped.let_go()
    assert resident_bytes(path) == 0
    assert torch.equal(window, VALUES)
