"""Saves trees of dataclasses to files, and loads them with every type checked.

The fields' annotations define the format: any value that does not match its annotation exactly is refused. Numbers,
strings, booleans, ``Literal``, optional values, tuples, lists, arrays, tensors (float32) and other dataclasses are
supported. Numbers must be finite, and so must arrays and tensors unless the caller allows NaN.

A file is in safetensors format: the tensors, and in the metadata the plain values, what they belong to, and a checksum.
Nothing in it is executed, and everything is checked before use.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from ttt3r_ros.errors import UserError, quoted

Tree = TypeVar("Tree")

_BELONGS_TO, _VALUES, _CHECKSUM = "belongs_to", "values", "sha256"


@dataclass(frozen=True)
class FileFormat(Generic[Tree]):
    """A kind of file.

    Attributes:
        tree: the dataclass that it stores.
        key: metadata key that identifies this kind of file.
        version: files of any other version are refused.
        noun: what messages call such a file, with an article.
        remedy: what to do about a file that cannot be used, for messages.
        allows_nan: whether arrays and tensors may contain values that are not finite.
    """

    tree: type[Tree]
    key: str
    version: int
    noun: str
    remedy: str
    allows_nan: bool = False

    def to_bytes(self, tree: Tree, belongs_to: Mapping[str, Any] | None = None) -> bytes:
        """Return the content of a file; see `to_parts`."""
        return b"".join(self.to_parts(tree, belongs_to))

    def to_parts(self, tree: Tree, belongs_to: Mapping[str, Any] | None = None) -> list[memoryview]:
        """Return the content of a file, one part after the other; half-precision tensors become float32.

        Large parts are neither copied nor converted while the interpreter is locked, so that other threads go on.

        Args:
            tree: the data to store.
            belongs_to: plain values that a reader compares with its own.

        Raises:
            ValueError: a number in the tree is not finite.
        """
        values, tensors = flattened(tree, allows_nan=self.allows_nan)
        text = json.dumps(values, allow_nan=False)
        tensors = {n: t.float() if t.dtype in (torch.bfloat16, torch.float16) else t for n, t in tensors.items()}
        metadata = {
            self.key: str(self.version),
            _BELONGS_TO: json.dumps(dict(belongs_to or {})),
            _VALUES: text,
            _CHECKSUM: checksum(text, tensors),
        }
        return _file_parts(tensors, metadata)

    def from_bytes(self, data: bytes, name: str) -> tuple[Tree, dict[str, Any]]:
        """Return the tree in the content of a file, which messages call by its name, and what it belongs to.

        Raises:
            UserError: the file is of another kind or version, or damaged.
        """
        metadata = self._metadata(data, name)
        if metadata[self.key] != str(self.version):
            raise UserError(
                f"{name} has format version {quoted(metadata[self.key], 20)} but this ttt3r_ros reads version "
                f"{self.version}; {self.remedy}"
            )
        try:
            text, belongs_to, tensors = metadata[_VALUES], json.loads(metadata[_BELONGS_TO]), load(data)
            if metadata[_CHECKSUM] != checksum(text, tensors) or not isinstance(belongs_to, dict):
                raise ValueError("its checksum is wrong")
            tree = unflattened(self.tree, json.loads(text), tensors, allows_nan=self.allows_nan)
        except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise self.damaged(name) from error
        return tree, belongs_to

    def read(self, path: Path) -> Tree:
        """Return the tree in a file.

        Raises:
            UserError: the file cannot be read, is of another kind or version, or damaged.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); {self.remedy}") from None
        return self.from_bytes(data, str(path))[0]

    def damaged(self, name: str) -> UserError:
        """Return the error to raise for a file with invalid content."""
        return UserError(f"{name} is damaged; {self.remedy}")

    def _metadata(self, data: bytes, name: str) -> dict[str, str]:
        """Check that a file is complete and of this kind, and return its metadata."""
        start = 8 + int.from_bytes(data[:8], "little")
        if data[8:9] != b"{":
            raise UserError(f"{name} is not {self.noun}")
        try:
            header = json.loads(data[8:start])
            metadata = header.pop("__metadata__", {})
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
            if len(data) != start + end or not all(isinstance(text, str) for text in metadata.values()):
                raise ValueError("its length is wrong")
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise UserError(f"{name} is truncated or damaged; {self.remedy}") from error
        if self.key not in metadata:
            content = "weights" if "ttt3r_ros_format" in metadata else "something else"
            raise UserError(f"{name} is a safetensors file, but it contains {content}, not {self.noun}")
        return dict(metadata)


