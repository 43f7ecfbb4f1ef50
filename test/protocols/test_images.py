from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ttt3r_ros.camera.preprocess import pixel_map, resample
from ttt3r_ros.protocols.images import SEVEN_SCENES_CAMERA, cropped, reconstruction_view, squeezed
from ttt3r_ros.protocols.recording import read_rgb

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "evaluation" / "images.npz")
SMALL = sorted({key.split("/")[0] for key in GOLDEN})
SIZES = [
    (640, 480), (1280, 720), (1920, 1080), (480, 640), (752, 480), (1241, 376), (848, 480), (320, 240), (500, 333),
    (1296, 968), (1024, 436), (1242, 375), (1238, 374), (1226, 370), (1224, 370), (512, 512), (512, 384),
]  # fmt: skip


@pytest.mark.parametrize("size", SMALL)
def test_loading_is_the_published_one(size):
    image = GOLDEN[f"{size}/rgb"]
    assert np.array_equal(cropped(image, 96).numpy(), GOLDEN[f"{size}/size96/crop"])
    assert np.array_equal(squeezed(image, 96).numpy(), GOLDEN[f"{size}/size96/squeeze"])


@pytest.mark.parametrize("size", SMALL)
def test_the_node_loads_to_within_a_gray_level(size):
    image = GOLDEN[f"{size}/rgb"]
    found = resample(image, pixel_map(*image.shape[1::-1], image_size=96), torch.device("cpu"))
    assert np.abs(found.numpy().astype(int) - GOLDEN[f"{size}/size96/crop"]).max() <= 1


def naive(image: np.ndarray, squeeze: bool) -> np.ndarray:
    """Load an image as the protocol reads, step by step."""
    picture = Image.fromarray(image)
    long = max(picture.size)
    kind = Image.Resampling.LANCZOS if long > 512 else Image.Resampling.BICUBIC
    width, height = (round(side * 512 / long) for side in picture.size)
    scaled = picture.resize((width, height), kind)
    out_width, out_height = 16 * (width // 16), 16 * (height // 16)
    if width == height:
        out_height = 3 * out_width // 4
    if squeeze:
        if (width, height) != (out_width, out_height):
            scaled = scaled.resize((out_width, out_height), Image.Resampling.LANCZOS)
        return np.asarray(scaled)
    left, top = width // 2 - out_width // 2, height // 2 - out_height // 2
    return np.asarray(scaled.crop((left, top, left + out_width, top + out_height)))


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_size_is_loaded_as_the_protocol_reads(width, height):
    rough = np.random.default_rng(width).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))
    for ours, squeeze in ((cropped, False), (squeezed, True)):
        found = ours(image, 512).permute(1, 2, 0).numpy()
        assert np.array_equal(found, naive(image, squeeze))


def test_sizes_of_the_protocols_table():
    def size_of(width: int, height: int) -> tuple[tuple[int, ...], ...]:
        mapping = pixel_map(width, height, image_size=512)
        return mapping.scaled_size, mapping.offset, mapping.size

    assert size_of(1296, 968) == ((512, 382), (0, 7), (512, 368))
    assert size_of(1024, 436) == ((512, 218), (0, 5), (512, 208))
    assert size_of(640, 480) == ((512, 384), (0, 0), (512, 384))
    assert squeezed(np.zeros((375, 1242, 3), np.uint8), 512).shape == (3, 144, 512)


def test_an_image_is_turned_as_its_camera_says(tmp_path):
    image = Image.fromarray(np.zeros((20, 40, 3), np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read_rgb(tmp_path / "a.jpg").shape == (40, 20, 3)


def test_a_reconstruction_view_keeps_its_pixels_rays(tmp_path):
    depth = np.zeros((480, 640), np.uint16)
    depth[240, 320], depth[100, 50], depth[0, 0], depth[1, 1] = 2000, 3000, 65535, 12000
    Image.fromarray(depth).save(tmp_path / "d.png")
    Image.fromarray(np.full((240, 320, 3), 90, np.uint8)).save(tmp_path / "c.png")
    pixels, meters, camera = reconstruction_view(tmp_path / "c.png", tmp_path / "d.png", SEVEN_SCENES_CAMERA, 512)
    assert (pixels.shape, meters.shape) == ((384, 512, 3), (384, 512))
    assert (camera.width, camera.height) == (512, 384)
    assert camera.fx == pytest.approx(0.8 * 525)
    assert (camera.cx, camera.cy) == (pytest.approx(0.8 * 320.5 - 0.5), pytest.approx(0.8 * 240.5 - 0.5))
    assert set(np.unique(meters)) <= {0, 2, 3}
    assert (pixels == 90).all()
