"""How long work takes on a device: for the host, until it is done, and on the device alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

#: Turns that every variant takes at least, whatever the clock says.
MIN_ROUNDS = 3


@dataclass(frozen=True)
class Sample:
    """Milliseconds of one call.

    Attributes:
        host: until the call returned; on a GPU the work may go on after that.
        wall: until the work was done.
        device: between two events on the device around the work; NaN on a CPU.
    """

    host: float
    wall: float
    device: float


def timed(work: Callable[[], object], device: torch.device) -> Sample:
    """Return how long a call takes."""
    if device.type != "cuda":
        begun = time.perf_counter()
        work()
        spent = 1e3 * (time.perf_counter() - begun)
        return Sample(spent, spent, float("nan"))
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # untyped in torch
    torch.cuda.synchronize(device)
    begun = time.perf_counter()
    with torch.cuda.device(device):
        before.record()
        work()
        after.record()
    returned = time.perf_counter()
    torch.cuda.synchronize(device)
    done = time.perf_counter()
    return Sample(1e3 * (returned - begun), 1e3 * (done - begun), before.elapsed_time(after))


def in_turns(
    variants: Mapping[str, Callable[[], object]], device: torch.device, *, rounds: int, seconds: float
) -> dict[str, list[Sample]]:
    """Time variants of the same work, one call of each in every round, so that their ratios hold where a clock drifts.

    They must have been warmed up.

    Args:
        variants: name and work of each.
        device: that they run on.
        rounds: at most.
        seconds: after which no further round begins; `MIN_ROUNDS` are made all the same.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in variants}
    end = time.monotonic() + seconds
    for done in range(rounds):
        if done >= MIN_ROUNDS and time.monotonic() > end:
            break
        for name, work in variants.items():
            samples[name].append(timed(work, device))
    return samples


def spread(values: npt.ArrayLike) -> dict[str, float]:
    """Return median, quartiles, 95th percentile and number of some values."""
    q1, median, q3, p95 = np.percentile(np.asarray(values, dtype=np.float64), [25, 50, 75, 95])
    return {"median": float(median), "q1": float(q1), "q3": float(q3), "p95": float(p95), "n": np.size(values)}


def figures(samples: Sequence[Sample], reference: Sequence[Sample] | None = None) -> dict[str, object]:
    """Return the spreads of some samples, and how many times as long the reference took in the same round."""
    found: dict[str, object] = {"ms": spread([sample.wall for sample in samples])}
    if np.isfinite(samples[0].device):
        found["on the device [ms]"] = spread([sample.device for sample in samples])
        found["host busy [ms]"] = spread([sample.host for sample in samples])
    if reference is not None:
        found["naive / this"] = spread([b.wall / a.wall for a, b in zip(samples, reference, strict=True)])
    return found
