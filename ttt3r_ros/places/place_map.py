"""The map of places: what comes of the frames, one by one, and where the odometry's frame stands in it.

A *track* is a stretch of odometry in one frame of its own: a stream begins one, `start_track` begins another. The map's
frame is that of its oldest track. A younger track has no place in the map until a place is recognized from it.

`add` takes a frame that has been published, and is cheap. All else is work for the time between frames: `work` does a
piece of it, not much longer than a step of the network, so that a waiting image never waits for more than one. The
graph is solved in another thread. Nothing here is safe for use from several threads at once, but `content`, which
saving reads, is a value of its own.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, wait
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, T_from_pose, inverse, quaternion_from_rotation
from ttt3r_ros.places import graph
from ttt3r_ros.places.candidates import best, similarities
from ttt3r_ros.places.content import Correction, Counts, MapContent
from ttt3r_ros.places.drift import Drift, Hint
from ttt3r_ros.places.expectation import MAX_SIGMAS, Expectation
from ttt3r_ros.places.graph import Edge, Problem, ScalePrior, Sigmas, Solution
from ttt3r_ros.places.keyframe import Keyframe, keyframe_of
from ttt3r_ros.places.matching import Features, features_of
from ttt3r_ros.places.odometry_edge import Stretch
from ttt3r_ros.places.pieces import Pieces
from ttt3r_ros.places.settings import MapSettings
from ttt3r_ros.places.similarity import Similarity
from ttt3r_ros.places.thinning import connected, redundant, sparse, without
from ttt3r_ros.places.two_frame import both_ways
from ttt3r_ros.places.verification import (
    THRESHOLDS,
    PoseSkill,
    Thresholds,
    agree,
    difference,
    verify,
)
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.covariance import CovarianceModel
from ttt3r_ros.stream.estimate import Float32Array
from ttt3r_ros.stream.keyframes import View, has_moved, overlap, view_of
from ttt3r_ros.stream.stream import CameraFrame, StreamResult

#: A view becomes a keyframe of the map if its overlap with the one before is below this; more than a segment's, since
#: a place must be recognized from near a keyframe.
NEW_VIEW = 0.8
#: Keyframes that a new one is not compared with, since odometry has just come from there: it has seen all motion since.
RECENT = 12
#: Candidates that are verified for a keyframe, and how similar they must be.
CANDIDATES, MIN_SIMILARITY = 3, 0.2
#: Keyframes within so many of one another, or this near [m], show one place and are compared as one.
NEIGHBORS, NEAR_M = 4, 0.5
#: A recognized place waits for another one to agree with it, for as many keyframes whose places are looked for.
PAIR_WITHIN = 8
#: Two recognized places that put one camera this far apart [median depths], or turn it this far [rad], are alike.
ALIKE_OFFSET, ALIKE_ANGLE = 0.5, 0.35
#: Where the position is uncertain by more than this [median depths], several places may fit: all candidates count, and
#: the network is asked.
UNSURE = 0.5
#: Odometry whose rotation is uncertain by more than this has not seen the motion [rad].
UNSEEN = 0.35
#: A place farther away than this many standard deviations, beyond the distance at which one place is seen, is none.
GATE_SIGMAS = 3.0
#: Standard deviation of the logarithm of the network's own meters in a segment: what keeps the map's scale.
METERS_SIGMA = 0.1
#: Share of the keyframes that go when the map is full.
THINNED = 0.05
#: Share by which the map must have grown before the graph is solved again, where that is not done beside.
SOLVE_GROWN = 0.05
#: Keyframes whose recognition may wait; older ones are given up, so that a slow computer is never far behind. The one
#: that has begun is not: else nothing would ever be finished where keyframes come faster than that.
MAX_WAITING = 4
#: Once so many have been given up, and such a share of all, it is said.
MANY_SKIPPED, LARGE_SHARE = 10, 0.3
#: Features of keyframes are kept of so many (0.3 MB each).
KEPT_FEATURES = 128
#: Keyframes of its own that a map keeps to which nothing is added: enough to compare the next one with.
KEPT_IN_PASSING = 24
#: Keyframes among which a place near a hinted pose is looked for before the hint is given up.
HINTED_KEYFRAMES = 20


Pair = tuple[int, int]


class PlaceMap:
    """Frames in, the odometry's place in the map out.

    Attributes:
        counts: what has happened so far.
        correction: what the last solution of the graph has changed; None before the first.
    """

    def __init__(
        self,
        backbone: Backbone,
        settings: MapSettings | None = None,
        *,
        covariance: CovarianceModel | None = None,
        executor: Executor | None = None,
        helper: Executor | None = None,
        thresholds: Thresholds = THRESHOLDS,
    ) -> None:
        """Begin with an empty map.

        Args:
            backbone: the stream's network; used only in `work`.
            settings: how the map grows.
            covariance: how odometry's errors grow.
            executor: solves the graph beside; where there is none, `work` does.
            helper: likewise, finds the features of images, for which `work` has no time: that of a large image takes
                as long as several steps of a small network.
            thresholds: of the checks.

        Raises:
            UserError: GTSAM is not installed, or too old.
        """
        graph.gtsam()
        self._backbone, self._settings = backbone, MapSettings() if settings is None else settings
        self._model = CovarianceModel() if covariance is None else covariance
        self._executor, self._helper, self._thresholds = executor, helper, thresholds
        self.counts = Counts()
        self.correction: Correction | None = None
        self._keyframes: dict[int, Keyframe] = {}
        self._poses: dict[int, Similarity] = {}
        self._odometry: list[Edge] = []
        self._places: dict[Pair, Edge] = {}
        self._rejected: set[Pair] = set()
        self._pending: list[Edge] = []
        self._tried: deque[int] = deque(maxlen=PAIR_WITHIN + 1)  # numbers of keyframes whose places were looked for
        self._connected: set[int] = set()  # numbers of the keyframes that have a place in the map
        self._loaded: set[int] = set()  # numbers of the keyframes that come from a file
        self._hint: Hint | None = None
        self._changes = 0  # that no count tells
        self._next_number, self._track = 0, 0
        self._come, self._is_late = 0, False  # keyframes that frames have become; whether much was given up, and said
        self._last: int | None = None  # the track's last keyframe
        self._view: View | None = None
        self._path: Stretch | None = None
        self._T_looked: FloatArray | None = None
        self._features: dict[int, Features] = {}
        self._finding: Future[Features] | None = None  # what the first of those that wait is waiting for
        self._waiting: deque[Pieces[None]] = deque()
        self._thinning: Pieces[None] | None = None
        self._solving: Future[Solution] | None = None
        self._problem_solving: Problem | None = None
        self._is_stale = False
        self._drift, self._sigma_then = Drift(), 0.0  # since the graph was solved, and what it said then
        self._turn_then = 0.0
        self._sigmas: dict[int, float] = {}
        self._solved_at = -1
        self._skill = PoseSkill()
        self._events: list[str] = []

    # what a frame brings

    def add(
        self,
        frame: CameraFrame,
        result: StreamResult,
        points: Callable[[], tuple[Float32Array, Float32Array] | None],
    ) -> bool:
        """Take in a frame, once it has been published; return whether it became a keyframe.

        Args:
            frame: as the stream took it.
            result: what came of it, with a descriptor.
            points: returns the frame's points (H, W, 3) [m] and confidence; called for frames that may be keyframes.
        """
        self._collect()
        if self._path is not None and frame.clock_step_ns > 0:  # back: a bag may begin anew, with its camera
            self._path = replace(self._path, stamp_ns=self._path.stamp_ns + frame.clock_step_ns)
        estimate, motion = result.estimate, result.motion
        if estimate is None or motion is None:
            return False
        T = motion.T_odom_base @ frame.T_base_camera
        is_known = estimate.segment_frames > 1
        if self._path is None:
            self._path = Stretch(T, result.stamp_ns, estimate.segment)
        else:
            self._path = self._path.extended(
                T, result.stamp_ns, estimate.segment, motion.added, self._model, is_known=is_known
            )
        if estimate.descriptor is None or estimate.intrinsics is None:
            return False
        view = self._view if is_known else None  # after a gap, every view is a new one
        if view is not None and self._T_looked is not None and not has_moved(self._T_looked, T, view.median_depth):
            return False
        self._T_looked = T
        found = points()
        seen = None if found is None else view_of(found[0], T)
        if found is None or seen is None or not np.isfinite(seen.median_depth):
            return False
        if view is not None and overlap(seen, [view]) >= NEW_VIEW:
            return False
        self._view = seen
        depth = np.ascontiguousarray(found[0][..., 2])
        keyframe = keyframe_of(
            self._next_number, self._track, result.stamp_ns, frame.image, estimate, (depth, found[1]), T
        )
        self._insert(keyframe)
        return True

    def start_track(self) -> None:
        """Say that the next frame's pose has nothing to do with the poses before: odometry starts anew."""
        self._track += 1
        self._last = self._view = self._path = self._T_looked = None
        self._waiting.clear()
        self._thinning = None
        self._pending.clear()
        self._tried.clear()
        self._drift, self._hint = Drift(), None

    def take_hint(self, T_map_odom: FloatArray, sigma: float) -> None:
        """Take someone's word on where the odometry stands in the map: it has a place there once one is recognized.

        Places elsewhere are no candidates for the next `HINTED_KEYFRAMES` keyframes.

        Args:
            T_map_odom: (4, 4).
            sigma: standard deviation of the camera's position [m].

        Raises:
            UserError: the map has no place that could be recognized.
        """
        if not any(number in self._connected for number in self._keyframes):
            raise UserError("there is no map yet in which a pose could be looked for")
        self.start_track()
        self._hint = Hint(T_map_odom, sigma, HINTED_KEYFRAMES)

    def move_axes(self, T_new_old: FloatArray) -> None:
        """Express the map in another frame, in which the former one has this (4, 4) pose."""
        S_new_old = Similarity.of(T_new_old)
        self._solving = None
        self._changes += 1
        self._is_stale = self._is_stale or bool(self._places)
        self._poses |= {number: S_new_old @ self._poses[number] for number in self._connected}

    def _insert(self, keyframe: Keyframe) -> None:
        number = keyframe.number
        self._next_number += 1
        self._come += 1
        self._keyframes[number] = keyframe
        assert self._path is not None
        measures: Pieces[None] | None = None
        if self._last is None:
            self._poses[number] = Similarity.of(keyframe.T_odom_camera)
            self._drift, self._sigma_then, self._turn_then, self._sigmas[number] = Drift(), 0.0, 0.0, 0.0
            if not self._connected and not self._settings.localization_only:  # the first track is the map
                self._connected.add(number)
        else:
            before = self._keyframes[self._last]
            moved = Similarity.of(inverse(before.T_odom_camera) @ keyframe.T_odom_camera)
            self._poses[number] = self._poses[self._last] @ moved
            self._odometry.append(Edge(self._last, number, moved, self._path.sigmas))
            self._drift = self._drift.after(self._path.sigmas, moved.distance)
            if self._last in self._connected:
                self._connected.add(number)
            self._sigmas[number] = math.hypot(self._sigma_then, self._drift.sigma)
            if self._path.is_known and self._skill.wants(moved):
                measures = self._measure_skill(before, keyframe, moved)
        self._path = self._path.restarted()
        self._last = number
        self._waiting.append(self._recognize(keyframe, measures))
        while len(self._waiting) > MAX_WAITING:
            self._skip(1 if self._waiting[1] is not self._thinning else 2)
        self._bound()

    def _skip(self, index: int) -> None:
        """Give up what waits there, since there is no time for it."""
        self._waiting[index].close()
        del self._waiting[index]
        self.counts.skipped += 1
        is_much = self.counts.skipped >= max(MANY_SKIPPED, LARGE_SHARE * self._come)
        if is_much and not self._is_late:
            self._is_late = True
            self._events.append(
                "this computer leaves the map little time: known places are looked for in some keyframes only, and are "
                "recognized later (map_keyframes_skipped in /diagnostics)"
            )

    # what is done between frames

    @property
    def has_work(self) -> bool:
        """Whether `work` has something to do."""
        return self._can_go_on or self._must_solve

    @property
    def _can_go_on(self) -> bool:
        return bool(self._waiting) and (self._finding is None or self._finding.done())

    def work(self) -> bool:
        """Do a piece of work, as long as a step of the network at most; return whether there is more."""
        self._collect()
        if self._can_go_on:
            try:
                next(self._waiting[0])
            except StopIteration:
                self._waiting.popleft()
        elif self._must_solve:
            self._solve()
        return self.has_work

    @property
    def _must_solve(self) -> bool:
        """Whether to solve the graph now: beside, as often as it can be; else not again before the map has grown."""
        if not self._is_stale or self._solving is not None:
            return False
        grown = self._next_number - self._solved_at
        return self._executor is not None or self._solved_at < 0 or grown > SOLVE_GROWN * len(self._keyframes)

    def finish(self) -> None:
        """Do all the work that there is, and wait for the graph."""
        while self._waiting or self._is_stale or self._solving is not None:
            if self._solving is not None:
                wait([self._solving])
                self._collect()
            elif self.has_work:
                self.work()
            elif self._finding is not None:
                wait([self._finding])
            else:
                self._solve()

    def _measure_skill(self, old: Keyframe, new: Keyframe, S_old_new: Similarity) -> Pieces[None]:
        """Find out on a pair whose pose odometry knows whether the network can tell the pose between two keyframes."""
        looks = yield from both_ways(self._backbone, old, new)
        if looks is not None:
            self._skill = self._skill.after(looks, S_old_new)

    def _recognize(self, keyframe: Keyframe, measures: Pieces[None] | None) -> Pieces[None]:
        """Look for the place that a keyframe shows among earlier ones, after measuring the network on it if asked to.

        Between two pieces the map may drop any of them.
        """
        if measures is not None:
            yield from measures
        self._tried.append(keyframe.number)
        numbers = self._candidates(keyframe) if keyframe.number in self._keyframes else []
        if not numbers:
            return
        yield
        expectation, verified = self._expectation(keyframe.number), list[Edge]()
        for number in numbers:
            if (old := self._keyframes.get(number)) is None:
                continue
            features_old = yield from self._features_of(old)
            yield
            features = features_old, (yield from self._features_of(keyframe))
            yield
            if not {number, keyframe.number} <= self._keyframes.keys():
                continue
            is_sure = expectation.position_sigma(number) < UNSURE * self._poses[number].scale * keyframe.median_depth
            asks_network = self._skill.is_good and not is_sure
            outcome = yield from verify(
                self._backbone, old, keyframe, *features, self._thresholds, asks_network=asks_network
            )
            yield
            if isinstance(outcome, str):
                self._refuse(outcome)
            elif expectation.excludes(outcome):
                self._refuse("odometry excludes it")
            else:
                verified.append(outcome)
                if is_sure:
                    break  # there is no other place that it can be
        verified = [edge for edge in verified if {edge.first, edge.second} <= self._keyframes.keys()]
        if self._are_alike(verified, keyframe):
            for _ in verified:
                self._refuse("several places look alike")
            return
        for edge in verified:
            self._confirm(edge)

    def _expectation(self, number: int) -> Expectation:
        """Return what the graph says of the keyframes' poses relative to one of them."""
        places = (edge for pair, edge in self._places.items() if pair not in self._rejected)
        return Expectation(number, dict(self._poses), (*self._odometry, *places))

    def _candidates(self, keyframe: Keyframe) -> list[int]:
        """Return the numbers of the keyframes that may show the same place, most similar first."""
        known = self._loaded if self._settings.localization_only else self._keyframes
        others = [n for n in self._keyframes if n < keyframe.number and n in known]
        order = list(self._keyframes)
        rank = {number: index for index, number in enumerate(order)}
        here = rank[keyframe.number]
        if len(others) < 2:
            return []
        similarity = similarities(np.stack([self._keyframes[n].descriptor for n in others]), keyframe.descriptor)
        is_connected = keyframe.number in self._connected
        positions = np.stack([self._poses[n].t for n in others])
        reach, here_t = self._reach(keyframe, others), self._poses[keyframe.number].t
        hint = None if is_connected else self._hint
        if hint is not None and hint.keyframes_left > 0:
            self._hint = replace(hint, keyframes_left=hint.keyframes_left - 1)
        elif hint is not None:
            hint = self._hint = None
            self._events.append("no place near the hinted pose has been recognized; places are looked for everywhere")
        if hint is not None:
            here_t = (hint.T_map_odom @ keyframe.T_odom_camera)[:3, 3]
            visible = self._thresholds.max_distance * keyframe.median_depth
            reach = np.full(len(others), GATE_SIGMAS * hint.sigma + visible)
        put_down = (e.second for e in self._odometry if e.sigmas.rotation >= UNSEEN and e.second <= keyframe.number)
        first_seen = max(put_down, default=0)  # of the keyframes since a motion that odometry has not seen
        for index, number in enumerate(others):
            old = self._keyframes[number]
            is_recent = old.track == keyframe.track and here - rank[number] <= RECENT and number >= first_seen
            same_frame = (number in self._connected) == (is_connected or hint is not None)
            is_far = same_frame and np.linalg.norm(positions[index] - here_t) > reach[index]
            if is_recent or (is_connected and number not in self._connected) or is_far:
                similarity[index] = -np.inf
        ranks = np.array([rank[n] for n in others])

        def near(index: int) -> npt.NDArray[np.bool_]:
            apart = np.linalg.norm(positions - positions[index], axis=1)
            return np.asarray((np.abs(ranks - ranks[index]) <= NEIGHBORS) | (apart < NEAR_M))

        return [others[index] for index in best(similarity, near, CANDIDATES, MIN_SIMILARITY)]

    def _reach(self, keyframe: Keyframe, others: list[int]) -> FloatArray:
        """Return how far from the keyframe each other one can be, as the graph knows it, that sees the same [m]."""
        if keyframe.number not in self._connected:
            return np.full(len(others), np.inf)
        sigmas = np.hypot([self._sigmas.get(n, 0.0) for n in others], self._sigmas.get(keyframe.number, 0.0))
        scale = self._poses[keyframe.number].scale
        return np.asarray(GATE_SIGMAS * sigmas + self._thresholds.max_distance * keyframe.median_depth * scale)

    def _are_alike(self, edges: list[Edge], keyframe: Keyframe) -> bool:
        """Return whether recognized places contradict one another about where the camera is."""
        seen = [(self._poses[edge.first] @ edge.S_first_second, edge) for edge in edges]
        for index, (a, edge_a) in enumerate(seen[1:], start=1):
            expectation = self._expectation(edge_a.first)
            for b, edge_b in seen[:index]:
                angle, offset, _ = difference(a, b)
                sigma = expectation.position_sigma(edge_b.first)
                if offset > ALIKE_OFFSET * a.scale * keyframe.median_depth + MAX_SIGMAS * sigma:
                    return True
                if angle > ALIKE_ANGLE and sigma < NEAR_M:
                    return True
        return False

    def _confirm(self, edge: Edge) -> None:
        """Accept a recognized place if a neighboring one agrees, else let it wait for one."""
        self._pending = [e for e in self._pending if e.second >= self._tried[0]]
        agreeing = [e for e in self._pending if self._agree(e, edge)]
        recent = [e for pair, e in self._places.items() if pair not in self._rejected and self._agree(e, edge)]
        if not agreeing and not recent:
            self._pending.append(edge)
            return
        for accepted in (*agreeing, edge):
            self._accept(accepted)
        self._pending = [e for e in self._pending if e not in agreeing]

    def _agree(self, a: Edge, b: Edge) -> bool:
        """Return whether two recognized places are neighbors and agree on the motion between their keyframes."""
        involved = (a.first, a.second, b.first, b.second)
        if a.second == b.second or a.second < self._tried[0] or any(n not in self._keyframes for n in involved):
            return False
        first, second = self._keyframes[a.second], self._keyframes[b.second]
        if first.track != second.track or (a.first in self._connected) != (b.first in self._connected):
            return False
        moved = Similarity.of(inverse(first.T_odom_camera) @ second.T_odom_camera)
        expected = self._poses[b.first].inverse() @ self._poses[a.first] @ a.S_first_second @ moved
        return agree(b.S_first_second, expected, self._keyframes[b.first].median_depth, self._thresholds)

    def _accept(self, edge: Edge) -> None:
        if edge.first in self._connected:
            self._move(edge)
        self._places[edge.first, edge.second] = edge
        self.counts.accepted += 1
        self._is_stale = True

    def _move(self, edge: Edge) -> None:
        """Put what odometry alone has not placed in the map where a recognized place says it is.

        That is a younger track, or what came after a motion that odometry has not seen. Since it may be turned by any
        angle, the graph would not find there by itself.
        """
        known = [e for e in self._odometry if e.sigmas.rotation < UNSEEN]
        members = connected(edge.second, [*known, *(e for p, e in self._places.items() if p not in self._rejected)])
        stays = self._loaded if self._settings.localization_only else {min(self._connected)}
        if edge.first in members or members & stays:
            return
        if edge.second not in self._connected:
            members = connected(edge.second, self._odometry)
            self._connected |= members
            self._hint = None
            self._events.append("recognized a place of the map: the odometry has its place in the map now")
        S_map_track = self._poses[edge.first] @ edge.S_first_second @ self._poses[edge.second].inverse()
        for number in members:
            self._poses[number] = S_map_track @ self._poses[number]

    def _refuse(self, reason: str) -> None:
        self.counts.refused[reason] = self.counts.refused.get(reason, 0) + 1

    def _features_of(self, keyframe: Keyframe) -> Pieces[Features]:
        found = self._features.pop(keyframe.number, None)
        if found is None and self._helper is not None:
            self._finding = self._helper.submit(features_of, keyframe)
            try:
                while not self._finding.done():
                    yield
                found = self._finding.result()
            finally:
                self._finding = None
        elif found is None:
            found = features_of(keyframe)
        self._features[keyframe.number] = found  # the last one is the most recently used
        while len(self._features) > KEPT_FEATURES:
            del self._features[next(iter(self._features))]
        return found

    # the graph

    def _solve(self) -> None:
        self._is_stale, self._solved_at = False, self._next_number
        problem = self._problem()
        self._problem_solving = problem
        if self._executor is None:
            self._solving = Future()
            try:
                self._solving.set_result(graph.solve(problem))
            except RuntimeError as error:  # GTSAM's own
                self._solving.set_exception(error)
            self._collect()
        else:
            self._solving = self._executor.submit(graph.solve, problem)

    def _problem(self) -> Problem:
        inside, fixed = sorted(self._connected), frozenset[int]()
        places = list(self._places.values())
        if self._settings.localization_only:  # the map stays as it is
            own = self._connected - self._loaded
            places = [edge for edge in places if edge.first in own or edge.second in own]
            fixed = frozenset(n for edge in places for n in (edge.first, edge.second) if n in self._loaded)
            inside = sorted(own | fixed)
        segments: set[tuple[int, int]] = set()
        priors = []
        for number in inside:  # one for each segment, whose meters are one measurement
            keyframe = self._keyframes[number]
            if (segment := (keyframe.track, keyframe.segment)) not in segments:
                segments.add(segment)
                priors.append(ScalePrior(number, -math.log(keyframe.factor), METERS_SIGMA))
        asked = set(inside)
        edges = [
            edge
            for edge in (*self._odometry, *places)
            if edge.first in asked and edge.second in asked and not {edge.first, edge.second} <= fixed
        ]
        return Problem(
            poses={number: self._poses[number] for number in inside},
            anchor=inside[0],
            edges=edges,
            priors=priors,
            fixed=fixed,
        )

    def _collect(self) -> None:
        """Take the solution of the graph where there is a new one."""
        if self._solving is not None and self._solving.done():
            solving, self._solving = self._solving, None
            assert self._problem_solving is not None
            if (error := solving.exception()) is not None:
                self.counts.unsolved += 1
                self._events.append(
                    f"the map's graph could not be solved ({' '.join(str(error).split())[:300]}): the odometry goes on "
                    "uncorrected, and the next recognized place tries again"
                )
            else:
                self._apply(solving.result(), self._problem_solving)

    def _apply(self, solution: Solution, problem: Problem) -> None:
        """Move the keyframes to where the graph has found them; those that came since keep their place beside them."""
        self.counts.solved += 1
        before = None if self._last is None else self._poses[self._last]
        rejected = {(problem.edges[i].first, problem.edges[i].second) for i in solution.rejected}
        asked = {(edge.first, edge.second) for edge in problem.edges if edge.is_place}
        rejected &= set(self._places)
        self._rejected = {pair for pair in self._rejected | rejected if pair not in asked or pair in rejected}
        solved = {number for number in solution.poses if number in self._keyframes and number not in problem.fixed}
        lasting = self._loaded if self._settings.localization_only else ()
        self._poses |= {number: solution.poses[number] for number in solved}
        self._sigmas |= {number: solution.sigmas[number] for number in solved}
        for edge in self._odometry:  # in order, so that each has been moved before the next
            if edge.second in self._connected and edge.second not in solved and edge.second not in lasting:
                if edge.first in solved:
                    self._drift, self._sigma_then = Drift(), self._sigmas[edge.first]
                    self._turn_then = solution.turns[edge.first]
                self._poses[edge.second] = self._poses[edge.first] @ edge.S_first_second
                self._drift = self._drift.after(edge.sigmas, edge.S_first_second.distance)
                self._sigmas[edge.second] = math.hypot(self._sigma_then, self._drift.sigma)
        if self._last in solved:
            self._drift, self._sigma_then = Drift(), self._sigmas[self._last]
            self._turn_then = solution.turns[self._last]
        if self._last is not None and before is not None and self._last in self._connected:
            self.correction = Correction.between(before, self._poses[self._last])

    # what comes of it

    @property
    def size(self) -> int:
        """Number of keyframes."""
        return len(self._keyframes)

    @property
    def rejected(self) -> int:
        """Number of recognized places that the graph rejects."""
        return len(self._rejected)

    @property
    def is_from_file(self) -> bool:
        """Whether a map has been loaded."""
        return bool(self._loaded)

    @property
    def version(self) -> tuple[int, ...]:
        """Another one whenever keyframes, their poses in the map, or edges may have changed."""
        counts = self.counts
        return self._next_number, counts.solved, counts.accepted, counts.thinned, len(self._connected), self._changes

    @property
    def is_localized(self) -> bool:
        """Whether the current odometry has a place in the map."""
        return self._last is not None and self._last in self._connected

    def T_map_odom(self, T_odom_camera: FloatArray) -> FloatArray | None:
        """Return where the odometry's frame stands in the map, (4, 4), for a camera here; None while nobody knows.

        Where odometry's meters are not the map's, it depends on the camera's pose, so ask for every frame.
        """
        if not self.is_localized:
            return None
        assert self._last is not None
        return self._T_map_camera(self._last, T_odom_camera) @ inverse(T_odom_camera)

    @property
    def uncertainty(self) -> tuple[float, float]:
        """Standard deviations of the camera's position in the map [m] and of its rotation [rad], along any axis."""
        sigmas = Sigmas(0.0, 0.0, 0.0) if self._path is None else self._path.sigmas
        position = math.hypot(self._sigma_then, self._drift.sigma, sigmas.translation)
        return position, math.hypot(self._turn_then, math.sqrt(self._drift.rotation), sigmas.rotation)

    def corrected(self, stamps_ns: Iterable[int], poses: Iterable[FloatArray]) -> list[FloatArray]:
        """Return the camera's poses in the map for those of the current odometry's frames, (4, 4) each.

        Between two keyframes both say where the camera was, and what they say is blended, so that nothing jumps.
        """
        own = [n for n, k in self._keyframes.items() if k.track == self._track and n in self._connected]
        stamps = np.array([self._keyframes[n].stamp_ns for n in own], np.int64)
        result = []
        for stamp, T in zip(stamps_ns, poses, strict=True):
            after = int(np.searchsorted(stamps, stamp, side="right"))
            before = max(after - 1, 0)
            a = self._T_map_camera(own[before], T)
            if 0 < after < len(own):
                share = (stamp - stamps[before]) / (stamps[after] - stamps[before])
                a = _blended(a, self._T_map_camera(own[after], T), float(share))
            result.append(a)
        return result

    def events(self) -> list[str]:
        """Return sentences for the log since the last call."""
        events, self._events = self._events, []
        return events

    def _T_map_camera(self, number: int, T_odom_camera: FloatArray) -> FloatArray:
        moved = Similarity.of(inverse(self._keyframes[number].T_odom_camera) @ T_odom_camera)
        return (self._poses[number] @ moved).rigid

    # keeping and bounding

    def lasting(self) -> MapContent:
        """Return what is worth saving: all of the map, or what has been loaded where nothing is added to it."""
        return self.content().only(self._loaded) if self._settings.localization_only else self.content()

    def content(self) -> MapContent:
        """Return the map as it is; what happens afterward does not change it."""
        edges = (*self._odometry, *self._places.values())
        return MapContent(
            keyframes=tuple(self._keyframes.values()),
            poses=tuple(self._poses[number] for number in self._keyframes),
            edges=edges,
            rejected=tuple(i for i, e in enumerate(edges) if e.is_place and (e.first, e.second) in self._rejected),
            connected=tuple(sorted(self._connected)),
            skill=self._skill,
        )

    def resume(self, content: MapContent) -> None:
        """Go on with the last track of a map, in the middle of its stream; nothing else may have come before."""
        self._connected = set(content.connected)
        self._take_in(content, 0, 0)
        if content.keyframes:
            last = content.keyframes[-1]
            self._next_number, self._track, self._last = last.number + 1, last.track, last.number
            self._path = Stretch(last.T_odom_camera, last.stamp_ns, last.segment)
            self._is_stale = bool(self._places)

    def load(self, content: MapContent) -> None:
        """Go on with a map that was saved; what is known so far joins it once a place of it is recognized.

        A map that was loaded before is given up.
        """
        self._solving = None  # what comes of it is of a map that is no more
        self._changes += 1
        mine = self.content().only(set(self._keyframes) - self._loaded)
        offset = 1 + max((k.number for k in content.keyframes), default=-1)
        tracks = 1 + max((k.track for k in content.keyframes), default=-1)
        self._waiting.clear()
        self._thinning = None
        self._pending.clear()
        self._tried.clear()
        self._features.clear()
        self._keyframes, self._poses, self._odometry, self._places = {}, {}, [], {}
        self._rejected, self._connected = set(), set(content.connected)
        self._loaded = {k.number for k in content.keyframes}
        self._sigmas = {k.number + offset: self._sigmas.get(k.number, 0.0) for k in mine.keyframes}
        self._hint = None
        self._take_in(content, 0, 0)
        self._take_in(mine, offset, tracks)
        self._next_number += offset
        self._track += tracks
        self._last = None if self._last is None else self._last + offset
        self._is_stale = False

    def _take_in(self, content: MapContent, offset: int, tracks: int) -> None:
        self._skill = max(self._skill, content.skill, key=lambda skill: len(skill.errors))
        for keyframe, pose in zip(content.keyframes, content.poses, strict=True):
            number = keyframe.number + offset
            self._keyframes[number] = replace(keyframe, number=number, track=keyframe.track + tracks)
            self._poses[number] = pose
        for index, edge in enumerate(content.edges):
            moved = replace(edge, first=edge.first + offset, second=edge.second + offset)
            if edge.is_place:
                self._places[moved.first, moved.second] = moved
                if index in content.rejected:
                    self._rejected.add((moved.first, moved.second))
            else:
                self._odometry.append(moved)

    def _bound(self) -> None:
        """See to it that there is room for the next keyframes."""
        if self._settings.localization_only:
            own = [number for number in self._keyframes if number not in self._loaded]
            for number in own[:-KEPT_IN_PASSING]:
                self._drop(number)
            return
        limit = self._settings.map_max_keyframes
        room = limit - len(self._keyframes)
        if room < max(THINNED * limit / 2, 1) and self._thinning is None:
            self._thinning = self._thin()
            self._waiting.append(self._thinning)
        if room < 0 and self._thinning is not None:  # there has been no time for it
            deque(self._thinning, maxlen=0)

    def _thin(self) -> Pieces[None]:
        """Drop those keyframes whose views others have too."""
        limit = self._settings.map_max_keyframes
        count = len(self._keyframes) - math.floor((1 - THINNED) * limit)
        kept = {self._last, min(self._connected, default=None)}
        for number in (yield from redundant(dict(self._keyframes), dict(self._poses), count, kept)):
            if number in self._keyframes and number != self._last:
                self._drop(number)
                yield
        tracks = {number: keyframe.track for number, keyframe in self._keyframes.items()}
        self._places = sparse(self._places, tracks, self._rejected)
        self._rejected &= set(self._places)
        self._thinning = None

    def _drop(self, number: int) -> None:
        self._odometry, self._places = without(number, self._odometry, self._places)
        del self._keyframes[number], self._poses[number]
        self._sigmas.pop(number, None)
        self._connected.discard(number)
        self._loaded.discard(number)
        self._features.pop(number, None)
        self._rejected &= set(self._places)
        self._pending = [edge for edge in self._pending if number not in (edge.first, edge.second)]
        self.counts.thinned += 1


def _blended(a: FloatArray, b: FloatArray, share: float) -> FloatArray:
    """Return the pose between two that are close to one another."""
    qa, qb = quaternion_from_rotation(a[:3, :3]), quaternion_from_rotation(b[:3, :3])
    qb = qb if qa @ qb >= 0 else -qb
    return T_from_pose((1 - share) * a[:3, 3] + share * b[:3, 3], (1 - share) * qa + share * qb)
