from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from math import ceil
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from expectations import one_sentence
from training_recipe import TINY_RECIPE, SmallSequence
from waiting import PATIENCE, wait_until

from training import config, export, train
from training.__main__ import _signals, main
from training.average import Average
from training.clips import Clips, training_camera
from training.config import RECIPES, Stage
from training.curve import draw_curve
from training.flats import FlatSupply
from training.initial import initial_network
from training.run_folder import RunFolder
from training.schedule import Budget
from training.stream import ClipStream, _Renderer
from training.train import Rhythm
from training.trainer import Trainer
from ttt3r_ros.errors import UserError
from ttt3r_ros.weights.checkpoint import load_network
from ttt3r_ros.weights.load import load_weights

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
STAGES_OF_CPU = [stage.name for stage in RECIPES["cpu"].stages]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    """A few validation frames instead of many, one core, a recipe of this name, and no curve, which takes a second."""
    monkeypatch.setattr("training.monitor._VALIDATION_FRAMES", 4)
    monkeypatch.setitem(config.RECIPES, "cpu", TINY_RECIPE)
    monkeypatch.setattr(train, "draw_curve", lambda *_: None)
    monkeypatch.setattr("ttt3r_ros.synthetic.Sequence", SmallSequence)


@pytest.mark.slow
def test_a_run_goes_through_its_stages_and_leaves_what_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = tmp_path / "run"
    assert main(["--run", str(run), "--device", "cpu", "--steps", "8", "--no-evaluation"]) == 0
    folder = RunFolder(run)
    entries = folder.entries()
    assert {entry["stage"]: entry["step"] for entry in entries} == {"depth": 4, "pairs": 8}  # the last of each
    assert entries[-1]["frames"] == 4 * 4 + 4 * 2 * 2
    assert "rotation_ratio" not in entries[0]
    assert {"loss", "gradient_norm", "abs_rel", "rotation_ratio", "shift"} <= entries[-1].keys()
    assert {"frames_per_second", "rendered_per_second"} <= entries[0].keys()
    assert "| pairs | " in capsys.readouterr().out

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
    assert main(["--run", str(tmp_path), "--device", "cpu", "--steps", "1"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(["--run", str(tmp_path / "no"), "--device", "cpu", "--resume"]) == 2
    assert "no checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--resume", "--init", "w.safetensors"], "--resume goes on with the run's own weights; leave out --init"),
        (["--init", "a", "--encoder", "b"], "give either --init or --encoder"),
        (["--init", ""], ". is a folder"),
        (["--encoder", "~/gone.safetensors"], "/nobody/gone.safetensors does not exist"),
    ],
)
def test_weights_to_start_from_are_checked_first(arguments, sentence, monkeypatch, capsys):
    monkeypatch.setenv("HOME", "/nobody")
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_can_start_from_weights_and_at_a_later_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    export.export(Trainer(TINY_RECIPE, CPU).state(), tmp_path / "w.safetensors")
    start = ["--no-evaluation", "--device", "cpu", "--steps", "1", "--init", str(tmp_path / "w.safetensors")]
    assert main(["--run", str(tmp_path / "a"), "--stages", "pairs", *start]) == 0
    assert [entry["stage"] for entry in RunFolder(tmp_path / "a").entries()] == ["pairs"]
    learned = RunFolder(tmp_path / "a").load()["network"]["patch_embed.weight"]
    before = load_network(tmp_path / "w.safetensors")[0].patch_embed.weight
    assert export.main(["--run", str(tmp_path / "a"), "--output", str(tmp_path / "b.safetensors")]) == 0
    origin = load_network(tmp_path / "b.safetensors")[1]["started_from"]
    assert origin["part"] == "all"
    assert origin["stages"] == ["depth", "pairs"]
    assert origin["started_from"] is None
    assert 0 < (learned - before).abs().max() < 0.002
    assert main(["--run", str(tmp_path / "b"), "--stages", "pears", *start]) == 2
    assert "pears" in capsys.readouterr().err


