from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt3r_ros.model.layers import (
    CrossAttention,
    DecoderBlock,
    Mlp,
    Rotary,
    SelfAttention,
    merge_heads,
    noise,
    split_heads,
)

position = st.tuples(st.integers(-1, 40), st.integers(-1, 40))


@settings(max_examples=30)
@given(q_at=position, k_at=position, shift=position, head_dim=st.sampled_from([4, 12, 16, 64]))
def test_rope_scores_depend_on_relative_position_only(q_at, k_at, shift, head_dim):
    generator = torch.Generator().manual_seed(1)
    q, k = torch.randn(2, 1, 1, 1, head_dim, generator=generator)

    def score(q_at, k_at):
        turned_q = Rotary.at(torch.tensor([q_at]), head_dim, 100.0).turn(q)
        turned_k = Rotary.at(torch.tensor([k_at]), head_dim, 100.0).turn(k)
        return float((turned_q * turned_k).sum())

    moved = score([a + b for a, b in zip(q_at, shift, strict=True)], [a + b for a, b in zip(k_at, shift, strict=True)])
    assert moved == pytest.approx(score(q_at, k_at), abs=1e-3)


def test_rope_turns_pairs_by_their_own_angle():
    x = torch.zeros(1, 1, 1, 8)
    x[..., 1] = 1.0  # second channel of the row half: pairs with channel 3
    turned = Rotary.at(torch.tensor([[-1, 5]]), 8, 100.0).turn(x)[0, 0, 0]
    angle = -1 * 100.0 ** (-2 * 1 / 4)
    expected = torch.tensor([0, math.cos(angle), 0, math.sin(angle), 0, 0, 0, 0])
    torch.testing.assert_close(turned, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rope_in_place_is_rope(dtype):
    rotary = Rotary.at(torch.randint(-1, 9, (6, 2)), 12, 100.0)
    x = torch.randn(2, 6, 3, 12).to(dtype).transpose(1, 2)  # heads as a projection leaves them
    before = x.clone()
    plain = rotary.turn(x)
    with torch.no_grad():
        fast = rotary.turn(x)
    torch.testing.assert_close(fast, plain)
    assert fast.is_contiguous()
    assert torch.equal(x, before)


def test_heads_split_and_merge():
    x = torch.randn(2, 5, 12)
    assert torch.equal(merge_heads(split_heads(x, 3)), x)
    assert torch.equal(split_heads(x, 3)[1, 2, 4], x[1, 4, 8:])


def test_alignment_is_the_mean_of_the_map_that_is_never_made():
    torch.manual_seed(0)
    attention = CrossAttention(24, heads=2)
    x, context = torch.randn(2, 5, 24), torch.randn(2, 7, 24)
    rotary_x = Rotary.at(torch.randint(-1, 9, (5, 2)), 12, 100.0)
    rotary_context = Rotary.at(torch.randint(-1, 9, (7, 2)), 12, 100.0)
    _, match = attention(x, context, rotary_x, rotary_context)
    q = rotary_x.turn(split_heads(attention.projq(x), 2))
    k = rotary_context.turn(split_heads(attention.projk(context), 2))
    scores = q @ k.transpose(-1, -2) / math.sqrt(12)
    torch.testing.assert_close(match.alignment(), scores.mean(dim=(1, 3)))


def test_self_attention_is_softmax_attention():
    torch.manual_seed(0)
    attention, x = SelfAttention(8, heads=2), torch.randn(1, 6, 8)
    q, k, v = (split_heads(part, 2) for part in attention.qkv(x).chunk(3, dim=-1))
    expected = attention.proj(merge_heads((q @ k.transpose(-1, -2) / 2).softmax(-1) @ v))
    torch.testing.assert_close(attention(x, None), expected)


def test_mlp_uses_the_exact_gelu():
    mlp = Mlp(1, 1)
    for linear in (mlp.fc1, mlp.fc2):
        torch.nn.init.ones_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    assert mlp(torch.tensor([2.0])).item() == pytest.approx(2.0 * 0.5 * (1 + math.erf(2 / math.sqrt(2))), abs=1e-6)


def test_noise_is_as_wide_as_asked_and_has_no_values_without_memory():
    torch.manual_seed(0)
    values = noise(100, 100, std=0.02).detach()
    assert float(values.std()) == pytest.approx(0.02, rel=0.05)
    assert abs(float(values.mean())) < 0.001
    with torch.device("meta"):
        assert noise(2, 3, std=0.02).is_meta


@pytest.mark.slow
def test_a_block_compiles_in_one_piece_and_to_the_same():
    torch.manual_seed(0)
    block = DecoderBlock(48, 3, 96).eval().requires_grad_(False)
    x, context = torch.randn(1, 7, 48), torch.randn(1, 5, 48)
    rotary, other = (Rotary.at(torch.randint(0, 9, (n, 2)), 16, 100.0) for n in (7, 5))
    with torch.inference_mode():
        expected, _ = block(x, context, rotary, other)
        found, _ = torch.compile(block, backend="eager", fullgraph=True)(x, context, rotary, other)
    torch.testing.assert_close(found, expected)
