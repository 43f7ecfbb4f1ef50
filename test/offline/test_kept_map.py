"""A map on disk is the map that was saved, or a sentence; never another map."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from expectations import one_sentence
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt3r_ros.errors import UserError
from ttt3r_ros.mapping.voxel_map import MapState, VoxelMap
from ttt3r_ros.offline.kept_map import FORMAT, load_map, save_map


def add(to: VoxelMap, rng: np.random.Generator, count: int, spread: float) -> None:
    points = rng.normal(scale=spread, size=(count, 3)).astype(np.float32)
    to.insert(points, rng.integers(0, 256, (count, 3), dtype=np.uint8), rng.uniform(1, 9, count).astype(np.float32))


def made(count: int, spread: float = 0.5) -> VoxelMap:
    voxel_map = VoxelMap(0.1, 200)
    add(voxel_map, np.random.default_rng(0), count, spread)
    return voxel_map


def assert_same(a: VoxelMap, b: VoxelMap) -> None:
    for name, value in vars(a.state()).items():
        np.testing.assert_array_equal(getattr(b.state(), name), value)


def refusal(path: Path, *, room: int = 200) -> str:
    with pytest.raises(UserError) as caught:
        load_map(path, VoxelMap(0.1, room))
    said = one_sentence(caught.value)
    assert said.startswith(f"{path} ")
    return said


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    spreads=st.lists(st.sampled_from([0.2, 1.0, 3.0]), max_size=4),
    stop=st.integers(0, 4),
)
def test_a_map_goes_on_as_if_never_stopped(seed: int, spreads: list[float], stop: int) -> None:
    """Also an empty one, and one whose cubes have grown."""
    whole, resumed = VoxelMap(0.1, 200), VoxelMap(0.1, 200)
    add(resumed, np.random.default_rng(1), 100, 1.0)  # what there was before goes
    rng = np.random.default_rng(seed)
    for spread in spreads[:stop]:
        add(whole, rng, 300, spread)
    with tempfile.TemporaryDirectory() as folder:
        save_map(Path(folder, "map"), whole)
        load_map(Path(folder, "map"), resumed)
    assert_same(resumed, whole)
    for spread in spreads[stop:]:
        before = rng.bit_generator.state
        add(whole, rng, 300, spread)
        rng.bit_generator.state = before
        add(resumed, rng, 300, spread)
    assert_same(resumed, whole)


def test_a_map_is_replaced_by_a_smaller_one(tmp_path: Path) -> None:
    for count in (150, 3):
        save_map(tmp_path / "map", made(count))
    loaded = VoxelMap(0.1, 200)
    load_map(tmp_path / "map", loaded)
    assert_same(loaded, made(3))
    assert [file.name for file in tmp_path.iterdir()] == ["map"]


def test_a_map_without_room_for_it_is_said(tmp_path: Path) -> None:
    save_map(tmp_path / "map", made(150))
    refusal(tmp_path / "map", room=16)


HONEST = MapState(0.1, np.array([1, 2]), np.ones(2, np.float32), np.full((2, 7), 0.5, np.float32))


@pytest.mark.parametrize(
    "change",
    [
        *({"voxel_size": size} for size in (0.0, -0.1)),
        *({"keys": keys} for keys in (np.array([1.0, 2]), np.array([0, 1]), np.array([-1, 1]), np.array([3, 3]))),
        *({"keys": keys} for keys in (np.array(1), np.array([[1], [2]]), np.array([1]), np.array([1, 2], np.int32))),
        *({"counts": np.array(counts, np.float32)} for counts in ([1], [0, 1], [[1, 1]], [np.nan, 1], 1)),
        *({"means": np.full(shape, 0.5, np.float32)} for shape in ((7,), (1, 7), (2, 1), (2, 8))),
        {"counts": np.ones(2)},
        {"means": np.full((2, 7), np.nan, np.float32)},
    ],
)
def test_arrays_that_no_map_has_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    """Though the file is whole and its checksum right."""
    (tmp_path / "map").write_bytes(FORMAT.to_bytes(HONEST))
    load_map(tmp_path / "map", VoxelMap(0.1, 200))
    (tmp_path / "map").write_bytes(FORMAT.to_bytes(dataclasses.replace(HONEST, **change)))
    assert refusal(tmp_path / "map") == f"{tmp_path / 'map'} is damaged; start over with --overwrite"
