from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from ttt3r_ros.runtime.tensor_tree import cloned, copy_into, layout, mapped, tensors


@dataclass(frozen=True)
class Leaf:
    first: Tensor
    size: tuple[int, int]
    second: Tensor | None = None


@dataclass(frozen=True)
class Branch:
    leaf: Leaf
    pair: tuple[Tensor, Leaf | None]
    name: str = "branch"


def branch(start: int = 0, second: Tensor | None = None) -> Branch:
    a, b = torch.arange(start, start + 6.0).view(2, 3), torch.arange(4)
    return Branch(Leaf(a, (2, 3), second), (b, Leaf(a[1:], (1, 3))))


def test_tensors_come_in_the_order_of_the_fields():
    tree = branch(second=torch.ones(1))
    assert [tensor.shape for tensor in tensors(tree)] == [(2, 3), (1,), (4,), (1, 3)]
    assert tensors((None, 3, "text")) == []


def test_mapping_changes_tensors_and_nothing_else():
    doubled = mapped(branch(), lambda tensor: 2 * tensor)
    assert torch.equal(doubled.leaf.first, 2 * branch().leaf.first)
    assert torch.equal(doubled.pair[0], 2 * branch().pair[0])
    assert (doubled.leaf.size, doubled.leaf.second, doubled.name) == ((2, 3), None, "branch")


def test_trees_of_one_layout_can_be_copied_into_each_other():
    into, source = cloned(branch()), branch(7)
    assert layout(into) == layout(source)
    assert hash(layout(into)) == hash(layout(source))
    copy_into(into, source)
    assert all(torch.equal(a, b) for a, b in zip(tensors(into), tensors(source), strict=True))


@pytest.mark.parametrize(
    "other",
    [
        branch(second=torch.ones(1)),
        mapped(branch(), lambda tensor: tensor.double()),
        mapped(branch(), lambda tensor: tensor[:1]),
        mapped(branch(), lambda tensor: tensor.to("meta")),
        Branch(branch().leaf, (torch.arange(4), None)),
        (branch(),),
    ],
    ids=["one more", "another type", "another shape", "another device", "a part less", "in a tuple"],
)
def test_what_cannot_be_copied_has_another_layout(other):
    assert layout(other) != layout(branch())


def test_a_clone_shares_nothing_with_the_original_but_the_same_with_itself():
    tensor = torch.arange(6.0).view(2, 3)
    original = (tensor, Leaf(tensor, (2, 3), tensor[1:]))
    copy = cloned(original)
    assert copy[0] is copy[1].first
    tensor.zero_()
    assert torch.equal(copy[0], torch.arange(6.0).view(2, 3))
    assert torch.equal(copy[1].second, torch.tensor([[3.0, 4.0, 5.0]]))
