from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.camera.calibration import Calibration, Camera, Distortion
from ttt3r_ros.camera.rectify import Rectifier
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import Intrinsics

CAMERA = Intrinsics(500.0, 510.0, 320.0, 241.0, 640, 480)
RECTIFIED = Intrinsics(400.0, 402.0, 310.0, 230.0, 640, 480)
PLUMB_BOB = (-0.1, 0.01, 0.001, -0.002, 0.003)
IDENTITY = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def projection(camera: Intrinsics) -> tuple[float, ...]:
    return Calibration.of(camera).P


def with_lens(model: str = "plumb_bob", D: tuple[float, ...] = PLUMB_BOB, **changes) -> Calibration:
    """Return the calibration of a distorted camera whose rectified images have another focal length."""
    return replace(Calibration.of(CAMERA, Distortion(model, D)), **{"P": projection(RECTIFIED), **changes})


def message(found: Calibration, *, upper: bool = False) -> SimpleNamespace:
    """Return a calibration as ROS 2 spells it, or ROS 1 with capital letters."""
    x, y, width, height = found.region
    matrices = {"k": np.array(found.K), "d": list(found.D), "r": np.array(found.R), "p": np.array(found.P)}
    return SimpleNamespace(
        width=found.width,
        height=found.height,
        distortion_model=found.model,
        binning_x=found.binning[0],
        binning_y=found.binning[1],
        roi=SimpleNamespace(x_offset=x, y_offset=y, width=width, height=height, do_rectify=False),
        **{name.upper() if upper else name: value for name, value in matrices.items()},
    )


sizes = st.integers(1, 5000)
numbers = st.floats(allow_nan=False)


@given(
    st.builds(
        Calibration,
        width=sizes,
        height=sizes,
        K=st.tuples(*[numbers] * 9),
        model=st.text(max_size=20),
        D=st.lists(numbers, max_size=14).map(tuple),
        R=st.tuples(*[numbers] * 9),
        P=st.tuples(*[numbers] * 12),
        binning=st.tuples(sizes, sizes),
        region=st.tuples(sizes, sizes, sizes, sizes),
    ),
    st.booleans(),
)
def test_a_calibration_survives_its_message(found: Calibration, upper: bool):
    assert Calibration.from_message(message(found, upper=upper)) == found


@given(st.floats(50, 5000), st.floats(0.5, 2), st.floats(0, 639), st.floats(0, 479), st.sampled_from([True, False]))
def test_a_pinhole_camera_survives(fx: float, aspect: float, cx: float, cy: float, rectified: bool):
    camera = Intrinsics(fx, fx * aspect, cx, cy, 640, 480)
    found = Calibration.of(camera).camera(rectified=rectified, image_size=(640, 480))
    np.testing.assert_allclose(found.intrinsics.matrix(), camera.matrix(), rtol=1e-12, atol=1e-12)
    assert (found.intrinsics.width, found.intrinsics.height, found.rectifier) == (640, 480, None)


def test_rectified_images_follow_p_and_raw_ones_k_and_d():
    rectified, raw = with_lens().camera(rectified=True), with_lens().camera(rectified=False)
    assert rectified == Camera(RECTIFIED, None)
    assert raw.intrinsics == CAMERA
    assert raw.rectifier is not None


@pytest.mark.parametrize("P", [(0.0,) * 12, IDENTITY], ids=["empty", "identity"])
def test_rectified_images_follow_k_where_p_says_nothing(P):
    assert with_lens(P=P).camera(rectified=True) == Camera(CAMERA, None)


def test_p_is_enough_where_images_are_rectified():
    found = with_lens(K=(0.0,) * 9)
    assert found.camera(rectified=True) == Camera(RECTIFIED, None)
    assert replace(found, D=()).camera(rectified=False) == Camera(RECTIFIED, None)
    with pytest.raises(UserError, match=r"not calibrated \(fx=0, fy=0\)"):  # D belongs to a K that is not there
        found.camera(rectified=False)


