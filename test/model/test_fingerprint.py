from __future__ import annotations

import string
from collections import OrderedDict

import pytest
import torch
from rule_weights import TINY, rule_network
from torch.nn import ParameterDict

from ttt3r_ros.model.fingerprint import fingerprint


def of(**tensors: torch.Tensor) -> str:
    return fingerprint(ParameterDict(OrderedDict(tensors)))  # an ordinary dict would be sorted


def test_equal_weights_have_one_fingerprint_of_32_hexadecimal_digits():
    network = rule_network(TINY)
    found = fingerprint(network)
    assert len(found) == 32
    assert set(found) <= set(string.hexdigits.lower())
    assert fingerprint(rule_network(TINY)) == found
    assert fingerprint(network.train().requires_grad_(True)) == found


@pytest.mark.slow
def test_a_change_of_any_tensor_is_another_network():
    network = rule_network(TINY)
    seen = {fingerprint(network)}
    for tensor in network.state_dict().values():
        tensor.view(-1)[0] += 1
        seen.add(fingerprint(network))
    assert len(seen) == 1 + len(network.state_dict())


@pytest.mark.parametrize("at", [0, 31, 500, 531, 968, 999])
def test_the_beginning_the_middle_and_the_end_of_a_tensor_count(at):
    values = torch.arange(1000.0)
    before = of(a=values)
    values[at] += 0.5
    assert of(a=values) != before


def test_names_and_shapes_count_and_the_order_does_not():
    a, b = torch.arange(6.0), torch.arange(6.0, 12.0)
    assert of(a=a, b=b) == of(b=b, a=a)
    assert len({of(a=a, b=b), of(a=b, b=a), of(a=a, c=b), of(a=a), of(a=a.reshape(2, 3), b=b)}) == 5


def test_values_count_however_they_lie_in_memory():
    values = torch.arange(12.0).reshape(3, 4)
    assert of(a=values.T) == of(a=values.T.contiguous()) != of(a=values.reshape(4, 3))


def test_tensors_of_one_value_and_of_none_have_a_fingerprint_too():
    assert len({of(a=torch.tensor(1.0)), of(a=torch.tensor(2.0)), of(a=torch.zeros(0)), of(a=torch.zeros(0, 3))}) == 4


def test_a_lowered_precision_is_another_network():
    values = torch.full((40,), 1 / 3)
    assert of(a=values.bfloat16()) != of(a=values)
