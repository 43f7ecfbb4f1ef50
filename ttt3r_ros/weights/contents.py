"""The contents of a weights file, and the checks that they are exactly what its configuration describes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    """An open weights file that has passed every check except that of its values.

    Attributes:
        network: built from the file's configuration, without memory (on the meta device).
        tensors: (key, value) for each of its parameters, memory-mapped, of any floating-point dtype.
        provenance: where the file says its weights come from.
        let_go: releases the memory of the tensors read so far; see `MappedFile.let_go`.
        unknown: keywords in the configuration that this package does not know.
    """

    network: Network
    tensors: Iterable[tuple[str, Tensor]]
    provenance: dict[str, Any]
    let_go: Callable[[], None]
    unknown: Sequence[str] = ()


def skeleton(config: NetworkConfig, tensor_count: int) -> Network:
    """Return a network that has shapes but no memory.

    The number of tensors in the file bounds the time that a malicious configuration can take.

    Raises:
        UserError: the configuration needs more tensors than that, or is too large for any computer.
    """
    if max(config.enc_depth, config.dec_depth, config.ray_enc_depth) > tensor_count:
        raise UserError(f"its configuration names more layers than its {tensor_count} tensors can fill")
    try:
        with torch.device("meta"):
            return Network(config)
    except RuntimeError as error:
        raise UserError("its configuration names a network that is too large for any computer") from error


class MismatchError(UserError):
    """A file's tensors do not match its configuration.

    Attributes:
        missing, unexplained, misshapen: keys that the file lacks, keys that it should not have, and keys whose tensors
            have the wrong shape.
    """

    def __init__(self, sentence: str, missing: list[str], unexplained: list[str], misshapen: list[str]) -> None:
        super().__init__(sentence)
        self.missing, self.unexplained, self.misshapen = missing, unexplained, misshapen


def check_tensors(
    path: Path, found: Shapes, expected: Shapes, optional: Shapes | None = None, unknown: Sequence[str] = ()
) -> None:
    """Check that a file contains every expected tensor, possibly optional ones, and nothing else.

    The error also names keywords in its configuration that are unknown to this package.

    Raises:
        MismatchError: naming the first few that are missing, unexplained or of the wrong shape.
    """
    known = {**(optional or {}), **expected}
    missing = sorted(expected.keys() - found.keys())
    unexplained = sorted(found.keys() - known.keys())
    misshapen = sorted(key for key, shape in found.items() if shape != known.get(key, shape))
    if missing:
        sentence = f"lacks {some(missing)} of the configuration it names"
    elif unexplained:
        sentence = f"holds {some(unexplained)} that its configuration does not explain"
    elif misshapen:
        sentence = (
            f"holds {some(misshapen)} whose shape does not fit its configuration; the first is "
            f"{found[misshapen[0]]} instead of {known[misshapen[0]]}"
        )
    else:
        return
    why = f"; its configuration sets {some(unknown, 'keyword', 10)} that this package does not know" if unknown else ""
    raise MismatchError(f"{path} {sentence}{why}", missing, unexplained, misshapen)


def check_finite(path: Path, key: str, tensor: Tensor) -> None:
    """Check that a tensor contains no NaN or infinity, in one pass and without a temporary copy.

    Raises:
        UserError: it contains one.
    """
    if tensor.numel() and not all(torch.isfinite(bound) for bound in tensor.aminmax()):
        dtype = str(tensor.dtype).removeprefix("torch.")
        raise UserError(f"{path}: {key} has values that are NaN or beyond the range of {dtype}")


def some(keys: Iterable[str], kind: str = "tensor", most: int = 3) -> str:
    """Return the number of keys and the first few of them, safe to print on a terminal whatever they contain."""
    names = sorted(keys)
    shown = ", ".join(name if re.fullmatch(r"[\w.]{1,120}", name) else ascii(name)[:120] for name in names[:most])
    return f"{len(names)} {kind}{'s' if len(names) > 1 else ''} ({shown}{', …' if len(names) > most else ''})"
