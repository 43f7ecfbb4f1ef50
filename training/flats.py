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
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from training.config import Recipe
from ttt3r_ros.synthetic.limits import Kind
from ttt3r_ros.synthetic.path import camera_path
from ttt3r_ros.synthetic.route import Floor
from ttt3r_ros.synthetic.scene import USUAL, Scene, Variety, build_scene
from ttt3r_ros.synthetic.world import World

#: Each flat has a path of either kind, this long and this fine.
PATH_FPS, PATH_POSES = 30.0, 480
MOMENTS = 32  #: of a flat in which something moves
_REPLACE_EVERY = 32  # draws, where there are no workers: with few flats the heads learn them by heart
_SPARE_CORES = 3  # for training, rendering and the system, where there are that many


@dataclass(frozen=True)
class Shard:
    """Flats on a device, to be rendered together.

    Attributes:
        world: the S flats, one after the other; one in which something moves is there at several moments.
        paths: (S, 2, P, 4, 4) float32 ``T_world_camera``, handheld and wheeled.
        first: (S,) int64, where in the world each flat is, at its first moment.
        moments: (S,) int64, how many moments of it there are, PATH_FPS a second.
    """

    world: World
    paths: Tensor
    first: Tensor
    moments: Tensor

    def scenes(self, flat: Tensor, frames: int, stride: int, generator: torch.Generator) -> Tensor:
        """Return (B, frames) int64, where in the world consecutive frames of clips in these flats (B,) are.

        What moves goes on by 1 to ``stride`` moments from frame to frame, and after the last moment goes back.
        """
        draws = torch.rand((2, len(flat), 1), generator=generator, device=flat.device)
        last = self.moments[flat][:, None] - 1
        moment = (draws[0] * 2 * last).long() + (1 + (draws[1] * stride).long()) * torch.arange(
            frames, device=flat.device
        )
        moment = moment % (2 * last).clamp_min(1)
        return self.first[flat][:, None] + torch.minimum(moment, 2 * last - moment)

    def to(self, device: torch.device) -> Shard:
        """Return a copy on a device."""
        moved = {name: _moved(value, device) for name, value in vars(self.world).items()}
        return Shard(World(**moved), *(part.to(device) for part in (self.paths, self.first, self.moments)))


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {name: column.to(device) for name, column in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value


def build_shard(seeds: range, varied: float = 0.0) -> Shard:
    """Build the flats of these seeds, and their paths, on the CPU."""
    return _stacked(*build_flats(seeds, varied))


def build_flats(seeds: range, varied: float = 0.0) -> tuple[list[Scene], list[np.ndarray]]:
    """Build flats and their paths, as what a process can send to another: arrays.

    Tensors would go through shared memory, of which containers have little.

    Args:
        seeds: of the flats.
        varied: share of them that are other places, and share with random textures; something moves in a quarter of it.
    """
    scenes = [build_scene(seed, variety_of(seed, varied)) for seed in seeds]
    return scenes, [_paths(scene, seed) for scene, seed in zip(scenes, seeds)]


def variety_of(seed: int, varied: float) -> Variety:
    """Return what the place of a seed is, and of what it is made."""
    place, which, textures, busy, people = np.random.Generator(np.random.PCG64([seed, 5])).random(5)
    others = [kind for kind in get_args(Kind) if kind != USUAL.place]
    kind = others[int(which * len(others))] if place < varied else USUAL.place
    if busy >= varied / 4:
        return Variety(kind, wide_textures=bool(textures < varied))
    return Variety(kind, bool(textures < varied), people=1 + int(people * 4), doors=True)


def _stacked(scenes: list[Scene], paths: list[np.ndarray]) -> Shard:
    moments = [MOMENTS if scene.movers else 1 for scene in scenes]
    moved = [scene.at(i / PATH_FPS) for scene, count in zip(scenes, moments) for i in range(count)]
    first = torch.tensor([0, *moments[:-1]]).cumsum(0)
    return Shard(World.stack(moved, "cpu"), torch.from_numpy(np.stack(paths)).float(), first, torch.tensor(moments))


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
        self._size, self._varied = recipe.shard_flats, recipe.varied
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
        self._pending.append(self._pool.submit(build_flats, self._take_seeds(), self._varied))

    def _collect(self, *, wait: bool) -> None:
        """Take in what is finished."""
        if self._pool is None:
            if wait or self._draws % _REPLACE_EVERY == 0 or (len(self._shards) < self._limit and self._draws % 8 == 0):
                self._add(build_shard(self._take_seeds(), self._varied))
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
