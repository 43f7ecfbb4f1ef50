"""The public data sets: what each is, which frames its protocol takes, where its owners offer it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Literal

import numpy as np

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, T_from_pose
from ttt3r_ros.protocols.recording import (
    Depth,
    Recording,
    associate,
    even_stamps,
    listed,
    numbered,
    png_depth,
    read_pose,
    read_rows,
    sintel_depth,
    sintel_pose,
)

Task = Literal["pose", "depth", "reconstruction"]

ALL = 0  #: As a length: every frame.


@dataclass(frozen=True)
class Published:
    """A published figure.

    Attributes:
        rule: update rule; length: frames, `ALL` for all; figure: its name; value: what is published.
        reset: frames between resets, 0 for none.
        sequence: of which it is; '' for the mean.
        note: what is not the same, or not said.
    """

    rule: str
    length: int
    figure: str
    value: float
    reset: int = 0
    sequence: str = ""
    note: str = ""


@dataclass(frozen=True)
class Dataset:
    """A data set under one protocol.

    Attributes:
        name: on the command line.
        task: what is measured.
        title: its full name.
        layout: of the folder that is given, in one sentence.
        url: where its owners offer it.
        sequences: those of the protocol.
        place: folder of a sequence below the given one.
        read: reads a sequence: folder, sequence, length (`ALL` for all).
        lengths: of the protocol.
        read_depth: reads a file of true depth [m].
        max_depth: deeper true pixels do not count [m].
        clip: predictions are cut to it after alignment [m].
        max_speed: of the camera under node settings [m/s], 0 for any.
        published: figures to stand beside ours.
    """

    name: str
    task: Task
    title: str
    layout: str
    url: str
    sequences: tuple[str, ...]
    place: Callable[[Path, str], Path]
    read: Callable[[Path, str, int], Recording]
    lengths: tuple[int, ...]
    read_depth: Callable[[Path], Depth] | None = None
    max_depth: float = math.inf
    clip: float = math.inf
    max_speed: float = 5.0
    published: tuple[Published, ...] = field(default=(), repr=False)

    def present(self, folder: Path, sequences: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
        """Return which of the sequences, by default those of the protocol, a folder has, and which it lacks.

        Raises:
            UserError: a sequence is not one of the protocol, or the folder has none.
        """
        unknown = [name for name in sequences if name not in self.sequences]
        if unknown:
            raise UserError(f"{self.name} has no sequence {unknown[0]!r}; it has {', '.join(self.sequences)}")
        asked = sequences or self.sequences
        found = [name for name in asked if self.place(folder, name).is_dir()]
        if not found:
            what = "is no folder" if not folder.is_dir() else f"holds no sequence of {self.name}"
            raise UserError(f"{folder} {what}; expected: {self.layout}")
        return found, [name for name in asked if name not in found]


def dataset_named(name: str) -> Dataset:
    """Return the data set of this name.

    Raises:
        UserError: there is none.
    """
    if name not in DATASETS:
        raise UserError(f"there is no data set {name!r}; choose one of {', '.join(DATASETS)}, see evaluate --list")
    return DATASETS[name]


# --- TUM RGB-D ---

_TUM = tuple(
    f"freiburg3_{who}_{how}" for who in ("sitting", "walking") for how in ("static", "xyz", "halfsphere", "rpy")
)


def _tum_place(folder: Path, sequence: str) -> Path:
    return folder / f"rgbd_dataset_{sequence}"


def _read_tum(stride: int) -> Callable[[Path, str, int], Recording]:
    def read(folder: Path, sequence: str, length: int) -> Recording:
        place = _tum_place(folder, sequence)
        names = _stamped_names(place / "rgb.txt")
        truth = read_rows(place / "groundtruth.txt", 8)
        stamps = np.array([float(stamp) for stamp, _ in names])
        pairs = associate(stamps, truth[:, 0])[::stride]
        pairs = pairs[: length or None]
        if not pairs:
            raise UserError(f"{place}: no image of rgb.txt has a stamp within 0.02 s of one in groundtruth.txt")
        return Recording(
            tuple(_existing(place / names[i][1]) for i, _ in pairs),
            tuple(int(Decimal(names[i][0]).scaleb(9)) for i, _ in pairs),
            np.array([T_from_pose(truth[j, 1:4], truth[j, [7, 4, 5, 6]]) for _, j in pairs]),
        )

    return read


def _stamped_names(path: Path) -> list[tuple[str, str]]:
    """Return stamps [s], as they are written, and file names of TUM's rgb.txt."""
    try:
        lines = [line.replace(",", " ").split() for line in path.read_text().splitlines() if not line.startswith("#")]
        names = [(fields[0], fields[1]) for fields in lines if len(fields) >= 2]
        for stamp, _ in names:
            float(stamp)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as lines of a stamp and a file name ({error})") from None
    return names


