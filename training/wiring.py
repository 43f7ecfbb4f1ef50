"""How the decoders are wired at the start, so that relative motion need not be discovered.

A transformer's initial weights can already do roughly what trained ones end up doing (mimetic initialisation, Trockman
and Kolter, arXiv 2305.09828). Here the channels of both streams are divided among four purposes, and the cross
attentions are set up such that at the first step

* every state token takes over the content of the patch at its own place (the last block of the state decoder),
* some heads of the image decoder look at the state token at their own place (positional heads), the others at the one
  that looks alike nearby (content heads),
* in the first block, the former subtract and the latter add the place they look at: how far a patch has moved is then a
  number in the residual stream, to be read by anything that wants to know.

Everything stays free to change, and a little random weight is left everywhere for it to change from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ttt3r_ros.errors import UserError
from ttt3r_ros.model import Network, NetworkConfig
from ttt3r_ros.model.layers import CrossAttention, DecoderBlock
from ttt3r_ros.model.rotary import state_positions

#: Size of the biases that make a head positional: neighbours score about 3 less than the place itself.
_POSITIONAL = 5.0
#: What is left of the random weights where something is wired.
_NOISE = 0.1
#: How much more a state token takes over than it has, and how strongly place and its differences are written.
_TAKEN, _PLACE, _DIFFERENCE = 1.5, 3.5, 2.0


def content_heads(config: NetworkConfig) -> slice:
    """Return which heads of the image decoder look for content; the others are positional."""
    return slice((config.dec_num_heads + 1) // 2, config.dec_num_heads)


class _Channels:
    """What the channels of both streams are for at first: index tensors."""

    def __init__(self, width: int) -> None:
        channels = torch.arange(width)
        ends = [width // 2, width // 2 + 3 * width // 8, width - width // 16]
        self.content = channels[: ends[0]]  # of the frame being read
        self.copied = channels[ends[0] : ends[1]]  # of the frame the state comes from
        self.place = channels[ends[2] :]
        self.difference = channels[ends[1] : ends[2]][: len(self.place)]  # between two places


@torch.no_grad()
def wire_decoders(network: Network) -> None:
    """Set the embeddings and cross attentions of an initialised network.

    Raises:
        UserError: the decoder has fewer than two heads, or is too narrow.
    """
    config = network.config
    if config.dec_num_heads < 2 or config.dec_embed_dim < 16:
        raise UserError("training needs a decoder with at least two heads and 16 channels")
    channels = _Channels(config.dec_embed_dim)
    _embed(network, channels)
    for blocks in (network.state_decoder, network.image_decoder):
        for block in _blocks(blocks):
            for layer in (block.cross_attn.projv, block.cross_attn.proj):
                layer.weight.mul_(_NOISE)
    *_, last = _blocks(network.state_decoder)
    _make_positional(last.cross_attn, range(config.state_dec_num_heads))
    taken = channels.content[: len(channels.copied)]
    _carry(last.cross_attn, 0, taken, channels.copied, _TAKEN)
    heads = content_heads(config)
    for index, block in enumerate(_blocks(network.image_decoder)):
        cross = block.cross_attn
        _make_positional(cross, range(heads.start))
        for head in range(heads.start, heads.stop):
            _make_alike(cross, head, taken, channels.copied)
        if index == 0:
            _carry(cross, 0, channels.copied, channels.copied, 1.0)
            _carry(cross, len(channels.copied), channels.place, channels.place, 1.0)
            _carry(cross, len(channels.copied), channels.place, channels.difference, -_DIFFERENCE)
            for head in range(heads.start, heads.stop):
                first = head * config.dec_embed_dim // config.dec_num_heads
                share = _DIFFERENCE / (heads.stop - heads.start)
                _carry(cross, first, channels.place, channels.difference, share)


def _blocks(blocks: Iterable[nn.Module]) -> Iterable[DecoderBlock]:
    for block in blocks:
        assert isinstance(block, DecoderBlock)
        yield block


def _embed(network: Network, channels: _Channels) -> None:
    """Let image tokens bring content, and state tokens their place."""
    network.image_embed.weight.mul_(_NOISE)
    network.image_embed.weight[channels.content] += _orthogonal(len(channels.content), network.config.enc_embed_dim)
    code = _place_code(network.config, len(channels.place))
    network.state_tokens.mul_(_NOISE)
    network.state_tokens[:, : code.shape[1]] += code
    network.state_embed.weight.mul_(_NOISE)
    network.state_embed.weight[channels.place[: code.shape[1]], torch.arange(code.shape[1])] += _PLACE


def _place_code(config: NetworkConfig, width: int) -> Tensor:
    """Return up to 8 numbers for the place of each state token, (N, n): twice its coordinates, and waves of them."""
    places = state_positions(config.state_size, config.state_pe).float()
    y, x = (places - places.mean(dim=0)).div(places.amax(dim=0).clamp_min(1.0) / 2).unbind(dim=1)
    waves = [f(math.pi * p) for p in (x, y) for f in (torch.sin, torch.cos)]
    return torch.stack([x, y, x, y, *waves], dim=1)[:, :width]


def _make_positional(cross: CrossAttention, heads: range) -> None:
    """Let heads look at their own place: constant queries and keys, which the rotary code alone tells apart.

    Only the two highest frequencies of either axis: the score then falls off within a patch or two.
    """
    head_dim = cross.projq.out_features // cross.heads
    quarter = head_dim // 4
    for head in heads:
        rows = slice(head * head_dim, (head + 1) * head_dim)
        for layer in (cross.projq, cross.projk):
            layer.weight[rows].mul_(_NOISE)
            bias = layer.bias[rows].zero_()
            for axis in (0, 2 * quarter):
                bias[axis : axis + min(2, quarter)] = _POSITIONAL


def _make_alike(cross: CrossAttention, head: int, query_from: Tensor, key_from: Tensor) -> None:
    """Let a head look at what is alike: queries and keys are the same projection of their channels."""
    head_dim = cross.projq.out_features // cross.heads
    rows = torch.arange(head * head_dim, (head + 1) * head_dim)
    same = _orthogonal(head_dim, len(query_from))
    for layer, source in ((cross.projq, query_from), (cross.projk, key_from)):
        layer.weight[rows] *= _NOISE
        layer.weight[rows[:, None], source] += same


def _carry(cross: CrossAttention, first: int, source: Tensor, target: Tensor, gain: float) -> None:
    """Let the value channels from the first-th on read the source channels and write them to the target channels."""
    values = torch.arange(first, first + len(source))
    cross.projv.weight[values, source] = 1.0
    cross.proj.weight[target, values] += gain


def _orthogonal(rows: int, columns: int) -> Tensor:
    return nn.init.orthogonal_(torch.empty(rows, columns))
