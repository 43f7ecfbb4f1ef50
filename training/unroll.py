"""The network over whole clips, with gradients, in its heads' raw space.

The same as feeding `Network.step` frame by frame under CUT3R's update (a test compares the two), but the encoder and
the heads, which no frame's state goes through, run on all frames at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ttt3r_ros.model import Network
from ttt3r_ros.model.config import PATCH
from ttt3r_ros.model.heads import TokenLevels
from ttt3r_ros.model.network import Decoded


@dataclass(frozen=True)
class RawClip:
    """What the heads say before `expand` and `exp`; B clips of T frames.

    Attributes:
        camera: (B, T, 4, H, W), points in the camera frame and their confidence.
        world: (B, T, 4, H, W), points in the first camera's frame; None if not asked for.
        translation: (B, T, 3) of the camera in the first camera's frame.
        quaternion: (B, T, 4), (w, x, y, z), of any length and sign.
    """

    camera: Tensor
    world: Tensor | None
    translation: Tensor
    quaternion: Tensor


def unroll(network: Network, images: Tensor, *, world: bool, precision: torch.dtype | None = None) -> RawClip:
    """Run the network over clips.

    Args:
        network: any configuration.
        images: (B, T, 3, H, W) float32 in [-1, 1].
        world: also compute the points in the world frame.
        precision: compute encoder and decoders in this dtype (autocast); heads are float32 always.
    """
    count, frames = images.shape[:2]
    grid = images.shape[3] // PATCH, images.shape[4] // PATCH
    with torch.autocast(images.device.type, dtype=precision or torch.bfloat16, enabled=precision is not None):
        features = network.encode(images.flatten(0, 1))
        features = features.view(count, frames, *features.shape[1:])
        steps = _recur(network, features, grid)

    def by_clip(x: Tensor) -> Tensor:
        return x.view(frames, count, *x.shape[1:]).transpose(0, 1)

    decoded = _join(steps, grid)
    camera = network.camera_head(decoded.levels)
    in_world = network.world_head(network.to_world(decoded)) if world else None
    pose = by_clip(network.pose_head.mlp(decoded.pose_token))
    return RawClip(
        camera=by_clip(camera),
        world=None if in_world is None else by_clip(in_world),
        translation=pose[..., :3],
        quaternion=pose[..., 3:],
    )


def _recur(network: Network, features: Tensor, grid: tuple[int, int]) -> list[Decoded]:
    """Decode (B, T, M, C_e) features frame by frame, each proposal replacing the state (β = 1)."""
    count, frames = features.shape[:2]
    view = features.mean(dim=2, keepdim=True)
    tokens, memory = network.initial_tokens(count), network.pose_memory.initial(count)
    pose_query = network.pose_token.expand(count, -1, -1)
    steps: list[Decoded] = []
    for frame in range(frames):
        if frame:
            pose_query = network.pose_memory.read(view[:, frame], memory)
        decoded = network.decode(features[:, frame], pose_query, tokens, grid)
        if frame + 1 < frames:
            memory = network.pose_memory.write(view[:, frame], decoded.pose_token[:, None], memory)
        tokens = decoded.state_proposal
        steps.append(decoded)
    return steps


def _join(steps: list[Decoded], grid: tuple[int, int]) -> Decoded:
    """Return T frames of B clips as T · B frames."""

    def level(name: str) -> Tensor:
        return torch.cat([getattr(step.levels, name) for step in steps])

    return Decoded(
        levels=TokenLevels(level("encoder"), level("half"), level("three_quarters"), level("last"), grid),
        tokens=torch.cat([step.tokens for step in steps]),
        state_proposal=steps[-1].state_proposal,
        alignment=steps[-1].alignment,
    )
