from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from training_recipe import TINY_RECIPE, generator

from training.clips import Clips, render_clips, training_camera
from training.correspondence import Correspondence, correspondence
from training.flats import build_shard
from training.hints import WEIGHTS, Hints, _content_logits
from training.initial import initial_network
from training.unroll import Inside, unroll
from training.wiring import content_heads
from ttt3r_ros.model import Network
from ttt3r_ros.model.layers import CrossAttention, split_heads

CAMERA = training_camera(TINY_RECIPE)
STAGE = replace(TINY_RECIPE.stages[1], frames=3, star=False)


@pytest.fixture(scope="module")
def clips() -> Clips:
    return render_clips(build_shard(range(3, 4)), STAGE, 4, CAMERA, generator())


@pytest.fixture
def network() -> Network:
    return initial_network(TINY_RECIPE.network, seed=0)


def looked_at(network: Network, clips: Clips) -> tuple[Inside, Correspondence]:
    images = clips.image.permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    return unroll(network, images, world=False)[1], correspondence(clips, CAMERA)


def test_a_probe_that_knows_nothing_pays_for_the_whole_motion(network: Network, clips: Clips):
    inside, truth = looked_at(network, clips)
    hints = Hints(TINY_RECIPE.network.dec_embed_dim)
    with torch.no_grad():
        losses = hints.losses(network, inside, truth)
    assert losses.keys() == WEIGHTS.keys()
    moved = truth.displacement.norm(dim=-1)[truth.known].mean()
    assert float(losses["flow"]) == pytest.approx(float(moved), rel=0.05)
    assert float(losses["moments"]) == pytest.approx(float((truth.moments / hints.moment_scale).abs().mean()), rel=0.05)
    assert float(losses["shift"]) == pytest.approx(float(truth.shift.norm(dim=-1).mean()), rel=0.1)


def test_without_keeping_the_state_is_the_networks_own_affair(network: Network, clips: Clips):
    hints = Hints(TINY_RECIPE.network.dec_embed_dim)
    losses = hints.losses(network, *looked_at(network, clips), keep=False)
    assert losses.keys() == WEIGHTS.keys() - {"attention", "keep"}


def test_the_scores_are_those_of_the_network(network: Network, clips: Clips):
    """What is supervised is what the fused attention really computes."""
    seen: list[tuple[torch.Tensor, ...]] = []
    cross = network.image_decoder[0].get_submodule("cross_attn")
    assert isinstance(cross, CrossAttention)
    hook = cross.register_forward_hook(lambda _, inputs, __: seen.append(inputs))
    inside, _ = looked_at(network, clips)
    hook.remove()
    x, context, rotary, rotary_context = seen[1]  # of the second frame
    query = rotary.turn(split_heads(cross.projq(x), cross.heads))  # type: ignore[attr-defined]  # a Rotary
    key = rotary_context.turn(split_heads(cross.projk(context), cross.heads))  # type: ignore[attr-defined]  # a Rotary
    heads = content_heads(network.config)
    expected = (query @ key.mT / query.shape[-1] ** 0.5)[:, heads, 1:]
    logits = _content_logits(network, inside).view(4, 2, *expected.shape[1:])
    torch.testing.assert_close(logits[:, 0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_every_hint_comes_down(network: Network, clips: Clips):
    hints = Hints(TINY_RECIPE.network.dec_embed_dim)
    optimizer = torch.optim.Adam([*network.parameters(), *hints.parameters()], lr=3e-3)
    history = []
    for _ in range(40):
        losses = hints.losses(network, *looked_at(network, clips))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        history.append({name: float(value.detach()) for name, value in losses.items()})
    for name in WEIGHTS:
        assert history[-1][name] < 0.7 * history[0][name], name


def test_attention_costs_nothing_where_it_is_right(network: Network, clips: Clips, monkeypatch: pytest.MonkeyPatch):
    inside, truth = looked_at(network, clips)
    hints = Hints(TINY_RECIPE.network.dec_embed_dim)
    spare = network.config.state_size - truth.weights.shape[-1]
    right = torch.nn.functional.pad(truth.weights, (0, spare)).flatten(0, 1)[:, None].clamp_min(1e-20).log()
    monkeypatch.setattr("training.hints._content_logits", lambda *_: right)
    with torch.no_grad():
        loss = hints.losses(network, inside, truth)["attention"]
    assert float(loss) == pytest.approx(0.0, abs=1e-4)


def test_clips_without_any_overlap_give_no_attention_loss(network: Network, clips: Clips):
    inside, truth = looked_at(network, clips)
    nothing = Correspondence(**{**vars(truth), "inside": torch.zeros_like(truth.inside)})
    with torch.no_grad():
        losses = Hints(TINY_RECIPE.network.dec_embed_dim).losses(network, inside, nothing)
    assert float(losses["attention"]) == 0.0


def test_a_state_that_stays_is_kept(network: Network, clips: Clips):
    inside, truth = looked_at(network, clips)
    hints = Hints(TINY_RECIPE.network.dec_embed_dim)
    same = Inside(**{**vars(inside), "state": inside.state[:, :1].expand_as(inside.state)})
    with torch.no_grad():
        assert float(hints.losses(network, inside, truth)["keep"]) > 0.05
        assert float(hints.losses(network, same, truth)["keep"]) == 0.0
