"""The map as a whole, fed by a network that is never wrong and an odometry that drifts."""

from __future__ import annotations

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from benchmark.perfect_network import PerfectBackbone, drifting, result_of
from ttt3r_ros.evaluation.metrics import Trajectory, compare_trajectories
from ttt3r_ros.geometry import T_from_pose, inverse
from ttt3r_ros.places import thinning
from ttt3r_ros.places.graph import Edge, Sigmas
from ttt3r_ros.places.map_file import from_bytes, to_bytes
from ttt3r_ros.places.odometry_edge import MIN_SIGMAS
from ttt3r_ros.places.place_map import PlaceMap
from ttt3r_ros.places.settings import MapSettings
from ttt3r_ros.places.similarity import Similarity
from ttt3r_ros.places.two_frame import both_ways
from ttt3r_ros.places.verification import PoseSkill
from ttt3r_ros.synthetic import Sequence
from ttt3r_ros.weights.load import load_weights

pytestmark = pytest.mark.slow

#: The walk. Its odometry drifts by 2 % and 1.7 deg in a meter, which is what odometry says of itself.
FRAMES, FPS = 42, 3.0


@pytest.fixture(scope="module")
def backbone() -> PerfectBackbone:
    torch.set_num_threads(1)
    sequence = Sequence(7, FRAMES, width=160, height=120, fps=FPS, motion="revisiting")
    return PerfectBackbone(load_weights("").network, sequence)


ORIGIN = np.eye(4)
STAMPS = [round(i * 1e9 / FPS) for i in range(FRAMES)]


def fed(
    place_map: PlaceMap,
    backbone: PerfectBackbone,
    frames: range,
    *,
    drift: float = 0.02,
    stamp_ns: int = 0,
    start: np.ndarray = ORIGIN,
    waits: bool = False,
):
    """Feed frames whose odometry begins at its own origin, or another pose; return the odometry's poses.

    Between two of them the map does its work, and waits, if asked to, for what is done beside.
    """
    poses, scales = drifting(backbone.poses[list(frames)], scale_per_meter=drift, radians_per_meter=1.5 * drift)
    poses = [start @ inverse(poses[0]) @ T for T in poses]
    for index, T, scale in zip(frames, poses, scales):
        begins = index == frames[0]
        place_map.add(*result_of(backbone, index, stamp_ns + STAMPS[index], T, scale, begins=begins))
        while place_map.work():
            pass
        if waits:
            place_map.finish()
    return poses


#: Angles between the frames that the network was measured by on that walk [rad].
TURNS: list[float] = []


@pytest.fixture(scope="module")
def whole(backbone) -> tuple[PlaceMap, list[np.ndarray]]:
    def noting(network, old, new):
        TURNS.append(Similarity.of(inverse(old.T_odom_camera) @ new.T_odom_camera).angle)
        return both_ways(network, old, new)

    place_map = PlaceMap(backbone)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ttt3r_ros.places.place_map.both_ways", noting)
        poses = fed(place_map, backbone, range(FRAMES))
    place_map.finish()
    return place_map, poses


def error(backbone: PerfectBackbone, frames: range, poses: list[np.ndarray], *, scaled: bool = False) -> float:
    stamps = [STAMPS[i] for i in frames]
    truth = Trajectory.from_transforms(stamps, list(backbone.poses[list(frames)]))
    found = compare_trajectories(Trajectory.from_transforms(stamps, poses), truth)
    return found.ate_rmse_scaled_m if scaled else found.ate_rmse_m


def test_drift_is_taken_back(backbone, whole):
    place_map, odometry = whole
    before = error(backbone, range(FRAMES), odometry)
    after = error(backbone, range(FRAMES), place_map.corrected(STAMPS, odometry), scaled=True)
    assert before > 0.25
    assert after < 0.06 * before
    assert place_map.counts.accepted > 5


