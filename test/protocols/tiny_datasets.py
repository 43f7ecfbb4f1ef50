"""A few frames of the synthetic world written as public data sets, and a predictor that knows an image's truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from ttt3r_ros.geometry import T_from_pose, inverse, quaternion_from_rotation, rays
from ttt3r_ros.protocols.predictors import FramePrediction
from ttt3r_ros.synthetic import Sequence as Walk

TAG = np.float32(202021.25).tobytes()
ELSEWHERE = T_from_pose((4.0, -1.0, 2.0), (0.3, -0.8, 0.1, 0.5))  # the predictor's world


@dataclass(frozen=True)
class World:
    """Rendered frames: images (N, H, W, 3), depths (N, H, W), poses (N, 4, 4)."""

    images: np.ndarray
    depths: np.ndarray
    poses: np.ndarray
    walk: Walk


@lru_cache
def world(frames: int = 42, width: int = 160, height: int = 120, fov: float = 70.0) -> World:
    walk = Walk(11, frames, width=width, height=height, fps=6.0, horizontal_fov_deg=fov)
    rendered = walk.render(0, frames)
    return World(rendered.image.numpy(), rendered.depth.numpy(), rendered.T_world_camera.double().numpy(), walk)


def indoor(focal: float) -> World:
    return world(8, 640, 480, math.degrees(2 * math.atan(320 / focal)))


class Perfect:
    """Answers with the truth of whatever image it is shown, in a world and a scale of its own."""

    image_size = 128
    points_in_world = False

    def __init__(self, seen: World, lost: Sequence[int] = ()) -> None:
        self.seen, self.lost = seen, lost
        self.thumbnails = np.stack([thumbnail(image) for image in seen.images])

    def predict(
        self, images: Iterable[np.ndarray], stamps_ns: Sequence[int], task: str
    ) -> Iterator[FramePrediction | None]:
        first = None
        for number, image in enumerate(images):
            index = int(np.abs(self.thumbnails - thumbnail(image)).mean(axis=(1, 2, 3)).argmin())
            T = self.seen.poses[index]
            first = T if first is None else first
            moved = ELSEWHERE @ T
            moved[:3, 3] *= 0.5
            depth = self.seen.depths[index] if task == "depth" else None
            points = 0.5 * self.points(index, first, image.shape) if task == "reconstruction" else None
            yield None if number in self.lost else FramePrediction(moved, depth, None, points)

    def points(self, index: int, first: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return the points of every fifth pixel or so, as a 640x480 image becomes a smaller one by nearest pixels."""
        height, width = self.seen.depths.shape[1:]
        rows, columns = (np.arange(n) * side // n for n, side in zip(shape, (height, width)))
        x, y = rays(self.seen.walk.intrinsics)
        depth = self.seen.depths[index]
        camera = np.stack([depth * x, depth * y, depth], axis=-1)[np.ix_(rows, columns)]
        T = inverse(first) @ self.seen.poses[index]
        return (camera @ T[:3, :3].T + T[:3, 3]).astype(np.float32)


def thumbnail(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (20, 15), interpolation=cv2.INTER_AREA).astype(np.float32)


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


def tum_row(stamp: float, T: np.ndarray) -> str:
    w, x, y, z = quaternion_from_rotation(T[:3, :3])
    return " ".join(f"{value:.9f}" for value in (stamp, *T[:3, 3], x, y, z, w))


def tum(root: Path, sequences: Sequence[str] = ("freiburg3_walking_xyz", "freiburg3_sitting_rpy")) -> World:
    """30 Hz images; truth 4 ms later, another one further off that is wrong, and images without any."""
    seen = world()
    for sequence in sequences:
        place = root / f"rgbd_dataset_{sequence}"
        names, truth = ["# color images"], ["# ground truth"]
        for i in range(20):
            stamp = 1341846313.592 + i / 30
            save(place / "rgb" / f"{stamp:.6f}.png", seen.images[i])
            names.append(f"{stamp:.6f} rgb/{stamp:.6f}.png")
            if i % 7 != 5:
                truth.append(tum_row(stamp + 0.004, seen.poses[i]))
                truth.append(tum_row(stamp + 0.012, seen.poses[(i + 9) % 20]))
        (place / "rgb.txt").write_text("\n".join(names) + "\n")
        (place / "groundtruth.txt").write_text("\n".join(truth) + "\n")
    return seen


def scannet(root: Path, sequences: Sequence[str] = ("scene0707_00", "scene0710_00")) -> World:
    seen = world()
    for sequence in sequences:
        for i in range(len(seen.images)):
            save(root / sequence / "color" / f"{i}.jpg", seen.images[i])
            save(root / sequence / "depth" / f"{i}.png", (seen.depths[i] * 1000).astype(np.uint16))
            pose = root / sequence / "pose" / f"{i}.txt"
            pose.parent.mkdir(exist_ok=True)
            np.savetxt(pose, seen.poses[i] if i < 36 else np.full((4, 4), -np.inf))
    return seen


def sintel(root: Path, sequences: Sequence[str] = ("alley_2", "temple_3")) -> World:
    seen = world()
    for sequence in sequences:
        for i in range(12):
            save(root / "training" / "final" / sequence / f"frame_{i + 1:04d}.png", seen.images[i])
            for kind, suffix, data in (
                ("camdata_left", "cam", seen.walk.intrinsics.matrix().tobytes() + inverse(seen.poses[i])[:3].tobytes()),
                ("depth", "dpt", np.array([160, 120], np.int32).tobytes() + seen.depths[i].tobytes()),
            ):
                file = root / "training" / kind / sequence / f"frame_{i + 1:04d}.{suffix}"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(TAG + data)
    return seen


def bonn(root: Path) -> World:
    seen = world()
    for sequence in ("balloon2", "synchronous"):
        place = root / f"rgbd_bonn_{sequence}"
        for i in range(len(seen.images)):
            save(place / "rgb" / f"{1000 + i / 30:.5f}.png", seen.images[i])
            save(place / "depth" / f"{1000.01 + i / 30:.5f}.png", (seen.depths[i] * 5000).round().astype(np.uint16))
        rows = [tum_row(1000 + i / 30, T) for i, T in enumerate(seen.poses)]
        (place / "groundtruth.txt").write_text("# truth\n" + "\n".join(rows) + "\n")
    return seen


def kitti(root: Path) -> World:
    seen, drive = world(), "2011_09_28_drive_0037_sync"
    for i in range(12):
        save(root / drive[:10] / drive / "image_02" / "data" / f"{i:010d}.png", seen.images[i])
        if 2 <= i < 10:  # the annotation leaves out the ends
            sparse = (seen.depths[i] * 256).round().astype(np.uint16)
            sparse[np.random.default_rng(i).random(sparse.shape) < 0.8] = 0
            annotated = root / "val" / drive / "proj_depth" / "groundtruth" / "image_02"
            save(annotated / f"{i:010d}.png", sparse)
    return seen


def seven_scenes(root: Path) -> World:
    seen, place = indoor(525.0), root / "heads" / "seq-01"
    for i in range(len(seen.images)):
        save(place / f"frame-{i:06d}.color.png", seen.images[i])
        millimeters = (seen.depths[i] * 1000).round().astype(np.uint16)
        millimeters[:5] = 65535
        save(place / f"frame-{i:06d}.depth.proj.png", millimeters)
        np.savetxt(place / f"frame-{i:06d}.pose.txt", seen.poses[i])
    return seen


def neural_rgbd(root: Path) -> World:
    seen, place = indoor(554.2562584220408), root / "kitchen"
    rows = []
    for i in range(4):
        save(place / "images" / f"img{i}.png", seen.images[i])
        save(place / "depth" / f"depth{i}.png", (seen.depths[i] * 1000).round().astype(np.uint16))
        rows += list(seen.poses[i] @ np.diag([1, -1, -1, 1]))
    np.savetxt(place / "poses.txt", np.array(rows))
    return seen


def kitti_odometry(root: Path) -> World:
    seen = world()
    for i in range(12):
        save(root / "sequences" / "03" / "image_2" / f"{i:06d}.png", seen.images[i])
    (root / "poses").mkdir()
    np.savetxt(root / "poses" / "03.txt", (inverse(seen.poses[0]) @ seen.poses[:12])[:, :3].reshape(12, 12))
    return seen


def euroc(root: Path) -> World:
    seen, place = world(), root / "V1_01_easy" / "mav0"
    T_body_camera = T_from_pose((-0.02, -0.06, 0.01), (0.7, 0.02, 0.01, 0.71))
    rows = ["#timestamp, p_x, p_y, p_z, q_w, q_x, q_y, q_z, v_x, v_y, v_z, b, b, b, b, b, b"]
    for i in range(12):
        stamp = 1403715273262142976 + i * 50_000_000
        save(place / "cam0" / "data" / f"{stamp}.png", cv2.cvtColor(seen.images[i], cv2.COLOR_RGB2GRAY))
        for offset, T in ((2_000_000, seen.poses[i]), (18_000_000, seen.poses[(i + 5) % 12])):
            body = T @ inverse(T_body_camera)
            values = [*body[:3, 3], *quaternion_from_rotation(body[:3, :3]), *[0.0] * 9]
            rows.append(",".join([str(stamp + offset), *(f"{value:.12f}" for value in values)]))
    (place / "state_groundtruth_estimate0").mkdir()
    (place / "state_groundtruth_estimate0" / "data.csv").write_text("\n".join(rows) + "\n")
    data = ", ".join(str(value) for value in T_body_camera.ravel())
    text = (
        f"sensor_type: camera\nT_BS:\n  cols: 4\n  rows: 4\n  data: [{data}]\nrate_hz: 20\nintrinsics: [1, 2, 3, 4]\n"
    )
    (place / "cam0" / "sensor.yaml").write_text(text)
    return seen


#: How each data set is written.
WRITERS: dict[str, Callable[[Path], World]] = {
    "tum": tum,
    "tum-short": tum,
    "scannet": scannet,
    "scannet-short": scannet,
    "sintel": sintel,
    "sintel-depth": sintel,
    "kitti-depth": kitti,
    "bonn-depth": bonn,
    "7scenes": seven_scenes,
    "nrgbd": neural_rgbd,
    "kitti-odometry": kitti_odometry,
    "euroc": euroc,
}
