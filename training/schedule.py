"""How far a run is, and the learning rate there."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from training.config import Recipe, Stage


@dataclass(frozen=True)
class Budget:
    """How long a run is in all, however often it is interrupted: in minutes of training, in steps, or until a moment.

    A recipe's stages are shares of it, so the same recipe fits ten minutes and a night.

    Attributes:
        minutes, steps: in all.
        until: reading of `time.monotonic` at which to be done.
    """

    minutes: float | None = None
    steps: int | None = None
    until: float | None = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.minutes, self.steps, self.until)) != 1:
            raise ValueError("a budget is either minutes, steps or a moment")

    def begun(self, seconds: float) -> Budget:
        """Return the same for a run that begins, or goes on, now: a moment becomes minutes.

        Args:
            seconds: of training so far.
        """
        if self.until is None:
            return self
        return Budget(minutes=(seconds + max(self.until - time.monotonic(), 0.0)) / 60)

    def progress(self, steps: int, seconds: float) -> float:
        """Return the share of it that is spent, at most 1."""
        share = steps / self.steps if self.steps is not None else seconds / max(60 * (self.minutes or 0.0), 1e-9)
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