@pytest.mark.slow
def test_new_heads_learn_alone_and_the_poses_stay(tmp_path: Path):
    """Weights with linear heads get DPT heads; with nothing else trained, poses stay what they were, bit for bit."""
    export.export(Trainer(TINY_RECIPE, CPU).state(), tmp_path / "w.safetensors")
    before = load_network(tmp_path / "w.safetensors")[0].state_dict()
    network = replace(TINY_RECIPE.network, head_type="dpt", dpt_width=16)
    heads = replace(TINY_RECIPE.stages[1], name="heads", share=1.0, star=False, trunk=0.0, point_frames=1)
    recipe = replace(TINY_RECIPE, network=network, stages=(heads,))
    config.RECIPES["cpu"] = recipe
    options = ["--no-evaluation", "--device", "cpu", "--steps", "3", "--init", str(tmp_path / "w.safetensors")]
    assert main(["--run", str(tmp_path / "a"), *options]) == 0
    folder = RunFolder(tmp_path / "a")
    after, provenance = load_network(folder.weights)
    assert provenance["started_from"]["part"] == "all but heads"
    fresh = initial_network(network, recipe.seed).state_dict()
    moved = set()
    for name, value in folder.load()["network"].items():
        start = before[name] if not name.startswith(("camera_head.", "world_head.")) else fresh[name]
        moved |= set() if torch.equal(value, start) else {name.partition(".")[0]}
    assert moved == {"camera_head", "world_head", "world_transform"}
    assert after.config.head_type == "dpt"


@pytest.mark.slow
def test_a_run_can_start_from_the_encoder_of_another_network(tmp_path: Path):
    """Depth is learned by the encoder, and does not have to be learned again for another decoder."""
    network = replace(TINY_RECIPE.network, state_size=20, dec_depth=3)
    export.export(Trainer(replace(TINY_RECIPE, network=network, seed=5), CPU).state(), tmp_path / "w.safetensors")
    start = ["--no-evaluation", "--device", "cpu", "--steps", "1", "--encoder", str(tmp_path / "w.safetensors")]
    assert main(["--run", str(tmp_path / "a"), *start]) == 0
    learned = RunFolder(tmp_path / "a").load()["network"]
    given = load_network(tmp_path / "w.safetensors")[0].state_dict()
    assert 0 < (learned["patch_embed.weight"] - given["patch_embed.weight"]).abs().max() < 0.002
    fresh = initial_network(TINY_RECIPE.network, TINY_RECIPE.seed).state_dict()
    assert (learned["image_embed.weight"] - fresh["image_embed.weight"]).abs().max() < 0.002


