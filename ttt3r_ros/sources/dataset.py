"""What well-known data sets have beside their images: where the images are, the camera's matrix, true poses.

TUM RGB-D, EuRoC (TUM-VI), 7-Scenes, ScanNet, and folders laid out like them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np

from ttt3r_ros.camera.calibration import Calibration, Distortion
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, Intrinsics
from ttt3r_ros.sources.frame import SourceReport
from ttt3r_ros.sources.poses import (
    PoseLookup,
    PoseTrack,
    read_euroc_poses,
    read_pose_list,
    read_pose_matrix,
)

#: Where the images of the first (colour) camera are, below the folder that people name.
IMAGE_FOLDERS = ("rgb", "color", "images", "mav0/cam0/data", "cam0/data", "data", "image", "frames")
#: The same below the images' own folder: how far up the files beside them may lie.
_LEVELS_UP = {"data": 2, **dict.fromkeys(("rgb", "color", "images", "image", "frames"), 1)}

#: A part of a file's name that says it is no colour image.
_NO_COLOUR = re.compile(r"(?:^|[^a-z])(?:depth|disp|disparity|normals?|mask|labels?|confidence|seg)(?:[^a-z]|$)", re.I)

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

#: Distortion models of EuRoC's sensor.yaml, by the names of sensor_msgs.
_DISTORTIONS = {"radial-tangential": "plumb_bob", "radtan": "plumb_bob", "equidistant": "equidistant"}


@dataclass(frozen=True)
class CameraBeside:
    """A camera as a file beside its images has it.

    Attributes:
        file: that told.
        fx, fy, cx, cy: of the matrix [px].
        size: width and height [px]; None where the file does not say.
        distortion: of the lens, None for none or unknown.
        T_body_camera: (4, 4) mount on the body that true poses are of; None where these are the camera's.
    """

    file: Path
    fx: float
    fy: float
    cx: float
    cy: float
    size: tuple[int, int] | None = None
    distortion: Distortion | None = None
    T_body_camera: FloatArray | None = None

    def calibration(self, width: int, height: int) -> Calibration | None:
        """Return the calibration of images of so many pixels; None where the file is of another size."""
        if self.size not in (None, (width, height)) or not (0 < self.cx < width and 0 < self.cy < height):
            return None
        return Calibration.of(Intrinsics(self.fx, self.fy, self.cx, self.cy, width, height), self.distortion)


def colour_alone(files: list[Path]) -> list[Path]:
    """Return the colour images where others (depth, masks) are told from them by name; else all of them."""
    return [file for file in files if not _NO_COLOUR.search(file.stem)] or files


def listed_stamps(folder: Path, files: list[Path]) -> dict[Path, int]:
    """Return the times [ns] of images by the list that TUM has beside them (rgb.txt: time, file); else nothing."""
    stamps: dict[Path, int] = {}
    known = {file.name: file for file in files}
    lists = (folder.parent / f"{folder.name}.txt", folder.parent / "images.txt")
    for line in _text(next((file for file in lists if file.is_file()), None)).splitlines():
        time, _, name = line.strip().partition(" ")
        file = known.get(name.strip().rpartition("/")[2])
        with suppress(InvalidOperation, ValueError, OverflowError):
            if file is not None:
                stamps[file] = int(Decimal(time).scaleb(9))
    return stamps if len(stamps) == len(files) else {}


def camera_beside(images: Path, report: SourceReport) -> CameraBeside | None:
    """Return what is said about the camera beside its images; files that cannot be understood are said and left out."""
    for folder in _folders_beside(images):
        for read, file in _camera_files(folder):
            try:
                return read(file)
            except (UserError, OSError, ValueError, KeyError, TypeError) as error:
                report.warn(f"{file} is not used: {_sentence(error)}")
    return None


def poses_beside(
    images: Path, files: list[Path], camera: CameraBeside | None, report: SourceReport
) -> PoseLookup | None:
    """Return the true poses that lie beside images; files that cannot be understood are said and left out."""
    for folder in _folders_beside(images):
        for name in _BODY_POSES:
            if (folder / name).is_file() and camera is not None and camera.T_body_camera is not None:
                with _said(report):
                    return _of_body(read_euroc_poses(folder / name), camera.T_body_camera)
        matrices = _pose_matrices(folder, files)
        if matrices is not None:
            return lambda index, _: _matrix(matrices[index], report)
        for name in _POSE_FILES:
            if (folder / name).is_file():
                with _said(report):
                    return _listed(read_pose_list(folder / name, len(files)))
    return None


def _folders_beside(images: Path) -> Iterator[Path]:
    """Yield the images' folder and, where it is a part of a data set, those above."""
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
    """Read 'fx fy cx cy', or a 3x3 or 4x4 matrix."""
    values = [float(value) for value in re.split(r"[\s,;]+", file.read_text().strip())]
    if len(values) == 4:
        return _camera(file, *values)
    if len(values) not in (9, 16):
        raise ValueError(f"fx fy cx cy, or a matrix of 9 or 16 numbers, are understood, these are {len(values)}")
    return _from_matrix(file, values)


