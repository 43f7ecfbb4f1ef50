"""Confidence is fitted to what is left of the errors, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from training_recipe import TINY_RECIPE

from training import confidence
from training.confidence import fit_confidence
from training.initial import initial_network
from training.unroll import unroll
from ttt3r_ros.model.config import PATCH

RECIPE = replace(TINY_RECIPE, confidence_flats=2, confidence_steps=200)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    # an untrained network's errors are large: a reward that is worth having a confidence for
    for name, value in {"CONFIDENCE_REWARD": 2.0, "_FLATS": 1, "_FRAMES": 8, "_BATCH": 512}.items():
        monkeypatch.setattr(confidence, name, value)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["linear", "dpt"])
def test_it_is_high_where_errors_are_small_and_leaves_all_else_alone(head: Literal["linear", "dpt"]) -> None:
    recipe = replace(RECIPE, network=replace(RECIPE.network, head_type=head, dpt_width=16))
    network = initial_network(recipe.network, seed=0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    low, middle, high = fit_confidence(network, recipe)
    assert 1 < low < middle < high

    features, errors = confidence._seen(network, recipe)
    last = confidence._last_layer(network)
    pixels = errors.shape[1]
    assert pixels == (PATCH**2 if head == "linear" else 1)
    weight = last.weight.flatten(1)[3 * pixels :]
    found = 1 + (features @ weight.T + last.bias[3 * pixels :]).exp()
    assert found.mean() == pytest.approx(float(2.0 / errors.mean()), rel=0.5)
    sure, unsure = found.flatten().sort().indices.chunk(2)[::-1]
    assert errors.flatten()[sure].mean() < 0.9 * errors.flatten()[unsure].mean()

    name_of_last = "camera_head.mlp.fc2" if head == "linear" else "camera_head.head.4"
    for name, value in network.state_dict().items():
        rows = slice(0, 3 * pixels) if name.startswith(name_of_last) else slice(None)
        assert torch.equal(value[rows], before[name][rows]), name


def test_a_dpt_head_makes_its_confidence_of_what_is_fitted() -> None:
    recipe = replace(RECIPE, network=replace(RECIPE.network, head_type="dpt", dpt_width=16))
    network = initial_network(recipe.network, seed=0).requires_grad_(False)
    seen: list[torch.Tensor] = []
    hook = confidence._last_layer(network).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    raw, _ = unroll(network, torch.zeros(1, 1, 3, 48, 64), world=False)
    hook.remove()
    last = confidence._last_layer(network)
    said = seen[0].movedim(1, -1).flatten(0, 2) @ last.weight.flatten(1)[3] + last.bias[3]
    torch.testing.assert_close(said, raw.camera[0, 0, 3].flatten(), atol=1e-5, rtol=1e-4)
