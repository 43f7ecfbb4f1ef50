from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ttt3r_ros.evaluation.video_depth import ALIGNMENTS, DepthErrors, DepthPairs

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "evaluation" / "video_depth.npz")
SETS = {"bonn": (5000, 70.0, np.inf), "kitti": (256, np.inf, np.inf), "sintel": (None, 70.0, 70.0)}
SEQUENCES = sorted({tuple(key.split("/")[:2]) for key in GOLDEN if "average" not in key})


def pairs_of(name: str, sequence: str) -> DepthPairs:
    divisor, max_depth, clip = SETS[name]
    pairs = DepthPairs(max_depth, clip)
    for truth, predicted in zip(GOLDEN[f"{name}/{sequence}/gt"], GOLDEN[f"{name}/{sequence}/pred"]):
        pairs.add(predicted, truth / divisor if divisor else truth)
    return pairs


def figures(e: DepthErrors) -> list[float]:
    return [e.abs_rel, e.sq_rel, e.rmse, e.log_rmse, 0.0, e.delta_1, e.delta_2, e.delta_3]


@pytest.mark.slow
@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("name", SETS)
def test_errors_are_the_published_ones(name, alignment):
    found = []
    for _, sequence in (key for key in SEQUENCES if key[0] == name):
        errors = pairs_of(name, sequence).errors(alignment)
        expected = GOLDEN[f"{name}/{sequence}/{alignment}/metrics"]
        assert figures(errors) == pytest.approx(expected[:8].tolist(), rel=1e-4, abs=1e-6)
        assert errors.pixels == expected[8]
        scale, shift = GOLDEN[f"{name}/{sequence}/{alignment}/alignment"]
        if alignment != "metric":
            assert errors.scale == pytest.approx(scale, rel=1e-4)
        if alignment == "scale&shift":
            assert errors.shift == pytest.approx(shift, abs=1e-4)
        found.append((figures(errors), errors.pixels))
    values, weights = zip(*found)
    average = np.average(values, axis=0, weights=weights)
    assert average == pytest.approx(GOLDEN[f"{name}/average/{alignment}"], rel=1e-4, abs=1e-6)


def test_a_beginning_is_judged_as_if_there_were_no_more():
    whole, part = DepthPairs(), DepthPairs()
    generator = np.random.default_rng(0)
    for frame in range(5):
        truth = generator.uniform(1, 5, (12, 16))
        predicted = (truth * 0.9).astype(np.float32)
        whole.add(predicted, truth)
        if frame < 3:
            part.add(predicted, truth)
    assert whole.errors("scale", 3) == part.errors("scale")
    assert whole.errors("scale").abs_rel == pytest.approx(0, abs=1e-5)
    assert whole.errors("metric").abs_rel == pytest.approx(0.1, abs=1e-5)


def test_a_prediction_of_a_region_is_compared_there_alone():
    truth = np.arange(1.0, 121.0).reshape(10, 12)
    pairs = DepthPairs()
    pairs.add(truth[2:8, 3:9].astype(np.float32), truth, (3, 2, 9, 8))
    pairs.add(None, truth)
    errors = pairs.errors("metric")
    assert (errors.pixels, errors.abs_rel) == (36, pytest.approx(0, abs=1e-6))


def test_a_sequence_without_valid_pixels_weighs_nothing():
    pairs = DepthPairs()
    pairs.add(np.ones((3, 4), np.float32), np.zeros((3, 4)))
    assert pairs.errors("scale&shift").pixels == 0
