"""``reconstruct``: processes a video, a folder of images or a bag offline, with the same stream as the node.

What takes seconds to import comes when the arguments are found to be in order.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ttt3r_ros.camera.mask import Mask, MaskSettings, read_mask
from ttt3r_ros.cli.arguments import at_least_one, folder_path, not_negative, positive
from ttt3r_ros.cli.parser import CommandParser
from ttt3r_ros.errors import UserError
from ttt3r_ros.mapping.cloud import DepthSettings, why_no_depth
from ttt3r_ros.places.settings import MapSettings
from ttt3r_ros.settings import add_options
from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings

if TYPE_CHECKING:
    from rich.console import Console

    from ttt3r_ros.offline.report import Metrics
    from ttt3r_ros.offline.run import Run
    from ttt3r_ros.sources import Source
    from ttt3r_ros.stream.covariance import CovarianceModel
    from ttt3r_ros.stream.load import LoadedBackbone

#: Exit codes: nothing is known of the motion; user error; the recording is incomplete; stopped before the end.
_NO_MOTION, _MISTAKE, _NOT_WHOLE, _STOPPED = 1, 2, 3, 130

#: Short aliases of options.
ALSO = {"update_rule": "--rule", "mask_file": "--mask"}

#: Voxel size of the cloud [m], and its maximum number of points.
_VOXEL_SIZE, _MAX_POINTS = 0.02, 2_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `--help` lists them."""
    options = _parser().parse_args(argv)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    try:
        source = _checked(options)
        return _run(source, options, stop)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return _MISTAKE


def _checked(options: argparse.Namespace) -> Source:
    """Return the source, when everything that needs no network is in order."""
    from ttt3r_ros.offline.run_folder import RunFolder
    from ttt3r_ros.sources import open_source
    from ttt3r_ros.sources.synthetic import is_synthetic
    from ttt3r_ros.stream.covariance_file import read_covariance

    network = NetworkSettings.of(options)
    network.check_weights_file()
    read_covariance(network.covariance_file, warn=lambda _: None)
    StreamSettings.of(options)
    read_mask(options.mask_file)
    folder = RunFolder(options.output)
    if not is_synthetic(options.input):
        folder.check_apart(Path(os.path.expanduser(options.input)))
    folder.check(overwrite=options.overwrite)
    return open_source(options.input, topic=options.topic, fps=options.fps)


def _run(source: Source, options: argparse.Namespace, stop: threading.Event) -> int:
    from rich.console import Console

    from ttt3r_ros.mapping.voxel_map import VoxelMap
    from ttt3r_ros.offline.report import show_metrics, write_report
    from ttt3r_ros.offline.run import OutputOptions, Run
    from ttt3r_ros.offline.run_folder import RunFolder
    from ttt3r_ros.places.place_map import PlaceMap
    from ttt3r_ros.runtime.threads import choose_threads
    from ttt3r_ros.sources.synthetic import is_synthetic
    from ttt3r_ros.stream.covariance_file import read_covariance
    from ttt3r_ros.stream.load import load_backbone
    from ttt3r_ros.stream.stream import Stream

    console, folder = Console(), RunFolder(options.output)
    with folder.locked():
        network = NetworkSettings.of(options)
        loaded = load_backbone(network, warn=_warn)
        choose_threads(loaded.backbone.network)
        note = "" if is_synthetic(options.input) else loaded.note
        if note:
            console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
        covariance = read_covariance(network.covariance_file, loaded.backbone.fingerprint, warn=_warn)
        mask = read_mask(options.mask_file)
        left = folder.begin(_settings(options, loaded, covariance, mask), overwrite=options.overwrite)
        output_options = OutputOptions(
            depth=options.depth,
            rgb=options.rgb,
            cloud=options.cloud,
            min_confidence=options.min_confidence,
            max_depth=options.max_depth,
            undistort=options.undistort,
        )
        voxel_map = VoxelMap(_VOXEL_SIZE, _MAX_POINTS) if options.cloud else None
        settings = StreamSettings.of(options, weights_interval=loaded.segment_frames, covariance=covariance)
        place_map = None
        if options.map:
            place_map = PlaceMap(
                loaded.backbone, MapSettings(map_max_keyframes=options.map_max_keyframes), covariance=covariance
            )
        run = Run(Stream(loaded.backbone, settings), folder, output_options, voxel_map, mask, place_map)
        if left is not None:
            run.go_on_from(left)
            console.print(f"resuming after {run.findings.frames} frames of an earlier run", highlight=False)
        finished = _take_all(run, source, options, console, stop)
        metrics = write_report(folder, run, output_options, source.report, f"weights: {loaded.source}", note)
        if finished:
            folder.finish()
    show_metrics(metrics, console)
    moments = list(run.findings.moments)
    if moments and all(np.isnan(moment.depth).all() for moment in moments):
        max_confidence = max(float(moment.confidence.max()) for moment in moments)
        _warn(why_no_depth(max_confidence, options.min_confidence, options.max_depth))
    if finished:
        console.print(f"results in {folder.path}", highlight=False, soft_wrap=True)
        if (why := _useless(metrics)) is not None:
            print(f"error: {why}", file=sys.stderr)
            return _NO_MOTION
        return _NOT_WHOLE if metrics.damage else 0
    console.print(
        f"stopped; the results so far are in {folder.path}; run the same command again to continue",
        highlight=False,
        soft_wrap=True,
    )
    return _STOPPED