@pytest.mark.parametrize("rectified", [True, False])
def test_binning_and_region_of_interest(rectified):
    """The ray through a pixel of the whole sensor goes through the pixel it is read out at."""
    found = replace(Calibration.of(CAMERA), binning=(2, 4), region=(100, 40, 400, 200))
    camera = found.camera(rectified=rectified, image_size=(200, 50)).intrinsics
    # fx/2, fy/4, (320 - 100 + 0.5)/2 - 0.5, (241 - 40 + 0.5)/4 - 0.5
    assert camera == Intrinsics(250.0, 127.5, 109.75, 49.875, 200, 50)
    ray = np.array([0.05, -0.03, 1.0])
    whole, read_out = (CAMERA.matrix() @ ray)[:2], (camera.matrix() @ ray)[:2]
    np.testing.assert_allclose((whole - [100, 40] + 0.5) / [2, 4] - 0.5, read_out)


def test_a_region_may_lie_beside_the_principal_point():
    found = replace(Calibration.of(CAMERA), region=(400, 300, 100, 80))
    assert found.camera(rectified=True).intrinsics == Intrinsics(500.0, 510.0, -80.0, -59.0, 100, 80)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"K": (0.0,) * 9}, r"not calibrated \(fx=0, fy=0\)"),
        ({"K": (float("nan"),) * 9}, r"not calibrated \(fx=nan"),
        ({"K": (-500.0, 0.0, 320.0, 0.0, -500.0, 240.0, 0.0, 0.0, 1.0)}, r"not calibrated \(fx=-500"),
        (
            {"K": (500.0, 0.0, 900.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0)},
            "cannot be that of a camera with 640x480 pixels .*cx=900",
        ),
        (
            {"K": (500.0, 0.0, 320.0, 0.0, 500.0, -40.0, 0.0, 0.0, 1.0)},
            "cannot be that of a camera with 640x480 pixels .*cy=-40",
        ),
        (
            {"K": (5.0, 0.0, 320.0, 0.0, 5.0, 240.0, 0.0, 0.0, 1.0)},
            "cannot be that of a camera with 640x480 pixels .*fx=5",
        ),
        (
            {"region": (400, 0, 320, 240)},
            r"region of interest \(320x240 at 400, 0\) lies outside its 640x480 pixels",
        ),
        ({"region": (0, 300, 320, 240)}, r"\(320x240 at 0, 300\) lies outside"),
        ({"region": (0, 0, 800, 600)}, r"\(800x600 at 0, 0\) lies outside"),
        ({"region": (-4, 0, 320, 240)}, r"\(320x240 at -4, 0\) lies outside"),
        ({"region": (10, 0, 0, 0)}, r"\(0x0 at 10, 0\) lies outside"),
        (
            {"K": (500.0, 0.0, 320.0, 0.0, 1100.0, 240.0, 0.0, 0.0, 1.0)},
            r"differ too much to be those of one camera \(fx=500, fy=1100\)",
        ),
        ({"binning": (1, 3)}, r"differ too much .*\(fx=500, fy=510\)"),
        (
            {"K": (500.0, 8.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0)},
            "skew of 8 px, which no lens model has",
        ),
        (  # column by column
            {"K": (500.0, 0.0, 0.0, 0.0, 500.0, 0.0, 320.0, 240.0, 1.0)},
            r"is not \[fx 0 cx; 0 fy cy; 0 0 1\], row by row",
        ),
        ({"binning": (2, 2)}, "is for 320x240 pixels but the images have 640x480"),
    ],
)
def test_what_is_no_camera_is_refused(changes, words):
    found = replace(Calibration.of(CAMERA), **{"P": (0.0,) * 12, **changes})
    with pytest.raises(UserError, match=words):
        found.camera(rectified=True, image_size=(640, 480) if "binning" in changes and "320" in words else None)


def test_pixels_of_every_other_line_are_a_camera():
    camera = replace(Calibration.of(CAMERA), binning=(1, 2)).camera(rectified=True)
    assert (camera.intrinsics.fx, camera.intrinsics.fy, camera.warning) == (500.0, 255.0, "")


def test_a_small_skew_is_ignored_and_said():
    K = (500.0, 0.7, 320.0, 0.0, 510.0, 241.0, 0.0, 0.0, 1.0)
    camera = with_lens(K=K).camera(rectified=False)
    assert camera.intrinsics == CAMERA
    assert camera.warning == "the camera matrix's skew of 0.7 px is ignored: calibrate the camera without it"


