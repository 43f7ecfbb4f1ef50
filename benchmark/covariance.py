"""Whether odometry's covariances match its errors: ``python -m benchmark.covariance [--weights FILE] [--output FILE]``.

The constants of the covariance model are fitted to the errors along walks through flats of seeds that training uses
(1000 and above) and checked on held-out flats (below 500): walking, driving, turning on the spot, reversing and
stopping, at 1 to 30 frames per second. For each kind of motion, the mean normalised estimation error squared (NEES) per
degree of freedom of position, orientation, linear and angular velocity shall lie between 0.5 and 2. What is measured,
and against what, says `covariance_runs`. The exit status is 1 where it does not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import asdict, fields
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmark import command
from benchmark.covariance_figures import draw
from benchmark.covariance_fit import PARTS, Calibration, calibration, fit, replay
from benchmark.covariance_runs import Kind, Walked, load, save, walk
from ttt3r_ros.cli.frame_progress import FrameProgress
from ttt3r_ros.errors import UserError
from ttt3r_ros.runtime.device import choose_device, choose_precision
from ttt3r_ros.settings import add_options
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.covariance import CovarianceModel
from ttt3r_ros.stream.covariance_file import read_covariance, write_covariance
from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings
from ttt3r_ros.stream.stream import Stream
from ttt3r_ros.weights.load import load_weights

#: First seeds of the walks: to fit, among those of training but beyond what it reaches; to check, held out.
FIT_SEED, CHECK_SEED = 1_000_000, 300
#: Fewest flats, and fewest frames of each walk, to judge by.
MIN_FLATS, MIN_FRAMES = 2, 60
#: What is walked in every flat.
MOTIONS = ("handheld", "wheeled", "turning", "reversing", "stopping")
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
    console.print(_table_of_kinds(result))
    wrong = [
        f"{name}, {motion}"
        for motion, parts in result["motions"].items()
        for name, nees in parts.items()
        if not TRUE_NEES[0] <= nees <= TRUE_NEES[1]
    ]
    console.print(f"not true: {', '.join(wrong)}" if wrong else "the covariances tell the truth", highlight=False)
    return not wrong


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], list[Walked]]:
    """Return figures and constants, and the walks that they were checked on.

    Raises:
        UserError: an option cannot be used.
    """
    flats = args.check_flats if args.no_fit else min(args.fit_flats, args.check_flats)
    if flats < MIN_FLATS or args.frames < MIN_FRAMES or not min(args.rates) > 0:
        raise UserError(
            f"too little to judge covariances by: --fit-flats and --check-flats must be at least {MIN_FLATS}, --frames "
            f"at least {MIN_FRAMES}, --rates positive"
        )
    kinds = [Kind(motion, fps) for motion in MOTIONS for fps in args.rates]
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
        "size": args.size,
    }
    key = hashlib.sha256(json.dumps([facts, 2]).encode()).hexdigest()[:16]  # 2: what `Walked` holds
    stream = Stream(Backbone(weights.network, device=device, precision=precision), settings)
    folder = args.work / key
    to_fit = [] if args.no_fit else _walks(stream, FIT_SEED, args.fit_flats, kinds, args, folder, console)
    to_check = _walks(stream, CHECK_SEED, args.check_flats, kinds, args, folder, console)
    model = shipped
    if to_fit:
        with console.status("fitting") as status:
            model = fit(to_fit, shipped, lambda cost: status.update(f"fitting: {cost:.4f}"))
    result = {
        **facts,
        "rates": args.rates,
        "fit_walks": len(to_fit),
        "check_walks": len(to_check),
        "model": asdict(model),
        "fitted": _figures(to_fit, model),
        "checked": _figures(to_check, model),
        "shipped": _figures(to_check, shipped),
        "motions": _nees(to_check, kinds, lambda kind: kind.motion, model),
        "kinds": _nees(to_check, kinds, lambda kind: kind.name, model),
    }
    return result, to_check


def _walks(
    stream: Stream,
    first_seed: int,
    flats: int,
    kinds: Seq[Kind],
    args: argparse.Namespace,
    folder: Path,
    console: Console,
) -> list[Walked]:
    """Return a walk of each kind through each of so many flats; those in the folder are not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    walks, count = [], flats * len(kinds)
    with FrameProgress(f"walks from seed {first_seed}", count * args.frames, console) as progress:
        for seed in range(first_seed, first_seed + flats):
            for kind in kinds:
                file = folder / f"{seed} {kind.name}.npz"
                if not file.exists():
                    frames = kind.frames(seed, args.frames, args.size, str(stream.backbone.device))
                    save(file, walk(stream, frames))
                walks.append(load(file))
                progress.update(len(walks) * args.frames)
    return walks


def _nees(
    walks: Seq[Walked], kinds: Seq[Kind], group: Callable[[Kind], str], model: CovarianceModel
) -> dict[str, dict[str, float]]:
    """Return NEES of each part, for each group of kinds; walks are of all kinds in turn, flat by flat."""
    grouped: dict[str, list[Walked]] = {}
    for kind, walked in zip(cycle(kinds), walks):
        grouped.setdefault(group(kind), []).append(walked)
    return {
        name: {part: found["nees"] for part, found in _figures(some, model).items()} for name, some in grouped.items()
    }


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


def _table_of_kinds(result: dict[str, Any]) -> Table:
    table = Table(title="NEES, held out", title_justify="left")
    for column in ("", *PARTS):
        table.add_column(column, justify="right")
    for name, parts in [*result["motions"].items(), *result["kinds"].items()]:
        table.add_row(name, *(f"{parts[part]:.2f}" for part in PARTS))
    return table


def _title(result: dict[str, Any]) -> str:
    return (
        f"{result['check_walks']} held-out walks of {result['frames']} frames; "
        f"{result['weights']}, {result['update_rule']}, resets: {result['reset_policy']}"
    )


def _as_code(model: dict[str, float]) -> str:
    """Return the constants as they stand in the code."""
    lines = [f"    {field.name}: float = {model[field.name]:.3g}" for field in fields(CovarianceModel)]
    return "\n".join(["class CovarianceModel:", *lines])


def _parser() -> argparse.ArgumentParser:
    shared = ("frames", "size", "work", "picture")
    parser = command.parser(__doc__, *shared, frames=100, size=(320, 240), work=Path(".cache/covariance"))
    add_options(parser, NetworkSettings, also=command.SHORT)
    add_options(parser, StreamSettings, also=command.SHORT)
    add = parser.add_argument
    add("--fit-flats", type=int, default=4, help="flats for the fit (default: %(default)s)")
    add("--check-flats", type=int, default=4, help="held-out flats for the check (default: %(default)s)")
    add(
        "--rates",
        type=lambda text: [float(rate) for rate in text.split(",")],
        default=[1.0, 2.5, 5.0, 15.0, 30.0],
        help="frames per second, comma-separated (default: 1,2.5,5,15,30)",
    )
    add("--no-fit", action="store_true", help="only check the current constants")
    add("--output", type=Path, help="write the constants to this file, for the node's parameter covariance_file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
