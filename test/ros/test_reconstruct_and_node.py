"""`reconstruct` and the node on the same frames: the same poses, depth and segments."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from harness import ANY_MOTION, node, pose_of
from tum import read_tum
from waiting import wait_until

from ttt3r_ros.mapping.cloud import DepthSettings
from ttt3r_ros.offline import reconstruct
from ttt3r_ros.ros.parameters import Parameters
from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings

pytestmark = pytest.mark.dds

STAMPS = [1_700_000_000_000_000_123 + i * 100_000_000 for i in range(12)]
BLACK = 8  #: number of a frame that both refuse
OPTIONS = {"reset_policy": "interval", "reset_interval": 5, "min_confidence": 1.0, "check_images": "true"}


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Return a folder with images whose names are their stamps, and the images."""
    folder = tmp_path_factory.mktemp("frames")
    images = {}
    for i, stamp in enumerate(STAMPS):
        image = np.random.default_rng(i).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        images[stamp] = image if i != BLACK else np.zeros_like(image)
        path = folder / f"{stamp // 10**9}.{stamp % 10**9:09d}.png"
        cv2.imwrite(str(path), cv2.cvtColor(images[stamp], cv2.COLOR_RGB2BGR))
    return folder, images


@pytest.mark.usefixtures("one_thread")  # as the node of the harness: two round otherwise, and that grows
def test_the_same_frames_give_the_same_result(frames, weights, tmp_path, bench):
    folder, images = frames
    answered = [stamp for i, stamp in enumerate(STAMPS) if i != BLACK]
    settings = {**ANY_MOTION, **OPTIONS}
    with node(tmp_path / "log", weights=weights, drop_frames="false", wait_for_transform=0.1, **settings):
        bench.listen_to_all()
        bench.wait_for_node()
        wait_until(bench.diagnostics, "the node to know who listens")  # to diagnostics the last
        for stamp in STAMPS:  # one after the other, since a lost frame is never answered
            bench.send(images[stamp], stamp=stamp)
            if stamp in answered:
                bench.get("odom", stamp)
                bench.get("depth/image", stamp)
    options = {name.replace("_", "-"): value for name, value in settings.items()}
    check = "--check-images" if options.pop("check-images") in (True, "true") else "--no-check-images"
    arguments = [check, *(f"--{name}={value}" for name, value in options.items())]
    output = tmp_path / "output"
    assert reconstruct.main([str(folder), "--output", str(output), "--weights", str(weights), *arguments]) == 0

    offline = read_tum(output / "trajectory.txt")
    assert offline.stamps_ns.tolist() == answered
    for i, stamp in enumerate(answered):
        live = pose_of(bench.get("odom", stamp))
        np.testing.assert_allclose(offline.transform(i), live, atol=1e-6, err_msg=f"frame {i}")
        message = bench.get("depth/image", stamp)
        depth = np.frombuffer(bytes(message.data), np.float32).reshape(message.height, message.width)
        written = cv2.imread(str(output / f"depth/{stamp // 10**9}.{stamp % 10**9:09d}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_allclose(written, np.nan_to_num(1000 * depth), atol=0.6)
    assert json.loads((output / "metrics.json").read_text())["segments"] == 3


def test_both_have_the_same_parameters_and_defaults():
    options = reconstruct._parser().parse_args(["video.mp4", "--output", "out"])
    for settings in (StreamSettings, NetworkSettings, DepthSettings):
        assert settings.of(options) == settings() == settings.of(Parameters())
