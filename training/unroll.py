"""The network over whole clips, with gradients, in its heads' raw space.

The same as feeding `Network.step` frame by frame under CUT3R's update (a test compares the two), but the encoder and
the heads, which no frame's state goes through, run on all frames at once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ttt3r_ros.model import Network
from ttt3r_ros.model.config import PATCH
from ttt3r_ros.model.heads import TokenLevels
from ttt3r_ros.model.network import Decoded


@dataclass(frozen=True)
class Inside:
    """What the decoders saw and made of frames 1 to T - 1, for `Hints`.

    Attributes:
        features: (B, T-1, M, C_e), image tokens before decoding.
        pose_query: (B, T-1, 1, C_d).
        state: (B, T-1, N, C_d), the state that each frame was read with.
        levels: half way, three quarters of the way and at the end of the decoder, (B, T-1, M, C_d) each.
        grid: (h, w).
    """

    features: Tensor
    pose_query: Tensor
    state: Tensor
    levels: tuple[Tensor, Tensor, Tensor]
    grid: tuple[int, int]


@dataclass(frozen=True)
class RawClip:
    """What the heads say before `expand` and `exp`; B clips of T frames.

    Attributes:
        camera: (B, P, 4, H, W), points in the camera frame and their confidence, of `frames` or, if None, of all.
        world: (B, P, 4, H, W), points in the first camera's frame; None if not asked for.
        translation: (B, T, 3) of the camera in the first camera's frame.
        quaternion: (B, T, 4), (w, x, y, z), of any length and sign.
        frames: (B, P) indices of the frames whose points these are; None if all are.
    """

    camera: Tensor
    world: Tensor | None
    translation: Tensor
    quaternion: Tensor
    frames: Tensor | None = None


@dataclass(frozen=True)
class _Steps:
    """Frames of B clips as decoded: T of them, or some of them one after the other.

    Attributes:
        tokens: (B, T, 1 + M, C_d); half, three_quarters: (B, T, M, C_d).
        pose_query, state: (B, T, 1, C_d) and (B, T, N, C_d), what they were decoded with.
        proposal: (B, T, N, C_d).
    """

    tokens: Tensor
    half: Tensor
    three_quarters: Tensor
    pose_query: Tensor
    state: Tensor
    proposal: Tensor

    @classmethod
    def of(cls, decoded: Decoded, pose_query: Tensor, state: Tensor, clips: int) -> _Steps:
        """Sort one decoding of B or B · K frames by clips."""
        levels = decoded.levels
        parts = (decoded.tokens, levels.half, levels.three_quarters, pose_query.float(), state, decoded.state_proposal)
        return cls(*(part.reshape(clips, -1, *part.shape[1:]) for part in parts))

    @classmethod
    def join(cls, steps: list[_Steps]) -> _Steps:
        """Put frames after each other."""
        return cls(*(torch.cat([getattr(step, field.name) for step in steps], dim=1) for field in fields(cls)))


def unroll(
    network: Network,
    images: Tensor,
    *,
    world: bool,
    star: bool = False,
    precision: torch.dtype | None = None,
    truncate: int = 0,
    frozen_trunk: bool = False,
    point_frames: Tensor | None = None,
) -> tuple[RawClip, Inside]:
    """Run the network over clips.

    Args:
        network: any configuration.
        images: (B, T, 3, H, W) float32 in [-1, 1].
        world: also compute the points in the world frame.
        star: every later frame comes right after the first one: T - 1 clips of two frames that share their first.
        precision: compute encoder and decoders in this dtype (autocast); heads are float32 always.
        truncate: cut gradients through state and pose memory after every so many frames; 0 for never.
        frozen_trunk: let no gradients into anything but the heads.
        point_frames: (B, P) indices of the frames whose points are wanted; None for all.

    Returns:
        What the heads say about all frames, and how that came about in all but the first; the latter is empty for
        clips of one frame.
    """
    count, frames = images.shape[:2]
    grid = images.shape[3] // PATCH, images.shape[4] // PATCH
    with (
        torch.autocast(images.device.type, dtype=precision or torch.bfloat16, enabled=precision is not None),
        torch.set_grad_enabled(torch.is_grad_enabled() and not frozen_trunk),
    ):
        features = network.encode(images.flatten(0, 1))
        features = features.view(count, frames, *features.shape[1:])
        steps = _spread(network, features, grid) if star else _recur(network, features, grid, truncate)

    def by_clip(x: Tensor) -> Tensor:
        return x.view(count, -1, *x.shape[1:])

    chosen: slice | Tensor = slice(None)
    if point_frames is not None:
        chosen = (point_frames + frames * torch.arange(count, device=images.device)[:, None]).flatten()
    shown = _frames(features, steps, grid, chosen)
    pose = network.pose_head.mlp(steps.tokens[:, :, 0])
    raw = RawClip(
        camera=by_clip(network.camera_head(shown.levels)),
        world=by_clip(network.world_head(network.to_world(shown))) if world else None,
        translation=pose[..., :3],
        quaternion=pose[..., 3:],
        frames=point_frames,
    )
    inside = Inside(
        features=features[:, 1:].float(),
        pose_query=steps.pose_query[:, 1:],
        state=steps.state[:, 1:],
        levels=(steps.half[:, 1:], steps.three_quarters[:, 1:], steps.tokens[:, 1:, 1:]),
        grid=grid,
    )
    return raw, inside


def _recur(network: Network, features: Tensor, grid: tuple[int, int], truncate: int = 0) -> _Steps:
    """Decode (B, T, M, C_e) features frame by frame, each proposal replacing the state (β = 1)."""
    count, frames = features.shape[:2]
    view = features.mean(dim=2, keepdim=True)
    state, memory = network.initial_tokens(count), network.pose_memory.initial(count)
    pose_query = network.pose_token.expand(count, -1, -1)
    steps: list[_Steps] = []
    for frame in range(frames):
        if truncate and frame and frame % truncate == 0:
            state, memory = state.detach(), memory.detach()
        if frame:
            pose_query = network.pose_memory.read(view[:, frame], memory)
        decoded = network.decode(features[:, frame], pose_query, state, grid)
        steps.append(_Steps.of(decoded, pose_query, state, count))
        if frame + 1 < frames:
            memory = network.pose_memory.write(view[:, frame], decoded.pose_token[:, None], memory)
        state = decoded.state_proposal
    return _Steps.join(steps)


def _spread(network: Network, features: Tensor, grid: tuple[int, int]) -> _Steps:
    """Decode the first frame of (B, T, M, C_e) features, then all others at once, each as the second."""
    count, others = features.shape[0], features.shape[1] - 1
    first = _recur(network, features[:, :1], grid)
    view = features.mean(dim=2, keepdim=True)
    memory = network.pose_memory.write(view[:, 0], first.tokens[:, 0, :1], network.pose_memory.initial(count))
    state = first.proposal[:, 0].repeat_interleave(others, dim=0)
    pose_query = network.pose_memory.read(view[:, 1:].flatten(0, 1), memory.repeat_interleave(others, dim=0))
    decoded = network.decode(features[:, 1:].flatten(0, 1), pose_query, state, grid)
    return _Steps.join([first, _Steps.of(decoded, pose_query, state, count)])


def _frames(features: Tensor, steps: _Steps, grid: tuple[int, int], chosen: slice | Tensor) -> Decoded:
    """Return the chosen of B · T frames of B clips of T, for the heads."""

    def pick(x: Tensor) -> Tensor:
        return x.flatten(0, 1)[chosen]

    tokens = pick(steps.tokens)
    levels = TokenLevels(
        encoder=pick(features).float(),
        half=pick(steps.half),
        three_quarters=pick(steps.three_quarters),
        last=tokens[:, 1:],
        grid=grid,
    )
    no_alignment = tokens.new_zeros(tokens.shape[:2])  # heads do not read the state side
    return Decoded(tokens=tokens, levels=levels, state_proposal=pick(steps.proposal), alignment=no_alignment)
