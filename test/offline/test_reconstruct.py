"""The command as its user meets it, on a tiny network and small pictures."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from rule_weights import TINY, rule_network
from segment_runner import tiny_segments
from tum import read_tum

from ttt3r_ros.geometry import R_BODY_OPTICAL, inverse
from ttt3r_ros.offline import reconstruct, report
from ttt3r_ros.offline.run import Run
from ttt3r_ros.places.map_file import read as read_map
from ttt3r_ros.sources import SourceFrame, open_source
from ttt3r_ros.stream.covariance import CovarianceModel
from ttt3r_ros.stream.covariance_file import write_covariance
from ttt3r_ros.stream.load import load_backbone
from ttt3r_ros.stream.settings import NetworkSettings
from ttt3r_ros.weights.checkpoint import save_network
from ttt3r_ros.weights.load import SYNTHETIC

WORLD = "synthetic:seed=2,length=12,width=80,height=60,fps=10"
#: The rule's weights make a camera that jumps about, and no confidence.
LENIENT = ["--max-speed", "0", "--max-turn-rate", "0", "--min-confidence", "1", "--device", "cpu"]


@pytest.fixture
def pictures() -> None:
    """Draw the pictures, which takes longer than all the rest; without this, none are drawn."""


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, own_handlers: None) -> None:
    if "pictures" not in request.fixturenames:
        for name in ("draw_frames", "draw_trajectory", "draw_correction"):
            monkeypatch.setattr(report, name, lambda *_, **__: None)


def run(output: Path, weights: Path, *options: str, source: str = WORLD) -> int:
    return reconstruct.main([source, "--output", str(output), "--weights", str(weights), *LENIENT, *options])


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def write_images(folder: Path, images: Mapping[str, np.ndarray]) -> str:
    """Write images with these names; return the folder as a source."""
    folder.mkdir()
    for name, image in images.items():
        assert cv2.imwrite(str(folder / f"{name}.png"), image)
    return str(folder)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every result but speed."""
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    metrics = json.loads(files.pop("metrics.json"))
    assert metrics.pop("frames_per_second") > 0
    return {**files, "metrics": json.dumps(metrics).encode()}


@pytest.mark.slow
def test_constants_of_the_covariance_come_from_a_file(tmp_path, weights, capsys):
    file, model = tmp_path / "covariance.json", CovarianceModel(depth=0.5)
    write_covariance(file, model, {})
    assert run(tmp_path / "run", weights, "--covariance-file", str(file), "--max-frames", "2") == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["covariance_file"] == asdict(model)
    file.write_text("{}")
    assert run(tmp_path / "other", weights, "--covariance-file", str(file)) == 2
    assert "is not a covariance file" in capsys.readouterr().err


@pytest.mark.slow
def test_masked_pixels_have_no_depth_and_belong_to_the_run(tmp_path, weights, capsys):
    gray, mask = np.zeros((60, 80), np.uint8), tmp_path / "mask.png"
    gray[30:] = 255
    cv2.imwrite(str(mask), gray)
    options = ["--max-depth", "10000", "--max-frames", "2", "--no-cloud"]
    rows = {}
    for name, more in (("whole", []), ("masked", ["--mask", str(mask)])):
        assert run(tmp_path / name, weights, *options, *more) == 0
        depth = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (tmp_path / name / "depth").iterdir()]
        rows[name] = (np.array(depth) > 0).any(axis=(0, 2))
    assert rows["whole"].all()
    assert rows["masked"].nonzero()[0].max() < 0.55 * len(rows["masked"])
    gray[0] = 255
    cv2.imwrite(str(mask), gray)
    assert run(tmp_path / "masked", weights, *options[:3], "3", "--no-cloud", "--mask", str(mask)) == 2
    cv2.imwrite(str(mask), gray[::2])
    assert run(tmp_path / "other", weights, *options, "--mask", str(mask)) == 2
    assert "the mask has 80x30 pixels but the images have 80x60" in capsys.readouterr().err


@pytest.mark.slow
def test_depth_that_is_empty_is_said_with_the_reason(tmp_path, weights, capsys):
    assert run(tmp_path / "run", weights, "--overwrite", "--max-frames", "3", "--min-confidence", "1e5") == 0
    assert "min_confidence is 1e+05; lower it" in capsys.readouterr().err
    assert run(tmp_path / "run", weights, "--overwrite", "--max-frames", "3", "--max-depth", "1e4") == 0
    assert "no pixel has a depth" not in capsys.readouterr().err


