from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from training_recipe import TINY_RECIPE, SmallSequence

from training import evaluate, export
from training.measure import Measurement, measure
from training.trainer import Trainer
from ttt3r_ros import synthetic
from ttt3r_ros.camera.preprocess import pixel_map
from ttt3r_ros.geometry import inverse
from ttt3r_ros.synthetic import Sequence
from ttt3r_ros.weights.load import Weights

SIZE = 64


class Oracle:
    """Knows the truth: depth rendered at the network's size, and the true poses; errors are added on purpose."""

    def __init__(self, sequence: Sequence, start: int, *, depth_factor: float = 1.0, still: bool = False) -> None:
        self.sequence, self.start = sequence, start
        self.depth_factor, self.still = depth_factor, still
        self.seen = 0

    def read(self, image: Any, camera: Any, *, outputs: Any) -> SimpleNamespace:
        index = self.start + self.seen
        self.seen += 1
        frames = self.sequence.render(index)
        assert np.array_equal(frames.image[0].numpy(), image)
        mapping = pixel_map(camera.width, camera.height, image_size=SIZE)
        fine = replace_size(self.sequence, *mapping.size)
        poses = self.sequence.T_world_camera.numpy()
        pose = inverse(poses[self.start]) @ poses[index]
        if self.still:  # but for what an alignment needs to be defined
            pose = np.eye(4)
            pose[:3, 3] = 1e-4 * np.array([np.cos(self.seen), np.sin(self.seen), np.cos(2 * self.seen)])
        return SimpleNamespace(
            depth=fine.render(index).depth[0].numpy() * np.float32(self.depth_factor),
            image=image, T_world_camera=pose, pixel_map=mapping, timings=SimpleNamespace(total=0.01),
        )  # fmt: skip


def replace_size(sequence: Sequence, width: int, height: int) -> Sequence:
    return Sequence(sequence.seed, len(sequence), width=width, height=height, fps=evaluate.FPS)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "Sequence", SmallSequence)


@pytest.fixture(scope="module")
def sequence() -> Sequence:
    return Sequence(2, 36, width=256, height=192, fps=evaluate.FPS)


def judged(sequence: Sequence, **errors: Any) -> Measurement:
    oracle: Any = Oracle(sequence, 30, **errors)
    return measure(oracle, sequence, 30, "handheld")[0]


@pytest.mark.slow
def test_the_truth_has_no_error(sequence: Sequence):
    perfect = judged(sequence)
    assert perfect.abs_rel < 0.02  # the nearest pixel is not quite the same ray
    assert perfect.delta_125 > 0.98
    assert perfect.ate_percent < 0.01
    assert perfect.rpe_rotation_deg < 0.01
    assert perfect.still_rpe_rotation_deg > 0.1
    assert perfect.path_m > 0.05


@pytest.mark.slow
def test_depth_is_judged_in_meters(sequence: Sequence):
    far = judged(sequence, depth_factor=1.3)
    assert far.abs_rel == pytest.approx(0.3, abs=0.03)
    assert far.delta_125 < 0.05
    assert far.abs_rel_scaled < 0.03


@pytest.mark.slow
def test_standing_still_is_what_it_says(sequence: Sequence):
    still = judged(sequence, still=True)
    assert still.ate_m == pytest.approx(still.still_ate_m, rel=0.05)
    assert still.rpe_rotation_deg == pytest.approx(still.still_rpe_rotation_deg, rel=1e-6)


@pytest.mark.slow
def test_a_table_a_file_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    weights, figures = tmp_path / "small.safetensors", tmp_path / "figures.json"
    state = Trainer(TINY_RECIPE, torch.device("cpu")).state()
    export.export(state, weights)
    options = ["--weights", str(weights), "--json", str(figures), "--picture", str(tmp_path / "depth.png")]
    motions = ("handheld", "wheeled", "turning")
    options += ["--seeds", "1", "--frames", "3", "--device", "cpu", "--motions", *motions]
    assert evaluate.main(options) == 0
    shown = capsys.readouterr().out
    record = json.loads(figures.read_text())
    assert [row["motion"] for row in record["sequences"]] == list(motions)
    assert record["summary"]["abs_rel"] == np.mean([row["abs_rel"] for row in record["sequences"][:2]])
    assert f"{record['summary']['abs_rel']:.3f}" in shown
    assert all(f"| {motion} " in shown for motion in motions)
    assert "| reversing " not in shown
    assert record["motions"]["turning"]["abs_rel"] == record["sequences"][2]["abs_rel"]
    assert set(record["targets"]) == {"abs_rel", "delta_125", "ate_percent", "rpe_rotation_deg"}
    assert (tmp_path / "depth.png").read_bytes().startswith(b"\x89PNG")
    # the figures go with the weights
    export.export(state, weights, export.read_summary(figures))
    from ttt3r_ros.weights.checkpoint import load_network

    assert load_network(weights)[1]["figures"] == record["summary"]


def test_summaries_take_the_median_of_paths():
    one = Measurement(0, "wheeled", 0.1, 0.9, 0.1, 0.01, 0.3, 1.0, 0.5, 1.0, 20.0)
    wild = replace(one, abs_rel=0.4, ate_m=5.0)
    summary = evaluate.summarize([one, one, wild])
    assert summary["abs_rel"] == pytest.approx(0.2)
    assert summary["ate_percent"] == pytest.approx(1.0)
    assert summary["still_ate_percent"] == pytest.approx(30.0)


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--seeds", "501"], ["--frames", "2"]])
def test_what_cannot_be_measured_is_said(options: list[str], capsys: pytest.CaptureFixture[str]):
    assert evaluate.main(options) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.slow
def test_an_evaluation_ends_in_time(monkeypatch: pytest.MonkeyPatch):
    trainer = Trainer(TINY_RECIPE, torch.device("cpu"))
    weights = Weights(trainer.average.network, "tiny", fingerprint="none")
    short = evaluate.evaluate(weights, torch.device("cpu"), seeds=3, frames=3, until=0.0)
    assert len(short.measurements) == 1
    assert len(short.pictured) == 1