def _from_scannet_info(file: Path) -> CameraBeside:
    """Read 'm_calibrationColorIntrinsic = ' and a 4x4 matrix."""
    values = dict(re.findall(r"^\s*(\w+)\s*=\s*(.*?)\s*$", file.read_text(), re.M))
    return _from_matrix(file, [float(value) for value in values["m_calibrationColorIntrinsic"].split()])


def _from_matrix(file: Path, values: list[float]) -> CameraBeside:
    K = np.array(values, dtype=np.float64).reshape(round(len(values) ** 0.5), -1)
    if K[2, 2] != 1 or K[1, 0] != 0 or K[2, 0] != 0 or K[2, 1] != 0:
        raise ValueError("it is no camera matrix")
    return _camera(file, *(float(K[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2))))


def _camera(file: Path, fx: float, fy: float, cx: float, cy: float) -> CameraBeside:
    if not (np.isfinite([fx, fy, cx, cy]).all() and fx > 1 and fy > 1):
        raise ValueError(f"fx={fx:g}, fy={fy:g} are no focal lengths in pixels")
    return CameraBeside(file, fx, fy, cx, cy)


def _from_sensor_yaml(file: Path) -> CameraBeside:
    """Read EuRoC's description of a camera."""
    try:
        import yaml  # type: ignore[import-untyped]  # of which only such a folder has need
    except ImportError:
        raise UserError("it needs the PyYAML library; install it with: pip install pyyaml") from None

    try:
        # OpenCV's header, which some writers leave, is no YAML
        content: Any = yaml.safe_load(re.sub(r"^%.*$", "", file.read_text(), flags=re.M))
    except yaml.YAMLError:
        raise ValueError("it is no YAML") from None
    camera = _camera(file, *(float(value) for value in content["intrinsics"]))
    width, height = (int(value) for value in content["resolution"])
    coefficients = tuple(float(value) for value in content.get("distortion_coefficients") or ())
    model = str(content.get("distortion_model", ""))
    distortion = None
    if any(coefficients):
        if model not in _DISTORTIONS:
            raise ValueError(f"the distortion model {model!r} is none of {', '.join(_DISTORTIONS)}")
        distortion = Distortion(_DISTORTIONS[model], coefficients)
    mount = content.get("T_BS")
    T = np.array(mount["data"], dtype=np.float64).reshape(4, 4) if mount else None
    return CameraBeside(file, camera.fx, camera.fy, camera.cx, camera.cy, (width, height), distortion, T)


def _pose_matrices(folder: Path, files: list[Path]) -> list[Path] | None:
    """Return a file of one matrix for each image: frame-0.color.png and frame-0.pose.txt, or pose/0.txt."""
    stems = [file.stem.removesuffix(".color") for file in files]
    candidates = [[folder / f"{stem}.pose.txt" for stem in stems]]
    candidates += [[folder / name / f"{stem}.txt" for stem in stems] for name in _POSE_FOLDERS]
    return next((paths for paths in candidates if any(path.is_file() for path in paths)), None)


def _matrix(path: Path, report: SourceReport) -> FloatArray | None:
    if path.is_file():
        with _said(report):
            return read_pose_matrix(path)
    return None


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
    """Turn the error of a file that nobody has asked for into a warning."""
    try:
        yield
    except UserError as error:
        report.warn(f"the ground truth is not used: {_sentence(error)}")


def _text(file: Path | None) -> str:
    try:
        return "" if file is None else file.read_text(errors="replace")
    except OSError:
        return ""


def _sentence(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return " ".join(str(error).split())
