"""What answers a sequence's frames: the network as published, or the stream as a user of the node has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ttt3r_ros.camera.preprocess import PixelMap, normalize
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, T_from_pose
from ttt3r_ros.model.network import POINTS_CAMERA, POINTS_WORLD, Network, Prediction, State
from ttt3r_ros.model.update import UpdateRule, rule_by_name
from ttt3r_ros.protocols.catalog import Task
from ttt3r_ros.protocols.images import cropped, squeezed
from ttt3r_ros.protocols.recording import ImageArray
from ttt3r_ros.runtime.device import choose_device
from ttt3r_ros.runtime.threads import choose_threads
from ttt3r_ros.runtime.transfer import download
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.estimate import POINTS
from ttt3r_ros.stream.load import load_backbone
from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings
from ttt3r_ros.stream.stream import Stream
from ttt3r_ros.weights.load import Weights, load_weights

Float32Array = npt.NDArray[np.float32]

Settings = Literal["published", "node"]

NEVER, ADAPTIVE = "never", "adaptive"  #: Reset policies beside a number of frames.


@dataclass(frozen=True)
class FramePrediction:
    """The answer to one frame.

    Attributes:
        T_world_camera: (4, 4) pose in the predictor's world.
        depth: (h, w) float32 along the optical axis [m]; None where not asked for.
        region: (left, top, right, bottom) of the given image that the depth shows [px]; None for all of it.
        points: (h, w, 3) float32 in the predictor's world [m], one a pixel; None where not asked for.
    """

    T_world_camera: FloatArray
    depth: Float32Array | None = None
    region: tuple[int, int, int, int] | None = None
    points: Float32Array | None = None


class Predictor(Protocol):
    """Answers the frames of one sequence after another; nothing is carried from one to the next."""

    @property
    def image_size(self) -> int:
        """Long side of the network's image [px]."""
        ...

    @property
    def points_in_world(self) -> bool:
        """Whether points come in the world of the poses; False: in the frame of the first camera, as predicted."""
        ...

    def predict(
        self, images: Iterable[ImageArray], stamps_ns: Sequence[int], task: Task
    ) -> Iterator[FramePrediction | None]:
        """Yield an answer for every image (H, W, 3) uint8, None where it is lost.

        For reconstruction the images have the network's size already.
        """
        ...


@dataclass(frozen=True)
class PublishedPredictor:
    """The network as the published evaluation runs it: float32, a fresh state, nothing checked.

    Attributes:
        network: in eval mode, on the device.
        rule: update rule.
        reset_interval: frames between resets, 0 for none; segments are chained by their poses alone, without scale, as
            the published demo does.
        image_size: long side of the network's image [px].
    """

    network: Network
    rule: UpdateRule
    reset_interval: int = 0
    image_size: int = 512

    @property
    def points_in_world(self) -> bool:
        """See `Predictor.points_in_world`: the other head predicts in the frame of the first camera."""
        return False

    @torch.inference_mode()
    def predict(
        self, images: Iterable[ImageArray], stamps_ns: Sequence[int], task: Task
    ) -> Iterator[FramePrediction | None]:
        """See `Predictor.predict`."""
        outputs = {"pose": set(), "depth": {POINTS_CAMERA}, "reconstruction": {POINTS_WORLD}}[task]
        state: State | None = None
        T_world_segment = np.eye(4)
        for count, image in enumerate(images, start=1):
            if task == "reconstruction":
                planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
            else:
                planes = (squeezed if task == "depth" else cropped)(image, self.image_size)
            pixels = normalize(planes).to(self.network.pose_token.device)
            prediction, state = self.network.step(pixels, state, rule=self.rule, outputs=outputs)
            T_segment_camera, depth, points = _downloaded(prediction)
            T = T_world_segment @ T_segment_camera
            if points is not None and count > self.reset_interval > 0:
                R, t = T_world_segment[:3, :3].astype(np.float32), T_world_segment[:3, 3].astype(np.float32)
                points = points @ R.T + t
            yield FramePrediction(T, depth, None, points)
            if self.reset_interval and count % self.reset_interval == 0:
                T_world_segment = T  # and the frame is fed once more, as the first of the next segment
                _, state = self.network.step(pixels, None, rule=self.rule, outputs=set())


def _downloaded(prediction: Prediction) -> tuple[FloatArray, Float32Array | None, Float32Array | None]:
    """Return pose (4, 4), depth and points of a prediction on the host."""
    camera, world = prediction.points_camera, prediction.points_world
    T = T_from_pose(prediction.translation[0].cpu().numpy(), prediction.quaternion[0].cpu().numpy())
    depth = None if camera is None else download(camera[0, ..., 2].contiguous()).numpy()
    return T, depth, None if world is None else download(world[0]).numpy()


