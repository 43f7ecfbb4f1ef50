"""Whether a stream stays stable for hours: ``python -m benchmark.endurance [--frames 10000] [--weights FILE]``.

One long walk goes through the whole stream, as in the node but without ROS, once under each reset policy. Each policy
runs in a process of its own, whose memory and time per frame are sampled throughout; error and scale are measured
against ground truth. An interrupted run continues with the missing policies. The exit status is 1 if anything grew.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from benchmark import command
from benchmark.endurance_figures import COLUMNS, draw, rows, verdict, walk_title
from benchmark.runner import alone
from benchmark.walk import WalkSpec, rendered
from ttt3r_ros.cli.arguments import at_least_one
from ttt3r_ros.cli.frame_progress import FrameProgress
from ttt3r_ros.errors import UserError
from ttt3r_ros.runtime.device import choose_device, choose_precision
from ttt3r_ros.stream.settings import POLICIES

if TYPE_CHECKING:
    from benchmark.endurance_walk import Task

#: A flat that no weights were trained on or fitted to.
SEED = 499


def main(argv: list[str] | None = None) -> int:
    """Run the policies that are missing, print a table, write what was asked for."""
    return command.start(_parser(), run, report, argv)


def report(results: list[dict[str, Any]], args: argparse.Namespace, console: Console) -> bool:
    """Print table and verdict, write and draw what was asked for; return whether nothing grew."""
    command.show(COLUMNS, rows(results), args, console, title=walk_title(results), upright=True)
    if args.picture:
        draw(results, args.picture)
    faults = [f"{result['policy']}: {fault}" for result in results for fault in verdict(result)]
    console.print("\n".join(faults) or "memory and time per frame are flat", highlight=False)
    return not faults


def run(args: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """Return the result of each policy, old ones where the folder has them.

    Raises:
        UserError: an option cannot be used, or a policy's process ended early.
    """
    if args.frames < 100:
        raise UserError(f"--frames must be at least 100, not {args.frames}")

    from benchmark.endurance_walk import Task
    from ttt3r_ros.weights.load import load_weights

    device = choose_device(args.device)
    precision = choose_precision(args.precision, device)
    weights = load_weights(args.weights)
    spec = WalkSpec(args.seed, args.motion, args.frames, args.size[0], args.size[1], args.fps)
    rendered(spec, args.work, console, device=str(device))
    results = []
    for policy in args.policies:
        task = Task(
            walk=asdict(spec),
            work=str(args.work),
            weights=args.weights,
            fingerprint=weights.fingerprint,
            source=weights.source,
            device=str(device),
            precision=precision,
            rule=args.update_rule,
            policy=policy,
            interval=args.interval,
        )
        result = _finished(args.work, task)
        if result is None:
            result = alone(f"the policy {policy}", _work, task)
            _result_file(args.work, task).write_text(json.dumps(result) + "\n")
        results.append(result)
    return results


def _finished(work: Path, task: Task) -> dict[str, Any] | None:
    """Return the result of an earlier run of the same task."""
    file = _result_file(work, task)
    if not file.exists():
        return None
    result: dict[str, Any] = json.loads(file.read_text())
    return result if result["task"] == asdict(task) else None


def _work(task: Task) -> dict[str, Any]:
    import torch

    from benchmark.endurance_walk import run_policy

    torch.manual_seed(0)
    with FrameProgress(task.policy, task.walk["frames"], Console(stderr=True)) as progress:
        return run_policy(task, progress.update)


def _result_file(work: Path, task: Task) -> Path:
    return work / f"result_{task.policy}_{task.walk['frames']}.json"


def _parser() -> argparse.ArgumentParser:
    network = ("weights", "device", "precision", "update_rule")
    shared = (*network, "motion", "frames", "fps", "size", "work", "markdown", "picture")
    parser = command.parser(__doc__, *shared, frames=10_000, size=(320, 240), work=Path(".cache/endurance"))
    add = parser.add_argument
    add("--policies", nargs="+", choices=POLICIES, default=list(POLICIES), help="reset policies (default: all)")
    add("--interval", type=at_least_one, default=100, help="frames between resets under the policy interval")
    add("--seed", type=int, default=SEED, help="seed of the apartment and the path (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
