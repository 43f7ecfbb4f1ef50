"""The whole command on tiny data sets in the public formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from protocols.tiny_datasets import WRITERS, Perfect, scannet, tum

from ttt3r_ros.errors import UserError
from ttt3r_ros.protocols import engines
from ttt3r_ros.protocols.catalog import DATASETS
from ttt3r_ros.protocols.command import main
from ttt3r_ros.protocols.predictors import PredictorSpec
from ttt3r_ros.protocols.run import Evaluation, evaluate

#: What a perfect prediction may still lack, by the precision of the files and the pixels.
PERFECT = {
    "pose": {"ATE [m]": 1e-5, "RPE translation [m]": 1e-5, "RPE rotation [deg]": 1e-3},
    "depth": {
        f"{a} {f}": e for a in ("metric", "scale", "scale&shift") for f, e in (("AbsRel", 2e-3), ("RMSE [m]", 0.02))
    },
    "reconstruction": {"Acc [m]": 0.005, "Comp [m]": 0.005},
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def run(name: str, data: Path, output: Path, *options: str) -> list[dict]:
    assert main([name, "--data", str(data), "--output", str(output), *options]) == 0
    return json.loads((output / "results.json").read_text())


def perfect(monkeypatch: pytest.MonkeyPatch, predictor: Perfect) -> None:
    monkeypatch.setattr(PredictorSpec, "make", lambda self: predictor)


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_a_perfect_prediction_scores_perfectly(name, data, tmp_path, monkeypatch):
    perfect(monkeypatch, Perfect(WRITERS[name](data)))
    lengths = ["--lengths", "4", "8"] if DATASETS[name].task == "pose" else ["--lengths", "4"]
    cells = run(name, data, tmp_path / "out", "--rules", "ttt3r", *lengths)
    for cell in cells:
        assert cell["sequences"]
        assert cell["answered"] == 1
        for figure, most in PERFECT[DATASETS[name].task].items():
            assert cell["figures"][figure] < most, figure
        for figure in ("metric δ<1.25", "NC"):
            assert cell["figures"].get(figure, 1) > 0.97


def test_all_data_sets_are_written_here():
    assert set(WRITERS) == set(DATASETS)


def test_skipped_sequences_are_named_and_counted(data, tmp_path, monkeypatch):
    perfect(monkeypatch, Perfect(scannet(data)))
    (data / "scene0710_00" / "pose" / "5.txt").write_text("nonsense\n")
    (data / "scene0712_00").mkdir()
    three = ["scene0707_00", "scene0710_00", "scene0712_00", "scene0713_00"]
    short, long = run(
        "scannet", data, tmp_path / "out", "--rules", "ttt3r", "--lengths", "5", "0", "--sequences", *three
    )
    assert (short["sequences"], long["sequences"]) == (["scene0707_00", "scene0710_00"], [])
    assert "the true pose of frame 12 is not finite" in long["skipped"]["scene0707_00"]
    assert "0 images in color/" in short["skipped"]["scene0712_00"]
    assert short["skipped"]["scene0713_00"] == "not in the folder"
    text = (tmp_path / "out" / "results.md").read_text()
    assert "| ttt3r | never | 5 | 2 of 4 |" in text
    assert "| ttt3r | never | all | 0 of 4 |" in text
    assert "(4 sequences)" in text
    assert "* scene0713_00: not in the folder" in text


def test_frames_that_are_lost_are_counted(data, tmp_path, monkeypatch):
    perfect(monkeypatch, Perfect(tum(data), lost=(0, 3)))
    (cell,) = run("tum", data, tmp_path / "out", "--rules", "ttt3r", "--lengths", "10")
    assert cell["answered"] == 0.8
    assert cell["figures"]["ATE [m]"] < 1e-5
    assert "(80.0 % of frames answered)" in (tmp_path / "out" / "results.md").read_text()


@pytest.mark.slow
def test_rules_policies_and_lengths_in_one_run(data, tmp_path):
    tum(data)
    options = ["--rules", "ttt3r", "recal3r", "--resets", "never", "5", "--lengths", "6", "1000", "--device", "cpu"]
    cells = run("tum", data, tmp_path / "out", *options, "--sequences", "freiburg3_walking_xyz")
    assert [(c["rule"], c["reset"], c["length"]) for c in cells] == [
        (rule, reset, length) for rule in ("ttt3r", "recal3r") for reset in ("never", "5") for length in (6, 1000)
    ]
    figures = [cell["figures"]["ATE [m]"] for cell in cells]
    assert len(set(figures)) == 8
    assert all(0 < figure < 2 for figure in figures)
    text = (tmp_path / "out" / "results.md").read_text()
    assert f"| ttt3r | never | 1000 | 1 of 1 | {figures[1]:.4f} (0.106) |" in text
    assert "* ttt3r, reset every 100, 1000 frames: ATE [m] 0.093" in text
    assert (tmp_path / "out" / "results.png").stat().st_size > 10_000


SEQUENCES = {"tum": ["freiburg3_sitting_rpy"], "sintel-depth": ["temple_3"], "7scenes": ["heads/seq-01"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", SEQUENCES)
def test_node_settings_are_what_the_node_gives(name, data, tmp_path):
    WRITERS[name](data)
    options = ["--settings", "node", "--rules", "ttt3r", "--lengths", "4", "--device", "cpu"]
    options += ["--resets", "2", "adaptive", "--sequences", *SEQUENCES[name]]
    interval, adaptive = run(name, data, tmp_path / "out", *options)
    for cell in (interval, adaptive):
        assert cell["answered"] == 1
        first = next(iter(cell["figures"].values()))
        assert 0 < first < 1
    assert interval["figures"] != adaptive["figures"]


@pytest.mark.slow
def test_published_settings_run_for_depth_and_reconstruction(data, tmp_path):
    WRITERS["kitti-depth"](data)
    (cell,) = run("kitti-depth", data, tmp_path / "out", "--rules", "cut3r", "--lengths", "5", "--device", "cpu")
    assert 0 < cell["figures"]["scale AbsRel"] < 1
    assert cell["figures"]["pixels"] > 10_000
    WRITERS["7scenes"](data)
    (cell,) = run(
        "7scenes", data, tmp_path / "out2", "--rules", "cut3r", "--lengths", "4", "--device", "cpu", "--voxel", "0.02"
    )
    assert 0 < cell["figures"]["Acc [m]"] < 0.5
    assert "voxelised at 0.02 m" in (tmp_path / "out2" / "results.md").read_text()


def test_a_run_that_was_stopped_goes_on(data, tmp_path, monkeypatch, capsys):
    seen, shown = tum(data), []

    class Stopped(Perfect):
        def predict(self, images, stamps_ns, task):
            shown.append(len(stamps_ns))
            if len(shown) == 2:
                raise KeyboardInterrupt
            return super().predict(images, stamps_ns, task)

    perfect(monkeypatch, Stopped(seen))
    command = ["tum", "--data", str(data), "--output", str(tmp_path / "out"), "--rules", "ttt3r", "--lengths", "6"]
    assert main(command) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert main(command) == 0
    assert shown == [6, 6, 6]
    assert "1 of 2 sequences are there from an earlier run" in capsys.readouterr().out
    assert main([*command, "9"]) == 0  # another length: both again, at that one alone
    assert shown == [6, 6, 6, 9, 9]
    cells = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [(cell["length"], len(cell["sequences"])) for cell in cells] == [(6, 2), (9, 2)]
    assert main([*command, "--settings", "node"]) == 2
    assert "results of another settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tumm", "--data", "x"], "there is no data set 'tumm'; choose one of tum,"),
        ([], "evaluate --list shows what there is"),
        (["tum"], "--data FOLDER is missing; expected: the folder holds rgbd_dataset_freiburg3_walking_xyz"),
        (["tum", "--data", "nowhere"], "nowhere is no folder; expected: the folder holds rgbd_dataset"),
        (["7scenes", "--data", "."], "holds no sequence of 7scenes; expected: the folder holds chess/seq-03"),
        (["tum", "--data", ".", "--sequences", "x"], "tum has no sequence 'x'; it has freiburg3_sitting_static"),
    ],
)
def test_mistakes_are_told_with_the_expected_layout(arguments, words, data, monkeypatch, capsys):
    monkeypatch.chdir(data)
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rules", "sgd"], "invalid choice: 'sgd' (choose from"),
        (["--resets", "adaptive"], "use --settings node"),
        (["--resets", "often"], "must be never, a number of frames or adaptive, got 'often'"),
        (["--ray-address", "auto"], "goes with --engine ray"),
        (["--weights", "nowhere.pth"], "nowhere.pth"),
        (["--device", "gpu"], "argument --device: must be auto, cpu, cuda or cuda:N, not 'gpu'"),
    ],
)
def test_settings_that_cannot_be_are_told(options, words, data, tmp_path, capsys):
    tum(data, ["freiburg3_walking_xyz"])
    try:
        status = main(["tum", "--data", str(data), "--output", str(tmp_path / "out"), *options])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.json").exists()


@pytest.mark.parametrize(
    ("name", "broken", "words"),
    [
        ("tum", "rgbd_dataset_freiburg3_walking_xyz/groundtruth.txt", "groundtruth.txt cannot be read"),
        ("sintel", "training/camdata_left/alley_2/frame_0003.cam", "there is no"),
        ("kitti-depth", "2011_09_28/2011_09_28_drive_0037_sync/image_02/data/0000000004.png", "there is no"),
        ("7scenes", "heads/seq-01/frame-000004.depth.proj.png", "there is no"),
        ("kitti-odometry", "sequences/03/image_2/000004.png", "11 images, but poses/03.txt 12 poses"),
        ("nrgbd", "kitchen/images/img1.png", "3 images, but poses.txt 4 poses"),
        ("euroc", "V1_01_easy/mav0/cam0/sensor.yaml", "cannot be read"),
    ],
)
def test_a_missing_file_skips_its_sequence_by_name(name, broken, words, data, tmp_path, monkeypatch, capsys):
    perfect(monkeypatch, Perfect(WRITERS[name](data)))
    (data / broken).unlink()
    main([name, "--data", str(data), "--output", str(tmp_path / "out"), "--rules", "ttt3r", "--lengths", "8"])
    (cell,) = json.loads((tmp_path / "out" / "results.json").read_text())
    assert any(words in reason for reason in cell["skipped"].values())


def test_the_list_says_layout_and_owner_of_every_data_set(capsys):
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    for dataset in DATASETS.values():
        assert dataset.name in out
        assert dataset.layout in out
        assert dataset.url in out


def test_the_library_function_is_quiet_and_returns_the_means(data, tmp_path, monkeypatch, capsys):
    perfect(monkeypatch, Perfect(tum(data)))
    cells = evaluate("tum", data, tmp_path / "out", Evaluation(rules=("gain",), lengths=(5,)))
    assert [(cell.rule, cell.length, len(cell.sequences), len(cell.skipped)) for cell in cells] == [("gain", 5, 2, 6)]
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_processes_find_the_same_as_this_one(data, tmp_path):
    tum(data)
    options = ["--rules", "ttt3r", "--lengths", "4", "--device", "cpu"]
    here = run("tum", data, tmp_path / "here", *options)
    assert run("tum", data, tmp_path / "there", *options, "--jobs", "2") == here


def test_ray_is_used_for_the_engine_ray(data, tmp_path, monkeypatch):
    seen = Perfect(tum(data))
    perfect(monkeypatch, seen)
    asked = []

    def local(jobs, work, **options):
        asked.append(options)
        return [(job, work(job)) for job in jobs]

    monkeypatch.setattr("ttt3r_ros.protocols.run.on_ray", local)
    options = ["--rules", "ttt3r", "--lengths", "4", "--engine", "ray", "--ray-address", "ray://head:10001"]
    (cell,) = run("tum", data, tmp_path / "out", *options, "--device", "cpu")
    assert len(cell["sequences"]) == 2
    assert asked == [{"address": "ray://head:10001", "workers": 1, "gpus": 0.0}]


def test_ray_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UserError, match="--engine ray needs the package ray"):
        list(engines.on_ray([1], abs))
