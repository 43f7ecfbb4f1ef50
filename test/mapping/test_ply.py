from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest

from ttt3r_ros.mapping.ply import write_ply

VERTEX = np.dtype([("points", "<f4", 3), ("colors", "u1", 3)])


def read(content: bytes) -> tuple[list[str], np.ndarray]:
    """Return the header's lines and the vertices, as the format's definition has them."""
    header, _, vertices = content.partition(b"end_header\n")
    return header.decode("ascii").splitlines(), np.frombuffer(vertices, VERTEX)


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_what_is_written_can_be_read(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(count)
    points = rng.normal(size=(count, 3)).astype(np.float32)
    colors = rng.integers(0, 256, (count, 3), np.uint8)
    write_ply(tmp_path / "cloud.ply", points, colors)
    lines, vertices = read((tmp_path / "cloud.ply").read_bytes())
    assert lines[:3] == ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    properties = [re.fullmatch(r"property (float|uchar) (\w+)", line).groups() for line in lines[3:]]
    assert properties == [
        *(("float", axis) for axis in ("x", "y", "z")),
        *(("uchar", color) for color in ("red", "green", "blue")),
    ]
    assert np.array_equal(vertices["points"], points)
    assert np.array_equal(vertices["colors"], colors)


def test_an_open_file_gets_the_same_as_a_path(tmp_path: Path) -> None:
    points, colors = np.ones((5, 3), np.float32), np.zeros((5, 3), np.uint8)
    file = io.BytesIO()
    write_ply(file, points, colors)
    write_ply(tmp_path / "cloud.ply", points, colors)
    assert file.getvalue() == (tmp_path / "cloud.ply").read_bytes()


def test_a_comment_is_one_line_whatever_is_in_it(tmp_path: Path) -> None:
    file = io.BytesIO()
    write_ply(file, np.ones((1, 3), np.float32), np.zeros((1, 3), np.uint8), comment="in odom\nend_header\n metres")
    assert file.getvalue().splitlines()[2] == b"comment in odom end_header metres"


@pytest.mark.parametrize(
    ("points", "colors"), [((3, 3), (2, 3)), ((3, 2), (3, 2)), ((9,), (9,)), ((2, 3, 3), (2, 3, 3)), ((3, 3), (3, 4))]
)
def test_what_does_not_fit_together_is_refused(
    tmp_path: Path, points: tuple[int, ...], colors: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="both"):
        write_ply(tmp_path / "a.ply", np.zeros(points, np.float32), np.zeros(colors, np.uint8))
    assert not any(tmp_path.iterdir())
