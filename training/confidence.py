"""Teach a trained network what it does not know: ``python -m training.confidence --run NAME``.

While depth is being learned, errors are larger than what confidence is rewarded for, and it settles at its floor, from
which gradients hardly lift it. Here, at the end, everything else stands still and the confidence alone is fitted to the
errors that are left: one linear layer on features that are computed once, in a minute or two on a CPU.
"""

from __future__ import annotations

import argparse
import math
import sys

import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn

from training.clips import network_input, render_clips, training_camera
from training.config import Recipe
from training.flats import build_shard
from training.losses import CONFIDENCE_REWARD, targets
from training.run_folder import RunFolder
from training.unroll import unroll
from ttt3r_ros.errors import UserError
from ttt3r_ros.model import Network
from ttt3r_ros.model.config import PATCH

#: Flats to fit on: none that is trained on, and none that tells figures.
SEEDS = range(600, 664)
_FLATS, _CLIPS, _STEPS, _BATCH = 16, 24, 1500, 4096
_RATE, _LARGEST = 3e-3, 6.0  #: of raw confidences, as in the loss


def main(argv: list[str] | None = None) -> int:
    """Fit, write the run's checkpoint anew, and say what has come of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="name of the run: its folder in training/runs, or a path")
    args = parser.parse_args(argv)
    try:
        folder = RunFolder.named(args.run)
        state = folder.load()
        recipe = Recipe.from_dict(state["recipe"])
        network = Network(recipe.network)
        network.load_state_dict(state["average"])
        low, middle, high = fit_confidence(network, recipe).tolist()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    state["average"] = network.state_dict()
    folder.save(state)
    print(f"confidence of the pixels: 5 % below {low:.2f}, half below {middle:.2f}, 95 % below {high:.2f}")
    return 0


def fit_confidence(network: Network, recipe: Recipe) -> Tensor:
    """Fit the camera head's confidence to the errors of its points, in place.

    Args:
        network: trained, with a linear head.
        recipe: it was trained with.

    Returns:
        (3,) the 5th, 50th and 95th percentile of the confidence of its pixels.

    Raises:
        UserError: the network's head is not linear.
    """
    if recipe.network.head_type != "linear":
        raise UserError("the confidence of a DPT head is not one layer; train with a linear head")
    network.eval().requires_grad_(False)
    features, errors = _seen(network, recipe)
    last = network.camera_head.get_submodule("mlp.fc2")
    assert isinstance(last, nn.Linear)
    rows = slice(3 * PATCH**2, 4 * PATCH**2)  # the fourth channel of every pixel of a patch

    torch.manual_seed(recipe.seed)
    layer = nn.Linear(features.shape[1], PATCH**2).to(features)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, math.log(max(CONFIDENCE_REWARD / float(errors.median()) - 1.0, 0.1)))
    optimizer = torch.optim.AdamW(layer.parameters(), _RATE, weight_decay=0.01)
    for step in track(range(_STEPS), "fitting"):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * step / _STEPS))
        chosen = torch.randint(len(features), (_BATCH,))
        confidence = 1 + layer(features[chosen]).clamp(max=_LARGEST).exp()
        loss = (confidence * errors[chosen] - CONFIDENCE_REWARD * confidence.log()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        last.weight[rows], last.bias[rows] = layer.weight, layer.bias
        sample = 1 + layer(features[:: max(1, len(features) // 4096)]).clamp(max=_LARGEST).exp()
        return torch.quantile(sample.flatten()[::8], torch.tensor([0.05, 0.5, 0.95]))


@torch.no_grad()
def _seen(network: Network, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Return what the last layer sees of every patch (P, C), and the errors of its pixels (P, 256) in raw space."""
    camera, stage = training_camera(recipe), recipe.stages[-1]
    generator = torch.Generator().manual_seed(recipe.seed)
    seen: list[Tensor] = []
    hook = network.camera_head.get_submodule("mlp.fc2").register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].flatten(0, 1))
    )
    features, errors = [], []
    for first in track(range(SEEDS.start, SEEDS.stop, _FLATS), "looking"):
        clips = render_clips(build_shard(range(first, first + _FLATS)), stage, _CLIPS, camera, generator)
        images, truth = network_input(clips.image, generator), targets(clips, camera)
        seen.clear()
        raw, _ = unroll(network, images, world=False)
        error = (raw.camera[:, :, :3] - truth.camera).norm(dim=2).flatten(0, 1)[:, None]
        features.append(seen[-1])
        errors.append(F.pixel_unshuffle(error, PATCH).flatten(2).transpose(1, 2).flatten(0, 1))
    hook.remove()
    return torch.cat(features), torch.cat(errors)


if __name__ == "__main__":
    sys.exit(main())