@dataclass(frozen=True)
class NodePredictor:
    """The stream as a user of the node has it: resets that keep the scale, checks, odometry.

    Attributes:
        backbone: the network.
        settings: of the stream.
    """

    backbone: Backbone
    settings: StreamSettings

    @property
    def image_size(self) -> int:
        """See `Predictor.image_size`."""
        return self.backbone.image_size(self.settings.image_size)

    @property
    def points_in_world(self) -> bool:
        """See `Predictor.points_in_world`."""
        return True

    def predict(
        self, images: Iterable[ImageArray], stamps_ns: Sequence[int], task: Task
    ) -> Iterator[FramePrediction | None]:
        """See `Predictor.predict`."""
        stream = Stream(self.backbone, self.settings)
        outputs = frozenset() if task == "pose" else frozenset({POINTS})
        for image, stamp_ns in zip(images, stamps_ns):
            result = stream.process(image, stamp_ns, outputs=outputs)
            stream.prepare()
            if result.lost or result.motion is None or result.estimate is None:
                yield None
                continue
            T = result.motion.T_odom_base @ T_BASE_CAMERA
            estimate = result.estimate
            if task == "reconstruction":
                assert estimate.points is not None
                R, t = T[:3, :3].astype(np.float32), T[:3, 3].astype(np.float32)
                yield FramePrediction(T, points=estimate.points @ R.T + t)
            else:
                yield FramePrediction(T, estimate.depth, _region(estimate.pixel_map))


def _region(mapping: PixelMap) -> tuple[int, int, int, int]:
    """Return the part of the input image that the network's image shows [px]."""
    (left, top), (width, height) = mapping.offset, mapping.size
    x, y = (side / scaled for side, scaled in zip(mapping.input_size, mapping.scaled_size))
    return round(left * x), round(top * y), round((left + width) * x), round((top + height) * y)


@dataclass(frozen=True)
class PredictorSpec:
    """Which predictor, in words, so that a worker elsewhere can make it.

    Attributes:
        settings: 'published' or 'node'.
        rule: update rule.
        reset: 'never', a number of frames, or, with node settings, 'adaptive'.
        weights: a file; '' for those of the package.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        image_size: long side of the network's image [px]; 0 for as trained.
        max_speed: of the camera with node settings [m/s]; 0 for any.
    """

    settings: Settings = "published"
    rule: str = "ttt3r"
    reset: str = NEVER
    weights: str = ""
    device: str = "auto"
    image_size: int = 0
    max_speed: float = 5.0

    def check(self) -> None:
        """Say what cannot be, before anything is loaded.

        Raises:
            UserError: there is no such rule or policy, or not with these settings.
        """
        rule_by_name(self.rule)
        if self.reset not in (NEVER, ADAPTIVE) and not self._interval:
            raise UserError(f"a reset policy is never, a number of frames or adaptive, not {self.reset!r}")
        if self.settings == "published" and self.reset == ADAPTIVE:
            raise UserError("published settings know resets after a number of frames alone; use --settings node")

    @property
    def _interval(self) -> int:
        return int(self.reset) if self.reset.isdecimal() else 0

    def make(self) -> Predictor:
        """Return the predictor.

        Raises:
            UserError: weights, device, rule or policy cannot be used.
        """
        self.check()
        rule, interval = rule_by_name(self.rule), self._interval
        if self.settings == "published":
            network = _network(self.weights, self.device)
            return PublishedPredictor(network, rule, interval, self.image_size or network.config.image_size)
        backbone, segment_frames = _backbone(self.weights, self.device)
        policy: Literal["never", "interval", "adaptive"] = "interval" if interval else "never"
        return NodePredictor(
            backbone,
            StreamSettings(
                update_rule=self.rule,
                image_size=self.image_size,
                reset_policy="adaptive" if self.reset == ADAPTIVE else policy,
                reset_interval=interval or segment_frames,
                max_speed=self.max_speed,
            ),
        )


@lru_cache(maxsize=1)
def loaded(weights: str) -> Weights:
    """Return weights in float32, kept from call to call."""
    return load_weights(weights)


@lru_cache(maxsize=1)
def _network(weights: str, device: str) -> Network:
    network = load_weights(weights).network.eval().requires_grad_(False).to(choose_device(device))
    choose_threads(network)
    return network


@lru_cache(maxsize=1)
def _backbone(weights: str, device: str) -> tuple[Backbone, int]:
    found = load_backbone(NetworkSettings(weights=weights, device=device))
    choose_threads(found.backbone.network)
    return found.backbone, found.segment_frames