def flattened(value: Any, path: str = "", *, allows_nan: bool = False) -> tuple[Any, dict[str, Tensor]]:
    """Return a dataclass instance as a JSON value and copies of its tensors, by the path of their field.

    Raises:
        ValueError: a number in it is not finite, or an array or tensor is not finite and NaN is not allowed.
    """
    tensors: dict[str, Tensor] = {}
    values = _flattened(value, path, tensors)
    if not allows_nan:
        _check_finite(tensors)
    return values, tensors


def unflattened(kind: Any, value: Any, tensors: Mapping[str, Tensor], *, allows_nan: bool = False) -> Any:
    """Return the instance of a dataclass that `flattened` converted to a JSON value and tensors by path.

    Raises:
        ValueError: the values cannot be the output of `flattened` for such an instance; the message names the field.
    """
    if not allows_nan:
        _check_finite(tensors)
    unused = dict(tensors)
    made = _unflattened(kind, value, "", unused)
    if unused:
        raise ValueError(f"{min(unused)[:60]!r} is unknown")
    return made


def _flattened(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: _flattened(getattr(value, name), f"{path}.{name}", tensors) for name in names}
    if isinstance(value, (tuple, list)):
        return [_flattened(item, f"{path}.{index}", tensors) for index, item in enumerate(value)]
    if isinstance(value, (np.ndarray, Tensor)):
        tensor = torch.from_numpy(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value
        tensors[path[1:]] = tensor.detach().to("cpu", copy=True).contiguous()
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path[1:]} is not a finite number")
    return value


def _unflattened(kind: Any, value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        (kind,) = (option for option in arguments if option is not types.NoneType)
        if value is None and path[1:] not in tensors:
            return None
        return _unflattened(kind, value, path, tensors)
    if kind is Tensor or origin is np.ndarray:
        if path[1:] not in tensors:
            raise ValueError(f"{path[1:]} is missing")
        tensor = tensors.pop(path[1:])
        wanted = np.dtype(get_args(arguments[1])[0]) if arguments else np.dtype(np.float32)
        array = tensor.numpy() if tensor.dtype != torch.bfloat16 else None
        if value is not None or array is None or array.dtype != wanted:
            raise ValueError(f"{path[1:]} is not an array of {wanted}")
        return tensor if kind is Tensor else array
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, path, tensors)
    if origin in (tuple, list):
        return _sequence(origin, arguments, value, path, tensors)
    if origin is Literal:
        if type(value) is not type(arguments[0]) or value not in arguments:
            raise ValueError(f"{path[1:]} is not one of {', '.join(map(repr, arguments))}")
        return value
    if kind is float and type(value) is int and abs(value) < 2**53:
        value = float(value)  # JSON does not distinguish them
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ValueError(f"{path[1:]} is not a {kind.__name__}")
    return value


def _dataclass(kind: Any, value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    if not isinstance(value, dict) or set(value) != set(names):
        raise ValueError(f"{path[1:] or 'the whole'} has missing or unknown fields")
    return kind(**{name: _unflattened(hints[name], value[name], f"{path}.{name}", tensors) for name in names})


def _sequence(origin: type, arguments: tuple[Any, ...], value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, list):
        raise ValueError(f"{path[1:]} is not a list")
    of_any_length = origin is list or arguments[-1] is Ellipsis
    kinds = [arguments[0]] * len(value) if of_any_length else list(arguments)
    if len(kinds) != len(value):
        raise ValueError(f"{path[1:]} has {len(value)} items instead of {len(kinds)}")
    return origin(
        _unflattened(kind, item, f"{path}.{index}", tensors)
        for index, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    for path, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{path} has values that are not finite")


def checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a tree's plain values, as text, and of its tensors."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(_memory(tensors[name]))
    return digest.hexdigest()


def safetensors_header(metadata: Mapping[str, str], tensors: Iterable[tuple[str, Sequence[int], torch.dtype]]) -> bytes:
    """Return what a safetensors file begins with, up to the first tensor: the length of the JSON text, and that.

    Args:
        metadata: comes first, in this order.
        tensors: name, shape and type of each tensor, in the order of their bytes, which follow without gaps.
    """
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, shape, dtype in tensors:
        start, end = end, end + math.prod(shape) * dtype.itemsize
        entries[name] = {"dtype": _DTYPES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


#: How safetensors calls the types of tensors that are stored.
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def _file_parts(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> list[memoryview]:
    """Return a safetensors file: the header's length, the header, and the tensors, those of large numbers first."""
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # so that all are aligned
    entries = ((name, tensors[name].shape, tensors[name].dtype) for name in names)
    return [memoryview(safetensors_header(metadata, entries)), *(_memory(tensors[name]) for name in names)]


def _memory(tensor: Tensor) -> memoryview:
    return memoryview(tensor.flatten().view(torch.uint8).numpy()) if tensor.numel() else memoryview(b"")  # type: ignore[arg-type]
