"""Images as files and CompressedImage messages hold them."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import PIL.Image
import pytest

from ttt3r_ros.camera.encoded_image import FILE_FORMATS, decode_image
from ttt3r_ros.camera.sample_range import SampleRange
from ttt3r_ros.errors import UserError

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
#: Four colours, so that each of the eight orientations looks different.
CORNERS = np.zeros((32, 48, 3), np.uint8)
CORNERS[:16, :24], CORNERS[:16, 24:], CORNERS[16:, :24] = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def decode(content: bytes, held: SampleRange | None = None) -> tuple[np.ndarray, SampleRange]:
    return decode_image(content, held or SampleRange(), "it", formats=FILE_FORMATS)


def refusal(content: bytes) -> str:
    with pytest.raises(UserError) as error:
        decode(content)
    assert "\n" not in str(error.value)
    return str(error.value)


def encoded(extension: str, image: np.ndarray) -> bytes:
    _, data = cv2.imencode(extension, image)
    return data.tobytes()


@pytest.mark.parametrize("extension", [".png", ".tiff", ".bmp", ".ppm"])
def test_what_loses_nothing_is_the_same_again(extension: str) -> None:
    image, _ = decode(encoded(extension, NOISE))
    np.testing.assert_array_equal(image, NOISE[..., ::-1])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright_whatever_opencv_makes_of_their_orientation(kind: str, orientation: int) -> None:
    """CIPA DC-008: where the stored image's first row and column are to be seen."""
    undo = {
        1: CORNERS,
        2: CORNERS[:, ::-1],
        3: CORNERS[::-1, ::-1],
        4: CORNERS[::-1],
        5: CORNERS.transpose(1, 0, 2),
        6: np.rot90(CORNERS),
        7: CORNERS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(CORNERS, -1),
    }[orientation]
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(undo)).save(buffer, kind, exif=exif, lossless=True, quality=95)
    image, _ = decode(buffer.getvalue())
    assert image.shape == CORNERS.shape
    for y, x in ((4, 4), (4, -4), (-4, 4), (-4, -4)):
        np.testing.assert_allclose(image[y, x].astype(int), CORNERS[y, x], atol=8)


@pytest.mark.parametrize("extension", [".png", ".tiff", ".pgm"])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_sixteen_bit_images_are_scaled_by_the_range_in_use(extension: str, bits: int) -> None:
    ramp = np.linspace(0, (1 << bits) - 1, 40 * 60).astype(np.uint16).reshape(40, 60)
    image, held = decode(encoded(extension, ramp))
    assert held.bits == bits
    np.testing.assert_array_equal(image[..., 1], ramp >> (bits - 8))
    dark, _ = decode(encoded(extension, ramp // 8), held)
    np.testing.assert_array_equal(dark[..., 0], ramp // 8 >> (bits - 8))


def test_sixteen_bits_of_color() -> None:
    image, held = decode(encoded(".png", NOISE.astype(np.uint16) * 4 + 3))
    assert held.bits == 10
    np.testing.assert_array_equal(image, NOISE[..., ::-1])


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".bmp", ".tiff"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_what_is_cut_off_is_refused(extension: str, share: float) -> None:
    content = encoded(extension, NOISE)
    decode(content)
    assert "cut off" in refusal(content[: int(share * len(content))])


def giant_bmp() -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, 100_000, 100_000, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + header + bytes(100)


def test_giants_are_refused_by_their_header() -> None:
    assert "megapixels" in refusal(giant_bmp())
    assert "16384" in refusal(encoded(".png", np.zeros((1, 16385), np.uint8)))


def test_a_header_costs_no_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.Image.Image, "load", lambda *_: pytest.fail("decoded"))
    for extension in (".png", ".jpg", ".bmp"):
        decode(encoded(extension, NOISE))


def test_damaged_exif_data_is_no_reason_to_refuse_an_image() -> None:
    content = encoded(".jpg", NOISE)
    block = b"Exif\0\0" + b"II*\0" + b"\xff" * 20
    image, _ = decode(content[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + content[2:])
    assert image.shape == NOISE.shape


@pytest.mark.parametrize(
    ("brand", "name"), [(b"heic", "HEIC"), (b"mif1", "HEIC"), (b"hevx", "HEIC"), (b"avif", "AVIF")]
)
def test_heic_is_refused_by_name_with_what_to_do(brand: bytes, name: str) -> None:
    sentence = refusal(struct.pack(">I", 24) + b"ftyp" + brand + bytes(100))
    assert f"is a {name} image" in sentence
    assert "convert it to JPEG" in sentence


@pytest.mark.parametrize("content", [b"", b"text", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", bytes(1000)])
def test_what_is_no_image_is_refused(content: bytes) -> None:
    assert "cannot be decoded" in refusal(content)