def test_every_recognized_place_is_the_right_one(backbone, whole):
    place_map, _ = whole
    index_of = {k.number: STAMPS.index(k.stamp_ns) for k in place_map.content().keyframes}
    recognized = [edge for edge in place_map.content().edges if edge.is_place]
    assert recognized
    for edge in recognized:
        true = inverse(backbone.poses[index_of[edge.first]]) @ backbone.poses[index_of[edge.second]]
        turned = edge.S_first_second.R.T @ true[:3, :3]
        angle = np.arccos(np.clip((np.trace(turned) - 1) / 2, -1, 1))
        assert angle < max(0.05, 4 * edge.sigmas.rotation)


def test_the_odometry_moves_in_the_map_without_a_jump_but_by_corrections(backbone):
    """map -> odom is the identity until something is recognized, and moves rigidly with the camera."""
    place_map = PlaceMap(backbone)
    assert place_map.T_map_odom(np.eye(4)) is None
    poses = fed(place_map, backbone, range(6))
    np.testing.assert_allclose(place_map.T_map_odom(poses[-1]), np.eye(4), atol=1e-9)


def test_a_false_place_that_passed_every_check_is_rejected_by_the_graph(backbone, whole):
    place_map, odometry, content = PlaceMap(backbone), whole[1], whole[0].content()
    expected = whole[0].corrected(STAMPS, odometry)
    numbers = [k.number for k in content.keyframes]
    moved = Similarity.of(T_from_pose([2.0, 0.5, 0], [1, 0, 0, 0]))
    false = Edge(numbers[2], numbers[-2], moved, Sigmas(0.02, 0.05, 0.05), True)
    place_map.resume(replace(content, edges=(*content.edges, false)))
    place_map.finish()
    content = place_map.content()
    rejected = [content.edges[i] for i in content.rejected]
    assert [(edge.first, edge.second) for edge in rejected] == [(false.first, false.second)]
    for a, b in zip(place_map.corrected(STAMPS, odometry), expected):
        assert np.linalg.norm(a[:3, 3] - b[:3, 3]) < 0.05


def in_its_place(backbone, place_map: PlaceMap, stamp_ns: int) -> bool:
    """Return whether the last keyframe, of frames that came so much later, is where the truth says beside old ones."""
    content = place_map.content()
    index_of = {k.number: STAMPS.index(k.stamp_ns % stamp_ns) for k in content.keyframes}
    poses = {k.number: pose for k, pose in zip(content.keyframes, content.poses)}
    last = content.keyframes[-1].number
    nearest = min(
        (k.number for k in content.keyframes if k.stamp_ns < stamp_ns),
        key=lambda n: np.linalg.norm(backbone.poses[index_of[n]][:3, 3] - backbone.poses[index_of[last]][:3, 3]),
    )
    true = inverse(backbone.poses[index_of[nearest]]) @ backbone.poses[index_of[last]]
    found = poses[nearest].inverse() @ poses[last]
    return np.linalg.norm(found.t - true[:3, 3]) < 0.3 and np.linalg.norm(found.R - true[:3, :3]) < 0.3


class Busy(Executor):
    """Solves nothing."""

    def submit(self, fn, /, *args, **kwargs):
        return Future()


def test_a_camera_that_was_carried_away_unseen_is_put_where_it_is_before_the_graph_is_solved(backbone):
    """From where odometry says that it is, turned around and meters away, the graph may not find the way."""
    place_map, half = PlaceMap(backbone, executor=Busy()), np.deg2rad(150) / 2
    before = fed(place_map, backbone, range(24), drift=0.0)
    start = before[-1] @ T_from_pose([4, 0, 0], [np.cos(half), 0, np.sin(half), 0])
    odometry = fed(place_map, backbone, range(26, 40), drift=0.0, stamp_ns=10**12, start=start)
    assert place_map.counts.accepted > 1
    assert place_map.counts.solved == 0
    assert in_its_place(backbone, place_map, 10**12)
    assert place_map.T_map_odom(odometry[-1]) is not None


