"""How the public data sets lie on disk: where a sequence is, and which of its frames the protocols take."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, T_from_pose
from ttt3r_ros.protocols.recording import (
    Recording,
    associate,
    even_stamps,
    listed,
    numbered,
    read_pose,
    read_rows,
    sintel_pose,
)

# --- TUM RGB-D ---

TUM = tuple(
    f"freiburg3_{who}_{how}" for who in ("sitting", "walking") for how in ("static", "xyz", "halfsphere", "rpy")
)


def tum_place(folder: Path, sequence: str) -> Path:
    """Return the folder of a sequence."""
    return folder / f"rgbd_dataset_{sequence}"


def read_tum(stride: int) -> Callable[[Path, str, int], Recording]:
    """Return a reader of every stride-th frame of a TUM RGB-D sequence that has a true pose."""

    def read(folder: Path, sequence: str, length: int) -> Recording:
        place = tum_place(folder, sequence)
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


def read_scannet(*, short: bool) -> Callable[[Path, str, int], Recording]:
    """Return a reader of every third frame of a ScanNet scan; short: no more than the protocol of 90 takes."""

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

SINTEL = (
    "alley_1", "alley_2", "ambush_2", "ambush_4", "ambush_5", "ambush_6", "ambush_7", "bamboo_1", "bamboo_2",
    "bandage_1", "bandage_2", "cave_2", "cave_4", "market_2", "market_5", "market_6", "mountain_1", "shaman_2",
    "shaman_3", "sleeping_1", "sleeping_2", "temple_2", "temple_3",
)  # fmt: skip
SINTEL_POSE = (
    "alley_2", "ambush_4", "ambush_5", "ambush_6", "cave_2", "cave_4", "market_2", "market_5", "market_6",
    "shaman_3", "sleeping_1", "sleeping_2", "temple_2", "temple_3",
)  # fmt: skip
SINTEL_LAYOUT = (
    "the folder holds training/final/<sequence>/frame_0001.png, training/camdata_left/<sequence>/frame_0001.cam and "
    "training/depth/<sequence>/frame_0001.dpt"
)


def read_sintel(folder: Path, sequence: str, length: int) -> Recording:
    """Read the images and true poses of a Sintel sequence."""
    training = folder / "training"
    images = listed(training / "final" / sequence, ".png")[: length or None]
    cameras = [_existing(training / "camdata_left" / sequence / f"{path.stem}.cam") for path in images]
    return _nonempty(
        Recording(tuple(images), even_stamps(len(images), 24.0), np.array([sintel_pose(camera) for camera in cameras])),
        training / "final" / sequence,
    )


def read_sintel_depth(folder: Path, sequence: str, length: int) -> Recording:
    """Read the images and depth files of a Sintel sequence."""
    training = folder / "training"
    images = listed(training / "final" / sequence, ".png")[: length or None]
    depths = [_existing(training / "depth" / sequence / f"{path.stem}.dpt") for path in images]
    recording = Recording(tuple(images), even_stamps(len(images), 24.0), depths=tuple(depths))
    return _nonempty(recording, training / "final" / sequence)


# --- Bonn ---


def bonn_place(folder: Path, sequence: str) -> Path:
    """Return the folder of a sequence."""
    return folder / f"rgbd_bonn_{sequence}"


def read_bonn(folder: Path, sequence: str, length: int) -> Recording:
    """Read a Bonn sequence from its 31st frame on."""
    place = bonn_place(folder, sequence)
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

KITTI = (
    *(f"2011_09_26_drive_{n:04d}_sync" for n in (2, 5, 13, 20, 23, 36, 79, 95, 113)),
    "2011_09_28_drive_0037_sync",
    "2011_09_29_drive_0026_sync",
    "2011_09_30_drive_0016_sync",
    "2011_10_03_drive_0047_sync",
)


def kitti_place(folder: Path, drive: str) -> Path:
    """Return the folder of a drive."""
    return folder / "val" / drive


def read_kitti(folder: Path, drive: str, length: int) -> Recording:
    """Read the images and depth maps of a drive."""
    annotated = kitti_place(folder, drive) / "proj_depth" / "groundtruth" / "image_02"
    depths = listed(annotated, ".png")[: length or None]
    images = [_existing(folder / drive[:10] / drive / "image_02" / "data" / path.name) for path in depths]
    return _nonempty(Recording(tuple(images), even_stamps(len(images), 10.0), depths=tuple(depths)), annotated)


def read_kitti_odometry(folder: Path, sequence: str, length: int) -> Recording:
    """Read the images and true poses of a sequence."""
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

EUROC = (
    "MH_01_easy", "MH_02_easy", "MH_03_medium", "MH_04_difficult", "MH_05_difficult", "V1_01_easy", "V1_02_medium",
    "V1_03_difficult", "V2_01_easy", "V2_02_medium", "V2_03_difficult",
)  # fmt: skip


def read_euroc(folder: Path, sequence: str, length: int) -> Recording:
    """Read the images of a EuRoC sequence that have a true pose."""
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

SEVEN_SCENES = tuple(
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
NEURAL_RGBD = (
    "breakfast_room", "complete_kitchen", "green_room", "grey_white_room", "kitchen", "morning_apartment",
    "staircase", "thin_geometry", "whiteroom",
)  # fmt: skip


def read_seven_scenes(folder: Path, sequence: str, length: int) -> Recording:
    """Read every second frame of a 7-Scenes sequence."""
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


def read_neural_rgbd(folder: Path, sequence: str, length: int) -> Recording:
    """Read frames of a NeuralRGBD scene, evenly spread."""
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


def below(*parts: str) -> Callable[[Path, str], Path]:
    """Return where a sequence is: in this folder of the given one."""
    return lambda folder, sequence: folder.joinpath(*parts, sequence)
