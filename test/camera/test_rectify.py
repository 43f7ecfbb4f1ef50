from __future__ import annotations

import cv2
import numpy as np
import pytest

from ttt3r_ros.camera.rectify import Rectifier
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import Intrinsics

CAMERA = Intrinsics(200.0, 205.0, 159.5, 119.5, 320, 240)


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("plumb_bob", [-0.3, 0.1, 0.001, -0.002, 0.0]),
        ("rational_polynomial", [0.1, 0.02, 0.001, 0.0, 0.01, 0.2, 0.02, 0.01]),
        ("equidistant", [0.05, -0.01, 0.002, 0.0]),
    ],
)
def test_a_distorted_mark_returns_to_its_ray(model, coefficients):
    ray = np.array([[[0.3, -0.25]]])
    if model == "equidistant":
        distorted = cv2.fisheye.distortPoints(ray, CAMERA.matrix(), np.array(coefficients))[0, 0]
    else:
        points = np.append(ray, 1.0).reshape(1, 1, 3)
        distorted = cv2.projectPoints(points, np.zeros(3), np.zeros(3), CAMERA.matrix(), np.array(coefficients))[0][
            0, 0
        ]
    image = np.zeros((240, 320, 3), dtype=np.float64)
    v, u = np.mgrid[0:240, 0:320]
    image += (255 * np.exp(-((u - distorted[0]) ** 2 + (v - distorted[1]) ** 2) / 8))[..., None]
    found = Rectifier(CAMERA, coefficients, model).rectify(image.astype(np.uint8))[..., 0].astype(float)
    center = [(u * found).sum() / found.sum(), (v * found).sum() / found.sum()]
    expected = (CAMERA.matrix() @ [0.3, -0.25, 1.0])[:2]
    np.testing.assert_allclose(center, expected, atol=0.3)
    assert np.linalg.norm(distorted - expected) > 1.0


@pytest.mark.parametrize(
    ("model", "coefficients", "words"),
    [
        ("thin_prism", [0.1] * 4, "is not one of plumb_bob"),
        ("plumb_bob", [0.1] * 3, "needs 4 or 5 finite"),
        ("equidistant", [np.nan] * 4, "needs 4 finite"),
    ],
)
def test_what_cannot_be_undone_is_said(model, coefficients, words):
    with pytest.raises(UserError, match=words):
        Rectifier(CAMERA, coefficients, model)
