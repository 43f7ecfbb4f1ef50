"""The services that save and load, over DDS."""

from __future__ import annotations

import os
import shutil
import threading

import numpy as np
import pytest
from harness import Bench, picture, pose_of
from in_process import node_in_process
from std_srvs.srv import SetBool, Trigger
from waiting import PATIENCE, wait_until

from ttt3r_ros.errors import UserError
from ttt3r_ros.ros import saving
from ttt3r_ros.ros.save_folder import SaveFolder

pytestmark = pytest.mark.dds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("robot") / "saved"


@pytest.fixture(scope="module")
def inside(weights, folder):
    with node_in_process(weights, save_folder=folder, publish_map=True, min_confidence=1.0) as inside:
        yield inside


@pytest.fixture(scope="module")
def camera(inside):
    bench = Bench("saving", "odom", "diagnostics")
    bench.wait_for_node()
    yield bench
    bench.close()


@pytest.fixture(autouse=True)
def emptied(folder):
    yield
    shutil.rmtree(folder, ignore_errors=True)


def position(bench: Bench, stamp: int) -> np.ndarray:
    return pose_of(bench.get("odom", stamp))[:3, 3]


def test_there_must_be_something_to_save(camera, folder):
    assert camera.trigger("save_state") == (False, "there is nothing to save: no image has been tracked yet")
    assert camera.trigger("save_map") == (False, "there is no map to save: no confident point has been seen yet")
    assert camera.trigger("load_state") == (
        False,
        f"{folder}/ttt3r.state.safetensors does not exist; save a state first, or set save_name",
    )
    assert not folder.exists()


def test_what_was_saved_is_loaded_and_the_pose_goes_on(inside, camera, folder):
    camera.send_until_answered()
    last = position(camera, camera.exchange(3)[-1])
    assert camera.trigger("save_state")[0]
    assert [path.name for path in folder.iterdir()] == ["ttt3r.state.safetensors"]
    (same,) = camera.exchange(image=picture(1))
    expected = position(camera, same)

    assert camera.call(Trigger, "/ttt3r/reset_odometry").success
    (first,) = camera.exchange()
    assert np.abs(position(camera, first)).max() < 1e-6
    success, message = camera.trigger("load_state")
    assert success, message
    assert message.endswith("in its odometry frame; the accumulated map is discarded")
    (stamp,) = camera.exchange(image=picture(1))
    np.testing.assert_allclose(position(camera, stamp), expected, atol=1e-6)
    assert np.abs(position(camera, stamp) - last).max() > 1e-3  # which are not the same by chance
    assert camera.get("odom", stamp).twist.covariance[0] > 1000  # the velocity across it is not known
    camera.hear("path")
    wait_until(lambda: camera.exchange() and camera.received["path"], "a path")
    (path,) = camera.received["path"][:1]
    assert path.poses[0].header.stamp == camera.get("odom", stamp).header.stamp

    assert camera.call(Trigger, "/ttt3r/reset_odometry").success
    assert camera.trigger("load_state")[0]  # with no frame in between
    (stamp,) = camera.exchange(image=picture(1))
    np.testing.assert_allclose(position(camera, stamp), expected, atol=1e-6)


def test_a_paused_node_saves_and_loads_as_well(inside, camera):
    camera.send_until_answered()
    camera.exchange(2)
    assert camera.call(SetBool, "/ttt3r/enable", SetBool.Request(data=False)).success
    try:
        assert camera.trigger("save_state")[0]
        assert camera.trigger("load_state")[0]
    finally:
        camera.call(SetBool, "/ttt3r/enable", SetBool.Request(data=True))
    inside.set(max_frame_gap=1.0)
    camera.next_stamp += 1_500_000_000  # a gap that would break the segment
    segment, frames = inside.node.pipeline.segment
    assert camera.exchange()
    assert inside.node.pipeline.segment == (segment, frames + 1)
    inside.set(max_frame_gap=2.0)


def test_files_are_not_replaced_unless_that_is_wanted(inside, camera, folder):
    camera.send_until_answered()
    assert camera.trigger("save_state")[0]
    first = (folder / "ttt3r.state.safetensors").read_bytes()
    camera.exchange(2)
    success, message = camera.trigger("save_state")
    assert not success
    assert message.endswith("already exists: choose another save_name, or set overwrite to true")
    assert (folder / "ttt3r.state.safetensors").read_bytes() == first
    with inside.changed(save_name="other", overwrite=True):
        assert all(camera.trigger("save_state")[0] for _ in range(2))
        assert camera.trigger("save_map")[0]
    assert {path.name for path in folder.iterdir()} == {
        "ttt3r.state.safetensors",
        "other.state.safetensors",
        "other.ply",
    }


def test_a_file_that_cannot_be_used_is_said_and_changes_nothing(inside, camera, folder):
    camera.send_until_answered()
    assert camera.trigger("save_state")[0]
    path = folder / "ttt3r.state.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    before = inside.stream.state.segments
    success, message = camera.trigger("load_state")
    assert not success
    assert message.startswith(f"{path} ")
    assert inside.stream.state.segments is before
    assert camera.exchange()
    with pytest.raises(UserError):  # which ends a start with this sentence
        inside.node.saving.load_at_start()


def test_a_disk_that_fails_is_said_and_survived(camera, folder, monkeypatch):
    camera.send_until_answered()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for service in ("save_state", "save_map"):
            success, message = camera.trigger(service)
            assert not success
            assert message.endswith("cannot be written: No space left on device")
    assert list(folder.iterdir()) == []
    assert camera.trigger("save_state")[0]


def test_frames_go_on_while_the_disk_is_slow_and_a_second_file_waits_for_the_first(camera, monkeypatch):
    camera.send_until_answered()
    write, may_end = SaveFolder.write, threading.Event()

    def slow(*args, **options):
        assert may_end.wait(PATIENCE)
        return write(*args, **options)

    monkeypatch.setattr(SaveFolder, "write", slow)
    client = camera.node.create_client(Trigger, "/ttt3r/save_state")
    other = camera.node.create_client(Trigger, "/ttt3r/load_state")
    assert client.wait_for_service(timeout_sec=PATIENCE)
    assert other.wait_for_service(timeout_sec=PATIENCE)
    saved, loaded = client.call_async(Trigger.Request()), other.call_async(Trigger.Request())
    assert camera.exchange(5)
    assert camera.call(Trigger, "/ttt3r/reset").success
    assert not saved.done()
    assert not loaded.done()
    may_end.set()
    wait_until(lambda: saved.done() and loaded.done(), "the slow file and the next")
    assert saved.result().success
    assert loaded.result().success


def test_what_nobody_foresaw_is_said_and_survived(camera, monkeypatch):
    camera.send_until_answered()

    def broken(*_args):
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(saving, "to_bytes", broken)
        assert camera.trigger("save_state") == (False, "it failed (MemoryError: no room)")
    with monkeypatch.context() as patch:
        patch.setattr(saving, "from_bytes", broken)
        assert camera.trigger("save_state")[0]
        assert camera.trigger("load_state") == (False, "it failed (MemoryError: no room)")
    assert camera.exchange()
