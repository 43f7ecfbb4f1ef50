"""Whether odometry's covariances match its errors: ``python -m benchmark.covariance [--weights FILE] [--output FILE]``.

The constants of the covariance model are fitted to the errors along walks through flats that training has not seen, in
two halves: constants of one half are checked on the other, and the other way round; those that are written are fitted
to both. Beside them, those in use are checked; the package's were fitted to other flats. Walking, driving, turning on
the spot, reversing, sideways and stopping, at 1 to 30 frames per second, and for longer at 15; the longer walks of
robots on wheels a second time with the camera's height and with wheel odometry. For each motion, for each rate and for
longer walks without and with these sources, the normalised estimation error squared (NEES) per degree of freedom of
position, orientation, linear and angular velocity, averaged over walks, shall lie between 0.5 and 2. What is measured,
and against what, says `covariance_runs`. The exit status is 1 where it does not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence as Seq
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmark import command
from benchmark.covariance_figures import draw
from benchmark.covariance_fit import PARTS, Calibration, Variances, calibration, fit, nees, replay, with_error
from benchmark.covariance_runs import Kind, Walked, aided, load, save, walk
from benchmark.runner import Frame
from benchmark.walk import FPS
from ttt3r_ros.cli.arguments import at_least_one, output_file
from ttt3r_ros.cli.frame_progress import FrameProgress
from ttt3r_ros.errors import UserError
from ttt3r_ros.runtime.device import choose_device, choose_precision
from ttt3r_ros.settings import add_options
from ttt3r_ros.stream.covariance import CovarianceModel
from ttt3r_ros.stream.covariance_file import read_covariance, write_covariance
from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings

if TYPE_CHECKING:
    from ttt3r_ros.stream.stream import Stream

#: First seeds of both halves' flats: one among those of training but beyond what it reaches, one held out. The
#: constants of the package were fitted to other flats, from 300 and from 1,000,000 on.
SEEDS = 1_000_200, 400
#: Fewest flats, and fewest frames of each walk, to judge by.
MIN_FLATS, MIN_FRAMES = 2, 40
#: What is walked in every flat; and the motions of robots on wheels among them.
MOTIONS = ("handheld", "wheeled", "turning", "reversing", "sideways", "stopping")
ON_WHEELS = ("wheeled", "turning", "reversing", "stopping")
#: What NEES per degree of freedom counts as true.
TRUE_NEES = (0.5, 2.0)


@dataclass(frozen=True)
class Trial:
    """A walk of a kind through a flat, with the variances that constants of the other half's flats give it."""

    flat: int
    kind: Kind
    walked: Walked
    variances: Variances


def main(argv: list[str] | None = None) -> int:
    """Walk, fit, check, print a table, and write what was asked for."""
    return command.start(_parser(), run, report, argv, figures=lambda found: found[0])


