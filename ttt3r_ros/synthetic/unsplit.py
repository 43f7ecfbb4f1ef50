"""Runs many small torch operations on one core."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Result = TypeVar("Result")


def run_unsplit(job: Callable[[], Result]) -> Result:
    """Run a job in a thread where torch does not split operations over further threads, and return its result.

    If torch splits them, the threads wait for each other at the end of each of a thousand operations per frame. As soon
    as anything else runs on the machine, that waiting takes most of the time. Several threads with whole jobs do not
    help: they share Python's lock, and an operation is over before the other thread has woken up.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return job()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_use_one_thread).result()
        torch.set_num_threads(threads)  # undo the call's effect on threads that are created later
        return thread.submit(job).result()


def _use_one_thread() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # makes torch apply the number to this thread before the caller restores it