@pytest.mark.slow
def test_compiled_blocks_learn_the_same(monkeypatch: pytest.MonkeyPatch):
    """With graphs of the forward and the backward pass as for a GPU, but run by torch, not by compiled code."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))  # in seconds, not in minutes
    stage = TINY_RECIPE.stages[1]
    with FlatSupply(TINY_RECIPE, CPU, 0) as supply:
        clips = ClipStream(TINY_RECIPE, stage, supply, training_camera(TINY_RECIPE), CPU, seed=0).batch()
    losses = []
    for fuse in (False, True):
        trainer = Trainer(TINY_RECIPE, CPU, fuse=fuse)
        steps = [trainer.step(clips, stage, 1e-3, torch.Generator().manual_seed(0)) for _ in range(2)]
        losses.append(torch.stack([step["loss"] for step in steps]))
        assert all(not key.startswith("_orig") and "._orig" not in key for key in trainer.state()["network"])
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_stopped_run_goes_on_where_it_stopped(tmp_path: Path):
    folder = RunFolder(tmp_path)
    first = Trainer(TINY_RECIPE, CPU)
    assert not train.train(first, Budget(steps=6), folder, should_stop=lambda: first.steps >= 2)
    second = Trainer(TINY_RECIPE, CPU, state=folder.load())
    assert (second.steps, second.frames) == (2, 8)
    assert second.next_seed > first.recipe.first_seed  # other flats than before
    for name, value in first.network.state_dict().items():
        assert torch.equal(second.network.state_dict()[name], value)
        assert torch.equal(second.average.network.state_dict()[name], first.average.network.state_dict()[name])
    moments = [t.optimizer.state_dict()["state"][3]["exp_avg_sq"] for t in (first, second)]
    assert torch.equal(*moments)
    assert train.train(second, Budget(steps=6), folder)
    assert second.steps == 6


@pytest.mark.slow
def test_two_runs_of_one_seed_are_one(tmp_path: Path):
    states = []
    for name in "ab":
        trainer = Trainer(TINY_RECIPE, CPU)
        train.train(trainer, Budget(steps=4), RunFolder(tmp_path / name))
        states.append(trainer.network.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["pose_token"], initial_network(TINY_RECIPE.network, 0).state_dict()["pose_token"])


@pytest.mark.slow
def test_the_loss_falls(tmp_path: Path):
    entries: list[dict[str, Any]] = []
    recipe = replace(
        TINY_RECIPE, stages=(replace(TINY_RECIPE.stages[0], share=1.0, batch=16, learning_rate=3e-3),), ema=0.9
    )
    often = Rhythm(log_s=0.0)
    train.train(Trainer(recipe, CPU), Budget(steps=40), RunFolder(tmp_path), report=entries.append, rhythm=often)
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


@pytest.mark.slow
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
    assert train.train(trainer, Budget(steps=20), RunFolder(tmp_path))
    assert trainer.skipped == 0
    resumed = Trainer(recipe, torch.device("cuda"), state=RunFolder(tmp_path).load())
    assert train.train(resumed, Budget(steps=24), RunFolder(tmp_path))


def test_a_failing_renderer_is_heard_of():
    def fail() -> None:
        raise ZeroDivisionError

    renderer = _Renderer(fail, CPU)  # type: ignore[arg-type]  # a stand-in
    renderer.start()
    with pytest.raises(RuntimeError, match="rendering failed"):
        renderer.take(wait=True)
    renderer.stop()
    assert not any(thread.name == "renderer" for thread in threading.enumerate())


@pytest.mark.slow
def test_weights_that_are_too_large_are_not_exported(tmp_path: Path):
    recipe = replace(TINY_RECIPE, network=replace(TINY_RECIPE.network, enc_embed_dim=512, enc_depth=4))
    with pytest.raises(UserError, match="MiB") as caught:
        export.export(Trainer(recipe, CPU).state(), tmp_path / "large.safetensors")
    one_sentence(caught.value)
    assert not (tmp_path / "large.safetensors").exists()


def tiny_run(name: str, path: Path, *options: str) -> RunFolder:
    """Run a recipe, all stages of it: the same lines of code as on a GPU, but for device and sizes."""
    folder, stages = RunFolder(path / "run"), [stage.name for stage in RECIPES[name].stages]
    steps = max(2 * len(stages), ceil(1 / min(stage.share for stage in RECIPES[name].stages)))  # some for every stage
    options += ("--recipe", name, "--tiny", "--device", "cpu", "--steps", str(steps))
    assert main(["--run", str(folder.path), *options]) == 0
    assert list(dict.fromkeys(entry["stage"] for entry in folder.entries())) == stages
    assert load_network(folder.weights)
    return folder


@pytest.mark.slow
def test_the_recipe_for_a_gpu_goes_from_nothing_to_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(train, "draw_curve", draw_curve)
    folder = tiny_run("gpu", tmp_path)
    report = folder.report.read_text()
    assert "failed" not in report
    for part in ("Machine", "Recipe", "Training", "Confidence", "Evaluation"):
        assert f"## {part}\n" in report
    for picture in (folder.curve, folder.picture):
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert folder.evaluation.exists()
    _, provenance = load_network(folder.weights)
    assert provenance["figures"]["abs_rel"] > 0


@pytest.mark.slow
def test_the_recipe_for_sharper_depth_learns(tmp_path: Path):
    """`fine` has stages of `sharp` alone, `night` those of `gpu`, and `cpu` is below."""
    tiny_run("sharp", tmp_path, "--no-evaluation")


WITHOUT = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        missing = name.split(".")[0] in sys.argv[1].split(",")
        return None if missing else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
from functools import partial
from training.__main__ import main
from ttt3r_ros import synthetic
synthetic.Sequence = partial(synthetic.Sequence, width=96, height=72)  # as `SmallSequence`
sys.exit(main(sys.argv[2:]))
"""