def test_the_principal_point_of_p_must_be_in_the_image_too():
    with pytest.raises(UserError, match="cx=700"):
        with_lens(P=projection(replace(RECTIFIED, cx=700.0))).camera(rectified=True)


EQUIDISTANT = (0.05, -0.01, 0.002, 0.001)


@pytest.mark.parametrize(
    ("model", "D", "opencv"),
    [
        ("plumb_bob", (*PLUMB_BOB, 0.0, 0.0, 0.0), PLUMB_BOB),
        ("plumb_bob", (*PLUMB_BOB[:4], 0.0, 0.0, 0.0, 0.0), PLUMB_BOB[:4]),
        ("rational_polynomial", PLUMB_BOB, PLUMB_BOB),
        ("rational_polynomial", (*PLUMB_BOB, 0.1), (*PLUMB_BOB, 0.1, 0.0, 0.0)),
        ("equidistant", (*EQUIDISTANT, 0.0), EQUIDISTANT),
        ("fisheye", EQUIDISTANT, EQUIDISTANT),
    ],
)
def test_factory_calibrations_undo_what_opencv_makes(model, D, opencv):
    """Marks drawn where OpenCV projects them on the distorted image are where the pinhole camera sees them."""
    rays = np.array([[0.3, -0.25], [-0.35, 0.1], [0.05, 0.3]])
    if model in ("equidistant", "fisheye"):
        distorted = cv2.fisheye.distortPoints(rays[:, None], CAMERA.matrix(), np.array(opencv))[:, 0]
    else:
        points = np.hstack([rays, np.ones((3, 1))])
        distorted = cv2.projectPoints(points, np.zeros(3), np.zeros(3), CAMERA.matrix(), np.array(opencv))[0][:, 0]
    expected = rays * [CAMERA.fx, CAMERA.fy] + [CAMERA.cx, CAMERA.cy]
    v, u = np.mgrid[0:480, 0:640]
    rectifier = with_lens(model, D).camera(rectified=False).rectifier
    assert rectifier is not None
    for mark, wanted in zip(distorted, expected):
        image = 255 * np.exp(-((u - mark[0]) ** 2 + (v - mark[1]) ** 2) / 8)
        found = rectifier.rectify(np.dstack([image] * 3).astype(np.uint8))[..., 0].astype(float)
        np.testing.assert_allclose([(u * found).sum() / found.sum(), (v * found).sum() / found.sum()], wanted, atol=0.3)
        assert np.linalg.norm(mark - wanted) > 1.0


@pytest.mark.parametrize(
    ("model", "D", "words"),
    [
        ("plumb_bob", (*PLUMB_BOB, 0.0, 0.0, 0.1), "needs 4 or 5 finite coefficients"),
        ("plumb_bob", (*PLUMB_BOB, float("nan")), "needs 4 or 5 finite coefficients"),
        ("equidistant", (*EQUIDISTANT, 0.1), "needs 4 finite coefficients"),
        ("equidistant", (0.1,) * 3, "needs 4 finite coefficients"),
        ("rational_polynomial", (0.1,) * 15, "finite coefficients"),
        ("thin_prism", (0.1,) * 4, "is not one of plumb_bob"),
    ],
)
def test_distortions_that_cannot_be_undone_are_refused(model, D, words):
    with pytest.raises(UserError, match=words):
        with_lens(model, D).camera(rectified=False)


def test_a_region_is_rectified_as_the_whole_image_is():
    x, y, width, height = 160, 80, 320, 240
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 3.0)
    whole = Rectifier(CAMERA, PLUMB_BOB, "plumb_bob").rectify(image)
    rectifier = with_lens(region=(x, y, width, height)).camera(rectified=False).rectifier
    assert rectifier is not None
    window = rectifier.rectify(image[y : y + height, x : x + width])
    inner = slice(20, -20)
    np.testing.assert_allclose(
        window[inner, inner].astype(float), whole[y : y + height, x : x + width][inner, inner].astype(float), atol=2.0
    )
