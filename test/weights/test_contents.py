from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from expectations import one_sentence
from hypothesis import given
from hypothesis import strategies as st
from rule_weights import TINY, rule_network

from ttt3r_ros.errors import UserError
from ttt3r_ros.weights.contents import MismatchError, check_finite, check_tensors, skeleton

FILE = Path("tiny.safetensors")
SHAPES = {"a.weight": (2, 3), "b.bias": (3,)}


def test_a_skeleton_has_the_shapes_and_no_memory():
    bones, whole = skeleton(TINY, 1000).state_dict(), rule_network(TINY).state_dict()
    assert {key: value.shape for key, value in bones.items()} == {key: value.shape for key, value in whole.items()}
    assert all(value.is_meta for value in bones.values())


@pytest.mark.parametrize("part", ["enc_depth", "dec_depth", "ray_enc_depth"])
def test_a_network_of_more_layers_than_tensors_is_not_even_begun(part):
    with pytest.raises(UserError, match="names more layers than its 40 tensors can fill") as caught:
        skeleton(dataclasses.replace(TINY, **{part: 41}), 40)
    one_sentence(caught.value)
    assert skeleton(dataclasses.replace(TINY, **{part: 40}), 40).config != TINY


def test_a_network_too_large_for_any_computer_is_refused():
    endless = dataclasses.replace(TINY, dec_embed_dim=999_984, mlp_ratio=1e6)
    with pytest.raises(UserError, match="too large for any computer") as caught:
        skeleton(endless, 1000)
    one_sentence(caught.value)


@pytest.mark.parametrize("optional", [None, {}, {"c": (4,)}])
def test_exactly_the_expected_tensors_are_fine_and_so_are_optional_ones(optional):
    check_tensors(FILE, SHAPES, SHAPES, optional)
    check_tensors(FILE, SHAPES | (optional or {}), SHAPES, optional)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"a.weight": (2, 3)}, r"tiny.safetensors lacks 1 tensor \(b.bias\)"),
        ({}, r"lacks 2 tensors \(a.weight, b.bias\)"),
        (SHAPES | {"d": (1,)}, r"holds 1 tensor \(d\) that its configuration does not explain"),
        (SHAPES | dict.fromkeys("hgfed", (1,)), r"holds 5 tensors \(d, e, f, …\) that"),
        (SHAPES | {"b.bias": (4,)}, r"1 tensor \(b.bias\) whose shape .* is \(4,\) instead of \(3,\)"),
        (SHAPES | {"c": (5,)}, r"1 tensor \(c\) whose shape .* is \(5,\) instead of \(4,\)"),
        ({"a.weight": (3, 2), "b.bias": ()}, r"2 tensors .* is \(3, 2\) instead of \(2, 3\)"),
    ],
)
def test_anything_else_is_refused_by_name(found, words):
    with pytest.raises(UserError, match=words) as caught:
        check_tensors(FILE, found, SHAPES, {"c": (4,)})
    one_sentence(caught.value)


@given(st.text(max_size=300) | st.text("ab.é\x1b", max_size=9).map(lambda text: 40 * text))
def test_whatever_a_tensor_is_called_the_refusal_is_one_short_line(name):
    with pytest.raises(UserError) as caught:
        check_tensors(FILE, {name: (1,)}, {})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


@given(
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    st.integers(0, 11),
)
def test_one_value_that_is_not_finite_is_found_wherever_it_is(dtype, value, at):
    tensor = torch.arange(12, dtype=dtype).reshape(3, 4)
    check_finite(FILE, "a.weight", tensor)
    tensor.view(-1)[at] = value
    with pytest.raises(UserError, match=f"a.weight has values .* {str(dtype).removeprefix('torch.')}$") as caught:
        check_finite(FILE, "a.weight", tensor)
    one_sentence(caught.value)


def test_no_values_are_finite_and_so_is_the_largest():
    check_finite(FILE, "nothing", torch.zeros(0, 3))
    check_finite(FILE, "largest", torch.tensor(torch.finfo(torch.float16).max, dtype=torch.float16))


def test_a_mismatch_tells_all_that_is_wrong_and_what_may_explain_it():
    found = {"a.weight": (3, 2), "d": (1,), "e": (1,)}
    with pytest.raises(MismatchError, match=r"lacks 1 tensor \(b.bias\) .* 1 keyword \(z\) that .* not know") as caught:
        check_tensors(FILE, found, SHAPES, unknown=["z"])
    one_sentence(caught.value)
    assert (caught.value.missing, caught.value.unexplained, caught.value.misshapen) == (
        ["b.bias"],
        ["d", "e"],
        ["a.weight"],
    )
