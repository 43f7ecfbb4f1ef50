"""How many rendered frames a device has room for."""

from __future__ import annotations

from pathlib import Path

import torch

#: Of the free memory: the rest is for the network's activations, and for others.
_SHARE = {"cuda": 0.5, "cpu": 0.25}


def frames_that_fit(frame_bytes: int, device: torch.device) -> int:
    """Return how many frames of this size may be kept on a device, at least one."""
    free = _free_on_gpu(device) if device.type == "cuda" else _free_on_host()
    return max(1, int(_SHARE[device.type] * free) // frame_bytes)


def _free_on_gpu(device: torch.device) -> int:
    """Return the bytes that are free, or held by torch for nothing: the last stage's frames, for one."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _free_on_host() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
