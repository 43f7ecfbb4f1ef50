"""Reads `torch.save` archives as data: objects become inert records, tensors are memory-mapped.

Such an archive is a zip file in which ``data.pkl`` describes the objects and the uncompressed ``data/N`` entries are
the tensors' storages, so a tensor is a view of the file.
"""

from __future__ import annotations

import math
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ttt3r_ros.errors import UserError
from ttt3r_ros.weights.inert_pickle import MAX_BYTES, Inert, Name, PickleError, read_pickle
from ttt3r_ros.weights.mapped_file import MappedFile

_STORAGE_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
}
_DAMAGED = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    EOFError,
    KeyError,
    struct.error,
)
_MAX_DIMENSIONS, _MAX_NUMBER = 64, 2**48  # of a tensor; keeps torch's size arithmetic within 64 bits
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of the name and of the extra field


@dataclass(frozen=True)
class Storage:
    """A storage as the archive describes it; `dtype` is None for dtypes that weights do not use."""

    key: str
    dtype: torch.dtype | None


@dataclass(frozen=True)
class TensorRecord:
    """A tensor as the archive describes it, not yet checked against its storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size in bytes, if it were contiguous."""
        return math.prod(self.shape) * (self.storage.dtype.itemsize if self.storage.dtype else 1)


class TorchArchive:
    """An open `torch.save` archive.

    Attributes:
        mapped: the file.
        root: what was saved, with `TensorRecord` in place of tensors and `Inert` in place of unknown objects.
    """

    def __init__(self, path: Path) -> None:
        """Read the archive's description, but no tensor data.

        Raises:
            UserError: the file is not a complete `torch.save` archive.
        """
        self.path = path
        with path.open("rb") as file:
            try:
                self.mapped = MappedFile(file)
                with zipfile.ZipFile(file) as archive:
                    description = self._read_description(archive)
            except _DAMAGED as error:
                raise self._damaged() from error
        try:
            self.root: Any = read_pickle(description, call=_rebuild, persistent_load=_storage)
        except PickleError as error:
            raise UserError(f"{path} cannot be read: {error}") from error

    def tensor(self, record: TensorRecord, key: str) -> Tensor:
        """Return a tensor as a view of the memory-mapped file; errors name it by its key.

        Raises:
            UserError: the tensor does not lie within its storage, or its storage does not lie within the file.
        """
        dtype = record.storage.dtype
        if dtype is None:
            raise UserError(f"{self.path}: {key} has a data type that weights do not use")
        start, length = self._extent(f"data/{record.storage.key}")
        last = record.offset + sum((side - 1) * step for side, step in zip(record.shape, record.stride, strict=True))
        if (last + 1) * dtype.itemsize > length and record.nbytes:
            raise UserError(f"{self.path}: {key} extends beyond its data, so the file is damaged; get it again")
        if not record.nbytes:
            return torch.empty(record.shape, dtype=dtype)
        flat = self.mapped.values(dtype, start, length // dtype.itemsize)
        return flat.as_strided(record.shape, record.stride, record.offset)

    def _read_description(self, archive: zipfile.ZipFile) -> bytes:
        self._records = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in self._records if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise UserError(f"{self.path} is a zip file, but not one that torch.save wrote")
        self._folder = pickles[0].removesuffix("/data.pkl")
        for small in ("byteorder", "data.pkl"):
            if f"{self._folder}/{small}" in self._records and self._extent(small)[1] > MAX_BYTES:
                raise UserError(f"{self.path} has a table of contents longer than any known checkpoint's")
        if f"{self._folder}/byteorder" in self._records and archive.read(f"{self._folder}/byteorder") != b"little":
            raise UserError(f"{self.path} was written on a big-endian computer; save it again on a little-endian one")
        return archive.read(f"{self._folder}/data.pkl")

    def _extent(self, record: str) -> tuple[int, int]:
        """Return where a record's bytes lie in the file: (start, length)."""
        info = self._records.get(f"{self._folder}/{record}")
        if info is None:
            raise UserError(f"{self.path} lacks some of its data, so it is damaged; get or save it again")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise UserError(f"{self.path} is a compressed or encrypted archive, which torch.save does not write")
        header = self.mapped.read(max(info.header_offset, 0), _LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size:
            raise self._damaged()
        signature, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
        if info.header_offset < 0 or signature != b"PK\x03\x04" or start + info.file_size > self.mapped.size:
            raise self._damaged()
        return start, info.file_size

    def _damaged(self) -> UserError:
        return UserError(f"{self.path} is truncated or damaged; get or save it again")


def _storage(identity: object) -> Storage:
    """Return the substitute for a persistent id ``('storage', <type>, key, location, length)``."""
    match identity:
        case ("storage", Name(name=kind), str(key), *_):
            return Storage(key, _STORAGE_DTYPES.get(kind))
    raise PickleError("its table of contents refers to its data in an unknown way")


def _rebuild(maker: object, arguments: object) -> object:
    """Return the substitute for a call: tensors, parameters and ordered dicts as such, everything else inert."""
    match maker, arguments:
        case Name(module="collections", name="OrderedDict"), ():
            return {}
        case (
            Name(module="torch._utils", name="_rebuild_tensor_v2" | "_rebuild_tensor"),
            (Storage() as storage, int(offset), tuple(shape), tuple(stride), *_),
        ):
            numbers = (offset, *shape, *stride)
            if (
                not len(shape) == len(stride) <= _MAX_DIMENSIONS
                or not all(type(n) is int and 0 <= n < _MAX_NUMBER for n in numbers)
                or math.prod(max(side, 1) for side in shape) >= _MAX_NUMBER
            ):
                raise PickleError("it describes a tensor of an impossible size")
            return TensorRecord(storage, offset, shape, stride)
        case (
            Name(module="torch._utils", name="_rebuild_parameter" | "_rebuild_parameter_with_state"),
            (TensorRecord() as record, *_),
        ):
            return record
        case Name(module="torch._tensor", name="_rebuild_from_type_v2"), (
            Name() as inner,
            _,
            tuple(inner_arguments),
            *_,
        ):
            return _rebuild(inner, inner_arguments)  # a tensor with attributes
    return Inert(maker, arguments)
