"""Hints: what the inside of the network is told about motion while it trains. They are thrown away afterwards.

A pose is seven numbers, and the way to them is long: remember the first frame by place, find it again in the second,
compare places, gather. Learned from the poses alone, none of it helps before all of it is there. The hints are about
each step for itself, at every patch:

* `attention`: the content heads of the image decoder's first block are told where to look, namely at the state tokens
  of the places their patches came from (cross entropy against bilinear weights);
* `flow`: a linear probe at three depths of the image decoder has to tell how far each patch moved in the image;
* `moments`: two more, what that says about the camera's turn and shift, so that averaging over the image is enough to
  know them: place times displacement, and displacement over depth;
* `shift`: another, at its end, how far the patch's points moved in space;
* `keep`: the state that later frames leave behind is to stay what the first frame made it, which all of this refers to.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.correspondence import CELLS, Correspondence
from training.unroll import Inside
from training.wiring import content_heads
from ttt3r_ros.model import Network
from ttt3r_ros.model.layers import DecoderBlock, split_heads

#: Of the hints among each other.
WEIGHTS = {"attention": 0.5, "flow": 2.0, "moments": 2.0, "shift": 1.0, "keep": 1.0}
_DEPTH_WEIGHTS = (0.5, 0.5, 1.0)  # of the flow half way, at three quarters and at the end of the decoder
_MOMENT_SCALE = (0.5, 0.9, 0.25, 0.3, 0.2, 0.15)  # about their means, so that all count alike
_EPS = 1e-4


class Hints(nn.Module):
    """The probes, and all losses.

    The state tokens' grid has to be as wide as the images' patches, so that their first rows are the patches' places.
    """

    moment_scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.flow_probes = nn.ModuleList(_probe(width, 2 * CELLS**2) for _ in _DEPTH_WEIGHTS)
        self.moment_probes = nn.ModuleList(_probe(width, 6) for _ in _DEPTH_WEIGHTS[:-1])
        self.register_buffer("moment_scale", torch.tensor(_MOMENT_SCALE), persistent=False)
        self.shift_probe = _probe(width, 3 * CELLS**2)

    def losses(
        self, network: Network, inside: Inside, truth: Correspondence, *, keep: bool = True
    ) -> dict[str, Tensor]:
        """Return the hints' losses by name; `WEIGHTS` goes with them.

        Args:
            network: whose inside it is.
            inside: what it saw and made of the clips.
            truth: about the same.
            keep: give the two hints that take the state for a picture of the first frame.
        """
        levels = inside.levels[: len(self.moment_probes)]
        moments = [probe(level) - truth.moments for probe, level in zip(self.moment_probes, levels, strict=True)]
        shift = self.shift_probe(inside.levels[-1]).view_as(truth.shift) - truth.shift
        given = {
            "flow": self._flow(inside, truth),
            "moments": torch.stack(moments).div(self.moment_scale).abs().mean(),
            "shift": _length(shift).mean(),
        }
        if keep:
            given["attention"] = _attention(network, inside, truth)
            given["keep"] = (inside.state - inside.state[:, :1].detach()).abs().mean()
        return given

    def _flow(self, inside: Inside, truth: Correspondence) -> Tensor:
        total = truth.displacement.new_zeros(())
        for probe, level, weight in zip(self.flow_probes, inside.levels, _DEPTH_WEIGHTS, strict=True):
            error = probe(level).view_as(truth.displacement) - truth.displacement
            total = total + weight / sum(_DEPTH_WEIGHTS) * _mean(_length(error), truth.known)
        return total


def _probe(width: int, out: int) -> nn.Sequential:
    """Return a normalised linear readout that says 0 at first."""
    linear = nn.Linear(width, out)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.LayerNorm(width), linear)


def _attention(network: Network, inside: Inside, truth: Correspondence) -> Tensor:
    """Return how far the content heads' attention is from the true places, which are the first state tokens."""
    logits = _content_logits(network, inside)
    wanted = torch.nn.functional.pad(truth.weights.flatten(0, 1), (0, logits.shape[-1] - truth.weights.shape[-1]))
    cross_entropy = -(wanted[:, None] * logits.log_softmax(dim=-1)).sum(dim=-1)
    excess = cross_entropy - torch.special.entr(wanted).sum(dim=-1)[:, None]
    return _mean(excess, truth.inside.flatten(0, 1)[:, None].expand_as(excess))


def _content_logits(network: Network, inside: Inside) -> Tensor:
    """Return the (F, heads, M, N) scores of the first image block's content heads, F frames of all clips together.

    Computed once more: the network itself never has them at hand (its attention is fused).
    """
    config, block = network.config, network.image_decoder[0]
    assert isinstance(block, DecoderBlock)
    head_dim = config.dec_embed_dim // config.dec_num_heads
    rotary = network.rotary.image(inside.grid, head_dim, inside.state.device, with_pose=True)
    rotary_state = network.rotary.state(head_dim, inside.state.device)
    x = torch.cat([inside.pose_query, network.image_embed(inside.features)], dim=2).flatten(0, 1)
    x = block.norm2(x + block.attn(block.norm1(x), rotary))
    cross, heads = block.cross_attn, content_heads(config)
    query = rotary.turn(split_heads(cross.projq(x), cross.heads))[:, heads, 1:]
    key = rotary_state.turn(split_heads(cross.projk(block.norm_y(inside.state.flatten(0, 1))), cross.heads))
    logits: Tensor = query @ key[:, heads].mT / head_dim**0.5
    return logits


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean of the chosen values; 0 if there are none."""
    return (values * chosen).sum() / chosen.sum().clamp_min(1)


def _length(vector: Tensor) -> Tensor:
    """Return the Euclidean length over the last axis, with a gradient at 0."""
    return (vector.square().sum(dim=-1) + _EPS).sqrt()
