"""Whether time per frame and memory grow with the number of frames: ``python -m benchmark.growth [--weights FILE]``.

Offline reconstruction networks attend to all earlier views, so each view costs more than the one before. A recurrent
one must not. One walk goes through a stream in four ways, each in a process of its own: `stream` (what the node does
without a map), `map` (with the accumulated cloud, as with `publish_map`), `places` (with the map of places, as with
`reconstruct --map`), and `offline` (all that `reconstruct` writes: depth images, colors, cloud, and what it needs to
resume).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from benchmark import command
from benchmark.runner import alone, resident_bytes
from benchmark.walk import Walk, WalkSpec, rendered
from ttt3r_ros.camera.calibration import Calibration
from ttt3r_ros.cli.frame_progress import FrameProgress
from ttt3r_ros.errors import UserError
from ttt3r_ros.mapping.voxel_map import VoxelMap
from ttt3r_ros.offline.run_folder import RunFolder
from ttt3r_ros.offline.selection import Selection
from ttt3r_ros.places.settings import MapSettings
from ttt3r_ros.sources import SourceFrame, SourceReport
from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings

if TYPE_CHECKING:
    from ttt3r_ros.places.place_map import PlaceMap

WAYS = ("stream", "map", "places", "offline")
#: A flat that no weights were trained on or fitted to.
SEED = 498
#: Largest permitted ratio of a frame's processor time in the last quarter of a run to that in the second.
MAX_SLOWDOWN = 1.2
SAMPLES = 40  #: of each run


@dataclass(frozen=True)
class Sample:
    """Figures at one moment of a run.

    Attributes:
        frame: frames so far.
        cpu_ms: processor time per frame since the sample before, over all threads [ms].
        rss_mib: resident memory of the process [MiB].
        points: in the map.
        keyframes, map_mib: in the map of places, and what they hold [MiB].
    """

    frame: int
    cpu_ms: float
    rss_mib: float
    points: int
    keyframes: int = 0
    map_mib: float = 0.0


@dataclass(frozen=True)
class Way:
    """Figures of one way.

    Attributes:
        way: its name.
        frames: of the walk.
        cpu_s: processor time for all of it, with what is written at its end [s].
        samples: on the way.
    """

    way: str
    frames: int
    cpu_s: float
    samples: list[Sample]


class _WalkSource:
    """A rendered walk as the source of a reconstruction, which measures what happens between its frames."""

    def __init__(self, walk: Walk, voxel_map: VoxelMap | None, place_map: PlaceMap | None) -> None:
        self._walk, self._map, self._places = walk, voxel_map, place_map
        self.name, self.length, self.rate_hz = walk.spec.name, walk.spec.frames, walk.spec.fps
        self.report, self.recorded_time, self.has_truth = SourceReport(), False, False
        self.T_base_camera = None
        self.samples: list[Sample] = []

    def frames(self, start_s: float = 0.0) -> Iterator[SourceFrame]:
        every = max(self.length // SAMPLES, 1)
        calibration = Calibration.of(self._walk.intrinsics)
        begun = time.process_time()
        for index, frame in enumerate(self._walk.frames(), start=1):
            yield SourceFrame(frame.image, frame.stamp_ns, calibration=calibration)
            if index % every == 0:  # the frame is done: the next one is asked for
                cpu_ms = 1e3 * (time.process_time() - begun) / every
                points = 0 if self._map is None else len(self._map)
                keyframes = () if self._places is None else self._places.content().keyframes
                held = sum(keyframe.nbytes for keyframe in keyframes) / 2**20
                self.samples.append(Sample(index, cpu_ms, resident_bytes() / 2**20, points, len(keyframes), held))
                begun = time.process_time()


def main(argv: list[str] | None = None) -> int:
    """Go every way, print a table, write what was asked for."""
    shared = ("weights", "device", "frames", "fps", "size", "work", "markdown", "picture")
    parser = command.parser(__doc__, *shared, frames=2000, size=(320, 240), work=Path(".cache/growth"))
    add = parser.add_argument
    add("--seed", type=int, default=SEED, help="apartment (default: %(default)s)")
    add("--ways", nargs="+", choices=WAYS, default=WAYS, help="which to go (default: all)")
    add("--map-max-keyframes", type=int, default=2000, help="of the map of places (default: %(default)s)")
    return command.start(parser, measure, report, argv)


def measure(args: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """Return the samples of every way.

    Raises:
        UserError: there are too few frames to tell.
    """
    if args.frames < 2 * SAMPLES:
        raise UserError(f"--frames must be at least {2 * SAMPLES}, not {args.frames}")
    spec = WalkSpec(args.seed, "wheeled", args.frames, args.size[0], args.size[1], args.fps)
    rendered(spec, args.work, console)
    results = []
    for way in args.ways:
        gone = alone(f"the way {way}", go, spec, args.work, args.weights, args.device, way, args.map_max_keyframes)
        results.append(asdict(gone))
        command.keep(results, args)
    return results


def go(spec: WalkSpec, work: Path, weights: str, device: str, way: str, map_max_keyframes: int) -> Way:
    """Go one way along the walk."""
    from ttt3r_ros.offline.report import write_report
    from ttt3r_ros.offline.run import OutputOptions, Run
    from ttt3r_ros.places.place_map import PlaceMap
    from ttt3r_ros.stream.load import load_backbone
    from ttt3r_ros.stream.segments import warm_up
    from ttt3r_ros.stream.stream import Stream

    walk = Walk(spec, work)
    loaded = load_backbone(NetworkSettings(weights=weights, device=device))
    settings = StreamSettings(reset_interval=loaded.segment_frames)
    warm_up(loaded.backbone, walk.spec.height, walk.spec.width, settings)
    everything = way == "offline"
    options = OutputOptions(
        depth=everything,
        rgb=everything,
        cloud=everything or way == "map",
        min_confidence=1.5,
        max_depth=30.0,
        undistort=False,
    )
    voxel_map = VoxelMap(0.05, 1_000_000) if options.cloud else None
    place_map = PlaceMap(loaded.backbone, MapSettings(map_max_keyframes=map_max_keyframes)) if way == "places" else None
    source = _WalkSource(walk, voxel_map, place_map)
    with tempfile.TemporaryDirectory() as folder:
        run_folder = RunFolder(Path(folder) / "run")
        with run_folder.locked():
            run_folder.begin({}, overwrite=False)
            run = Run(Stream(loaded.backbone, settings), run_folder, options, voxel_map, place_map=place_map)
            begun = time.process_time()
            with FrameProgress(way, walk.spec.frames, Console(stderr=True)) as progress:
                run.take_all(source, Selection(), progress, threading.Event())
            write_report(run_folder, run, options, source.report, "")
            cpu_s = time.process_time() - begun
    return Way(way, spec.frames, cpu_s, source.samples)


def report(results: list[dict[str, Any]], args: argparse.Namespace, console: Console) -> bool:
    """Print the table and draw the picture; return whether no way became slower."""
    rows, is_flat = [], True
    for result in results:
        cpu_ms, rss = (np.array([sample[name] for sample in result["samples"]]) for name in ("cpu_ms", "rss_mib"))
        quarter = len(cpu_ms) // 4
        early, late = float(np.median(cpu_ms[quarter : 2 * quarter])), float(np.median(cpu_ms[-quarter:]))
        is_flat &= late <= MAX_SLOWDOWN * early
        cells = (f"{early:.1f}", f"{late:.1f}", f"{late / early:.2f}", f"{rss[quarter]:.0f}", f"{rss[-1]:.0f}")
        last = result["samples"][-1]
        held = f"{last['points']:,}", f"{last['keyframes']:,} ({last['map_mib']:.1f} MiB)"
        rows.append((result["way"], str(result["frames"]), *cells, *held, f"{result['cpu_s']:.0f}"))
    header = (
        "way", "frames", "ms, second quarter", "ms, last quarter", "ratio", "MiB", "MiB at the end", "points",
        "keyframes", "s in all",
    )  # fmt: skip
    command.show(header, rows, args, console)
    if args.picture:
        draw(args.picture, results)
    return is_flat


def draw(path: Path, results: list[dict[str, Any]]) -> None:
    """Draw time per frame and memory against the number of frames."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    titles = {"cpu_ms": "processor time per frame [ms]", "rss_mib": "resident memory [MiB]"}
    for axes, (name, title) in zip(figure.subplots(1, 2).flat, titles.items()):
        for result in results:
            frames = [sample["frame"] for sample in result["samples"]]
            axes.plot(frames, [sample[name] for sample in result["samples"]], label=result["way"])
        axes.set(title=title, xlabel="frames", ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    sys.exit(main())
