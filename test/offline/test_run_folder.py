from __future__ import annotations

import json
import os

import pytest

from ttt3r_ros.errors import UserError
from ttt3r_ros.offline.run_folder import RunFolder

SETTINGS = {"input": "/videos/a.mp4", "every": 2}


def begun(path, **changes) -> RunFolder:
    folder = RunFolder(path)
    path.mkdir(exist_ok=True)
    assert folder.begin({**SETTINGS, **changes}, overwrite=False) is None
    return folder


def note(text: str):
    return lambda folder: (folder / "note").write_text(text)


def test_an_interrupted_run_goes_on_from_the_last_place_that_is_whole(tmp_path):
    folder = begun(tmp_path / "run")
    folder.save(100, note("100"))
    folder.save(200, note("200"))

    def killed(place):
        (place / "note").write_text("300")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.save(300, killed)
    left = RunFolder(tmp_path / "run").begin(SETTINGS, overwrite=False)
    assert left is not None
    assert (left / "note").read_text() == "200"
    folder.save(400, note("400"))  # over what the kill has left
    assert [entry.name for entry in (tmp_path / "run/unfinished").iterdir()] == ["000000400"]


def test_a_run_killed_before_its_first_place_begins_anew(tmp_path):
    begun(tmp_path / "run")
    (tmp_path / "run/depth").mkdir()
    (tmp_path / "run/depth/0.png").write_text("of the killed run")
    assert RunFolder(tmp_path / "run").begin(SETTINGS, overwrite=False) is None
    assert not (tmp_path / "run/depth").exists()


def test_another_setting_is_refused_by_name(tmp_path):
    begun(tmp_path / "run").save(1, note("1"))
    with pytest.raises(UserError, match="unfinished run with a different every"):
        RunFolder(tmp_path / "run").begin({**SETTINGS, "every": 3}, overwrite=False)
    assert RunFolder(tmp_path / "run").begin({**SETTINGS, "every": 3}, overwrite=True) is None
    assert json.loads((tmp_path / "run/run.json").read_text())["settings"]["every"] == 3


def test_a_finished_run_is_kept_unless_told_otherwise(tmp_path):
    folder = begun(tmp_path / "run")
    folder.save(1, note("1"))
    (tmp_path / "run/trajectory.txt").write_text("poses")
    folder.finish()
    assert not (tmp_path / "run/unfinished").exists()
    with pytest.raises(UserError, match="contains a finished run"):
        RunFolder(tmp_path / "run").begin(SETTINGS, overwrite=False)
    assert (tmp_path / "run/trajectory.txt").read_text() == "poses"
    RunFolder(tmp_path / "run").begin(SETTINGS, overwrite=True)
    assert not (tmp_path / "run/trajectory.txt").exists()


def test_files_of_others_are_never_touched(tmp_path):
    (tmp_path / "depth").mkdir()
    (tmp_path / "depth/mine.png").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="contains depth, which no run of this program wrote"):
            RunFolder(tmp_path).begin(SETTINGS, overwrite=overwrite)
    (tmp_path / "depth/mine.png").rename(tmp_path / "notes.txt")
    (tmp_path / "depth").rmdir()
    RunFolder(tmp_path).begin(SETTINGS, overwrite=True)
    RunFolder(tmp_path).begin(SETTINGS, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_run_json_of_something_else_is_said(tmp_path):
    for content in ("no json", "[]", '{"format": 99}'):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(UserError, match=r"run\.json is from another version"):
            RunFolder(tmp_path).begin(SETTINGS, overwrite=True)


def test_two_runs_do_not_share_a_folder(tmp_path):
    second = RunFolder(tmp_path).locked()
    with RunFolder(tmp_path).locked(), pytest.raises(UserError, match="another run is writing"):
        second.__enter__()
    with RunFolder(tmp_path).locked():
        pass


def test_a_folder_that_cannot_be_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be created"), RunFolder(tmp_path / "file/below").locked():
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only_is_said(tmp_path):
    folder = begun(tmp_path / "run")
    (tmp_path / "run").chmod(0o500)
    try:
        with pytest.raises(UserError, match="cannot be written"):
            folder.save(1, note("1"))
    finally:
        (tmp_path / "run").chmod(0o700)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("video.mp4", "video.mp4 is a file, but the results need a folder"),
        ("video.mp4/run", "video.mp4 is a file, but the results need a folder"),
        ("new.MP4", "new.MP4 is named like a file"),
        ("cloud.ply", "cloud.ply is named like a file"),
    ],
)
def test_a_file_is_no_folder(tmp_path, output, words):
    (tmp_path / "video.mp4").write_text("a video")
    with pytest.raises(UserError, match=words):
        RunFolder(tmp_path / output).check(overwrite=True)
    assert (tmp_path / "video.mp4").read_text() == "a video"
    for name in ("run.1", "walk_2.5m", "scene.d"):
        RunFolder(tmp_path / name).check(overwrite=False)


def test_a_recording_is_neither_written_to_nor_deleted(tmp_path):
    for name in ("images", "run/rgb", "run/depth/sub", "videos"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "images")
    video = tmp_path / "videos/video.mp4"
    video.write_text("a video")
    for output, recording, words in (
        ("images", "images", "is the folder of the recording itself"),
        ("link", "images", "is the folder of the recording itself"),
        ("videos/../images", "images", "is the folder of the recording itself"),
        ("images", ".", "is the folder of the recording itself"),  # which is read from images/
        ("run", "run/rgb", r"the recording lies in .*run/rgb, which a run replaces"),
        ("run", "run/depth/sub", r"the recording lies in .*run/depth, which a run replaces"),
    ):
        with pytest.raises(UserError, match=words):
            RunFolder(tmp_path / output).check_apart(tmp_path / recording)
    for output, recording in (("videos", "videos/video.mp4"), ("images/out", "images"), ("out", "images")):
        RunFolder(tmp_path / output).check_apart(tmp_path / recording)
