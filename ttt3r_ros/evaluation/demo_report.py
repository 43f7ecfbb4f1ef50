"""The demo's output: trajectories, pictures, a point cloud, metrics. No ROS."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from ttt3r_ros.errors import UserError
from ttt3r_ros.evaluation.cloud_pictures import confident_points, draw_clip, draw_cloud, joined
from ttt3r_ros.evaluation.metrics import TrajectoryError, write_tum
from ttt3r_ros.evaluation.pictures import draw_frames, draw_trajectory, noted
from ttt3r_ros.evaluation.run_log import RunLog
from ttt3r_ros.evaluation.tables import described_path, rounded, show_result
from ttt3r_ros.mapping.ply import write_ply

#: Every file that a run may write, with a word about it.
FILES = {
    "view.html": "the run in 3D, in a browser, without a server",
    "demo.gif": "the run as a moving picture",
    "cloud.png": "the point cloud from two sides, beside the true one if that is known",
    "frames.png": "image, depth and confidence over time",
    "trajectory.png": "the path from above",
    "trajectory.txt": "estimated poses (TUM)",
    "groundtruth.txt": "true poses (TUM)",
    "cloud.ply": "the point cloud",
    "metrics.json": "these numbers",
}
#: Logs that every run leaves, by which its folder is known.
LOGS = ("node.log", "player.log")

#: Columns of frames.png.
_SHOWN_MOMENTS = 6

#: The share of images that may be dropped without a note.
MAX_DROPPED = 0.1

#: Share of the pixels with a depth below which a note says what that means.
MIN_DEPTH_SHARE = 0.5

#: Maximum number of points in cloud.ply.
MAX_CLOUD_POINTS = 1_000_000


@dataclass(frozen=True)
class Metrics:
    """Metrics of one run; None without ground truth or without messages to compute them from.

    Attributes:
        frames_in: images published.
        frames_out: poses received.
        dropped: images that the node skipped because newer ones had arrived, before or after it had received them.
        lost: images that the node received but could not use.
        ate_rmse_m: absolute trajectory error after SE(3) alignment [m].
        path_length_m: of the ground truth if there is one, else of the estimate [m].
        depth_abs_rel: mean relative error of the depth.
        latency_ms_p50: from the image's stamp to the arrival of its odometry, median [ms].
        latency_ms_p95: its 95th percentile [ms].
        node_rss_mb: resident memory of the node [MB].
    """

    frames_in: int | None
    frames_out: int
    dropped: int | None
    lost: int | None
    ate_rmse_m: float | None
    path_length_m: float | None
    depth_abs_rel: float | None
    latency_ms_p50: float | None
    latency_ms_p95: float | None
    node_rss_mb: float | None

    @property
    def dropped_note(self) -> str:
        """A sentence on dropped images if they are too many for a fair result; else empty."""
        if self.dropped is None:
            return ""
        frames = self.frames_in or self.frames_out + self.dropped + (self.lost or 0)
        if self.dropped <= MAX_DROPPED * frames:
            return ""
        return (
            f"{self.dropped} of {frames} images were dropped, since this computer is too slow or was busy, so the path "
            "is worse than it could be. The errors in README are of every image: all are processed by "
            "`reconstruct synthetic --output FOLDER` (in .venv/bin, or with `ros2 run ttt3r_ros`)."
        )


def claim_folder(output: Path) -> None:
    """Create the folder of a run, unless it exists.

    Raises:
        UserError: it cannot be created, or it contains files that no run has written and this one would replace.
    """
    if not all((output / name).exists() for name in LOGS):
        foreign = next((name for name in (*FILES, *LOGS, "view.log") if (output / name).exists()), None)
        if foreign is not None:
            raise UserError(f"{output} contains {foreign}, which no demo wrote; choose another folder for the results")
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name in LOGS:
            (output / name).touch()
    except OSError as error:
        raise UserError(f"the folder {output} cannot be created or written: {error.strerror}") from None


def write_report(
    output: Path,
    recording: RunLog,
    *,
    frames_in: int | None,
    note: str = "",
    begins: Callable[[str], object] = lambda name: None,
) -> Metrics:
    """Write every file for which the run has data, except view.html.

    Args:
        output: an existing folder; files of an earlier run are replaced, or removed if this run has no data for them.
        recording: the log of the run.
        frames_in: images published, None if unknown.
        note: what every picture says of the weights; may be empty.
        begins: told the name of each file that takes a while, as it begins.
    """
    for name in FILES:
        (output / name).unlink(missing_ok=True)
    error = recording.error()
    metrics = _metrics(recording, error, frames_in)
    if recording.poses:
        estimate = recording.trajectory()
        write_tum(output / "trajectory.txt", estimate)
        aligned, reference = (error.aligned, error.reference) if error else (estimate, None)
        caption = described_path(metrics.frames_out, metrics.path_length_m, metrics.ate_rmse_m)
        if metrics.dropped_note:
            caption += f"; {metrics.dropped} images were dropped"
        begins("trajectory.png")
        draw_trajectory(output / "trajectory.png", aligned, reference, caption=noted(caption, note))
    if recording.true_poses:
        write_tum(output / "groundtruth.txt", recording.ground_truth())
    moments = sorted(recording.moments, key=lambda moment: moment.stamp_ns)
    if moments:
        chosen = np.unique(np.linspace(0, len(moments) - 1, _SHOWN_MOMENTS).round().astype(int))
        weights = recording.diagnostics.get("weights", "unknown")
        begins("frames.png")
        draw_frames(output / "frames.png", [moments[i] for i in chosen], caption=noted(f"weights: {weights}", note))
        begins("cloud.ply")
        cloud = joined(confident_points(moments, MAX_CLOUD_POINTS))
        if len(cloud.positions):
            write_ply(output / "cloud.ply", cloud.positions, cloud.colors)
            begins("cloud.png")
            draw_cloud(output / "cloud.png", recording, moments, note=note)
            begins("demo.gif")
            draw_clip(output / "demo.gif", recording, moments, note=note)
    (output / "metrics.json").write_text(json.dumps(asdict(metrics), indent=2) + "\n")
    return metrics


def sparse_note(recording: RunLog) -> str:
    """Return a sentence on depth if most pixels have none; else an empty string."""
    shares = [float(np.isfinite(moment.depth).mean()) for moment in recording.moments]
    if not shares or np.mean(shares) >= MIN_DEPTH_SHARE:
        return ""
    return (
        f"only {np.mean(shares):.0%} of the pixels have a depth, since the weights are unsure of what they see: path, "
        "depth and cloud may be far from the truth. frames.png shows where; parameter min_confidence sets the limit."
    )


def show_metrics(metrics: Metrics, console: Console) -> None:
    """Print the metrics as a table."""
    rows = (
        ("frames in", metrics.frames_in, "", "images the camera published"),
        ("frames out", metrics.frames_out, "", "poses received"),
        ("dropped", metrics.dropped, "", "replaced by a newer image while the node was busy"),
        ("lost", metrics.lost, "", "not usable, as node.log says"),
        ("trajectory error", metrics.ate_rmse_m, "m", "ATE RMSE after SE(3) alignment"),
        (
            "path length",
            metrics.path_length_m,
            "m",
            f"of the {'estimate' if metrics.ate_rmse_m is None else 'ground truth'}",
        ),
        ("depth error", metrics.depth_abs_rel, "", "AbsRel: mean of |depth - truth| / truth"),
        ("latency, median", metrics.latency_ms_p50, "ms", "from the image's stamp to the arrival of its odometry"),
        ("latency, 95 %", metrics.latency_ms_p95, "ms", ""),
        ("memory of the node", metrics.node_rss_mb, "MB", "resident"),
    )
    show_result(rows, console)


def _metrics(recording: RunLog, error: TrajectoryError | None, frames_in: int | None) -> Metrics:
    latencies = np.percentile(recording.latencies_ms, [50, 95]) if recording.latencies_ms else (math.nan, math.nan)
    depth_errors = recording.depth_errors
    lost = _count(recording, "frames_lost", "frames_failed", "frames_dropped_by_stamp")
    dropped = _count(recording, "frames_dropped")
    if frames_in is not None:  # the middleware replaces images as well, uncounted
        dropped = max(frames_in - len(recording.poses) - (lost or 0), 0)
    return Metrics(
        frames_in=frames_in,
        frames_out=len(recording.poses),
        dropped=dropped,
        lost=lost,
        ate_rmse_m=rounded(error.ate_rmse_m, 4) if error else None,
        path_length_m=rounded(recording.length(error), 3),
        depth_abs_rel=rounded(float(np.mean(depth_errors)), 4) if depth_errors else None,
        latency_ms_p50=rounded(float(latencies[0]), 1),
        latency_ms_p95=rounded(float(latencies[1]), 1),
        node_rss_mb=_number(recording.diagnostics.get("rss_mb")),
    )


def _count(recording: RunLog, *keys: str) -> int | None:
    """Return the sum of counters of the node; None if it has not reported any."""
    values = [_number(recording.diagnostics.get(key)) for key in keys]
    known = [value for value in values if value is not None]
    return round(sum(known)) if known else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
