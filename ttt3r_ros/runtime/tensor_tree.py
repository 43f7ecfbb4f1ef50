"""Operations on trees: nested dataclasses and tuples of tensors.

Other leaves (None, numbers, strings) belong to the tree's structure and stay unchanged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from torch import Tensor

Tree = TypeVar("Tree")


def tensors(tree: object) -> list[Tensor]:
    """Return the tensors of a tree in the order of its fields."""
    if isinstance(tree, Tensor):
        return [tree]
    return [tensor for part in _parts(tree) for tensor in tensors(part)]


def mapped(tree: Tree, change: Callable[[Tensor], Tensor]) -> Tree:
    """Return the tree with `change` applied to every tensor."""
    return _mapped(tree, change)  # type: ignore[no-any-return]


def layout(tree: object) -> Hashable:
    """Return a key that is equal for two trees if the tensors of one can be copied into those of the other."""
    if isinstance(tree, Tensor):
        return tuple(tree.shape), tree.dtype, tree.device
    parts = _parts(tree)
    return (type(tree), *map(layout, parts)) if parts else tree


def copy_into(target: object, source: object) -> None:
    """Copy a tree's tensors into those of another tree with the same layout."""
    for into, tensor in zip(tensors(target), tensors(source), strict=True):
        into.copy_(tensor)


def cloned(tree: Tree) -> Tree:
    """Return a copy that shares no memory with the tree; a tensor that occurs twice is copied once."""
    copies: dict[Hashable, Tensor] = {}

    def clone(tensor: Tensor) -> Tensor:
        place = tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype
        if place not in copies:
            copies[place] = tensor.clone()
        return copies[place]

    return mapped(tree, clone)


def _mapped(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, tuple):
        return tuple(_mapped(part, change) for part in tree)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        names = [field.name for field in dataclasses.fields(tree)]
        return dataclasses.replace(tree, **{name: _mapped(getattr(tree, name), change) for name in names})
    return tree


def _parts(tree: object) -> tuple[object, ...]:
    if isinstance(tree, tuple):
        return tree
    if dataclasses.is_dataclass(tree):
        return tuple(getattr(tree, field.name) for field in dataclasses.fields(tree))
    return ()
