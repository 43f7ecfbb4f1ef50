"""Train and evaluate the small weights from scratch: ``python -m training --minutes 8``.

One command trains, fits the confidence, exports, evaluates and draws, within the minutes given, and leaves all of it in
one folder. `training.train` is the loop itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.config import RECIPES, Recipe, recipe_by_name, tiny
from training.report import Report, machine, stages
from training.run_folder import RunFolder
from training.schedule import Budget
from ttt3r_ros.errors import UserError, program
from ttt3r_ros.runtime.device import choose_device
from ttt3r_ros.stream.settings import NetworkSettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from training.team import Team
    from training.trainer import Trainer

#: What of the time is kept for confidence, export and evaluation, and how much at most [s].
_RESERVE, _MAX_RESERVE_S = 0.15, 90.0
_CONFIDENCE = 0.4  # of that, at most
_LAST_S = 5.0  # for what comes after the last sequence of the evaluation
_NO_MATPLOTLIB = "matplotlib is not installed. `python -m training.curve` draws it where it is."
#: Wall time of a call where nothing is said about it; `make train` takes the same [min].
_MINUTES = 8.0
_SHOWN = ("loss", "camera", "shift", "rotation", "abs_rel", "delta_125", "rotation_deg", "rotation_ratio",
          "translation_ratio")  # fmt: skip
_POINT_HEADS = ("camera_head.", "world_head.")
_ENCODER = ("patch_embed.", "encoder.", "encoder_norm.")
_ENCODER_SHAPE = {"enc_embed_dim", "enc_depth", "enc_num_heads", "mlp_ratio"}
_HEAD_SHAPE = {"head_type", "dpt_width"}


@program
def main(argv: list[str] | None = None) -> int:
    """Train, or go on training, and finish."""
    begun = time.monotonic()
    args = _arguments(argv)
    if sum(value is not None for value in (args.minutes, args.training_minutes, args.steps)) > 1:
        raise UserError("give one of --minutes, --training-minutes and --steps")
    if args.init and args.encoder:
        raise UserError("give either --init or --encoder")
    if args.resume and (args.init or args.encoder):
        raise UserError("--resume goes on with the run's own weights; leave out --init and --encoder")
    for name in ("init", "encoder"):
        if (path := getattr(args, name)) is not None:
            setattr(args, name, os.path.expanduser(path) or ".")  # an empty name is refused as what it is: no file
    NetworkSettings(weights=args.init or args.encoder or "").check_weights_file()
    if any(value is not None and not value > 0 for value in (args.minutes, args.training_minutes, args.steps)):
        raise UserError("--minutes, --training-minutes and --steps must be greater than 0")
    folder = RunFolder.named(args.run or datetime.now().strftime("%Y%m%d-%H%M%S"))
    deadline, budget = _time(args, begun)

    from training.team import gathered
    from training.train import train

    with gathered(choose_device(args.device)) as (team, device):
        trainer = (_resumed if args.resume else _new)(folder, device, args, team)
        if not team.leads:
            with _signals() as (should_stop, was_paused):
                train(trainer, budget, folder, should_stop=should_stop, was_paused=was_paused)
            return 0
        succeeded = _train_and_finish(trainer, folder, budget, deadline, finish=not args.no_evaluation)
    return 0 if succeeded else 1


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    where = "name of the run: its folder in training/runs, or a path; default: the time"
    parser.add_argument("--run", "--name", help=f"{where} (torchrun takes --run for its own: --name)")
    parser.add_argument("--recipe", choices=sorted(RECIPES), help="default: the device's own")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--minutes", type=float, help=f"wall time for everything this call does; default {_MINUTES:g}")
    parser.add_argument("--training-minutes", type=float, metavar="N", help="of training alone, over all resumptions")
    parser.add_argument("--steps", type=int, help="optimizer steps, over all resumptions")
    parser.add_argument("--init", metavar="FILE", help="start from the weights in this file")
    parser.add_argument("--encoder", metavar="FILE", help="start from the encoder in this file, all else new")
    parser.add_argument("--stages", metavar="A,B", help="only these of the recipe's stages")
    parser.add_argument("--fuse", action="store_true", help="compile the network's blocks (needs a C++ compiler)")
    parser.add_argument("--tiny", action="store_true", help="all of it at sizes of no use: does it run here at all?")
    parser.add_argument("--no-evaluation", action="store_true", help="end with the training: no confidence, no figures")
    parser.add_argument("--resume", action="store_true", help="continue from the run's checkpoint")
    return parser.parse_args(argv)


def _time(args: argparse.Namespace, begun: float) -> tuple[float, Budget]:
    """Return the moment at which all must be done, and the budget of the training."""
    if args.steps is not None:
        return math.inf, Budget(steps=args.steps)
    if args.training_minutes is not None:
        return math.inf, Budget(minutes=args.training_minutes)
    seconds = 60 * (_MINUTES if args.minutes is None else args.minutes)
    reserve = 0.0 if args.no_evaluation else min(_RESERVE * seconds, _MAX_RESERVE_S)
    return begun + seconds, Budget(until=begun + seconds - reserve)


def _resumed(folder: RunFolder, device: torch.device, args: argparse.Namespace, team: Team) -> Trainer:
    from training.trainer import Trainer

    state = folder.load()
    return Trainer(Recipe.from_dict(state["recipe"]), device, state=state, fuse=args.fuse, team=team)


def _new(folder: RunFolder, device: torch.device, args: argparse.Namespace, team: Team) -> Trainer:
    from training.trainer import Trainer

    if folder.checkpoint.exists():
        raise UserError(f"the run {folder.path} exists; go on with --resume, or choose another name")
    recipe = recipe_by_name(args.recipe or ("gpu" if device.type == "cuda" else "cpu"))
    if args.tiny:
        recipe = tiny(recipe)
    if args.stages:
        recipe = recipe.only(args.stages.split(","))
    if not args.init and not args.encoder:
        return Trainer(recipe, device, fuse=args.fuse, team=team)
    weights, origin = _weights(recipe, args.init or args.encoder, encoder_only=bool(args.encoder))
    return Trainer(recipe, device, weights=weights, origin=origin, fuse=args.fuse, team=team)


def _weights(recipe: Recipe, path: str, *, encoder_only: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a file's weights, or those of its encoder, and what it says about where they come from.

    Where only the heads of points are of another kind than the recipe's, these are left out, and start anew. Weights
    for images of another size get state tokens of the recipe's number, see `resampled_state`.
    """
    from training.initial import resampled_state
    from ttt3r_ros.weights.check import check_file
    from ttt3r_ros.weights.checkpoint import load_network

    if refusal := check_file(Path(path)).refusal:
        raise UserError(refusal)
    network, provenance = load_network(path)
    network = resampled_state(network, recipe.network)
    found, wanted = asdict(network.config), asdict(recipe.network)
    other = {name for name in found if found[name] != wanted[name]} - _HEAD_SHAPE
    if encoder_only:
        other &= _ENCODER_SHAPE
    if other:
        differences = ", ".join(f"{name} {found[name]} instead of {wanted[name]}" for name in sorted(other))
        alone = "" if other & _ENCODER_SHAPE else ", or take its encoder alone (--encoder)"
        raise UserError(
            f"{path} holds a network of another shape than the recipe's ({differences}): choose another --recipe{alone}"
        )
    weights, part = network.state_dict(), "all"
    if encoder_only:
        weights, part = {k: v for k, v in weights.items() if k.startswith(_ENCODER)}, "encoder"
    elif network.config != recipe.network:
        weights, part = {k: v for k, v in weights.items() if not k.startswith(_POINT_HEADS)}, "all but heads"
    stages = [stage["name"] for stage in provenance.get("recipe", {}).get("stages", [])]
    kept: dict[str, Any] = {
        name: provenance[name] for name in ("steps", "frames", "minutes", "started_from") if name in provenance
    }
    return weights, {"part": part, "stages": stages, **kept}