def report(found: tuple[dict[str, Any], list[Trial]], args: argparse.Namespace, console: Console) -> bool:
    """Print tables and constants, draw the picture if asked to; return whether the covariances are true."""
    result, trials = found
    console.print(_table(result))
    console.print(_as_code(result["model"]), highlight=False)
    if args.output:
        fitted_to = {name: value for name, value in result.items() if not isinstance(value, dict)}
        write_covariance(args.output, CovarianceModel(**result["model"]), fitted_to)
    if args.picture:
        draw(args.picture, [trial.walked for trial in trials], [trial.variances for trial in trials], _title(result))
    console.print(_table_of_groups(result))
    wrong = [
        f"{name}, {group}"
        for group, parts in result["groups"].items()
        for name, (nees_held_out, _) in parts.items()
        if not TRUE_NEES[0] <= nees_held_out <= TRUE_NEES[1]
    ]
    console.print(f"not true: {', '.join(wrong)}" if wrong else "the covariances tell the truth", highlight=False)
    return not wrong


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], list[Trial]]:
    """Return figures and constants, and the walks that they were checked on.

    Raises:
        UserError: an option cannot be used.
    """
    if args.flats < MIN_FLATS or args.frames < MIN_FRAMES or not min(args.rates) > 0 or len(args.seeds) != 2:
        raise UserError(
            f"too little to judge covariances by: --flats must be at least {MIN_FLATS}, --frames at least "
            f"{MIN_FRAMES}, --rates positive, --seeds two"
        )

    from benchmark.kept_backbone import KeptBackbone
    from ttt3r_ros.stream.stream import Stream
    from ttt3r_ros.weights.load import load_weights

    kinds = [Kind(motion, fps) for motion in args.motions for fps in args.rates]
    if args.long:
        kinds += [
            Kind(motion, FPS, args.long, has_sources)
            for motion in args.motions
            for has_sources in ((False, True) if motion in ON_WHEELS else (False,))
        ]
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
        "correct_motion": settings.correct_motion,
    }
    key = hashlib.sha256(json.dumps([facts, 6]).encode()).hexdigest()[:16]  # 6: what `Walked` holds
    stream = Stream(KeptBackbone(weights.network, device=device, precision=precision), settings)
    halves = [_walks(stream, seed, args.flats, kinds, args, args.work / key, console) for seed in args.seeds]
    everything = [one for half in halves for one in half]
    models, model = [shipped] * len(halves), shipped
    if not args.no_fit:
        with console.status("fitting") as status:

            def fitted(some: Seq[tuple[int, Kind, Walked]]) -> CovarianceModel:
                _, their_kinds, walks = zip(*(one for one in some if not one[1].has_sources))
                return fit(walks, their_kinds, shipped, lambda cost: status.update(f"fitting: {cost:.4f}"))

            models, model = [fitted(half) for half in reversed(halves)], fitted(everything)
    trials = [
        Trial(flat, kind, walked, replay(walked, held_out))
        for half, held_out in zip(halves, models)
        for flat, kind, walked in half
    ]
    in_use = [replace(t, variances=replay(t.walked, shipped)) for t in trials]
    result = {
        **facts,
        "rates": args.rates,
        "long": args.long,
        "walks": len(everything),
        "flats": len({flat for flat, *_ in everything}),
        "model": asdict(model),
        "held_out": _figures(trials),
        "fitted": _figures([replace(t, variances=replay(t.walked, model)) for t in trials]),
        "shipped": _figures(in_use),
        "groups": _by_group(trials),
        "groups_shipped": _by_group(in_use),
    }
    return result, trials


def _walks(
    stream: Stream,
    first_seed: int,
    flats: int,
    kinds: Seq[Kind],
    args: argparse.Namespace,
    folder: Path,
    console: Console,
) -> list[tuple[int, Kind, Walked]]:
    """Return a walk of each kind through each of so many flats; those in the folder are not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    walks, done = [], 0
    with FrameProgress(
        f"walks from seed {first_seed}", flats * sum(kind.frames or args.frames for kind in kinds), console
    ) as progress:
        for seed in range(first_seed, first_seed + flats):
            frames: list[Frame] = []
            for kind in kinds:
                file = folder / f"{seed} {kind.name}.npz"
                if not file.exists():
                    if not (kind.has_sources and frames):
                        frames = list(kind.walk(seed, args.frames, args.size, str(stream.backbone.device)))
                        _forget(stream)
                    save(file, walk(stream, aided(frames, seed) if kind.has_sources else frames))
                else:
                    frames = []
                walks.append((seed, kind, load(file)))
                done += kind.frames or args.frames
                progress.update(done)
    return walks


def _forget(stream: Stream) -> None:
    """Let the network's answers of the walk before go."""
    from benchmark.kept_backbone import KeptBackbone

    if isinstance(stream.backbone, KeptBackbone):
        stream.backbone.forget()


def _by_group(trials: Seq[Trial]) -> dict[str, dict[str, tuple[float, float]]]:
    """Return each part's NEES and its standard error, for each motion, for each rate, and for all."""
    found = [nees(trial.walked, trial.variances) for trial in trials]
    kinds = [trial.kind for trial in trials]
    short = [kind for kind in kinds if not kind.frames]
    rates = [f"{fps:g} Hz" for fps in sorted({kind.fps for kind in short})]
    long = dict.fromkeys(name for kind in kinds if kind.frames for name in kind.groups)
    groups = {name: [name in kind.groups for kind in kinds] for name in (*MOTIONS, *rates)}
    groups["all"] = [not kind.frames for kind in kinds]
    groups |= {name: [name in kind.groups for kind in kinds] for name in long}
    return {
        name: {
            part: with_error(
                np.array([one[part] for one, is_in in zip(found, members) if is_in]),
                [trial.flat for trial, is_in in zip(trials, members) if is_in],
            )
            for part in PARTS
        }
        for name, members in groups.items()
        if any(members)
    }


