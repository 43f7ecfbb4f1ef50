"""The training loop: stage after stage, with a log and checkpoints as it goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.average import Average
from training.clips import Clips, mirror, network_input, render_clips, reorder, training_camera
from training.config import Recipe, Stage
from training.correspondence import correspondence
from training.flats import FlatSupply, Shard, build_shard
from training.hints import WEIGHTS, Hints
from training.initial import initial_network
from training.losses import figures, losses, targets
from training.run_folder import RunFolder
from training.schedule import Budget, learning_rate, place_in
from training.stream import ClipStream
from training.unroll import unroll
from ttt3r_ros.model import Network
from ttt3r_ros.model.layers import DecoderBlock, EncoderBlock

#: Flats whose frames tell during a run how it goes: never trained on, and not those of the evaluation either.
VALIDATION_SEEDS = range(900, 916)
_VALIDATION_FRAMES = 128
_HINTS_RATE = 3.0  # probes are linear, and should not be what one waits for

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
        origin: dict[str, Any] | None = None,
        fuse: bool = False,
    ) -> None:
        """Start at the beginning, or where a checkpoint's state says.

        Args:
            recipe: what to do.
            device: where.
            state: of a checkpoint.
            weights: to start with, in place of the initial ones; the encoder's alone may be given.
            origin: where these come from, for the record; plain values.
            fuse: have torch compile the blocks, which takes a minute or two and makes steps about 1.2 times as fast.
        """
        self.recipe, self.device = recipe, device
        self.network = initial_network(recipe.network, recipe.seed).to(device).train()
        if weights is not None:
            self.network.load_state_dict({**self.network.state_dict(), **weights})
        self.average = Average(self.network, recipe.ema)
        self.hints = Hints(recipe.network.dec_embed_dim).to(device)
        self.optimizer = _optimizer(self.network, self.hints, recipe)
        self.origin = origin
        self.steps = self.frames = self.skipped = 0
        self.seconds = 0.0
        self.next_seed = recipe.first_seed
        self.precision = torch.bfloat16 if device.type == "cuda" else None
        if state is not None:
            self._restore(state)
        if fuse:
            _fuse(self.network)

    def state(self) -> dict[str, Any]:
        """Return all that is needed to go on, as tensors and plain values.

        Random numbers are not part of it: every stage draws its own from the recipe's seed and the step it starts at.
        """
        return {
            "recipe": self.recipe.to_dict(),
            "origin": self.origin,
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "hints": self.hints.state_dict(),
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
        if stage.star:
            clips = reorder(clips, appearance)
        camera = training_camera(self.recipe)
        images = network_input(clips.image, appearance)
        raw, inside = unroll(self.network, images, world=stage.world > 0, star=stage.star, precision=self.precision)
        loss, parts = losses(raw, targets(clips, camera), stage)
        if stage.hints:
            hints = self.hints.losses(self.network, inside, correspondence(clips, camera))
            loss = loss + stage.hints * torch.stack([WEIGHTS[name] * value for name, value in hints.items()]).sum()
            parts |= {name: value.detach() for name, value in hints.items()}
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.gradient_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * (stage.encoder if group["part"] == "encoder" else group["factor"])
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
        self.hints.load_state_dict(state["hints"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.origin = state["origin"]
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
        self._star = stage.star

    @torch.no_grad()
    def figures(self, network: Network, precision: torch.dtype | None) -> dict[str, float]:
        """Return a network's errors on them."""
        raw, _ = unroll(network, self._images, world=False, star=self._star, precision=precision)
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


def _fuse(network: Network) -> None:
    """Compile encoder and decoder blocks, not the whole: equal blocks share what the compiler made of the first."""
    for block in network.modules():
        if isinstance(block, EncoderBlock | DecoderBlock):
            block.compile(dynamic=False)


def _optimizer(network: Network, hints: Hints, recipe: Recipe) -> torch.optim.AdamW:
    """Return the optimizer; every group says which part it is of and what its learning rate is multiplied with."""
    encoder = [*network.patch_embed.parameters(), *network.encoder.parameters(), *network.encoder_norm.parameters()]
    theirs = {id(p) for p in encoder}
    parts = {
        "encoder": (encoder, 1.0),
        "rest": ([p for p in network.parameters() if id(p) not in theirs], 1.0),
        "hints": (list(hints.parameters()), _HINTS_RATE),
    }
    groups = [
        {
            "params": [p for p in parameters if (p.ndim >= 2) == is_matrix],
            "weight_decay": recipe.weight_decay if is_matrix else 0.0,
            "part": part,
            "factor": factor,
        }
        for part, (parameters, factor) in parts.items()
        for is_matrix in (True, False)
    ]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
