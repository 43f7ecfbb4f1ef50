"""``reconstruct``: a video, a folder of images or a bag through the same stream as the node's, offline."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from ttt3r_ros.cli.arguments import at_least_one, not_negative, positive
from ttt3r_ros.cli.frame_progress import FrameProgress
from ttt3r_ros.errors import UserError
from ttt3r_ros.mapping.cloud import DepthSettings
from ttt3r_ros.mapping.voxel_map import VoxelMap
from ttt3r_ros.offline.report import show_metrics, write_report
from ttt3r_ros.offline.run import Run, Wishes
from ttt3r_ros.offline.run_folder import RunFolder
from ttt3r_ros.offline.selection import Selection
from ttt3r_ros.settings import add_options
from ttt3r_ros.sources import Source, open_source
from ttt3r_ros.sources.synthetic import is_synthetic
from ttt3r_ros.stream.covariance import CovarianceModel
from ttt3r_ros.stream.covariance_file import read_covariance
from ttt3r_ros.stream.load import LoadedBackbone, load_backbone
from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings
from ttt3r_ros.stream.stream import Stream

#: Exit codes: nothing came of it; what the user can mend; the recording is not whole; stopped before the end.
_NO_POSE, _MISTAKE, _NOT_WHOLE, _STOPPED = 1, 2, 3, 130

#: Short spellings of options.
ALSO = {"update_rule": "--rule"}

#: Side of the cubes that the cloud has one point of each [m], and how many points it has at most.
_VOXEL_SIZE, _MAX_POINTS = 0.02, 2_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code, as `--help` has them."""
    options = _parser().parse_args(argv)
    console = Console()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    try:
        return _run(options, console, stop)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return _MISTAKE


def _run(options: argparse.Namespace, console: Console, stop: threading.Event) -> int:
    source = open_source(options.input, topic=options.topic, fps=options.fps)
    folder = RunFolder(options.output)
    with folder.held():
        network = NetworkSettings.of(options)
        loaded = load_backbone(network, warn=lambda sentence: print(f"warning: {sentence}", file=sys.stderr))
        covariance = read_covariance(network.covariance_file)
        left = folder.begin(_settings(options, loaded, covariance), overwrite=options.overwrite)
        wishes = Wishes(
            depth=options.depth,
            rgb=options.rgb,
            cloud=options.cloud,
            min_confidence=options.min_confidence,
            max_depth=options.max_depth,
            undistort=options.undistort,
        )
        voxel_map = VoxelMap(_VOXEL_SIZE, _MAX_POINTS) if options.cloud else None
        settings = StreamSettings.of(options, weights_interval=loaded.segment_frames, covariance=covariance)
        run = Run(Stream(loaded.backbone, settings), folder, wishes, voxel_map)
        if left is not None:
            run.go_on_from(left)
            console.print(f"going on after {run.findings.frames} frames of an earlier run", highlight=False)
        finished = _take_all(run, source, options, console, stop)
        metrics = write_report(folder, run, wishes, source.report, f"weights: {loaded.source}")
        if finished:
            folder.finish()
    show_metrics(metrics, console)
    if finished:
        console.print(f"results in {folder.path}", highlight=False, soft_wrap=True)
        if not metrics.poses:
            print(f"error: none of {metrics.frames} frames has a pose: {_most_common(metrics.lost)}", file=sys.stderr)
            return _NO_POSE
        return _NOT_WHOLE if metrics.damage else 0
    console.print(
        f"stopped; what there is so far is in {folder.path}, and the same command goes on",
        highlight=False,
        soft_wrap=True,
    )
    return _STOPPED


def _most_common(reasons: dict[str, int]) -> str:
    return next(iter(reasons), "no frame could be taken")


def _take_all(run: Run, source: Source, options: argparse.Namespace, console: Console, stop: threading.Event) -> bool:
    selection = Selection(options.start, options.duration, options.every, options.max_frames)
    with FrameProgress(source.name, selection.count(source), console) as progress:
        return run.take_all(source, selection, progress, stop)


def _settings(options: argparse.Namespace, loaded: LoadedBackbone, covariance: CovarianceModel) -> dict[str, Any]:
    """Return what makes a difference to the results, so that a run can only go on with the same."""
    settings = {name: value for name, value in vars(options).items() if name not in ("output", "overwrite", "device")}
    if not is_synthetic(options.input):
        settings["input"] = str(Path(options.input).expanduser().resolve())
    settings["weights"] = loaded.source
    settings["weights_fingerprint"] = loaded.backbone.fingerprint
    settings["covariance_file"] = asdict(covariance)  # a file of the same name may hold others
    return settings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reconstruct",
        description="Reconstruct a recording: trajectory (TUM), depth images (PNG, millimeters), a colored cloud "
        "(PLY) and, if ground truth is known, the errors. The same command continues an interrupted run.",
        epilog="Exit status: 0 done; 1 done, but no frame has a pose; 2 an argument or input cannot be used; 3 done, "
        "but the recording is incomplete or damaged, as the warnings say; 130 stopped.",
    )
    add = parser.add_argument
    add("input", help="a video, a folder of images, a rosbag2 (or ROS 1 bag), or synthetic[:seed=1,length=300,...]")
    add("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    add("--overwrite", action="store_true", help="replace the results of an earlier run in that folder")

    frames = parser.add_argument_group("frames").add_argument
    frames("--topic", help="which images of a bag that has several")
    frames("--fps", type=positive, help="count frames at this rate instead of using the recording's own times")
    frames("--start", type=not_negative, default=0.0, metavar="S", help="skip the first S seconds")
    frames("--duration", type=positive, metavar="S", help="take S seconds of the recording")
    frames("--every", type=at_least_one, default=1, metavar="N", help="take one frame of N")
    frames("--max-frames", type=at_least_one, metavar="N", help="take at most N frames")
    frames("--undistort", action="store_true", help="undo the lens distortion given by camera_info or sensor.yaml")

    for settings in (NetworkSettings, StreamSettings):
        add_options(parser.add_argument_group(f"{settings.title}, as the node's parameters"), settings, also=ALSO)

    group = parser.add_argument_group("results")
    results = group.add_argument
    results("--depth", action=argparse.BooleanOptionalAction, default=True, help="write depth/ (default)")
    results("--rgb", action=argparse.BooleanOptionalAction, default=False, help="write rgb/, the images of depth/")
    results("--cloud", action=argparse.BooleanOptionalAction, default=True, help="write cloud.ply (default)")
    add_options(group, DepthSettings)
    return parser


if __name__ == "__main__":
    sys.exit(main())
