"""Dataclasses as named tensors and JSON values, and back with every type checked.

The fields' annotations are the format: what does not fit them exactly is refused, so that nothing a file says reaches a
place where its kind is not expected. Known are numbers, texts, truth values, ``Literal``, ``None`` beside another kind,
tuples and lists, arrays, tensors (float32) and other dataclasses. Numbers, arrays and tensors must be finite.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor


def flattened(value: Any, path: str = "") -> tuple[Any, dict[str, Tensor]]:
    """Return a dataclass instance as a JSON value and copies of its tensors, which go by the path of their field.

    Raises:
        ValueError: a number, array or tensor in it is not finite.
    """
    tensors: dict[str, Tensor] = {}
    return _flattened(value, path, tensors), tensors


def unflattened(kind: Any, value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the instance of a dataclass that `flattened` was given.

    Args:
        kind: the dataclass.
        value: the JSON value.
        tensors: by path.

    Raises:
        ValueError: they are not what `flattened` makes of such an instance; the message names the field.
    """
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
        tensors[path[1:]] = _checked(tensor.detach().to("cpu", copy=True).contiguous(), path)
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
        tensor = _checked(tensors.pop(path[1:]), path)
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
            raise ValueError(f"{path[1:]} is none of {', '.join(map(repr, arguments))}")
        return value
    if kind is float and type(value) is int and abs(value) < 2**53:
        value = float(value)  # which JSON does not tell apart
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ValueError(f"{path[1:]} is not a {kind.__name__}")
    return value


def _dataclass(kind: Any, value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    if not isinstance(value, dict) or set(value) != set(names):
        raise ValueError(f"{path[1:] or 'the whole'} does not have the fields that it should")
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


def _checked(tensor: Tensor, path: str) -> Tensor:
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{path[1:]} has values that are not finite")
    return tensor
