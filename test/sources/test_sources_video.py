"""Videos as phones, camcorders and broken disks leave them."""

from __future__ import annotations

import itertools
import logging
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from test_sources import refusal

from ttt3r_ros.camera.stamps import FAR_AHEAD
from ttt3r_ros.sources import open_source

#: Red in the upper left corner of the upright image, blue elsewhere.
UPRIGHT = np.zeros((48, 64, 3), np.uint8)
UPRIGHT[..., 2] = 200
UPRIGHT[:24, :32] = (200, 0, 0)

REAL_CAPTURE = cv2.VideoCapture


def write(path: Path, frames: list[np.ndarray], codec: str = "mp4v", fps: float = 20.0) -> Path:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def noise(count: int) -> list[np.ndarray]:
    return [np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8) for i in range(count)]


def box(data: bytes, *path: str) -> int:
    """Return where a box of an MP4 file begins (ISO/IEC 14496-12)."""
    start, end, found = 0, len(data), 0
    for name in path:
        found = start
        while data[found + 4 : found + 8] != name.encode():
            found += int.from_bytes(data[found : found + 4], "big")
            assert found < end
        start, end = found + 8, found + int.from_bytes(data[found : found + 4], "big")
    return found


def turned(data: bytes, clockwise: int) -> bytes:
    """Return an MP4 file whose track header says that it is to be turned before it is shown."""
    matrix = box(data, "moov", "trak", "tkhd") + 8 + 40
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise]
    values = struct.pack(">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    return data[:matrix] + values + data[matrix + 36 :]


def with_aspect(data: bytes, wide: int, high: int) -> bytes:
    """Return an MP4 file whose pixels are so much wider than high."""
    path = ["moov", "trak", "mdia", "minf", "stbl", "stsd"]
    entry = box(data, *path) + 16
    end = entry + int.from_bytes(data[entry : entry + 4], "big")
    changed = bytearray(data[:end] + struct.pack(">I4sII", 16, b"pasp", wide, high) + data[end:])
    for size in [entry, *(box(data, *path[:depth]) for depth in range(1, len(path) + 1))]:
        changed[size : size + 4] = (int.from_bytes(changed[size : size + 4], "big") + 16).to_bytes(4, "big")
    return bytes(changed)


def index_first(data: bytes) -> bytes:
    """Return an MP4 file with its index before its frames, so that it can be read when it is cut off."""
    mdat, moov = box(data, "mdat"), box(data, "moov")
    index = bytearray(data[moov:])
    table = box(data, "moov", "trak", "mdia", "minf", "stbl", "stco") - moov
    for i in range(int.from_bytes(index[table + 12 : table + 16], "big")):
        at = table + 16 + 4 * i
        index[at : at + 4] = (int.from_bytes(index[at : at + 4], "big") + len(index)).to_bytes(4, "big")
    return data[:mdat] + bytes(index) + data[mdat:moov]


class OpenCV46:
    """A stand-in for OpenCV 4.6: the angle's sign is wrong, and quarter turns by itself go the wrong way."""

    def __init__(self, path: str) -> None:
        self._capture = REAL_CAPTURE(path)  # whose class cannot have children

    def __getattr__(self, name: str) -> Any:
        return getattr(self._capture, name)

    def get(self, prop: int) -> float:
        value = self._capture.get(prop)
        return (360 - value) % 360 if prop == cv2.CAP_PROP_ORIENTATION_META else value

    def retrieve(self) -> tuple[bool, Any]:
        decoded, image = self._capture.retrieve()
        if self.get(cv2.CAP_PROP_ORIENTATION_AUTO) and self.get(cv2.CAP_PROP_ORIENTATION_META) % 180:
            image = cv2.rotate(image, cv2.ROTATE_180)
        return decoded, image


def assert_upright(image: np.ndarray) -> None:
    assert image.shape == UPRIGHT.shape
    np.testing.assert_allclose(image[4, 4].astype(int), [200, 0, 0], atol=20)
    for y, x in ((4, -4), (-4, 4), (-4, -4)):
        np.testing.assert_allclose(image[y, x].astype(int), [0, 0, 200], atol=20)


@pytest.mark.parametrize("clockwise", [90, 180, 270])
@pytest.mark.parametrize("old", [False, True])
def test_videos_are_upright_on_every_opencv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clockwise: int, old: bool
) -> None:
    stored = np.rot90(UPRIGHT, clockwise // 90)  # anticlockwise
    path = write(tmp_path / "v.mp4", [stored] * 3)
    path.write_bytes(turned(path.read_bytes(), clockwise))
    if old:
        monkeypatch.setattr(cv2, "VideoCapture", OpenCV46)
        monkeypatch.setattr(cv2, "__version__", "4.6.0")
    frames = list(open_source(str(path)).frames())
    assert len(frames) == 3
    assert_upright(frames[0].image)


@pytest.mark.parametrize("aspect", [(4, 3), (8, 9)])
@pytest.mark.parametrize("clockwise", [0, 90])
def test_pixels_become_square(tmp_path: Path, aspect: tuple[int, int], clockwise: int) -> None:
    path = write(tmp_path / "v.mp4", [np.rot90(UPRIGHT, clockwise // 90)] * 2)
    data = path.read_bytes() if not clockwise else turned(path.read_bytes(), clockwise)
    path.write_bytes(with_aspect(data, *aspect))
    image = next(open_source(str(path)).frames()).image
    ratio = aspect[0] / aspect[1] if not clockwise else aspect[1] / aspect[0]  # of the upright image's pixels
    assert image.shape[1] / image.shape[0] == pytest.approx(64 / 48 * ratio, rel=0.02)
    assert image.shape[0] >= 48
    assert image.shape[1] >= 64
    np.testing.assert_allclose(image[4, 4].astype(int), [200, 0, 0], atol=20)


def test_a_video_that_ends_early_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = index_first(write(tmp_path / "v.mp4", noise(40)).read_bytes())
    (tmp_path / "whole.mp4").write_bytes(whole)
    source = open_source(str(tmp_path / "whole.mp4"))
    assert len(list(source.frames())) == 40
    assert source.report.damage == []
    assert not caplog.records

    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    source = open_source(str(tmp_path / "cut.mp4"))
    count = len(list(source.frames()))
    assert 0 < count < 30
    assert source.report.damage == [
        f"video cut.mp4 ends after {count} of 40 frames: it is cut off or damaged; copy it again"
    ]
    with caplog.at_level(logging.WARNING):
        list(source.frames())
    assert [record.message for record in caplog.records] == source.report.damage


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "MJPG"), ("webm", "VP80"), ("mkv", "FFV1")])
def test_the_same_in_other_containers(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write(tmp_path / f"v.{suffix}", noise(40), codec)
    source = open_source(str(path))
    list(source.frames())
    assert source.report.damage == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_source(str(path))
    assert len(list(source.frames())) < 30
    assert len(source.report.damage) == 1


def with_block_times(data: bytes, times_ms: dict[int, int]) -> bytes:
    """Return a Matroska file of one cluster with other times for some of its blocks (RFC 9559)."""
    changed, found = bytearray(data), []
    at = data.index(bytes.fromhex("1f43b675"))  # the cluster
    while (at := data.find(b"\xa3", at + 1)) >= 0:  # a block: size, track 1, time, flags
        length = 9 - data[at + 1].bit_length()  # of the size
        if data[at + 1 + length] == 0x81 and data[at + 4 + length] in (0x00, 0x80):
            size = int.from_bytes(data[at + 1 : at + 1 + length], "big") - (1 << 7 * length)
            found.append(at + 2 + length)
            at += length + size
    for index, time in times_ms.items():
        changed[found[index] : found[index] + 2] = time.to_bytes(2, "big", signed=True)
    return bytes(changed)


def test_one_wrong_time_in_a_container_leaves_nothing_behind(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mkv", noise(20), "MJPG")
    good = [frame.stamp_ns for frame in open_source(str(path)).frames()]
    assert good == [i * 50_000_000 for i in range(20)]
    path.write_bytes(with_block_times(path.read_bytes(), {7: 32_000}))
    source = open_source(str(path))
    assert [frame.stamp_ns for frame in source.frames()] == [*good[:7], *good[8:]]
    assert source.report.left_out == {FAR_AHEAD: 1}
    assert source.report.damage == []


class TwiceHalf(OpenCV46):
    """A container whose time begins anew in the middle, as recordings put end to end have it."""

    def get(self, prop: int) -> float:
        value = float(self._capture.get(prop))
        return value - 1500 if prop == cv2.CAP_PROP_POS_MSEC and value > 1499 else value


def test_a_container_whose_time_begins_anew_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "v.avi", noise(60), "MJPG")
    monkeypatch.setattr(cv2, "VideoCapture", TwiceHalf)
    frames = list(open_source(str(path)).frames())
    stamps = [frame.stamp_ns for frame in frames]
    assert len(frames) == 59
    assert [i for i, frame in enumerate(frames) if frame.jump] == [31]
    steps = [round((after - before) * 1e-6) for before, after in itertools.pairwise(stamps)]
    assert steps == [50] * 30 + [100] + [50] * 27


def test_a_last_frame_without_a_time_is_counted_on(tmp_path: Path) -> None:
    """So OpenCV reads MPEG streams."""
    source = open_source(str(write(tmp_path / "v.mpg", [np.repeat(frame, 4, 0) for frame in noise(25)], "MPG1", 25.0)))
    frames = list(source.frames())
    assert len(frames) == 25
    assert not source.report.left_out
    assert not any(frame.jump for frame in frames)
    assert frames[-1].stamp_ns > frames[-2].stamp_ns


def test_whoever_stops_reading_is_told_nothing(tmp_path: Path) -> None:
    source = open_source(str(write(tmp_path / "v.mp4", noise(40))))
    frames = source.frames()
    next(frames)
    frames.close()  # type: ignore[attr-defined]  # it is a generator
    assert source.report.damage == []


@pytest.mark.parametrize("name", ["notes.txt", "art.nfo", "video.mp4", "list.m3u8"])
@pytest.mark.parametrize(
    "text", ["hello\n" * 500, "\x1b[31mrot\x1b[0m\n", "Größe".encode("latin-1"), "é".encode("utf-16")]
)
def test_text_is_no_video(tmp_path: Path, name: str, text: str | bytes) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert "is text, not a video" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["photo.heic", "photo.mp4", "photo.HEIF", "photo.mov"])
def test_heic_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(struct.pack(">I", 24) + b"ftypheic" + bytes(500))
    assert "is a HEIC image" in refusal(tmp_path / name)
    assert "convert it to JPEG" in refusal(tmp_path / name)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP"])
def test_a_still_image_is_no_video_whatever_its_name(tmp_path: Path, kind: str) -> None:
    PIL.Image.fromarray(UPRIGHT).save(tmp_path / "still.mp4", kind)
    assert f"is a single {kind} image" in refusal(tmp_path / "still.mp4")


def test_moving_images_and_streams_of_images_are_videos(tmp_path: Path) -> None:
    frames = [PIL.Image.fromarray(frame) for frame in noise(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:], duration=50)
    assert len(list(open_source(str(tmp_path / "moving.gif")).frames())) == 3
    jpegs = b"".join(cv2.imencode(".jpg", frame)[1].tobytes() for frame in noise(3))
    (tmp_path / "stream.mjpeg").write_bytes(jpegs)
    assert len(list(open_source(str(tmp_path / "stream.mjpeg")).frames())) == 3
    header = b"YUV4MPEG2 W16 H16 F20:1 Ip A1:1 C420\n"
    (tmp_path / "plain.y4m").write_bytes(header + b"".join(b"FRAME\n" + bytes([60]) * 384 for _ in range(3)))
    assert len(list(open_source(str(tmp_path / "plain.y4m")).frames())) == 3
