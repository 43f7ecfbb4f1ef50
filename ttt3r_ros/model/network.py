"""The recurrent network: one pure step from an image and a state to a prediction and a new state.

CUT3R's backbone (arXiv 2501.12387) with a learning rate per state token (TTT3R, arXiv 2509.26645).
Shapes: B batch, H×W pixels (multiples of 16), h×w patches, M = h·w image tokens, N state tokens, K memory slots,
C_e and C_d encoder and decoder widths.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ttt3r_ros.model.config import PATCH, NetworkConfig
from ttt3r_ros.model.heads import (
    COLOR_CHANNELS,
    POINT_CHANNELS,
    DPTHead,
    LinearHead,
    PoseHead,
    TokenLevels,
    decode_color,
    decode_points,
)
from ttt3r_ros.model.layers import NORM_EPS, DecoderBlock, EncoderBlock, ModulatedBlock, noise
from ttt3r_ros.model.pose_memory import PoseMemory
from ttt3r_ros.model.precision import computes_in, quantize_linears, store_linears
from ttt3r_ros.model.rotary import RotaryTables
from ttt3r_ros.model.update import Carried, RuleInput, Ttt3r, UpdateRule, blend

#: Outputs that can be requested in addition to the pose.
POINTS_CAMERA, POINTS_WORLD, COLOR = "points_camera", "points_world", "color"
DEFAULT_OUTPUTS = frozenset({POINTS_CAMERA})


@dataclass(frozen=True)
class State:
    """Everything the network carries from one frame of a segment to the next.

    Attributes:
        tokens: (B, N, C_d) float32, the recurrent state S.
        pose_memory: (B, K, 2·C_d), P.
        carried: the update rule's own tensors.
    """

    tokens: Tensor
    pose_memory: Tensor
    carried: Carried = ()


@dataclass(frozen=True)
class Decoded:
    """The decoders' result for one frame, float32.

    Attributes:
        tokens: (B, 1 + M, C_d), Z; the first is the pose token.
        levels: the token maps that the heads read.
        state_proposal: (B, N, C_d), S̃.
        alignment: (B, N), β before the sigmoid.
    """

    tokens: Tensor
    levels: TokenLevels
    state_proposal: Tensor
    alignment: Tensor

    @property
    def pose_token(self) -> Tensor:
        """(B, C_d)."""
        return self.tokens[:, 0]


@dataclass(frozen=True)
class Trace:
    """Intermediate values of a step, kept by reference (no cost), to find where two implementations diverge.

    Attributes:
        encoder_tokens: (B, M, C_e), F.
        pose_query: (B, C_d), z.
        decoded: the decoders' result; `Network.camera_points` computes its points on request.
    """

    encoder_tokens: Tensor
    pose_query: Tensor
    decoded: Decoded


@dataclass(frozen=True)
class Prediction:
    """The network's prediction for one frame; outputs that were not requested are None.

    Camera axes are OpenCV's (x right, y down, z forward); the world is the segment's first camera; lengths in meters.

    Attributes:
        translation: (B, 3) position of the camera in the world.
        quaternion: (B, 4) orientation (w, x, y, z), w >= 0, of the camera in the world.
        learning_rate: (B, N) β in (0, 1].
        points_camera, confidence: (B, H, W, 3) and (B, H, W) >= 1; the z of the points is the depth.
        points_world, confidence_world: the same in the world frame, from a head of their own.
        color: (B, H, W, 3) in (-1, 1).
    """

    translation: Tensor
    quaternion: Tensor
    learning_rate: Tensor
    trace: Trace
    points_camera: Tensor | None = None
    confidence: Tensor | None = None
    points_world: Tensor | None = None
    confidence_world: Tensor | None = None
    color: Tensor | None = None


class Network(nn.Module):
    """CUT3R's backbone in any configuration; see `step`."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        wide, width = config.enc_embed_dim, config.dec_embed_dim
        wide_hidden, hidden = int(config.mlp_ratio * wide), int(config.mlp_ratio * width)
        self.patch_embed = nn.Conv2d(3, wide, PATCH, stride=PATCH)
        self.encoder = nn.ModuleList(
            EncoderBlock(wide, config.enc_num_heads, wide_hidden) for _ in range(config.enc_depth)
        )
        self.encoder_norm = nn.LayerNorm(wide, eps=NORM_EPS)

        self.state_tokens = noise(config.state_size, wide, std=0.02)
        self.state_embed = nn.Linear(wide, width)
        self.pose_token = noise(1, 1, width, std=0.02)
        self.pose_memory = PoseMemory(config)

        self.image_embed = nn.Linear(wide, width)
        self.image_decoder = nn.ModuleList(
            DecoderBlock(width, config.dec_num_heads, hidden) for _ in range(config.dec_depth)
        )
        self.image_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.state_decoder = nn.ModuleList(
            DecoderBlock(width, config.state_dec_num_heads, hidden) for _ in range(config.dec_depth)
        )
        self.state_norm = nn.LayerNorm(width, eps=NORM_EPS)

        head = DPTHead if config.head_type == "dpt" else LinearHead
        self.pose_head = PoseHead(width, hidden)
        self.camera_head = head(config, POINT_CHANNELS)
        self.world_head = head(config, POINT_CHANNELS)
        self.world_transform = nn.ModuleList(ModulatedBlock(width, config.dec_num_heads, hidden) for _ in range(2))
        self.color_head = head(config, COLOR_CHANNELS) if config.rgb_head else None
        self.rotary = RotaryTables(config)

    def step(
        self,
        image: Tensor,
        state: State | None,
        *,
        rule: UpdateRule | None = None,
        outputs: Set[str] = DEFAULT_OUTPUTS,
    ) -> tuple[Prediction, State]:
        """Process one frame. Pure: the network keeps nothing.

        Args:
            image: (B, 3, H, W) RGB in [-1, 1], both sides multiples of 16.
            state: returned by the last step; None starts a segment.
            rule: the update rule; TTT3R's if None.
            outputs: which of 'points_camera', 'points_world', 'color' to compute in addition to the pose.

        Returns:
            The prediction, and the state for the next frame.

        Raises:
            ValueError: the network does not take this image shape or has no such output.
        """
        self._check(image, outputs)
        rule = Ttt3r() if rule is None else rule
        features = self.encode(image)
        grid = image.shape[2] // PATCH, image.shape[3] // PATCH

        query_input = features.mean(dim=1, keepdim=True)
        if state is None:
            tokens, memory = self.initial_tokens(len(image)), self.pose_memory.initial(len(image))
            pose_query = self.pose_token.expand(len(image), -1, -1)
        else:
            tokens, memory = state.tokens, state.pose_memory
            pose_query = self.pose_memory.read(query_input, memory)
        decoded = self.decode(features, pose_query, tokens, grid)
        memory = self.pose_memory.write(query_input, decoded.pose_token[:, None], memory)

        inputs = RuleInput(tokens, decoded.state_proposal, decoded.alignment)
        if state is None:
            learning_rate, carried = torch.ones_like(inputs.alignment), rule.start(inputs)
        else:
            learning_rate, carried = rule.learning_rate(inputs, state.carried)
        new_state = State(blend(tokens, inputs.proposal, learning_rate), memory, carried)

        trace = Trace(features, pose_query[:, 0], decoded)
        return self.read_heads(trace, learning_rate, outputs), new_state

    def encode(self, image: Tensor) -> Tensor:
        """Return the image tokens F (B, M, C_e), in row-major order."""
        x = self.patch_embed(image.to(self.patch_embed.weight.dtype))
        grid = x.shape[2], x.shape[3]
        x = x.flatten(2).transpose(1, 2)
        head_dim = self.config.enc_embed_dim // self.config.enc_num_heads
        rotary = self.rotary.image(grid, head_dim, x.device, with_pose=False)
        for block in self.encoder:
            x = block(x, rotary)
        return self.encoder_norm(x)  # type: ignore[no-any-return]

    def initial_tokens(self, batch: int) -> Tensor:
        """Return S_0, (B, N, C_d) float32."""
        return self.state_embed(self.state_tokens).float().expand(batch, -1, -1)  # type: ignore[no-any-return]

    def decode(self, features: Tensor, pose_query: Tensor, tokens: Tensor, grid: tuple[int, int]) -> Decoded:
        """Run the image and state decoders side by side; each layer attends to the other decoder's previous layer.

        Args:
            features: F (B, M, C_e).
            pose_query: z (B, 1, C_d).
            tokens: S (B, N, C_d).
            grid: (h, w).
        """
        config = self.config
        dtype = self.state_embed.weight.dtype
        image = torch.cat([pose_query.to(dtype), self.image_embed(features)], dim=1)
        state = tokens.to(dtype)
        image_dim = config.dec_embed_dim // config.dec_num_heads
        state_dim = config.dec_embed_dim // config.state_dec_num_heads
        image_rotary = self.rotary.image(grid, image_dim, image.device, with_pose=True)
        state_rotary = self.rotary.state(image_dim, image.device)
        image_rotary_for_state = self.rotary.image(grid, state_dim, image.device, with_pose=True)
        state_rotary_for_state = self.rotary.state(state_dim, image.device)

        layers, alignments = [image], []
        for image_block, state_block in zip(self.image_decoder, self.state_decoder, strict=True):
            new_image, _ = image_block(image, state, image_rotary, state_rotary)
            state, match = state_block(state, image, state_rotary_for_state, image_rotary_for_state)
            image = new_image
            alignments.append(match.alignment())
            layers.append(image)
        decoded = self.image_norm(image).float()
        half, three_quarters = layers[config.dec_depth // 2], layers[3 * config.dec_depth // 4]
        return Decoded(
            tokens=decoded,
            levels=TokenLevels(
                encoder=features.float(),
                half=half[:, 1:].float(),
                three_quarters=three_quarters[:, 1:].float(),
                last=decoded[:, 1:],
                grid=grid,
            ),
            state_proposal=self.state_norm(state).float(),
            alignment=torch.stack(alignments).mean(dim=0),
        )

    def camera_points(self, decoded: Decoded) -> tuple[Tensor, Tensor]:
        """Return a decoded frame's points (B, H, W, 3) [m] in the camera frame and confidence (B, H, W)."""
        raw = self.camera_head(decoded.levels)
        if self.config.head_type == "linear":  # only the published linear head mirrors points behind the camera
            raw = torch.cat([raw[:, :3] * raw[:, 2:3].sign(), raw[:, 3:]], dim=1)
        return decode_points(raw)

    def read_heads(self, trace: Trace, learning_rate: Tensor, outputs: Set[str]) -> Prediction:
        """Run the pose head and the requested other heads, in float32."""
        decoded = trace.decoded
        translation, quaternion = self.pose_head(decoded.pose_token)
        points = confidence = points_world = confidence_world = color = None
        if POINTS_CAMERA in outputs:
            points, confidence = self.camera_points(decoded)
        if POINTS_WORLD in outputs:
            points_world, confidence_world = decode_points(self.world_head(self.to_world(decoded)))
        if COLOR in outputs and self.color_head is not None:
            color = decode_color(self.color_head(decoded.levels))
        return Prediction(
            translation=translation,
            quaternion=quaternion,
            learning_rate=learning_rate,
            trace=trace,
            points_camera=points,
            confidence=confidence,
            points_world=points_world,
            confidence_world=confidence_world,
            color=color,
        )

    def set_precision(self, dtype: torch.dtype, device: torch.device | None = None) -> Network:
        """Convert encoder, decoders and pose memory to this dtype; state, pose, norm outputs and heads stay float32.

        On a CPU without fast half-precision arithmetic, only the weights of linear layers are stored in half precision.
        With int8, linear layers compute on integers and everything else in float32; this cannot be undone.

        Args:
            dtype: float32, bfloat16, float16 or int8.
            device: device that the network will compute on; its current device if None.

        Raises:
            UserError: int8 on a device without fast 8-bit arithmetic.
        """
        native = dtype != torch.int8 and computes_in(dtype, device or self.pose_token.device)
        computed = dtype if native else torch.float32
        for part in (
            self.patch_embed,
            self.encoder,
            self.encoder_norm,
            self.state_embed,
            self.pose_memory,
            self.image_embed,
            self.image_decoder,
            self.image_norm,
            self.state_decoder,
            self.state_norm,
        ):
            part.to(computed)
            if dtype == torch.int8:
                quantize_linears(part)
            elif not native:
                store_linears(part, dtype)
        for parameter in (self.state_tokens, self.pose_token):
            parameter.data = parameter.data.to(computed)
        return self

    def drop_world_and_color(self) -> Network:
        """Remove the heads of 'points_world' and 'color'; later steps cannot compute these outputs."""
        if hasattr(self, "world_head"):
            del self.world_head, self.world_transform
        self.color_head = None
        return self

    def to_world(self, decoded: Decoded) -> TokenLevels:
        """Pass the last level through the pose-modulated blocks, which move its content to the world frame."""
        levels, x = decoded.levels, decoded.levels.last
        head_dim = self.config.dec_embed_dim // self.config.dec_num_heads
        rotary = self.rotary.image(levels.grid, head_dim, x.device, with_pose=False)
        for block in self.world_transform:
            x = block(x, decoded.pose_token, rotary)
        return TokenLevels(levels.encoder, levels.half, levels.three_quarters, x, levels.grid)

    def _check(self, image: Tensor, outputs: Set[str]) -> None:
        if (
            image.ndim != 4
            or image.shape[1] != 3
            or image.shape[2] % PATCH
            or image.shape[3] % PATCH
            or not image.numel()
        ):
            raise ValueError(
                f"the network takes images (B, 3, H, W) with H and W multiples of {PATCH}, got {tuple(image.shape)}"
            )
        unknown = set(outputs) - {POINTS_CAMERA, POINTS_WORLD, COLOR}
        if unknown:
            raise ValueError(f"the network has no output named {', '.join(sorted(unknown))}")
        if POINTS_WORLD in outputs and not hasattr(self, "world_head"):
            raise ValueError("this network no longer has a head for points_world")
        if COLOR in outputs and self.color_head is None:
            raise ValueError("this network has no color head")
