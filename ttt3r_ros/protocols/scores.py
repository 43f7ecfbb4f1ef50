"""One sequence through a predictor: its figures at every length, by the protocol of its data set.

Every estimate depends on earlier frames alone, so that one run gives the figures of all beginnings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ttt3r_ros.errors import UserError
from ttt3r_ros.evaluation.pose_errors import pose_errors
from ttt3r_ros.evaluation.reconstruction import compare_clouds, moved, world_clouds
from ttt3r_ros.evaluation.video_depth import ALIGNMENTS, DepthPairs
from ttt3r_ros.geometry import FloatArray, inverse, unproject
from ttt3r_ros.protocols.catalog import ALL, Dataset, Task
from ttt3r_ros.protocols.images import NEURAL_RGBD_CAMERA, SEVEN_SCENES_CAMERA, reconstruction_view
from ttt3r_ros.protocols.predictors import FramePrediction, Predictor
from ttt3r_ros.protocols.recording import ImageArray, Recording, read_rgb

#: What weighs a sequence in the mean over a data set, where it is not 1.
WEIGHT = "pixels"

#: The side of the part of an image that counts in reconstruction, 224 of 512 pixels.
_CROP = 224 / 512


@dataclass(frozen=True)
class Request:
    """What is asked of a sequence.

    Attributes:
        lengths: frames, `ALL` for all.
        voxel: see `compare_clouds`; 0 for the exact figures.
        device: where depth is compared.
    """

    lengths: tuple[int, ...]
    voxel: float = 0.0
    device: str = "cpu"


def score(
    dataset: Dataset,
    folder: Path,
    sequence: str,
    predictor: Predictor,
    request: Request,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, Any]:
    """Run a sequence at the lengths that are requested and compare it; `progress` is told frames done and in all.

    Returns:
        For every length, as text, either ``{"frames", "answered", "figures"}`` or ``{"skipped": why}``.

    Raises:
        UserError: the sequence cannot be read.
    """
    longest = ALL if ALL in request.lengths else max(request.lengths)
    recording = dataset.read(folder, sequence, longest)

    def counted() -> Iterator[ImageArray]:
        for number, path in enumerate(recording.images, start=1):
            yield read_rgb(path)
            progress(number, len(recording))

    judge = {"pose": _Poses, "depth": _Depths, "reconstruction": _Clouds}[dataset.task](
        dataset, recording, predictor, request
    )
    images = judge.images(progress) if isinstance(judge, _Clouds) else counted()
    answers = predictor.predict(images, recording.stamps_ns, dataset.task)
    for index, answer in enumerate(answers):
        judge.take(index, answer)
    results: dict[str, Any] = {}
    for length in request.lengths:
        frames = min(length or len(recording), len(recording))
        try:
            results[str(length)] = {
                "frames": frames,
                "answered": sum(judge.answered[:frames]),
                "figures": {name: float(value) for name, value in judge.figures(frames).items()},
            }
        except UserError as error:
            results[str(length)] = {"skipped": str(error)}
    return results


class _Judge:
    """Collects a sequence's answers."""

    def __init__(self, dataset: Dataset, recording: Recording, predictor: Predictor, request: Request) -> None:
        self.dataset, self.recording, self.predictor, self.request = dataset, recording, predictor, request
        self.answered: list[bool] = []
        self.prepare()

    def prepare(self) -> None:
        """Set up what the task needs."""

    def take(self, index: int, answer: FramePrediction | None) -> None:
        """Take in the answer to a frame."""
        self.answered.append(answer is not None)
        self.keep(index, answer)

    def keep(self, index: int, answer: FramePrediction | None) -> None:
        raise NotImplementedError

    def figures(self, frames: int) -> dict[str, float]:
        """Return the figures of the first frames."""
        raise NotImplementedError


class _Poses(_Judge):
    def prepare(self) -> None:
        self.poses: list[FloatArray] = []

    def keep(self, index: int, answer: FramePrediction | None) -> None:
        self.poses.append(np.full((4, 4), np.nan) if answer is None else answer.T_world_camera)

    def figures(self, frames: int) -> dict[str, float]:
        assert self.recording.T_world_camera is not None
        known = np.array(self.answered[:frames])
        if not known.any():
            raise UserError("no frame was answered")
        errors = pose_errors(np.array(self.poses[:frames])[known], self.recording.T_world_camera[:frames][known])
        # published figures have passed through a text file of six decimals
        return {
            "ATE [m]": round(errors.ate, 6),
            "RPE translation [m]": round(errors.rpe_translation, 6),
            "RPE rotation [deg]": round(errors.rpe_rotation, 6),
        }


