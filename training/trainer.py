"""The training loop: stage after stage, with a log and checkpoints as it goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.average import Average
from training.clips import Clips, mirror, network_input, render_clips, training_camera
from training.config import Recipe, Stage
from training.flats import FlatSupply, Shard, build_shard
from training.initial import initial_network
from training.losses import figures, losses, targets
from training.run_folder import RunFolder
from training.schedule import Budget, learning_rate, place_in
from training.stream import ClipStream
from training.unroll import unroll
from ttt3r_ros.model import Network

#: Flats whose frames tell during a run how it goes: never trained on, and not those of the evaluation either.
VALIDATION_SEEDS = range(900, 916)
_VALIDATION_FRAMES = 128

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Rhythm:
    """Seconds between two log entries and between two checkpoints."""

    log_s: float = 15.0
    checkpoint_s: float = 120.0


class Trainer:
    """A run in progress: network, optimizer, average, and how far it is."""

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        *,
        state: dict[str, Any] | None = None,
        weights: dict[str, Tensor] | None = None,
    ) -> None:
        """Start at the beginning, with these weights if there are any, or where a checkpoint's state says."""
        self.recipe, self.device = recipe, device
        self.network = initial_network(recipe.network, recipe.seed).to(device).train()
        if weights is not None:
            self.network.load_state_dict(weights)
        self.average = Average(self.network, recipe.ema)
        self.optimizer = _optimizer(self.network, recipe)
        self.steps = self.frames = self.skipped = 0
        self.seconds = 0.0
        self.next_seed = recipe.first_seed
        self.precision = torch.bfloat16 if device.type == "cuda" else None
        if state is not None:
            self._restore(state)

    def state(self) -> dict[str, Any]:
        """Return all that is needed to go on, as tensors and plain values.

        Random numbers are not part of it: every stage draws its own from the recipe's seed and the step it starts at.
        """
        return {
            "recipe": self.recipe.to_dict(),
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "counters": {
                "steps": self.steps, "frames": self.frames, "skipped": self.skipped, "seconds": self.seconds,
                "updates": self.average.updates, "next_seed": self.next_seed,
            },
        }  # fmt: skip

    def run(
        self,
        budget: Budget,
        folder: RunFolder,
        report: Report,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        rhythm: Rhythm | None = None,
    ) -> bool:
        """Train until the budget is spent or somebody wants to stop; a checkpoint is written in either case.

        Returns:
            Whether the budget is spent.
        """
        rhythm = rhythm or Rhythm()
        validation = build_shard(VALIDATION_SEEDS).to(self.device)
        with FlatSupply(self.recipe, self.device, self.next_seed) as supply:
            while not should_stop():
                stage, _ = place_in(self.recipe, budget.progress(self.steps, self.seconds))
                if stage == len(self.recipe.stages):
                    break
                self._run_stage(stage, budget, folder, report, should_stop, rhythm, supply, validation)
                self.next_seed = supply.next_seed
                folder.save(self.state())
        folder.save(self.state())
        return budget.progress(self.steps, self.seconds) >= 1.0

    def _run_stage(
        self,
        index: int,
        budget: Budget,
        folder: RunFolder,
        report: Report,
        should_stop: Callable[[], bool],
        rhythm: Rhythm,
        supply: FlatSupply,
        validation: Shard,
    ) -> None:
        stage = self.recipe.stages[index]
        seed = (self.recipe.seed * 1000 + index) * 10_000_000 + self.steps
        judge = Judge(self.recipe, stage, validation, self.device)
        parts = _Mean()
        began = at_log = at_checkpoint = time.monotonic()
        seconds_before, steps_before, frames_at_log = self.seconds, self.steps, self.frames
        camera = training_camera(self.recipe)
        appearance = torch.Generator(self.device).manual_seed(seed + 2)
        with ClipStream(self.recipe, stage, supply, camera, self.device, seed) as stream:
            while not should_stop():
                here, part = place_in(self.recipe, budget.progress(self.steps, self.seconds))
                if here != index:
                    break
                rate = learning_rate(stage, part, self.steps - steps_before, self.recipe.warm_up_steps)
                parts.add(self.step(stream.batch(), stage, rate, appearance))
                now = time.monotonic()
                self.seconds = seconds_before + now - began
                last = place_in(self.recipe, budget.progress(self.steps, self.seconds))[0] != index
                if last or now - at_log >= rhythm.log_s:
                    entry = {
                        "stage": stage.name, "step": self.steps, "frames": self.frames,
                        "progress": budget.progress(self.steps, self.seconds), "seconds": self.seconds,
                        "learning_rate": rate, "skipped": self.skipped,
                        "frames_per_second": (self.frames - frames_at_log) / max(now - at_log, 1e-9),
                        **parts.take(), **judge.figures(self.average.network, self.precision),
                    }  # fmt: skip
                    folder.append(entry)
                    report(entry)
                    at_log, frames_at_log = time.monotonic(), self.frames
                if now - at_checkpoint >= rhythm.checkpoint_s:
                    self.next_seed = supply.next_seed
                    folder.save(self.state())
                    at_checkpoint = now

    def step(self, clips: Clips, stage: Stage, rate: float, appearance: torch.Generator) -> dict[str, Tensor]:
        """Take one step of the optimizer and return the loss and its parts."""
        chosen = torch.rand(len(clips), generator=appearance, device=self.device) < 0.5
        clips = mirror(clips, chosen)
        images = network_input(clips.image, appearance)
        raw = unroll(self.network, images, world=bool(stage.world or stage.shift), precision=self.precision)
        loss, parts = losses(raw, targets(clips, training_camera(self.recipe)), stage)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.gradient_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if torch.isfinite(norm):
            self.optimizer.step()
            self.average.update(self.network)
        else:
            self.skipped += 1
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        self.frames += clips.image.shape[0] * clips.image.shape[1]
        return {"loss": loss.detach(), "gradient_norm": norm.detach(), **parts}

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        counters = state["counters"]
        self.steps, self.frames, self.skipped = counters["steps"], counters["frames"], counters["skipped"]
        self.seconds, self.next_seed = counters["seconds"], counters["next_seed"]
        self.average.updates = counters["updates"]


class Judge:
    """A stage's validation clips, the same at every look."""

    def __init__(self, recipe: Recipe, stage: Stage, flats: Shard, device: torch.device) -> None:
        camera = training_camera(recipe)
        generator = torch.Generator(device).manual_seed(7)
        count = min(max(_VALIDATION_FRAMES // stage.frames, 1), 4 * stage.batch)
        clips = render_clips(flats, stage, count, camera, generator)
        self._images = clips.image.permute(0, 1, 4, 2, 3).float() / 127.5 - 1.0
        self._truth = targets(clips, camera)

    @torch.no_grad()
    def figures(self, network: Network, precision: torch.dtype | None) -> dict[str, float]:
        """Return a network's errors on them."""
        raw = unroll(network, self._images, world=False, precision=precision)
        return {name: float(value) for name, value in figures(raw, self._truth).items()}


class _Mean:
    """Means of what steps report, kept on the device so that no step waits for them."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, parts: dict[str, Tensor]) -> None:
        for name, value in parts.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
        self._count += 1

    def take(self) -> dict[str, float]:
        means = {name: float(value) / self._count for name, value in self._sums.items()}
        self._sums, self._count = {}, 0
        return means


def _optimizer(network: Network, recipe: Recipe) -> torch.optim.AdamW:
    matrices = [p for p in network.parameters() if p.ndim >= 2]
    vectors = [p for p in network.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), fused=True)
