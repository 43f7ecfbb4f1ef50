"""Linear layers in the lower precisions that a processor computes fast.

GPUs, and CPUs with matrix units, compute in half precision. On other CPUs, oneDNN's half-precision products are no
faster than float32's, or half as fast (docs/adr/0014), so only the weights are stored in half precision there. On 8-bit
integers, a CPU with VNNI instructions is about four times as fast as in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ttt3r_ros.errors import UserError
from ttt3r_ros.model.layers import CrossAttention, Linear

_ZERO = 128  #: zero point of the unsigned 8-bit inputs
_MAX_MAGNITUDE = 127  #: of an 8-bit weight or input


def computes_in(dtype: torch.dtype, device: torch.device) -> bool:
    """Return whether this device multiplies matrices of this dtype faster than float32 ones, or it is float32."""
    if dtype == torch.float32 or device.type != "cpu":
        return True
    return bool(_capabilities().get({torch.bfloat16: "amx_bf16", torch.float16: "amx_fp16"}[dtype], False))


def store_linears(part: nn.Module, dtype: torch.dtype) -> None:
    """Store the weights of a float32 part's linear layers in this dtype; the layers still compute in float32."""
    for layer in part.modules():
        if isinstance(layer, Linear):
            layer.to(dtype)


def quantize_linears(part: nn.Module) -> None:
    """Replace a float32 part's linear layers by 8-bit integer ones; a second call changes nothing.

    Cross-attention keeps float32: in integers, its layers cost the small weights 2 percent of trajectory accuracy
    (docs/adr/0014), since they exchange information between state and image and set the learning rate.

    Raises:
        UserError: this computer has no fast 8-bit arithmetic.
    """
    for owner in list(part.modules()):
        if isinstance(owner, CrossAttention):
            continue
        for name, layer in owner.named_children():
            if isinstance(layer, Linear):
                setattr(owner, name, Int8Linear(layer))


class Int8Linear(nn.Module):
    """A linear layer with 8-bit integer weights and inputs; CPU only.

    Weights have one scale per output channel. Inputs have one per token, computed from the token, so that nothing needs
    calibration.
    """

    def __init__(self, linear: nn.Linear) -> None:
        """Quantize a layer.

        Raises:
            UserError: see `quantize_linears`.
        """
        super().__init__()
        _check_able(linear.weight.device)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()
        scale = (weight.abs().amax(dim=1) / _MAX_MAGNITUDE).clamp(min=torch.finfo(torch.float32).tiny)
        integers = (weight / scale[:, None]).round_().to(torch.int8)
        # oneDNN's own weight layout: an opaque tensor, which no buffer can hold
        self._packed: Tensor = torch.ops.onednn.qlinear_prepack(integers, None)
        self._zero = torch.zeros(len(scale), dtype=torch.int64)
        self.scale = nn.Buffer(scale, persistent=False)
        self.bias = nn.Buffer(linear.bias.detach().float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out), both float32."""
        largest = torch.maximum(x.amax(dim=-1, keepdim=True), -x.amin(dim=-1, keepdim=True))
        scale = (largest / _MAX_MAGNITUDE).clamp(min=torch.finfo(torch.float32).tiny)
        # the conversion to integers truncates, hence the + 0.5
        integers = torch.addcmul(x.new_tensor(_ZERO + 0.5), x, 1 / scale).to(torch.uint8)
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            integers, 1.0, _ZERO, self._packed, self.scale, self._zero, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return torch.addcmul(self.bias, product, scale, out=product)


def _capabilities() -> Mapping[str, Any]:
    """Return this processor's capabilities by name; empty if torch is too old to report them (2.6 is)."""
    return torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}


def _check_able(device: torch.device) -> None:
    able = _capabilities()
    if device.type != "cpu" or not (able.get("avx512_vnni") or able.get("avx_vnni") or able.get("amx_int8")):
        raise UserError(
            "precision int8 needs an x86 CPU with VNNI instructions (made since about 2020), and a torch that detects "
            "them (2.11 does); choose float32 on another CPU and bfloat16 on a GPU"
        )
