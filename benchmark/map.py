"""What the map of places makes of long walks: ``python -m benchmark.map [--seed 496 497] [--trap twins]``.

Each walk goes through the stream once, which is kept, and from there through the map, as in ``reconstruct --map``. The
table compares the odometry's path with the corrected one, counts false places by ground truth, and says what the map
costs. With ``--trials``, a camera is put down in a known room, carried there unseen or started in a saved map. The exit
status is 1 if a false place entered the graph and was not rejected there, or a camera was found in another room.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from benchmark import command
from benchmark.runner import depths_of, median_ratio
from benchmark.walk import Walk, WalkSpec, rendered
from ttt3r_ros.cli.arguments import at_least_one, zero_or_more
from ttt3r_ros.cli.frame_progress import FrameProgress
from ttt3r_ros.evaluation.metrics import Trajectory, compare_trajectories
from ttt3r_ros.evaluation.pictures import draw_correction
from ttt3r_ros.geometry import FloatArray, inverse
from ttt3r_ros.places.settings import MapSettings
from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings
from ttt3r_ros.synthetic.limits import TRAPS

if TYPE_CHECKING:
    from benchmark.map_trials import Trial
    from benchmark.streamed_walk import StreamedWalk
    from ttt3r_ros.places.place_map import PlaceMap

#: A flat that no weights were trained on or fitted to.
SEED = 499
#: Frames at a place that was seen at least so many seconds before are back at it [s].
BACK_S = 15.0


@dataclass(frozen=True)
class Result:
    """The figures of one walk; lengths in meters, times in seconds of processor time.

    Attributes:
        name, frames, path_m: of the walk.
        ate_odometry_m, ate_map_m: after SE(3) alignment; ate_map_scaled_m after Sim(3) alignment.
        depth_scale_odometry, depth_scale_map: estimated depth over true depth, 5th, 50th and 95th percentile.
        keyframes, places, rejected, false, false_kept: places accepted, of these rejected by the graph, false by ground
            truth, false and not rejected.
        refused: pairs that were compared and refused, by reason.
        back_s: median time from being back at a known place to the next recognized one.
        recall: share of the keyframes at a known place that were recognized.
        stream_s, map_s: time of all frames.
        bytes_per_keyframe: memory.
        trials: cameras that were put down in a known room.
    """

    name: str
    frames: int
    path_m: float
    ate_odometry_m: float
    ate_map_m: float
    ate_map_scaled_m: float
    depth_scale_odometry: tuple[float, float, float]
    depth_scale_map: tuple[float, float, float]
    keyframes: int
    places: int
    rejected: int
    false: int
    false_kept: int
    refused: dict[str, int]
    back_s: float
    recall: float
    stream_s: float
    map_s: float
    bytes_per_keyframe: float
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True)
class Paths:
    """What is drawn of one walk: paths, aligned, and the stamps of recognized and of rejected places."""

    truth: Trajectory
    odometry: Trajectory
    corrected: Trajectory
    places: list[tuple[int, int]]
    rejected: list[tuple[int, int]]


Found = list[tuple[Result, Paths]]


def main(argv: list[str] | None = None) -> int:
    """Run the walks, print a table, write what was asked for."""
    return command.start(_parser(), run, report, argv, figures=lambda found: [asdict(result) for result, _ in found])


def run(args: argparse.Namespace, console: Console) -> Found:
    """Return each walk's figures, and what its picture shows."""
    from benchmark.map_trials import trials
    from benchmark.streamed_walk import StreamedWalk
    from ttt3r_ros.places.place_map import PlaceMap
    from ttt3r_ros.stream.load import load_backbone
    from ttt3r_ros.stream.stream import Stream

    loaded = load_backbone(NetworkSettings(weights=args.weights, device=args.device))
    found = []
    for seed in args.seed:
        spec = WalkSpec(seed, args.motion, args.frames, args.size[0], args.size[1], args.fps, args.trap)
        walk = rendered(spec, args.work, console)
        stream = Stream(loaded.backbone, StreamSettings(weights_interval=loaded.segment_frames))
        streamed = StreamedWalk(walk, stream, args.work)
        with FrameProgress("streaming", args.frames, console) as progress:
            streamed.run(progress.update)
        place_map = PlaceMap(loaded.backbone, MapSettings(map_max_keyframes=args.map_max_keyframes))
        result, paths = _mapped(streamed, place_map, console)
        tried = tuple(trials(streamed, loaded.backbone, args.trials)) if args.trials else ()
        found.append((replace(result, trials=tried), paths))
    return found