def _train_and_finish(trainer: Trainer, folder: RunFolder, budget: Budget, deadline: float, *, finish: bool) -> bool:
    """Train, then do what comes after; what fails is reported, and the rest is done all the same.

    Returns:
        Whether nothing failed.
    """
    from training.confidence import fit_run  # now, since the code may change while it trains
    from training.train import Rhythm, train

    recipe, size = trainer.recipe, sum(p.numel() for p in trainer.network.parameters())
    report = Report(folder.report, f"Training run {folder.path.name}")
    report.add("Machine", machine(trainer.device))
    names = ", ".join(stage.name for stage in recipe.stages)
    report.add(
        "Recipe", f"{size / 1e6:.2f} M parameters, {recipe.width}x{recipe.height}; stages: {names}; {folder.path}"
    )
    seconds = deadline - time.monotonic()
    rhythm = Rhythm(log_s=min(15.0, seconds / 20), keep_s=min(120.0, seconds / 6))
    done, failures = False, 0
    try:
        with _signals() as (should_stop, was_paused):
            done = train(
                trainer, budget, folder, report=_show, should_stop=should_stop, was_paused=was_paused, rhythm=rhythm
            )
    except Exception:
        failures += 1
        report.add("Training failed", f"```\n{traceback.format_exc()}```")
    text = f"{stages(folder.entries())}\n\n{_curve(folder)}"
    report.add("Training", text if done else f"Stopped before its end; go on with `--resume`.\n\n{text}")
    if not finish or not (done or failures):  # somebody wants to have it stopped
        return not failures

    left = deadline - time.monotonic()
    parts: dict[str, Callable[[], str]] = {
        "Confidence": lambda: _fitted(fit_run(folder, trainer.device, time.monotonic() + _CONFIDENCE * left)),
        "Evaluation": lambda: _evaluate(folder, trainer.device, recipe, deadline),
    }
    for heading, part in parts.items():
        try:
            report.add(heading, part())
        except Exception:
            failures += 1
            report.add(f"{heading} failed", f"```\n{traceback.format_exc()}```")
    return not failures


