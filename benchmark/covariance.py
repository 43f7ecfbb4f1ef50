"""Whether odometry's covariances match its errors: ``python -m benchmark.covariance [--weights FILE] [--output FILE]``.

The constants of the covariance model are fitted to the errors along walks through flats of seeds that training uses
(1000 and above) and checked on held-out flats (below 500): the mean normalised estimation error squared (NEES) per
degree of freedom of position, orientation, linear and angular velocity shall lie between 0.5 and 2. What is measured,
and against what, says `covariance_runs`. The exit status is 1 where it does not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence as Seq
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmark import command
from benchmark.covariance_figures import draw
from benchmark.covariance_fit import PARTS, Calibration, calibration, fit, replay
from benchmark.covariance_runs import Walked, load, save, walk
from ttt3r_ros.cli.frame_progress import FrameProgress
from ttt3r_ros.errors import UserError
from ttt3r_ros.runtime.device import choose_device, choose_precision
from ttt3r_ros.settings import add_options
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.covariance import CovarianceModel
from ttt3r_ros.stream.covariance_file import read_covariance, write_covariance
from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings
from ttt3r_ros.stream.stream import Stream
from ttt3r_ros.synthetic import Sequence
from ttt3r_ros.synthetic.path import Motion
from ttt3r_ros.weights.load import load_weights

#: First seeds of the walks: to fit, among those of training but beyond what it reaches; to check, held out.
FIT_SEED, CHECK_SEED = 1_000_000, 300
#: Fewest walks, and fewest frames of each, to judge by: 40 walks determine the NEES of the pose to a quarter of its
#: value, so 10 to a half.
MIN_WALKS, MIN_FRAMES = 10, 100
#: What NEES per degree of freedom counts as true.
TRUE_NEES = (0.5, 2.0)


def main(argv: list[str] | None = None) -> int:
    """Walk, fit, check, print a table, and write what was asked for."""
    return command.start(_parser(), run, report, argv, figures=lambda found: found[0])


def report(found: tuple[dict[str, Any], list[Walked]], args: argparse.Namespace, console: Console) -> bool:
    """Print table and constants, draw the picture if asked to; return whether the covariances are true."""
    result, check = found
    console.print(_table(result))
    console.print(_as_code(result["model"]), highlight=False)
    if args.output:
        fitted_to = {name: value for name, value in result.items() if not isinstance(value, dict)}
        write_covariance(args.output, CovarianceModel(**result["model"]), fitted_to)
    if args.picture:
        draw(args.picture, check, CovarianceModel(**result["model"]), _title(result))
    wrong = [name for name, part in result["checked"].items() if not TRUE_NEES[0] <= part["nees"] <= TRUE_NEES[1]]
    console.print(f"not true: {', '.join(wrong)}" if wrong else "the covariances tell the truth", highlight=False)
    return not wrong


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], list[Walked]]:
    """Return figures and constants, and the walks that they were checked on.

    Raises:
        UserError: an option cannot be used.
    """
    walks = args.check_walks if args.no_fit else min(args.fit_walks, args.check_walks)
    if walks < MIN_WALKS or args.frames < MIN_FRAMES:
        raise UserError(
            f"too little to judge covariances by: --fit-walks and --check-walks must be at least {MIN_WALKS}, --frames "
            f"at least {MIN_FRAMES}"
        )
    weights, device = load_weights(args.weights), choose_device(args.device)
    precision = choose_precision(args.precision, device)
    shipped = read_covariance(args.covariance_file)
    settings = StreamSettings.of(args, weights_interval=weights.segment_frames, covariance=shipped)
    facts = {
        "weights": Path(weights.source).name,
        "fingerprint": weights.fingerprint,
        "update_rule": args.update_rule,
        "image_size": args.image_size,
        "reset_policy": args.reset_policy,
        "reset_interval": settings.segment_frames,
        "precision": precision,
        "frames": args.frames,
        "fps": args.fps,
        "size": args.size,
    }
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    stream = Stream(Backbone(weights.network, device=device, precision=precision), settings)
    folder = args.work / key
    to_fit = [] if args.no_fit else _walks(stream, FIT_SEED, args.fit_walks, args, folder, console)
    to_check = _walks(stream, CHECK_SEED, args.check_walks, args, folder, console)
    model = shipped
    if to_fit:
        with console.status("fitting") as status:
            model = fit(to_fit, shipped, lambda cost: status.update(f"fitting: {cost:.4f}"))
    result = {
        **facts,
        "fit_walks": len(to_fit),
        "check_walks": len(to_check),
        "model": asdict(model),
        "fitted": _figures(to_fit, model),
        "checked": _figures(to_check, model),
        "shipped": _figures(to_check, shipped),
    }
    return result, to_check


def _walks(
    stream: Stream, first_seed: int, count: int, args: argparse.Namespace, folder: Path, console: Console
) -> list[Walked]:
    """Return walks through so many flats, alternately handheld and wheeled; those in the folder are not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    walks = []
    with FrameProgress(f"walks from seed {first_seed}", count * args.frames, console) as progress:
        for seed in range(first_seed, first_seed + count):
            file = folder / f"{seed}.npz"
            if not file.exists():
                motion: Motion = "wheeled" if seed % 2 else "handheld"
                sequence = Sequence(
                    seed,
                    args.frames,
                    width=args.size[0],
                    height=args.size[1],
                    fps=args.fps,
                    motion=motion,
                    device=str(stream.backbone.device),
                )
                save(file, walk(stream, sequence))
            walks.append(load(file))
            progress.update(len(walks) * args.frames)
    return walks