def _mapped(streamed: StreamedWalk, places: PlaceMap, console: Console) -> tuple[Result, Paths]:
    from benchmark.map_trials import feed

    walk = streamed.walk
    poses: dict[int, FloatArray] = {}
    ratios: dict[int, float] = {}
    seconds = [0.0, 0.0]
    with FrameProgress("mapping", walk.spec.frames, console) as progress:
        for frame in streamed.frames():
            begun = time.process_time()
            feed(places, frame)
            seconds[1] += time.process_time() - begun
            seconds[0] += frame.seconds
            estimate, T, depth = frame.result.estimate, frame.T_odom_camera, walk.depth(frame.index)
            if estimate is not None and T is not None:
                poses[frame.index] = T
                if depths := depths_of(estimate, depth, walk.intrinsics):
                    ratios[frame.index] = median_ratio(depths)
            progress.update(frame.index + 1, f"{places.counts.accepted} places")
    begun = time.process_time()
    places.finish()
    seconds[1] += time.process_time() - begun
    return _result(walk, places, poses, ratios, seconds)


def _result(
    walk: Walk, places: PlaceMap, poses: dict[int, FloatArray], ratios: dict[int, float], seconds: list[float]
) -> tuple[Result, Paths]:
    from benchmark.map_trials import FALSE_M, FALSE_RAD, difference
    from ttt3r_ros.offline.report import place_stamps

    stamps = [walk.stamps_ns[index] for index in poses]
    truth = Trajectory.from_transforms(stamps, [walk.T_world_camera[index] for index in poses])
    before = compare_trajectories(Trajectory.from_transforms(stamps, list(poses.values())), truth)
    corrected = places.corrected(stamps, poses.values())
    after = compare_trajectories(Trajectory.from_transforms(stamps, corrected), truth)
    content = places.content()
    frame_of = {k.number: walk.stamps_ns.index(k.stamp_ns) for k in content.keyframes}
    recognized = [(i, edge) for i, edge in enumerate(content.edges) if edge.is_place]
    false = []
    for i, edge in recognized:
        true = inverse(walk.T_world_camera[frame_of[edge.first]]) @ walk.T_world_camera[frame_of[edge.second]]
        meters, turned = difference(true, edge.S_first_second.rigid)
        if meters > FALSE_M or turned > FALSE_RAD:
            false.append(i)
    numbers = np.array([frame_of[k.number] for k in content.keyframes])
    scales = np.array([pose.scale for pose in content.poses])
    before_or_at = {i: max(int(np.searchsorted(numbers, i, side="right")) - 1, 0) for i in ratios}
    in_map = {i: float(ratio * scales[before_or_at[i]]) for i, ratio in ratios.items()}
    back_s, recall = _back(walk, sorted(frame_of.values()), sorted(frame_of[edge.second] for _, edge in recognized))
    result = Result(
        name=walk.spec.trap or f"flat {walk.spec.seed}",
        frames=walk.spec.frames,
        path_m=before.path_length_m,
        ate_odometry_m=before.ate_rmse_m,
        ate_map_m=after.ate_rmse_m,
        ate_map_scaled_m=after.ate_rmse_scaled_m,
        depth_scale_odometry=_percentiles(ratios),
        depth_scale_map=_percentiles(in_map),
        keyframes=len(content.keyframes),
        places=len(recognized),
        rejected=len(content.rejected),
        false=len(false),
        false_kept=len(set(false) - set(content.rejected)),
        refused=places.counts.refused,
        back_s=back_s,
        recall=recall,
        stream_s=seconds[0],
        map_s=seconds[1],
        bytes_per_keyframe=float(np.mean([k.nbytes for k in content.keyframes])),
    )
    return result, Paths(after.reference, before.aligned, after.aligned, *place_stamps(content))


def _percentiles(ratios: dict[int, float]) -> tuple[float, float, float]:
    low, middle, high = np.nanpercentile(list(ratios.values()) or [np.nan], [5, 50, 95])
    return float(low), float(middle), float(high)


