"""How a run goes: errors on flats it never trains on, and means of what its steps report."""

from __future__ import annotations

import torch
from torch import Tensor

from training.clips import render_clips, training_camera
from training.config import Recipe, Stage
from training.flats import Shard
from training.losses import figures, targets
from training.unroll import unroll
from ttt3r_ros.model import Network

#: First of the flats whose frames tell during a run how it goes: never trained on, nor those of the evaluation.
FIRST_VALIDATION_SEED = 900
_VALIDATION_FRAMES = 128


class Judge:
    """A stage's validation clips, the same at every look."""

    def __init__(self, recipe: Recipe, stage: Stage, flats: Shard, device: torch.device) -> None:
        camera = training_camera(recipe)
        generator = torch.Generator(device).manual_seed(7)
        count = min(max(_VALIDATION_FRAMES // stage.frames, 1), 4 * stage.batch)
        clips = render_clips(flats, stage, count, camera, generator)
        self._images = clips.image.permute(0, 1, 4, 2, 3).float() / 127.5 - 1.0
        self._truth = targets(clips, camera)
        self._star = stage.star

    @torch.no_grad()
    def figures(self, network: Network, precision: torch.dtype | None) -> dict[str, float]:
        """Return a network's errors on them."""
        raw, _ = unroll(network, self._images, world=False, star=self._star, precision=precision)
        return {name: float(value) for name, value in figures(raw, self._truth).items()}


class Means:
    """Means of what steps report, kept on the device so that no step waits for them."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, parts: dict[str, Tensor]) -> None:
        """Take in what one step reports."""
        for name, value in parts.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
        self._count += 1

    def take(self) -> dict[str, float]:
        """Return the means since the last time; empty if there was no step."""
        means = {name: float(value) / self._count for name, value in self._sums.items()}
        self._sums, self._count = {}, 0
        return means
