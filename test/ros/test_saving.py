"""The services that save and load, over DDS."""

from __future__ import annotations

import os
import shutil
import threading

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from harness import Bench, picture
from in_process import node_in_process
from nav_msgs.msg import Odometry, Path
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger
from waiting import PATIENCE, wait_until

from ttt3r_ros.errors import UserError
from ttt3r_ros.ros import saving
from ttt3r_ros.ros.pipeline import Pipeline
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
    bench = Bench("saving")
    bench.listen("/ttt3r/odom", Odometry, key="odom")
    bench.listen("/diagnostics", DiagnosticArray, key="diagnostics")
    bench.wait_for_node()
    yield bench
    bench.close()


@pytest.fixture(autouse=True)
def emptied(folder):
    yield
    shutil.rmtree(folder, ignore_errors=True)


def call(bench: Bench, service: str) -> tuple[bool, str]:
    answer = bench.call(Trigger, f"/ttt3r/{service}")
    assert "\n" not in answer.message
    return answer.success, answer.message


def position(bench: Bench, stamp: int) -> np.ndarray:
    found = bench.get("odom", stamp).pose.pose.position
    return np.array([found.x, found.y, found.z])


def test_there_must_be_something_to_save(camera, folder):
    assert call(camera, "save_state") == (False, "there is nothing to save: no image has been tracked yet")
    assert call(camera, "save_map") == (False, "there is no map to save: no confident point has been seen yet")
    assert call(camera, "load_state") == (
        False,
        f"{folder}/ttt3r.state.safetensors does not exist; save a state first, or set save_name",
    )
    assert not folder.exists()


def test_what_was_saved_is_loaded_and_the_pose_goes_on(inside, camera, folder):
    camera.send_until_answered()
    last = position(camera, camera.exchange(3)[-1])
    assert call(camera, "save_state")[0]
    assert [path.name for path in folder.iterdir()] == ["ttt3r.state.safetensors"]
    (same,) = camera.exchange(image=picture(1))
    expected = position(camera, same)

    assert camera.call(Trigger, "/ttt3r/reset_odometry").success
    (first,) = camera.exchange()
    assert np.abs(position(camera, first)).max() < 1e-6
    success, message = call(camera, "load_state")
    assert success, message
    assert message.endswith("in its odometry frame; the accumulated map is discarded")
    (stamp,) = camera.exchange(image=picture(1))
    np.testing.assert_allclose(position(camera, stamp), expected, atol=1e-6)
    assert np.abs(position(camera, stamp) - last).max() > 1e-3  # which are not the same by chance
    assert camera.get("odom", stamp).twist.covariance[0] > 1000  # the velocity across it is not known
    camera.listen("/ttt3r/path", Path, key="path")
    wait_until(lambda: camera.exchange() and camera.received["path"], "a path")
    (path,) = camera.received["path"][:1]
    assert path.poses[0].header.stamp == camera.get("odom", stamp).header.stamp


def test_a_load_right_after_a_reset_wins(camera):
    camera.send_until_answered()
    camera.exchange(3)
    assert call(camera, "save_state")[0]
    (stamp,) = camera.exchange(image=picture(1))
    expected = position(camera, stamp)
    assert camera.call(Trigger, "/ttt3r/reset_odometry").success
    assert call(camera, "load_state")[0]  # with no frame in between
    (stamp,) = camera.exchange(image=picture(1))
    np.testing.assert_allclose(position(camera, stamp), expected, atol=1e-6)


def test_a_paused_node_saves_and_loads_as_well(inside, camera):
    camera.send_until_answered()
    camera.exchange(2)
    assert camera.call(SetBool, "/ttt3r/enable", SetBool.Request(data=False)).success
    try:
        assert call(camera, "save_state")[0]
        assert call(camera, "load_state")[0]
    finally:
        camera.call(SetBool, "/ttt3r/enable", SetBool.Request(data=True))
    inside.node.set_parameters([Parameter("max_frame_gap", value=1.0)])
    camera.next_stamp += 1_500_000_000  # a gap that would break the segment
    segment, frames = inside.node.pipeline.segment
    assert camera.exchange()
    assert inside.node.pipeline.segment == (segment, frames + 1)
    inside.node.set_parameters([Parameter("max_frame_gap", value=2.0)])


def test_files_are_not_replaced_unless_that_is_wanted(inside, camera, folder):
    camera.send_until_answered()
    assert call(camera, "save_state")[0]
    first = (folder / "ttt3r.state.safetensors").read_bytes()
    camera.exchange(2)
    success, message = call(camera, "save_state")
    assert not success
    assert message.endswith("already exists: choose another save_name, or set overwrite to true")
    assert (folder / "ttt3r.state.safetensors").read_bytes() == first
    inside.node.set_parameters([Parameter("save_name", value="other"), Parameter("overwrite", value=True)])
    try:
        assert all(call(camera, "save_state")[0] for _ in range(2))
        assert call(camera, "save_map")[0]
    finally:
        inside.node.set_parameters([Parameter("save_name", value="ttt3r"), Parameter("overwrite", value=False)])
    assert {path.name for path in folder.iterdir()} == {
        "ttt3r.state.safetensors",
        "other.state.safetensors",
        "other.ply",
    }


def test_a_file_that_cannot_be_used_is_said_and_changes_nothing(inside, camera, folder):
    camera.send_until_answered()
    assert call(camera, "save_state")[0]
    path = folder / "ttt3r.state.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    before = inside.stream.state.segments
    success, message = call(camera, "load_state")
    assert not success
    assert message.startswith(f"{path} ")
    assert inside.stream.state.segments is before
    assert camera.exchange()
    with pytest.raises(UserError):  # which ends a start with this sentence
        inside.node.saving.load_at_start()


def test_another_rule_is_said(inside, camera):
    camera.send_until_answered()
    assert call(camera, "save_state")[0]
    inside.node.set_parameters([Parameter("update_rule", value="filt3r")])
    try:
        success, message = call(camera, "load_state")
    finally:
        inside.node.set_parameters([Parameter("update_rule", value="ttt3r")])
    assert not success
    assert "saved with update_rule 'ttt3r', not filt3r" in message


def test_a_disk_that_fails_is_said_and_survived(camera, folder, monkeypatch):
    camera.send_until_answered()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for service in ("save_state", "save_map"):
            success, message = call(camera, service)
            assert not success
            assert message.endswith("cannot be written: No space left on device")
    assert list(folder.iterdir()) == []
    assert call(camera, "save_state")[0]


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
        assert call(camera, "save_state") == (False, "it failed (MemoryError: no room)")
    with monkeypatch.context() as patch:
        patch.setattr(saving, "from_bytes", broken)
        assert call(camera, "save_state")[0]
        assert call(camera, "load_state") == (False, "it failed (MemoryError: no room)")
    assert camera.exchange()


def test_jobs_run_between_frames_and_hand_their_errors_on(inside, camera):
    camera.send_until_answered()
    pipeline: Pipeline = inside.node.pipeline
    assert pipeline.between_frames(lambda stream: stream).result(PATIENCE) is inside.stream
    with pytest.raises(ZeroDivisionError):
        pipeline.between_frames(lambda stream: 1 // 0).result(PATIENCE)
    assert camera.exchange()
