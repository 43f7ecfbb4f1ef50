"""Writes the results of a run other than its images: trajectories, metrics, a cloud, pictures."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np
from rich.console import Console

from ttt3r_ros.cli.folders import write_json
from ttt3r_ros.errors import UserError, kind_of
from ttt3r_ros.evaluation.metrics import Trajectory, TrajectoryError, write_tum
from ttt3r_ros.evaluation.pictures import draw_correction, draw_frames, draw_trajectory, noted
from ttt3r_ros.evaluation.tables import described_path, formatted, rounded, show_result
from ttt3r_ros.geometry import T_BASE_CAMERA, inverse
from ttt3r_ros.mapping.ply import write_ply
from ttt3r_ros.offline.run import OutputOptions, Run, image_name
from ttt3r_ros.offline.run_folder import RunFolder
from ttt3r_ros.places.content import MapContent
from ttt3r_ros.places.map_file import to_bytes
from ttt3r_ros.sources import SourceReport

#: A reason whose numbers do not vary within a run: that of a reset at the interval.
_ALWAYS_THE_SAME = re.compile(r"after \d+ frames")

#: Number of columns in frames.png.
_SHOWN = 6


@dataclass(frozen=True)
class Metrics:
    """Metrics of one run; None for those that need ground truth if there is none.

    Attributes:
        frames: number of frames processed.
        poses: number of frames with a pose; the others were lost.
        segments: number of segments.
        unconnected: number of poses that follow on none, so that the motion up to them is unknown; at least the first.
        lost: number of frames without a pose, by reason. Reasons that differ only in numbers count under the first.
        segments_begun: number of segments, by the reason why they began, in the same way.
        left_out: number of frames of the recording that were not processed, by reason.
        damage: what is missing from the recording, in sentences.
        path_length_m: of the ground truth if there is one, else of the estimate [m].
        ate_rmse_m: absolute trajectory error after SE(3) alignment, RMSE [m].
        ate_rmse_scaled_m: the same after Sim(3) alignment [m].
        scale: factor by which that alignment multiplies the estimate.
        rpe_translation_m, rpe_rotation_deg: relative pose error between consecutive frames, RMSE [m], [deg].
        depth_abs_rel: mean relative error of the depth.
        depth_delta_125: share of pixels whose depth is correct within a factor of 1.25.
        map_keyframes, map_places: keyframes in the map, and places recognized from them; None without a map.
        map_ate_rmse_m, map_ate_rmse_scaled_m: as above, of the poses that the map has corrected [m].
        frames_per_second: overall, including writing.
    """

    frames: int
    poses: int
    segments: int
    unconnected: int
    lost: dict[str, int]
    segments_begun: dict[str, int]
    left_out: dict[str, int]
    damage: list[str]
    path_length_m: float | None
    ate_rmse_m: float | None
    ate_rmse_scaled_m: float | None
    scale: float | None
    rpe_translation_m: float | None
    rpe_rotation_deg: float | None
    depth_abs_rel: float | None
    depth_delta_125: float | None
    map_keyframes: int | None
    map_places: int | None
    map_ate_rmse_m: float | None
    map_ate_rmse_scaled_m: float | None
    frames_per_second: float | None


def write_report(
    folder: RunFolder, run: Run, options: OutputOptions, reading: SourceReport, weights: str, note: str = ""
) -> Metrics:
    """Write all available results, even if the run was stopped.

    Args:
        folder: of the run.
        run: the run, with its findings.
        options: which images were written.
        reading: what the source could not provide.
        weights: a word about them, below the pictures of frames.
        note: what every picture says of the weights; may be empty.

    Raises:
        UserError: a file cannot be written.
    """
    found = run.findings
    error = found.error() if found.poses else None
    corrected = _corrected(run)
    map_error = found.error(corrected) if corrected is not None else None
    metrics = _metrics(run, error, map_error, reading)
    try:
        _write(folder, run, options, metrics, error, weights, note)
        if corrected is not None:
            _write_map(folder, run, metrics, corrected, error, map_error, note)
    except OSError as failure:
        raise UserError(f"{failure.filename or folder.path} cannot be written: {failure.strerror}") from None
    write_json(folder.path / "metrics.json", asdict(metrics))
    return metrics


def _write(
    folder: RunFolder,
    run: Run,
    options: OutputOptions,
    metrics: Metrics,
    error: TrajectoryError | None,
    weights: str,
    note: str,
) -> None:
    found = run.findings
    if found.poses:
        trajectory = found.trajectory()
        write_tum(folder.path / "trajectory.txt", trajectory)
        aligned, reference = (error.aligned, error.reference) if error else (trajectory, None)
        caption = described_path(metrics.poses, metrics.path_length_m, metrics.ate_rmse_m)
        draw_trajectory(folder.path / "trajectory.png", aligned, reference, caption=noted(caption, note))
    if found.true_poses:
        write_tum(folder.path / "groundtruth.txt", found.ground_truth())
    for name, written in (("depth", options.depth), ("rgb", options.rgb)):
        if written and found.poses:
            lines = [f"{image_name(stamp)[:-4]} {name}/{image_name(stamp)}" for stamp in sorted(found.poses)]
            (folder.path / f"{name}.txt").write_text("\n".join([f"# timestamp[s] {name} image", *lines]) + "\n")
    if found.camera is not None:
        write_json(folder.path / "camera.json", {**asdict(found.camera), "depth_units_per_metre": 1000})
    moments = list(found.moments)
    if moments and len({moment.depth.shape for moment in moments}) == 1:
        chosen = np.unique(np.linspace(0, len(moments) - 1, _SHOWN).round().astype(int))
        draw_frames(folder.path / "frames.png", [moments[i] for i in chosen], caption=noted(weights, note))
    if run.voxel_map is not None:
        points = run.voxel_map.points()
        write_ply(folder.path / "cloud.ply", points.positions, points.colors, comment="metres, x forward, z up")


def _write_map(
    folder: RunFolder,
    run: Run,
    metrics: Metrics,
    corrected: Trajectory,
    error: TrajectoryError | None,
    map_error: TrajectoryError | None,
    note: str,
) -> None:
    assert run.place_map is not None
    content = run.place_map.content()
    (folder.path / "map.places.safetensors").write_bytes(to_bytes(content, run.backbone))
    write_tum(folder.path / "trajectory_map.txt", corrected)
    places, rejected = place_stamps(content)
    draw_correction(
        folder.path / "trajectory_map.png",
        error.aligned if error else run.findings.trajectory(),
        map_error.aligned if map_error else corrected,
        error.reference if error else None,
        places=places,
        rejected=rejected,
        titles=(_with_error("odometry", metrics.ate_rmse_m), _with_error("with the map", metrics.map_ate_rmse_m)),
        caption=noted(_summary_of_map(metrics), note),
    )


def show_metrics(metrics: Metrics, console: Console) -> None:
    """Print the numbers as a table."""
    rows = (
        ("frames", metrics.frames, "", "processed"),
        ("poses", metrics.poses, "", "estimated; the other frames were lost"),
        ("segments", metrics.segments, "", "between resets of the network's state"),
        (
            "path length",
            metrics.path_length_m,
            "m",
            f"of the {'estimate' if metrics.ate_rmse_m is None else 'ground truth'}",
        ),
        ("trajectory error", metrics.ate_rmse_m, "m", "ATE RMSE after SE(3) alignment"),
        ("with best scale", metrics.ate_rmse_scaled_m, "m", "ATE RMSE after Sim(3) alignment"),
        ("scale", metrics.scale, "", "factor that aligns the estimate; 1 is metric"),
        ("with the map", metrics.map_ate_rmse_m, "m", "trajectory error of the poses that the map has corrected"),
        ("places", metrics.map_places, "", "recognized, from the map's keyframes"),
        ("rotation error", metrics.rpe_rotation_deg, "°", "RPE from frame to frame, RMSE"),
        ("depth error", metrics.depth_abs_rel, "", "AbsRel: mean of |depth - truth| / truth"),
        ("speed", metrics.frames_per_second, "Hz", "frames per second, including writing"),
    )
    show_result(rows, console)
    for label, counts in (
        ("lost", metrics.lost),
        ("segments begun", metrics.segments_begun),
        ("skipped by the reader", metrics.left_out),
    ):
        if counts:
            reasons = "; ".join(_counted(reason, count) for reason, count in counts.items())
            console.print(f"{label}: {reasons}", highlight=False, markup=False, soft_wrap=True)


def _counted(reason: str, count: int) -> str:
    """Return a reason with its count; the numbers in it are those of the first time."""
    varies = count > 1 and kind_of(reason) != reason and not _ALWAYS_THE_SAME.fullmatch(reason)
    return f"{count} x, the first: {reason}" if varies else f"{count} x {reason}"


def _corrected(run: Run) -> Trajectory | None:
    """Return the path of the base in the map's frame; None without a map, or without a pose."""
    found = run.findings
    if run.place_map is None or not found.poses or not run.place_map.is_localized:
        return None
    run.place_map.finish()
    stamps = sorted(found.poses)
    cameras = run.place_map.corrected(stamps, [found.poses[stamp] @ T_BASE_CAMERA for stamp in stamps])
    T_camera_base = inverse(T_BASE_CAMERA)
    return Trajectory.from_transforms(stamps, [T @ T_camera_base for T in cameras])


