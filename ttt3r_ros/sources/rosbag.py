"""Reads the images of a rosbag2 (sqlite3 or mcap) or a ROS 1 bag with the rosbags library. No ROS."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ttt3r_ros.camera.calibration import Calibration
from ttt3r_ros.camera.image_messages import read_compressed, read_image
from ttt3r_ros.camera.sample_range import SampleRange
from ttt3r_ros.errors import UserError
from ttt3r_ros.sources.frame import SourceFrame, SourceReport
from ttt3r_ros.sources.mcap_file import MendedMcap, is_cut_off
from ttt3r_ros.sources.timeline import RecordingClock

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection

_IMAGE = "sensor_msgs/msg/Image"
_COMPRESSED = "sensor_msgs/msg/CompressedImage"
_CAMERA_INFO = "sensor_msgs/msg/CameraInfo"

#: Suffixes of files that are a bag by themselves, and of the storage files of a rosbag2.
SUFFIXES = frozenset({".mcap", ".db3", ".bag"})
_STORAGE = (".mcap", ".db3")
#: First bytes of a compressed file or message; an uncompressed message begins with the bytes 0 1 0 0.
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

#: Number of images that are checked to find out whether the camera stamps its images.
_STAMPS_TRIED = 10
#: Number of images that are tried before a bag is refused because none of them can be decoded.
_UNREAD_TRIED = 10
#: Number of camera_infos that are tried until one describes a camera with images of the bag's size.
_INFOS_TRIED = 100


class RosbagSource:
    """Images of one topic, with the stamps in their headers and the calibration from the camera_info topic."""

    recorded_time = True
    has_truth = False
    T_base_camera = None

    def __init__(self, path: Path, *, topic: str | None = None) -> None:
        """Choose the topic and read the calibration.

        Args:
            path: of the bag's folder, or of a single .mcap, .db3 or .bag file.
            topic: of Image or CompressedImage messages; None takes the only one there is.

        Raises:
            UserError: the bag cannot be read, has no image topic, or has several and ``topic`` names none of them.
        """
        self._path = path
        self.report = SourceReport()
        with _reader(path, self.report) as reader:
            self._topic = _choose_topic(path, reader, topic)
            self._calibrations = _read_calibrations(reader, _camera_info_topic(self._topic))
            self._fitting: dict[tuple[int, int], Calibration | None] = {}
            connections = self._connections(reader)
            first = [message for _, _, message in islice(_messages(reader, connections, path), _STAMPS_TRIED)]
            self._stamps_stand = _stamps_stand(first)
            self._by_arrival = self._stamps_stand or not any((_stamp_ns(message) or 0) > 0 for message in first)
            seconds = reader.duration * 1e-9
            count = sum(connection.msgcount for connection in connections)
        self.name = f"bag {path.name}, topic {self._topic}"
        self.length: int | None = count
        self.rate_hz: float = count / seconds if seconds > 0 else 1.0
        if self._by_arrival:
            fault = "have the same stamp one after the other" if self._stamps_stand else "are not stamped"
            self.report.warn(f"{self._topic}: the images {fault}: their time of recording is used instead")

    def frames(self, start_s: float = 0.0) -> Iterator[SourceFrame]:
        """Yield the images recorded ``start_s`` seconds or more after the bag's first message."""
        clock = RecordingClock(self.report, self._topic, by_arrival=self._by_arrival)
        held = SampleRange()
        failure, failures, is_any_read = None, 0, False
        with _reader(self._path, self.report) as reader:
            connections = self._connections(reader)
            start_ns = reader.start_time + round(start_s * 1e9)
            for kind, received_ns, message in _messages(reader, connections, self._path, start_ns):
                placed = clock.place(None if self._stamps_stand else _stamp_ns(message), received_ns)
                if placed is None:
                    continue
                try:
                    image, held = (read_compressed if kind == _COMPRESSED else read_image)(message, held)
                except UserError as error:
                    failure, failures = failure or error, failures + 1
                    if not is_any_read and failures == _UNREAD_TRIED:
                        raise
                    self.report.left_out["not decodable"] += 1
                    continue
                is_any_read = True
                yield SourceFrame(
                    image=image,
                    stamp_ns=placed.stamp_ns,
                    calibration=self._fitting_calibration(image.shape[1], image.shape[0]),
                    jump=placed.jump,
                    clock_step_ns=placed.clock_step_ns,
                    shift_ns=placed.shift_ns,
                )
                if failure is not None:
                    self._say_skipped(failure)
            if failure is not None:
                if not is_any_read:
                    raise failure
                self._say_skipped(failure)

    def _say_skipped(self, failure: UserError) -> None:
        """Warn once of images that cannot be decoded."""
        self.report.warn(f"{self._topic}: an image was skipped: {failure}; further ones are counted but not logged")

    def _connections(self, reader: AnyReader) -> list[Connection]:
        kinds = (_IMAGE, _COMPRESSED)
        return [c for c in reader.connections if c.topic == self._topic and _full_type(c.msgtype) in kinds]

    def _fitting_calibration(self, width: int, height: int) -> Calibration | None:
        """Return the first calibration that fits images of this size; if there is none, warn once."""
        size = width, height
        if size not in self._fitting:  # to find it takes long where a lens is distorted
            self._fitting[size] = self._find_fitting(size)
        return self._fitting[size]

    def _find_fitting(self, size: tuple[int, int]) -> Calibration | None:
        first_fault: str | None = None
        for calibration in self._calibrations:
            fault = _fault(calibration, size)
            if fault is None:
                return calibration
            first_fault = first_fault or fault
        if first_fault is not None:
            self.report.warn(f"{self._topic}: {first_fault}")
        return None