def test_a_camera_that_was_carried_back_unseen_is_compared_with_where_it_has_just_been(backbone, monkeypatch):
    """Odometry has come from none of these keyframes, however few there have been since."""
    monkeypatch.setattr("ttt3r_ros.places.place_map.RECENT", 1000)
    place_map = PlaceMap(backbone)
    fed(place_map, backbone, range(24))
    assert place_map.counts.accepted == 0
    fed(place_map, backbone, range(14, 24), stamp_ns=10**12)
    place_map.finish()
    assert place_map.counts.accepted > 1
    assert in_its_place(backbone, place_map, 10**12)


def test_a_robot_that_starts_in_a_saved_map_finds_itself_and_not_before(backbone, whole, monkeypatch):
    saved = from_bytes(to_bytes(whole[0].content(), backbone), backbone, "a map")
    place_map, was_localized = PlaceMap(backbone), list[bool]()

    def noting(network, old, new):
        was_localized.append(place_map.is_localized)
        return both_ways(network, old, new)

    monkeypatch.setattr("ttt3r_ros.places.verification.both_ways", noting)
    place_map.load(saved)
    assert place_map.T_map_odom(np.eye(4)) is None
    place_map.start_track()
    frames = range(24, 40)
    # a new odometry, a new clock
    odometry = fed(place_map, backbone, frames, drift=0.01, stamp_ns=10**15)
    place_map.finish()
    assert place_map.is_localized
    assert was_localized
    assert not any(was_localized)  # then odometry is the better witness
    assert "recognized a place" in " ".join(place_map.events())
    assert in_its_place(backbone, place_map, 10**15)
    assert place_map.T_map_odom(odometry[-1]) is not None


def test_the_bound_holds_and_the_map_stays_useful(backbone):
    place_map = PlaceMap(backbone, MapSettings(map_max_keyframes=20))
    odometry = fed(place_map, backbone, range(FRAMES))
    place_map.finish()
    content = place_map.content()
    assert len(content.keyframes) <= 20
    assert place_map.counts.thinned > 0
    assert content.keyframes[0].number == 0  # age does not count
    numbers = {k.number for k in content.keyframes}
    assert all({e.first, e.second} <= numbers for e in content.edges)
    before = error(backbone, range(FRAMES), odometry)
    assert error(backbone, range(FRAMES), place_map.corrected(STAMPS, odometry), scaled=True) < 0.15 * before


@pytest.mark.slow
def test_a_full_map_keeps_few_of_its_places(backbone, monkeypatch):
    def places(most: int) -> int:
        monkeypatch.setattr(thinning, "MAX_PLACES", most)
        place_map = PlaceMap(backbone, MapSettings(map_max_keyframes=20))
        fed(place_map, backbone, range(FRAMES))
        place_map.finish()
        return sum(edge.is_place for edge in place_map.content().edges)

    assert places(0) < places(100)


def test_a_computer_without_time_for_all_keyframes_recognizes_places_from_some(backbone, whole):
    """It does two pieces of work between two frames, where looking for one keyframe's place takes twenty."""
    place_map = PlaceMap(backbone)
    place_map.load(whole[0].content())
    for lap, index in product(range(3), range(22, FRAMES)):
        place_map.add(*result_of(backbone, index, STAMPS[index] + (lap + 1) * 10**12, backbone.poses[index], 1.0))
        place_map.work()
        place_map.work()
    assert place_map.counts.skipped >= 10
    assert "little time" in " ".join(place_map.events())
    assert place_map.is_localized
    assert in_its_place(backbone, place_map, 10**12)


def test_keyframes_that_are_dropped_while_they_are_compared_do_no_harm(backbone):
    """A slow computer does two pieces of work between two frames."""
    place_map = PlaceMap(backbone, MapSettings(map_max_keyframes=20))
    for lap, index in product(range(2), range(FRAMES)):
        place_map.add(*result_of(backbone, index, STAMPS[index] + lap * 10**11, backbone.poses[index], 1.0))
        place_map.work()
        place_map.work()
    place_map.finish()
    numbers = {k.number for k in place_map.content().keyframes}
    assert all({e.first, e.second} <= numbers for e in place_map.content().edges)


