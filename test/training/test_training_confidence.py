"""Confidence is fitted to what is left of the errors, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from training_recipe import TINY_RECIPE

from training import confidence
from training.confidence import fit_confidence
from training.initial import initial_network
from ttt3r_ros.errors import UserError
from ttt3r_ros.model.config import PATCH

RECIPE = replace(TINY_RECIPE, confidence_flats=2, confidence_steps=200)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    # an untrained network's errors are large: a reward that is worth having a confidence for
    for name, value in {
        "CONFIDENCE_REWARD": 2.0,
        "_FLATS": 1,
        "_CLIPS": 2,
    }.items():
        monkeypatch.setattr(confidence, name, value)


@pytest.mark.slow
def test_it_is_high_where_errors_are_small_and_leaves_all_else_alone() -> None:
    network = initial_network(TINY_RECIPE.network, seed=0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    low, middle, high = fit_confidence(network, RECIPE)
    assert 1 < low < middle < high

    features, errors = confidence._seen(network, RECIPE)
    last = network.camera_head.get_submodule("mlp.fc2")
    found = 1 + last(features)[:, 3 * PATCH**2 :].exp()
    assert found.mean() == pytest.approx(float(2.0 / errors.mean()), rel=0.5)
    sure, unsure = found.flatten().sort().indices.chunk(2)[::-1]
    assert errors.flatten()[sure].mean() < 0.9 * errors.flatten()[unsure].mean()

    for name, value in network.state_dict().items():
        rows = slice(0, 3 * PATCH**2) if name.startswith("camera_head.mlp.fc2") else slice(None)
        assert torch.equal(value[rows], before[name][rows]), name


def test_another_head_is_refused() -> None:
    recipe = replace(TINY_RECIPE, network=replace(TINY_RECIPE.network, head_type="dpt"))
    with pytest.raises(UserError, match="linear head"):
        fit_confidence(initial_network(TINY_RECIPE.network, seed=0), recipe)
