"""What learns: the network with its average, its hints and its optimizer, and one step of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from training.average import Average
from training.clips import Clips, mirror, network_input, reorder, training_camera
from training.config import Recipe, Stage
from training.correspondence import correspondence
from training.hardship import suffer
from training.hints import WEIGHTS, Hints
from training.initial import initial_network
from training.losses import losses, targets
from training.team import Team
from training.unroll import unroll
from ttt3r_ros.model import Network
from ttt3r_ros.model.layers import DecoderBlock, EncoderBlock

_POINT_HEADS = ("camera_head.", "world_head.", "world_transform.")  #: where the names of their parameters begin
_HINTS_RATE = 3.0  # probes are linear, and should not be what one waits for
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


class Trainer:
    """A run's weights and counters; `training.train` is the loop around it."""

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        *,
        state: dict[str, Any] | None = None,
        weights: dict[str, Tensor] | None = None,
        origin: dict[str, Any] | None = None,
        fuse: bool = False,
        team: Team | None = None,
    ) -> None:
        """Start at the beginning, or where a checkpoint's state says.

        Args:
            recipe: what to do.
            device: where.
            state: of a checkpoint.
            weights: to start with, in place of the initial ones; the encoder's alone may be given.
            origin: where these come from, for the record; plain values.
            team: of processes that train the same network; alone if None.
            fuse: have torch compile the blocks, which takes a minute or two and makes steps about 1.2 times as fast.
        """
        self.recipe, self.device, self.team = recipe, device, team or Team()
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
        self.precision = PRECISIONS[recipe.precision]
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

    def step(self, clips: Clips, stage: Stage, rate: float, appearance: torch.Generator) -> dict[str, Tensor]:
        """Take one step of the optimizer and return the loss and its parts.

        Args:
            clips: to learn from.
            stage: whose losses.
            rate: the learning rate.
            appearance: of how the images look: mirrored, brighter, noisier.
        """
        clips = mirror(clips, torch.rand(len(clips), generator=appearance, device=self.device) < 0.5)
        if stage.star:
            clips = reorder(clips, appearance)
        camera = training_camera(self.recipe)
        images = network_input(clips.image, appearance)
        if stage.hardship:
            images = suffer(images, stage.hardship, appearance)
        raw, inside = unroll(
            self.network, images, world=stage.world > 0, star=stage.star, precision=self.precision,
            truncate=stage.truncate, frozen_trunk=stage.trunk == 0,
            point_frames=_random_frames(images, stage.point_frames, appearance),
        )  # fmt: skip
        loss, parts = losses(raw, targets(clips, camera), stage)
        if stage.hints:
            hints = self.hints.losses(self.network, inside, correspondence(clips, camera), keep=stage.keep)
            loss = loss + stage.hints * torch.stack([WEIGHTS[name] * value for name, value in hints.items()]).sum()
            parts |= {name: value.detach() for name, value in hints.items()}

        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.team.average([*self.network.parameters(), *self.hints.parameters()])
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.gradient_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * _share(stage, group["part"]) * group["factor"]
        if torch.isfinite(norm):
            self.optimizer.step()
            self.average.update(self.network)
        else:
            self.skipped += 1
        self.optimizer.zero_grad(set_to_none=True)

        self.steps += 1
        self.frames += clips.image.shape[0] * clips.image.shape[1] * self.team.size
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


def _fuse(network: Network) -> None:
    """Compile encoder and decoder blocks, not the whole: equal blocks share what the compiler made of the first."""
    for block in network.modules():
        if isinstance(block, EncoderBlock | DecoderBlock):
            block.compile(dynamic=False)


def _random_frames(images: Tensor, wanted: int, generator: torch.Generator) -> Tensor | None:
    """Return (B, wanted) indices of different frames of clips (B, T, ...); None for all."""
    count, frames = images.shape[:2]
    if not 0 < wanted < frames:
        return None
    return torch.rand((count, frames), generator=generator, device=images.device).argsort(dim=1)[:, :wanted]


def _share(stage: Stage, part: str) -> float:
    """Return which share of a stage's learning rate a part of the network gets."""
    return {"encoder": stage.encoder * stage.trunk, "trunk": stage.trunk}.get(part, 1.0)


def _optimizer(network: Network, hints: Hints, recipe: Recipe) -> torch.optim.AdamW:
    """Return the optimizer; every group says which part it is of and what its learning rate is multiplied with."""
    encoder = [*network.patch_embed.parameters(), *network.encoder.parameters(), *network.encoder_norm.parameters()]
    heads = [p for name, p in network.named_parameters() if name.startswith(_POINT_HEADS)]
    theirs = {id(p) for p in (*encoder, *heads)}
    parts = {
        "encoder": (encoder, 1.0),
        "trunk": ([p for p in network.parameters() if id(p) not in theirs], 1.0),
        "heads": (heads, 1.0),
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