def _warn(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr)


def _useless(metrics: Metrics) -> str | None:
    """Return why the trajectory says nothing about the camera's motion, in one sentence; None if it does."""
    if not metrics.poses:
        return f"none of {metrics.frames} frames has a pose: {_most_common(metrics.lost)}"
    if metrics.poses > 1 and 2 * metrics.unconnected > metrics.poses:
        return (
            f"the motion before {metrics.unconnected} of {metrics.poses} frames is unknown, so the trajectory does not "
            f"show the camera's path: {_most_common(metrics.segments_begun)}; give images of one size, less than "
            "--max-frame-gap seconds apart"
        )
    return None


def _most_common(reasons: dict[str, int]) -> str:
    return next(iter(reasons), "no frame could be processed")


def _take_all(run: Run, source: Source, options: argparse.Namespace, console: Console, stop: threading.Event) -> bool:
    from ttt3r_ros.cli.frame_progress import FrameProgress
    from ttt3r_ros.offline.selection import Selection

    selection = Selection(options.start, options.duration, options.every, options.max_frames)
    with FrameProgress(source.name, selection.count(source), console) as progress:
        return run.take_all(source, selection, progress, stop)


def _settings(
    options: argparse.Namespace, loaded: LoadedBackbone, covariance: CovarianceModel, mask: Mask | None
) -> dict[str, Any]:
    """Return the settings that affect the results; a run can only be resumed with the same ones."""
    from ttt3r_ros.sources.synthetic import is_synthetic

    settings = {name: value for name, value in vars(options).items() if name not in ("output", "overwrite", "device")}
    if not is_synthetic(options.input):
        settings["input"] = str(Path(os.path.expanduser(options.input)).resolve())
    settings["weights"] = loaded.source
    settings["weights_fingerprint"] = loaded.backbone.fingerprint
    settings["covariance_file"] = asdict(covariance)  # by value, since the file may change
    settings["mask_file"] = mask and mask.checksum
    return settings


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "reconstruct",
        description="Reconstruct a recording: trajectory (TUM), depth images (PNG, millimeters), a colored cloud (PLY) "
        "and, if ground truth is known, the errors. Run the same command again to continue an interrupted run.",
        epilog="Exit status: 0 done; 1 done, but the images do not show how the camera moved; 2 an argument or a file "
        "cannot be used; 3 done, but the recording is cut off or damaged, and warnings name what is missing; "
        "130 stopped.",
    )
    add = parser.add_argument
    add(
        "input",
        help="a video, a folder of images, a rosbag2 (or ROS 1 bag), or synthetic[:seed=1,length=300,...], see "
        "docs/inputs.md",
    )
    add("--output", type=folder_path, required=True, metavar="DIR", help="folder for the results")
    add("--overwrite", action="store_true", help="delete the results of an earlier run in that folder")

    frames = parser.add_argument_group("frames").add_argument
    frames("--topic", help="image topic of a bag that has several")
    frames("--fps", type=positive, help="number frames at this rate instead of using the recording's own times")
    frames("--start", type=not_negative, default=0.0, metavar="S", help="skip the first S seconds")
    frames("--duration", type=positive, metavar="S", help="process S seconds of the recording")
    frames("--every", type=at_least_one, default=1, metavar="N", help="process every Nth frame")
    frames("--max-frames", type=at_least_one, metavar="N", help="process at most N frames")
    frames("--undistort", action="store_true", help="remove the lens distortion given by camera_info or sensor.yaml")

    for settings in (NetworkSettings, MaskSettings, StreamSettings):
        add_options(parser.add_argument_group(f"{settings.title}, like the node's parameters"), settings, also=ALSO)

    group = parser.add_argument_group("results")
    results = group.add_argument
    results("--depth", action=argparse.BooleanOptionalAction, default=True, help="write depth/ (default)")
    results(
        "--rgb",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="write rgb/, the images that depth/ belongs to, cropped and scaled as it is",
    )
    results("--cloud", action=argparse.BooleanOptionalAction, default=True, help="write cloud.ply (default)")
    add_options(group, DepthSettings)
    results(
        "--map",
        action="store_true",
        help="recognize places and take the drift back: write trajectory_map.txt and the map (needs GTSAM)",
    )
    add_options(group, MapSettings, only=("map_max_keyframes",))
    return parser


if __name__ == "__main__":
    sys.exit(main())
