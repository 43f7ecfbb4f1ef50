"""``evaluate``: a public data set by its published protocol, under every rule, reset policy and length."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ttt3r_ros.cli.arguments import at_least_one, folder_path, not_negative, zero_or_more
from ttt3r_ros.cli.parser import CommandParser
from ttt3r_ros.errors import UserError
from ttt3r_ros.model.config import UPDATE_RULES
from ttt3r_ros.settings import add_options
from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings

_MISTAKE, _STOPPED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 130 stopped, 2 for what the user can mend."""
    options = _parser().parse_args(argv)
    try:
        if options.list:
            return _list()
        return _run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return _MISTAKE
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return _STOPPED


def _run(options: argparse.Namespace) -> int:
    from ttt3r_ros.protocols.catalog import dataset_named  # light; torch comes when all this is found to be in order

    NetworkSettings(weights=options.weights).check_weights_file()
    if options.settings == "published" and "adaptive" in options.resets:
        raise UserError("--settings published knows resets after a number of frames alone; use --settings node")
    if options.ray_address is not None and options.engine != "ray":
        raise UserError("--ray-address goes with --engine ray")
    if options.dataset is None:
        raise UserError("which data set? evaluate --list shows what there is")
    dataset = dataset_named(options.dataset)
    if options.data is None:
        raise UserError(f"--data FOLDER is missing; expected: {dataset.layout}")
    dataset.present(Path(os.path.expanduser(options.data)), tuple(options.sequences))

    from rich.console import Console

    from ttt3r_ros.protocols.predictors import NEVER, PredictorSpec, loaded
    from ttt3r_ros.protocols.run import Evaluation, evaluate

    resets = tuple(options.resets)
    if not resets:
        resets = (NEVER,) if options.settings == "published" else (str(loaded(options.weights).segment_frames),)
    evaluation = Evaluation(
        PredictorSpec(
            settings=options.settings, weights=options.weights, device=options.device, image_size=options.image_size
        ),
        rules=tuple(options.rules),
        resets=resets,
        lengths=tuple(dict.fromkeys(options.lengths)),
        sequences=tuple(options.sequences),
        voxel=options.voxel,
        engine=options.engine,
        jobs=options.jobs,
        ray_address=options.ray_address,
    )
    output = options.output or Path(f"evaluation_{options.dataset}_{options.settings}")
    console = Console()
    cells = evaluate(options.dataset, options.data, output, evaluation, console)
    console.print((output / "results.md").read_text(encoding="utf-8"), markup=False, highlight=False, soft_wrap=True)
    console.print(f"results in {output}", highlight=False, soft_wrap=True)
    return 0 if any(cell.sequences for cell in cells) else 1


def _list() -> int:
    from ttt3r_ros.protocols.catalog import DATASETS

    for dataset in DATASETS.values():
        lengths = ", ".join(str(length) if length else "all" for length in dataset.lengths)
        print(f"{dataset.name}: {dataset.title} ({dataset.task}, {len(dataset.sequences)} sequences)")
        print(f"    layout: {dataset.layout}")
        print(f"    frames: {lengths}")
        print(f"    from:   {dataset.url}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "evaluate",
        description="Run a public data set by its published protocol and write figures beside the published ones. "
        "An interrupted run goes on with the same command.",
    )
    add = parser.add_argument
    add("dataset", nargs="?", metavar="DATASET", help="see --list")
    add("--list", action="store_true", help="show the data sets, their layouts and where their owners offer them")
    add("--data", type=folder_path, metavar="FOLDER", help="folder of the data set")
    add("--output", type=folder_path, metavar="FOLDER", help="for the results (default: evaluation_DATASET_SETTINGS)")
    add(
        "--settings",
        choices=("published", "node"),
        default="published",
        help="the network as the published evaluation runs it (default), or what a user of the node gets",
    )
    add(
        "--rules",
        nargs="+",
        choices=UPDATE_RULES,
        default=["ttt3r", "cut3r"],
        metavar="RULE",
        help=f"update rules, of {', '.join(UPDATE_RULES)} (default: ttt3r cut3r)",
    )
    add(
        "--resets",
        nargs="+",
        type=_reset,
        default=[],
        metavar="POLICY",
        help="each never, a number of frames or, with node settings, adaptive (default: never; with node settings "
        "what suits the weights)",
    )
    add(
        "--lengths",
        nargs="+",
        type=zero_or_more,
        default=[],
        metavar="N",
        help="frames; 0 for all (default: the protocol's)",
    )
    add("--sequences", nargs="+", default=[], metavar="NAME", help="default: the protocol's")
    add_options(parser, NetworkSettings, only=("weights", "device"))
    add_options(parser, StreamSettings, only=("image_size",))
    add(
        "--voxel",
        type=not_negative,
        default=0.0,
        metavar="M",
        help="compare clouds of one point a voxel: much faster, not the published figure (default: exact)",
    )
    add("--jobs", type=at_least_one, default=1, metavar="N", help="processes (default %(default)s)")
    add("--engine", choices=("processes", "ray"), default="processes", help="where to compute (default %(default)s)")
    add("--ray-address", metavar="ADDRESS", help="of an existing Ray cluster (default: start one here)")
    return parser


def _reset(text: str) -> str:
    if text not in ("never", "adaptive") and not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"must be never, a number of frames or adaptive, got {text!r}")
    return text


if __name__ == "__main__":
    sys.exit(main())
