"""Reads the files that well-known datasets store with their images: stamps, camera matrix and true poses.

Supports TUM RGB-D, EuRoC (TUM-VI), 7-Scenes, ScanNet, and folders with the same layout.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from ttt3r_ros.camera.calibration import Calibration, Distortion, check_matrix
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, Intrinsics
from ttt3r_ros.sources.frame import SourceReport
from ttt3r_ros.sources.poses import (
    PoseLookup,
    PoseTrack,
    checked_pose,
    read_euroc_poses,
    read_pose_list,
    read_pose_matrix,
)

#: Subfolders of a dataset that may contain the images of its first (color) camera.
IMAGE_FOLDERS = ("rgb", "color", "images", "mav0/cam0/data", "cam0/data", "data", "image", "frames")
#: How many folders above that of the images a dataset's other files may be, by the name of the image folder.
_LEVELS_UP = {"data": 2, **dict.fromkeys(("rgb", "color", "images", "image", "frames"), 1)}

#: What `reconstruct` or `demo` have written beside their other results, whose trajectory is an estimate, not the truth.
_MARKS_OF_RESULTS = ("run.json", "player.log")
_RESULTS = ("metrics.json", "trajectory.txt")

#: Parts of file names that indicate something other than a color image.
_NOT_COLOR = re.compile(r"(?:^|[^a-z])(?:depth|disp|disparity|normals?|mask|labels?|confidence|seg)(?:[^a-z]|$)", re.I)

_MATRIX_FILES = (
    "intrinsic/intrinsic_color.txt",
    "intrinsics_color.txt",
    "intrinsic_color.txt",
    "K.txt",
    "cam_K.txt",
    "intrinsics.txt",
    "intrinsic.txt",
    "camera-intrinsics.txt",
)
_POSE_FILES = ("groundtruth.txt", "pose.txt", "poses.txt", "traj.txt", "trajectory.txt")
_POSE_FOLDERS = ("pose", "poses")
_BODY_POSES = ("state_groundtruth_estimate0/data.csv", "mocap0/data.csv")

#: Nanoseconds per unit (s, ms, µs, ns), by the number of digits of the time since the epoch for the years 2001 to 2286.
NS_PER_UNIT = {10: 10**9, 13: 10**6, 16: 10**3, 19: 1}
#: Later times do not fit into a ROS message [ns].
_MAX_STAMP_NS = 2**31 * 10**9

#: Distortion models of EuRoC's sensor.yaml, by the names of sensor_msgs.
_DISTORTIONS = {"radial-tangential": "plumb_bob", "radtan": "plumb_bob", "equidistant": "equidistant"}


@dataclass(frozen=True)
class CameraBeside:
    """A camera described by a file of the dataset.

    Attributes:
        file: the file it was read from.
        fx, fy, cx, cy: of the camera matrix [px].
        size: width and height of the images [px]; None if the file does not say.
        distortion: of the lens; None if there is none or it is unknown.
        T_body_camera: (4, 4) mount on the body whose true poses are given; None if the true poses are the camera's.
        warning: what of the file is ignored, in a sentence; empty if nothing.
    """

    file: Path
    fx: float
    fy: float
    cx: float
    cy: float
    size: tuple[int, int] | None = None
    distortion: Distortion | None = None
    T_body_camera: FloatArray | None = None
    warning: str = ""

    def calibration(self, width: int, height: int) -> Calibration | None:
        """Return the calibration for images of this size [px]; None if the file is for another size."""
        if self.size not in (None, (width, height)) or not (0 < self.cx < width and 0 < self.cy < height):
            return None
        return Calibration.of(Intrinsics(self.fx, self.fy, self.cx, self.cy, width, height), self.distortion)


def image_folders(recording: Path) -> tuple[Path, ...]:
    """Return the folders in which the images of a recording may be, itself first."""
    return recording, *(recording / name for name in IMAGE_FOLDERS)


def is_result(folder: Path) -> bool:
    """Return whether a folder holds the results of `reconstruct` or `demo`, whose pictures are no camera's."""
    has = {name: (folder / name).is_file() for name in (*_RESULTS, *_MARKS_OF_RESULTS)}
    return all(has[name] for name in _RESULTS) and any(has[name] for name in _MARKS_OF_RESULTS)


def color_images(files: list[Path]) -> list[Path]:
    """Return the files without those whose names indicate depth, masks or the like; all files if none would remain."""
    return [file for file in files if is_color(file.stem)] or files


def is_color(name: str) -> bool:
    """Return whether the name of a file or folder does not say that it is depth, a mask or the like."""
    return not _NOT_COLOR.search(name)


