"""The images of a rosbag2 (sqlite3 or mcap) or a ROS 1 bag, read by the rosbags library; no ROS needed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt3r_ros.camera.calibration import Calibration
from ttt3r_ros.camera.image_messages import rgb_from_compressed, rgb_from_image
from ttt3r_ros.errors import UserError
from ttt3r_ros.sources.frame import SourceFrame

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader

_IMAGE = "sensor_msgs/msg/Image"
_COMPRESSED = "sensor_msgs/msg/CompressedImage"
_CAMERA_INFO = "sensor_msgs/msg/CameraInfo"

#: Endings of files that are a bag by themselves.
SUFFIXES = frozenset({".mcap", ".db3", ".bag"})

_log = logging.getLogger(__name__)


class RosbagSource:
    """Images of one topic with the stamps of their headers and the calibration beside them."""

    recorded_time = True

    def __init__(self, path: Path, *, topic: str | None = None) -> None:
        """Choose the topic and read the calibration.

        Args:
            path: of the bag's folder, or of a single .mcap, .db3 or .bag file.
            topic: of Image or CompressedImage messages; None takes the only one there is.

        Raises:
            UserError: it is no readable bag, holds no images, or holds several and ``topic`` names none of them.
        """
        self._path = path
        with _reader(path) as reader:
            self._topic = _choose_topic(path, reader, topic)
            info = reader.topics[self._topic]
            self._calibration = _read_calibration(reader, _camera_info_topic(self._topic))
            seconds = reader.duration * 1e-9
        self.name = f"bag {path.name}, topic {self._topic}"
        self.length: int | None = info.msgcount
        self.rate_hz: float = info.msgcount / seconds if seconds > 0 else 1.0

    def frames(self, start_s: float = 0.0) -> Iterator[SourceFrame]:
        """Yield the images recorded from ``start_s`` seconds after the bag's first message on."""
        last_ns = -1
        with _reader(self._path) as reader:
            connections = [c for c in reader.connections if c.topic == self._topic]
            start_ns = reader.start_time + round(start_s * 1e9)
            for connection, received_ns, raw in reader.messages(connections, start=start_ns):
                message: Any = reader.deserialize(raw, connection.msgtype)
                # drivers that do not stamp leave zero: then the moment of recording is the best there is
                stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec or received_ns
                if stamp_ns <= last_ns:
                    _log.warning("%s: a frame is not newer than the one before it and was left out", self._topic)
                    continue
                last_ns = stamp_ns
                compressed = connection.msgtype == _COMPRESSED
                image = rgb_from_compressed(message) if compressed else rgb_from_image(message)
                yield SourceFrame(image=image, stamp_ns=stamp_ns, calibration=self._calibration)


def is_rosbag(path: Path) -> bool:
    """Return whether a path looks like a bag."""
    return (path / "metadata.yaml").is_file() if path.is_dir() else path.suffix.lower() in SUFFIXES


@contextmanager
def _reader(path: Path) -> Iterator[AnyReader]:
    """Open a bag; whatever is wrong with it becomes one sentence."""
    try:
        from rosbags.highlevel import AnyReader, AnyReaderError
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise UserError(f"reading {path} needs the rosbags library; install it with: pip install rosbags") from None
    # bags recorded before Iron carry no message definitions; these messages have not changed since
    default_types = get_typestore(Stores.ROS2_HUMBLE)
    try:
        with AnyReader([path], default_typestore=default_types) as reader:
            yield reader
    except UserError:
        raise
    except (AnyReaderError, OSError, ValueError, KeyError, AssertionError) as error:
        raise UserError(f"the bag {path} cannot be read: {_sentence(error)}") from error


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _choose_topic(path: Path, reader: AnyReader, topic: str | None) -> str:
    image_topics = sorted(
        name
        for name, info in reader.topics.items()
        if info.msgtype in (_IMAGE, _COMPRESSED) and not name.endswith("/compressedDepth") and info.msgcount
    )
    if topic is not None:
        if topic in image_topics:
            return topic
        raise UserError(f"the bag {path} has no images on '{topic}'; it has {_listed(image_topics)}")
    if len(image_topics) == 1:
        return image_topics[0]
    if not image_topics:
        others = sorted({str(info.msgtype) for info in reader.topics.values()})
        raise UserError(f"the bag {path} has no topic with images; it holds {_listed(others)}")
    raise UserError(f"the bag {path} has several topics with images; choose one with --topic: {_listed(image_topics)}")


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "nothing"


def _camera_info_topic(image_topic: str) -> str:
    """Return where image_transport expects the calibration of an image topic: beside it."""
    base = image_topic.removesuffix("/compressed")
    return base.rpartition("/")[0] + "/camera_info"


def _read_calibration(reader: AnyReader, topic: str) -> Calibration | None:
    """Return the first calibration on a topic, None where nobody has calibrated the camera."""
    connections = [c for c in reader.connections if c.topic == topic and c.msgtype == _CAMERA_INFO]
    for connection, _, raw in reader.messages(connections) if connections else ():
        calibration = Calibration.from_message(reader.deserialize(raw, connection.msgtype))
        if any(calibration.K) or any(calibration.P):
            return calibration
    return None
