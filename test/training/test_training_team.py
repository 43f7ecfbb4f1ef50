"""Two processes that train one network on a CPU, as several GPUs would."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.run as torchrun
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from training_recipe import TINY_RECIPE
from waiting import PATIENCE

from training import train
from training.__main__ import main
from training.clips import Clips, render_clips, training_camera
from training.flats import build_shard
from training.run_folder import RunFolder
from training.team import Team
from training.trainer import Trainer
from ttt3r_ros.weights.load import load_weights

CPU = torch.device("cpu")
STAGE = replace(TINY_RECIPE.stages[0], hints=0.0)


def learner(rank: int, size: int, folder: str, clips: Clips) -> None:
    """Take one step with this process's half of the clips, and leave gradients' result on the disk."""
    patience = timedelta(seconds=PATIENCE)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size, timeout=patience)
    team = Team(rank, size)
    trainer = Trainer(TINY_RECIPE, CPU, team=team)
    half = torch.arange(rank, len(clips), size)
    (0 * trainer.network.pose_token.sum()).backward()
    for parameter in trainer.network.parameters():
        parameter.grad = torch.full_like(parameter, float(rank + 1))
    team.average(trainer.network.parameters())
    mean = {float(parameter.grad.unique()) for parameter in trainer.network.parameters() if parameter.grad is not None}
    trainer.optimizer.zero_grad(set_to_none=True)
    trainer.step(clips.pick(half), STAGE, 1e-3, torch.Generator().manual_seed(rank))
    agreed = team.agree(float(rank + 5), CPU)
    torch.save({"network": trainer.network.state_dict(), "mean": mean, "agreed": agreed, "frames": trainer.frames},
               f"{folder}/{rank}.pt")  # fmt: skip
    dist.destroy_process_group()


@pytest.mark.slow
def test_all_have_the_mean_of_all_gradients_and_keep_the_same_weights(tmp_path: Path, one_thread: None):
    clips = render_clips(build_shard(range(3, 4)), STAGE, 4, training_camera(TINY_RECIPE), torch.Generator())
    # a fork, since to import torch and its optimizers anew takes five seconds
    other = multiprocessing.get_context("fork").Process(target=learner, args=(1, 2, str(tmp_path), clips))
    other.start()
    learner(0, 2, str(tmp_path), clips)  # this process is the first
    other.join()
    assert other.exitcode == 0
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert one["mean"] == two["mean"] == {1.5}
    assert one["agreed"] == two["agreed"] == 5.0
    assert one["frames"] == two["frames"] == 4  # of both together
    before = Trainer(TINY_RECIPE, CPU).network.state_dict()
    for name, value in one["network"].items():
        assert torch.equal(value, two["network"][name]), name
    assert not torch.equal(one["network"]["patch_embed.weight"], before["patch_embed.weight"])


@pytest.mark.slow
def test_torchrun_trains_with_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None, own_handlers: None
):
    """All of torchrun, but that its processes are forks of this one."""

    def launcher(config: LaunchConfig, entrypoint: str) -> Callable[..., object]:
        def launch(*arguments: str) -> object:
            assert arguments[:3] == ("-u", "-m", "training")
            return elastic_launch(replace(config, start_method="fork"), main)([*arguments[3:]])

        return launch

    monkeypatch.setattr(torchrun, "elastic_launch", launcher)
    monkeypatch.setattr(train, "draw_curve", lambda *_: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # or torchrun does
    options = ["--recipe", "cpu", "--stages", "depth,pairs", "--tiny", "--steps", "4", "--no-evaluation"]
    options += ["--device", "cpu", "--name", str(tmp_path / "run")]
    torchrun.main(["--standalone", "--nproc-per-node", "2", "-m", "training", *options])
    folder = RunFolder(tmp_path / "run")
    steps = [entry["step"] for entry in folder.entries()]
    assert steps == sorted(set(steps))  # one process writes
    assert {entry["stage"] for entry in folder.entries()} == {"depth", "pairs"}
    assert folder.load()["counters"]["steps"] == 4
    assert load_weights(str(folder.weights))
    assert "failed" not in folder.report.read_text()