@pytest.mark.slow
def test_what_a_run_leaves(pictures, tmp_path, weights, capsys):
    assert run(tmp_path, weights, "--rgb", "--no-correct-motion") == 0
    source = list(open_source(WORLD).frames())
    estimate, truth = read_tum(tmp_path / "trajectory.txt"), read_tum(tmp_path / "groundtruth.txt")
    assert estimate.stamps_ns.tolist() == [frame.stamp_ns for frame in source] == truth.stamps_ns.tolist()
    np.testing.assert_allclose(estimate.transform(0), np.eye(4), atol=1e-8)
    np.testing.assert_allclose(truth.positions[3], source[3].T_world_camera[:3, 3], atol=1e-8)
    np.testing.assert_allclose(
        truth.transform(3)[:3, :3], source[3].T_world_camera[:3, :3] @ R_BODY_OPTICAL.T, atol=1e-8
    )

    stream = tiny_segments()
    for i, frame in enumerate(source[:6]):
        seen = stream.read(frame.image, frame.intrinsics)
        T = np.eye(4)
        T[:3, :3] = R_BODY_OPTICAL
        np.testing.assert_allclose(estimate.transform(i), T @ seen.T_world_camera @ inverse(T), atol=1e-6)
        depth = cv2.imread(str(tmp_path / "depth" / f"0.{i}00000000.png"), cv2.IMREAD_UNCHANGED)
        usable = (seen.depth > 0) & (seen.depth <= 30.0) & (seen.confidence >= 1.0)
        assert usable.any()
        np.testing.assert_allclose(depth, np.where(usable, 1000 * seen.depth, 0), atol=0.6)
    camera = json.loads((tmp_path / "camera.json").read_text())
    assert (camera["width"], camera["height"]) == depth.shape[::-1]
    assert camera["fx"] == pytest.approx(stream.read(source[0].image, source[0].intrinsics).intrinsics.fx)
    assert cv2.imread(str(tmp_path / "rgb/0.000000000.png")).shape[:2] == depth.shape
    assert (tmp_path / "depth.txt").read_text().splitlines()[2] == "0.100000000 depth/0.100000000.png"

    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["frames"], metrics["poses"], metrics["segments"]) == (12, 12, 1)
    assert all(value is not None for name, value in metrics.items() if not name.startswith("map_"))
    assert b"element vertex" in (tmp_path / "cloud.ply").read_bytes()[:200]
    for picture in ("trajectory.png", "frames.png"):
        assert cv2.imread(str(tmp_path / picture)).std() > 10
    assert json.loads((tmp_path / "run.json").read_text())["finished"]
    assert not (tmp_path / "unfinished").exists()
    assert "results in" in capsys.readouterr().out


MAPPED = "synthetic:seed=7,length=10,motion=wheeled,width=160,height=120,fps=15"


@pytest.mark.slow
def test_a_map_is_written_and_changes_nothing_where_no_place_is_recognized(pictures, tmp_path, monkeypatch):
    """With the package's weights, whose features are real; what a recognized place does is tested with the map.

    An interrupted run goes on with its map.
    """
    options = [MAPPED, "--output", str(tmp_path), "--map", "--no-depth", "--no-cloud", "--device", "cpu"]
    take = Run._take

    def interrupted(self: Run, frame: SourceFrame) -> None:
        if self.findings.frames == 5:
            signal.raise_signal(signal.SIGTERM)
        take(self, frame)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_take", interrupted)
        assert reconstruct.main(options) == 130
    assert reconstruct.main(options) == 0
    odometry, corrected = (read_tum(tmp_path / name) for name in ("trajectory.txt", "trajectory_map.txt"))
    assert corrected.stamps_ns.tolist() == odometry.stamps_ns.tolist()
    np.testing.assert_allclose(corrected.positions, odometry.positions, atol=1e-6)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["map_keyframes"] >= 1
    assert metrics["map_places"] == 0
    assert metrics["map_ate_rmse_m"] == pytest.approx(metrics["ate_rmse_m"], abs=1e-3)
    assert cv2.imread(str(tmp_path / "trajectory_map.png")).std() > 10
    backbone = load_backbone(NetworkSettings(device="cpu")).backbone
    keyframes = read_map(tmp_path / "map.places.safetensors", backbone).keyframes
    assert len(keyframes) == metrics["map_keyframes"]
    assert keyframes[0].stamp_ns < odometry.stamps_ns[5]  # of before the interruption