def listed_stamps(folder: Path, files: list[Path]) -> dict[Path, int]:
    """Return the images' times [ns] from a list in the format of TUM (rgb.txt: time, file); empty if incomplete."""
    stamps: dict[Path, int] = {}
    known = {file.name: file for file in files}
    lists = (folder.parent / f"{folder.name}.txt", folder.parent / "images.txt")
    for line in _text(next((file for file in lists if file.is_file()), None)).splitlines():
        time, _, name = line.strip().partition(" ")
        file = known.get(name.strip().rpartition("/")[2])
        stamp_ns = time_ns(time)
        if file is not None and stamp_ns is not None:
            stamps[file] = stamp_ns
    return stamps if len(stamps) == len(files) else {}


def time_ns(text: str) -> int | None:
    """Return a time since the epoch [ns]; None if it is none that a ROS message can hold.

    Args:
        text: seconds, or an integer whose number of digits tells that it counts ms, µs or ns.
    """
    unit_ns = NS_PER_UNIT.get(len(text), 10**9) if text.isdecimal() else 10**9
    with suppress(ArithmeticError, ValueError):  # not a number, not finite
        value = Decimal(text)
        if 0 <= value < _MAX_STAMP_NS and value * unit_ns < _MAX_STAMP_NS:
            return int(value * unit_ns)
    return None


def camera_beside(images: Path, report: SourceReport) -> CameraBeside | None:
    """Return the camera described by a file near the images; warn about files that cannot be read, and skip them."""
    for folder in _folders_beside(images):
        for read, file in _camera_files(folder):
            try:
                camera = read(file)
                if camera.warning:
                    report.warn(f"{file}: {camera.warning}")
                return camera
            except (UserError, OSError, ValueError, KeyError, TypeError) as error:
                report.warn(f"{file} is ignored: {_sentence(error)}")
    return None


def poses_beside(
    images: Path, files: list[Path], camera: CameraBeside | None, report: SourceReport
) -> PoseLookup | None:
    """Return the true poses from files near the images; warn about files that cannot be read, and skip them."""
    for folder in _folders_beside(images):
        for name in _BODY_POSES:
            if (folder / name).is_file() and camera is not None and camera.T_body_camera is not None:
                with _said(report):
                    track = read_euroc_poses(folder / name)
                    _say_unknown(folder / name, track, report)
                    return _of_body(track, camera.T_body_camera)
        matrices = _pose_matrices(folder, files)
        if matrices is not None:
            return lambda index, _: _matrix(matrices[index], report)
        for name in _POSE_FILES:
            if (folder / name).is_file() and not (name in _RESULTS and is_result(folder)):
                with _said(report):
                    poses = read_pose_list(folder / name, len(files))
                    _say_unknown(folder / name, poses, report)
                    return _listed(poses)
    return None


def _folders_beside(images: Path) -> Iterator[Path]:
    """Yield the images' folder and, if it is part of a dataset, those above it."""
    folder = images.resolve()
    yield folder
    yield from list(folder.parents)[: _LEVELS_UP.get(folder.name, 0)]


def _camera_files(folder: Path) -> Iterator[tuple[Callable[[Path], CameraBeside], Path]]:
    if (folder / "sensor.yaml").is_file():
        yield _from_sensor_yaml, folder / "sensor.yaml"
    for name in _MATRIX_FILES:
        if (folder / name).is_file():
            yield _from_matrix_file, folder / name
    if (folder / "_info.txt").is_file():
        yield _from_scannet_info, folder / "_info.txt"


def _from_matrix_file(file: Path) -> CameraBeside:
    """Read 'fx fy cx cy', or a 3x3, 3x4 or 4x4 matrix, also with brackets and comments."""
    values = [float(value) for value in re.sub(r"#.*|[\[\](),;]", " ", file.read_text()).split()]
    if len(values) == 4:
        return _camera(file, *values)
    return _from_matrix(file, values)


def _from_scannet_info(file: Path) -> CameraBeside:
    """Read 'm_calibrationColorIntrinsic = ' and a 4x4 matrix."""
    values = dict(re.findall(r"^\s*(\w+)\s*=\s*(.*?)\s*$", file.read_text(), re.M))
    return _from_matrix(file, [float(value) for value in values["m_calibrationColorIntrinsic"].split()])


def _from_matrix(file: Path, values: list[float]) -> CameraBeside:
    if len(values) not in (9, 12, 16):
        raise ValueError(f"it must contain fx fy cx cy or a matrix of 9, 12 or 16 numbers, but contains {len(values)}")
    K = np.array(values, dtype=np.float64).reshape(3 if len(values) == 9 else -1, 3 if len(values) == 9 else 4)[:3, :3]
    camera = _camera(file, *(float(K[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2))))
    return replace(camera, warning=check_matrix(K))


