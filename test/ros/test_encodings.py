"""Images of 10 and 12 bits through the node: it tracks, and shows the right colors."""

from __future__ import annotations

import array
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from harness import OUTPUTS, Bench, header
from in_process import InProcess
from sensor_msgs.msg import CompressedImage, Image
from waiting import send_until

pytestmark = pytest.mark.dds

WIDTH, HEIGHT = 80, 60
#: Without fine detail, which chroma of half the size and demosaicing would change.
RGB = cv2.resize(np.random.default_rng(0).integers(40, 215, (3, 4, 3), dtype=np.uint8), (WIDTH, HEIGHT))
GRAY = np.repeat(cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def widened(samples: np.ndarray, bits: int) -> np.ndarray:
    """Return 8-bit samples in this many of 16 bits, the brightest one at the end of the range."""
    wide = samples.astype("<u2") << (bits - 8)
    wide.flat[:3] = (1 << bits) - 1
    return wide


def raw(encoding: str, data: np.ndarray, step: int) -> Image:
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=step)
    message.data = array.array("B", data.tobytes())
    return message


def rgb8() -> Image:
    return raw("rgb8", RGB, 3 * WIDTH)


def png(bgr: np.ndarray) -> CompressedImage:
    return CompressedImage(format="png", data=array.array("B", cv2.imencode(".png", bgr)[1].tobytes()))


class Camera:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def send(self, message: Image | CompressedImage, frame_id: str) -> int:
        stamp = self.bench.next_stamp
        self.bench.next_stamp += 100_000_000
        message.header = header(stamp, frame_id)
        topic = "/image" if isinstance(message, Image) else "/image/compressed"
        self.bench.publisher(type(message), topic).publish(message)
        return stamp

    def shown(self, message: Image | CompressedImage, frame_id: str) -> np.ndarray:
        """Send an image; return what the node shows once it has answered, at the image's size."""
        stamp = self.send(message, frame_id)
        self.bench.get("odom", stamp)
        shown = self.bench.get("rgb/image", stamp)
        pixels = np.frombuffer(shown.data, np.uint8).reshape(shown.height, shown.width, 3)
        return cv2.resize(pixels, (WIDTH, HEIGHT))


@pytest.fixture(scope="module")
def camera(request, weights) -> Iterator[Camera]:
    """A camera that sends raw images, or compressed ones where a test is parametrized so."""
    transport = getattr(request, "param", "raw")
    with pytest.MonkeyPatch.context() as monkeypatch:
        options = {"image_transport": transport, "check_images": "true", "frozen_timeout": 0.0}
        inside = InProcess(monkeypatch, weights, wait_for_transform=0.0, **options)
        bench = Bench("encodings")
        camera = Camera(bench)
        try:
            for name in ("odom", "rgb/image"):
                bench.listen(f"/ttt3r/{name}", OUTPUTS[name], key=name)
            first = rgb8() if transport == "raw" else png(RGB[..., ::-1])
            send_until(
                lambda: camera.send(first, "first"),
                lambda: bench.received["odom"] and bench.received["rgb/image"],
                "both outputs",
            )
            camera.shown(first, "first")
            yield camera
        finally:
            bench.close()
            inside.close()


def test_a_dark_image_stays_dark(camera):
    """The range of the samples is held: it is the camera's, not the image's."""
    camera.shown(raw("mono16", widened(GRAY[..., 0], 10), 2 * WIDTH), "ten bits")
    for darker in (GRAY // 4, GRAY // 2):
        shown = camera.shown(raw("mono16", darker[..., 0].astype("<u2") << 2, 2 * WIDTH), "ten bits")
        assert np.abs(shown.astype(int) - darker).mean() < 2
    shown = camera.shown(raw("mono16", GRAY[..., 0].astype("<u2"), 2 * WIDTH), "eight bits")  # another camera
    assert np.abs(shown.astype(int) - GRAY).mean() < 2


@pytest.mark.parametrize("camera", ["compressed"], indirect=True)
def test_png_of_ten_and_twelve_bits(camera):
    for bits in (10, 12):
        shown = camera.shown(png(widened(GRAY[..., 0], bits)), f"gray {bits}")
        assert np.abs(shown.astype(int) - GRAY).mean() < 3
        shown = camera.shown(png(widened(RGB[..., ::-1], bits)), f"color {bits}")
        assert np.abs(shown.astype(int) - RGB).mean() < 3
        darker = RGB // 4  # the range is held here too
        shown = camera.shown(png(darker[..., ::-1].astype(np.uint16) << (bits - 8)), f"color {bits}")
        assert np.abs(shown.astype(int) - darker).mean() < 2
