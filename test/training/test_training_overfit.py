"""A handful of clips learned by heart: proof that gradients reach what they should, and that conventions agree.

What was learned is read back the public way, frame by frame through `Network.step`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from training_recipe import TINY_RECIPE, generator

from training.clips import Clips, render_clips, training_camera
from training.config import Stage
from training.flats import build_shard
from training.initial import initial_network
from training.losses import losses, targets
from training.motion import quaternion_from_rotation
from training.unroll import unroll
from ttt3r_ros.model import Cut3r, Network
from ttt3r_ros.model.network import POINTS_CAMERA, POINTS_WORLD

STAGE = Stage("heart", 1.0, frames=2, batch=4, motion="turn", rotation_deg=20, translation_m=0.4, world=1, pose=3)
CAMERA = training_camera(TINY_RECIPE)
STEPS = 100


def images(clips: Clips) -> torch.Tensor:
    return clips.image.permute(0, 1, 4, 2, 3).float() / 127.5 - 1


@pytest.fixture
def learned(one_thread: None) -> tuple[Clips, Network]:
    clips = render_clips(build_shard(range(3, 4)), STAGE, STAGE.batch, CAMERA, generator())
    config = replace(TINY_RECIPE.network, enc_embed_dim=64, dec_embed_dim=48, dec_depth=2)
    network = initial_network(config, seed=0)
    truth = targets(clips, CAMERA)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        loss, _ = losses(unroll(network, images(clips), world=True)[0], truth, STAGE)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return clips, network.eval().requires_grad_(False)


@pytest.mark.slow
def test_pose_depth_and_world_points_are_learned(learned: tuple[Clips, Network]):
    clips, network = learned
    state, inputs = None, images(clips)
    for t in range(STAGE.frames):
        said, state = network.step(inputs[:, t], state, rule=Cut3r(), outputs={POINTS_CAMERA, POINTS_WORLD})
        T = clips.T_first_camera[:, t]
        angle = 2 * (said.quaternion * quaternion_from_rotation(T[:, :3, :3])).sum(-1).abs().clamp(max=1).acos()
        assert angle.rad2deg().max() < 1.5, f"frame {t}"
        assert (said.translation - T[:, :3, 3]).norm(dim=-1).max() < 0.05, f"frame {t}"

        depth = clips.depth[:, t].float()
        assert said.points_camera is not None
        assert said.points_world is not None
        error = (said.points_camera[..., 2] / depth - 1).abs()
        assert error.median() < 0.1, f"frame {t}"
        # the world points are the camera points, moved by the pose
        moved = torch.einsum("bij,bhwj->bhwi", T[:, :3, :3], said.points_camera) + T[:, None, None, :3, 3]
        assert (said.points_world - moved).norm(dim=-1).median() < 0.2, f"frame {t}"
    motion = clips.T_first_camera[:, 1:, :3, 3].norm(dim=-1)
    assert motion.max() > 0.2  # there was something to learn
