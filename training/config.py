"""What a training run is: the network, the data, and the stages it learns in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ttt3r_ros.errors import UserError
from ttt3r_ros.model import NetworkConfig

#: Seeds of flats: below this number they are kept for evaluation and never trained on.
FIRST_TRAINING_SEED = 1000

Motion = Literal["turn", "walk", "both", "roam", "mixed"]


@dataclass(frozen=True)
class Stage:
    """One part of the curriculum.

    Attributes:
        name: for the log.
        share: of the run's whole budget, whether that is steps or minutes; a recipe's shares sum to 1.
        frames: of a clip.
        batch: clips in a step.
        motion: "turn": the camera turns and shifts at random about a place on a path; "walk": it follows the path;
            "both": the one or the other, see `render_clips`; "roam": all that a robot's camera does, see `roams`;
            "mixed": half of the clips roam, half walk, so that what was learned of walks is not forgotten.
        star: every later frame is seen right after the first one, and any frame of the clip can be the first.
        rotation_deg: largest turn away from the clip's base, where the camera turns.
        translation_m: largest shift away from it; 0.4 m keeps clear of everything.
        stride: a clip takes every n-th pose of its path, n from 1 to this; there are 30 a second, so 30 is 1 to 30 Hz.
        learning_rate: at its highest.
        final: share of that at the stage's end.
        encoder: share of the learning rate that the encoder gets.
        trunk: share of the learning rate that all but the heads of points get, the encoder too; 0 trains these heads
            alone, with no gradients through the rest, and leaves the poses exactly as they are.
        point_frames: number of frames of a clip, drawn at random, whose points are predicted and compared; 0 for all.
            A DPT head costs more than the rest of the network, and the frames of a clip show much the same.
        camera: weight of the loss on points in the camera frame.
        edges: weight of the loss on depth differences between neighbours, which makes edges crisp and seams vanish.
        world: weight of the loss on points in the world frame.
        pose: weight of the loss on the seven pose numbers.
        hints: weight of what the inside of the network is told about motion, see `Hints`.
        keep: the hints include those that hold the state to what the first frame wrote; see `Hints`.
        truncate: number of frames after which gradients through the state are cut; 0 for never.
        hardship: share of clips with each of: low light, hunting exposure, motion blur, a partly covered lens.
        lenses: share of clips whose camera sees 40 to 110° across, in place of the usual 70°.
    """

    name: str
    share: float
    frames: int
    batch: int
    motion: Motion = "walk"
    star: bool = False
    rotation_deg: float = 0.0
    translation_m: float = 0.0
    stride: int = 1
    learning_rate: float = 1e-3
    final: float = 0.3
    encoder: float = 1.0
    trunk: float = 1.0
    point_frames: int = 0
    camera: float = 1.0
    edges: float = 1.0
    world: float = 0.0
    pose: float = 0.0
    hints: float = 0.0
    keep: bool = True
    truncate: int = 0
    hardship: float = 0.0
    lenses: float = 0.0


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
        precision: of encoder and decoders, "float32" or "bfloat16" (autocast); heads compute in float32 always.
        weight_decay, gradient_norm: of the optimizer.
        warm_up_steps: over which every stage's learning rate rises.
        ema: decay of the averaged weights, which are what is exported.
        first_seed: of the flats; every later flat has the next.
        varied: share of the flats that are other places (halls, corridors, yards), and share of all that have random
            textures; in a quarter of that share people walk and doors swing. Flats of the validation and of the
            evaluation are always the usual ones.
        validation_flats: to be looked at during a run.
        confidence_flats, confidence_steps: to fit the confidence on, at the end, in so many steps.
        evaluation_flats, evaluation_frames: to be measured on, after that: every motion in each, so many frames.
        segment_frames: after so many frames a reset does the weights good, as measured; exported with them.
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
    precision: Literal["float32", "bfloat16"] = "float32"
    weight_decay: float = 0.03
    gradient_norm: float = 1.0
    warm_up_steps: int = 100
    ema: float = 0.999
    first_seed: int = FIRST_TRAINING_SEED
    varied: float = 0.0
    validation_flats: int = 16
    confidence_flats: int = 64
    confidence_steps: int = 1500
    evaluation_flats: int = 10
    evaluation_frames: int = 16
    segment_frames: int = 6

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


def _network(image_size: int, columns: int, *, encoder_depth: int, decoder_depth: int, **changes: Any) -> NetworkConfig:
    """Return a network that fits into what the package carries, in half precision.

    The pose memory's blocks are twice as wide as the decoder and hold 3.2 M parameters, so the decoder is narrow; one
    DPT head of the published width alone would hold more than all of this. The state tokens form a grid as wide as the
    image's patches and at least as high, with the same rotary positions: a token for every patch's place. The smallest
    number of tokens whose grid is that wide is taken, `(columns - 1)²`: there are then enough rows for images of 4:3,
    and hardly one too many.
    """
    network = NetworkConfig(
        enc_embed_dim=192,
        enc_depth=encoder_depth,
        enc_num_heads=6,
        dec_embed_dim=128,
        dec_depth=decoder_depth,
        dec_num_heads=4,
        state_dec_num_heads=4,
        state_size=(columns - 1) ** 2,
        local_mem_size=8,
        head_type="linear",
        mlp_ratio=2.0,
        rgb_head=False,
        image_size=image_size,
    )
    return replace(network, **changes)


def _turns(name: str, share: float, batch: int, **changes: Any) -> Stage:
    return replace(_TURNS, name=name, share=share, batch=batch, **changes)


#: Motion in place, with every hint; the stages after it differ in how the camera moves and in what comes after what.
_TURNS = Stage(
    "turns", 1.0, frames=6, batch=4, motion="turn", star=True, rotation_deg=10, learning_rate=5e-4, final=0.5,
    encoder=0.5, camera=2, pose=6, hints=0.5,
)  # fmt: skip


def _roams(name: str, share: float, frames: int, batch: int, **changes: Any) -> Stage:
    """Return a stage of long clips without the keep hint, in which the state has to be written well."""
    stage = Stage(
        name, share, frames, batch, motion="roam", stride=30, learning_rate=2.5e-4, encoder=0.5, camera=2, pose=6,
        world=0.3, hints=0.3, keep=False, truncate=16, hardship=0.1, lenses=0.25,
    )  # fmt: skip
    return replace(stage, **changes)


def _heads(name: str, share: float, frames: int, batch: int, **changes: Any) -> Stage:
    """Return a stage in which only the heads of points learn."""
    stage = Stage(name, share, frames, batch, motion="mixed", stride=6, trunk=0.0, camera=2, hardship=0.1)
    return replace(stage, **changes)


#: For eight minutes or more of a large GPU. It has run at tiny sizes alone: what it says was found with the other one.
GPU = Recipe(
    network=_network(192, 12, encoder_depth=6, decoder_depth=5, head_type="dpt", dpt_width=64),
    width=192,
    height=144,
    stages=(
        Stage("depth", 0.25, frames=1, batch=512, motion="roam", pose=0.5, hardship=0.1, lenses=0.25),
        _turns("turns", 0.10, 64),
        _turns("pairs", 0.12, 64, motion="both", translation_m=0.3, stride=8),
        _turns("clips", 0.18, 64, motion="both", translation_m=0.3, stride=6, star=False),
        _roams("roam", 0.20, 16, 32),
        _roams("long", 0.15, 32, 16, stride=15, learning_rate=1.5e-4, final=0.02, hints=0.2),
    ),
    shard_flats=16,
    shards=32,
    workers=12,
    buffer_frames=200_000,
    render_frames=512,
    reuse=4,
    prefetch=True,
    precision="bfloat16",
    varied=0.4,
)  # fmt: skip

#: For an evening of one CPU core: smaller images, smaller batches.
CPU = Recipe(
    network=_network(128, 8, encoder_depth=6, decoder_depth=4),
    width=128,
    height=96,
    stages=(
        Stage("depth", 0.25, frames=1, batch=32, motion="turn", pose=0.5),
        _turns("turns", 0.10, 4),
        _turns("pairs", 0.20, 4, motion="both", translation_m=0.3, stride=8),
        _turns("clips", 0.25, 4, motion="both", translation_m=0.3, stride=6, star=False),
        _turns("long", 0.20, 2, motion="walk", frames=12, stride=4, star=False, learning_rate=2.5e-4, final=0.02,
               world=0.3),
    ),
    shard_flats=16,
    shards=16,
    reuse=3,
)  # fmt: skip

#: For nights of one spare core: the CPU recipe with the stages after it.
NIGHT = replace(
    CPU,
    stages=(
        Stage("depth", 0.15, frames=1, batch=32, motion="roam", pose=0.5, hardship=0.1, lenses=0.25),
        _turns("turns", 0.08, 4),
        _turns("pairs", 0.15, 4, motion="both", translation_m=0.3, stride=8),
        _turns("clips", 0.17, 4, motion="both", translation_m=0.3, stride=6, star=False),
        _roams("roam", 0.25, 16, 3),
        _roams("long", 0.20, 32, 2, stride=15, learning_rate=1.5e-4, final=0.02, hints=0.2),
    ),
    buffer_frames=8192,
    varied=0.4,
)

#: To give weights of the CPU recipe (`--init`) DPT heads, which draw sharper depth: first with everything else frozen,
#: which leaves the poses as they are, then all together, on walks as much as on everything else.
SHARP = replace(
    CPU,
    network=_network(128, 8, encoder_depth=6, decoder_depth=4, head_type="dpt", dpt_width=48),
    stages=(
        _heads("heads", 0.46, 4, 3, final=0.02),
        _turns("mixed", 0.50, 4, motion="mixed", frames=5, stride=6, star=False, learning_rate=6e-4, final=0.02,
               trunk=0.5, encoder=1.0, hints=0.3, hardship=0.1),
        _heads("world", 0.04, 4, 3, world=1.0, point_frames=2),
    ),
    warm_up_steps=50,
    ema=0.995,
)  # fmt: skip

#: To let weights of the recipe `sharp` (`--init`) see larger images: 12x9 patches in place of 8x6.
FINE = replace(
    SHARP,
    network=_network(192, 12, encoder_depth=6, decoder_depth=4, head_type="dpt", dpt_width=48),
    width=192,
    height=144,
    stages=tuple(replace(stage, share=share) for stage, share in zip(SHARP.stages[1:], (0.94, 0.06), strict=True)),
)

RECIPES = {"gpu": GPU, "cpu": CPU, "night": NIGHT, "sharp": SHARP, "fine": FINE}


def tiny(recipe: Recipe) -> Recipe:
    """Return the same recipe at sizes that teach nothing: every line of code that it would run, in seconds."""
    network = replace(
        recipe.network, enc_embed_dim=32, enc_depth=2, enc_num_heads=2, dec_embed_dim=32, dec_depth=2, dec_num_heads=2,
        state_dec_num_heads=2, state_size=12, local_mem_size=4, image_size=64, dpt_width=16,
    )  # fmt: skip
    return replace(
        recipe,
        network=network,
        width=64,
        height=48,
        stages=tuple(replace(stage, frames=min(stage.frames, 4), batch=min(stage.batch, 2)) for stage in recipe.stages),
        shard_flats=2,
        shards=2,
        workers=min(recipe.workers, 1),
        buffer_frames=32,
        render_frames=8,
        warm_up_steps=2,
        validation_flats=1,
        confidence_flats=2,
        confidence_steps=10,
        evaluation_flats=1,
        evaluation_frames=4,
    )


def recipe_by_name(name: str) -> Recipe:
    """Return the recipe of this name.

    Raises:
        UserError: there is none.
    """
    if name not in RECIPES:
        raise UserError(f"there is no recipe {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
