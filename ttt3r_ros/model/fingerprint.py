"""Tells weights apart without reading all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from ttt3r_ros.model.network import Network

_SAMPLE = 32  #: values from the beginning, the middle and the end of each tensor


class Fingerprint:
    """A digest of tensors' names, shapes and some of their values, taken while they pass by in any order."""

    def __init__(self, tensors: Iterable[tuple[str, Tensor]] = ()) -> None:
        self._samples: dict[str, bytes] = {}
        for name, tensor in tensors:
            self.add(name, tensor)

    def add(self, name: str, tensor: Tensor) -> None:
        """Take a tensor in; of any number format, its values count as float32."""
        values, middle = tensor.detach().reshape(-1), tensor.numel() // 2
        sample = torch.cat([values[:_SAMPLE], values[middle : middle + _SAMPLE], values[-_SAMPLE:]])
        self._samples[name] = f"{name}{tuple(tensor.shape)}".encode() + sample.float().cpu().numpy().tobytes()

    def hexdigest(self) -> str:
        """Return 32 hexadecimal digits."""
        return hashlib.sha256(b"".join(sample for _, sample in sorted(self._samples.items()))).hexdigest()[:32]


def fingerprint(network: Network) -> str:
    """Return the fingerprint of a network's weights.

    Training changes every tensor, so that other weights have another one. It is of the values as they are: take it
    before the network's precision is lowered.
    """
    return Fingerprint(network.state_dict().items()).hexdigest()
