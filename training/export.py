"""Write a run's averaged weights for the package: ``python -m training.export --run NAME --output FILE``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from training.config import Recipe
from training.run_folder import RunFolder
from ttt3r_ros.cli.arguments import output_file
from ttt3r_ros.errors import UserError, program

#: The package carries the file in its repository.
MAX_BYTES = 24 * 2**20


@program
def main(argv: list[str] | None = None) -> int:
    """Export, and say how large the file is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="name of the run: its folder in training/runs, or a path")
    parser.add_argument("--output", required=True, type=output_file, help="the .safetensors file to write")
    parser.add_argument(
        "--figures", type=Path, help="JSON of training.evaluate on these weights, to be kept in the file"
    )
    args = parser.parse_args(argv)
    state = RunFolder.named(args.run).load()
    figures = read_summary(args.figures) if args.figures else None
    size = export(state, args.output, figures)
    print(f"{args.output}: {size / 2**20:.2f} MiB after {state['counters']['steps']} steps")
    return 0


def export(state: dict[str, Any], output: Path, figures: dict[str, Any] | None = None) -> int:
    """Write a checkpoint's averaged weights in half precision, with their provenance.

    Args:
        state: of the checkpoint, as `Trainer.state` returns it.
        output: the file.
        figures: of the evaluation.

    Returns:
        The file's size in bytes.

    Raises:
        UserError: the file would be larger than the package may carry; none is written then.
    """
    import torch

    from ttt3r_ros.model import Network
    from ttt3r_ros.weights.checkpoint import save_network
    from ttt3r_ros.weights.load import SEGMENT_FRAMES, SYNTHETIC

    recipe = Recipe.from_dict(state["recipe"])
    network = Network(recipe.network)
    network.load_state_dict(state["average"])
    size = 2 * sum(parameter.numel() for parameter in network.state_dict().values())
    if size + 2**16 > MAX_BYTES:  # 64 KiB of names and provenance
        raise UserError(
            f"these weights take {size / 2**20:.1f} MiB, the package carries {MAX_BYTES / 2**20:.0f} at most"
        )
    counters = state["counters"]
    provenance = {
        "source": SYNTHETIC,
        "license": "Apache-2.0",
        "recipe": {key: value for key, value in recipe.to_dict().items() if key != "network"},
        "started_from": state["origin"],
        SEGMENT_FRAMES: recipe.segment_frames,
        "seed": recipe.seed,
        "steps": counters["steps"],
        "frames": counters["frames"],
        "minutes": round(counters["seconds"] / 60, 1),
        "figures": figures,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    save_network(network, output, provenance=provenance, dtype=torch.float16)
    return output.stat().st_size


def read_summary(path: Path) -> dict[str, Any]:
    """Return the summary in a file of `training.evaluate`.

    Raises:
        UserError: the file is missing or something else.
    """
    try:
        summary = json.loads(path.read_text())["summary"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a file that training.evaluate wrote") from error
    if not isinstance(summary, dict):
        raise UserError(f"{path} is not a file that training.evaluate wrote")
    return summary


if __name__ == "__main__":
    sys.exit(main())
