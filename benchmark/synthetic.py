"""How fast the synthetic world renders: ``python -m benchmark.synthetic [--device cuda] [--json FILE]``.

On a CPU a process renders on one core, so there is one row for a single process and one for a process per core, as in a
data loader. Wall time is what a user gets; processor time per frame is the cost, independent of the machine's load.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from typing import Any

from rich.console import Console

from benchmark import command
from ttt3r_ros.cli.arguments import at_least_one
from ttt3r_ros.runtime.device import choose_device

SIZES = ((160, 120), (640, 480))


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table and, if asked to, write it as JSON."""
    arguments = command.parser(__doc__, "device", "seeds", "markdown", device="cpu", seeds=4)
    add = arguments.add_argument
    add("--repeats", type=at_least_one, default=5, help="measurements per row; the median is reported")
    add("--processes", type=at_least_one, help="processes of the second row, on a CPU (default: one per core)")
    return command.start(arguments, measure, report, argv)


def measure(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Render the flats, all of them in one call, at each size."""
    import torch

    args.device = str(choose_device(args.device))
    rows = []
    count = args.processes or torch.get_num_threads()
    several = [count] if args.device == "cpu" and count > 1 else []
    for size in SIZES:
        for processes in (1, *several):
            with console.status(f"rendering {size[0]} x {size[1]} in {processes} process(es)"):
                rows.append(_measure_all(size, processes, args))
    return {"device": args.device, "rows": rows}


def report(result: dict[str, Any], args: argparse.Namespace, console: Console) -> bool:
    """Print the table."""
    header = ("image", "processes", "frames/s", "CPU ms/frame", "build ms/sequence")
    rows = [
        (
            row["image"],
            str(row["processes"]),
            f"{row['frames_per_second']:.0f}",
            f"{row['cpu_ms_per_frame']:.1f}",
            f"{row['build_ms_per_sequence']:.0f}",
        )
        for row in result["rows"]
    ]
    title = f"synthetic world on {result['device']}, {args.seeds} flats per call"
    command.show(header, rows, args, console, title=title)
    return True


def _measure_all(size: tuple[int, int], processes: int, args: argparse.Namespace) -> dict[str, Any]:
    """Measure in several processes at once; frames per second add up, the rest is the mean."""
    jobs = [(size, args.device, args.seeds, args.repeats)] * processes
    if processes == 1:
        results = [_measure(*jobs[0])]
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            results = pool.starmap(_measure, jobs, chunksize=1)
    per_second, processor, build = zip(*results, strict=True)
    return {
        "image": f"{size[0]} x {size[1]}",
        "processes": processes,
        "frames_per_second": sum(per_second),
        "cpu_ms_per_frame": statistics.mean(processor),
        "build_ms_per_sequence": statistics.mean(build),
    }


def _measure(size: tuple[int, int], device: str, seeds: int, repeats: int) -> tuple[float, float, float]:
    """Return frames per second, processor milliseconds per frame and milliseconds to build a sequence."""
    from ttt3r_ros.synthetic import Sequence, render_clips

    frames = max(2, (25 if device == "cpu" else 250) * 160 * 120 // (size[0] * size[1]))
    start = time.process_time()
    sequences = [Sequence(s, frames, width=size[0], height=size[1], device=device) for s in range(seeds)]
    build = 1e3 * (time.process_time() - start) / seeds
    render_clips(sequences, 0, 2)
    wall, processor = [], []
    for _ in range(repeats):
        _wait(device)
        start, start_processor = time.perf_counter(), time.process_time()
        render_clips(sequences, 0, frames)
        _wait(device)
        wall.append((time.perf_counter() - start) / (frames * seeds))
        processor.append((time.process_time() - start_processor) / (frames * seeds))
    return 1.0 / statistics.median(wall), 1e3 * statistics.median(processor), build


def _wait(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main())
