from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from training.config import CPU
from training.initial import initial_network
from training.unroll import unroll
from training.wiring import _Channels, content_heads
from ttt3r_ros.errors import UserError
from ttt3r_ros.model import Network
from ttt3r_ros.model.layers import CrossAttention, DecoderBlock, split_heads
from ttt3r_ros.model.rotary import state_positions

ROWS, COLUMNS = 6, 8
PATCHES = ROWS * COLUMNS


@pytest.fixture(scope="module")
def network() -> Network:
    return initial_network(CPU.network, seed=0).eval().requires_grad_(False)


def textured(count: int) -> torch.Tensor:
    """Return (count, 3, 96, 128) images in which no two places look alike."""
    coarse = torch.rand((count, 3, 24, 32), generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, scale_factor=4, mode="bilinear") * 2 - 1


def test_the_state_takes_over_the_first_frame_by_place(network: Network):
    """A change in one patch of the image changes the content copied by the state token of its place, above all."""
    images = textured(1)
    changed = images.clone()
    row, column = 2, 5
    changed[:, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] *= -1
    copied = _Channels(CPU.network.dec_embed_dim).copied
    states = [
        unroll(network, torch.stack([x, x], dim=1), world=False)[1].state[0, 0, :PATCHES, copied]
        for x in (images, changed)
    ]
    difference = (states[0] - states[1]).norm(dim=-1)
    assert difference.argmax() == row * COLUMNS + column
    assert difference.max() > 2 * difference.median()


def test_positional_heads_look_at_their_own_place(network: Network):
    clip = textured(1)[None].expand(-1, 2, -1, -1, -1)
    context: list[tuple[torch.Tensor, ...]] = []
    cross = network.image_decoder[0].get_submodule("cross_attn")
    assert isinstance(cross, CrossAttention)
    hook = cross.register_forward_hook(lambda _, inputs, __: context.append(inputs))
    unroll(network, clip, world=False)
    hook.remove()
    x, state, rotary, rotary_state = context[1]
    query = rotary.turn(split_heads(cross.projq(x), cross.heads))  # type: ignore[attr-defined]  # a Rotary
    key = rotary_state.turn(split_heads(cross.projk(state), cross.heads))  # type: ignore[attr-defined]  # a Rotary
    looks_at = (query @ key.mT)[0, : content_heads(network.config).start, 1:].argmax(dim=-1)
    assert (looks_at == torch.arange(PATCHES)).float().mean() > 0.95


def test_two_places_that_are_looked_at_differ_in_the_stream(network: Network):
    """What content heads read at one place, and positional heads at another, adds up to the way between them."""
    block = network.image_decoder[0]
    assert isinstance(block, DecoderBlock)
    cross, heads = block.cross_attn, content_heads(network.config)
    values = split_heads(cross.projv(block.norm_y(network.initial_tokens(1))), cross.heads)[0, :, :PATCHES]
    writes = cross.proj.weight.view(-1, cross.heads, values.shape[-1])  # (C, heads, D)
    said = torch.einsum("hmd,chd->hmc", values, writes)[..., _Channels(CPU.network.dec_embed_dim).difference[:2]]
    by_content, by_place = said[heads].sum(dim=0), said[: heads.start].sum(dim=0)
    found = by_content[:, None] + by_place[None]  # looked at by content heads, by positional heads
    places = state_positions(CPU.network.state_size, "2d")[:PATCHES].flip(-1).float()
    way = places[:, None] - places[None]
    for axis in range(2):
        pair = torch.stack([found[..., axis].flatten(), way[..., axis].flatten()])
        assert torch.corrcoef(pair)[0, 1] > 0.95
        step = (found[..., axis].flatten() @ way[..., axis].flatten()) / way[..., axis].square().sum()
        assert step > 0.3  # a patch's way is not lost beside everything else there


def test_some_heads_look_for_places_and_some_for_content():
    assert content_heads(CPU.network) == slice(2, 4)
    assert content_heads(replace(CPU.network, dec_num_heads=2)) == slice(1, 2)


def test_channels_are_for_one_thing_each():
    for width in (16, 48, 128, 768):
        channels = _Channels(width)
        parts = [channels.content, channels.copied, channels.difference, channels.place]
        together = torch.cat(parts)
        assert len(together.unique()) == len(together)
        assert together.max() < width
        assert len(channels.difference) == len(channels.place) == width // 16


def test_every_weight_can_still_change(network: Network):
    """Nothing is wired to exact zeros, from which with its counterpart at zero too no gradient would lead away."""
    for name, parameter in [*network.image_decoder.named_parameters(), *network.state_decoder.named_parameters()]:
        if name.endswith(("proj.weight", "projq.weight", "projk.weight", "projv.weight")):
            assert (parameter != 0).float().mean() > 0.99, name


def test_state_tokens_know_their_place(network: Network):
    tokens = network.initial_tokens(1)[0, :PATCHES]
    place = _Channels(CPU.network.dec_embed_dim).place[:2]
    wanted = state_positions(CPU.network.state_size, "2d")[:PATCHES].flip(-1).float()
    for axis in range(2):
        assert torch.corrcoef(torch.stack([tokens[:, place[axis]], wanted[:, axis]]))[0, 1] > 0.95


def test_a_decoder_that_cannot_be_wired_is_refused():
    with pytest.raises(UserError, match="two heads"):
        initial_network(replace(CPU.network, dec_num_heads=1), seed=0)
