"""Train the small weights: ``python -m training.train --run NAME [--minutes N] [--device cuda] [--resume]``."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from training.config import RECIPES, Recipe, recipe_by_name
from training.curve import draw_curve
from training.run_folder import RunFolder
from training.schedule import Budget
from training.trainer import Trainer
from ttt3r_ros.errors import UserError
from ttt3r_ros.runtime.device import choose_device
from ttt3r_ros.weights.checkpoint import load_network

_SHOWN = ("loss", "camera", "shift", "rotation", "abs_rel", "delta_125", "rotation_deg", "rotation_ratio",
          "translation_ratio")  # fmt: skip
_CURVE_S = 60.0
_ENCODER_SHAPE = ("enc_embed_dim", "enc_depth", "enc_num_heads", "mlp_ratio")


def main(argv: list[str] | None = None) -> int:
    """Train, or go on training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="name of the run: its folder in training/runs, or a path")
    parser.add_argument("--recipe", choices=sorted(RECIPES), help="default: the device's own")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--minutes", type=float, help="of training in all, over all resumptions; default 10")
    parser.add_argument("--steps", type=int, help="in all, instead of minutes")
    parser.add_argument("--stop-after", type=float, metavar="MINUTES", help="stop this call then, to be resumed")
    parser.add_argument("--init", metavar="FILE", help="start from the weights in this file")
    parser.add_argument("--encoder", metavar="FILE", help="start from the encoder in this file, all else new")
    parser.add_argument("--fuse", action="store_true", help="compile the network's blocks (needs a C++ compiler)")
    parser.add_argument("--stages", metavar="A,B", help="only these of the recipe's stages")
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    args = parser.parse_args(argv)
    console = Console()
    try:
        if args.minutes is not None and args.steps is not None:
            raise UserError("give either --minutes or --steps")
        device = choose_device(args.device)
        folder = RunFolder.named(args.run)
        trainer = _resumed(folder, device, args) if args.resume else _new(folder, device, args)
        budget = Budget(steps=args.steps) if args.steps else Budget(minutes=args.minutes or 10.0)
        return _train(trainer, budget, folder, console, _stopper(args.stop_after))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _resumed(folder: RunFolder, device: torch.device, args: argparse.Namespace) -> Trainer:
    state = folder.load()
    return Trainer(Recipe.from_dict(state["recipe"]), device, state=state, fuse=args.fuse)


def _new(folder: RunFolder, device: torch.device, args: argparse.Namespace) -> Trainer:
    if folder.checkpoint.exists():
        raise UserError(f"the run {folder.path} exists; go on with --resume, or choose another name")
    recipe = recipe_by_name(args.recipe or ("gpu" if device.type == "cuda" else "cpu"))
    if args.stages:
        recipe = recipe.only(args.stages.split(","))
    if args.init and args.encoder:
        raise UserError("give either --init or --encoder")
    if not args.init and not args.encoder:
        return Trainer(recipe, device, fuse=args.fuse)
    weights, origin = _weights(recipe, args.init or args.encoder, encoder_only=bool(args.encoder))
    return Trainer(recipe, device, weights=weights, origin=origin, fuse=args.fuse)


def _weights(recipe: Recipe, path: str, *, encoder_only: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a file's weights, or those of its encoder, and what it says about where they come from."""
    network, provenance = load_network(path)
    wanted = network.config == recipe.network
    if encoder_only:
        wanted = all(getattr(network.config, name) == getattr(recipe.network, name) for name in _ENCODER_SHAPE)
    if not wanted:
        raise UserError(f"{path} holds a network of another shape than the recipe's")
    parts = ("patch_embed.", "encoder.", "encoder_norm.") if encoder_only else ("",)
    weights = {key: value for key, value in network.state_dict().items() if key.startswith(parts)}
    stages = [stage["name"] for stage in provenance.get("recipe", {}).get("stages", [])]
    kept: dict[str, Any] = {
        name: provenance[name] for name in ("steps", "frames", "minutes", "started_from") if name in provenance
    }
    return weights, {"part": "encoder" if encoder_only else "all", "stages": stages, **kept}


def _train(
    trainer: Trainer, budget: Budget, folder: RunFolder, console: Console, should_stop: Callable[[], bool]
) -> int:
    torch.set_float32_matmul_precision("high")
    recipe = trainer.recipe
    size = sum(p.numel() for p in trainer.network.parameters())
    console.print(
        f"{size / 1e6:.2f} M parameters, {recipe.width}x{recipe.height}, on {trainer.device}; "
        f"stages: {', '.join(stage.name for stage in recipe.stages)}; run {folder.path}",
        highlight=False,
    )

    drawn = time.monotonic()

    def report(entry: dict[str, Any]) -> None:
        shown = "  ".join(f"{name} {entry[name]:.3f}" for name in _SHOWN if name in entry)
        console.print(
            f"{100 * entry['progress']:5.1f} %  {entry['stage']:<6} step {entry['step']:>7}  "
            f"{entry['frames_per_second']:7.0f} frames/s  {shown}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        nonlocal drawn
        if time.monotonic() - drawn > _CURVE_S:  # a GPU is idle meanwhile
            draw_curve(folder.curve, folder.entries())
            drawn = time.monotonic()

    done = trainer.run(budget, folder, report, should_stop=should_stop)
    draw_curve(folder.curve, folder.entries())
    console.print("done" if done else "stopped; go on with --resume", highlight=False)
    return 0


def _stopper(minutes: float | None) -> Callable[[], bool]:
    """Return what says whether to stop: this call's time is over, or somebody asked politely (SIGINT, SIGTERM)."""
    end = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: asked.append(number))
    return lambda: bool(asked) or time.monotonic() >= end


if __name__ == "__main__":
    sys.exit(main())
