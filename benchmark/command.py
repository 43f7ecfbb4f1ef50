"""How every benchmark is started (``python -m benchmark.NAME``), and the arguments that several of them share.

Benchmarks import torch, and what needs it, within functions: mistakes in arguments are said before that.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import numpy as np
from rich.console import Console
from rich.table import Table

from ttt3r_ros.cli.arguments import at_least_one, output_file, output_folder, positive
from ttt3r_ros.errors import UserError
from ttt3r_ros.settings import add_options, declarations
from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings
from ttt3r_ros.synthetic.limits import Motion

if TYPE_CHECKING:
    from ttt3r_ros.stream.stream import Stream

Result = TypeVar("Result")

#: What the longer names among the parameters of a stream are also called here.
SHORT = {"update_rule": "--rule", "reset_policy": "--policy", "reset_interval": "--interval"}


def _assignment(text: str) -> str:
    name, sign, _ = text.partition(":=")
    if not (name and sign):
        raise argparse.ArgumentTypeError(f"must be NAME:=VALUE, got {text!r}")
    return text


_SHARED: dict[str, dict[str, Any]] = {
    "frames": {"type": at_least_one, "help": "frames of each walk or run (default: %(default)s)"},
    "walks": {"type": at_least_one, "default": 6, "help": "number of walks (default: %(default)s)"},
    "motion": {"choices": get_args(Motion), "default": "wheeled", "help": "of the camera (default: %(default)s)"},
    "seeds": {"type": at_least_one, "help": "held-out apartments (default: %(default)s)"},
    "fps": {"type": positive, "default": 15.0, "help": "frames per second of a walk (default: %(default)s)"},
    "size": {
        "type": at_least_one,
        "nargs": 2,
        "metavar": ("W", "H"),
        "help": "of the images [px] (default: %(default)s)",
    },
    "work": {"type": output_folder, "help": "folder for what can be used again (default: %(default)s)"},
    "param": {
        "type": _assignment,
        "action": "append",
        "default": [],
        "metavar": "NAME:=VALUE",
        "help": "parameter of the node",
    },
    "markdown": {"type": output_file, "help": "write the table to this file"},
    "picture": {"type": output_file, "help": "draw the figures to this PNG"},
}


def parser(doc: str | None, *shared: str, **defaults: object) -> argparse.ArgumentParser:
    """Return a parser with ``--json`` and some of the shared arguments, described by a benchmark's docstring.

    Args:
        doc: the docstring.
        shared: names of arguments; parameters of a stream or its network are among them.
        defaults: of the shared arguments, where another one suits this benchmark.
    """
    result = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in shared:
        if name in _SHARED:
            result.add_argument(f"--{name}", **_SHARED[name])
        else:
            owner = NetworkSettings if name in {item.name for item in declarations(NetworkSettings)} else StreamSettings
            add_options(result, owner, only=(name,), also=SHORT)
    result.add_argument("--json", type=output_file, help="write all figures to this file")
    result.set_defaults(**defaults)
    return result


def start(
    arguments: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace, Console], Result],
    report: Callable[[Result, argparse.Namespace, Console], bool],
    argv: list[str] | None,
    *,
    figures: Callable[[Result], object] = lambda result: result,
) -> int:
    """Measure, report and write the figures; return the exit status.

    Args:
        arguments: what the command line may say.
        measure: does the work; raises a `UserError` where it cannot.
        report: prints a table and draws pictures; returns whether what the benchmark demands is met.
        argv: the command line; None for this process's own.
        figures: what of the result goes to ``--json``.

    Returns:
        0; 1 where what the benchmark demands is not met; 2 where something could not be measured or written.
    """
    args, console = arguments.parse_args(argv), Console()
    try:
        NetworkSettings(weights=getattr(args, "weights", "")).check_weights_file()
        result = measure(args, console)
        keep(figures(result), args)
        is_met = report(result, args, console)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0 if is_met else 1


def keep(figures: object, args: argparse.Namespace) -> None:
    """Write figures to ``--json`` where asked to; those so far too, where it takes long to get all."""
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


def stream(args: argparse.Namespace) -> Stream:
    """Return a stream with the given ``--weights`` and ``--interval``, and else the node's own settings.

    Raises:
        UserError: the weights cannot be used.
    """
    from ttt3r_ros.stream.load import load_backbone
    from ttt3r_ros.stream.stream import Stream

    loaded = load_backbone(NetworkSettings(weights=args.weights, device="cpu"))
    settings = StreamSettings(weights_interval=loaded.segment_frames, reset_interval=args.reset_interval)
    return Stream(loaded.backbone, settings)


def show(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    args: argparse.Namespace,
    console: Console,
    *,
    title: str = "",
    upright: bool = False,
) -> None:
    """Print a table, and write it to ``--markdown`` where asked to.

    Args:
        header: names of the columns.
        rows: cells of each row, the first of which is its name.
        args: of the command line.
        console: to print to.
        title: above the table.
        upright: print each row as a column, where there are more columns than fit side by side.
    """
    names, *lines = zip(header, *rows) if upright else (header, *rows)
    table = Table(title=title or None, title_justify="left")
    for name in names:
        table.add_column(name, justify="right" if table.columns else "left")
    for line in lines:
        table.add_row(*line)
    console.print(table)
    if args.markdown:
        written = "".join(f"| {' | '.join(line)} |\n" for line in (header, ("---",) * len(header), *rows))
        args.markdown.write_text(f"{title}\n\n{written}" if title else written)


def spread(values: Sequence[float]) -> str:
    """Return the median of values, with the 5th and the 95th percentile in brackets."""
    low, middle, high = np.nanpercentile(values or [np.nan], (5, 50, 95))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"