def _figures(walks: Seq[Walked], model: CovarianceModel) -> dict[str, dict[str, float]]:
    """Return each part's calibration."""
    if not walks:
        return {}
    errors = {"pose": [w.pose_errors()[1:] for w in walks], "twist": [w.twist_errors()[1:] for w in walks]}
    variances: dict[str, list[Any]] = {"pose": [], "twist": []}
    for walked in walks:
        pose, twist = replay(walked, model)
        variances["pose"].append(pose[1:])
        variances["twist"].append(twist[1:])
    return {
        name: asdict(calibration(np.concatenate(errors[kind])[:, columns], np.concatenate(variances[kind])[:, columns]))
        for name, (kind, columns) in PARTS.items()
    }


def _table(result: dict[str, Any]) -> Table:
    table = Table(title=_title(result), title_justify="left")
    for column in ("", "NEES, held out", "NEES, fitted to", "NEES, shipped", "within 1σ, 2σ", "RMS error", "RMS σ"):
        table.add_column(column, justify="right")
    for name in PARTS:
        part = Calibration(**result["checked"][name])
        fitted = result["fitted"].get(name)
        table.add_row(
            name,
            f"{part.nees:.2f}",
            f"{fitted['nees']:.2f}" if fitted else "-",
            f"{result['shipped'][name]['nees']:.2f}",
            f"{100 * part.within_1_sigma:.0f} %, {100 * part.within_2_sigma:.0f} %",
            f"{part.rms_error:.3g}",
            f"{part.rms_sigma:.3g}",
        )
    return table


def _title(result: dict[str, Any]) -> str:
    return (
        f"{result['check_walks']} held-out walks of {result['frames']} frames at {result['fps']:g} Hz; "
        f"{result['weights']}, {result['update_rule']}, resets: {result['reset_policy']}"
    )


def _as_code(model: dict[str, float]) -> str:
    """Return the constants as they stand in the code."""
    lines = [f"    {field.name}: float = {model[field.name]:.3g}" for field in fields(CovarianceModel)]
    return "\n".join(["class CovarianceModel:", *lines])


def _parser() -> argparse.ArgumentParser:
    shared = ("frames", "fps", "size", "work", "picture")
    parser = command.parser(__doc__, *shared, frames=300, size=(160, 120), work=Path(".cache/covariance"))
    add_options(parser, NetworkSettings, also=command.SHORT)
    add_options(parser, StreamSettings, also=command.SHORT)
    add = parser.add_argument
    add("--fit-walks", type=int, default=40, help="walks for the fit (default: %(default)s)")
    add("--check-walks", type=int, default=40, help="held-out walks for the check (default: %(default)s)")
    add("--no-fit", action="store_true", help="only check the current constants")
    add("--output", type=Path, help="write the constants to this file, for the node's parameter covariance_file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