def _back(walk: Walk, keyframes: list[int], recognized: list[int]) -> tuple[float, float]:
    """Return the median time from being back at a known place to the next recognized one [s], and the recall."""
    from benchmark.map_trials import is_back

    fps, waits, found = walk.spec.fps, list[float](), list[bool]()
    was_back = False
    for frame in keyframes:
        back = any(frame - old > BACK_S * fps and is_back(walk, old, frame) for old in keyframes if old < frame)
        if back:
            found.append(frame in recognized)
        if back and not was_back:
            following = next((other for other in recognized if other >= frame), walk.spec.frames)
            waits.append((following - frame) / fps)
        was_back = back
    return (float(np.median(waits)), float(np.mean(found))) if waits else (float("nan"), float("nan"))


def report(found: Found, args: argparse.Namespace, console: Console) -> bool:
    """Print a table, draw the paths; return whether no false place bends a map and nobody is found in another room."""
    rows = []
    for result, _ in found:
        lengths = (result.path_m, result.ate_odometry_m, result.ate_map_m, result.ate_map_scaled_m)
        counts = (result.keyframes, result.places, result.false)
        shares = (result.back_s, result.map_s / max(result.stream_s, 1e-9))
        rows.append((result.name, *(f"{m:.2f}" for m in lengths), *map(str, counts), *(f"{x:.2f}" for x in shares)))
    header = ("walk", "path", "odometry", "map", "scaled", "keyframes", "places", "false", "back", "time")
    command.show(header, rows, args, console)
    console.print(
        "Path, and RMSE of odometry and map after SE(3) and (scaled) Sim(3) alignment in meters; places accepted, and "
        "false by the ground truth; back: median time from a known place to its recognition in seconds; time of the "
        "map as a fraction of the stream's."
    )
    for result, _ in found:
        for label, scale in (("odometry", result.depth_scale_odometry), ("map", result.depth_scale_map)):
            console.print(
                f"{result.name}: depth over truth, {label}: {scale[1]:.2f} ({scale[0]:.2f} to {scale[2]:.2f})"
            )
        console.print(
            f"{result.name}: {result.recall:.0%} of the keyframes at a known place recognized; "
            f"{result.bytes_per_keyframe / 1e3:.0f} kB a keyframe; the graph rejects "
            f"{result.rejected} places, {result.false - result.false_kept} of them false; refused {result.refused}"
        )
    tried = [trial for result, _ in found for trial in result.trials]
    for kind in dict.fromkeys(trial.kind for trial in tried):
        console.print(_summary(kind, [trial for trial in tried if trial.kind == kind]))
    if args.picture:
        _draw(found, args.picture)
    return not any(result.false_kept for result, _ in found) and not any(trial.is_wrong for trial in tried)


def _summary(kind: str, tried: list[Trial]) -> str:
    seconds = [trial.found_s for trial in tried if trial.found_s is not None]
    wrong = sum(trial.is_wrong for trial in tried)
    meters = [trial.error[0] for trial in tried if trial.error is not None]
    waited = f", after {np.median(seconds):.1f} s (median; at most {max(seconds):.1f} s)" if seconds else ""
    off = f", {np.median(meters):.2f} m off (median; at most {max(meters):.2f} m)" if meters else ""
    return f"{kind}: {len(seconds)} of {len(tried)} found again{waited}{off}; {wrong} of them in another place"


def _draw(found: Found, file: Path) -> None:
    """Draw each walk; where there are several, into files that are numbered."""
    for number, (result, paths) in enumerate(found):
        draw_correction(
            file if len(found) == 1 else file.with_stem(f"{file.stem}_{number}"),
            paths.odometry,
            paths.corrected,
            paths.truth,
            places=paths.places,
            rejected=paths.rejected,
            titles=(f"odometry: error {result.ate_odometry_m:.2f} m", f"with the map: {result.ate_map_m:.2f} m"),
            caption=f"{result.name}, {result.frames} frames, {result.path_m:.0f} m",
        )


def _parser() -> argparse.ArgumentParser:
    shared = ("weights", "device", "motion", "frames", "fps", "size", "work", "markdown", "picture")
    parser = command.parser(__doc__, *shared, frames=10_000, size=(320, 240), work=Path(".cache/map"))
    add = parser.add_argument
    add("--seed", type=int, nargs="+", default=[SEED], help="apartments, or traps' colors (default: %(default)s)")
    add(
        "--trials",
        type=zero_or_more,
        default=0,
        help="cameras put down in each walk's map, in either way (default: none)",
    )
    add("--trap", choices=TRAPS, help="a building whose places look alike instead of an apartment")
    add("--map-max-keyframes", type=at_least_one, default=2000, help="of the map (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