# --- ScanNet ---


def _read_scannet(*, short: bool) -> Callable[[Path, str, int], Recording]:
    def read(folder: Path, sequence: str, length: int) -> Recording:
        place = folder / sequence
        colors, depths, poses = (
            numbered(place / part, suffix) for part, suffix in (("color", ".jpg"), ("depth", ".png"), ("pose", ".txt"))
        )
        total = min(len(colors), len(depths), len(poses))
        most = -(-total // 3) if short else total // 3
        count = min(length or most, most)
        if not count:
            raise UserError(
                f"{place} has {len(colors)} images in color/, {len(depths)} in depth/ and {len(poses)} poses in pose/;"
                " 3 of each are the least"
            )
        frames = slice(0, 3 * count, 3)
        return Recording(
            tuple(colors[frames]), even_stamps(count, 10.0), np.array([read_pose(path) for path in poses[frames]])
        )

    return read


# --- Sintel ---

_SINTEL = (
    "alley_1", "alley_2", "ambush_2", "ambush_4", "ambush_5", "ambush_6", "ambush_7", "bamboo_1", "bamboo_2",
    "bandage_1", "bandage_2", "cave_2", "cave_4", "market_2", "market_5", "market_6", "mountain_1", "shaman_2",
    "shaman_3", "sleeping_1", "sleeping_2", "temple_2", "temple_3",
)  # fmt: skip
_SINTEL_POSE = (
    "alley_2", "ambush_4", "ambush_5", "ambush_6", "cave_2", "cave_4", "market_2", "market_5", "market_6",
    "shaman_3", "sleeping_1", "sleeping_2", "temple_2", "temple_3",
)  # fmt: skip
_SINTEL_LAYOUT = (
    "the folder holds training/final/<sequence>/frame_0001.png, training/camdata_left/<sequence>/frame_0001.cam and "
    "training/depth/<sequence>/frame_0001.dpt"
)


def _read_sintel(folder: Path, sequence: str, length: int) -> Recording:
    training = folder / "training"
    images = listed(training / "final" / sequence, ".png")[: length or None]
    cameras = [_existing(training / "camdata_left" / sequence / f"{path.stem}.cam") for path in images]
    return _nonempty(
        Recording(tuple(images), even_stamps(len(images), 24.0), np.array([sintel_pose(camera) for camera in cameras])),
        training / "final" / sequence,
    )


def _read_sintel_depth(folder: Path, sequence: str, length: int) -> Recording:
    training = folder / "training"
    images = listed(training / "final" / sequence, ".png")[: length or None]
    depths = [_existing(training / "depth" / sequence / f"{path.stem}.dpt") for path in images]
    recording = Recording(tuple(images), even_stamps(len(images), 24.0), depths=tuple(depths))
    return _nonempty(recording, training / "final" / sequence)


# --- Bonn ---


def _bonn_place(folder: Path, sequence: str) -> Path:
    return folder / f"rgbd_bonn_{sequence}"


def _read_bonn(folder: Path, sequence: str, length: int) -> Recording:
    place = _bonn_place(folder, sequence)
    images, depths = listed(place / "rgb", ".png"), listed(place / "depth", ".png")
    poses = read_rows(place / "groundtruth.txt", 8)
    available = min(len(images), len(depths), len(poses)) - 30  # the lists are paired by index, not by time
    count = min(length or available, available)
    if count < 1:
        raise UserError(
            f"{place} has {len(images)} images, {len(depths)} depth images and {len(poses)} lines in groundtruth.txt;"
            " the protocol begins at number 30"
        )
    frames = slice(30, 30 + count)
    return Recording(tuple(images[frames]), even_stamps(count, 30.0), depths=tuple(depths[frames]))


# --- KITTI ---

_KITTI = (
    *(f"2011_09_26_drive_{n:04d}_sync" for n in (2, 5, 13, 20, 23, 36, 79, 95, 113)),
    "2011_09_28_drive_0037_sync",
    "2011_09_29_drive_0026_sync",
    "2011_09_30_drive_0016_sync",
    "2011_10_03_drive_0047_sync",
)


def _kitti_place(folder: Path, drive: str) -> Path:
    return folder / "val" / drive


def _read_kitti(folder: Path, drive: str, length: int) -> Recording:
    annotated = _kitti_place(folder, drive) / "proj_depth" / "groundtruth" / "image_02"
    depths = listed(annotated, ".png")[: length or None]
    images = [_existing(folder / drive[:10] / drive / "image_02" / "data" / path.name) for path in depths]
    return _nonempty(Recording(tuple(images), even_stamps(len(images), 10.0), depths=tuple(depths)), annotated)


def _read_kitti_odometry(folder: Path, sequence: str, length: int) -> Recording:
    place = folder / "sequences" / sequence / "image_2"
    rows = read_rows(folder / "poses" / f"{sequence}.txt", 12)
    images = listed(place, ".png")
    if len(images) != len(rows):
        raise UserError(f"{place} has {len(images)} images, but poses/{sequence}.txt {len(rows)} poses")
    count = min(length or len(rows), len(rows))
    poses = np.zeros((count, 4, 4))
    poses[:, :3], poses[:, 3, 3] = rows[:count].reshape(-1, 3, 4), 1
    return _nonempty(Recording(tuple(images[:count]), even_stamps(count, 10.0), poses), place)


# --- EuRoC ---

_EUROC = (
    "MH_01_easy", "MH_02_easy", "MH_03_medium", "MH_04_difficult", "MH_05_difficult", "V1_01_easy", "V1_02_medium",
    "V1_03_difficult", "V2_01_easy", "V2_02_medium", "V2_03_difficult",
)  # fmt: skip


def _read_euroc(folder: Path, sequence: str, length: int) -> Recording:
    place = folder / sequence / "mav0"
    camera, body = place / "cam0", place / "state_groundtruth_estimate0" / "data.csv"
    images = [path for path in listed(camera / "data", ".png") if path.stem.isdigit()]
    try:
        lines = [line.split(",") for line in body.read_text().splitlines() if line and not line.startswith("#")]
        stamps = [int(fields[0]) for fields in lines]
        rows = np.array([[float(value) for value in fields[1:8]] for fields in lines]).reshape(-1, 7)
        found = re.search(r"T_BS:.*?data:\s*\[([^\]]*)\]", (camera / "sensor.yaml").read_text(), re.DOTALL)
        T_body_camera = np.array([float(value) for value in found[1].split(",")]).reshape(4, 4) if found else None
    except (OSError, ValueError) as error:
        raise UserError(f"{place}: the truth or the camera's mount cannot be read ({error})") from None
    if T_body_camera is None:
        raise UserError(f"{camera / 'sensor.yaml'} has no T_BS")
    start = stamps[0] if stamps else 0  # as floats, stamps since 1970 would lose their nanoseconds
    pairs = associate(
        np.array([(int(path.stem) - start) * 1e-9 for path in images]), np.array([(s - start) * 1e-9 for s in stamps])
    )[: length or None]
    return _nonempty(
        Recording(
            tuple(images[i] for i, _ in pairs),
            tuple(int(images[i].stem) for i, _ in pairs),
            np.array([T_from_pose(rows[j, :3], rows[j, 3:7]) @ T_body_camera for _, j in pairs]),
        ),
        place,
    )


# --- 7-Scenes and Neural-RGBD ---

_SEVEN_SCENES = tuple(
    f"{scene}/seq-{number}"
    for scene, numbers in (
        ("chess", "03 05"),
        ("fire", "03 04"),
        ("heads", "01"),
        ("office", "02 06 07 09"),
        ("pumpkin", "01 07"),
        ("redkitchen", "03 04 06 12 14"),
        ("stairs", "01 04"),
    )
    for number in numbers.split()
)
_NEURAL_RGBD = (
    "breakfast_room", "complete_kitchen", "green_room", "grey_white_room", "kitchen", "morning_apartment",
    "staircase", "thin_geometry", "whiteroom",
)  # fmt: skip


def _read_seven_scenes(folder: Path, sequence: str, length: int) -> Recording:
    place = folder / sequence
    images = listed(place, ".color.png")[::2][: length or None]
    stems = [path.name.removesuffix(".color.png") for path in images]
    return _nonempty(
        Recording(
            tuple(images),
            even_stamps(len(images), 15.0),
            np.array([read_pose(place / f"{stem}.pose.txt") for stem in stems]),
            tuple(_existing(place / f"{stem}.depth.proj.png") for stem in stems),
        ),
        place,
    )


def _read_neural_rgbd(folder: Path, sequence: str, length: int) -> Recording:
    place = folder / sequence
    images = numbered(place / "images", ".png")
    numbers = ["".join(c for c in path.stem if c.isdigit()) for path in images]
    poses = _opengl_poses(place / "poses.txt")
    if len(poses) != len(images):
        raise UserError(f"{place} has {len(images)} images, but poses.txt {len(poses)} poses")
    stride = max(min(500, len(images) // 2), 1)
    frames = list(range(0, len(images), stride))[: length or None]
    return _nonempty(
        Recording(
            tuple(images[i] for i in frames),
            even_stamps(len(frames), 1.0),
            poses[frames],
            tuple(_existing(place / "depth" / f"depth{numbers[i]}.png") for i in frames),
        ),
        place,
    )


def _opengl_poses(path: Path) -> FloatArray:
    """Return poses (N, 4, 4) with OpenCV's axes of a file with OpenGL's; the identity where one is not known."""
    poses = read_rows(path, 4)
    if len(poses) % 4:
        raise UserError(f"{path} has {len(poses)} lines, but a pose has 4")
    poses = poses.reshape(-1, 4, 4)
    poses[:, :, 1:3] *= -1
    poses[np.isnan(poses).any(axis=(1, 2))] = np.eye(4)
    return poses


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"there is no {path}")
    return path


def _nonempty(recording: Recording, place: Path) -> Recording:
    if not len(recording):
        raise UserError(f"{place} holds no frame of the protocol")
    return recording


def _below(*parts: str) -> Callable[[Path, str], Path]:
    return lambda folder, sequence: folder.joinpath(*parts, sequence)


_TUM_LAYOUT = (
    "the folder holds rgbd_dataset_freiburg3_walking_xyz (and so on), each with rgb.txt, groundtruth.txt and rgb/"
)
_TUM_URL = "https://cvg.cit.tum.de/data/datasets/rgbd-dataset/download"
_SCANNET_LAYOUT = "the folder holds scene0707_00 (and so on), each with color/0.jpg, depth/0.png and pose/0.txt"
_SCANNET_URL = "http://www.scan-net.org"
_SINTEL_URL = "http://sintel.is.tue.mpg.de"
_LONG_POSE = (50, 100, 150, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
_SCANNET_LENGTHS = (50, 90, 100, 150, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
_LONG_DEPTH = (50, 100, 110, 150, 200, 250, 300, 350, 400, 450, 500)
_UNSAID = "alignment not said"


def _ate(length: int, cut3r: float, ttt3r: float) -> tuple[Published, ...]:
    return Published("cut3r", length, "ATE [m]", cut3r), Published("ttt3r", length, "ATE [m]", ttt3r)


def _clouds(sequence: str, acc: float, comp: float) -> tuple[Published, ...]:
    return (
        Published("ttt3r", 200, "Acc [m]", acc, sequence=sequence),
        Published("ttt3r", 200, "Comp [m]", comp, sequence=sequence),
    )


_ENTRIES = (
    Dataset(
        "tum",
        "pose",
        "TUM RGB-D, dynamic objects",
        _TUM_LAYOUT,
        _TUM_URL,
        _TUM,
        _tum_place,
        _read_tum(1),
        _LONG_POSE,
        published=(*_ate(1000, 0.173, 0.106), Published("ttt3r", 1000, "ATE [m]", 0.093, reset=100)),
    ),
    Dataset(
        "tum-short",
        "pose",
        "TUM RGB-D, dynamic objects, 90 frames at stride 3",
        _TUM_LAYOUT,
        _TUM_URL,
        _TUM,
        _tum_place,
        _read_tum(3),
        (90,),
        published=_ate(90, 0.046, 0.028),
    ),
    Dataset(
        "scannet",
        "pose",
        "ScanNet, test scans",
        _SCANNET_LAYOUT,
        _SCANNET_URL,
        tuple(f"scene{n:04d}_00" for n in range(707, 807)),
        _below(),
        _read_scannet(short=False),
        _SCANNET_LENGTHS,
    ),
    Dataset(
        "scannet-short",
        "pose",
        "ScanNet, test scans, 90 frames at stride 3",
        _SCANNET_LAYOUT,
        _SCANNET_URL,
        tuple(f"scene{n:04d}_00" for n in range(707, 807)),
        _below(),
        _read_scannet(short=True),
        (90,),
        published=_ate(90, 0.099, 0.064),
    ),
    Dataset(
        "sintel",
        "pose",
        "MPI Sintel, final pass, camera motion",
        _SINTEL_LAYOUT,
        _SINTEL_URL,
        _SINTEL_POSE,
        _below("training", "final"),
        _read_sintel,
        (ALL,),
        max_speed=0.0,
        published=_ate(ALL, 0.213, 0.201),
    ),
    Dataset(
        "sintel-depth",
        "depth",
        "MPI Sintel, final pass, depth",
        _SINTEL_LAYOUT,
        _SINTEL_URL,
        _SINTEL,
        _below("training", "final"),
        _read_sintel_depth,
        (ALL,),
        sintel_depth,
        max_depth=70.0,
        clip=70.0,
        max_speed=0.0,
    ),
    Dataset(
        "kitti-depth",
        "depth",
        "KITTI depth, validation drives",
        "the folder holds val/2011_09_26_drive_0002_sync/proj_depth/groundtruth/image_02/*.png and the raw drives' "
        "2011_09_26/2011_09_26_drive_0002_sync/image_02/data/*.png (and so on)",
        "https://www.cvlibs.net/datasets/kitti/eval_depth.php?benchmark=depth_prediction",
        _KITTI,
        _kitti_place,
        _read_kitti,
        _LONG_DEPTH,
        png_depth(256.0),
        max_speed=0.0,
        published=(
            Published("cut3r", 500, "AbsRel", 0.152, note=_UNSAID),
            Published("ttt3r", 500, "AbsRel", 0.131, note=_UNSAID),
            Published("ttt3r", 500, "AbsRel", 0.115, reset=100, note=_UNSAID),
        ),
    ),
    Dataset(
        "bonn-depth",
        "depth",
        "Bonn RGB-D Dynamic, depth",
        "the folder holds rgbd_bonn_balloon2 (and so on), each with rgb/*.png, depth/*.png and groundtruth.txt",
        "https://www.ipb.uni-bonn.de/data/rgbd-dynamic-dataset",
        ("balloon2", "crowd2", "crowd3", "person_tracking2", "synchronous"),
        _bonn_place,
        _read_bonn,
        _LONG_DEPTH,
        png_depth(5000.0),
        max_depth=70.0,
        published=(
            Published("cut3r", 500, "metric AbsRel", 0.103, note="length not said"),
            Published("ttt3r", 500, "metric AbsRel", 0.090, note="length not said"),
        ),
    ),
    Dataset(
        "7scenes",
        "reconstruction",
        "7-Scenes, test sequences, every second frame",
        "the folder holds chess/seq-03 (and so on), each with frame-000000.color.png, frame-000000.depth.proj.png "
        "(depth registered to the color camera) and frame-000000.pose.txt",
        "https://www.microsoft.com/en-us/research/project/rgb-d-dataset-7-scenes",
        _SEVEN_SCENES,
        _below(),
        _read_seven_scenes,
        (50, 100, 150, 200, 250, 300, 350, 400),
        published=(
            *_clouds("heads/seq-01", 0.01685292, 0.00516901),
            *_clouds("pumpkin/seq-01", 0.03586870, 0.02331474),
            *_clouds("pumpkin/seq-07", 0.02161489, 0.02766197),
            *_clouds("chess/seq-03", 0.02777658, 0.01695638),
        ),
    ),
    Dataset(
        "nrgbd",
        "reconstruction",
        "Neural RGB-D, synthetic rooms, stride 500",
        "the folder holds breakfast_room (and so on), each with images/img0.png, depth/depth0.png and poses.txt",
        "https://github.com/dazinovic/neural-rgbd-surface-reconstruction",
        _NEURAL_RGBD,
        _below(),
        _read_neural_rgbd,
        (ALL,),
        max_speed=0.0,
    ),
    Dataset(
        "kitti-odometry",
        "pose",
        "KITTI odometry, 00 to 10, every frame (our own protocol)",
        "the folder holds sequences/00/image_2/*.png and poses/00.txt (and so on), as the benchmark's dataset/ does",
        "https://www.cvlibs.net/datasets/kitti/eval_odometry.php",
        tuple(f"{n:02d}" for n in range(11)),
        _below("sequences"),
        _read_kitti_odometry,
        (ALL,),
        max_speed=0.0,
    ),
    Dataset(
        "euroc",
        "pose",
        "EuRoC MAV, left camera, images as they are (our own protocol)",
        "the folder holds MH_01_easy (and so on), each with mav0/cam0/data/*.png, mav0/cam0/sensor.yaml and "
        "mav0/state_groundtruth_estimate0/data.csv",
        "https://projects.asl.ethz.ch/datasets/doku.php?id=kmavvisualinertialdatasets",
        _EUROC,
        _below(),
        _read_euroc,
        (ALL,),
    ),
)

#: By name.
DATASETS: dict[str, Dataset] = {entry.name: entry for entry in _ENTRIES}
