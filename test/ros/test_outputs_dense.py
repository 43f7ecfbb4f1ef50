"""The images and the cloud of a frame: what is in them, and what memory used over and over must not leave there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from harness import Bench, header, picture
from outputs_node import OutputsNode
from sensor_msgs_py.point_cloud2 import read_points

from ttt3r_ros.camera.preprocess import PixelMap
from ttt3r_ros.geometry import Intrinsics
from ttt3r_ros.ros import outputs
from ttt3r_ros.ros.conversions import camera_info_message
from ttt3r_ros.ros.parameters import Parameters
from ttt3r_ros.stream.estimate import Estimate, Timings

pytestmark = pytest.mark.dds

IMAGES = ("rgb/image", "depth/image", "confidence/image")
INFOS = ("rgb/camera_info", "depth/camera_info")
MIN_CONFIDENCE, MAX_DEPTH = 2.0, 5.0


@pytest.fixture
def source() -> Iterator[OutputsNode]:
    source = OutputsNode()
    yield source
    source.close()


def estimate(seed: int = 0, width: int = 16, height: int = 12, **changes: Any) -> Estimate:
    """Return an estimate of noise in which the trusted, the far and the doubtful lie side by side."""
    random = np.random.default_rng(seed)
    dense = {
        "depth": random.uniform(0.5, 8.0, (height, width)).astype(np.float32),
        "confidence": random.uniform(1.0, 4.0, (height, width)).astype(np.float32),
        "image": picture(seed, width, height),
        "intrinsics": Intrinsics(20.0, 21.0, 8.0, 6.0, width, height),
    }
    size = (width, height)
    return Estimate(
        T_world_camera=np.eye(4),
        fault=None,
        learning_rate=np.ones(1, np.float32),
        state_level=1.0,
        segment=0,
        segment_frames=1,
        pixel_map=PixelMap(size, size, (0, 0), size),
        scale=1.0,
        timings=Timings(0.0, 0.0, 0.0),
        **{**dense, **changes},
    )


def trusted(of: Estimate) -> np.ndarray:
    return np.where((of.depth <= MAX_DEPTH) & (of.confidence >= MIN_CONFIDENCE), of.depth, np.nan)


def publish(source: OutputsNode, stamp: int, of: Estimate, **parameters: Any) -> None:
    settings = Parameters(min_confidence=MIN_CONFIDENCE, max_depth=MAX_DEPTH, **parameters)
    source.outputs.publish_dense(of, header(stamp, "camera"), settings)


def pixels(message: Any) -> np.ndarray:
    dtype, channels = {"rgb8": (np.uint8, [3]), "32FC1": (np.float32, []), "16UC1": (np.uint16, [])}[message.encoding]
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width, *channels)


def check(bench: Bench, stamp: int, of: Estimate, stride: int = 1) -> None:
    """Everything of a frame is this frame's."""
    rgb, depth, confidence = (bench.get(name, stamp) for name in IMAGES)
    cloud = bench.get("points", stamp)
    assert {message.header.frame_id for message in (rgb, depth, confidence, cloud)} == {"camera"}
    assert np.array_equal(pixels(rgb), of.image)
    assert np.array_equal(pixels(confidence), of.confidence)
    assert np.array_equal(pixels(depth), trusted(of), equal_nan=True)
    assert (cloud.height, cloud.width) == of.depth[::stride, ::stride].shape
    points = read_points(cloud).reshape(cloud.height, cloud.width)
    assert np.array_equal(points["z"], trusted(of)[::stride, ::stride], equal_nan=True)
    assert np.array_equal(points["confidence"], of.confidence[::stride, ::stride])
    red, green, blue = np.moveaxis(of.image[::stride, ::stride].astype(np.uint32), -1, 0)
    assert np.array_equal(np.ascontiguousarray(points["rgb"]).view(np.uint32), red << 16 | green << 8 | blue)


