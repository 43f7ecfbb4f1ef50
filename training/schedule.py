"""How far a run is, and the learning rate there."""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.config import Recipe, Stage


@dataclass(frozen=True)
class Budget:
    """How long a run is in all, however often it is interrupted: in minutes of training, or in steps.

    A recipe's stages are shares of it, so the same recipe fits ten minutes and a night.
    """

    minutes: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("a budget is either minutes or steps")

    def progress(self, steps: int, seconds: float) -> float:
        """Return the share of it that is spent, at most 1."""
        share = steps / self.steps if self.steps is not None else seconds / 60 / (self.minutes or 1.0)
        return min(share, 1.0)


def place_in(recipe: Recipe, progress: float) -> tuple[int, float]:
    """Return which stage a run is in and how far through that stage, in [0, 1); (number of stages, 0) at the end."""
    start = 0.0
    for index, stage in enumerate(recipe.stages):
        if progress < start + stage.share - 1e-9:
            return index, max(progress - start, 0.0) / stage.share
        start += stage.share
    return len(recipe.stages), 0.0


def learning_rate(stage: Stage, part: float, step: int, warm_up_steps: int) -> float:
    """Return the learning rate: up in a line, then down along a cosine to the stage's final share.

    Args:
        stage: whose rate.
        part: how far through the stage, [0, 1].
        step: since the stage began, or was resumed.
        warm_up_steps: of the line.
    """
    rise = min(1.0, (step + 1) / warm_up_steps)
    fall = stage.final + (1 - stage.final) * (1 + math.cos(math.pi * part)) / 2
    return stage.learning_rate * rise * fall
