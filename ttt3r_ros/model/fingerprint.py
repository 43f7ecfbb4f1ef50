"""Tells weights apart without reading all of them."""

from __future__ import annotations

import hashlib

import torch

from ttt3r_ros.model.network import Network

_SAMPLE = 32  #: values from the beginning, the middle and the end of each tensor


def fingerprint(network: Network) -> str:
    """Return a digest of every tensor's name, shape and some of its values, as 32 hexadecimal digits.

    Training changes every tensor, so that other weights have another digest. It is of the values as they are: take it
    before the network's precision is lowered.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        values, middle = tensor.detach().reshape(-1), tensor.numel() // 2
        sample = torch.cat([values[:_SAMPLE], values[middle : middle + _SAMPLE], values[-_SAMPLE:]])
        digest.update(sample.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:32]
