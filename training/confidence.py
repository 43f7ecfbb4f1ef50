"""Fit the confidence of a trained network: ``python -m training.confidence --run NAME``.

While depth is being learned, errors are larger than what confidence is rewarded for, and it settles at its floor, from
which gradients hardly lift it. Here, at the end, everything else stands still and the confidence alone is fitted to the
errors that are left: the head's last layer, on features that are computed once, in a minute or two on a CPU.
"""

from __future__ import annotations

import argparse
import math
import sys
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.clips import network_input, render_clips, training_camera
from training.config import Recipe
from training.export import export
from training.flats import build_shards
from training.losses import CONFIDENCE_REWARD, targets
from training.run_folder import RunFolder
from training.unroll import unroll
from ttt3r_ros.errors import program
from ttt3r_ros.model import Network
from ttt3r_ros.model.config import PATCH
from ttt3r_ros.runtime.device import choose_device

#: First of the flats to fit on: none that is trained on, and none that tells figures.
FIRST_SEED = 600
_FLATS, _FRAMES, _BATCH = 16, 288, 4096  # flats and frames that are looked at together
_EVERY = 97  # pixel of a DPT head: neighbours tell the same
_RATE, _LARGEST = 3e-3, 6.0  #: of raw confidences, as in the loss
_LOOKING = 0.6  # of the time, at most, for the features


@program
def main(argv: list[str] | None = None) -> int:
    """Fit, write the run's checkpoint anew, and say what has come of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="name of the run: its folder in training/runs, or a path")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    args = parser.parse_args(argv)
    low, middle, high = fit_run(RunFolder.named(args.run), choose_device(args.device))
    print(f"confidence of the pixels: 5 % below {low:.2f}, half below {middle:.2f}, 95 % below {high:.2f}")
    return 0


def fit_run(folder: RunFolder, device: torch.device, until: float = math.inf) -> list[float]:
    """Fit the averaged weights of a run's checkpoint, and write them there and to its weights file.

    Args:
        folder: of the run.
        device: where to compute.
        until: reading of `time.monotonic` to be done at; what there is no time for is left out.

    Returns:
        The 5th, 50th and 95th percentile of the confidence of its pixels.

    Raises:
        UserError: there is no checkpoint.
    """
    state = folder.load()
    recipe = Recipe.from_dict(state["recipe"])
    network = Network(recipe.network)
    network.load_state_dict(state["average"])
    percentiles: list[float] = fit_confidence(network.to(device), recipe, until).tolist()
    state["average"] = network.cpu().state_dict()
    folder.save(state)
    export(state, folder.weights)
    return percentiles


def fit_confidence(network: Network, recipe: Recipe, until: float = math.inf) -> Tensor:
    """Fit the camera head's confidence to the errors of its points, in place.

    Args:
        network: trained.
        recipe: it was trained with.
        until: see `fit_run`.

    Returns:
        (3,) the 5th, 50th and 95th percentile of the confidence of its pixels.
    """
    network.eval().requires_grad_(False)
    begun = time.monotonic()
    features, errors = _seen(network, recipe, begun + _LOOKING * (until - begun))
    last = _last_layer(network)
    said = errors.shape[1]
    rows = slice(3 * said, 4 * said)  # the fourth channel, of every pixel of a patch or of the one

    begun = time.monotonic()
    generator = torch.Generator(features.device).manual_seed(recipe.seed)
    layer = nn.Linear(features.shape[1], said).to(features)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, math.log(max(CONFIDENCE_REWARD / float(errors.median()) - 1.0, 0.1)))
    optimizer = torch.optim.AdamW(layer.parameters(), _RATE, weight_decay=0.01)
    step = 0
    while (part := max(step / recipe.confidence_steps, (time.monotonic() - begun) / max(until - begun, 1e-9))) < 1:
        for group in optimizer.param_groups:
            group["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * part))
        chosen = torch.randint(len(features), (_BATCH,), generator=generator, device=features.device)
        confidence = 1 + layer(features[chosen]).clamp(max=_LARGEST).exp()
        loss = (confidence * errors[chosen] - CONFIDENCE_REWARD * confidence.log()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
    with torch.no_grad():
        assert last.bias is not None
        last.weight[rows], last.bias[rows] = layer.weight.view_as(last.weight[rows]), layer.bias
        sample = 1 + layer(features[:: max(1, len(features) // 4096)]).clamp(max=_LARGEST).exp()
        return torch.quantile(
            sample.flatten()[:: max(1, sample.numel() // 100_000)].cpu(), torch.tensor([0.05, 0.5, 0.95])
        )


def _last_layer(network: Network) -> nn.Linear | nn.Conv2d:
    """Return what makes the camera head's output: of a patch's 256 pixels (linear head) or of one (DPT)."""
    last = network.camera_head.get_submodule("mlp.fc2" if network.config.head_type == "linear" else "head.4")
    assert isinstance(last, nn.Linear | nn.Conv2d)
    return last


@torch.no_grad()
def _seen(network: Network, recipe: Recipe, until: float = math.inf) -> tuple[Tensor, Tensor]:
    """Return what the last layer sees (P, C), and the errors of the pixels that it makes of it (P, K) in raw space.

    Of a linear head P are all patches and K are a patch's 256 pixels; of a DPT head P are some pixels and K is 1.
    """
    device = network.pose_token.device
    camera, stage = training_camera(recipe), recipe.stages[-1]
    generator = torch.Generator(device).manual_seed(recipe.seed)
    seen: list[Tensor] = []
    hook = _last_layer(network).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    features: list[Tensor] = []
    errors: list[Tensor] = []
    seeds = range(FIRST_SEED, FIRST_SEED + recipe.confidence_flats)
    parts = [seeds[first : first + _FLATS] for first in range(0, len(seeds), _FLATS)]
    for shard in build_shards(parts, recipe.workers):
        if features and time.monotonic() >= until:
            break
        clips = render_clips(shard.to(device), stage, max(1, _FRAMES // stage.frames), camera, generator)
        images, truth = network_input(clips.image, generator), targets(clips, camera)
        seen.clear()
        raw, _ = unroll(network, images, world=False)
        error = (raw.camera[:, :, :3] - truth.camera).norm(dim=2).flatten(0, 1)[:, None]
        if recipe.network.head_type == "linear":
            features.append(seen[-1].flatten(0, 1))
            errors.append(F.pixel_unshuffle(error, PATCH).flatten(2).transpose(1, 2).flatten(0, 1))
        else:
            features.append(seen[-1].movedim(1, -1).flatten(0, 2)[::_EVERY])
            errors.append(error.flatten()[::_EVERY, None])
    hook.remove()
    return torch.cat(features), torch.cat(errors)


if __name__ == "__main__":
    sys.exit(main())
