from __future__ import annotations

import time
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt3r_ros.mapping.voxel_map import MAX_COUNT, MIN_MAX_POINTS, VoxelMap


class NaiveMap:
    """The same map point by point, in float64, in a dict."""

    def __init__(self, voxel_size: float, max_points: int) -> None:
        self.voxel_size, self.max_points = voxel_size, max_points
        self.cubes: dict[tuple[int, ...], tuple[float, np.ndarray]] = {}

    def insert(self, positions, colors, confidences) -> None:
        sums: dict[tuple[int, ...], tuple[float, np.ndarray]] = defaultdict(lambda: (0.0, np.zeros(7)))
        for position, color, confidence in zip(positions.astype(float), colors, confidences, strict=True):
            cube = tuple(int(n) for n in np.floor(position / self.voxel_size))
            count, total = sums[cube]
            sums[cube] = count + 1, total + np.concatenate([position, color, [confidence]])
        while len(self.cubes.keys() | sums.keys()) > self.max_points:
            while True:
                self.cubes, sums = self.doubled(self.cubes), self.doubled(sums)
                self.voxel_size *= 2
                if 2 * len(self.cubes) <= self.max_points:
                    break
        for cube, (count, total) in sums.items():
            before, so_far = self.cubes.get(cube, (0.0, np.zeros(7)))
            kept = min(before + count, MAX_COUNT)
            self.cubes[cube] = kept, (so_far + total) / (before + count) * kept

    @staticmethod
    def doubled(cubes):
        larger: dict[tuple[int, ...], tuple[float, np.ndarray]] = defaultdict(lambda: (0.0, np.zeros(7)))
        for cube, (count, total) in cubes.items():
            parent = tuple(n // 2 for n in cube)
            larger[parent] = larger[parent][0] + count, larger[parent][1] + total
        return larger

    def means(self) -> np.ndarray:
        return np.array([total / count for count, total in self.cubes.values()]).reshape(-1, 7)


def cloud(rng: np.random.Generator, count: int, spread: float, center: float = 0.0):
    positions = (center + spread * rng.standard_normal((count, 3))).astype(np.float32)
    return positions, rng.integers(0, 256, (count, 3), dtype=np.uint8), rng.uniform(1, 9, count).astype(np.float32)


def in_order(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(rows.T)]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    frames=st.lists(st.tuples(st.integers(0, 60), st.floats(-5, 5)), min_size=1, max_size=6),
    spread=st.sampled_from([0.02, 0.3, 3.0]),
    max_points=st.integers(MIN_MAX_POINTS, 120),
)
def test_it_is_the_naive_map(seed, frames, spread, max_points):
    rng = np.random.default_rng(seed)
    fast, naive = VoxelMap(0.125, max_points), NaiveMap(0.125, max_points)
    for count, center in frames:
        points = cloud(rng, count, spread, center)
        fast.insert(*points)
        naive.insert(*points)
        assert len(fast) == len(naive.cubes) <= max_points
        assert fast.voxel_size == naive.voxel_size
    found, means = fast.points(), naive.means()
    rows = np.concatenate([found.positions, found.confidences[:, None]], axis=1)
    np.testing.assert_allclose(in_order(rows), in_order(means[:, [0, 1, 2, 6]]), atol=2e-3)
    order_found, order_naive = np.lexsort(rows.T), np.lexsort(means[:, [0, 1, 2, 6]].T)
    assert np.abs(found.colors[order_found] - means[order_naive, 3:6]).max(initial=0) <= 0.51


def test_each_cube_has_one_point_inside_it():
    rng = np.random.default_rng(1)
    cubes = VoxelMap(0.25, 10_000)
    for _ in range(5):
        cubes.insert(*cloud(rng, 2000, 1.0))
    numbers = np.floor(cubes.points().positions / 0.25)
    assert len(np.unique(numbers, axis=0)) == len(cubes) > 100


def test_what_is_no_place_is_left_out():
    cubes = VoxelMap(0.05, 100)
    positions = np.zeros((6, 3), dtype=np.float32)
    positions[:5, 1] = np.nan, np.inf, -np.inf, 1e30, -1e6
    cubes.insert(positions, np.zeros((6, 3), np.uint8), np.ones(6, np.float32))
    assert len(cubes) == 1
    assert (cubes.points().positions == 0).all()


def test_nothing_is_nothing():
    cubes = VoxelMap(0.05, 100)
    cubes.insert(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros(0, np.float32))
    assert len(cubes) == 0
    assert cubes.points().positions.shape == cubes.points().colors.shape == (0, 3)


def test_a_full_map_becomes_coarser_and_forgets_no_region():
    rng = np.random.default_rng(2)
    cubes = VoxelMap(0.05, 500)
    seen = []
    for step in range(40):  # a walk along x
        points = cloud(rng, 300, 0.3, center=step * 0.5)
        seen.append(points[0])
        cubes.insert(*points)
        assert len(cubes) <= 500
    assert cubes.voxel_size > 0.05
    assert np.log2(cubes.voxel_size / 0.05).is_integer()
    kept = {tuple(cube) for cube in np.floor(cubes.points().positions / cubes.voxel_size).astype(int)}
    assert {tuple(cube) for cube in np.floor(np.concatenate(seen) / cubes.voxel_size).astype(int)} == kept
    cubes.clear()
    assert len(cubes) == 0
    assert cubes.voxel_size == 0.05


def test_a_cube_follows_what_changes():
    """Points counted without end would make an old cube deaf."""
    cubes = VoxelMap(1.0, 16)
    old, new = np.full((50_000, 3), 0.25, np.float32), np.full((5_000, 3), 0.75, np.float32)
    for positions in (old, new):
        cubes.insert(positions, np.zeros(positions.shape, np.uint8), np.ones(len(positions), np.float32))
    assert cubes.points().positions[0, 0] > 0.65


@pytest.mark.parametrize(("voxel_size", "max_points"), [(0.0, 100), (-1.0, 100), (float("nan"), 100), (0.1, 15)])
def test_impossible_maps_are_refused(voxel_size, max_points):
    with pytest.raises(ValueError, match="a map needs"):
        VoxelMap(voxel_size, max_points)


@pytest.mark.slow
def test_a_frame_costs_what_it_has_not_what_the_map_has():
    """Ten thousand points into half a million cost less than four times what they cost into a thousand."""
    rng = np.random.default_rng(3)
    frames = [cloud(rng, 10_000, 0.5, center) for center in np.linspace(0, 50, 20)]

    def seconds(cubes: VoxelMap) -> float:
        taken = []
        for frame in frames:
            begun = time.thread_time()
            cubes.insert(*frame)
            taken.append(time.thread_time() - begun)
        return float(np.median(taken))

    small, large = VoxelMap(0.1, 1_000_000), VoxelMap(0.1, 1_000_000)
    positions = rng.uniform(-100, 100, (500_000, 3)).astype(np.float32)
    large.insert(positions, np.zeros(positions.shape, np.uint8), np.ones(len(positions), np.float32))
    assert len(large) > 450_000
    first, second = seconds(small), seconds(large)
    assert second < 4 * first