def _fault(calibration: Calibration, image_size: tuple[int, int]) -> str | None:
    """Return why a calibration is of no use for images of this size, rectified or not; None if it is for either."""
    faults = []
    for rectified in (True, False):
        try:
            calibration.camera(rectified=rectified, image_size=image_size)
        except UserError as error:
            faults.append(str(error))
        else:
            return None
    return faults[0]


def is_rosbag(path: Path) -> bool:
    """Return whether a path looks like a bag or a part of one."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or bool(_storage_files(path) or _compressed_files(path))
    return path.suffix.lower() in SUFFIXES or _is_compressed_name(path)


@contextmanager
def _reader(path: Path, report: SourceReport) -> Iterator[AnyReader]:
    """Open a bag; any error in it is reported as one sentence."""
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise UserError(f"reading {path} needs the rosbags library; install it with: pip install rosbags") from None
    # bags recorded before Iron contain no message definitions; these messages have not changed since
    default_types = get_typestore(Stores.ROS2_HUMBLE)

    def opened(paths: list[Any]) -> AnyReader:
        reader = AnyReader(paths, default_typestore=default_types)
        reader.open()
        return reader

    try:
        with closing(_open(path, opened, report)) as reader:
            yield reader
    except UserError:
        raise
    except Exception as error:  # exceptions about damaged files have no common base class
        if "Profile is not ros2" in str(error):
            raise UserError(
                f"{path} is an MCAP file but not from ROS 2; convert it to a rosbag2, or give the original recording"
            ) from error
        raise UserError(f"the bag {path} cannot be read: {_sentence(error)}{_what_recovers(path)}") from error


def _open(path: Path, opened: Callable[[list[Any]], AnyReader], report: SourceReport) -> AnyReader:
    """Open a bag normally if possible, else file by file."""
    has_metadata = (path / "metadata.yaml").is_file()
    files = _storage_files(path) if path.is_dir() else [path]
    if not path.is_dir() or not has_metadata:
        if _is_compressed_name(path) or not files:
            raise UserError(_compressed_sentence(path))
        return _open_files(path, files, opened, report)
    try:
        return opened([path])
    except Exception as error:
        if not files:
            raise
        with suppress(UserError):
            reader = _open_files(path, files, opened, report)
            report.damaged(f"the bag {path} is incomplete and is read file by file: {_sentence(error)}")
            return reader
        raise


def _open_files(
    path: Path, files: list[Path], opened: Callable[[list[Any]], AnyReader], report: SourceReport
) -> AnyReader:
    """Open storage files without their metadata, reading truncated files up to their last complete record."""
    bags = sorted({re.sub(r"_\d+$", "", file.stem) for file in files})
    if len(bags) > 1:
        raise UserError(f"the folder {path} contains several bags; give one of them: {', '.join(bags)}")
    for file in files:
        journal = file.with_name(file.name + "-wal")
        if journal.is_file() and journal.stat().st_size:
            report.damaged(
                f"{journal} contains messages that are not in the bag yet and were skipped; "
                f"add them with sqlite3 {file} 'PRAGMA wal_checkpoint'"
            )
    cut_off = [file for file in files if file.suffix == ".mcap" and is_cut_off(file)]
    reader = opened([MendedMcap(file) if file in cut_off else file for file in files])
    if cut_off:
        if not reader.message_count:
            reader.close()
            raise UserError(
                f"the bag {path} cannot be read: it is cut off before its first complete message{_what_recovers(path)}"
            )
        names = ", ".join(str(file) for file in cut_off)
        report.damaged(f"{names} is cut off: only complete records are read{_what_recovers(cut_off[0])}")
    elif path.is_dir() and not (path / "metadata.yaml").is_file():
        report.warn(f"the bag {path} has no metadata.yaml: its files are read without it")
    return reader


def _what_recovers(path: Path) -> str:
    files = [path] if path.is_file() else _storage_files(path)
    for suffix, command in ((".mcap", "mcap recover {} -o whole.mcap"), (".db3", "sqlite3 {} .recover")):
        if found := [file for file in files if file.suffix == suffix]:
            return f"; '{command.format(found[0])}' may recover more"
    return ""


def _storage_files(folder: Path) -> list[Path]:
    """Return the storage files in a bag's folder, sorted by number."""
    files = [file for file in folder.iterdir() if file.suffix in _STORAGE and file.is_file()]
    return sorted(
        files, key=lambda file: [int(part) if part.isdigit() else -1 for part in re.split(r"(\d+)", file.stem)]
    )


