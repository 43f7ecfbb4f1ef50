"""Files to networks and back. No file's content is ever executed; whatever is wrong with one is said in a sentence."""

from __future__ import annotations

import os
import stat
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

_SIGNATURES: dict[bytes, str] = {  # how files that are often given by mistake begin, and what they are
    b"\x80": "a PyTorch file in the legacy format (before PyTorch 1.6); load and save it again with a newer PyTorch",
    b"version https://git-lfs": "a Git LFS pointer, not the file it points to; fetch it with `git lfs pull`",
    b"<": "a web page, perhaps the answer of a failed download; get the weights with `fetch_weights`",
}


@dataclass(frozen=True)
class Checkpoint:
    """A weights file that has been loaded.

    Attributes:
        network: ready to run: evaluation mode, no gradients.
        provenance: what the file says about where its weights come from: for our files the `provenance` given to
            `save_network`, for a published one its name as ``{"source": name}``.
        fingerprint: of the file's values, whatever the network's precision; see `fingerprint`.
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

    On a CPU, float32 weights stay memory-mapped: they cost page cache, not memory of the process. So replace a file
    that may be in use (as `save_network` does); never write into it. Weights of another precision are converted one by
    one, and nothing of the file stays in memory but what is float32 still.

    Args:
        path: a safetensors file of ours or a published ``.pth``, told apart by content.
        device: where the weights go.
        precision: of the encoder, the decoders and the pose memory (see `Network.set_precision`); heads are float32.
        warn: is told in a sentence if the file's configuration sets something that this package does not know.

    Raises:
        UserError: the file is missing, unreadable, damaged, of an unknown kind, holds values that are not finite, or
            does not hold exactly the tensors of the configuration it names.
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
    """Return the network in a weights file and where its weights come from; see `load_checkpoint`."""
    loaded = load_checkpoint(path, device=device, precision=precision)
    return loaded.network, loaded.provenance


def unknown_keywords(path: Path, names: Sequence[str]) -> str:
    """Return the warning about a file whose configuration sets what this package does not know."""
    return (
        f"{path} sets {some(names, 'keyword', 10)} that this package does not know and ignores; every tensor in it has "
        "its place all the same, but if one of them changes how the network computes, the results are wrong"
    )


def save_network(
    network: Network,
    path: str | os.PathLike[str],
    *,
    provenance: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> None:
    """Write a network to a safetensors file, whole or not at all; an existing file is replaced.

    Args:
        network: on any device.
        path: the file, conventionally ``.safetensors``.
        provenance: plain values that say where the weights come from; conventionally `source`, `sha256` (of the source
            file) and `license` (an SPDX identifier).
        dtype: of the stored values: float32, float16 or bfloat16. They are float32 again once loaded.
        progress: called with (bytes done, bytes in total).

    Raises:
        UserError: a weight is not finite in this dtype, or the file cannot be written.
        ValueError: the dtype is not one of the three.
    """
    if dtype not in DTYPE_NAMES:
        raise ValueError(f"weights are stored as float32, float16 or bfloat16, not {dtype}")
    state = network.state_dict()
    write_native(Path(path), network.config, state, provenance=provenance, dtype=dtype, progress=progress)


def read_checkpoint(path: Path) -> PublishedFile | NativeFile:
    """Read what a weights file says about itself; no tensor data yet.

    Raises:
        UserError: it is none, or damaged.
        OSError: it cannot be read.
    """
    return read_published(path) if _is_published(path) else read_native(path)


def _is_published(path: Path) -> bool:
    """Return whether a file is a zip archive, as published checkpoints are, rather than a safetensors file.

    Raises:
        UserError: it is neither, or no file at all.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; get the published weights with `fetch_weights`") from None
    except ValueError as error:  # a NUL in the name
        raise UserError(f"{os.fspath(path)!r} is not a file name") from error
    if not stat.S_ISREG(mode):  # reading a pipe or a device could wait for ever
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise UserError(f"{path} is {kind}; name a .safetensors or .pth file")
    with path.open("rb") as file:
        beginning = file.read(64)
    if not beginning:
        raise UserError(f"{path} is empty; get or convert the weights again")
    if beginning.startswith(b"PK\x03\x04"):
        return True
    if beginning[8:9] == b"{":  # after eight bytes of length, safetensors' header is JSON
        return False
    for signature, kind in _SIGNATURES.items():
        if beginning.lstrip().startswith(signature):
            raise UserError(f"{path} is {kind}")
    raise UserError(f"{path} is neither a safetensors file nor a published .pth checkpoint")