class _Depths(_Judge):
    def prepare(self) -> None:
        self.pairs = DepthPairs(self.dataset.max_depth, self.dataset.clip, torch.device(self.request.device))

    def keep(self, index: int, answer: FramePrediction | None) -> None:
        assert self.dataset.read_depth is not None
        truth = self.dataset.read_depth(self.recording.depths[index])
        self.pairs.add(*((None, truth) if answer is None else (answer.depth, truth, answer.region)))

    def figures(self, frames: int) -> dict[str, float]:
        found: dict[str, float] = {}
        for alignment in ALIGNMENTS:
            errors = self.pairs.errors(alignment, frames)
            found |= {
                f"{alignment} AbsRel": errors.abs_rel,
                f"{alignment} SqRel": errors.sq_rel,
                f"{alignment} RMSE [m]": errors.rmse,
                f"{alignment} LogRMSE": errors.log_rmse,
                f"{alignment} δ<1.25": errors.delta_1,
                f"{alignment} δ<1.25²": errors.delta_2,
                f"{alignment} δ<1.25³": errors.delta_3,
                WEIGHT: errors.pixels,
            }
        return found


class _Clouds(_Judge):
    def prepare(self) -> None:
        self.truth: list[npt.NDArray[np.float32]] = []
        self.valid: list[npt.NDArray[np.bool_]] = []
        self.points: list[npt.NDArray[np.float32] | None] = []
        self.T_predicted: list[FloatArray] = []

    def images(self, progress: Callable[[int, int], object]) -> Iterator[ImageArray]:
        """Yield the views, and keep their true points."""
        camera = NEURAL_RGBD_CAMERA if self.dataset.name == "nrgbd" else SEVEN_SCENES_CAMERA
        assert self.recording.T_world_camera is not None
        for number, (color, depth) in enumerate(zip(self.recording.images, self.recording.depths), start=1):
            pixels, meters, scaled = reconstruction_view(color, depth, camera, self.predictor.image_size)
            truth = moved(unproject(meters, scaled), self.recording.T_world_camera[number - 1])
            self.valid.append((meters > 0) & np.isfinite(truth).all(axis=-1))
            self.truth.append(truth)
            yield pixels
            progress(number, len(self.recording))

    def keep(self, index: int, answer: FramePrediction | None) -> None:
        self.points.append(None if answer is None else answer.points)
        self.T_predicted.append(np.eye(4) if answer is None else answer.T_world_camera)

    def figures(self, frames: int) -> dict[str, float]:
        assert self.recording.T_world_camera is not None
        known = [i for i in range(frames) if self.points[i] is not None]
        if not known:
            raise UserError("no frame was answered")
        first = known[0]
        T_world_first = self.recording.T_world_camera[first]
        if not np.isfinite(T_world_first).all():
            raise UserError(f"the true pose of frame {first} is not finite")
        predicted = np.stack([points for i in known if (points := self.points[i]) is not None])
        if self.predictor.points_in_world:  # else they are in the first camera's frame as they come
            predicted = moved(predicted, inverse(self.T_predicted[first]))
        clouds = world_clouds(
            np.stack([self.truth[i] for i in known]),
            predicted,
            np.stack([self.valid[i] for i in known]),
            T_world_first,
            round(self.predictor.image_size * _CROP),
        )
        errors = compare_clouds(*clouds, voxel=self.request.voxel)
        return {
            "Acc [m]": errors.acc,
            "Comp [m]": errors.comp,
            "Chamfer [m]": (errors.acc + errors.comp) / 2,
            "NC": (errors.nc1 + errors.nc2) / 2,
            "NC1": errors.nc1,
            "NC2": errors.nc2,
            "Acc median [m]": errors.acc_median,
            "Comp median [m]": errors.comp_median,
            "NC1 median": errors.nc1_median,
            "NC2 median": errors.nc2_median,
        }


#: The figures of a task that the tables show, in their order; the first one is drawn.
SHOWN: dict[Task, Sequence[str]] = {
    "pose": ("ATE [m]", "RPE translation [m]", "RPE rotation [deg]"),
    "depth": tuple(f"{alignment} {figure}" for alignment in ALIGNMENTS for figure in ("AbsRel", "δ<1.25")),
    "reconstruction": ("Acc [m]", "Comp [m]", "Chamfer [m]", "NC"),
}
