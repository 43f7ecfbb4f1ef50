"""Bags of every kind, written by the rosbags library."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from test_sources import refusal

from ttt3r_ros.camera.stamps import NO_TIME, NOT_NEWER
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import Intrinsics
from ttt3r_ros.sources import open_source
from ttt3r_ros.sources.timeline import Timeline

T0_NS = 1_700_000_000_000_000_000
ROS2 = get_typestore(Stores.ROS2_HUMBLE)
ROS1 = get_typestore(Stores.ROS1_NOETIC)
RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


def header(store: Any, stamp_ns: int) -> Any:
    time = store.types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    sequence = {"seq": 0} if store is ROS1 else {}
    return store.types["std_msgs/msg/Header"](stamp=time, frame_id="cam", **sequence)


def image(stamp_ns: int, data: np.ndarray = RGB, encoding: str = "rgb8", *, store: Any = ROS2, **fields: Any) -> Any:
    values = {"height": data.shape[0], "width": data.shape[1], "step": data.nbytes // data.shape[0], "is_bigendian": 0}
    values |= fields
    flat = np.frombuffer(np.ascontiguousarray(data).tobytes(), dtype=np.uint8)
    return store.types["sensor_msgs/msg/Image"](header=header(store, stamp_ns), encoding=encoding, data=flat, **values)


def compressed(stamp_ns: int, data: np.ndarray, fmt: str = "png") -> Any:
    return ROS2.types["sensor_msgs/msg/CompressedImage"](header=header(ROS2, stamp_ns), format=fmt, data=data)


def camera_info(
    stamp_ns: int,
    *,
    width: int = 6,
    height: int = 4,
    fx: float = 5.0,
    P: Any = (0.0,) * 12,
    binning: int = 0,
    x_offset: int = 0,
    roi_width: int = 0,
    store: Any = ROS2,
) -> Any:
    K = np.array([fx, 0, 2.5, 0, 5.5, 1.5, 0, 0, 1]) * (fx > 0)
    D = np.array([0.1, -0.2, 0.0, 0.0, 0.0])
    names = "DKRP" if store is ROS1 else "dkrp"
    matrices = dict(zip(names, (D, K, np.eye(3).ravel(), np.array(P)), strict=True))
    roi = store.types["sensor_msgs/msg/RegionOfInterest"](
        x_offset=x_offset, y_offset=0, height=0, width=roi_width, do_rectify=False
    )
    return store.types["sensor_msgs/msg/CameraInfo"](
        header=header(store, stamp_ns), height=height, width=width, distortion_model="plumb_bob",
        binning_x=binning, binning_y=binning, roi=roi, **matrices,
    )  # fmt: skip


def write_bag(
    path: Path,
    messages: dict[str, list[Any]],
    *,
    storage: StoragePlugin = StoragePlugin.SQLITE3,
    first: int = 0,
) -> Path:
    """Write messages, each recorded one second after the stamp in its header; the first one is the stream's n-th."""
    with Writer(path, version=9, storage_plugin=storage) as writer:
        connections = {
            topic: writer.add_connection(topic, items[0].__msgtype__, typestore=ROS2)
            for topic, items in messages.items()
        }
        for topic, items in messages.items():
            for i, item in enumerate(items):
                raw = ROS2.serialize_cdr(item, item.__msgtype__)
                writer.write(connections[topic], T0_NS + 10**9 + (first + i) * 10**8, raw)
    return path


def stream(count: int = 3, **fields: Any) -> list[Any]:
    return [image(T0_NS + i * 10**8, **fields) for i in range(count)]


@pytest.mark.parametrize("storage", list(StoragePlugin))
@pytest.mark.parametrize("single_file", [False, True])
def test_rosbag2(tmp_path: Path, storage: StoragePlugin, single_file: bool) -> None:
    path = write_bag(
        tmp_path / "bag", {"/camera/image_raw": stream(), "/camera/camera_info": [camera_info(T0_NS)]}, storage=storage
    )
    if single_file:
        (path,) = (file for file in path.iterdir() if file.name != "metadata.yaml")
    source = open_source(str(path))
    frames = list(source.frames())
    assert source.length == 3
    assert source.recorded_time
    assert not source.has_truth
    assert source.T_base_camera is None
    assert [f.stamp_ns for f in frames] == [T0_NS + i * 10**8 for i in range(3)]
    np.testing.assert_array_equal(frames[0].image, RGB)
    assert frames[0].intrinsics == Intrinsics(fx=5.0, fy=5.5, cx=2.5, cy=1.5, width=6, height=4)
    assert frames[0].calibration is not None
    assert frames[0].calibration.D == (0.1, -0.2, 0.0, 0.0, 0.0)
    assert [f.stamp_ns for f in source.frames(start_s=0.15)] == [T0_NS + 2 * 10**8]


