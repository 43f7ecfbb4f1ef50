from __future__ import annotations

import pytest
import torch
from rule_weights import TINY, rule_image, rule_network
from torch import nn

from ttt3r_ros.errors import UserError
from ttt3r_ros.model.layers import Linear
from ttt3r_ros.model.precision import Int8Linear, computes_in
from ttt3r_ros.weights.checkpoint import load_network, save_network

CPU = torch.device("cpu")
ABLE = torch.cpu.get_capabilities()
HALVES = [torch.bfloat16, torch.float16]
needs_vnni = pytest.mark.skipif(
    not (ABLE.get("avx512_vnni") or ABLE.get("avx_vnni") or ABLE.get("amx_int8")), reason="no VNNI instructions"
)


@pytest.fixture
def no_matrix_units(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "avx512_fp16": True})


def run(network, frames=3):
    state = None
    with torch.inference_mode():
        for index in range(frames):
            prediction, state = network.step(rule_image(index, 48, 64)[None], state)
    return prediction, state


def test_a_cpu_computes_in_half_precision_only_where_it_has_units_for_it(monkeypatch, no_matrix_units):
    assert computes_in(torch.float32, CPU)
    assert not any(computes_in(dtype, CPU) for dtype in HALVES)
    assert all(computes_in(dtype, torch.device("cuda")) for dtype in HALVES)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert computes_in(torch.bfloat16, CPU)
    assert not computes_in(torch.float16, CPU)


@pytest.mark.parametrize("dtype", HALVES)
def test_stored_weights_compute_as_their_rounded_values_in_float32(no_matrix_units, dtype):
    stored = rule_network(TINY).set_precision(dtype)
    rounded = rule_network(TINY)
    for name, layer in rounded.named_modules():
        if isinstance(layer, Linear) and "head" not in name and "world_transform" not in name:
            for parameter in layer.parameters():
                parameter.data = parameter.to(dtype).float()
    (ours, state), (theirs, expected) = run(stored), run(rounded)
    assert torch.equal(ours.points_camera, theirs.points_camera)
    assert torch.equal(state.tokens, expected.tokens)
    assert {stored.encoder[0].mlp.fc1.weight.dtype, stored.image_decoder[0].cross_attn.projq.weight.dtype} == {dtype}
    assert stored.camera_head.mlp.fc1.weight.dtype == stored.encoder[0].norm1.weight.dtype == torch.float32


def test_precision_can_be_raised_again(no_matrix_units):
    network = rule_network(TINY).set_precision(torch.bfloat16).set_precision(torch.float32)
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}


@needs_vnni
@pytest.mark.parametrize("shape", [(1, 7, 64), (2, 5, 64), (1, 64)])
def test_int8_is_the_product_of_rounded_numbers(shape):
    torch.manual_seed(0)
    plain = nn.Linear(64, 40)
    x = torch.randn(shape) * torch.logspace(-3, 3, shape[-2])[:, None]  # each token has a scale of its own
    scale_w, scale_x = plain.weight.abs().amax(1, keepdim=True) / 127, x.abs().amax(-1, keepdim=True) / 127
    expected = ((x / scale_x).round() * scale_x) @ ((plain.weight / scale_w).round() * scale_w).T + plain.bias
    with torch.inference_mode():
        found = Int8Linear(plain)(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@needs_vnni
def test_int8_keeps_zeros_and_passes_faults_on():
    layer = Int8Linear(nn.Linear(32, 8))
    x = torch.zeros(3, 32)
    x[1, 4], x[2, 4] = float("nan"), float("inf")
    with torch.inference_mode():
        found = layer(x)
    assert torch.equal(found[0], layer.bias)
    assert not found[1:].isfinite().any()


@needs_vnni
def test_an_int8_network_stays_near_float32():
    (ours, state), (theirs, expected) = run(rule_network(TINY).set_precision(torch.int8)), run(rule_network(TINY))
    assert ours.translation.sub(theirs.translation).norm() < 0.1 * theirs.translation.norm()
    assert state.tokens.sub(expected.tokens).norm() < 0.1 * expected.tokens.norm()
    assert not torch.equal(state.tokens, expected.tokens)


@needs_vnni
def test_int8_leaves_cross_attention_as_it_is():
    block = rule_network(TINY).set_precision(torch.int8).state_decoder[0]
    assert isinstance(block.attn.qkv, Int8Linear)
    assert isinstance(block.mlp.fc1, Int8Linear)
    assert block.cross_attn.projq.weight.dtype == torch.float32


@needs_vnni
def test_int8_is_reached_from_a_file_and_again_from_itself(tmp_path):
    network = rule_network(TINY)
    save_network(network, tmp_path / "w.safetensors", provenance={})
    loaded, _ = load_network(tmp_path / "w.safetensors", precision=torch.int8)
    once, twice = run(loaded), run(loaded.set_precision(torch.int8))
    assert torch.equal(once[1].tokens, twice[1].tokens)
    assert torch.equal(once[1].tokens, run(network.set_precision(torch.int8))[1].tokens)


def test_int8_is_refused_in_a_sentence_where_it_would_be_slow_or_wrong(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    with pytest.raises(UserError, match="needs an x86 CPU with VNNI"):
        rule_network(TINY).set_precision(torch.int8)


def test_a_torch_that_cannot_tell_stores_halves_and_refuses_int8(monkeypatch):
    """2.6, for one."""
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not any(computes_in(dtype, CPU) for dtype in HALVES)
    with pytest.raises(UserError, match="a torch that detects"):
        rule_network(TINY).set_precision(torch.int8)
