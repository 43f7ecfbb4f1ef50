"""Loads networks from files and saves them. File content is never executed; any problem is reported in a sentence."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ttt3r_ros.errors import UserError
from ttt3r_ros.model.fingerprint import Fingerprint
from ttt3r_ros.model.network import Network
from ttt3r_ros.weights.contents import check_finite, some
from ttt3r_ros.weights.native_file import DTYPE_NAMES, NativeFile, Progress, read_native, write_native
from ttt3r_ros.weights.published_file import PublishedFile, read_published
from ttt3r_ros.weights.signature import is_published


@dataclass(frozen=True)
class Checkpoint:
    """A weights file that has been loaded.

    Attributes:
        network: ready to run: in evaluation mode, without gradients.
        provenance: where the file says its weights come from: in our format the `provenance` passed to `save_network`,
            for a published file its name as ``{"source": name}``.
        fingerprint: of the values in the file, independent of the network's precision; see `fingerprint`.
    """

    network: Network
    provenance: dict[str, Any]
    fingerprint: str


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    precision: torch.dtype = torch.float32,
    warn: Callable[[str], object] = warnings.warn,
) -> Checkpoint:
    """Load a weights file.

    On a CPU, float32 weights stay memory-mapped: they use page cache, not process memory. A file that may be in use
    must therefore be replaced (as `save_network` does), never modified in place. For any other precision the weights
    are converted one by one, and only those that remain float32 stay mapped.

    Args:
        path: a safetensors file in our format or a published ``.pth``; the content decides which.
        device: the device to put the weights on.
        precision: of the encoder, the decoders and the pose memory (see `Network.set_precision`); heads are float32.
        warn: called with one sentence if the file's configuration sets keywords that this package does not know.

    Raises:
        UserError: the file is missing, unreadable, damaged or of an unknown kind, contains values that are not finite,
            or its tensors are not exactly those of the configuration it names.
    """
    path = Path(path)
    try:
        contents = read_checkpoint(path).contents()
        stored = torch.float32 if precision == torch.int8 else precision
        network = contents.network.set_precision(stored, torch.device(device))
        dtypes = {key: value.dtype for key, value in network.state_dict().items()}
        state, seen = {}, Fingerprint()
        for key, tensor in contents.tensors:
            seen.add(key, tensor)
            state[key] = tensor.to(device).to(dtypes[key]).contiguous()
            check_finite(path, key, state[key])
            contents.let_go()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    network.load_state_dict(state, strict=True, assign=True)
    network.eval().requires_grad_(False)
    if precision != stored:
        network.set_precision(precision)
        contents.let_go()
    if contents.unknown:
        warn(unknown_keywords(path, contents.unknown))
    return Checkpoint(network, contents.provenance, seen.hexdigest())


def load_network(
    path: str | os.PathLike[str], *, device: str | torch.device = "cpu", precision: torch.dtype = torch.float32
) -> tuple[Network, dict[str, Any]]:
    """Return the network in a weights file and its provenance; see `load_checkpoint`."""
    loaded = load_checkpoint(path, device=device, precision=precision)
    return loaded.network, loaded.provenance


def unknown_keywords(path: Path, names: Sequence[str]) -> str:
    """Return the warning about a file whose configuration sets keywords that this package does not know."""
    return (
        f"{path} sets {some(names, 'keyword', 10)} that this package does not know and ignores; all of its tensors "
        "fit, but if one of these keywords changes how the network computes, the results are wrong"
    )


def save_network(
    network: Network,
    path: str | os.PathLike[str],
    *,
    provenance: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> None:
    """Write a network to a safetensors file, completely or not at all, replacing an existing file.

    Args:
        network: on any device.
        path: the file, conventionally ``.safetensors``.
        provenance: plain values that say where the weights come from; conventionally `source`, `sha256` (of the source
            file) and `license` (an SPDX identifier).
        dtype: of the stored values: float32, float16 or bfloat16. Loading converts them back to float32.
        progress: called with (bytes written, total bytes).

    Raises:
        UserError: a weight is not finite in this dtype, or the file cannot be written.
        ValueError: the dtype is not one of these three.
    """
    if dtype not in DTYPE_NAMES:
        raise ValueError(f"weights are stored as float32, float16 or bfloat16, not {dtype}")
    state = network.state_dict()
    write_native(Path(path), network.config, state, provenance=provenance, dtype=dtype, progress=progress)


def read_checkpoint(path: Path) -> PublishedFile | NativeFile:
    """Read the description in a weights file, but no tensor data.

    Raises:
        UserError: the file is damaged or not a weights file.
        OSError: the file cannot be read.
    """
    return read_published(path) if is_published(path) else read_native(path)