def test_a_run_is_not_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_text("")
    assert main(["--run", str(tmp_path / "file"), "--steps", "1"]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'file'} is a file, not the folder of a run; choose another name\n"
    )


def test_the_time_that_help_names_is_that_of_make(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--help"])
    (minutes,) = re.findall(r"--minutes \$\(or \$\(MINUTES\),(\d+)\)", (ROOT / "Makefile").read_text())
    assert f"everything this call does; default {minutes}\n" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_needs_little_beside_torch(tmp_path: Path):
    """Without a library for images there are weights and figures, but no pictures."""
    missing = "rich,evo,matplotlib,rosbags,rclpy,pytest,hypothesis,yaml,cv2,PIL"
    options = ["--recipe", "cpu", "--tiny", "--device", "cpu", "--steps", "10", "--run", str(tmp_path / "run")]
    assert subprocess.run([sys.executable, "-c", WITHOUT, missing, *options], cwd=ROOT, check=False).returncode == 0
    folder = RunFolder(tmp_path / "run")
    assert list(dict.fromkeys(entry["stage"] for entry in folder.entries())) == STAGES_OF_CPU
    report = folder.report.read_text()
    assert "failed" not in report
    assert "## Confidence\n" in report
    assert "## Evaluation\n" in report
    assert "There is no curve: matplotlib" in report
    assert "There is no picture" in report
    assert not folder.curve.exists()
    assert load_weights(str(folder.weights))


@pytest.mark.slow
def test_a_run_ends_by_the_clock_with_its_figures(tmp_path: Path):
    begun = time.monotonic()
    assert main(["--run", str(tmp_path), "--device", "cpu", "--minutes", "0.08"]) == 0
    report = (tmp_path / "report.md").read_text()
    assert "## Evaluation\n" in report
    assert RunFolder(tmp_path).entries()[-1]["progress"] == 1.0
    assert time.monotonic() - begun > 0.5 * 0.08 * 60  # and most of it is spent on training


def learn(output: Path, options: list[str]) -> None:
    """Train as the command does, with its words in a file; the log has a line of every step."""
    with output.open("w") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    sys.stdout = os.fdopen(1, "w")
    train.Rhythm = lambda **_: Rhythm(log_s=0.0)
    sys.exit(main(options))


@pytest.mark.slow
def test_a_killed_run_leaves_weights_and_goes_on_until_it_is_stopped(tmp_path: Path):
    """SIGKILL at any moment after the start: what was kept last is whole, and loads. SIGTERM ends it in order."""
    folder, output = RunFolder(tmp_path / "run"), tmp_path / "output.txt"

    def learning(*options: str) -> BaseProcess:
        """Return a fork that has learned something: to import torch and its optimizers anew takes five seconds."""
        known = len(folder.entries())
        options += ("--run", str(folder.path), "--device", "cpu", "--training-minutes", "60")
        process = multiprocessing.get_context("fork").Process(target=learn, args=(output, [*options]))
        process.start()
        wait_until(lambda: len(folder.entries()) > known or not process.is_alive(), "what it has learned")
        return process

    process = learning("--recipe", "cpu", "--tiny")
    process.kill()
    process.join()
    assert load_weights(str(folder.weights)).network.config.image_size == 64
    process = learning("--resume")
    process.terminate()
    process.join(PATIENCE)
    assert process.exitcode == 0
    assert "go on with `--resume`" in output.read_text()
    assert folder.load()["counters"]["steps"] >= folder.entries()[-1]["step"] > 0


@pytest.mark.parametrize("paused", [True, False])
def test_a_pause_takes_no_training_time(paused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ten seconds of training, a second for every step and a thousand for the third."""
    now, steps = [0.0], [0]

    def step_is_over() -> bool:
        steps[0] += 1
        now[0] += 1000.0 if steps[0] == 3 else 1.0
        return False

    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=lambda: now[0]))
    recipe = replace(TINY_RECIPE, stages=(replace(TINY_RECIPE.stages[0], share=1.0),))
    trainer = Trainer(recipe, CPU)
    train.train(
        trainer,
        Budget(minutes=10 / 60),
        RunFolder(tmp_path),
        should_stop=step_is_over,
        was_paused=lambda: paused and steps[0] == 3,
    )
    assert trainer.steps > 8 if paused else trainer.steps < 4


def test_a_process_hears_that_it_was_paused():
    with _signals() as (should_stop, was_paused):
        assert not was_paused()
        os.kill(os.getpid(), signal.SIGCONT)
        assert was_paused()
        assert not was_paused()  # it has said so
        assert not should_stop()


@pytest.mark.slow
def test_a_training_that_fails_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(Trainer, "step", fail)
    assert main(["--run", str(tmp_path), "--device", "cpu", "--steps", "4", "--no-evaluation"]) == 1
    report = (tmp_path / "report.md").read_text()
    assert "## Training failed" in report
    assert "of all things" in report
    assert "There is no curve: the run took no steps." in report
    assert load_weights(str(tmp_path / "weights.safetensors"))  # the initial ones, but they are there


@pytest.mark.slow
def test_a_device_that_is_too_small_gets_smaller_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    step, sizes = Trainer.step, []

    def crowded(self: Trainer, clips: Clips, stage: Stage, *rest: Any) -> Any:
        sizes.append(len(clips))
        if len(clips) > 1:
            raise torch.OutOfMemoryError
        return step(self, clips, stage, *rest)

    monkeypatch.setattr(Trainer, "step", crowded)
    assert train.train(Trainer(TINY_RECIPE, CPU), Budget(steps=4), RunFolder(tmp_path))
    assert sizes == [4, 2, 1, 1, 1, 1]
    assert list(dict.fromkeys(e["stage"] for e in RunFolder(tmp_path).entries())) == ["depth", "pairs"]


def test_the_buffer_is_no_larger_than_memory_allows(monkeypatch: pytest.MonkeyPatch):
    stage = TINY_RECIPE.stages[1]
    monkeypatch.setattr("training.stream.frames_that_fit", lambda size, _: 8 if size == 64 * 48 * 5 else 0)
    with FlatSupply(TINY_RECIPE, CPU, 0) as supply:
        stream = ClipStream(TINY_RECIPE, stage, supply, training_camera(TINY_RECIPE), CPU, seed=0)
        for _ in range(20):
            stream.batch()
        assert len(stream._buffer) == 4  # clips of two frames
        assert stream.rendered > 16


@pytest.mark.slow
def test_flats_go_on_when_their_builders_have_died(capsys: pytest.CaptureFixture[str]):
    with FlatSupply(replace(TINY_RECIPE, workers=1), CPU, 1000) as supply:
        assert supply._pool is not None
        for pid in list(supply._pool._processes):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: supply.draw(torch.Generator()) and not supply._pending, "its flats")
        assert supply.draw(torch.Generator())
    assert "have died" in capsys.readouterr().out