def _by_number(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _metrics(
    run: Run, error: TrajectoryError | None, map_error: TrajectoryError | None, reading: SourceReport
) -> Metrics:
    found, place_map = run.findings, run.place_map
    depth = np.array(found.depth_errors).reshape(-1, 2)
    abs_rel, delta = depth.mean(axis=0) if len(depth) else (math.nan, math.nan)
    return Metrics(
        frames=found.frames,
        poses=len(found.poses),
        segments=found.segments,
        unconnected=found.unconnected,
        lost=_by_number(found.lost_reasons),
        segments_begun=_by_number(found.segment_reasons),
        left_out=_by_number(reading.left_out),
        damage=list(reading.damage),
        path_length_m=rounded(found.length(error), 3),
        ate_rmse_m=rounded(error.ate_rmse_m, 4) if error else None,
        ate_rmse_scaled_m=rounded(error.ate_rmse_scaled_m, 4) if error else None,
        scale=rounded(error.scale, 4) if error else None,
        rpe_translation_m=rounded(error.rpe_translation_m, 5) if error else None,
        rpe_rotation_deg=rounded(error.rpe_rotation_deg, 4) if error else None,
        depth_abs_rel=rounded(abs_rel, 4),
        depth_delta_125=rounded(delta, 4),
        map_keyframes=len(place_map.content().keyframes) if place_map else None,
        map_places=place_map.counts.accepted if place_map else None,
        map_ate_rmse_m=rounded(map_error.ate_rmse_m, 4) if map_error else None,
        map_ate_rmse_scaled_m=rounded(map_error.ate_rmse_scaled_m, 4) if map_error else None,
        frames_per_second=rounded(found.frames / found.seconds, 2) if found.seconds > 0 else None,
    )


def place_stamps(content: MapContent) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the stamps [ns] of each two views that show one place, and of those that the graph has rejected."""
    stamps = {keyframe.number: keyframe.stamp_ns for keyframe in content.keyframes}
    pairs: tuple[list[tuple[int, int]], list[tuple[int, int]]] = [], []
    for index, edge in enumerate(content.edges):
        if edge.is_place:
            pairs[index in content.rejected].append((stamps[edge.first], stamps[edge.second]))
    return pairs


def _with_error(name: str, ate_rmse_m: float | None) -> str:
    return name if ate_rmse_m is None else f"{name}: {formatted(ate_rmse_m, 'm')} (ATE RMSE after SE(3) alignment)"


def _summary_of_map(metrics: Metrics) -> str:
    walk = described_path(metrics.poses, metrics.path_length_m, None)
    return f"{walk}, {metrics.map_keyframes} keyframes, {metrics.map_places} places recognized"