def _compressed_files(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if _is_compressed_name(file) and file.is_file()]


def _is_compressed_name(path: Path) -> bool:
    return path.suffix == ".zstd" and Path(path.stem).suffix in _STORAGE


def _compressed_sentence(path: Path) -> str:
    file = path if path.is_file() else sorted(_compressed_files(path))[0]
    return (
        f"{file} is a compressed file of a bag; give the bag's folder with its metadata.yaml, or decompress the file"
        f" first: zstd -d {file} -o {file.with_suffix('')}"
    )


def _messages(
    reader: AnyReader, connections: list[Connection], path: Path, start_ns: int | None = None
) -> Iterator[tuple[str, int, Any]]:
    """Yield type, time of recording [ns] and content of each message."""
    for connection, received_ns, raw in reader.messages(connections, start=start_ns) if connections else ():
        if raw[:4] == _ZSTD_MAGIC:
            raise UserError(
                f"the messages in {path} are compressed one by one and cannot be read without the bag's metadata.yaml; "
                "give the bag's folder with that file, or recreate the file with: ros2 bag reindex"
            )
        kind = _full_type(connection.msgtype)
        yield kind, received_ns, reader.deserialize(raw, kind)


def _full_type(name: str) -> str:
    """Return the name of a type in the form of ROS 2; some writers omit 'msg'."""
    package, _, kind = name.partition("/")
    return name if "/" in kind else f"{package}/msg/{kind}"


def _stamp_ns(message: Any) -> int | None:
    """Return the stamp in a message's header [ns]; None if it is not a valid time."""
    stamp = message.header.stamp
    return int(stamp.sec) * 10**9 + int(stamp.nanosec) if stamp.nanosec < 10**9 else None


def _stamps_stand(messages: list[Any]) -> bool:
    """Return whether stamps stand still from image to image, as those of a driver that stamps only once.

    An image that is sent twice has the same stamp as well, but also the same content.
    """
    pairs = [(_stamp_ns(a) == _stamp_ns(b) != 0, a.data, b.data) for a, b in pairwise(messages)]
    others = sum(same and not np.array_equal(one, other) for same, one, other in pairs)
    return bool(pairs) and (2 * others > len(pairs) or all(same for same, _, _ in pairs))


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _choose_topic(path: Path, reader: AnyReader, topic: str | None) -> str:
    image_topics = sorted(
        name
        for name, info in reader.topics.items()
        if _full_type(info.msgtype or "") in (_IMAGE, _COMPRESSED)
        and not name.endswith("/compressedDepth")
        and info.msgcount
    )
    if topic is not None:
        if topic in image_topics:
            return topic
        raise UserError(f"the bag {path} has no images on '{topic}'; it has {_listed(image_topics)}")
    if len(image_topics) == 1:
        return image_topics[0]
    if not image_topics:
        others = sorted({str(info.msgtype) for info in reader.topics.values()})
        raise UserError(f"the bag {path} has no topic with images; it contains {_listed(others)}")
    raise UserError(f"the bag {path} has several topics with images; choose one with --topic: {_listed(image_topics)}")


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "nothing"


def _camera_info_topic(image_topic: str) -> str:
    """Return the camera_info topic that image_transport expects for an image topic: in the same namespace."""
    base = image_topic.removesuffix("/compressed")
    return base.rpartition("/")[0] + "/camera_info"


def _read_calibrations(reader: AnyReader, topic: str) -> list[Calibration]:
    """Return the different calibrations among the first on a topic; none if the camera is not calibrated."""
    found: list[Calibration] = []
    connections = [c for c in reader.connections if c.topic == topic and _full_type(c.msgtype) == _CAMERA_INFO]
    for _, _, info in islice(_messages(reader, connections, Path(topic)), _INFOS_TRIED):
        calibration = Calibration.from_message(info)
        if (any(calibration.K) or any(calibration.P)) and calibration not in found:
            found.append(calibration)
    return found
