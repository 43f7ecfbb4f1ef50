from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from training import gallery, pictures
from training.measure import Frame
from ttt3r_ros.camera.preprocess import pixel_map
from ttt3r_ros.weights.load import load_weights


@pytest.mark.slow
def test_frames_of_all_motions_are_drawn_with_their_depths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gallery, "get_args", lambda _: ("turning", "tilted"))
    monkeypatch.setattr(pictures, "_COLUMNS", 2)
    monkeypatch.setattr(gallery, "_FRAMES", 2)
    assert gallery.main(["--output", str(tmp_path / "gallery.png"), "--device", "cpu"]) == 0
    picture = cv2.imread(str(tmp_path / "gallery.png"))
    width, height = pixel_map(640, 480, image_size=load_weights("").network.config.image_size).size
    width, height = (max(1, 256 // width) * side for side in (width, height))
    assert picture.shape == (2 * (3 * height + 22), 2 * (width + 4), 3)
    for row in np.split(picture, 2):
        for tile in np.split(row, 2, axis=1):
            parts = np.split(tile[20:-2, 2:-2], 3)
            assert min(part.std() for part in parts) > 5


def test_a_depth_that_is_right_looks_like_the_true_one(tmp_path: Path):
    depth = np.linspace(1, 5, 96 * 128, dtype=np.float32).reshape(96, 128)
    frame = Frame(np.zeros((96, 128, 3), np.uint8), depth, depth)
    pictures.draw(tmp_path / "one.png", [("right", frame)])
    picture = cv2.imread(str(tmp_path / "one.png"))
    assert np.array_equal(picture[212:404, 2:-2], picture[404:596, 2:-2])
