from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from expectations import one_sentence
from training_recipe import TINY_RECIPE

from training import config, export, train
from training.average import Average
from training.clips import training_camera
from training.flats import FlatSupply
from training.initial import initial_network
from training.run_folder import RunFolder
from training.schedule import Budget
from training.stream import ClipStream, _Renderer
from training.trainer import Rhythm, Trainer
from ttt3r_ros.errors import UserError
from ttt3r_ros.weights.checkpoint import load_network
from ttt3r_ros.weights.load import load_weights

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One validation flat instead of many, one core, and a recipe of this name; signals are put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr("training.trainer.VALIDATION_SEEDS", range(900, 901))
    monkeypatch.setattr("training.trainer._VALIDATION_FRAMES", 4)
    monkeypatch.setitem(config.RECIPES, "cpu", TINY_RECIPE)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_run_goes_through_its_stages_and_leaves_what_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = tmp_path / "run"
    assert train.main(["--run", str(run), "--device", "cpu", "--steps", "8"]) == 0
    folder = RunFolder(run)
    entries = folder.entries()
    assert [entry["stage"] for entry in entries] == ["depth", "pairs"]
    assert [entry["step"] for entry in entries] == [4, 8]
    assert entries[-1]["frames"] == 4 * 4 + 4 * 2 * 2
    assert "rotation_ratio" not in entries[0]
    assert {"loss", "gradient_norm", "abs_rel", "rotation_ratio", "shift"} <= entries[-1].keys()
    assert folder.curve.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.strip().endswith("done")

    assert export.main(["--run", str(run), "--output", str(tmp_path / "small.safetensors")]) == 0
    network, provenance = load_network(tmp_path / "small.safetensors")
    assert network.config == TINY_RECIPE.network
    assert provenance["license"] == "Apache-2.0"
    assert (provenance["steps"], provenance["seed"]) == (8, 0)
    assert load_weights(str(tmp_path / "small.safetensors")).segment_frames == TINY_RECIPE.segment_frames
    averaged = folder.load()["average"]
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, averaged[key].half().float())


