"""Our own weights format: safetensors with the configuration, the provenance and a checksum in the metadata.

Reading uses the safetensors library. Writing does not, because the library stores no checksum, reports no progress and
cannot convert the dtype while writing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ttt3r_ros.errors import UserError, command
from ttt3r_ros.model.config import LATER, NetworkConfig
from ttt3r_ros.serialize import safetensors_header
from ttt3r_ros.weights.contents import Contents, check_finite, check_tensors, skeleton
from ttt3r_ros.weights.mapped_file import MappedFile

FORMAT_VERSION = 1
DTYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_VERSION, _CONFIG, _PROVENANCE, _CHECKSUM = "ttt3r_ros_format", "config", "provenance", "data_sha256"
_NO_CHECKSUM = "0" * 64
_CHUNK = 2**22  # bytes

Progress = Callable[[int, int], None]  #: (bytes done, bytes in total)


@dataclass(frozen=True)
class NativeFile:
    """The description in a file of our own format.

    Attributes:
        config: of the network in it.
        provenance: where the weights come from and their license, as plain values.
        shapes: of its tensors, by our parameter names.
        dtypes: those of `DTYPE_NAMES` that occur in it.
        checksum: sha256 of the tensors' bytes, hexadecimal; empty if the file has none.
        places: dtype and offset [bytes] of each tensor.
    """

    path: Path
    config: NetworkConfig
    provenance: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    dtypes: frozenset[torch.dtype]
    checksum: str
    places: dict[str, tuple[torch.dtype, int]]

    def contents(self) -> Contents:
        """Open the tensors, memory-mapped.

        Raises:
            UserError: the tensors are not exactly those of the configuration.
        """
        try:
            network = skeleton(self.config, len(self.shapes))
        except UserError as error:
            raise UserError(f"{self.path} cannot be used: {error}") from error
        check_tensors(self.path, self.shapes, {key: tuple(value.shape) for key, value in network.state_dict().items()})
        with self.path.open("rb") as file:
            mapped = MappedFile(file)

        def tensors() -> Iterator[tuple[str, Tensor]]:
            for key, shape in self.shapes.items():
                yield key, mapped.values(*self.places[key], math.prod(shape)).view(shape)

        return Contents(network, tensors(), self.provenance, mapped.let_go)

    def is_intact(self, progress: Progress | None = None) -> bool:
        """Read the whole file and return whether its data matches its checksum."""
        digest, size = hashlib.sha256(), self.path.stat().st_size
        with self.path.open("rb") as file:
            file.seek(8 + int.from_bytes(file.read(8), "little"))
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                if progress:
                    progress(file.tell(), size)
        return digest.hexdigest() == self.checksum


def read_native(path: Path) -> NativeFile:
    """Read the description in a file of our own format, but no tensor data.

    Raises:
        UserError: the file is damaged, or was not written by this package, or by a newer version of it.
    """
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
            shapes = {key: tuple(part.get_shape()) for key, part in slices.items()}
            names = {key: part.get_dtype() for key, part in slices.items()}
        with path.open("rb") as opened:  # the library has validated the header but does not expose tensor offsets
            beginning = 8 + int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(beginning - 8))
            starts = {key: beginning + header[key]["data_offsets"][0] for key in shapes}
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(f"{path} is a truncated or damaged safetensors file; get or convert it again") from error
    if _VERSION not in metadata:
        raise UserError(
            f"{path} is a safetensors file without this package's metadata; convert the published .pth with "
            f"`{command('fetch_weights')} --convert`"
        )
    version = metadata[_VERSION]
    if version != str(FORMAT_VERSION):
        raise UserError(
            f"{path} has format version {version[:20]!r} but this ttt3r_ros reads version {FORMAT_VERSION}; update "
            "ttt3r_ros or convert the weights again"
        )
    dtypes = {name: dtype for dtype, name in DTYPE_NAMES.items()}
    if not dtypes.keys() >= set(names.values()):
        kinds = ", ".join(sorted(set(names.values())))
        raise UserError(f"{path} stores weights as {kinds}; only F32, F16 and BF16 are supported")
    places = {key: (dtypes[name], starts[key]) for key, name in names.items()}
    try:
        config, provenance = json.loads(metadata[_CONFIG]), json.loads(metadata[_PROVENANCE])
        entries = {field.name for field in fields(NetworkConfig)}
        if not (isinstance(provenance, dict) and entries - LATER.keys() <= set(config) <= entries):
            raise ValueError("an entry is missing or unknown")
        network = NetworkConfig.from_dict(config)
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} has damaged metadata; get or convert it again") from error
    except UserError as error:
        raise UserError(f"{path} cannot be used: {error}") from error
    found = frozenset(dtype for dtype, _ in places.values())
    return NativeFile(path, network, provenance, shapes, found, metadata.get(_CHECKSUM, ""), places)


def write_native(
    path: Path,
    config: NetworkConfig,
    tensors: Mapping[str, Tensor],
    *,
    provenance: Mapping[str, Any],
    dtype: torch.dtype,
    progress: Progress | None = None,
) -> None:
    """Write a file in our own format, completely or not at all, with at most one tensor in memory at a time.

    Raises:
        UserError: a value is not finite (in this dtype), or the file cannot be written.
    """
    metadata = {
        _CHECKSUM: _NO_CHECKSUM,  # placeholder until the data is written; must come first
        "format": "pt",
        _VERSION: str(FORMAT_VERSION),
        _CONFIG: json.dumps(config.to_dict()),
        _PROVENANCE: json.dumps(dict(provenance)),
    }
    header = safetensors_header(metadata, ((key, tensor.shape, dtype) for key, tensor in tensors.items()))
    size = sum(tensor.numel() for tensor in tensors.values()) * dtype.itemsize
    digest, done = hashlib.sha256(), 0
    with _replacing(path) as file:
        file.write(header)
        for key, tensor in tensors.items():
            stored = tensor.detach().to("cpu", dtype).contiguous()
            check_finite(path, key, stored)
            data = stored.reshape(-1).view(torch.uint8).numpy().data
            digest.update(data)
            file.write(data)
            done += len(data)
            if progress:
                progress(done, size)
        file.seek(header.index(_NO_CHECKSUM.encode()))
        file.write(digest.hexdigest().encode())


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its final name only once it is complete and on the disk."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with unfinished.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
