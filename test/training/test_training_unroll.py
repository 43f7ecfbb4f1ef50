from __future__ import annotations

import pytest
import torch
from rule_weights import rule_image, rule_network
from training_recipe import TINY_RECIPE

from training.unroll import unroll
from ttt3r_ros.model import Cut3r
from ttt3r_ros.model.heads import expand
from ttt3r_ros.model.network import POINTS_CAMERA, POINTS_WORLD


@pytest.mark.slow
def test_unrolling_is_stepping_under_the_cut3r_rule():
    network = rule_network(TINY_RECIPE.network)
    frames = [torch.stack([rule_image(2 * t, 48, 64), rule_image(2 * t + 1, 48, 64)]) for t in range(3)]
    raw, _ = unroll(network, torch.stack(frames, dim=1), world=True)
    assert raw.world is not None
    state = None
    for t, image in enumerate(frames):
        said, state = network.step(image, state, rule=Cut3r(), outputs={POINTS_CAMERA, POINTS_WORLD})
        torch.testing.assert_close(expand(raw.translation[:, t]), said.translation, atol=1e-5, rtol=1e-4)
        quaternion = torch.nn.functional.normalize(raw.quaternion[:, t], dim=-1)
        quaternion = quaternion * quaternion[:, :1].sign()
        torch.testing.assert_close(quaternion, said.quaternion, atol=1e-5, rtol=1e-4)
        world = expand(raw.world[:, t, :3].movedim(1, -1))
        torch.testing.assert_close(world, said.points_world, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(1 + raw.world[:, t, 3].exp(), said.confidence_world, atol=1e-4, rtol=1e-3)
        camera = raw.camera[:, t, :3] * raw.camera[:, t, 2:3].sign()  # the linear head looks ahead only
        torch.testing.assert_close(expand(camera.movedim(1, -1)), said.points_camera, atol=1e-4, rtol=1e-3)


def test_later_frames_teach_earlier_ones():
    """The gradient goes back through the state: without that no motion could be learned."""
    network = rule_network(TINY_RECIPE.network).requires_grad_(False)
    first = rule_image(0, 48, 64)[None].requires_grad_()
    second = rule_image(1, 48, 64)[None]
    raw, _ = unroll(network, torch.stack([first, second], dim=1), world=False)
    raw.translation[:, 1].sum().backward()
    assert first.grad is not None
    assert first.grad.abs().max() > 0


@pytest.mark.parametrize("world", [False, True])
def test_the_world_points_are_made_only_when_asked_for(world: bool):
    network = rule_network(TINY_RECIPE.network)
    raw, _ = unroll(network, rule_image(0, 48, 64)[None, None], world=world)
    assert (raw.world is not None) == world
    assert raw.camera.shape == (1, 1, 4, 48, 64)


def test_a_star_is_pairs_that_share_their_first_frame():
    network = rule_network(TINY_RECIPE.network)
    clip = torch.stack([torch.stack([rule_image(4 * b + t, 48, 64) for t in range(4)]) for b in range(2)])
    star, inside = unroll(network, clip, world=True, star=True)
    assert star.world is not None
    for t in range(1, 4):
        pair, between = unroll(network, clip[:, [0, t]], world=True)
        assert pair.world is not None
        for one, two in ((star.camera, pair.camera), (star.world, pair.world), (star.quaternion, pair.quaternion)):
            torch.testing.assert_close(one[:, [0, t]], two, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(inside.state[:, t - 1], between.state[:, 0])
        torch.testing.assert_close(inside.features[:, t - 1], between.features[:, 0], atol=1e-5, rtol=1e-4)
        for one, two in zip(inside.levels, between.levels, strict=True):
            torch.testing.assert_close(one[:, t - 1], two[:, 0], atol=1e-5, rtol=1e-4)


def test_heads_learn_while_the_trunk_is_frozen():
    network = rule_network(TINY_RECIPE.network).requires_grad_(True)
    clip = torch.stack([rule_image(t, 48, 64) for t in range(3)])[None]
    free, _ = unroll(network, clip, world=True)
    raw, _ = unroll(network, clip, world=True, frozen_trunk=True)
    assert raw.world is not None
    torch.testing.assert_close(raw.camera, free.camera, atol=1e-4, rtol=1e-3)
    (raw.camera.sum() + raw.world.sum()).backward()
    learning = {name.partition(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert learning == {"camera_head", "world_head", "world_transform"}


@pytest.mark.parametrize("star", [False, True])
def test_the_points_of_some_frames_are_those_among_all(star: bool):
    network = rule_network(TINY_RECIPE.network)
    clip = torch.stack([torch.stack([rule_image(4 * b + t, 48, 64) for t in range(4)]) for b in range(2)])
    chosen = torch.tensor([[2, 0], [1, 3]])
    every, _ = unroll(network, clip, world=True, star=star)
    some, _ = unroll(network, clip, world=True, star=star, point_frames=chosen)
    assert every.world is not None
    assert some.world is not None
    for b in range(2):
        torch.testing.assert_close(some.camera[b], every.camera[b, chosen[b]], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(some.world[b], every.world[b, chosen[b]], atol=1e-5, rtol=1e-4)
    assert torch.equal(some.translation, every.translation)


def test_gradients_are_cut_where_they_are_to_be():
    network = rule_network(TINY_RECIPE.network).requires_grad_(False)
    for truncate, reach in ((0, [0, 1, 2, 3]), (2, [2, 3]), (3, [3])):
        clip = torch.stack([rule_image(t, 48, 64) for t in range(4)])[None].requires_grad_()
        raw, _ = unroll(network, clip, world=False, truncate=truncate)
        raw.translation[:, 3].sum().backward()
        assert clip.grad is not None
        assert clip.grad[0].flatten(1).abs().amax(dim=1).nonzero().flatten().tolist() == reach
    whole, _ = unroll(network, clip, world=False)
    assert torch.equal(whole.translation, raw.translation)
