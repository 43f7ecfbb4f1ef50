"""The numbers of published models, as this device computes them in every precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmark.gpu.findings import Findings
from benchmark.gpu.setting import Setting
from benchmark.parity import GOLDENS, compare


@dataclass(frozen=True)
class Kind:
    """One way to compute.

    Attributes:
        name: in the report.
        dtype: of the network.
        tolerance: largest difference that is expected of any array, of its largest value.
        step_margin: see `compare` [m].
        tf32: whether convolutions may keep 10 bits of their inputs, torch's default on a GPU.
    """

    name: str
    dtype: torch.dtype
    tolerance: float
    step_margin: float
    tf32: bool = True


KINDS = (
    Kind("float32, no TF32", torch.float32, 1e-4, 1e-3, tf32=False),
    Kind("float32", torch.float32, 0.1, 0.05),
    Kind("float16", torch.float16, 3e-2, 0.05),
    Kind("bfloat16", torch.bfloat16, 0.15, 0.3),
)


def measure(setting: Setting, findings: Findings) -> None:
    """Compare every golden in every way."""
    for kind in KINDS:
        for path in (path for path in GOLDENS if path.match(f"{setting.goldens}.npz")):
            name = f"{path.stem} in {kind.name}"
            findings.attempt(name, _compare, path, kind, setting.torch_device, findings)


def _compare(path: Path, kind: Kind, device: torch.device, findings: Findings) -> None:
    with _tf32(allowed=kind.tf32):
        found = compare(path, device=device, precision=kind.dtype, step_margin=kind.step_margin)
    errors = {comparison.name: comparison.error for comparison in found}
    beyond = [name for name, error in errors.items() if not error <= kind.tolerance]  # NaN is beyond
    row = {
        "pose": errors["camera_pose"],
        "points": errors["pts3d_in_self_view"],
        "state": errors["state_after"],
        "largest": max(errors.values()),
        "expected below": kind.tolerance,
        "beyond": ", ".join(beyond) or "none",
    }
    findings.add(f"Largest difference, of the largest value: {kind.name}", {path.stem: row})
    if beyond:
        raise AssertionError(f"{path.stem} in {kind.name}: {', '.join(f'{n} {errors[n]:.2e}' for n in beyond)}")


@contextmanager
def _tf32(*, allowed: bool) -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
