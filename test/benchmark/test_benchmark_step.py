from __future__ import annotations

import json

import pytest
import torch
from rule_weights import TINY, rule_image, rule_network
from torch import nn

from benchmark import floor, step
from ttt3r_ros.stream.backbone import dtype_of

needs_vnni = pytest.mark.skipif(
    not any(torch.cpu.get_capabilities().get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8")),
    reason="no VNNI instructions",
)


@pytest.fixture(autouse=True)
def small_matrices(monkeypatch):
    monkeypatch.setattr(floor, "MATRIX_SIDE", {"cpu": 128})
    monkeypatch.setattr(floor, "MEMORY_BYTES", 1 << 20)


@pytest.fixture
def counted(monkeypatch):
    """The arithmetic has been counted, which takes torch seconds."""
    monkeypatch.setattr(step, "count_gflop", lambda *_: (0.3, 0.1))


@pytest.mark.slow
def test_the_figures_of_a_run_fit_each_other(counted, tmp_path, capsys):
    out = tmp_path / "step.json"
    arguments = ["--config", "tiny", "--size", "64x48", "--device", "cpu", "--frames", "1", "--json", str(out)]
    assert step.main(arguments) == 0
    result = json.loads(out.read_text())
    assert (result["config"], result["size"], result["device"]) == ("tiny", "64x48", "cpu")
    assert result["naive_over_step"] == pytest.approx(result["naive_ms"] / result["step_ms"])  # of the one frame
    assert result["step_ms_p95"] == result["step_ms"] > 0
    assert result["gflop"] == pytest.approx(0.4)
    assert result["arithmetic_ms"] == pytest.approx(1e3 * result["gflop"] / result["matrix_gflops_per_s"])
    assert result["reading_ms"] == pytest.approx(result["weights_mb"] / result["memory_gb_per_s"])
    assert result["floor_ms"] == max(result["arithmetic_ms"], result["reading_ms"])
    assert result["step_over_floor"] == pytest.approx(result["step_ms"] / result["floor_ms"])
    assert tuple(result["stages_ms"]) == step.STAGES
    assert min(result["stages_ms"].values()) > 0
    assert result["peak_memory_mb"] > 50
    assert f"{result['naive_over_step']:.2f}" in capsys.readouterr().out


@pytest.mark.slow
def test_without_the_twin_nothing_is_said_of_it(counted, tmp_path, capsys):
    out = tmp_path / "step.json"
    arguments = ["--config", "tiny", "--device", "cpu", "--frames", "2", "--no-naive", "--json", str(out)]
    assert step.main(arguments) == 0
    result = json.loads(out.read_text())
    assert result["naive_ms"] is None
    assert result["naive_over_step"] is None
    assert "naive" not in capsys.readouterr().out


@pytest.mark.slow
def test_the_arithmetic_of_linear_layers_is_all_counted():
    """Against the layers' own shapes, at a step that has a state already."""
    network, operations = rule_network(TINY), 0

    def count(layer: nn.Linear, _: object, output: torch.Tensor) -> None:
        nonlocal operations
        operations += 2 * output.numel() * layer.in_features

    image = rule_image(0, 48, 64)[None]
    _, state = network.step(image, None)
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(count)
    network.step(image, state)
    linear, other = floor.count_gflop(TINY, 48, 64)
    assert linear == pytest.approx(operations / 1e9)
    assert other > 0


@pytest.mark.parametrize(
    ("size", "words"), [("64x50", "multiples of 16"), ("0x48", "multiples of 16"), ("large", "not width x height")]
)
def test_a_wrong_size_is_said_in_a_sentence(capsys, size, words):
    assert step.main(["--config", "tiny", "--device", "cpu", "--size", size]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: --size {size}")
    assert words in error


@pytest.mark.parametrize(("precision", "bytes_each"), [("float32", 4), pytest.param("int8", 1, marks=needs_vnni)])
def test_the_weights_that_a_step_reads_are_counted(precision, bytes_each):
    network = rule_network(TINY)
    used = [network.encoder, network.image_decoder, network.state_decoder]
    linears = [layer for part in used for layer in part.modules() if isinstance(layer, nn.Linear)]
    least = bytes_each * sum(layer.weight.numel() for layer in linears)
    everything = sum(parameter.nbytes for parameter in network.parameters())
    counted = floor.weight_bytes(network.set_precision(dtype_of(precision)))
    assert least < counted < everything
    color_and_world = sum(
        parameter.nbytes
        for part in (network.world_head, network.world_transform, network.color_head)
        for parameter in part.parameters()
    )
    if precision == "float32":
        assert counted == everything - color_and_world