def test_an_existing_run_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    RunFolder(tmp_path).save(Trainer(TINY_RECIPE, CPU).state())
    assert train.main(["--run", str(tmp_path), "--device", "cpu", "--steps", "1"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert train.main(["--run", str(tmp_path / "no"), "--device", "cpu", "--resume"]) == 2
    assert "no checkpoint" in capsys.readouterr().err


def test_a_run_can_start_from_weights_and_at_a_later_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    export.export(Trainer(TINY_RECIPE, CPU).state(), tmp_path / "w.safetensors")
    start = ["--device", "cpu", "--steps", "1", "--init", str(tmp_path / "w.safetensors")]
    assert train.main(["--run", str(tmp_path / "a"), "--stages", "pairs", *start]) == 0
    assert [entry["stage"] for entry in RunFolder(tmp_path / "a").entries()] == ["pairs"]
    learned = RunFolder(tmp_path / "a").load()["network"]["patch_embed.weight"]
    before = load_network(tmp_path / "w.safetensors")[0].patch_embed.weight
    assert export.main(["--run", str(tmp_path / "a"), "--output", str(tmp_path / "b.safetensors")]) == 0
    origin = load_network(tmp_path / "b.safetensors")[1]["started_from"]
    assert origin["part"] == "all"
    assert origin["stages"] == ["depth", "pairs"]
    assert origin["started_from"] is None
    assert 0 < (learned - before).abs().max() < 0.002
    assert train.main(["--run", str(tmp_path / "b"), "--stages", "pears", *start]) == 2
    assert "pears" in capsys.readouterr().err


def test_a_run_can_start_from_the_encoder_of_another_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Depth is learned by the encoder, and does not have to be learned again for another decoder."""
    network = replace(TINY_RECIPE.network, state_size=20, dec_depth=3)
    export.export(Trainer(replace(TINY_RECIPE, network=network, seed=5), CPU).state(), tmp_path / "w.safetensors")
    start = ["--device", "cpu", "--steps", "1", "--encoder", str(tmp_path / "w.safetensors")]
    assert train.main(["--run", str(tmp_path / "a"), *start]) == 0
    learned = RunFolder(tmp_path / "a").load()["network"]
    given = load_network(tmp_path / "w.safetensors")[0].state_dict()
    assert 0 < (learned["patch_embed.weight"] - given["patch_embed.weight"]).abs().max() < 0.002
    fresh = initial_network(TINY_RECIPE.network, TINY_RECIPE.seed).state_dict()
    assert (learned["image_embed.weight"] - fresh["image_embed.weight"]).abs().max() < 0.002

    assert train.main(["--run", str(tmp_path / "b"), *start, "--init", str(tmp_path / "w.safetensors")]) == 2
    assert "either --init or --encoder" in capsys.readouterr().err
    wider = replace(TINY_RECIPE, network=replace(TINY_RECIPE.network, enc_embed_dim=64))
    export.export(Trainer(wider, CPU).state(), tmp_path / "wide.safetensors")
    assert train.main(["--run", str(tmp_path / "b"), "--encoder", str(tmp_path / "wide.safetensors")]) == 2
    assert "another shape" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_compiled_blocks_learn_the_same():
    stage = TINY_RECIPE.stages[1]
    with FlatSupply(TINY_RECIPE, CPU, 0) as supply:
        clips = ClipStream(TINY_RECIPE, stage, supply, training_camera(TINY_RECIPE), CPU, seed=0).batch()
    losses = []
    for fuse in (False, True):
        trainer = Trainer(TINY_RECIPE, CPU, fuse=fuse)
        steps = [trainer.step(clips, stage, 1e-3, torch.Generator().manual_seed(0)) for _ in range(3)]
        losses.append(torch.stack([step["loss"] for step in steps]))
        assert all(not key.startswith("_orig") and "._orig" not in key for key in trainer.state()["network"])
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-4)


def test_a_stopped_run_goes_on_where_it_stopped(tmp_path: Path):
    folder = RunFolder(tmp_path)
    first = Trainer(TINY_RECIPE, CPU)
    assert not first.run(Budget(steps=6), folder, lambda _: None, should_stop=lambda: first.steps >= 2)
    second = Trainer(TINY_RECIPE, CPU, state=folder.load())
    assert (second.steps, second.frames) == (2, 8)
    assert second.next_seed > first.recipe.first_seed  # other flats than before
    for name, value in first.network.state_dict().items():
        assert torch.equal(second.network.state_dict()[name], value)
        assert torch.equal(second.average.network.state_dict()[name], first.average.network.state_dict()[name])
    moments = [t.optimizer.state_dict()["state"][3]["exp_avg_sq"] for t in (first, second)]
    assert torch.equal(*moments)
    assert second.run(Budget(steps=6), folder, lambda _: None)
    assert second.steps == 6


def test_two_runs_of_one_seed_are_one(tmp_path: Path):
    states = []
    for name in "ab":
        trainer = Trainer(TINY_RECIPE, CPU)
        trainer.run(Budget(steps=4), RunFolder(tmp_path / name), lambda _: None)
        states.append(trainer.network.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["pose_token"], initial_network(TINY_RECIPE.network, 0).state_dict()["pose_token"])


def test_the_loss_falls(tmp_path: Path):
    entries: list[dict[str, Any]] = []
    recipe = replace(
        TINY_RECIPE, stages=(replace(TINY_RECIPE.stages[0], share=1.0, batch=16, learning_rate=3e-3),), ema=0.9
    )
    Trainer(recipe, CPU).run(Budget(steps=40), RunFolder(tmp_path), entries.append, rhythm=Rhythm(log_s=0.0))
    assert entries[-1]["camera"] < 0.7 * entries[0]["camera"]
    assert entries[-1]["abs_rel"] < entries[0]["abs_rel"]


def test_a_step_with_a_gradient_that_is_not_finite_is_skipped():
    trainer = Trainer(TINY_RECIPE, CPU)
    generator = torch.Generator().manual_seed(0)
    stage = TINY_RECIPE.stages[0]
    with FlatSupply(TINY_RECIPE, CPU, 0) as supply:
        clips = ClipStream(TINY_RECIPE, stage, supply, training_camera(TINY_RECIPE), CPU, seed=0).batch()
    clips.depth[:] = float("nan")
    before = trainer.network.pose_token.clone()
    trainer.step(clips, stage, 1e-3, generator)
    assert trainer.skipped == 1
    assert torch.equal(trainer.network.pose_token, before)


def test_the_average_lags_behind_and_forgets_the_start():
    network = initial_network(TINY_RECIPE.network, 0)
    average = Average(network, 0.99)
    start = network.pose_token.detach().clone()
    with torch.no_grad():
        network.pose_token += 1.0
    average.update(network)
    assert 0.5 < (average.network.pose_token - start).mean().item() < 1.0
    for _ in range(200):
        average.update(network)
    torch.testing.assert_close(average.network.pose_token, network.pose_token.detach(), atol=0.02, rtol=0)


def test_a_checkpoint_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = RunFolder(tmp_path)
    folder.save({"step": 1})

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        folder.save({"step": 2})
    assert folder.load() == {"step": 1}
    folder.checkpoint.write_bytes(b"half")
    with pytest.raises(UserError) as caught:
        folder.load()
    one_sentence(caught.value)


def test_a_log_line_cut_short_is_left_out(tmp_path: Path):
    folder = RunFolder(tmp_path)
    folder.append({"step": 1})
    with folder.log.open("a") as file:
        file.write('{"step": 2, "lo')
    assert folder.entries() == [{"step": 1}]


def test_workers_and_a_rendering_thread_give_batches():
    recipe = replace(TINY_RECIPE, workers=1, prefetch=True)
    stage = recipe.stages[1]
    with FlatSupply(recipe, CPU, 1000) as supply:
        with ClipStream(recipe, stage, supply, training_camera(recipe), CPU, 0) as stream:
            for _ in range(6):
                batch = stream.batch()
                assert batch.image.shape == (2, 2, 48, 64, 3)
                assert torch.isfinite(batch.depth).all()
        assert not any(thread.name == "renderer" for thread in threading.enumerate())
        assert supply.next_seed > 1000


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_run_on_a_gpu(tmp_path: Path):
    recipe = replace(TINY_RECIPE, workers=1, prefetch=True)
    trainer = Trainer(recipe, torch.device("cuda"))
    assert trainer.run(Budget(steps=20), RunFolder(tmp_path), lambda _: None)
    assert trainer.skipped == 0
    resumed = Trainer(recipe, torch.device("cuda"), state=RunFolder(tmp_path).load())
    assert resumed.run(Budget(steps=24), RunFolder(tmp_path), lambda _: None)


def test_a_failing_renderer_is_heard_of():
    def fail() -> None:
        raise ZeroDivisionError

    renderer = _Renderer(fail, CPU)  # type: ignore[arg-type]  # a stand-in
    renderer.start()
    with pytest.raises(RuntimeError, match="rendering failed"):
        renderer.take(wait=True)
    begun = time.monotonic()
    renderer.stop()
    assert time.monotonic() - begun < 2


def test_weights_that_are_too_large_are_not_exported(tmp_path: Path):
    recipe = replace(TINY_RECIPE, network=replace(TINY_RECIPE.network, enc_embed_dim=512, enc_depth=4))
    with pytest.raises(UserError, match="MiB") as caught:
        export.export(Trainer(recipe, CPU).state(), tmp_path / "large.safetensors")
    one_sentence(caught.value)
    assert not (tmp_path / "large.safetensors").exists()
