"""What a training run is: the network, the data, and the stages it learns in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ttt3r_ros.errors import UserError
from ttt3r_ros.model import NetworkConfig

#: Seeds of flats: below this number they are kept for evaluation and never trained on.
FIRST_TRAINING_SEED = 1000

Motion = Literal["turn", "walk"]


@dataclass(frozen=True)
class Stage:
    """One part of the curriculum.

    Attributes:
        name: for the log.
        share: of the run's whole budget, whether that is steps or minutes; a recipe's shares sum to 1.
        frames: of a clip.
        batch: clips in a step.
        motion: "turn": the camera turns and shifts at random about a place on a path; "walk": it follows the path.
        rotation_deg: largest turn away from the clip's first frame, where the motion is "turn".
        translation_m: largest shift away from it; 0.4 m keeps clear of everything.
        stride: a walking clip takes every n-th pose of its path, n from 1 to this.
        learning_rate: at its highest.
        final: share of that at the stage's end.
        camera: weight of the loss on points in the camera frame.
        edges: weight of the loss on depth differences between neighbours, which makes edges crisp and seams vanish.
        world: weight of the loss on points in the world frame.
        shift: weight of the loss on the difference between the two, which depends on the motion alone.
        pose: weight of the loss on the seven pose numbers.
    """

    name: str
    share: float
    frames: int
    batch: int
    motion: Motion = "walk"
    rotation_deg: float = 0.0
    translation_m: float = 0.0
    stride: int = 1
    learning_rate: float = 1e-3
    final: float = 0.3
    camera: float = 1.0
    edges: float = 1.0
    world: float = 0.0
    shift: float = 0.0
    pose: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """A whole training run.

    Attributes:
        network: what is trained.
        width, height: of the images [px], multiples of 16.
        stages: in order.
        seed: of the initial weights, the motions and the order of the data.
        shard_flats: flats that are rendered together.
        shards: how many such groups are at hand; the oldest is replaced whenever workers have built another.
        workers: processes that build flats; 0 builds them between steps.
        buffer_frames: rendered frames kept to be drawn from.
        render_frames: rendered in one go, about.
        reuse: how often a rendered clip is trained on, on average.
        prefetch: render in a thread of its own, on a GPU on a stream of its own.
        weight_decay, gradient_norm: of the optimizer.
        warm_up_steps: over which every stage's learning rate rises.
        ema: decay of the averaged weights, which are what is exported.
        first_seed: of the flats; every later flat has the next.
    """

    network: NetworkConfig
    width: int
    height: int
    stages: tuple[Stage, ...]
    seed: int = 0
    shard_flats: int = 32
    shards: int = 8
    workers: int = 0
    buffer_frames: int = 4096
    render_frames: int = 32
    reuse: int = 4
    prefetch: bool = False
    weight_decay: float = 0.03
    gradient_norm: float = 1.0
    warm_up_steps: int = 100
    ema: float = 0.999
    first_seed: int = FIRST_TRAINING_SEED

    def only(self, names: Collection[str]) -> Recipe:
        """Return a recipe with these stages alone, which then share the whole budget as they did before.

        Raises:
            UserError: a stage is unknown.
        """
        unknown = sorted(set(names) - {stage.name for stage in self.stages})
        if unknown:
            known = ", ".join(stage.name for stage in self.stages)
            raise UserError(f"the recipe has no stage {', '.join(unknown)}; choose from {known}")
        kept = [stage for stage in self.stages if stage.name in names]
        total = sum(stage.share for stage in kept)
        return replace(self, stages=tuple(replace(stage, share=stage.share / total) for stage in kept))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; the inverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe with these values."""
        values = dict(values)
        values["network"] = NetworkConfig.from_dict(values["network"])
        values["stages"] = tuple(Stage(**stage) for stage in values["stages"])
        return cls(**values)

    def __post_init__(self) -> None:
        total = sum(stage.share for stage in self.stages)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"the shares of a recipe's stages must sum to 1, not {total}")


def _network(image_size: int, state_size: int) -> NetworkConfig:
    """Return a network of 8.2 million parameters: 15.7 MiB in half precision.

    The pose memory's blocks are twice as wide as the decoder and hold 3.2 M of them, so the decoder is narrow; one
    DPT head alone would hold more than all of this. State tokens form a square grid at least as large as the image's,
    so that there is one at every patch's place: what a state token has to find in the first frame is then right there.
    """
    return NetworkConfig(
        enc_embed_dim=192,
        enc_depth=6,
        enc_num_heads=6,
        dec_embed_dim=128,
        dec_depth=5,
        dec_num_heads=4,
        state_dec_num_heads=4,
        state_size=state_size,
        local_mem_size=16,
        head_type="linear",
        mlp_ratio=2.0,
        rgb_head=False,
        image_size=image_size,
    )


#: For ten minutes or more of a large GPU.
GPU = Recipe(
    network=_network(192, 144),
    width=192,
    height=144,
    stages=(
        Stage("depth", 0.12, frames=1, batch=768, motion="turn", world=0.5, pose=0.5),
        Stage("turns", 0.28, frames=2, batch=256, motion="turn", rotation_deg=14, learning_rate=4e-4, final=0.6,
              world=0.5, shift=3, pose=2),
        Stage("pairs", 0.20, frames=2, batch=256, motion="turn", rotation_deg=12, translation_m=0.3, learning_rate=3e-4,
              world=0.5, shift=3, pose=2),
        Stage("short", 0.20, frames=4, batch=128, stride=4, learning_rate=3e-4, world=0.5, shift=2, pose=3),
        Stage("long", 0.20, frames=12, batch=64, stride=2, learning_rate=2e-4, final=0.02, world=0.5, shift=2, pose=3),
    ),
    shard_flats=32,
    shards=16,
    workers=12,
    buffer_frames=200_000,
    render_frames=512,
    reuse=4,
    prefetch=True,
)  # fmt: skip

#: For a night of two CPU cores: smaller images, smaller batches, rendered frames used more often.
CPU = Recipe(
    network=_network(128, 64),
    width=128,
    height=96,
    stages=(
        Stage("depth", 0.15, frames=1, batch=32, motion="turn", world=0.5, pose=0.5),
        Stage("turns", 0.30, frames=2, batch=32, motion="turn", rotation_deg=14, learning_rate=2e-4, final=0.6,
              world=0.5, shift=3, pose=2),
        Stage("pairs", 0.20, frames=2, batch=32, motion="turn", rotation_deg=12, translation_m=0.3, learning_rate=2e-4,
              world=0.5, shift=3, pose=2),
        Stage("short", 0.20, frames=4, batch=16, stride=4, learning_rate=2e-4, world=0.5, shift=2, pose=3),
        Stage("long", 0.15, frames=12, batch=6, stride=2, learning_rate=2e-4, final=0.02, world=0.5, shift=2, pose=3),
    ),
    shard_flats=16,
    shards=16,
    reuse=4,
)  # fmt: skip

RECIPES = {"gpu": GPU, "cpu": CPU}


def recipe_by_name(name: str) -> Recipe:
    """Return the recipe of this name.

    Raises:
        UserError: there is none.
    """
    if name not in RECIPES:
        raise UserError(f"there is no recipe {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