def test_nothing_of_an_earlier_frame_is_in_a_message(source, bench):
    source.is_heard_by(bench, *IMAGES, "points")
    frames = [estimate(seed) for seed in range(3)]
    # depth where the next frame has none
    seen = [np.isfinite(trusted(frame)) for frame in frames]
    assert (seen[0] & ~seen[1]).any()
    for stamp, frame in enumerate(frames, 1):
        publish(source, stamp, frame)
    for stamp, frame in enumerate(frames, 1):
        check(bench, stamp, frame)


def test_images_may_change_their_size_and_the_cloud_its_stride(source, bench):
    source.is_heard_by(bench, *IMAGES, "points")
    frames = [(estimate(0), 1), (estimate(1, 12, 16), 1), (estimate(2, 33, 7), 4), (estimate(3), 3), (estimate(4), 1)]
    for stamp, (frame, stride) in enumerate(frames, 1):
        publish(source, stamp, frame, point_stride=stride)
        check(bench, stamp, frame, stride)


def test_depth_is_in_meters_or_in_millimeters(source, bench):
    source.is_heard_by(bench, "depth/image")
    frame = estimate()
    encodings = ["16UC1", "32FC1", "16UC1"]
    for stamp, encoding in enumerate(encodings, 1):
        publish(source, stamp, frame, depth_encoding=encoding)
    assert [bench.get("depth/image", stamp).encoding for stamp in (1, 2, 3)] == encodings
    millimeters, meters = pixels(bench.get("depth/image", 1)), pixels(bench.get("depth/image", 2))
    assert np.array_equal(meters, trusted(frame), equal_nan=True)
    assert np.array_equal(millimeters, np.nan_to_num(np.round(trusted(frame) * 1000)))
    assert np.array_equal(pixels(bench.get("depth/image", 3)), millimeters)


def test_what_is_not_known_is_not_published(source, bench):
    source.is_heard_by(bench, *IMAGES, *INFOS, "points")
    publish(source, 1, estimate(depth=None, confidence=None))
    publish(source, 2, estimate(image=None))
    publish(source, 3, estimate(intrinsics=None))
    publish(source, 4, estimate())
    for name in (*IMAGES, *INFOS, "points"):
        bench.get(name, 4)
    info = camera_info_message(estimate().intrinsics, header(4, "camera"))
    assert [bench.get(name, 4) for name in INFOS] == [info, info]
    heard = {name: bench.stamps(name) for name in (*IMAGES, *INFOS, "points")}
    assert heard == {
        "rgb/image": [1, 3, 4],
        "depth/image": [2, 3, 4],
        "confidence/image": [2, 3, 4],
        "rgb/camera_info": [1, 2, 4],
        "depth/camera_info": [1, 2, 4],
        "points": [4],
    }


@pytest.mark.parametrize(
    ("names", "made"),
    [
        (("odom", "path"), []),
        (INFOS, ["camera_info_message"]),
        (("confidence/image",), ["lasting_image"]),
        (("depth/image",), ["lasting_image", "masked_depth"]),
        (("points",), ["lasting_image", "masked_depth", "lasting_cloud", "colored_points"]),
    ],
)
def test_nothing_is_made_that_nobody_listens_to(source, bench, monkeypatch, names, made):
    source.is_heard_by(bench, *names)
    called: list[str] = []
    for maker in ("camera_info_message", "lasting_image", "masked_depth", "lasting_cloud", "colored_points"):
        monkeypatch.setattr(outputs, maker, noting(getattr(outputs, maker), called))
    publish(source, 1, estimate())
    assert called == made
    called.clear()
    publish(source, 2, estimate(1))
    assert called == [maker for maker in made if not maker.startswith("lasting")]  # which are used again


def noting(function: Callable[..., Any], called: list[str]) -> Callable[..., Any]:
    def make(*arguments: Any, **options: Any) -> Any:
        called.append(function.__name__)
        return function(*arguments, **options)

    return make
