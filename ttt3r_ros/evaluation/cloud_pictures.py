"""Pictures of a run's cloud: from two sides beside the true one, and a moving one in which it grows."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image

from ttt3r_ros import colors
from ttt3r_ros.evaluation.pictures import noted, save, write_below
from ttt3r_ros.evaluation.run_log import Moment, RunLog
from ttt3r_ros.evaluation.splat import Eye, draw_line, draw_points, frustum
from ttt3r_ros.geometry import FloatArray

#: Share of each frame's points, the most confident, that is shown and written.
CONFIDENT_SHARE = 0.7

#: Number of points in a picture, at most; more are invisible in its pixels.
_MAX_POINTS = 200_000

#: Rooms are cut open this far above the highest camera [m], since a ceiling would hide everything.
_ABOVE_M = 0.4

_BACKGROUND = (250, 250, 250)
_TEXT = (80, 84, 92)
_POINT_M = 0.045
_ELEVATION_DEG = 50.0
_FOV_DEG = 30.0
_MARGIN = 1.06

#: What a picture must show: so many points of the cloud, without the outer percents along each axis.
_STANDING_FOR_ALL = 5000
_OUTLIERS = 2.0

#: The moving picture.
_CLIP_WIDTH, _CLIP_HEIGHT = 600, 360
_SIDE_WIDTH = 200
_CLIP_FRAMES = 30
_CLIP_SECONDS = 5.0
_LAST_FRAME_S = 1.5
_CLIP_COLORS = 128
_NOTE_COLUMNS = 80
_FRUSTUM_M = 0.5
_SWEEP_DEG = 40.0


@dataclass(frozen=True)
class Points:
    """A cloud: (N, 3) float32 positions in the odometry frame [m] and (N, 3) uint8 RGB colors."""

    positions: npt.NDArray[np.float32]
    colors: npt.NDArray[np.uint8]

    def chosen(self, which: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Points:
        """Return the points with these indices."""
        return Points(self.positions[which], self.colors[which])


def joined(clouds: list[Points]) -> Points:
    """Return all points of several clouds."""
    if not clouds:
        return Points(np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8))
    return Points(np.concatenate([c.positions for c in clouds]), np.concatenate([c.colors for c in clouds]))


def confident_points(moments: list[Moment], max_points: int) -> list[Points]:
    """Return the confident points of each moment, in equal shares of ``max_points`` at most."""
    share = max_points // max(len(moments), 1)
    random = np.random.default_rng(0)  # a fixed seed, so that the same run gives the same files
    clouds = []
    for moment in moments:
        kept = moment.confident(CONFIDENT_SHARE)
        if len(kept) > share:
            kept = random.choice(kept, share, replace=False)
        clouds.append(Points(moment.points_odom[kept], moment.colors[kept]))
    return clouds


def draw_cloud(path: Path, recording: RunLog, moments: list[Moment], *, note: str = "") -> None:
    """Draw the cloud from two opposite sides, and beside it the true one where that is known.

    Args:
        path: path of the PNG file.
        recording: the run.
        moments: of this run; at least one has points.
        note: a sentence for below; may be empty.
    """
    rows = [("estimate", joined(confident_points(moments, _MAX_POINTS)))]
    truths = [Points(*found) for moment in moments if (found := recording.true_points(moment)) is not None]
    if truths:
        truth = joined(truths)
        rows.append(("truth", truth.chosen(_thinned(len(truth.positions)))))
    path_odom = _path(recording)
    paths = {"estimate": path_odom, "truth": _true_path(recording)}
    azimuth = _first_heading_deg(recording)
    # both seen from the same places
    stage = _Stage.around(joined([cloud for _, cloud in rows]), path_odom, moments)

    figure = Figure(figsize=(4.8 * len(rows) + 0.4, 7.6), layout="constrained")
    figure.suptitle("Point cloud", fontsize=15, fontweight="bold", x=0.02, ha="left")
    grid = figure.subplots(2, len(rows), squeeze=False)
    for side, turn in enumerate((150.0, -30.0)):
        eye = stage.eye(azimuth + turn, 640, 480)
        for column, (name, cloud) in enumerate(rows):
            picture = _blank(640, 480)
            stage.draw(picture, eye, cloud)
            color = colors.ESTIMATE if name == "estimate" else colors.TRUTH
            draw_line(picture, eye, paths[name], color)
            axes = grid[side, column]
            axes.imshow(picture)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if side == 0:
                axes.set_title(f"{name}, {len(cloud.positions):,} points", fontsize=10)
            if column == 0:
                axes.set_ylabel("from behind the start" if side == 0 else "from the other side", fontsize=10)
    path_of, above = ("camera", "it") if _is_base_at_camera(recording, moments) else ("robot", "the camera")
    caption = f"the line is the {path_of}'s path; cut open {_ABOVE_M} m above {above}"
    write_below(figure, noted(caption, note))
    save(figure, path)


def draw_clip(path: Path, recording: RunLog, moments: list[Moment], *, note: str = "") -> None:
    """Draw a run as a moving picture: image and depth, and beside them the cloud as it grows along the path.

    Args:
        path: path of the GIF file.
        recording: the run.
        moments: of this run, in order of time; at least one has points.
        note: a sentence for below; may be empty.
    """
    shown = set(np.linspace(0, len(moments) - 1, _CLIP_FRAMES).round().astype(int).tolist())
    clouds = confident_points(moments, _MAX_POINTS)
    stage = _Stage.around(joined(clouds), _path(recording), moments)
    limit = colors.depth_limit([moment.depth for moment in moments])
    azimuth = _first_heading_deg(recording) + 180.0 - _SWEEP_DEG / 2
    stamps_ns = np.array(sorted(recording.poses))
    path_odom, true_path = _path(recording), _true_path(recording)
    true_stamps_ns = np.array(sorted(recording.true_poses))
    frames = []
    for i, moment in enumerate(moments):
        if i not in shown:
            continue
        eye = stage.eye(azimuth + _SWEEP_DEG * i / max(len(moments) - 1, 1), _CLIP_WIDTH - _SIDE_WIDTH, _CLIP_HEIGHT)
        scene = _blank(_CLIP_WIDTH - _SIDE_WIDTH, _CLIP_HEIGHT)
        stage.draw(scene, eye, joined(clouds[: i + 1]), size_m=1.6 * _POINT_M)
        if len(true_path):
            draw_line(scene, eye, true_path[true_stamps_ns <= moment.stamp_ns], colors.TRUTH)
        draw_line(scene, eye, path_odom[stamps_ns <= moment.stamp_ns], colors.ESTIMATE)
        for line in frustum(moment.T_odom_camera, moment.intrinsics, _FRUSTUM_M):
            draw_line(scene, eye, line, colors.ESTIMATE, thickness=1)
        side = _blank(_SIDE_WIDTH, _CLIP_HEIGHT)
        half = _CLIP_HEIGHT // 2
        _place(side[:half], moment.rgb, "image")
        _place(side[half:], colors.depth_colors(moment.depth, limit), f"depth, 0 to {limit:.0f} m")
        rows = [np.concatenate([side, scene], axis=1), *_lines(note)]
        frames.append(Image.fromarray(np.concatenate(rows, axis=0)))
    # one palette for all, so that still parts do not flicker; no dither, which would triple the file
    palette = _palette(frames[-1])
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    frame_ms = round(1000 * _CLIP_SECONDS / len(frames))
    durations = [frame_ms] * (len(indexed) - 1) + [frame_ms + round(1000 * _LAST_FRAME_S)]
    indexed[0].save(path, save_all=True, append_images=indexed[1:], duration=durations, loop=0)


@dataclass(frozen=True)
class _Stage:
    """What pictures must show: (N, 3) points that stand for everything, and the height above which it is cut open."""

    everything: FloatArray
    ceiling: float

    @classmethod
    def around(cls, cloud: Points, path: FloatArray, moments: list[Moment]) -> _Stage:
        """Cut above path and cameras; a robot's base is on the floor."""
        heights = [path[:, 2].max(), *(moment.T_odom_camera[2, 3] for moment in moments)]
        ceiling = float(max(heights)) + _ABOVE_M
        below = cloud.positions[cloud.positions[:, 2] < ceiling]
        below = below[:: max(1, len(below) // _STANDING_FOR_ALL)]
        if len(below):
            low, high = np.percentile(below, [_OUTLIERS, 100.0 - _OUTLIERS], axis=0)
            below = below[((below >= low) & (below <= high)).all(axis=1)]
        return cls(np.concatenate([below, path]), ceiling)

    def eye(self, azimuth_deg: float, width: int, height: int) -> Eye:
        """Return an eye in this direction, obliquely above, that sees everything, as large as possible."""
        azimuth, elevation = np.radians([azimuth_deg, _ELEVATION_DEG])
        direction = np.array(
            [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
        )
        middle = (self.everything.min(axis=0) + self.everything.max(axis=0)) / 2
        slope = np.tan(np.radians(_FOV_DEG) / 2) / _MARGIN
        near = Eye.looking(middle + direction, middle, width=width, height=height, fov_deg=_FOV_DEG)
        x, y, _ = near.seen(self.everything).T
        right, down = near.T_world_eye[:3, :2].T
        middle = middle + right * (x.min() + x.max()) / 2 + down * (y.min() + y.max()) / 2
        near = Eye.looking(middle + direction, middle, width=width, height=height, fov_deg=_FOV_DEG)
        x, y, z = near.seen(self.everything).T
        # farther away, a point is still as far from the axis and z - 1 beyond the middle
        needed = np.maximum(np.abs(x) * height / width, np.abs(y)) / slope - (z - 1.0)
        distance = max(1.0, float(needed.max()))
        return Eye.looking(middle + distance * direction, middle, width=width, height=height, fov_deg=_FOV_DEG)

    def draw(self, picture: npt.NDArray[np.uint8], eye: Eye, cloud: Points, *, size_m: float = _POINT_M) -> None:
        below = cloud.positions[:, 2] < self.ceiling
        draw_points(picture, eye, cloud.positions[below], cloud.colors[below], size_m=size_m)


def _blank(width: int, height: int) -> npt.NDArray[np.uint8]:
    return np.full((height, width, 3), _BACKGROUND, np.uint8)


def _lines(note: str) -> list[npt.NDArray[np.uint8]]:
    """Return strips as wide as the clip, with a line of the note on each."""
    strips = []
    for line in textwrap.wrap(note, _NOTE_COLUMNS):
        strips.append(_blank(_CLIP_WIDTH, 18))
        cv2.putText(strips[-1], line, (8, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _TEXT, 1, cv2.LINE_AA)
    return strips


def _place(room: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8], label: str) -> None:
    """Fit an image into its room, and its label above it."""
    margin, top = 8, 22
    scale = min((room.shape[1] - 2 * margin) / image.shape[1], (room.shape[0] - top - margin) / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    room[top : top + size[1], margin : margin + size[0]] = resized
    cv2.putText(room, label, (margin, top - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _TEXT, 1, cv2.LINE_AA)


def _palette(frame: Image.Image) -> Image.Image:
    """Return a palette for frames like this one, with all colors of depth and lines."""
    ramp = np.broadcast_to(np.linspace(0.0, 1.0, frame.width, dtype=np.float32), (frame.height // 2, frame.width))
    height = frame.height // 24
    strips = [np.full((height, frame.width, 3), color, np.uint8) for color in (colors.ESTIMATE, colors.TRUTH)]
    sample = np.concatenate([np.asarray(frame), colors.depth_colors(ramp, 1.0), *strips])
    return Image.fromarray(sample).quantize(_CLIP_COLORS, method=Image.Quantize.MEDIANCUT)


def _thinned(count: int) -> npt.NDArray[np.intp]:
    """Return the indices of at most `_MAX_POINTS` points, in order."""
    return np.unique(np.linspace(0, count - 1, min(count, _MAX_POINTS)).round().astype(np.intp))


def _path(recording: RunLog) -> FloatArray:
    """Return the (N, 3) estimated path in the odometry frame [m], in order of time."""
    return np.array([recording.poses[stamp][:3, 3] for stamp in sorted(recording.poses)])


def _is_base_at_camera(recording: RunLog, moments: list[Moment]) -> bool:
    """Return whether the path is that of the camera itself, and not of a robot that carries it."""
    return all(np.allclose(m.T_odom_camera[:3, 3], recording.poses[m.stamp_ns][:3, 3], atol=1e-6) for m in moments)


def _true_path(recording: RunLog) -> FloatArray:
    """Return the (N, 3) true path in the odometry frame [m]; empty if unknown."""
    T_odom_world = recording.T_odom_world()
    if T_odom_world is None:
        return np.empty((0, 3))
    true_poses = recording.true_poses
    return np.array([(T_odom_world @ true_poses[stamp])[:3, 3] for stamp in sorted(true_poses)])


def _first_heading_deg(recording: RunLog) -> float:
    forward = recording.poses[min(recording.poses)][:3, 0]
    return float(np.degrees(np.arctan2(forward[1], forward[0])))