def _curve(folder: RunFolder) -> str:
    if folder.curve.exists():
        return f"![curve]({folder.curve.name})"
    return f"There is no curve: {_NO_MATPLOTLIB if folder.entries() else 'the run took no steps.'}"


def _fitted(percentiles: list[float]) -> str:
    low, middle, high = percentiles
    return f"Of the pixels 5 % are below {low:.2f}, half below {middle:.2f}, 95 % below {high:.2f}."


def _evaluate(folder: RunFolder, device: torch.device, recipe: Recipe, deadline: float) -> str:
    """Evaluate the exported file, as a user would get it, and write the figures into it."""
    from training.evaluate import evaluate  # needs an image library, which training does not
    from training.export import export
    from training.pictures import draw
    from ttt3r_ros.weights.load import load_weights

    last = deadline - _LAST_S
    evaluation = evaluate(
        load_weights(str(folder.weights)),
        device,
        seeds=recipe.evaluation_flats,
        frames=recipe.evaluation_frames,
        until=last,
    )
    record = evaluation.record()
    folder.evaluation.write_text(json.dumps(record, indent=2) + "\n")
    export(folder.load(), folder.weights, record["summary"])
    try:
        draw(folder.picture, evaluation.pictured)
        picture = f"![image, depth, true depth]({folder.picture.name})"
    except (ImportError, UserError) as error:
        picture = f"There is no picture: {error}."
    return f"{evaluation.text()}\n\n{picture}"


def _show(entry: dict[str, Any]) -> None:
    shown = "  ".join(f"{name} {entry[name]:.3f}" for name in _SHOWN if name in entry)
    print(
        f"{100 * entry['progress']:5.1f} %  {entry['stage']:<6} step {entry['step']:>7}  "
        f"{entry['frames_per_second']:7.0f} frames/s  {shown}",
        flush=True,
    )


@contextlib.contextmanager
def _signals() -> Iterator[tuple[Callable[[], bool], Callable[[], bool]]]:
    """Give what says whether somebody asked politely to stop, and whether the process was paused since it last said so.

    SIGINT and SIGTERM ask to stop; a second time is not polite. SIGCONT ends a pause.
    """
    asked: list[int] = []
    continued: list[int] = []
    before: dict[int, Any] = {}

    def ask(number: int, _: object) -> None:
        asked.append(number)
        signal.signal(number, before[number])

    def was_paused() -> bool:
        paused = bool(continued)
        continued.clear()
        return paused

    before |= {int(number): signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    before[signal.SIGCONT] = signal.signal(signal.SIGCONT, lambda number, _: continued.append(number))
    try:
        yield lambda: bool(asked), was_paused
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
