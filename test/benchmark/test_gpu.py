"""The GPU's command, all of it at the size of a toy on a CPU; what only a GPU can do is in its own report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from waiting import is_running, wait_until

from benchmark.gpu import __main__ as command
from benchmark.gpu import child
from benchmark.gpu.findings import Findings, is_fault
from benchmark.gpu.plan import PARTS, RESERVE_S, Part, limit_s
from benchmark.gpu.report import OUT_OF_TIME, Report, shown
from benchmark.gpu.setting import Setting, tiny
from benchmark.gpu.steps import StepBench
from ttt3r_ros.model.reference import ReferenceNetwork
from ttt3r_ros.weights.rule import random_network

ROOT = Path(__file__).parents[2]
TOY = ["--device", "cpu", "--tiny"]

#: What a machine that is lent for an hour need not have; Python imports it first of all.
BARE = """
import sys

class Bare:
    ABSENT = ("rclpy", "evo", "rich", "matplotlib", "PIL", "rosbags", "cv_bridge", "tf2_ros")
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.ABSENT or name.split(".")[0].endswith("_msgs"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Bare())
"""


@pytest.mark.slow
def test_all_of_it_is_done_and_reported_where_little_is_installed(tmp_path):
    """One test, since the run takes half a minute of a core, and workers share no fixture."""
    (tmp_path / "sitecustomize.py").write_text(BARE)
    folder = tmp_path / "report"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-m", "benchmark.gpu", *TOY, "--minutes", "60", "--output", str(folder)]
    run = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr + (folder / "log.txt").read_text()[-3000:]
    report = Report.read(folder / "report.json")
    all_parts_are_done_in_their_order(report)
    what_is_measured_is_there_and_fits(report)
    the_report_can_be_read_and_says_that_there_is_no_picture(folder)
    the_picture_is_drawn_later_where_it_can_be(folder)


def all_parts_are_done_in_their_order(report: Report) -> None:
    assert [chapter.part for chapter in report.chapters] == [
        "card", "gpu_tests", "parity", "step", "step", "reconstructor", "stream", "small", "small_card",
    ]  # fmt: skip
    assert {chapter.status for chapter in report.chapters} == {"done"}
    assert all(chapter.start_s is not None for chapter in report.chapters)


def what_is_measured_is_there_and_fits(report: Report) -> None:
    found = {title: rows for chapter in report.chapters for title, rows in chapter.tables.items()}
    words = {word for rows in [found["in one process"]] for row in rows.values() for word in row.values()}
    assert any(word.startswith("left out: there is no") for word in words) or words == {"skipped"}
    for size in ("64x32", "64x48"):
        for precision in ("float32", "bfloat16"):
            rows = found[f"{size}, {precision}"]
            assert list(rows) == ["plain", "captured", "naive, float32"]
            for name in ("plain", "captured"):
                spread = rows[name]["naive / this"]
                assert spread["q1"] <= spread["median"] <= spread["q3"] <= spread["p95"]
                assert rows[name]["pose, to naive's"] < (1e-4 if precision == "float32" else 0.1)
            stages = found[f"{size}, {precision}, by stage"]
            assert list(stages) == ["encode", "pose query", "decode", "pose memory", "update", "heads"]
            assert all(row[kind]["median"] > 0 for row in stages.values() for kind in ("plain [ms]", "captured [ms]"))
        compiled = found[f"{size}, bfloat16, compiled"]
        assert compiled["compiled, captured"]["ms"]["median"] > 0
        assert compiled["compiled"]["graph breaks"] == "none"
    stream = found["float32, a reset every 4 frames"]
    assert stream["frames"]["value"] == 12
    assert stream["frames with a fault"]["value"] == 0
    assert stream["segments"]["value"] == 4  # the last frame of one is the first of the next
    accuracy = found["In a rendered flat that the weights have never seen"]
    assert accuracy["float32"]["depth, to a CPU's"]["median"] == 0  # this is one
    assert 0.02 < accuracy["bfloat16"]["depth error AbsRel, to the truth"] < 0.3
    assert found["Does it fit?"]["bfloat16, then"]["ms"]["median"] > 0


def the_report_can_be_read_and_says_that_there_is_no_picture(folder: Path) -> None:
    text = (folder / "report.md").read_text()
    assert "no report.png: No module named 'matplotlib'" in text
    assert "no figure means anything" in text
    assert "## The small weights of the package" in text
    assert "series" not in text
    assert (folder / "frames.png").stat().st_size > 1000  # that one is OpenCV's
    assert sorted(path.name for path in folder.iterdir()) == ["frames.png", "log.txt", "report.json", "report.md"]


def the_picture_is_drawn_later_where_it_can_be(folder: Path) -> None:
    assert command.main(["--draw", str(folder)]) == 0
    assert (folder / "report.png").stat().st_size > 20_000


@pytest.mark.slow
def test_killing_the_command_loses_only_the_part_under_way(tmp_path):
    arguments = [sys.executable, "-m", "benchmark.gpu", *TOY, "--parts", "card", "stream", "--output", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert "done" in run.stdout.readline()
        while run.poll() is None and "A long stream" not in (tmp_path / "log.txt").read_text():
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
    card, stream = Report.read(tmp_path / "report.json").chapters
    assert (card.status, stream.status) == ("done", "not run")
    assert card.tables["Software"]["torch"][""]
    assert "| torch |" in (tmp_path / "report.md").read_text()


def test_it_says_what_it_would_do(capsys, tmp_path):
    assert command.main(["--dry-run", "--minutes", "20000", "--output", str(tmp_path / "r")]) == 0
    text = capsys.readouterr().out
    assert "in 1200000 s" in text
    assert all(part.title in text for part in PARTS)
    assert not (tmp_path / "r").exists()


def test_where_there_is_no_gpu_it_says_so(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert command.main(["--output", str(tmp_path)]) == 2
    assert "torch sees 0 CUDA devices" in capsys.readouterr().err
    assert command.main(["--device", "cpu", "--output", str(tmp_path)]) == 2
    assert "--tiny" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--minutes", "abc"], "argument --minutes: must be a number, got 'abc'"),
        (["--minutes", "0"], "argument --minutes: must be greater than 0, got 0"),
        (["--output", "{file}", *TOY], "the folder {file} cannot be created: File exists; choose another --output"),
        (["--draw", "{folder}"], "{folder} has no report.json; --draw takes the folder that a run has written"),
        (["--draw", "{folder}/missing"], "{folder}/missing has no report.json"),
    ],
)
def test_mistakes_end_in_one_sentence(capsys, tmp_path, arguments, words):
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.write_text("")
    with pytest.raises(SystemExit) as end:
        sys.exit(command.main([argument.format(folder=folder, file=file) for argument in arguments]))
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert "error: " + words.format(folder=folder, file=file) in said
    assert "__main__" not in said


def test_a_gpu_is_named_by_number_as_torch_wants_it():
    assert Setting("cuda").torch_device == torch.device("cuda:0")
    assert Setting("cuda:1").torch_device == torch.device("cuda:1")
    assert tiny("cpu").torch_device == torch.device("cpu")


@pytest.mark.slow
def test_where_the_reference_does_not_fit_the_rest_is_timed(monkeypatch, tmp_path):
    def exhausted(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(ReferenceNetwork, "step", exhausted)
    findings, setting = Findings(tmp_path / "f.json", 60), replace(tiny("cpu"), precisions=("bfloat16",))
    bench = StepBench(lambda: random_network(setting.network, torch.device("cpu")), (64, 48), setting, findings)
    bench.measure(0.1, compiled=False)
    assert findings.failures == {}
    rows = findings.tables["64x48, bfloat16"]
    assert rows["captured"]["ms"]["n"] == setting.rounds
    assert rows["naive, float32"] == {"ms": "does not fit beside it"}


# --- the clock ---


def test_the_parts_share_the_time_and_what_earlier_ones_leave():
    left, limits = 480.0, []
    for index in range(len(PARTS)):
        limit = limit_s(PARTS, index, left)
        assert limit is not None
        limits.append(limit)
        left -= limit
    assert left == pytest.approx(RESERVE_S)
    assert limits == pytest.approx([part.share_s * (480 - RESERVE_S) / sum(p.share_s for p in PARTS) for part in PARTS])
    assert limit_s(PARTS, len(PARTS) - 1, 480) == pytest.approx(480 - RESERVE_S)
    assert limit_s(PARTS, 3, 20) is None


@pytest.mark.slow
def test_parts_for_which_no_time_is_left_are_listed(tmp_path):
    report = Report.of({}, PARTS[:2])
    command.run(report, PARTS[:2], tiny("cpu"), tmp_path, time.monotonic())
    assert [chapter.status for chapter in Report.read(tmp_path / "report.json").chapters] == [OUT_OF_TIME] * 2
    assert OUT_OF_TIME in (tmp_path / "report.md").read_text()


# --- parts that go wrong; each is a module in a folder of its own, as `benchmark.gpu.parts` finds it ---

PART = """
import os, signal, subprocess, sys, time
from benchmark.gpu.findings import Findings

