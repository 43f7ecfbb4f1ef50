"""How long something takes on a device."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def timed(work: Callable[[], Result], device: torch.device) -> tuple[Result, float]:
    """Return a call's result and the seconds it took, on a GPU until it has finished there."""
    clock = time.thread_time if _is_one_thread(device) else time.perf_counter
    _wait(device)
    begun = clock()
    result = work()
    _wait(device)
    return result, clock() - begun


def _is_one_thread(device: torch.device) -> bool:
    return device.type == "cpu" and torch.get_num_threads() == 1


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
