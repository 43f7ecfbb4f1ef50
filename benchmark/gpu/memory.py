"""How much memory work takes, on a GPU and of the host."""

from __future__ import annotations

import gc
import resource
from pathlib import Path

import torch

MB = 1e6


def reset_peak(device: torch.device) -> None:
    """Let what is given back go, and count the peak from here."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> dict[str, float]:
    """Return the peak since `reset_peak` [MB]: what tensors took, and what torch had reserved for them.

    On a CPU it is the process's, since it began.
    """
    if device.type == "cuda":
        return {
            "peak [MB]": torch.cuda.max_memory_allocated(device) / MB,
            "peak reserved [MB]": torch.cuda.max_memory_reserved(device) / MB,
        }
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB
    return {"peak [MB]": process, "peak reserved [MB]": process}


def in_use(device: torch.device) -> tuple[float, float, float]:
    """Return what is allocated and reserved on the device, and what the process holds of the host [MB]."""
    host = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / MB
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / MB, torch.cuda.memory_reserved(device) / MB, host
    return host, host, host
