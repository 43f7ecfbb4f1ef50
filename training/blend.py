"""Average weights of several files: ``python -m training.blend A B --shares 0.7,0.3 --output FILE``.

Weights that were trained on from the same start can be averaged: the mean often has most of what each has gained, and
has forgotten less of what it knew at the start (Wortsman et al. 2022, arXiv 2109.01903 and 2203.05482). It costs
nothing but the evaluation that finds good shares.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ttt3r_ros.cli.arguments import output_file
from ttt3r_ros.errors import UserError, program


@program
def main(argv: list[str] | None = None) -> int:
    """Write the average."""
    parser = argparse.ArgumentParser(prog="python -m training.blend", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="weights of one shape")
    parser.add_argument("--shares", required=True, metavar="A,B", help="of each file; their sum is 1")
    parser.add_argument("--output", required=True, type=output_file, help="the .safetensors file to write")
    args = parser.parse_args(argv)
    try:
        shares = [float(share) for share in args.shares.split(",")]
    except ValueError:
        raise UserError(f"--shares takes numbers, as in 0.7,0.3, not {args.shares!r}") from None
    blend(args.files, shares, args.output)
    print(f"wrote {args.output}")
    return 0


def blend(files: Sequence[str], shares: Sequence[float], output: Path) -> None:
    """Write the weighted mean of several files' weights, in half precision.

    Raises:
        UserError: a file cannot be read, the networks differ in shape, or the shares do not fit.
    """
    if len(files) != len(shares) or abs(sum(shares) - 1) > 1e-6:
        raise UserError(f"--shares must give one number for each of the {len(files)} files, with a sum of 1")

    import torch

    from ttt3r_ros.model import Network
    from ttt3r_ros.weights.checkpoint import load_network, save_network
    from ttt3r_ros.weights.load import SEGMENT_FRAMES, SYNTHETIC

    networks, records = zip(*(load_network(file) for file in files), strict=True)
    if any(network.config != networks[0].config for network in networks):
        raise UserError(f"{' and '.join(files)} do not hold networks of one shape; only such can be averaged")
    states = [network.state_dict() for network in networks]
    mean = Network(networks[0].config)
    mean.load_state_dict(
        {name: sum(share * state[name].float() for share, state in zip(shares, states)) for name in states[0]}
    )
    started_from = [
        {"share": share, **{name: value for name, value in record.items() if name != "figures"}}
        for share, record in zip(shares, records)
    ]
    provenance = {
        "source": SYNTHETIC,
        "license": "Apache-2.0",
        "started_from": {"part": "mean", "of": started_from},
        SEGMENT_FRAMES: records[0].get(SEGMENT_FRAMES, 0),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    save_network(mean, output, provenance=provenance, dtype=torch.float16)


if __name__ == "__main__":
    sys.exit(main())