def test_ros1_bag(tmp_path: Path) -> None:
    path = tmp_path / "old.bag"
    with Writer1(path) as writer:
        for topic, message in {
            "/cam/image_raw": image(T0_NS, store=ROS1),
            "/cam/camera_info": camera_info(T0_NS, store=ROS1),
        }.items():
            connection = writer.add_connection(topic, message.__msgtype__, typestore=ROS1)
            writer.write(connection, T0_NS, ROS1.serialize_ros1(message, message.__msgtype__))
    (frame,) = open_source(str(path)).frames()
    np.testing.assert_array_equal(frame.image, RGB)
    assert frame.intrinsics is not None
    assert frame.intrinsics.fx == 5.0


def test_compressed_images(tmp_path: Path) -> None:
    _, png = cv2.imencode(".png", RGB[..., ::-1])
    infos = [camera_info(T0_NS)]
    path = write_bag(
        tmp_path / "bag", {"/cam/image_raw/compressed": [compressed(T0_NS, png)], "/cam/camera_info": infos}
    )
    (frame,) = open_source(str(path)).frames()
    np.testing.assert_array_equal(frame.image, RGB)
    assert frame.intrinsics is not None


def test_unstamped_images_take_the_time_of_recording(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag", {"/image": [image(0), image(0)]})
    assert [f.stamp_ns for f in open_source(str(path)).frames()] == [T0_NS + 10**9, T0_NS + 10**9 + 10**8]


@pytest.mark.parametrize("images", ["differ", "repeat"])
def test_stamps_that_stand_still_give_way_to_the_time_of_recording(
    tmp_path: Path, images: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A driver that stamps once, or whose clock ticks once a second; the simulated camera may stand still meanwhile."""
    pixels = [RGB + np.uint8(i if images == "differ" else 0) for i in range(25)]
    ticks = [0] * 25 if images == "repeat" else [i // 15 for i in range(25)]
    messages = [image(T0_NS + tick * 10**9, data) for tick, data in zip(ticks, pixels, strict=True)]
    source = open_source(str(write_bag(tmp_path / "bag", {"/image": messages})))
    assert [f.stamp_ns for f in source.frames()] == [T0_NS + 10**9 + i * 10**8 for i in range(25)]
    assert "/image: the images have the same stamp one after the other: their time of recording is used" in caplog.text
    assert not source.report.left_out


def test_images_sent_several_times_keep_their_stamps(tmp_path: Path) -> None:
    messages = [image(T0_NS + i // 4 * 10**8, RGB + np.uint8(i // 4)) for i in range(12)]
    source = open_source(str(write_bag(tmp_path / "bag", {"/image": messages})))
    assert [f.stamp_ns for f in source.frames()] == [T0_NS, T0_NS + 10**8, T0_NS + 2 * 10**8]
    assert source.report.left_out == {NOT_NEWER: 9}


def test_a_bag_is_read_as_the_node_reads_its_topics(tmp_path: Path) -> None:
    """P, binning and the region of interest count as well; K and D alone where images are raw."""
    P = (8.0, 0.0, 6.5, 0.0, 0.0, 9.0, 3.5, 0.0, 0.0, 0.0, 1.0, 0.0)
    info = camera_info(T0_NS, width=14, height=8, P=P, binning=2, x_offset=2, roi_width=12)
    path = write_bag(tmp_path / "bag", {"/cam/image": stream(1), "/cam/camera_info": [info]})
    (frame,) = open_source(str(path)).frames()
    assert frame.intrinsics == Intrinsics(fx=4.0, fy=4.5, cx=2.0, cy=1.5, width=6, height=4)
    assert frame.calibration is not None
    raw = frame.calibration.camera(rectified=False)
    assert raw.intrinsics == Intrinsics(fx=2.5, fy=2.75, cx=0.0, cy=0.5, width=6, height=4)
    assert raw.rectifier is not None


def test_the_first_calibrated_camera_info_counts(tmp_path: Path) -> None:
    infos = [camera_info(T0_NS, fx=0.0), camera_info(T0_NS, fx=7.0), camera_info(T0_NS, fx=9.0)]
    path = write_bag(tmp_path / "bag", {"/cam/image": stream(1), "/cam/camera_info": infos})
    (frame,) = open_source(str(path)).frames()
    assert frame.intrinsics == Intrinsics(fx=7.0, fy=5.5, cx=2.5, cy=1.5, width=6, height=4)
    uncalibrated = write_bag(tmp_path / "without", {"/cam/image": stream(1), "/cam/camera_info": infos[:1]})
    (frame,) = open_source(str(uncalibrated)).frames()
    assert frame.calibration is None


def test_the_topic_must_be_clear(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "two", {"/left/image": stream(1), "/right/image": stream(2)})
    assert "--topic: /left/image, /right/image" in refusal(path)
    assert "it has /left/image, /right/image" in refusal(path, topic="/middle")
    assert open_source(str(path), topic="/right/image").length == 2


def test_depth_beside_color_is_not_in_question(tmp_path: Path) -> None:
    _, png = cv2.imencode(".png", RGB)
    depth = compressed(T0_NS, png, "32FC1; compressedDepth")
    path = write_bag(tmp_path / "bag", {"/rgb": stream(1), "/depth/compressedDepth": [depth]})
    assert open_source(str(path)).name.endswith("/rgb")


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    assert "no topic with images" in refusal(write_bag(tmp_path / "none", {"/cam/camera_info": [camera_info(T0_NS)]}))
    assert "32FC1" in refusal(write_bag(tmp_path / "depth", {"/image": stream(1, encoding="32FC1")}))
    assert "damaged" in refusal(write_bag(tmp_path / "short", {"/image": stream(1, height=40)}))
    broken = compressed(T0_NS, np.zeros(10, np.uint8), "jpeg")
    assert "cannot be decoded" in refusal(write_bag(tmp_path / "jpeg", {"/image": [broken]}))
    assert "has its own times" in refusal(write_bag(tmp_path / "fps", {"/image": stream(1)}), fps=10.0)


@pytest.mark.parametrize("name", ["x.mcap", "x.db3", "x.bag"])
@pytest.mark.parametrize("content", [b"", b"rubbish" * 100])
def test_files_that_are_no_bags_are_said(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert "cannot be read" in refusal(tmp_path / name)


@pytest.mark.parametrize("content", ["", "[]", "rosbag2_bagfile_information: {version: 9}", "a: [b"])
def test_a_folder_with_broken_metadata_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "metadata.yaml").write_text(content)
    assert "cannot be read" in refusal(tmp_path)


def storage_file(folder: Path) -> Path:
    (file,) = (file for file in folder.iterdir() if file.suffix in (".db3", ".mcap"))
    return file


@pytest.mark.parametrize("storage", list(StoragePlugin))
@pytest.mark.parametrize("metadata", [None, "", "rosbag2_bagfile_information: {version: 9}"])
def test_a_bag_without_whole_metadata_is_read_as_it_is(
    tmp_path: Path, storage: StoragePlugin, metadata: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_bag(
        tmp_path / "bag", {"/cam/image": stream(), "/cam/camera_info": [camera_info(T0_NS)]}, storage=storage
    )
    (path / "metadata.yaml").unlink()
    if metadata is not None:
        (path / "metadata.yaml").write_text(metadata)
    source = open_source(str(path))
    frames = list(source.frames())
    assert [f.stamp_ns for f in frames] == [T0_NS + i * 10**8 for i in range(3)]
    assert frames[0].intrinsics is not None
    assert len(caplog.records) == 1
    assert ("no metadata.yaml" if metadata is None else "read file by file") in caplog.text


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_a_split_bag_without_metadata_is_read_in_order(tmp_path: Path, storage: StoragePlugin) -> None:
    folder = tmp_path / "walk"
    folder.mkdir()
    for part in (0, 1, 10, 2):
        first = {0: 0, 1: 3, 2: 6, 10: 9}[part]
        messages = {"/image": [image(T0_NS + (first + i) * 10**8) for i in range(3)]}
        with_times = write_bag(tmp_path / f"part{part}", messages, storage=storage, first=first)
        storage_file(with_times).rename(folder / f"walk_{part}{storage_file(with_times).suffix}")
    assert [f.stamp_ns for f in open_source(str(folder)).frames()] == [T0_NS + i * 10**8 for i in range(12)]
    storage_file(write_bag(tmp_path / "other", {"/image": stream(1)}, storage=storage)).rename(
        folder / f"other{'.db3' if storage is StoragePlugin.SQLITE3 else '.mcap'}"
    )
    assert "contains several bags; give one of them: other, walk" in refusal(folder)


def big_stream(count: int) -> list[Any]:
    return [
        image(T0_NS + i * 10**8, np.random.default_rng(i).integers(0, 256, (200, 300, 3), np.uint8))
        for i in range(count)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("given", ["file", "folder", "folder without metadata"])
@pytest.mark.parametrize("cut", ["in a chunk", "in the index", "zeros", "zeros to the end"])
def test_of_a_truncated_mcap_what_is_whole_is_read(tmp_path: Path, given: str, cut: str) -> None:
    messages = big_stream(40)
    path = write_bag(tmp_path / "bag", {"/image": messages}, storage=StoragePlugin.MCAP)
    file = storage_file(path)
    data = file.read_bytes()
    keep = len(data) - 60 if cut == "in the index" else len(data) * 3 // 4
    zeros = {"zeros": 5000, "zeros to the end": len(data) - keep}.get(cut, 0)
    file.write_bytes(data[:keep] + bytes(zeros))
    if given == "folder without metadata":
        (path / "metadata.yaml").unlink()
    source = open_source(str(file if given == "file" else path))
    frames = list(source.frames())
    assert len(frames) == 40 if cut == "in the index" else 10 < len(frames) < 31
    assert source.length == len(frames)
    for i in (0, len(frames) - 1):
        assert frames[i].stamp_ns == T0_NS + i * 10**8
        np.testing.assert_array_equal(frames[i].image.ravel(), messages[i].data)
    assert f"{file} is cut off: only complete records are read; 'mcap recover {file}" in source.report.damage[0]


def test_bags_that_are_damaged_name_the_tool_that_recovers_them(tmp_path: Path) -> None:
    for storage, tool in ((StoragePlugin.MCAP, "mcap recover"), (StoragePlugin.SQLITE3, ".recover")):
        path = write_bag(tmp_path / tool.strip("."), {"/image": stream(50)}, storage=storage)
        file = storage_file(path)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        for given in (path, file):
            sentence = refusal(given)
            assert "cannot be read" in sentence
            assert tool in sentence


def test_messages_in_a_journal_are_said(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag", {"/image": stream()})
    file = storage_file(path)
    file.with_name(file.name + "-wal").write_bytes(b"journal")
    source = open_source(str(file))
    assert len(list(source.frames())) == 3
    assert "wal_checkpoint" in source.report.damage[0]


def write_compressed(path: Path, mode: CompressionMode, storage: StoragePlugin) -> Path:
    unopened = Writer(path, version=9, storage_plugin=storage)
    unopened.set_compression(mode, CompressionFormat.ZSTD)
    with unopened as writer:
        connection = writer.add_connection("/image", stream()[0].__msgtype__, typestore=ROS2)
        for i, item in enumerate(stream()):
            writer.write(connection, T0_NS + i * 10**8, ROS2.serialize_cdr(item, item.__msgtype__))
    assert len(list(open_source(str(path)).frames())) == 3  # with its metadata it is a bag like any other
    return path


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_compressed_files_are_said_with_what_to_do(tmp_path: Path, storage: StoragePlugin) -> None:
    path = write_compressed(tmp_path / "bag", CompressionMode.FILE, storage)
    (file,) = path.glob("*.zstd")
    assert f"zstd -d {file} -o {file.with_suffix('')}" in refusal(file)
    (path / "metadata.yaml").unlink()
    assert "is a compressed file of a bag; give the bag's folder with its metadata.yaml" in refusal(path)


def test_compressed_messages_without_metadata_are_said_with_what_to_do(tmp_path: Path) -> None:
    path = write_compressed(tmp_path / "bag", CompressionMode.MESSAGE, StoragePlugin.SQLITE3)
    assert "compressed one by one" in refusal(storage_file(path))


@pytest.mark.parametrize("storage", list(StoragePlugin))
@pytest.mark.parametrize("single_file", [False, True])
def test_types_without_msg_in_their_names(tmp_path: Path, storage: StoragePlugin, single_file: bool) -> None:
    """As some writers of MCAP have them."""
    path = write_bag(
        tmp_path / "bag", {"/cam/image": stream(), "/cam/camera_info": [camera_info(T0_NS)]}, storage=storage
    )
    file = storage_file(path)
    if storage is StoragePlugin.SQLITE3:
        with sqlite3.connect(file) as database:
            for table, column in (("topics", "type"), ("message_definitions", "topic_type")):
                change = f"UPDATE {table} SET {column} = replace({column}, '/msg/', '/'), type_description_hash = ''"
                database.execute(change)
        database.close()
    else:
        rewrite_mcap_without_msg(file)
    metadata = (path / "metadata.yaml").read_text().replace("sensor_msgs/msg/", "sensor_msgs/")
    (path / "metadata.yaml").write_text(re.sub("RIHS01_[0-9a-f]+", "''", metadata))
    frames = list(open_source(str(file if single_file else path)).frames())
    assert len(frames) == 3
    np.testing.assert_array_equal(frames[0].image, RGB)
    assert frames[0].intrinsics is not None


def test_an_mcap_of_something_else_is_said(tmp_path: Path) -> None:
    head = b"\x89MCAP0\r\n\x01" + (12).to_bytes(8, "little") + b"\x04\0\0\0ros1\0\0\0\0"
    (tmp_path / "x.mcap").write_bytes(head + b"\x02" + (20).to_bytes(8, "little") + bytes(20) + b"\x89MCAP0\r\n")
    assert "not from ROS 2; convert it" in refusal(tmp_path / "x.mcap")


def rewrite_mcap_without_msg(file: Path) -> None:
    """Write the records of schemas, channels and messages anew, without chunks and without an index."""
    from rosbags.rosbag2.storage_mcap import McapReader

    reader = McapReader(file)
    reader.open()
    schemas, channels = dict(reader.schemas), dict(reader.channels)
    messages = list(reader.messages(list(reader.connections)))
    reader.close()

    def record(code: int, content: bytes) -> bytes:
        return bytes([code]) + len(content).to_bytes(8, "little") + content

    def text(value: str) -> bytes:
        return len(value.encode()).to_bytes(4, "little") + value.encode()

    out = b"\x89MCAP0\r\n" + record(1, text("ros2") + text("test"))
    numbers = {}
    for key, schema in schemas.items():
        numbers[schema.name] = key
        name = schema.name.replace("/msg/", "/")
        out += record(3, key.to_bytes(2, "little") + text(name) + text(schema.encoding) + text(schema.data))
    for key, channel in channels.items():
        ids = key.to_bytes(2, "little") + numbers[channel.schema].to_bytes(2, "little")
        out += record(4, ids + text(channel.topic) + text("cdr") + (0).to_bytes(4, "little"))
    for connection, time, data in messages:
        head = connection.id.to_bytes(2, "little") + bytes(4) + time.to_bytes(8, "little") * 2
        out += record(5, head + data)
    file.write_bytes(out + record(0x0F, bytes(4)) + record(2, bytes(20)) + b"\x89MCAP0\r\n")


def test_a_looping_bag_is_a_new_segment_with_time_going_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    once = [T0_NS + i * 10**8 for i in range(30)]
    path = write_bag(tmp_path / "bag", {"/image": [image(stamp) for stamp in once * 3]})
    source = open_source(str(path))
    frames = list(source.frames())
    stamps = [frame.stamp_ns for frame in frames]
    assert stamps == sorted(set(stamps))
    assert [frame.stamp_ns - frame.shift_ns for frame in frames] == once + once[1:] + once[1:]
    assert [frame.jump for frame in frames if frame.jump] == ["time jumped back by 2.800 s"] * 2
    assert stamps[30] - stamps[29] == 2 * 10**8  # as recorded, one image having been left out
    assert source.report.left_out == {NOT_NEWER: 2}
    assert len(caplog.records) == 1
    played = [timed.stamp_ns for timed in Timeline().frames(source)]
    assert played == once + once[1:] + once[1:]


def test_one_image_without_a_stamp_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stamps = [T0_NS + i * 10**8 for i in range(10)]
    path = write_bag(tmp_path / "bag", {"/image": [image(0 if i == 4 else stamp) for i, stamp in enumerate(stamps)]})
    source = open_source(str(path))
    assert [f.stamp_ns for f in source.frames()] == stamps[:4] + stamps[5:]
    assert source.report.left_out == {NO_TIME: 1}
    assert "invalid stamp of" in caplog.text


def test_ten_bits_in_sixteen_keep_their_range(tmp_path: Path) -> None:
    bright, dark = np.full((4, 6), 1000, "<u2"), np.full((4, 6), 40, "<u2")
    path = write_bag(
        tmp_path / "bag",
        {"/image": [image(T0_NS + i * 10**8, data, "mono16") for i, data in enumerate((bright, dark, bright))]},
    )
    assert [int(f.image[0, 0, 0]) for f in open_source(str(path)).frames()] == [250, 10, 250]


@pytest.mark.parametrize("damaged", [(0,), (1, 2), (3,)])
def test_images_that_cannot_be_decoded_are_skipped_counted_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damaged: tuple[int, ...]
) -> None:
    whole = cv2.imencode(".png", RGB)[1].ravel()
    images = [compressed(T0_NS + i * 10**8, whole[:20] if i in damaged else whole) for i in range(4)]
    source = open_source(str(write_bag(tmp_path / "bag", {"/image/compressed": images})))
    stamps = [frame.stamp_ns for frame in source.frames()]
    assert stamps == [T0_NS + i * 10**8 for i in range(4) if i not in damaged]
    assert source.report.left_out == {"not decodable": len(damaged)}
    (record,) = caplog.records
    assert "/image/compressed: an image was skipped: a compressed image" in record.message


@pytest.mark.parametrize("count", [2, 30])
def test_a_bag_of_which_no_image_can_be_decoded_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    images = [compressed(T0_NS + i * 10**8, np.zeros(20, np.uint8), "h264") for i in range(count)]
    with pytest.raises(UserError, match="of format 'h264'"):
        list(open_source(str(write_bag(tmp_path / "bag", {"/image/compressed": images}))).frames())
    assert not caplog.records


def test_what_a_lens_distorts_is_worked_out_once_for_all_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, make_maps = [], cv2.initUndistortRectifyMap
    monkeypatch.setattr(cv2, "initUndistortRectifyMap", lambda *given: made.append(given) or make_maps(*given))
    P = np.zeros(12)  # of no use for rectified images
    P[0] = np.inf
    path = write_bag(tmp_path / "bag", {"/cam/image": stream(3), "/cam/camera_info": [camera_info(T0_NS, P=P)]})
    assert all(frame.calibration is not None for frame in open_source(str(path)).frames())
    assert len(made) == 1


def test_an_image_of_another_size_costs_the_others_no_calibration(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wide = np.zeros((4, 8, 3), np.uint8)
    images = [image(T0_NS + i * 10**8, wide if i == 1 else RGB) for i in range(3)]
    path = write_bag(tmp_path / "bag", {"/cam/image": images, "/cam/camera_info": [camera_info(T0_NS)]})
    assert [frame.calibration is None for frame in open_source(str(path)).frames()] == [False, True, False]
    (record,) = caplog.records
    assert "is for 6x4 pixels but the images have 8x4" in record.message


def test_the_first_calibration_that_fits_the_images_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    infos = [camera_info(T0_NS, width=12, height=8), camera_info(T0_NS, fx=np.inf), camera_info(T0_NS, fx=7.0)]
    path = write_bag(tmp_path / "bag", {"/camera/image_raw": stream(), "/camera/camera_info": infos})
    assert [frame.intrinsics.fx for frame in open_source(str(path)).frames() if frame.intrinsics] == [7.0] * 3
    assert not caplog.records