def _camera(file: Path, fx: float, fy: float, cx: float, cy: float) -> CameraBeside:
    if not (np.isfinite([fx, fy, cx, cy]).all() and fx > 1 and fy > 1):
        raise ValueError(f"fx={fx:g}, fy={fy:g} are not focal lengths in pixels")
    return CameraBeside(file, fx, fy, cx, cy)


def _from_sensor_yaml(file: Path) -> CameraBeside:
    """Read EuRoC's description of a camera."""
    try:
        import yaml  # type: ignore[import-untyped]  # only needed for such a folder
    except ImportError:
        raise UserError("it needs the PyYAML library; install it with: pip install pyyaml") from None

    try:
        # the header that OpenCV adds is not valid YAML
        content: Any = yaml.safe_load(re.sub(r"^%.*$", "", file.read_text(), flags=re.M))
    except yaml.YAMLError:
        raise ValueError("it is not valid YAML") from None
    try:
        fx, fy, cx, cy = (float(value) for value in content["intrinsics"])
        width, height = (int(value) for value in content["resolution"])
        coefficients = tuple(float(value) for value in content.get("distortion_coefficients") or ())
    except (TypeError, ValueError):
        raise ValueError(
            "it must contain lists: intrinsics of 4 numbers, resolution of 2, and distortion_coefficients"
        ) from None
    camera = _camera(file, fx, fy, cx, cy)
    model = str(content.get("distortion_model", ""))
    distortion = None
    if any(coefficients):
        if model not in _DISTORTIONS:
            raise ValueError(f"the distortion model {model!r} is not one of {', '.join(_DISTORTIONS)}")
        distortion = Distortion(_DISTORTIONS[model], coefficients)
    mount = content.get("T_BS")
    T: FloatArray | None = None
    if mount:
        try:
            T = checked_pose(np.array(mount["data"], dtype=np.float64).reshape(4, 4))
        except (KeyError, TypeError, ValueError):
            T = None
        if T is None:
            raise ValueError("T_BS is not a rigid transform with data of 16 numbers")
    return CameraBeside(file, camera.fx, camera.fy, camera.cx, camera.cy, (width, height), distortion, T)


def _pose_matrices(folder: Path, files: list[Path]) -> list[Path] | None:
    """Return one file with a pose matrix per image: frame-0.pose.txt for frame-0.color.png, or pose/0.txt."""
    stems = [file.stem.removesuffix(".color") for file in files]
    candidates = [[folder / f"{stem}.pose.txt" for stem in stems]]
    candidates += [[folder / name / f"{stem}.txt" for stem in stems] for name in _POSE_FOLDERS]
    return next((paths for paths in candidates if any(path.is_file() for path in paths)), None)


def _matrix(path: Path, report: SourceReport) -> FloatArray | None:
    if path.is_file():
        try:
            pose = read_pose_matrix(path)
        except UserError:
            report.warn(f"some pose files in {path.parent} contain no 4x4 matrix, and count as unknown")
            return None
        if pose is None:
            report.warn(f"some poses in {path.parent} are not finite or no rotation, and count as unknown")
        return pose
    return None


def _say_unknown(file: Path, poses: PoseTrack | list[FloatArray | None], report: SourceReport) -> None:
    unknown = poses.unknown if isinstance(poses, PoseTrack) else sum(pose is None for pose in poses)
    if unknown:
        total = len(poses) + (unknown if isinstance(poses, PoseTrack) else 0)
        report.warn(f"{unknown} of {total} poses in {file} are not finite or no rotation, and count as unknown")


def _listed(poses: PoseTrack | list[FloatArray | None]) -> PoseLookup:
    if isinstance(poses, PoseTrack):
        return lambda _, stamp_ns: None if stamp_ns is None else poses.at(stamp_ns)
    return lambda index, _: poses[index]


def _of_body(track: PoseTrack, T_body_camera: FloatArray) -> PoseLookup:
    def lookup(_: int, stamp_ns: int | None) -> FloatArray | None:
        T_world_body = None if stamp_ns is None else track.at(stamp_ns)
        return None if T_world_body is None else T_world_body @ T_body_camera

    return lookup


@contextmanager
def _said(report: SourceReport) -> Iterator[None]:
    """Convert errors into warnings, since the user did not ask for this file."""
    try:
        yield
    except UserError as error:
        report.warn(f"the ground truth is ignored: {_sentence(error)}")


def _text(file: Path | None) -> str:
    try:
        return "" if file is None else file.read_text(errors="replace")
    except OSError:
        return ""


def _sentence(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return " ".join(str(error).split())
