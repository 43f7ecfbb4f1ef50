"""A recipe as small as can be, for the tests of training."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from rule_weights import TINY

from training.config import Recipe, Stage
from ttt3r_ros.synthetic import Sequence

TINY_RECIPE = Recipe(
    network=replace(TINY, rgb_head=False, state_size=12),
    width=64,
    height=48,
    stages=(
        Stage("depth", 0.5, frames=1, batch=4, motion="turn"),
        Stage(
            "pairs", 0.5, frames=2, batch=2, motion="turn", star=True, rotation_deg=10, world=1.0, pose=1.0, hints=1.0
        ),
    ),
    shard_flats=1,
    shards=1,
    buffer_frames=16,
    render_frames=4,
    warm_up_steps=2,
    validation_flats=1,
    confidence_flats=1,
    confidence_steps=10,
    evaluation_flats=1,
    evaluation_frames=4,
)


#: What evaluations render, instead of a camera's images.
SmallSequence = partial(Sequence, width=96, height=72)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
