from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.errors import UserError
from ttt3r_ros.protocols.recording import (
    associate,
    numbered,
    raw_depth,
    read_pose,
    read_rows,
    sintel_depth,
    sintel_pose,
)

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "evaluation" / "pose.npz")


def test_association_is_the_published_one():
    first, second = GOLDEN["associate/rgb_stamps"], GOLDEN["associate/gt_stamps"]
    found = [(first[a], second[b]) for a, b in associate(first, second)]
    assert np.array_equal(found, GOLDEN["associate/matches"])


def naive_association(first: list[float], second: list[float], most: float) -> list[tuple[float, float]]:
    candidates = sorted((abs(a - b), a, b) for a in set(first) for b in set(second) if abs(a - b) < most)
    found = []
    for _, a, b in candidates:
        if all(a != x and b != y for x, y in found):
            found.append((a, b))
    return sorted(found)


stamps = st.lists(st.integers(0, 60).map(lambda n: n / 8), max_size=12)


@given(stamps, stamps)
def test_association_takes_the_closest_first(first, second):
    found = associate(np.array(first), np.array(second), 0.5)
    assert [(first[a], second[b]) for a, b in found] == naive_association(first, second, 0.5)
    assert all(a == len(first) - 1 - first[::-1].index(first[a]) for a, _ in found)  # the last of equal stamps


def test_rows_are_read_with_commas_and_comments_and_refused_by_line(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("# stamp x\n1, 2\n\n3\t4\n")
    assert read_rows(file, 2).tolist() == [[1, 2], [3, 4]]
    file.write_text("1 2\n1 x\n")
    with pytest.raises(UserError, match=r"a.txt, line 2: 2 numbers are expected, got '1 x'"):
        read_rows(file, 2)
    file.write_text("1 2 3 4\n")
    with pytest.raises(UserError, match="a pose of 4 lines of 4 numbers"):
        read_pose(file)


def test_numbers_are_sorted_as_numbers(tmp_path):
    for name in ("10.png", "9.png", "img2.png", "x.png", "1.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in numbered(tmp_path, ".png")] == ["img2.png", "9.png", "10.png"]


@pytest.mark.parametrize("reader", [raw_depth, sintel_depth, sintel_pose])
def test_other_files_are_refused(reader, tmp_path):
    (tmp_path / "file").write_bytes(b"no such thing")
    with pytest.raises(UserError, match="file"):
        reader(tmp_path / "file")