def measure(setting, findings):
    findings.add("before", {"row": {"value": 1}})
    print("on its way", flush=True)
"""


@pytest.fixture
def run_toy(tmp_path, monkeypatch):
    def run(body: str) -> child.Outcome:
        folder = Path(command.__file__).parent / "parts"
        path = folder / f"toy_{os.getpid()}.py"
        path.write_text(PART + "".join(f"    {line}\n" for line in body.splitlines()))
        try:
            return child.run_part(Part(path.stem, "a toy", 1, 1), tiny("cpu"), tmp_path, limit_s=600)
        finally:
            path.unlink()

    return run


@pytest.mark.slow
def test_a_failing_part_leaves_what_it_has_found_and_its_traceback(run_toy):
    outcome = run_toy("findings.attempt('one', lambda: 1 / 0)\nfindings.add('after', {'row': {'value': 2}})\nint('x')")
    assert outcome.status == "failed"
    assert list(outcome.tables) == ["before", "after"]
    assert "ZeroDivisionError" in outcome.failures["one"]
    assert "invalid literal" in outcome.failures["all of it"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "by signal SIGSEGV"),
        ("os._exit(7)", "with status 7"),
        ("sys.exit('no')", "with status 1"),
    ],
)
def test_a_part_whose_process_ends_is_reported(run_toy, tmp_path, body, words):
    outcome = run_toy(body)
    assert outcome.status == "failed"
    assert words in outcome.failures["its process"]
    assert "before" in outcome.tables
    assert "on its way" in (tmp_path / "log.txt").read_text()


@pytest.mark.slow
def test_a_part_that_takes_too_long_is_ended_with_all_that_it_has_started(run_toy, monkeypatch, tmp_path):
    join, written = BaseProcess.join, tmp_path / "pid"

    def until_it_has_started_another(process: BaseProcess, timeout: float | None = None) -> None:
        while timeout is not None and process.is_alive() and not (written.exists() and written.read_text()):
            time.sleep(0.01)
        if timeout is None:
            join(process)

    monkeypatch.setattr(BaseProcess, "join", until_it_has_started_another)
    body = f"""other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
