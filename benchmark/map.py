"""What the map of places makes of a long walk: ``python -m benchmark.map [--frames 10000] [--trap twins]``.

One walk goes through the stream and the map, as in ``reconstruct --map``. The table compares the odometry's path with
the corrected one, counts false places by ground truth, and says what the map costs. The exit status is 1 if a false
place entered the graph and was not rejected there.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from benchmark import command
from benchmark.walk import Walk, WalkSpec
from ttt3r_ros.cli.frame_progress import FrameProgress
from ttt3r_ros.evaluation.metrics import Trajectory, compare_trajectories, resample_depth
from ttt3r_ros.evaluation.tables import show_result
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, inverse, rotation_vector
from ttt3r_ros.places.place_map import PlaceMap
from ttt3r_ros.places.settings import MapSettings
from ttt3r_ros.stream.estimate import DESCRIPTOR, POINTS
from ttt3r_ros.stream.load import load_backbone
from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings
from ttt3r_ros.stream.stream import CameraFrame, Stream
from ttt3r_ros.synthetic import TRAPS

#: A flat that no weights were trained on or fitted to.
SEED = 499
#: A recognized place is false if the true pose differs from the recognized one by more than this [m, rad].
FALSE_M, FALSE_RAD = 2.0, 0.6
#: Frames this near a place seen at least so many seconds before are back at it [m, rad, s].
BACK_M, BACK_RAD, BACK_S = 1.0, 0.44, 15.0


@dataclass(frozen=True)
class Result:
    """The figures of one walk; lengths in meters, times in seconds of processor time.

    Attributes:
        frames, path_m: of the walk.
        ate_odometry_m, ate_map_m: after SE(3) alignment; ate_map_scaled_m after Sim(3) alignment.
        depth_scale_odometry, depth_scale_map: estimated depth over true depth, 5th, 50th and 95th percentile.
        keyframes, places, rejected, false, false_kept: places accepted, of these rejected by the graph, false by ground
            truth, false and not rejected.
        refused: pairs that were compared and refused, by reason.
        back_s: median time from being back at a known place to the next recognized one.
        stream_s, map_s: time of all frames.
        bytes_per_keyframe: memory.
    """

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
    stream_s: float
    map_s: float
    bytes_per_keyframe: float


def main(argv: list[str] | None = None) -> int:
    """Run the walk, print a table, write what was asked for."""
    return command.start(_parser(), run, report, argv, figures=lambda found: asdict(found[0]))


def run(args: argparse.Namespace, console: Console) -> tuple[Result, list[FloatArray]]:
    """Return the figures, and positions (N, 3) for the picture: truth, odometry and map, aligned."""
    args.work.mkdir(parents=True, exist_ok=True)
    spec = WalkSpec(args.seed, args.motion, args.frames, args.size[0], args.size[1], args.fps, args.trap)
    walk = Walk(spec, args.work)
    with FrameProgress("rendering", args.frames, console) as progress:
        walk.render(progress.update)
    loaded = load_backbone(NetworkSettings(weights=args.weights, device=args.device))
    stream = Stream(loaded.backbone, StreamSettings(weights_interval=loaded.segment_frames))
    places = PlaceMap(loaded.backbone, MapSettings(map_max_keyframes=args.map_max_keyframes))
    poses: dict[int, FloatArray] = {}
    ratios: dict[int, float] = {}
    seconds = [0.0, 0.0]
    with FrameProgress("walking", args.frames, console) as progress:
        for index, frame in enumerate(walk.frames()):
            begun = time.process_time()
            result = stream.process(
                frame.image, frame.stamp_ns, camera=frame.intrinsics, outputs=frozenset({POINTS, DESCRIPTOR})
            )
            stream.prepare()
            streamed = time.process_time()
            estimate = result.estimate
            dense = None
            if estimate is not None and estimate.points is not None and estimate.confidence is not None:
                dense = estimate.points, estimate.confidence
            taken = CameraFrame(frame.image, frame.stamp_ns, T_BASE_CAMERA, frame.intrinsics)
            places.add(taken, result, lambda dense=dense: dense)  # type: ignore[misc]
            while places.work():
                pass
            seconds[0] += streamed - begun
            seconds[1] += time.process_time() - streamed
            if result.motion is not None:
                poses[index] = result.motion.T_odom_base @ T_BASE_CAMERA
                if frame.depth is not None and estimate is not None and estimate.depth is not None:
                    seen = estimate.pixel_map.intrinsics(frame.intrinsics)
                    true = resample_depth(frame.depth, frame.intrinsics, seen)
                    with np.errstate(invalid="ignore", divide="ignore"):
                        ratios[index] = float(np.nanmedian(estimate.depth / true))
            progress.update(index + 1, f"{places.counts.accepted} places")
    begun = time.process_time()
    places.finish()
    seconds[1] += time.process_time() - begun
    return _result(walk, places, poses, ratios, seconds)


def _result(
    walk: Walk, places: PlaceMap, poses: dict[int, FloatArray], ratios: dict[int, float], seconds: list[float]
) -> tuple[Result, list[FloatArray]]:
    stamps = [walk.stamps_ns[index] for index in poses]
    truth = Trajectory.from_transforms(stamps, [walk.T_world_camera[index] for index in poses])
    before = compare_trajectories(Trajectory.from_transforms(stamps, list(poses.values())), truth)
    corrected = places.corrected(stamps, poses.values())
    after = compare_trajectories(Trajectory.from_transforms(stamps, corrected), truth)
    content = places.content()
    frame_of = {k.number: walk.stamps_ns.index(k.stamp_ns) for k in content.keyframes}
    recognized = [(i, edge) for i, edge in enumerate(content.edges) if edge.is_place and not edge.is_tie]
    false = []
    for i, edge in recognized:
        true = inverse(walk.T_world_camera[frame_of[edge.first]]) @ walk.T_world_camera[frame_of[edge.second]]
        turned = np.linalg.norm(rotation_vector(edge.S_first_second.R.T @ true[:3, :3]))
        if np.linalg.norm(true[:3, 3] - edge.S_first_second.t) > FALSE_M or turned > FALSE_RAD:
            false.append(i)
    numbers = np.array([frame_of[k.number] for k in content.keyframes])
    scales = np.array([pose.scale for pose in content.poses])
    before_or_at = {i: max(int(np.searchsorted(numbers, i, side="right")) - 1, 0) for i in ratios}
    in_map = {i: float(ratio * scales[before_or_at[i]]) for i, ratio in ratios.items()}
    result = Result(
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
        back_s=_back(walk, sorted(frame_of.values()), sorted(frame_of[edge.second] for _, edge in recognized)),
        stream_s=seconds[0],
        map_s=seconds[1],
        bytes_per_keyframe=float(np.mean([k.nbytes for k in content.keyframes])),
    )
    return result, [after.reference.positions, before.aligned.positions, after.aligned.positions]


def _percentiles(ratios: dict[int, float]) -> tuple[float, float, float]:
    low, middle, high = np.nanpercentile(list(ratios.values()) or [np.nan], [5, 50, 95])
    return float(low), float(middle), float(high)


def _back(walk: Walk, keyframes: list[int], recognized: list[int]) -> float:
    """Return the median time from being back at a known place to the next recognized one [s]."""
    fps, waits = walk.spec.fps, []
    was_back = False
    for frame in keyframes:
        T = walk.T_world_camera[frame]
        is_back = any(
            frame - old > BACK_S * fps
            and np.linalg.norm(walk.T_world_camera[old][:3, 3] - T[:3, 3]) < BACK_M
            and np.linalg.norm(rotation_vector(walk.T_world_camera[old][:3, :3].T @ T[:3, :3])) < BACK_RAD
            for old in keyframes
            if old < frame
        )
        if is_back and not was_back:
            following = next((other for other in recognized if other >= frame), walk.spec.frames)
            waits.append((following - frame) / fps)
        was_back = is_back
    return float(np.median(waits)) if waits else float("nan")


def report(found: tuple[Result, list[FloatArray]], args: argparse.Namespace, console: Console) -> bool:
    """Print the table, draw the paths; return whether no false place bends the map."""
    result, paths = found
    rows = (
        ("path", result.path_m, "m", f"{result.frames} frames"),
        ("odometry", result.ate_odometry_m, "m", "ATE RMSE after SE(3) alignment"),
        ("with the map", result.ate_map_m, "m", "the same of the corrected path"),
        ("with best scale", result.ate_map_scaled_m, "m", "the same after Sim(3) alignment"),
        ("keyframes", result.keyframes, "", f"{result.bytes_per_keyframe / 1e3:.0f} kB each"),
        ("places", result.places, "", f"recognized; {result.rejected} rejected by the graph"),
        ("false places", result.false, "", f"by ground truth; {result.false_kept} of them not rejected"),
        ("back until a place", result.back_s, "s", "median"),
        ("time", result.map_s / max(result.stream_s, 1e-9), "", "of the map, as a fraction of the stream's"),
    )
    show_result(rows, console)
    for label, scale in (("odometry", result.depth_scale_odometry), ("map", result.depth_scale_map)):
        console.print(f"depth over true depth, {label}: {scale[1]:.2f} ({scale[0]:.2f} to {scale[2]:.2f})")
    console.print(f"refused: {result.refused}", highlight=False)
    if args.picture:
        _draw(paths, result, args.picture)
    return result.false_kept == 0


def _draw(paths: list[FloatArray], result: Result, file: Path) -> None:
    figure = Figure(figsize=(11.0, 5.2), layout="constrained")
    labels = (f"odometry, error {result.ate_odometry_m:.2f} m", f"with the map, error {result.ate_map_m:.2f} m")
    for axes, path, label in zip(figure.subplots(1, 2, sharex=True, sharey=True), paths[1:], labels):
        axes.plot(*paths[0][:, :2].T, color="0.7", linewidth=2.5, label="ground truth")
        axes.plot(*path[:, :2].T, color="#c44e52", linewidth=0.8, label="estimate")
        axes.set(title=label, xlabel="x [m]", ylabel="y [m]", aspect="equal")
        axes.legend(frameon=False, loc="best")
    figure.savefig(file, dpi=110)


def _parser() -> argparse.ArgumentParser:
    shared = ("weights", "device", "frames", "fps", "size", "work", "picture")
    parser = command.parser(__doc__, *shared, frames=10_000, size=(160, 120), work=Path(".cache/map"))
    add = parser.add_argument
    add("--seed", type=int, default=SEED, help="seed of the apartment and the path (default: %(default)s)")
    add("--motion", default="wheeled", choices=("handheld", "wheeled"), help="how the camera moves")
    add("--trap", choices=TRAPS, help="a building whose places look alike instead of an apartment")
    add("--map-max-keyframes", type=int, default=2000, help="of the map (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
