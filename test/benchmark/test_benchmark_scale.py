from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from benchmark.scale import BIASES, DISTURBANCES, disturbed, draw, rows_of, stand
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.stream.stream import Stream
from ttt3r_ros.weights.load import load_weights


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_a_disturbance_changes_most_images_and_no_shapes(kind):
    view, rng = np.full((60, 80, 3), 120, dtype=np.uint8), np.random.default_rng(0)
    seen = [disturbed(view, kind, frame, rng) for frame in range(40)]
    assert {(image.shape, image.dtype) for image in seen} == {(view.shape, view.dtype)}
    if kind == "copies":
        assert all(np.array_equal(image, view) for image in seen)
        return
    assert not any(np.array_equal(a, b) for a, b in pairwise(seen))
    if kind.startswith("noise"):
        assert np.std(seen[0].astype(float)) == pytest.approx(float(kind.split()[1]), rel=0.1)


@pytest.mark.slow
def test_standing_is_measured():
    """One view with noise; and the same where nobody holds it, so that there is something to find."""
    backbone = Backbone(load_weights("").network)
    held, free = (
        stand(Stream(backbone, StreamSettings(hold_still=h)), 320, "noise 5", 12, (160, 120)) for h in (True, False)
    )
    assert (held.walked_m, held.turned_deg) == (0.0, 0.0)
    assert held.still == pytest.approx(11 / 12)
    assert free.walked_m > 0.002
    assert free.still == 0.0


def results(meters: float, depth: float) -> dict[str, list[dict]]:
    walk = {"seed": 1, "motion": "wheeled", "own": [0.9, 1.1], "depth": [depth, depth], "false_still": 0}
    return {
        "standing": [
            {"seed": 1, "kind": kind, "walked_m": meters, "turned_deg": 0.1, "still": 1.0, "depth": 1.0}
            for kind in DISTURBANCES
        ],
        "slow": [
            {"seed": 1, "kind": kind, "true": 0.1, "published": 0.2, "still": 0.0}
            for kind in ("forward", "sideways", "turn")
        ],
        "walks": [walk | {"bias": 0.0}],
        "biased": [walk | {"bias": bias} for bias in BIASES],
    }


@pytest.mark.slow
def test_an_aim_that_is_missed_is_said(tmp_path):
    words = [row[2] for row in rows_of(results(0.001, 1.1))]
    assert words == ["met"] * 7 + ["-"] * 3 + ["met"] * 7
    missed = results(0.011, 1.2)
    words = [row[2] for row in rows_of(missed)]
    assert words == ["missed"] * 7 + ["-"] * 3 + ["missed"] * 6 + ["met"]
    draw(missed, tmp_path / "scale.png")
    assert (tmp_path / "scale.png").stat().st_size > 10_000
