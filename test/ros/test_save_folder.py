from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.save_folder import FORGOTTEN_AFTER, SaveFolder, check_name

OLD, NEW = b"old" * 1000, b"new" * 100_000


def filling(data: bytes):
    return lambda file: file.write(data)


@pytest.fixture
def folder(tmp_path) -> SaveFolder:
    return SaveFolder(tmp_path / "made" / "on demand")


def names(folder: SaveFolder) -> set[str]:
    return set(os.listdir(folder.path))


def test_what_was_written_is_read_again(folder):
    assert not folder.path.exists()
    path = folder.write("map.ply", filling(NEW), overwrite=False)
    assert path.read_bytes() == folder.read("map.ply", most=len(NEW)) == NEW
    assert names(folder) == {"map.ply"}


def test_the_home_folder_is_known(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert SaveFolder("~/saved").write("a", filling(b"a"), overwrite=False) == tmp_path / "saved" / "a"


def test_a_home_that_nobody_has_is_said():
    with pytest.raises(UserError, match="the save_folder ~nobody_of_this_name/x cannot be found"):
        SaveFolder("~nobody_of_this_name/x")


def test_an_existing_file_is_replaced_only_where_that_is_wanted(folder):
    folder.write("a", filling(OLD), overwrite=False)
    with pytest.raises(UserError, match=r"already exists: .* set overwrite to true"):
        folder.write("a", filling(NEW), overwrite=False)
    assert folder.read("a", most=10**6) == OLD
    folder.write("a", filling(NEW), overwrite=True)
    assert folder.read("a", most=10**6) == NEW
    assert names(folder) == {"a"}


def test_of_two_that_begin_at_once_the_second_is_refused(folder):
    def overtaken(file):
        (folder.path / "a").write_bytes(OLD)
        file.write(NEW)

    with pytest.raises(UserError, match="already exists"):
        folder.write("a", overtaken, overwrite=False)
    assert folder.read("a", most=10**6) == OLD
    assert names(folder) == {"a"}


def test_a_file_system_without_hard_links_will_do(folder, monkeypatch):
    def refuse(*_args, **_options):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    folder.write("a", filling(OLD), overwrite=False)
    assert folder.read("a", most=10**6) == OLD
    with pytest.raises(UserError, match="already exists"):
        folder.write("a", filling(NEW), overwrite=False)
    assert names(folder) == {"a"}


ESCAPES = ["../a", "/etc/passwd", "..", ".", "", "a/b", "a\\b", ".hidden", "a\0b", "a\n", "~", "ä", "a b", "a" * 101]


@pytest.mark.parametrize("name", ESCAPES)
def test_names_that_could_lead_elsewhere_are_refused(folder, name):
    with pytest.raises(UserError, match="is not a valid file name"):
        folder.write(name, filling(NEW), overwrite=True)
    with pytest.raises(UserError, match="is not a valid file name"):
        folder.read(name, most=10**6)
    assert not folder.path.exists()


@given(st.text())
def test_a_name_that_is_taken_stays_in_its_folder(name):
    try:
        check_name(name)
    except UserError:
        return
    assert Path("/folder", name).resolve() == Path("/folder") / name
    assert name.isascii()
    assert name.isprintable()


def test_links_in_the_folder_lead_nowhere(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(OLD)
    folder.path.mkdir(parents=True)
    for name, target in {"link": outside, "dangling": tmp_path / "not there"}.items():
        (folder.path / name).symlink_to(target)
        with pytest.raises(UserError, match="is a link"):
            folder.read(name, most=10**6)
        with pytest.raises(UserError, match="already exists"):
            folder.write(name, filling(NEW), overwrite=False)
        folder.write(name, filling(NEW), overwrite=True)  # replaces the link, not what it leads to
        assert folder.read(name, most=10**6) == NEW
    assert outside.read_bytes() == OLD
    assert not (tmp_path / "not there").exists()


def test_a_link_in_the_place_of_an_unfinished_file_leads_nowhere(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(OLD)
    folder.path.mkdir(parents=True)
    (folder.path / f".a.{os.getpid()}.tmp").symlink_to(outside)
    folder.write("a", filling(NEW), overwrite=False)
    assert outside.read_bytes() == OLD
    assert names(folder) == {"a"}


def test_what_is_no_regular_file_is_not_read(folder):
    folder.path.mkdir(parents=True)
    os.mkfifo(folder.path / "pipe")
    (folder.path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(UserError, match=r"not a regular file|cannot be read: Is a directory"):
            folder.read(name, most=10**6)
    with pytest.raises(UserError, match="cannot be written"):
        folder.write("folder", filling(NEW), overwrite=True)


def test_a_file_too_large_is_not_read(folder):
    folder.write("a", filling(b"12345"), overwrite=False)
    assert folder.read("a", most=5) == b"12345"
    with pytest.raises(UserError, match="too large"):
        folder.read("a", most=4)


def test_a_missing_file_is_for_the_caller_to_explain(folder):
    with pytest.raises(FileNotFoundError):
        folder.read("a", most=1)


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/self/below"])
def test_a_folder_that_cannot_be_is_said(tmp_path, place):
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(UserError, match="cannot be created"):
        SaveFolder(tmp_path / place).write("a", filling(NEW), overwrite=False)


def test_a_folder_that_may_not_be_written_is_said(folder, monkeypatch):
    folder.path.mkdir(parents=True)

    def refuse(*_args, **_options):  # as for anybody but root, whom modes do not hold back
        raise PermissionError(errno.EACCES, "Permission denied")

    opened = os.open
    monkeypatch.setattr(
        os, "open", lambda path, flags, *a, **k: (refuse if flags & os.O_CREAT else opened)(path, flags, *a, **k)
    )
    with pytest.raises(UserError, match="cannot be written: Permission denied"):
        folder.write("a", filling(NEW), overwrite=False)


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_leaves_what_was_there(folder, existing):
    if existing:
        folder.write("a", filling(OLD), overwrite=False)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(NEW) // 2, limits[1]))  # the write fails half-way
    try:
        with pytest.raises(UserError, match="cannot be written"):
            folder.write("a", filling(NEW), overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(folder) == ({"a"} if existing else set())
    assert not existing or folder.read("a", most=10**6) == OLD


def test_what_a_crash_left_is_swept_but_not_what_another_writes_now(folder):
    folder.path.mkdir(parents=True)
    ancient, recent, foreign = (folder.path / name for name in (".a.1.tmp", ".a.2.tmp", ".b.1.tmp"))
    for path in (ancient, recent, foreign):
        path.write_bytes(OLD)
    long_ago = time.time() - 2 * FORGOTTEN_AFTER
    for path in (ancient, foreign):
        os.utime(path, (long_ago, long_ago))
    folder.write("a", filling(NEW), overwrite=False)
    assert names(folder) == {"a", recent.name, foreign.name}


WRITER = """
import sys
from ttt3r_ros.ros.save_folder import SaveFolder
folder, count = SaveFolder(sys.argv[1]), 0
while True:
    count += 1
    folder.write("a", lambda file: [file.write(bytes([count % 256]) * 1000) for _ in range(1000)], overwrite=True)
    print("written", flush=True)
"""


@pytest.mark.slow
def test_an_end_at_any_moment_leaves_a_whole_file(folder):
    root = Path(__file__).parents[2]
    for delay in (0.0, 0.003, 0.011, 0.023, 0.04):
        command = [sys.executable, "-c", WRITER, str(folder.path)]
        with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE) as writer:
            assert writer.stdout
            assert writer.stdout.readline() == b"written\n"
            time.sleep(delay)
            writer.kill()
        data = folder.read("a", most=10**7)
        assert data == data[:1] * 1_000_000


def test_without_a_name_it_is_in_the_folder_of_ros(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ROS_HOME", raising=False)
    assert SaveFolder().path == tmp_path / ".ros" / "ttt3r"
    monkeypatch.setenv("ROS_HOME", "~/ros")
    assert SaveFolder().path == tmp_path / "ros" / "ttt3r"
    assert SaveFolder(tmp_path / "own").path == tmp_path / "own"


def test_a_user_without_a_home_folder_hears_of_it_only_when_one_is_needed(nobody):
    folder = SaveFolder()
    for use in (lambda: folder.read("a", most=1), lambda: folder.write("a", filling(NEW), overwrite=False)):
        with pytest.raises(UserError, match="this user has no home folder: set save_folder"):
            use()
