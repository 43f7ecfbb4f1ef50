"""Measure everything about this package on a GPU with one command: ``python -m benchmark.gpu [--minutes 8]``.

It needs CUDA, Python, torch, numpy, safetensors, pytest, hypothesis, and OpenCV or Pillow; no ROS. Each part runs in a
process of its own and is written to ``gpu_report/`` as soon as it is done: ``report.json``, ``report.md``,
``report.png`` and ``frames.png``, with all that the parts have printed in ``log.txt``. A part that fails is reported
with its traceback, as is one that takes too long, and the others still run. The card's settings are not changed.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmark.gpu.child import run_part, start_server
from benchmark.gpu.pictures import draw
from benchmark.gpu.plan import PARTS, RESERVE_S, Part, limit_s
from benchmark.gpu.report import OUT_OF_TIME, Report
from benchmark.gpu.setting import Setting, tiny
from ttt3r_ros.cli.arguments import folder_path, positive
from ttt3r_ros.errors import UserError
from ttt3r_ros.runtime.device import choose_device

ROOT = Path(__file__).resolve().parents[2]


def main(argv: list[str] | None = None) -> int:
    """Run all parts, or say what would be run; return 0 where all went well, 1 where something failed."""
    begun = time.monotonic()
    options = _parser().parse_args(argv)
    parts = tuple(part for part in PARTS if not options.parts or part.name in options.parts)
    if options.dry_run:
        print(_plan(parts, 60 * options.minutes, options.output))
        return 0
    if options.draw is not None:
        return _draw_again(options.draw)
    try:
        is_cuda = choose_device(options.device).type == "cuda"
        if not (is_cuda or options.tiny):
            raise UserError("the full size takes hours on a CPU; --tiny tries the command there")
        _make_folder(options.output)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the part under way too
    for name in ("report.png", "frames.png", "log.txt"):
        (options.output / name).unlink(missing_ok=True)
    setting = tiny(options.device) if options.tiny else Setting(options.device)
    report = Report.of(_facts(options), parts)
    report.write(options.output)
    run(report, parts, setting, options.output, begun + 60 * options.minutes)
    print(
        f"{options.output / 'report.md'}: {sum(c.status == 'done' for c in report.chapters)} of {len(parts)} parts done"
    )
    return int(report.failed)


def run(report: Report, parts: tuple[Part, ...], setting: Setting, output: Path, end: float) -> None:
    """Run the parts one after the other until the clock says `end` (of `time.monotonic`), and write after each."""
    start_server()
    for index, (part, chapter) in enumerate(zip(parts, report.chapters, strict=True)):
        limit = limit_s(parts, index, end - time.monotonic())
        if limit is None:
            chapter.status = OUT_OF_TIME
        else:
            print(f"{part.title} (at most {limit:.0f} s) … ", end="", flush=True)
            outcome = run_part(part, setting, output, limit)
            chapter.status, chapter.limit_s = outcome.status, limit
            chapter.seconds, chapter.start_s = outcome.seconds, outcome.start_s
            chapter.tables, chapter.failures = outcome.tables, outcome.failures
            print(f"{outcome.status}, {outcome.seconds:.1f} s", flush=True)
        report.write(output)
        _draw(report, output)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {path} cannot be created: {error.strerror}; choose another --output") from error


def _draw_again(folder: Path) -> int:
    if not (folder / "report.json").is_file():
        print(f"error: {folder} has no report.json; --draw takes the folder that a run has written", file=sys.stderr)
        return 2
    try:
        if not draw(Report.read(folder / "report.json"), folder / "report.png"):
            print(f"{folder}/report.json has nothing to draw yet")
    except (ImportError, OSError, ValueError, KeyError, TypeError) as error:
        print(f"error: cannot draw {folder}/report.json: {error}", file=sys.stderr)
        return 2
    return 0


def _draw(report: Report, output: Path) -> None:
    try:
        draw(report, output / "report.png")
        note = None
    except ImportError as error:
        note = f"no report.png: {error}; `python -m benchmark.gpu --draw FOLDER` makes it where matplotlib is installed"
    except Exception as error:  # a picture is no reason to stop measuring
        note = f"no report.png: {type(error).__name__}: {error}"
    if note is not None and note not in report.notes:
        report.notes.append(note)
        report.write(output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmark.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--minutes", type=positive, default=8.0, help="time limit for everything [min] (default %(default)g)"
    )
    parser.add_argument("--output", type=folder_path, default=ROOT / "gpu_report", help="folder (default gpu_report)")
    parser.add_argument("--device", default="cuda", help="cuda (default), cuda:N, or cpu with --tiny")
    parser.add_argument("--tiny", action="store_true", help="run everything at toy size, to try the command itself")
    names = sorted({part.name for part in PARTS})
    parser.add_argument(
        "--parts", nargs="+", choices=names, metavar="PART", help=f"run only these of {', '.join(names)}"
    )
    parser.add_argument(
        "--draw", type=folder_path, metavar="FOLDER", help="only redraw report.png from FOLDER/report.json"
    )
    parser.add_argument("--dry-run", action="store_true", help="list what would run, and do nothing")
    return parser


def _facts(options: argparse.Namespace) -> dict[str, Any]:
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = "unknown"
    return {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "of commit": commit,
        "on": options.device + (", at the size of a toy: no figure means anything" if options.tiny else ""),
        "in at most [min]": options.minutes,
    }


def _plan(parts: tuple[Part, ...], seconds: float, output: Path) -> str:
    total = sum(part.share_s for part in parts)
    lines = [f"{part.share_s / total * (seconds - RESERVE_S):6.0f} s  {part.title} ({part.name})" for part in parts]
    return "\n".join(
        [
            f"would run these parts in {seconds:.0f} s; what one leaves of its share, the later ones get:",
            *lines,
            f"and write to {output} after each",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
