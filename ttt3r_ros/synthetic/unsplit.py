"""Running many small torch operations on one core."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Result = TypeVar("Result")


def run_unsplit(job: Callable[[], Result]) -> Result:
    """Run a job in a thread where torch does not split operations over further threads, and return its result.

    Split, each of a thousand operations a frame ends with threads waiting for each other; as soon as anything else
    runs on the machine, most of the time goes into that. (Several such threads would not help: they take turns with
    Python's lock, and an operation is over before the other thread has woken up.)
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return job()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_use_one_thread).result()
        torch.set_num_threads(threads)  # the call in there was also for every thread yet to be born: take that back
        return thread.submit(job).result()


def _use_one_thread() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # makes torch take note in this thread now, before the number is taken back