def _figures(trials: Seq[Trial]) -> dict[str, dict[str, float]]:
    """Return each part's calibration."""
    found = {}
    for name, (which, columns) in PARTS.items():
        errors = [t.walked.pose_errors() if which == "pose" else t.walked.twist_errors() for t in trials]
        variances = [t.variances[0 if which == "pose" else 1] for t in trials]
        e, v = (np.concatenate([part[1:, columns] for part in parts]) for parts in (errors, variances))
        found[name] = asdict(calibration(e, v))
    return found


def _table(result: dict[str, Any]) -> Table:
    table = Table(title=_title(result), title_justify="left")
    for column in ("", "NEES, held out", "NEES, fitted to", "NEES, shipped", "within 1σ, 2σ", "RMS error", "RMS σ"):
        table.add_column(column, justify="right")
    for name in PARTS:
        part = Calibration(**result["held_out"][name])
        table.add_row(
            name,
            f"{part.nees:.2f}",
            f"{result['fitted'][name]['nees']:.2f}",
            f"{result['shipped'][name]['nees']:.2f}",
            f"{100 * part.within_1_sigma:.0f} %, {100 * part.within_2_sigma:.0f} %",
            f"{part.rms_error:.3g}",
            f"{part.rms_sigma:.3g}",
        )
    return table


def _table_of_groups(result: dict[str, Any]) -> Table:
    is_fitted = result["groups"] != result["groups_shipped"]
    which = "held out and of the constants in use" if is_fitted else "of the constants in use"
    title = f"NEES, {which}, averaged over walks, with its standard error over flats"
    table = Table(title=title, title_justify="left")
    for column in ("", *PARTS):
        table.add_column(column, justify="right")
    for name, parts in result["groups"].items():
        shipped = result["groups_shipped"][name]
        both = ([found[part] for found in ((parts, shipped) if is_fitted else (shipped,))] for part in PARTS)
        table.add_row(name, *(", ".join(f"{nees:.2f} ± {error:.2f}" for nees, error in cell) for cell in both))
    return table


def _title(result: dict[str, Any]) -> str:
    return (
        f"{result['walks']} walks of {result['frames']} frames or {result['long']} through {result['flats']} flats; "
        f"{result['weights']}, {result['update_rule']}, resets: {result['reset_policy']}"
    )


def _as_code(model: dict[str, float]) -> str:
    """Return the constants as they stand in the code."""
    lines = [f"    {field.name}: float = {model[field.name]:.3g}" for field in fields(CovarianceModel)]
    return "\n".join(["class CovarianceModel:", *lines])


def _parser() -> argparse.ArgumentParser:
    shared = ("frames", "size", "work", "picture")
    parser = command.parser(__doc__, *shared, frames=50, size=(320, 240), work=Path(".cache/covariance"))
    add_options(parser, NetworkSettings, also=command.SHORT)
    add_options(parser, StreamSettings, also=command.SHORT)
    add = parser.add_argument
    add("--flats", type=at_least_one, default=6, help="flats in each half (default: %(default)s)")
    add(
        "--seeds",
        type=lambda text: [int(seed) for seed in text.split(",")],
        default=list(SEEDS),
        help="first seed of each half's flats, comma-separated (default: {},{})".format(*SEEDS),
    )
    add(
        "--rates",
        type=lambda text: [float(rate) for rate in text.split(",")],
        default=[1.0, 5.0, 15.0, 30.0],
        help="frames per second, comma-separated (default: 1,5,15,30)",
    )
    add("--motions", nargs="+", choices=MOTIONS, default=list(MOTIONS), help="(default: all)")
    add("--long", type=int, default=300, help="frames of the longer walks; 0 for none (default: %(default)s)")
    add("--no-fit", action="store_true", help="only check the current constants")
    add("--output", type=output_file, help="write the constants to this file, for the node's parameter covariance_file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
