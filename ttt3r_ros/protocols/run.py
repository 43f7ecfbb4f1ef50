"""A data set under every rule, reset policy and length: the command `evaluate` as a function."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ttt3r_ros.errors import UserError
from ttt3r_ros.model.update import rule_by_name
from ttt3r_ros.protocols.catalog import Dataset, dataset_named
from ttt3r_ros.protocols.engines import in_processes, on_ray
from ttt3r_ros.protocols.predictors import NEVER, PredictorSpec, loaded
from ttt3r_ros.protocols.results import Cell, ResultsFolder, summary
from ttt3r_ros.protocols.scores import SHOWN, Request, score
from ttt3r_ros.runtime.device import choose_device


@dataclass(frozen=True)
class Evaluation:
    """What to run.

    Attributes:
        predictor: settings, weights, device; its rule and reset are replaced by those below.
        rules: update rules.
        resets: reset policies, each 'never', a number of frames or 'adaptive'.
        lengths: frames; those of the protocol if none.
        sequences: of the data set; those of the protocol if none.
        voxel: for the faster, not the published, comparison of clouds [m]; 0 for none.
        engine: 'processes' or 'ray'.
        jobs: processes; 1 for this one.
        ray_address: of an existing cluster; None to start one here.
    """

    predictor: PredictorSpec = field(default_factory=PredictorSpec)
    rules: tuple[str, ...] = ("ttt3r", "cut3r")
    resets: tuple[str, ...] = (NEVER,)
    lengths: tuple[int, ...] = ()
    sequences: tuple[str, ...] = ()
    voxel: float = 0.0
    engine: str = "processes"
    jobs: int = 1
    ray_address: str | None = None


@dataclass(frozen=True)
class Job:
    """One sequence under one rule and reset policy, at all lengths that are still to do."""

    dataset: str
    folder: Path
    sequence: str
    predictor: PredictorSpec
    request: Request


def do(job: Job, progress: Callable[[int, int], object] = lambda done, total: None) -> dict[str, Any]:
    """Do a job; see `score`. A sequence that cannot be used is ``{"skipped": why}``."""
    predictor = job.predictor.make()
    try:
        request = replace(job.request, device=str(choose_device(job.predictor.device)))
        return score(dataset_named(job.dataset), job.folder, job.sequence, predictor, request, progress)
    except UserError as error:
        return {"skipped": str(error)}


def evaluate(
    name: str, data: Path, output: Path, evaluation: Evaluation | None = None, console: Console | None = None
) -> list[Cell]:
    """Run a data set and write the results. What the folder has already is not computed again.

    Args:
        name: of the data set, see `catalog.DATASETS`.
        data: its folder.
        output: folder for the results.
        evaluation: what to run.
        console: for progress; none is shown without.

    Returns:
        The means, for every rule, reset policy and length.

    Raises:
        UserError: data, weights, settings or the folder cannot be used.
    """
    evaluation = evaluation or Evaluation()
    console = console or Console(quiet=True)
    dataset, data = dataset_named(name), Path(os.path.expanduser(data))
    present, missing = dataset.present(data, evaluation.sequences)
    for rule in evaluation.rules:
        rule_by_name(rule)
    spec = replace(evaluation.predictor, max_speed=dataset.max_speed)
    if evaluation.ray_address is None:  # a cluster's machines have devices of their own
        spec = replace(spec, device=str(choose_device(spec.device)))
    ways = [(rule, reset) for rule in evaluation.rules for reset in evaluation.resets]
    specs = {(rule, reset): replace(spec, rule=rule, reset=reset) for rule, reset in ways}
    for way in specs.values():
        way.check()
    lengths = evaluation.lengths or dataset.lengths
    weights = loaded(spec.weights)
    settings = {
        "dataset": name,
        "weights": weights.source,
        "weights_fingerprint": weights.fingerprint,
        "settings": spec.settings,
        "image_size": spec.image_size,
        "voxel": evaluation.voxel,
    }
    folder = ResultsFolder(output)
    with folder.held(settings):
        skipped: dict[tuple[str, str, str], str] = {}
        jobs = []
        for rule, reset in ways:
            for sequence in present:
                stored = folder.stored(rule, reset, sequence)
                left = tuple(length for length in lengths if str(length) not in stored)
                request = Request(left, evaluation.voxel)
                if left:
                    jobs.append(Job(name, data.resolve(), sequence, specs[rule, reset], request))
        with _Shown(console, dataset, len(ways) * len(present), len(jobs)) as shown:
            for job, result in _results(jobs, evaluation, shown.frame):
                rule, reset = job.predictor.rule, job.predictor.reset
                if "skipped" in result:
                    skipped[rule, reset, job.sequence] = result["skipped"]
                else:
                    folder.store(rule, reset, job.sequence, result)
                shown.finish(job, result)
        cells = []
        for rule, reset in ways:
            for length in lengths:
                results = {}
                for sequence in present:
                    reason = skipped.get((rule, reset, sequence), "")
                    results[sequence] = folder.stored(rule, reset, sequence).get(str(length), {"skipped": reason})
                results |= {sequence: {"skipped": "not in the folder"} for sequence in missing}
                cells.append(summary(rule, reset, length, results))
        voxelised = f", clouds voxelised at {evaluation.voxel} m (not the published figure)" if evaluation.voxel else ""
        caption = f"{weights.source}, {spec.settings} settings, on {spec.device}{voxelised}."
        folder.write_report(dataset, cells, caption)
    return cells


def _results(
    jobs: Sequence[Job], evaluation: Evaluation, progress: Callable[[Job, int, int], object]
) -> Iterator[tuple[Job, dict[str, Any]]]:
    if evaluation.engine == "ray":
        gpus = float(bool(jobs) and jobs[0].predictor.device.startswith("cuda"))
        return on_ray(jobs, do, address=evaluation.ray_address, workers=evaluation.jobs, gpus=gpus)
    if evaluation.jobs > 1:
        return in_processes(jobs, do, evaluation.jobs)
    return ((job, do(job, partial(progress, job))) for job in jobs)


class _Shown:
    """Progress: a bar over sequences on a terminal, a line a sequence in a log."""

    def __init__(self, console: Console, dataset: Dataset, total: int, left: int) -> None:
        self._console, self._dataset = console, dataset
        self._done, self._total = total - left, total
        if self._done:
            console.print(f"{self._done} of {total} sequences are there from an earlier run", highlight=False)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
        )
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task(dataset.name, total=total, completed=self._done, detail="")

    def frame(self, job: Job, done: int, total: int) -> None:
        """Say how far a sequence is."""
        self._bar.update(self._task, detail=f"{_label(job)}: {done} of {total} frames")

    def finish(self, job: Job, result: dict[str, Any]) -> None:
        """Say that a sequence is done."""
        self._done += 1
        self._bar.update(self._task, completed=self._done)
        figure = SHOWN[self._dataset.task][0]
        if "skipped" in result:
            said = f"skipped: {result['skipped']}"
        else:
            last = list(result.values())[-1]
            said = f"skipped: {last['skipped']}" if "skipped" in last else f"{figure} {last['figures'][figure]:.4f}"
        self._console.print(f"{self._done}/{self._total} {_label(job)}: {said}", highlight=False, markup=False)

    def __enter__(self) -> _Shown:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def _label(job: Job) -> str:
    return f"{job.sequence}, {job.predictor.rule}, reset {job.predictor.reset}"
