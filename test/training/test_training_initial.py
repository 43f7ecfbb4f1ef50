from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from published_files import save_published
from torch import Tensor
from training_recipe import TINY_RECIPE

from training.__main__ import _weights
from training.config import RECIPES
from training.initial import initial_network, resampled_state
from ttt3r_ros.errors import UserError
from ttt3r_ros.model import Network, NetworkConfig
from ttt3r_ros.model.rotary import state_positions
from ttt3r_ros.weights.checkpoint import save_network

SMALL = replace(TINY_RECIPE.network, state_size=49, image_size=128)
LARGE = replace(SMALL, state_size=121, image_size=192)


def seen_at(config: NetworkConfig) -> Tensor:
    """Return where in an image of 128 pixels the patch of each state token is, (N, 2) as (y, x) in pixels."""
    return (state_positions(config.state_size, config.state_pe) + 0.5) * 16 * 128 / config.image_size


def with_tokens(tokens: Tensor) -> Network:
    network = initial_network(SMALL, seed=0)
    with torch.no_grad():
        network.state_tokens.copy_(tokens)
    return network


def test_tokens_keep_their_places_when_the_image_grows():
    """A code that is linear in the place in the image stays so, but for places beyond the old patches' centers."""
    slopes = torch.randn(2, SMALL.enc_embed_dim, generator=torch.Generator().manual_seed(1))
    resampled = resampled_state(with_tokens(seen_at(SMALL) @ slopes), LARGE)
    places = seen_at(LARGE).clamp(min=torch.tensor([8.0, 8.0]), max=torch.tensor([88.0, 120.0]))
    torch.testing.assert_close(resampled.state_tokens, torch.nn.Parameter(places @ slopes), atol=1e-3, rtol=1e-4)


def test_every_token_is_a_mean_of_its_four_neighbors():
    """The naive twin: one token at a time, by the distances along both axes."""
    tokens = torch.randn(SMALL.state_size, SMALL.enc_embed_dim, generator=torch.Generator().manual_seed(2))
    resampled = resampled_state(with_tokens(tokens), LARGE).state_tokens
    for token, (row, column) in zip(resampled, state_positions(LARGE.state_size, "2d").tolist(), strict=True):
        y, x = min(max((row + 0.5) * 2 / 3 - 0.5, 0.0), 5.0), min(max((column + 0.5) * 2 / 3 - 0.5, 0.0), 7.0)
        expected = sum(
            max(0.0, 1 - abs(y - j)) * max(0.0, 1 - abs(x - i)) * tokens[8 * j + i] for j in range(6) for i in range(8)
        )
        torch.testing.assert_close(token.detach(), expected, atol=1e-5, rtol=1e-5)


def test_all_but_the_state_tokens_stays():
    network = with_tokens(torch.randn(SMALL.state_size, SMALL.enc_embed_dim))
    resampled = resampled_state(network, LARGE)
    assert resampled.config == LARGE
    assert network.config == SMALL
    for name, weight in network.state_dict().items():
        assert name == "state_tokens" or torch.equal(weight, resampled.state_dict()[name])
    assert resampled_state(network, SMALL) is network


def test_as_many_tokens_for_images_of_another_size_move_too():
    resampled = resampled_state(with_tokens(seen_at(SMALL)[:, :1].expand(-1, SMALL.enc_embed_dim)), LARGE)
    back = resampled_state(resampled, replace(LARGE, image_size=128))
    assert back.config == replace(LARGE, image_size=128)
    assert not torch.equal(back.state_tokens, resampled.state_tokens)


@pytest.mark.parametrize(
    ("change", "encoder_only", "sentence"),
    [
        (
            {"dec_depth": 3},
            False,
            "(dec_depth 3 instead of 2): choose another --recipe, or take its encoder alone (--encoder)",
        ),
        ({"enc_depth": 3}, False, "(enc_depth 3 instead of 1): choose another --recipe"),
        ({"enc_embed_dim": 64}, True, "(enc_embed_dim 64 instead of 32): choose another --recipe"),
        ({"dec_depth": 3}, True, None),
        ({"state_size": 20, "image_size": 96}, False, None),
        ({"image_size": 96}, False, None),
    ],
)
def test_weights_of_another_shape_are_refused_with_what_differs(tmp_path, change, encoder_only, sentence):
    path = tmp_path / "w.safetensors"
    save_network(initial_network(replace(TINY_RECIPE.network, **change), 0), path, provenance={})
    if sentence is None:
        weights, _ = _weights(TINY_RECIPE, str(path), encoder_only=encoder_only)
        network = initial_network(TINY_RECIPE.network, 0)
        network.load_state_dict({**network.state_dict(), **weights})
    else:
        with pytest.raises(UserError) as error:
            _weights(TINY_RECIPE, str(path), encoder_only=encoder_only)
        assert str(error.value) == f"{path} holds a network of another shape than the recipe's {sentence}"


def test_damaged_weights_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_network(initial_network(TINY_RECIPE.network, 0), path, provenance={})
    data = path.read_bytes()
    path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    with pytest.raises(UserError, match="does not match its checksum"):
        _weights(TINY_RECIPE, str(path), encoder_only=False)


def test_weights_in_the_published_format_have_another_shape(tmp_path):
    save_published(tmp_path / "published.pth")
    with pytest.raises(UserError, match=r"holds a network of another shape than the recipe's .*dec_depth"):
        _weights(TINY_RECIPE, str(tmp_path / "published.pth"), encoder_only=False)


@pytest.mark.parametrize("name", ["sharp", "fine"])
def test_weights_of_one_recipe_start_the_next(name: str):
    """`cpu`, then `sharp`, then `fine`: what differs is heads and state tokens, which `--init` replaces."""
    before = RECIPES[{"sharp": "cpu", "fine": "sharp"}[name]].network
    network, wanted = resampled_state(Network(before), RECIPES[name].network), RECIPES[name].network
    assert replace(network.config, head_type=wanted.head_type, dpt_width=wanted.dpt_width) == wanted
