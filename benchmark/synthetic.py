"""How fast the synthetic world renders: ``python benchmark/synthetic.py [--device cuda] [--json FILE]``.

Wall time says what a user gets; processor time per frame says what it costs, whatever else the machine is doing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ttt3r_ros.synthetic import Sequence, render_clips

SIZES = ((160, 120), (640, 480))


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table and, if asked to, write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repeats", type=int, default=5, help="measurements per row, of which the median counts")
    parser.add_argument("--seeds", type=int, default=4, help="flats, all rendered in one call")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    args = parser.parse_args(argv)
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        print("error: this machine has no CUDA device; use --device cpu", file=sys.stderr)
        return 2
    rows = []
    console = Console()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("rendering", total=len(SIZES) * args.repeats)
        for width, height in SIZES:
            frames = max(2, (25 if args.device == "cpu" else 250) * 160 * 120 // (width * height))
            built = time.perf_counter()
            sequences = [Sequence(s, frames, width=width, height=height, device=args.device) for s in range(args.seeds)]
            built = (time.perf_counter() - built) / args.seeds
            render_clips(sequences, 0, 2)
            wall, processor = [], []
            for _ in range(args.repeats):
                _wait(args.device)
                start, start_processor = time.perf_counter(), time.process_time()
                render_clips(sequences, 0, frames)
                _wait(args.device)
                wall.append((time.perf_counter() - start) / (frames * args.seeds))
                processor.append((time.process_time() - start_processor) / (frames * args.seeds))
                progress.advance(task)
            rows.append(
                {
                    "width": width,
                    "height": height,
                    "frames_per_second": 1.0 / statistics.median(wall),
                    "cpu_ms_per_frame": 1e3 * statistics.median(processor),
                    "build_ms_per_sequence": 1e3 * built,
                }
            )
    threads = torch.get_num_threads()
    table = Table(title=f"synthetic world on {args.device}, {threads} threads, {args.seeds} flats per call")
    for column in ("image", "frames/s", "CPU ms/frame", "build ms/sequence"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            f"{row['width']} x {row['height']}",
            f"{row['frames_per_second']:.0f}",
            f"{row['cpu_ms_per_frame']:.1f}",
            f"{row['build_ms_per_sequence']:.0f}",
        )
    console.print(table)
    if args.json:
        args.json.write_text(json.dumps({"device": args.device, "threads": threads, "rows": rows}, indent=2) + "\n")
    return 0


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main())