@pytest.mark.slow
@pytest.mark.parametrize(("killed", "policy"), [(True, "adaptive"), (False, "interval")])
def test_a_run_that_was_stopped_goes_on_to_the_same_result(tmp_path, weights, monkeypatch, capsys, killed, policy):
    options = ["--reset-policy", policy, "--reset-interval", "4"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(whole, weights, *options) == 0
    take, save = Run._take, Run._save

    def stop_at(count: int):
        def stopping(self: Run, frame: SourceFrame) -> None:
            if killed and self.findings.frames == count:
                monkeypatch.setattr(Run, "_save", lambda self: None)  # there is no time for a last one
                raise SystemExit(9)
            take(self, frame)
            if not killed and self.findings.frames == count:
                signal.raise_signal(signal.SIGTERM)

        return stopping

    def save_now_and_then(self: Run) -> None:
        if self.findings.frames % 3 == 2:
            save(self)

    for count in (3, 7):
        monkeypatch.setattr(Run, "_take", stop_at(count))
        if killed:
            monkeypatch.setattr("ttt3r_ros.offline.run.SAVE_PERIOD_S", 0.0)
            monkeypatch.setattr(Run, "_save", save_now_and_then)
        if killed:
            with pytest.raises(SystemExit):
                run(parts, weights, *options)
        else:
            assert run(parts, weights, *options) == 130
            assert len(read_tum(parts / "trajectory.txt")) == count
            assert "run the same command again to continue" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setattr(Run, "_take", take)
    monkeypatch.setattr(Run, "_save", save)
    assert run(parts, weights, *options) == 0
    assert f"resuming after {5 if killed else 7} frames" in capsys.readouterr().out
    one_go, resumed = contents(whole), contents(parts)
    assert one_go.keys() == resumed.keys()
    assert [name for name in one_go if one_go[name] != resumed[name]] == []


@pytest.mark.slow
def test_frames_are_chosen(tmp_path, weights):
    chosen = ["--start", "0.2", "--every", "3", "--max-frames", "2", "--no-depth", "--no-cloud"]
    assert run(tmp_path, weights, *chosen) == 0
    assert read_tum(tmp_path / "trajectory.txt").stamps_ns.tolist() == [200_000_000, 500_000_000]
    assert not (tmp_path / "depth").exists()
    assert not (tmp_path / "cloud.ply").exists()
    assert json.loads((tmp_path / "metrics.json").read_text())["ate_rmse_m"] is None  # two poses compare to nothing


@pytest.mark.slow
@pytest.mark.parametrize("real", [True, False])
def test_weights_that_know_no_real_image_say_so_where_they_see_one(tmp_path, monkeypatch, capsys, real):
    captions = []
    for name in ("draw_frames", "draw_trajectory"):
        monkeypatch.setattr(report, name, lambda *args, caption: captions.append(caption))
    synthetic = tmp_path / "mine.safetensors"
    save_network(rule_network(TINY), synthetic, provenance={"source": SYNTHETIC})
    source = write_images(tmp_path / "images", {f"{i}": noise(i) for i in range(3)}) if real else WORLD
    assert run(tmp_path / "out", synthetic, "--max-frames", "3", source=source) == 0
    out = " ".join(capsys.readouterr().out.split())
    said = "the weights mine.safetensors have never seen a real image"
    assert (f"note: {said}" in out) == real
    assert len(captions) == 2
    assert all((said in " ".join(caption.split())) == real for caption in captions)


@pytest.mark.slow
def test_a_folder_without_truth_and_with_a_black_image(tmp_path, weights, capsys):
    images = {f"{i}": noise(i) * (i != 2) for i in range(5)}
    assert run(tmp_path / "out", weights, source=write_images(tmp_path / "images", images)) == 0
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert (metrics["frames"], metrics["poses"]) == (5, 4)
    assert metrics["ate_rmse_m"] is metrics["depth_abs_rel"] is None
    assert not (tmp_path / "out/groundtruth.txt").exists()
    assert metrics["lost"] == {"the image is black": 1}
    assert metrics["segments_begun"] == {"the stream began": 1}
    assert metrics["left_out"] == {}
    assert "lost: 1 x the image is black" in capsys.readouterr().out
    assert len(list((tmp_path / "out/depth").iterdir())) == 4


def test_no_pose_at_all_is_a_failure_that_says_why(tmp_path, weights, capsys):
    images = {f"{i}": np.zeros((60, 80, 3), np.uint8) for i in range(3)}
    assert run(tmp_path / "out", weights, source=write_images(tmp_path / "images", images)) == 1
    assert "error: none of 3 frames has a pose: the image is black" in capsys.readouterr().err
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert (metrics["frames"], metrics["poses"], metrics["lost"]) == (3, 0, {"the image is black": 3})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "shapes", "why"),
    [
        ((1, 4, 7), [(60, 80)], "no image for 3.000 s"),
        ((1.0, 1.1, 1.2, 1.3), [(60, 80), (60, 96)], "the image's size has changed"),
    ],
)
def test_images_that_follow_on_none_are_a_failure_that_says_why(tmp_path, weights, capsys, seconds, shapes, why):
    images = {f"{s:.1f}": np.resize(noise(i), (*shapes[i % len(shapes)], 3)) for i, s in enumerate(seconds)}
    assert run(tmp_path / "out", weights, source=write_images(tmp_path / "images", images)) == 1
    count = len(seconds)
    assert f"error: the motion before {count} of {count} frames is unknown" in (err := capsys.readouterr().err)
    assert f": {why}; give images of one size" in err
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert (metrics["poses"], metrics["unconnected"]) == (count, count)