open({str(written)!r}, 'w').write(str(other.pid))
time.sleep(600)"""
    outcome = run_toy(body)
    assert outcome.status == "cut"
    assert outcome.tables == {"before": {"row": {"value": 1}}}
    wait_until(lambda: not is_running(int(written.read_text())), "its end")


@pytest.mark.slow
def test_after_a_fault_of_the_device_the_part_ends_there(run_toy):
    outcome = run_toy(
        "def work():\n    raise RuntimeError('CUDA error: an illegal memory access was encountered')\n"
        "findings.attempt('one', work)\nfindings.add('after', {})"
    )
    assert outcome.status == "failed"
    assert list(outcome.tables) == ["before"]
    assert list(outcome.failures) == ["one"]


def test_too_little_memory_is_no_fault_of_the_device():
    assert is_fault(RuntimeError("CUDA error: device-side assert triggered"))
    assert not is_fault(RuntimeError("CUDA error: out of memory"))
    assert not is_fault(ValueError("CUDA out of memory. Tried to allocate 2 GiB"))


def test_numbers_that_are_not_finite_are_kept_as_none(tmp_path):
    findings = Findings(tmp_path / "f.json", 1)
    findings.add("t", {"r": {"a": float("nan"), "b": [float("inf"), 1.5]}})
    assert json.loads((tmp_path / "f.json").read_text())["tables"]["t"]["r"] == {"a": None, "b": [None, 1.5]}


@pytest.mark.parametrize(
    ("value", "cell"),
    [(1234.6, "1235"), (0.012345, "0.0123"), (None, "–"), (True, "yes"), ("a|b\nc", "a\\|b c"), (3, "3")],
)
def test_a_cell_is_short(value, cell):
    assert shown(value) == cell
