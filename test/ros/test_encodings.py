"""Images of 10 bits through the node: it shows the right colors."""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from harness import Bench, header
from sensor_msgs.msg import Image

pytestmark = pytest.mark.dds

WIDTH, HEIGHT = 80, 60
GRAY = cv2.resize(np.random.default_rng(0).integers(40, 215, (3, 4), dtype=np.uint8), (WIDTH, HEIGHT))


def shown(camera: Bench, samples: np.ndarray, frame_id: str) -> np.ndarray:
    """Send an image of 16 bits; return what the node shows of it, at the image's size."""
    stamp, camera.next_stamp = camera.next_stamp, camera.next_stamp + 100_000_000
    message = Image(header=header(stamp, frame_id), height=HEIGHT, width=WIDTH, encoding="mono16", step=2 * WIDTH)
    message.data = array.array("B", samples.astype("<u2").tobytes())
    camera.publisher(Image, "/image").publish(message)
    image = camera.get("rgb/image", stamp)
    pixels = np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)
    return cv2.resize(pixels, (WIDTH, HEIGHT)).astype(int)[..., 0]


def test_a_dark_image_stays_dark(camera):
    """The range of the samples is held: it is the camera's, not the image's."""
    camera.hear("rgb/image")
    while not camera.received["rgb/image"]:
        camera.exchange()
    wide = GRAY.astype(int) << 2
    wide.flat[:3] = 1023
    assert np.abs(shown(camera, wide, "ten bits") - GRAY).mean() < 2
    for darker in (GRAY // 4, GRAY // 2):
        assert np.abs(shown(camera, darker.astype(int) << 2, "ten bits") - darker).mean() < 2
    assert np.abs(shown(camera, GRAY, "eight bits") - GRAY).mean() < 2  # another camera
