"""Identifies weights without reading all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from ttt3r_ros.model.network import Network

_SAMPLE = 32  #: values from the beginning, the middle and the end of each tensor


class Fingerprint:
    """A digest of tensors' names, shapes and some of their values, built one tensor at a time in any order."""

    def __init__(self, tensors: Iterable[tuple[str, Tensor]] = ()) -> None:
        self._samples: dict[str, bytes] = {}
        for name, tensor in tensors:
            self.add(name, tensor)

    def add(self, name: str, tensor: Tensor) -> None:
        """Add a tensor of any dtype; its values are converted to float32."""
        values, middle = tensor.detach().reshape(-1), tensor.numel() // 2
        sample = torch.cat([values[:_SAMPLE], values[middle : middle + _SAMPLE], values[-_SAMPLE:]])
        self._samples[name] = f"{name}{tuple(tensor.shape)}".encode() + sample.float().cpu().numpy().tobytes()

    def hexdigest(self) -> str:
        """Return 32 hexadecimal digits."""
        return hashlib.sha256(b"".join(sample for _, sample in sorted(self._samples.items()))).hexdigest()[:32]


def fingerprint(network: Network) -> str:
    """Return the fingerprint of a network's weights.

    Training changes every tensor, so different weights have different fingerprints. So do different precisions: compute
    it before lowering the network's precision.
    """
    return Fingerprint(network.state_dict().items()).hexdigest()
