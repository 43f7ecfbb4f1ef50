"""The accumulated map: in the node, over DDS."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from harness import LATCHED, Bench, pose_of
from in_process import InProcess, node_in_process
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py.point_cloud2 import read_points
from std_srvs.srv import Trigger
from waiting import PATIENCE, settled, wait_until

from ttt3r_ros.mapping.voxel_map import MapPoints, VoxelMap
from ttt3r_ros.ros import map_output
from ttt3r_ros.ros.conversions import nanoseconds
from ttt3r_ros.stream.estimate import IMAGE, POINTS

pytestmark = pytest.mark.dds


@pytest.fixture(scope="module")
def inside(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("map")
    with node_in_process(weights, save_folder=folder, map_period=0.1, min_confidence=1.2, overwrite=True) as inside:
        yield inside


@pytest.fixture(scope="module")
def camera(inside):
    bench = Bench("map", "odom", "points", "diagnostics")
    bench.listen("/ttt3r/map_points", PointCloud2, key="map")
    bench.wait_for_node()
    bench.send_until_answered("points")
    yield bench
    bench.close()


@pytest.fixture
def mapping(inside, camera):
    inside.set(publish_map=True)
    assert camera.call(Trigger, "/ttt3r/reset_odometry").success
    yield camera
    inside.set(publish_map=False, map_voxel_size=0.05, map_max_points=1_000_000)
    camera.exchange()
    wait_until(lambda: the_map(inside).points() is None, "the map to be forgotten")


def the_map(inside: InProcess) -> map_output.MapOutput:
    return inside.node.pipeline.map


def hear(bench: Bench, key: str) -> list[PointCloud2]:
    """Listen to the map from now on."""
    bench.node.create_subscription(PointCloud2, "/ttt3r/map_points", bench.received[key].append, LATCHED)
    return bench.received[key]


def mapped(inside: InProcess, bench: Bench, frames: int = 1) -> tuple[int, MapPoints]:
    """Send frames, each once the map with the one before is published; return the last one's stamp and the map."""
    for _ in range(frames):
        (stamp,) = bench.exchange(step=0.25)  # slower than frames are taken into the map
        bench.get("map", stamp)
    return stamp, the_map(inside).points()


def test_points_are_computed_for_the_map_and_only_where_it_is_wanted(inside):
    """Nobody listens to anything but the odometry."""
    with closing(Bench("lonely", "odom")) as bench:
        bench.wait_for_node()
        dense = ("/ttt3r/points", "/ttt3r/rgb/image", "/ttt3r/depth/image")
        settled(lambda: sum(map(inside.node.count_subscribers, dense)), 0)  # earlier tests have gone
        bench.send_until_answered()
        for publish_map in (False, True):
            inside.set(publish_map=publish_map)
            inside.asked.clear()
            bench.exchange(5, step=0.25)
            assert any({POINTS, IMAGE} <= outputs for outputs in inside.asked) == publish_map
            assert any(IMAGE in outputs for outputs in inside.asked) == publish_map
            if publish_map:
                wait_until(the_map(inside).points, "the map")
            assert (the_map(inside).points() is not None) == publish_map
        inside.set(publish_map=False)
        bench.exchange()
        wait_until(lambda: the_map(inside).points() is None, "the map to be forgotten")


def test_it_is_the_clouds_put_together(inside, mapping):
    """The map of a few frames is the voxel map of the published clouds in the published poses."""
    heard = hear(mapping, "clouds together")
    expected = VoxelMap(0.05, 1_000_000)
    T_base_camera = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
    for _ in range(4):
        stamp, found = mapped(inside, mapping)
        T_odom_camera = pose_of(mapping.get("odom", stamp)) @ T_base_camera
        cloud = read_points(mapping.get("points", stamp), skip_nans=True)
        points = np.stack([cloud["x"], cloud["y"], cloud["z"]], axis=1) @ T_odom_camera[:3, :3].T + T_odom_camera[:3, 3]
        colors = cloud["rgb"].view(np.uint32)[:, None] >> np.array([16, 8, 0], np.uint32) & 255
        expected.insert(points.astype(np.float32), colors.astype(np.uint8), cloud["confidence"])
    wanted = expected.points()
    assert len(found.positions) == pytest.approx(len(wanted.positions), rel=0.02)  # rounding moves points over edges
    cells = [{tuple(cell) for cell in np.floor(p / 0.05).astype(int)} for p in (found.positions, wanted.positions)]
    assert len(cells[0] & cells[1]) > 0.95 * len(cells[1]) > 100

    wait_until(lambda: heard and heard[-1].width == len(found.positions), "the map to be published")
    message = heard[-1]
    assert message.header.frame_id == "odom"
    assert nanoseconds(message.header.stamp) == stamp
    assert (message.height, message.is_dense) == (1, True)
    read = read_points(message)
    np.testing.assert_array_equal(np.stack([read["x"], read["y"], read["z"]], axis=1), found.positions)
    packed = found.colors.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    np.testing.assert_array_equal(read["rgb"].view(np.uint32), packed)
    wait_until(lambda: mapping.diagnostics().get("map_points") == str(len(found.positions)), "the diagnostics")


