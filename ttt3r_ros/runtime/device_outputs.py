"""The results of a step that the host needs, as tensors still on the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ttt3r_ros.model.network import Prediction, State


@dataclass(frozen=True)
class DeviceOutputs:
    """A frame's results, without the batch axis.

    Attributes:
        pose: (8,), see `packed_pose`.
        learning_rate: (N,).
        points: (H, W, 3) [m], scaled; None if the prediction has none.
        confidence: (H, W); None like the points.
        planes: (3, H, W) uint8, the network's input image; None if not requested.
        descriptor: (2·C_e,), see `descriptor_of`; None if not requested.
    """

    pose: Tensor
    learning_rate: Tensor
    points: Tensor | None
    confidence: Tensor | None
    planes: Tensor | None
    descriptor: Tensor | None = None

    @classmethod
    def of(
        cls, prediction: Prediction, state: State, scale: float, planes: Tensor | None, *, describes: bool = False
    ) -> DeviceOutputs:
        """Return the results of a step, its points multiplied by the scale."""
        points, confidence = prediction.points_camera, prediction.confidence
        return cls(
            pose=packed_pose(prediction, state),
            learning_rate=without_batch(prediction.learning_rate),
            points=None if points is None else without_batch(points, scale),
            confidence=None if confidence is None else without_batch(confidence),
            planes=planes,
            descriptor=descriptor_of(prediction) if describes else None,
        )


def packed_pose(prediction: Prediction, state: State) -> Tensor:
    """Return translation, quaternion wxyz and the mean magnitude of the state tokens, (8,).

    The magnitude is NaN if the pose memory is not finite. Otherwise the pose memory does not enter it, since its values
    grow with every frame of a healthy segment.
    """
    # `where` would copy a number to the GPU and wait for it
    level = state.tokens.abs().mean().masked_fill(~torch.isfinite(state.pose_memory).all(), torch.nan)
    return torch.cat([prediction.translation[0], prediction.quaternion[0], level[None]])


def descriptor_of(prediction: Prediction) -> Tensor:
    """Return mean and standard deviation over the image of the encoder's tokens, (2·C_e,) float32."""
    tokens = prediction.trace.encoder_tokens[0].float()
    return torch.cat([tokens.mean(dim=0), tokens.std(dim=0, correction=0)])


def without_batch(batch: Tensor, scale: float = 1.0) -> Tensor:
    """Return the only item (...) of a batch (1, ...), float32, multiplied by the scale."""
    return batch[0].float() if scale == 1.0 else batch[0].float() * scale
