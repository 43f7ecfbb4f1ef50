"""What a weights file holds, and the checks that it is exactly what its configuration says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ttt3r_ros.errors import UserError
from ttt3r_ros.model.config import NetworkConfig
from ttt3r_ros.model.network import Network

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Contents:
    """An open weights file that has passed every check but that of its values.

    Attributes:
        network: of the file's configuration, without memory (on the meta device).
        tensors: (key, value) for every parameter of it, memory-mapped, of any floating dtype.
        provenance: what the file says about where its weights come from.
    """

    network: Network
    tensors: Iterable[tuple[str, Tensor]]
    provenance: dict[str, Any]


def skeleton(config: NetworkConfig, tensor_count: int) -> Network:
    """Return a network that has shapes but no memory.

    Args:
        config: its configuration.
        tensor_count: tensors at hand to fill it; bounds the time a hostile configuration can take.

    Raises:
        UserError: the configuration cannot be that of so many tensors, or is too large for any computer.
    """
    if max(config.enc_depth, config.dec_depth, config.ray_enc_depth) > tensor_count:
        raise UserError(f"its configuration names more layers than its {tensor_count} tensors can fill")
    try:
        with torch.device("meta"):
            return Network(config)
    except RuntimeError as error:
        raise UserError("its configuration names a network that is too large for any computer") from error


def check_tensors(path: Path, found: Shapes, expected: Shapes, optional: Shapes | None = None) -> None:
    """Check that a file holds every expected tensor, perhaps the optional ones, and nothing else.

    Raises:
        UserError: naming the first few that are missing, unexplained or of the wrong shape.
    """
    known = {**(optional or {}), **expected}
    missing = expected.keys() - found.keys()
    if missing:
        raise UserError(f"{path} lacks {_some(missing)} of the configuration it names")
    unexplained = found.keys() - known.keys()
    if unexplained:
        raise UserError(f"{path} holds {_some(unexplained)} that its configuration does not explain")
    wrong = sorted(key for key, shape in found.items() if shape != known[key])
    if wrong:
        raise UserError(
            f"{path} holds {_some(wrong)} whose shape does not fit its configuration; the first is "
            f"{found[wrong[0]]} instead of {known[wrong[0]]}"
        )


def check_finite(path: Path, key: str, tensor: Tensor) -> None:
    """Check that a tensor holds no NaN or infinity, in one pass and without a temporary.

    Raises:
        UserError: it does.
    """
    if tensor.numel() and not all(torch.isfinite(bound) for bound in tensor.aminmax()):
        dtype = str(tensor.dtype).removeprefix("torch.")
        raise UserError(f"{path}: {key} has values that are NaN or beyond the range of {dtype}")


def _some(keys: Iterable[str]) -> str:
    """Return the number of keys and the first few, fit for a terminal whatever a file calls its tensors."""
    names = sorted(keys)
    shown = ", ".join(name if re.fullmatch(r"[\w.]{1,120}", name) else ascii(name)[:120] for name in names[:3])
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''} ({shown}{', …' if len(names) > 3 else ''})"
