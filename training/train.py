"""The training loop. ``python -m training`` starts it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from training.clips import training_camera
from training.curve import draw_curve
from training.export import export
from training.flats import FlatSupply, build_shard
from training.monitor import FIRST_VALIDATION_SEED, Judge, Means
from training.run_folder import RunFolder
from training.schedule import Budget, learning_rate, place_in
from training.stream import ClipStream
from training.trainer import Trainer

_SEEDS_APART = 100_000_000  # between the flats and the motions of two processes of a team


@dataclass(frozen=True)
class Rhythm:
    """Seconds between two log entries, and between two moments at which all that is worth keeping is written."""

    log_s: float = 15.0
    keep_s: float = 120.0


def train(
    trainer: Trainer,
    budget: Budget,
    folder: RunFolder,
    *,
    report: Callable[[dict[str, Any]], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    was_paused: Callable[[], bool] = lambda: False,
    rhythm: Rhythm | None = None,
) -> bool:
    """Train stage after stage until the budget is spent or somebody wants to stop.

    Whenever it ends, and every two minutes until then, the folder holds a checkpoint, the averaged weights as a file
    that the package loads, and a curve.

    Args:
        trainer: what learns; it may have been at it before.
        budget: of the whole run.
        folder: of the run.
        report: is told every entry of the log.
        should_stop: is asked before every step.
        was_paused: is asked after every step whether the process was halted since the last time; such a step's time is
            not counted, unless the budget ends at a moment.
        rhythm: of log and checkpoints.

    Returns:
        Whether the budget is spent.
    """
    recipe, device, team, rhythm = trainer.recipe, trainer.device, trainer.team, rhythm or Rhythm()
    own_seeds = team.rank * _SEEDS_APART

    def stop() -> bool:
        return bool(team.agree(should_stop(), device))

    camera = training_camera(recipe)
    _keep(trainer, folder, draw=True)
    validation = build_shard(range(FIRST_VALIDATION_SEED, FIRST_VALIDATION_SEED + recipe.validation_flats)).to(device)
    with FlatSupply(recipe, device, trainer.next_seed + own_seeds) as flats, _fast_products():
        counts_pauses = budget.until is not None
        budget = budget.begun(trainer.seconds)
        begun = time.monotonic() - trainer.seconds
        at_log = at_keep = at_step = time.monotonic()
        batch_limit = None
        index, part = place_in(recipe, team.agree(budget.progress(trainer.steps, trainer.seconds), device))
        while index < len(recipe.stages) and not stop():
            stage = recipe.stages[index]
            if batch_limit is not None:
                stage = replace(stage, batch=min(stage.batch, batch_limit))
            seed = (recipe.seed * 1000 + index) * 10_000_000 + trainer.steps + own_seeds
            appearance = torch.Generator(device).manual_seed(seed + 2)
            judge, means = Judge(recipe, stage, validation, device), Means()
            first_step, frames_at_log, rendered_at_log = trainer.steps, trainer.frames, 0
            with ClipStream(recipe, stage, flats, camera, device, seed) as clips:
                here = index
                while here == index and not stop():
                    rate = learning_rate(stage, part, trainer.steps - first_step, recipe.warm_up_steps)
                    try:
                        means.add(trainer.step(clips.batch(), stage, rate, appearance))
                    except torch.OutOfMemoryError:
                        if stage.batch == 1 or team.size > 1:
                            raise
                        batch_limit = stage.batch // 2
                        print(f"{stage.name}: out of memory; going on with {batch_limit} clips at a time", flush=True)
                        break
                    now = time.monotonic()
                    if was_paused() and not counts_pauses:
                        begun += now - at_step
                    at_step = now
                    trainer.seconds, trainer.next_seed = now - begun, flats.next_seed
                    progress = team.agree(budget.progress(trainer.steps, trainer.seconds), device)
                    here, part = place_in(recipe, progress)
                    if team.leads and (here != index or now - at_log >= rhythm.log_s):
                        span = max(now - at_log, 1e-9)
                        entry = {
                            "stage": stage.name, "step": trainer.steps, "frames": trainer.frames,
                            "progress": progress, "seconds": trainer.seconds, "learning_rate": rate,
                            "skipped": trainer.skipped,
                            "frames_per_second": (trainer.frames - frames_at_log) / span,
                            "rendered_per_second": (clips.rendered - rendered_at_log) / span,
                            **means.take(), **judge.figures(trainer.average.network, trainer.precision),
                        }  # fmt: skip
                        folder.append(entry)
                        report(entry)
                        at_log, frames_at_log, rendered_at_log = time.monotonic(), trainer.frames, clips.rendered
                    due = now - at_keep >= rhythm.keep_s
                    if here != index or due:
                        _keep(trainer, folder, draw=due)
                        at_keep = time.monotonic() if due else at_keep
            index = here
    _keep(trainer, folder, draw=True)
    return budget.progress(trainer.steps, trainer.seconds) >= 1.0


def _keep(trainer: Trainer, folder: RunFolder, *, draw: bool) -> None:
    """Write all that is worth keeping, with a curve where wanted, which costs a second; one of a team does."""
    if not trainer.team.leads:
        return
    state = trainer.state()
    folder.save(state)
    export(state, folder.weights)
    if draw:
        draw_curve(folder.curve, folder.entries())


@contextlib.contextmanager
def _fast_products() -> Iterator[None]:
    """Let a GPU round the inputs of float32 matrix products to 10 bits, as is good enough for gradients."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
