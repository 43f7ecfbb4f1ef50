"""A supply of furnished flats to look at, built by other processes and replaced little by little."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.config import Recipe
from ttt3r_ros.synthetic.path import camera_path
from ttt3r_ros.synthetic.route import Floor
from ttt3r_ros.synthetic.scene import Scene, build_scene
from ttt3r_ros.synthetic.world import World

#: Each flat has a path of either kind, this long and this fine.
PATH_FPS, PATH_POSES = 15.0, 240
_REPLACE_EVERY = 200  # draws, where there are no workers
_SPARE_CORES = 3  # for training, rendering and the system, where there are that many


@dataclass(frozen=True)
class Shard:
    """Flats on a device, to be rendered together.

    Attributes:
        world: S flats.
        paths: (S, 2, P, 4, 4) float32 ``T_world_camera``, handheld and wheeled.
    """

    world: World
    paths: Tensor

    def to(self, device: torch.device) -> Shard:
        """Return a copy on a device."""
        moved = {name: _moved(value, device) for name, value in vars(self.world).items()}
        return Shard(World(**moved), self.paths.to(device))


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {name: column.to(device) for name, column in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value


def build_shard(seeds: range) -> Shard:
    """Build the flats of these seeds, and their paths, on the CPU."""
    return _stacked(*build_flats(seeds))


def build_flats(seeds: range) -> tuple[list[Scene], list[np.ndarray]]:
    """Build flats and their paths, as what a process can send to another: arrays.

    Tensors would go through shared memory, of which containers have little.
    """
    scenes = [build_scene(seed) for seed in seeds]
    return scenes, [_paths(scene, seed) for scene, seed in zip(scenes, seeds)]


def _stacked(scenes: list[Scene], paths: list[np.ndarray]) -> Shard:
    return Shard(World.stack(scenes, "cpu"), torch.from_numpy(np.stack(paths)).float())


def _paths(scene: Scene, seed: int) -> np.ndarray:
    floor, times = Floor(scene), np.arange(PATH_POSES) / PATH_FPS
    return np.stack([camera_path(floor, "handheld", seed, times), camera_path(floor, "wheeled", seed, times)])


def builders(wanted: int) -> ProcessPoolExecutor:
    """Return a pool of at most this many processes for `build_flats`, fewer where there are not so many cores.

    They are not forked: a forked process has no working CUDA, and the renderer's threads' locks.
    """
    cores = len(os.sched_getaffinity(0))
    return ProcessPoolExecutor(
        min(wanted, max(1, cores - _SPARE_CORES)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_building,
    )


def _begin_building() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who trains


def build_shards(seeds: Sequence[range], workers: int) -> list[Shard]:
    """Build several shards, by other processes where workers are allowed."""
    if not workers:
        return [build_shard(part) for part in seeds]
    with builders(min(workers, len(seeds))) as pool:
        return [_stacked(*flats) for flats in pool.map(build_flats, seeds)]


class FlatSupply:
    """Shards at hand; used as a context manager, which ends the workers."""

    def __init__(self, recipe: Recipe, device: torch.device, first_seed: int) -> None:
        """Build the first shard, or wait until the workers have.

        Args:
            recipe: says how many flats, and by how many workers.
            device: where the shards are kept.
            first_seed: of the first flat; every later one has the next.
        """
        self._device, self._limit = device, recipe.shards
        self._size = recipe.shard_flats
        self._seeds: Iterator[int] = count(first_seed, recipe.shard_flats)
        self.next_seed = first_seed  #: where a resumed run goes on
        self._shards: deque[Shard] = deque(maxlen=recipe.shards)
        self._pending: deque[Future[tuple[list[Scene], list[np.ndarray]]]] = deque()
        self._draws = 0
        self._pool = builders(recipe.workers) if recipe.workers else None
        for _ in range(2 * recipe.workers):
            self._order()
        self._collect(wait=True)

    def draw(self, generator: torch.Generator) -> Shard:
        """Return one of the shards at hand, at random."""
        self._draws += 1
        self._collect(wait=False)
        choice = torch.randint(len(self._shards), (1,), generator=generator, device=generator.device)
        return self._shards[int(choice)]

    def __enter__(self) -> FlatSupply:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _take_seeds(self) -> range:
        first = next(self._seeds)
        return range(first, first + self._size)

    def _order(self) -> None:
        assert self._pool is not None
        self._pending.append(self._pool.submit(build_flats, self._take_seeds()))

    def _collect(self, *, wait: bool) -> None:
        """Take in what is finished."""
        if self._pool is None:
            if wait or self._draws % _REPLACE_EVERY == 0 or (len(self._shards) < self._limit and self._draws % 8 == 0):
                self._add(build_shard(self._take_seeds()))
            return
        while self._pending and (self._pending[0].done() or (wait and not self._shards)):
            try:
                self._add(_stacked(*self._pending.popleft().result()))
                self._order()
            except BrokenProcessPool:
                self._pending.clear()
                if not self._shards:
                    raise
                print("warning: the processes that build flats have died; training goes on with the flats there are")

    def _add(self, shard: Shard) -> None:
        self._shards.append(shard.to(self._device))
        self.next_seed += self._size
