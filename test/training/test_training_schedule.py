from __future__ import annotations

import time

import pytest
import torch

from training.confidence import FIRST_SEED
from training.config import CPU, FIRST_TRAINING_SEED, RECIPES, Recipe, Stage, recipe_by_name
from training.export import MAX_BYTES
from training.monitor import FIRST_VALIDATION_SEED
from training.schedule import Budget, learning_rate, place_in
from ttt3r_ros.errors import UserError
from ttt3r_ros.model import Network
from ttt3r_ros.model.rotary import state_positions

STAGE = Stage("one", 1.0, frames=1, batch=1, learning_rate=1e-3, final=0.1)


def test_a_budget_is_spent_in_steps_or_minutes():
    assert Budget(steps=200).progress(50, seconds=1e9) == 0.25
    assert Budget(minutes=10).progress(10**9, seconds=150) == 0.25
    assert Budget(steps=200).progress(900, seconds=0) == 1
    for neither_or_both in ({}, {"steps": 1, "minutes": 1.0}):
        with pytest.raises(ValueError, match="either"):
            Budget(**neither_or_both)


def test_a_budget_until_a_moment_begins_where_a_run_is():
    whole = Budget(until=time.monotonic() + 90).begun(30.0)  # half a minute is over, one and a half are left
    assert whole.progress(0, seconds=30.0) == pytest.approx(0.25, abs=0.001)
    assert whole.progress(0, seconds=120.0) == pytest.approx(1.0, abs=0.001)
    assert Budget(until=time.monotonic() - 5).begun(0.0).progress(0, 0.1) == 1.0  # it is over already
    assert Budget(minutes=3.0).begun(30.0) == Budget(minutes=3.0)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_stages_follow_each_other_through_the_budget(recipe: Recipe):
    places = [place_in(recipe, i / 1000) for i in range(1000)]
    stages = [stage for stage, _ in places]
    assert stages == sorted(stages)
    assert set(stages) == set(range(len(recipe.stages)))
    assert all(0 <= part < 1 for _, part in places)
    assert stages.count(0) == pytest.approx(1000 * recipe.stages[0].share, abs=1)
    assert place_in(recipe, 1.0) == (len(recipe.stages), 0.0)


def test_the_learning_rate_rises_then_falls():
    rates = [learning_rate(STAGE, step / 1000, step, 100) for step in range(1000)]
    top = rates.index(max(rates))
    assert 90 <= top <= 110
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[0] == pytest.approx(1e-5)
    assert rates[-1] == pytest.approx(1e-4, rel=0.01)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_recipes_fit_the_package_and_each_other(recipe: Recipe):
    size = 2 * sum(parameter.numel() for parameter in Network(recipe.network).parameters())
    assert size < MAX_BYTES - 2**16  # with room for names and provenance
    assert max(recipe.width, recipe.height) == recipe.network.image_size
    assert recipe.width % 16 == recipe.height % 16 == 0
    rows, columns = recipe.height // 16, recipe.width // 16
    patches = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    # the first state tokens are at the places of the patches
    assert torch.equal(state_positions(recipe.network.state_size, "2d")[: rows * columns], patches)
    assert all(stage.translation_m <= 0.4 for stage in recipe.stages)  # paths keep 0.56 m clear of everything
    assert recipe.buffer_frames >= 2 * recipe.render_frames
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_flats_are_trained_on_or_evaluated_on():
    """Those of training.evaluate come first, then those to fit on, those to look at, and those to train on."""
    for recipe in RECIPES.values():
        assert recipe.evaluation_flats <= FIRST_TRAINING_SEED // 2 <= FIRST_SEED
        assert FIRST_SEED + recipe.confidence_flats <= FIRST_VALIDATION_SEED
        assert FIRST_VALIDATION_SEED + recipe.validation_flats <= FIRST_TRAINING_SEED <= recipe.first_seed


def test_shares_must_sum_to_one():
    with pytest.raises(ValueError, match="sum to 1"):
        Recipe(network=CPU.network, width=128, height=96, stages=(STAGE, STAGE))


def test_an_unknown_recipe_is_named():
    with pytest.raises(UserError, match="'tpu'"):
        recipe_by_name("tpu")