def test_what_is_done_beside_takes_drift_back_too(backbone):
    with ThreadPoolExecutor(1) as solver, ThreadPoolExecutor(1) as helper:
        place_map = PlaceMap(backbone, executor=solver, helper=helper)
        odometry = fed(place_map, backbone, range(34), waits=True)
    before = error(backbone, range(34), odometry)
    assert place_map.counts.solved > 0
    corrected = error(backbone, range(34), place_map.corrected(STAMPS[:34], odometry), scaled=True)
    assert corrected < 0.25 * before  # when a solution comes, and so what it holds, depends on the machine


def test_a_map_that_waits_for_features_has_no_work(backbone):
    place_map = PlaceMap(backbone, helper=Busy())
    fed(place_map, backbone, range(FRAMES))
    assert not place_map.has_work
    assert place_map.counts.accepted == 0 == sum(place_map.counts.refused.values())
    place_map.start_track()
    fed(place_map, backbone, range(3))


def test_a_gap_is_a_weak_edge_and_a_new_track_is_none(backbone):
    place_map = PlaceMap(backbone)
    fed(place_map, backbone, range(8))
    T = T_from_pose([0.5, 0, 0], [1, 0, 0, 0])
    frame, result, points = result_of(backbone, 9, STAMPS[8] + 5 * 10**9, T, 1.0, begins=True)
    assert place_map.add(frame, result, points)
    odometry = [edge for edge in place_map.content().edges if not edge.is_place]
    assert odometry[-1].sigmas.translation > 1.0 > 10 * odometry[-2].sigmas.translation
    for stamp, step, is_far in ((-15, -21, True), (5, 19, False)):  # a bag that begins anew, and a clock that is set
        frame, result, points = result_of(backbone, 20 + stamp, STAMPS[8] + stamp * 10**9, T, 1.0, begins=True)
        assert place_map.add(replace(frame, clock_step_ns=step * 10**9), result, points)
        edge = [edge for edge in place_map.content().edges if not edge.is_place][-1]
        assert (edge.sigmas.translation > 3.0) == is_far
    place_map.start_track()
    assert not place_map.is_localized
    count = len(place_map.content().edges)
    assert place_map.add(*result_of(backbone, 30, STAMPS[8] + 6 * 10**9, T, 1.0, begins=True))
    assert len(place_map.content().edges) == count


def test_the_network_is_measured_once_and_only_where_the_camera_turns(backbone, whole):
    assert 1 < len(TURNS) <= PoseSkill.WANTED / 2
    assert min(TURNS) >= PoseSkill.MIN_ANGLE
    measured = whole[0].content().skill
    assert measured.is_good
    saved = from_bytes(to_bytes(whole[0].content(), backbone), backbone, "a map")
    for go_on in (PlaceMap.resume, PlaceMap.load):
        place_map = PlaceMap(backbone)
        go_on(place_map, saved)
        assert place_map.content().skill == measured


def test_a_stream_that_is_resumed_knows_how_far_it_has_come_from_the_last_keyframe(backbone):
    before = PlaceMap(backbone)
    fed(before, backbone, range(4))
    saved, place_map = before.content(), PlaceMap(backbone)
    place_map.resume(saved)
    last = saved.keyframes[-1]
    further = last.T_odom_camera @ T_from_pose([0, 0, 1.0], [1, 0, 0, 0])
    assert place_map.add(*result_of(backbone, 4, last.stamp_ns + 10**9, further, 1.0, begins=False))
    edge = [edge for edge in place_map.content().edges if not edge.is_place][-1]
    assert edge.first == last.number
    assert edge.sigmas.translation > 2 * MIN_SIGMAS.translation
