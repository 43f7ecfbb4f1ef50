"""Transfers between host and GPU that keep the host from waiting."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ttt3r_ros.runtime.tensor_tree import mapped, tensors

Tree = TypeVar("Tree")


def shared(array: npt.NDArray[np.uint8]) -> Tensor:
    """Return an array as a tensor that shares its memory, unless it is read-only or not contiguous."""
    return torch.from_numpy(np.require(array, requirements=("C", "W")))


def upload(array: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return an array on a device. The transfer to a GPU is asynchronous, but the array may be changed at once."""
    tensor = shared(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # a copy, which the GPU reads on its own
    return tensor.to(device, non_blocking=True)


def download(tree: Tree) -> Tree:
    """Return a tree of tensors on the host, waiting once for all of them; tensors already on the host are not copied.

    Tensors from a GPU arrive in pinned memory, which stays pinned as long as they live.
    """
    remote = next((tensor for tensor in tensors(tree) if tensor.is_cuda), None)
    if remote is None:
        return mapped(tree, Tensor.cpu)
    local = mapped(tree, _on_its_way)
    torch.cuda.current_stream(remote.device).synchronize()
    return local


def _on_its_way(tensor: Tensor) -> Tensor:
    if not tensor.is_cuda:
        return tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