def test_who_comes_late_gets_the_last_map(inside, mapping):
    (stamp,) = mapping.exchange(step=0.25)
    early = hear(mapping, "early")  # the empty map of the reset before, perhaps, and then this one
    wait_until(lambda: early and nanoseconds(early[-1].header.stamp) == stamp, "the map")
    with closing(Bench("late")) as late:
        heard = hear(late, "map")
        wait_until(lambda: heard, "the latched map")
        assert heard[0].width == early[-1].width > 0


def test_only_so_many_frames_are_taken(inside, mapping, monkeypatch):
    insert, inserted = VoxelMap.insert, []
    monkeypatch.setattr(VoxelMap, "insert", lambda *args: (inserted.append(1), insert(*args)))
    for _ in range(6):
        before = len(inserted)
        mapping.exchange(2, step=0.1)
        wait_until(lambda before=before: len(inserted) > before, "a frame to be taken")
    assert len(inserted) <= 7  # every second one: 0.2 s


def test_a_reset_of_the_odometry_forgets_the_map(inside, mapping, monkeypatch):
    heard = hear(mapping, "reset")
    mapping.exchange(3, step=0.25)
    wait_until(lambda: heard and heard[-1].width, "a map")
    inside.set(publish_map=False)
    mapping.exchange()
    wait_until(lambda: heard[-1].width == 0, "an empty map")
    inside.set(publish_map=True)
    assert len(mapped(inside, mapping, 2)[1].positions)
    made: list[VoxelMap] = []
    monkeypatch.setattr(map_output, "VoxelMap", lambda *args: made.append(VoxelMap(*args)) or made[-1])
    mapped(inside, mapping)
    assert not made  # it is the same map
    assert "map" not in mapping.call(Trigger, "/ttt3r/reset").message
    mapped(inside, mapping)
    assert not made  # the pose goes on in the same frame
    answer = mapping.call(Trigger, "/ttt3r/reset_odometry")
    assert answer.message.endswith("starts again from the origin; the accumulated map is discarded")
    mapped(inside, mapping)
    assert len(made) == 1


def test_a_full_map_says_so_and_stays_within_its_bound(inside, mapping, capfd):
    capfd.readouterr()
    inside.set(map_voxel_size=0.01, map_max_points=1000)
    _, found = mapped(inside, mapping, 6)
    said: list[str] = []

    def is_said() -> bool:
        said.append(capfd.readouterr().err)
        return "the map is full with 1000 points" in "".join(said)

    wait_until(is_said, "a word about it")
    assert 100 < len(found.positions) <= 1000


def test_a_map_that_fails_holds_nobody_up(inside, mapping, monkeypatch, capfd):
    said: list[str] = []

    def errors() -> list[str]:
        said.extend(line for line in capfd.readouterr().err.splitlines() if "[ERROR]" in line)
        return said

    errors()

    def broken(*_args: object) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(VoxelMap, "insert", broken)
        assert mapping.exchange(5, step=0.25)
        wait_until(errors, "the failure to be said")
    assert len(errors()) == 1
    assert said[0].endswith("the map failed (MemoryError: no room)")
    # the last frame of these may wait still, and then the next one is skipped
    found = wait_until(lambda: mapping.exchange(step=0.25) and the_map(inside).points(), "a map again")
    assert len(found.positions)


def test_frames_do_not_wait_for_the_map(inside, mapping, monkeypatch):
    insert, begun, may_end = VoxelMap.insert, threading.Event(), threading.Event()

    def slow(*args: object) -> None:
        begun.set()
        assert may_end.wait(PATIENCE)
        insert(*args)

    monkeypatch.setattr(VoxelMap, "insert", slow)
    try:
        mapping.exchange(8, step=0.25)
        assert begun.wait(PATIENCE)
        assert mapping.call(Trigger, "/ttt3r/reset_odometry").success
        assert mapping.exchange(2)
    finally:
        may_end.set()


def test_the_saved_map_is_the_published_one(inside, mapping):
    _, found = mapped(inside, mapping, 3)
    answer = mapping.call(Trigger, "/ttt3r/save_map")
    assert answer.success, answer.message
    header, _, body = Path(answer.message.split()[4]).read_bytes().partition(b"end_header\n")
    assert b"comment metres in the frame odom\n" in header
    assert f"element vertex {len(found.positions)}\n".encode() in header
    vertices = np.frombuffer(body, [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    np.testing.assert_array_equal(vertices["xyz"], found.positions)
    np.testing.assert_array_equal(vertices["rgb"], found.colors)