@pytest.mark.slow
def test_a_reset_after_every_frame_is_no_failure(tmp_path, weights):
    assert run(tmp_path, weights, "--reset-interval", "1", "--max-frames", "4") == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["segments"] > 2, metrics["unconnected"]) == (True, 1)


#: Calls the command with arguments that lack something; for each call its exit status and what it printed.
MISTAKES = """
import contextlib, io, json, sys
from ttt3r_ros.offline.reconstruct import main
done = []
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as error:
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code
    done.append((code, out.getvalue(), error.getvalue()))
assert "torch" not in sys.modules
print(json.dumps(done))
"""


@pytest.mark.slow
def test_mistakes_are_said_before_torch_is_loaded(tmp_path):
    output, mine = str(tmp_path), tmp_path / "mine"
    (mine / "depth").mkdir(parents=True)
    calls = [
        (["nowhere.mp4", "--output", output], "'nowhere.mp4' does not exist"),
        ([WORLD, "--output", output, "--weights", "nowhere"], "nowhere does not exist"),
        ([WORLD, "--output", output, "--weights", __file__], "is neither a safetensors file nor"),
        ([WORLD, "--output", ""], "argument --output: must name a folder"),
        (["synthetic:motion=dancing", "--output", output], "the motion of a synthetic sequence is one of"),
        ([WORLD, "--output", output, "--covariance-file", "nowhere"], "the covariance file nowhere cannot be read"),
        ([WORLD, "--output", output, "--image-size", "20"], "argument --image-size: must be 0 or at least 32 px"),
        ([WORLD, "--output", output, "--device", "gpu"], "argument --device: must be auto, cpu, cuda or"),
        ([WORLD, "--output", output, "--fast"], "unrecognized arguments: --fast"),
        ([WORLD, "--output", output, "--topic", "/image"], "--topic selects the images of a bag"),
        ([WORLD, "--output", str(mine)], "mine contains depth, which no run"),
        (["--help"], ""),
        (["--version"], ""),
    ]
    command = [sys.executable, "-c", MISTAKES, json.dumps([arguments for arguments, _ in calls])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    for (arguments, words), (code, out, error) in zip(calls, json.loads(done.stdout), strict=True):
        assert code == (2 if words else 0), arguments
        assert words in error, arguments
        assert (out == "") == bool(words), arguments


@pytest.mark.slow
def test_a_jump_of_the_recordings_time_is_a_segment(tmp_path, weights, monkeypatch):
    frames = [
        SourceFrame(noise(i), i * 10**8, jump="time jumped back by 0.300 s" if i == 3 else None) for i in range(6)
    ]
    source = open_source(WORLD)
    monkeypatch.setattr(source, "frames", lambda start_s=0.0: iter(frames))
    monkeypatch.setattr("ttt3r_ros.sources.open_source", lambda *_, **__: source)
    assert run(tmp_path / "out", weights) == 0
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["segments_begun"] == {"the stream began": 1, "time jumped back by 0.300 s": 1}


@pytest.mark.slow
def test_a_recording_that_is_not_whole_is_done_as_far_as_it_goes(tmp_path, weights, caplog):
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (80, 60))
    for i in range(20):
        writer.write(noise(i))
    writer.release()
    data = (tmp_path / "v.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    assert run(tmp_path / "whole", weights, source=str(tmp_path / "v.avi")) == 0
    assert run(tmp_path / "out", weights, source=str(tmp_path / "cut.avi")) == 3
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["damage"] == [caplog.records[-1].message]
    assert f"ends after {metrics['frames']} of 20 frames" in metrics["damage"][0]
    assert json.loads((tmp_path / "out/run.json").read_text())["finished"]
