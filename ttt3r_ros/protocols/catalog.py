"""The public data sets: what each is, which frames its protocol takes, where its owners offer it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ttt3r_ros.errors import UserError
from ttt3r_ros.protocols.layouts import (
    EUROC,
    KITTI,
    NEURAL_RGBD,
    SEVEN_SCENES,
    SINTEL,
    SINTEL_LAYOUT,
    SINTEL_POSE,
    TUM,
    below,
    bonn_place,
    kitti_place,
    read_bonn,
    read_euroc,
    read_kitti,
    read_kitti_odometry,
    read_neural_rgbd,
    read_scannet,
    read_seven_scenes,
    read_sintel,
    read_sintel_depth,
    read_tum,
    tum_place,
)
from ttt3r_ros.protocols.recording import Depth, Recording, png_depth, sintel_depth

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
        TUM,
        tum_place,
        read_tum(1),
        _LONG_POSE,
        published=(*_ate(1000, 0.173, 0.106), Published("ttt3r", 1000, "ATE [m]", 0.093, reset=100)),
    ),
    Dataset(
        "tum-short",
        "pose",
        "TUM RGB-D, dynamic objects, 90 frames at stride 3",
        _TUM_LAYOUT,
        _TUM_URL,
        TUM,
        tum_place,
        read_tum(3),
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
        below(),
        read_scannet(short=False),
        _SCANNET_LENGTHS,
    ),
    Dataset(
        "scannet-short",
        "pose",
        "ScanNet, test scans, 90 frames at stride 3",
        _SCANNET_LAYOUT,
        _SCANNET_URL,
        tuple(f"scene{n:04d}_00" for n in range(707, 807)),
        below(),
        read_scannet(short=True),
        (90,),
        published=_ate(90, 0.099, 0.064),
    ),
    Dataset(
        "sintel",
        "pose",
        "MPI Sintel, final pass, camera motion",
        SINTEL_LAYOUT,
        _SINTEL_URL,
        SINTEL_POSE,
        below("training", "final"),
        read_sintel,
        (ALL,),
        max_speed=0.0,
        published=_ate(ALL, 0.213, 0.201),
    ),
    Dataset(
        "sintel-depth",
        "depth",
        "MPI Sintel, final pass, depth",
        SINTEL_LAYOUT,
        _SINTEL_URL,
        SINTEL,
        below("training", "final"),
        read_sintel_depth,
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
        KITTI,
        kitti_place,
        read_kitti,
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
        bonn_place,
        read_bonn,
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
        SEVEN_SCENES,
        below(),
        read_seven_scenes,
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
        NEURAL_RGBD,
        below(),
        read_neural_rgbd,
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
        below("sequences"),
        read_kitti_odometry,
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
        EUROC,
        below(),
        read_euroc,
        (ALL,),
    ),
)

#: By name.
DATASETS: dict[str, Dataset] = {entry.name: entry for entry in _ENTRIES}
