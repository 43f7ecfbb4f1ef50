"""What tells how large the world is: the known height of the camera, another odometry.

Each source measures the same thing, the factor on the network's depth, and its measurements go to the one filter
(`scale_filter`), which refuses those that are too far off. The height is compared with that above the floor in the
points (`floor`). The other odometry's motion from a keyframe to a later frame is compared with what pixels show
(`parallax`); so is the camera's own, which tells the path's factor. Here it is decided what happens where a source is
refused:

* *A filter that is wrong* must not refuse the truth for ever: a source that has been refused along `REOPEN_M` is
  believed, unless another one is in charge.
* *Two sources that disagree* by more than `DISAGREE` cannot both be right. The network's own metres are the third
  voice: the source that is farther from them is not used until they agree again.

Without a source nothing of this costs anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from ttt3r_ros.geometry import FloatArray, inverse, rotation_vector
from ttt3r_ros.stream import parallax, scale_filter, wheels
from ttt3r_ros.stream.alignment import LogRatio
from ttt3r_ros.stream.estimate import Estimate
from ttt3r_ros.stream.floor import find_floor
from ttt3r_ros.stream.gray import GrayImage
from ttt3r_ros.stream.parallax import Corners, Followed
from ttt3r_ros.stream.scale_filter import ScaleState
from ttt3r_ros.stream.wheels import OdometrySample, WheelState

HEIGHT, ODOMETRY = "camera height", "wheel odometry"

#: A camera is this high above the ground, or its height tells nothing [m].
MIN_HEIGHT, MAX_HEIGHT = 0.03, 30.0
#: Frames are compared whose cameras are this share of the depth apart, or have turned by so much [rad];
#: so many wait for the other odometry.
BASELINE, MAX_TURN, MAX_PAIRS = 0.04, 0.2, 10
#: An odometry's rotation may be off by so much, and by this share of the angle turned [rad].
MAX_OFF, MAX_OFF_SHARE = math.radians(4.0), 0.15
#: A source is in charge until the robot has come so far without a measurement of it that was taken in [m].
CHARGE_M = 5.0
#: A source that is refused along this way is believed after all [m].
REOPEN_M = 6.0
#: Two sources disagree, and agree again (logarithms), as means over so many frames that both measure.
DISAGREE, AGREE, MIN_SAID, MEMORY = 0.18, 0.12, 8, 20
#: With every frame, the path is corrected by this share of what is due.
SHIFT = 0.3
#: Measurements are refused beyond so many standard deviations: wheels slip, and tables are level.
GATE = 2.0
#: What no source knows better, however often it measures: a wheel's radius, a mount (logarithm).
LASTING = 0.02


@dataclass(frozen=True)
class SourceState:
    """What a source has said lately.

    Attributes:
        said: measurements averaged, at most `MEMORY`.
        own: mean of their logarithms, over the network's own metres.
        used_m: way since one was taken in [m]; None before the first.
        refused_m: way along which all have been refused [m]; None while they are not.
        problem: why it is not used now, in one clause; None where it is, or has said nothing.
    """

    said: int = 0
    own: float = 0.0
    used_m: float | None = None
    refused_m: float | None = None
    problem: str | None = None

    @property
    def is_in_charge(self) -> bool:
        """Whether the scale is its."""
        return self.used_m is not None and self.used_m < CHARGE_M


@dataclass(frozen=True)
class View:
    """A frame as pixels are followed in it.

    Attributes:
        image: (h, w) uint8.
        stamp_ns: of it [ns].
        T_world_camera, T_base_camera: (4, 4) pose as published, in the stream's world, and mount.
    """

    image: GrayImage
    stamp_ns: int
    T_world_camera: FloatArray
    T_base_camera: FloatArray


@dataclass(frozen=True)
class Key:
    """A keyframe.

    Attributes:
        view: a frame.
        corners: of it.
        height: logarithm of the known over the seen height of the camera there; None where that is not known.
    """

    view: View
    corners: Corners
    height: float | None


@dataclass(frozen=True)
class Pair:
    """Two frames that wait for the other odometry to reach the second of them.

    Attributes:
        followed: points of the first, seen in the second.
        start_ns, stop_ns: stamps [ns].
        T_base_start, T_base_stop: (4, 4) mounts.
        R_world_start: (3, 3) published rotation of the camera at the first.
        moved: (3,) published translation of the camera between them, in the stream's world [m].
        fits: (3,) the same as it fits the published depth; None where that is not known.
        height: that of the first, see `Key`.
    """

    followed: Followed
    start_ns: int
    stop_ns: int
    T_base_start: FloatArray
    T_base_stop: FloatArray
    R_world_start: FloatArray
    moved: FloatArray
    fits: FloatArray | None
    height: float | None


@dataclass(frozen=True)
class SourcesState:
    """All that sources carry from frame to frame.

    Attributes:
        T_ground_camera: (4, 4) of the last frame; None where it is not known.
        wheels: another odometry's samples.
        view: the last frame, which has yet to be looked at; None where it has been.
        key: that pixels are followed from.
        pairs: that the other odometry has yet to reach.
        height, odometry: what each source has said.
        apart, compared: mean logarithm of lengths by the height over those by the odometry, of so many frames.
        outvoted: name of the source that is not used since it disagrees; empty where none.
        last_ns: stamp of the last frame that they were asked about [ns].
        due: (3,) by which the path has yet to be corrected, in the stream's world [m].
        shifted: (3,) by which it has been [m].
    """

    T_ground_camera: FloatArray | None = None
    wheels: WheelState = field(default_factory=WheelState)
    view: View | None = None
    key: Key | None = None
    pairs: tuple[Pair, ...] = ()
    height: SourceState = field(default_factory=SourceState)
    odometry: SourceState = field(default_factory=SourceState)
    apart: float = 0.0
    compared: int = 0
    outvoted: str = ""
    last_ns: int | None = None
    due: FloatArray = field(default_factory=lambda: np.zeros(3))
    shifted: FloatArray = field(default_factory=lambda: np.zeros(3))

    @property
    def exist(self) -> bool:
        """Whether there is any source."""
        return self.T_ground_camera is not None or len(self.wheels.samples) > 0

    @property
    def in_charge(self) -> tuple[str, ...]:
        """The names of the sources whose the scale is."""
        both = ((HEIGHT, self.height), (ODOMETRY, self.odometry))
        return tuple(name for name, source in both if source.is_in_charge and name != self.outvoted)


def received(
    state: SourcesState, T_ground_camera: FloatArray | None, samples: Iterable[OdometrySample]
) -> SourcesState:
    """Return the state with what a frame brings along, used or not."""
    return replace(state, T_ground_camera=T_ground_camera, wheels=wheels.received(state.wheels, samples))


def wants_points(state: SourcesState) -> bool:
    """Return whether the next frame's points are of use whoever else wants them."""
    return state.exist and state.key is None


def seen(
    state: SourcesState,
    gray: GrayImage,
    stamp_ns: int,
    T_world_camera: FloatArray,
    T_base_camera: FloatArray,
) -> SourcesState:
    """Return the state with a frame, see `gray_of`, that will be published, for `asked` when it has been."""
    if not state.exist:
        return replace(state, view=None)
    T_world_camera = T_world_camera.copy()
    T_world_camera[:3, 3] -= state.shifted  # as the network saw it
    return replace(state, view=View(gray, stamp_ns, T_world_camera, T_base_camera))


def shift(state: SourcesState) -> tuple[FloatArray, SourcesState]:
    """Return by what (3,) the next frame's position is to be shifted [m], and the state after it."""
    now = SHIFT * state.due
    return now, replace(state, due=state.due - now, shifted=state.shifted + now)


def _corrected(
    scale: ScaleState, state: SourcesState, moved: FloatArray, true: FloatArray
) -> tuple[ScaleState, SourcesState]:
    """Return the scale and the state where a published motion (3,) should have been another."""
    published, length = float(np.linalg.norm(moved)), float(np.linalg.norm(true))
    if min(published, length) > 1e-3:
        scale = scale_filter.path_measured(scale, math.log(length / published), 0.0)
    return scale, replace(state, due=state.due + true - moved)


def _way(T_later_key: FloatArray, T_world_key: FloatArray) -> FloatArray:
    """Return the way (3,) of the camera in the stream's world."""
    return np.asarray(T_world_key[:3, :3] @ inverse(T_later_key)[:3, 3])


def interrupted(state: SourcesState) -> SourcesState:
    """Return the state where the next frame does not follow on the last one."""
    return replace(state, view=None, key=None, pairs=(), due=np.zeros(3))


def asked(
    state: SourcesState, scale: ScaleState, estimate: Estimate
) -> tuple[SourcesState, ScaleState, tuple[str, ...]]:
    """Ask every source about a frame that has been published.

    Args:
        state: after the frame, which it has `seen`.
        scale: of the running segment, after the frame.
        estimate: of the frame.

    Returns:
        The state, the scale, and sentences for the log.
    """
    assert state.view is not None
    stamp_ns = state.view.stamp_ns
    seconds = math.inf if state.last_ns is None else (stamp_ns - state.last_ns) * 1e-9
    scale = scale_filter.looked(scale_filter.helped(scale) if state.last_ns is None else scale, seconds)
    height, state = _height(state, estimate)
    state, scale = _followed(state, scale, estimate, height)
    state, scale, of_odometry = _ask_odometry(state, scale)
    of_height: tuple[str, ...] = ()
    if height is not None:
        state, scale, of_height = _taken(state, scale, HEIGHT, height, estimate.scale)
    return replace(state, view=None, last_ns=stamp_ns), scale, of_odometry + of_height


def sigma(state: SourcesState, estimate: Estimate, of_network: float) -> float:
    """Return the standard deviation of the relative error of odometry's scale.

    Args:
        state: after the frame before.
        estimate: of the frame.
        of_network: that of the network alone.
    """
    return min(of_network, math.hypot(estimate.path_sigma, LASTING)) if state.in_charge else of_network


def described(state: SourcesState) -> dict[str, str]:
    """Return which source is in charge, and of each why it is not used, for diagnostics."""
    heard = "none has come" if not len(state.wheels.samples) else "the robot has yet to move"
    return {
        "scale_source": " and ".join(state.in_charge) or "the network alone",
        "camera_height": _word(state.height, "not known above ground_frame"),
        "wheel_odom": _word(state.odometry, state.wheels.problem or heard),
    }


def _word(source: SourceState, before: str) -> str:
    if source.problem:
        return f"not used: {source.problem}"
    return before if source.used_m is None else "used"


def _followed(
    state: SourcesState, scale: ScaleState, estimate: Estimate, height: LogRatio | None
) -> tuple[SourcesState, ScaleState]:
    """Follow the keyframe's corners into a frame that is far enough from it, which takes its place."""
    view, key = state.view, state.key
    assert view is not None
    if key is not None:
        T = inverse(view.T_world_camera) @ key.view.T_world_camera
        moved = view.T_world_camera[:3, 3] - key.view.T_world_camera[:3, 3]
        apart = float(np.linalg.norm(moved))
        turned = float(np.linalg.norm(rotation_vector(T[:3, :3])))
        if turned < MAX_TURN and apart < BASELINE * float(np.median(key.corners.points[:, 2])):
            return state, scale
        state, scale = _further(state, apart), scale_filter.travelled(scale, apart)
        found = parallax.follow(key.corners, key.view.image, view.image, estimate)
        if found is not None:
            own = parallax.motion(found, T)
            fits = None if own is None else _way(own.T_later_key, key.view.T_world_camera)
            if fits is not None and ODOMETRY not in state.in_charge:
                scale, state = _corrected(scale, state, moved, fits)
            mounts = key.view.T_base_camera, view.T_base_camera
            R_world_key = key.view.T_world_camera[:3, :3]
            pair = Pair(found, key.view.stamp_ns, view.stamp_ns, *mounts, R_world_key, moved, fits, key.height)
            state = replace(state, pairs=(*state.pairs, pair)[-MAX_PAIRS:])
    corners = parallax.corners_of(view.image, estimate)
    key = None if corners is None else Key(view, corners, None if height is None else height.log)
    return replace(state, key=key), scale


def _further(state: SourcesState, way: float) -> SourcesState:
    """Return the state after so many metres."""

    def after(source: SourceState) -> SourceState:
        used, refused = source.used_m, source.refused_m
        return replace(
            source,
            used_m=None if used is None else used + way,
            refused_m=None if refused is None else refused + way,
        )

    return replace(state, height=after(state.height), odometry=after(state.odometry))


def _ask_odometry(state: SourcesState, scale: ScaleState) -> tuple[SourcesState, ScaleState, tuple[str, ...]]:
    events: tuple[str, ...] = ()
    while state.pairs and wheels.reaches(state.wheels, state.pairs[0].stop_ns):
        pair, state = state.pairs[0], replace(state, pairs=state.pairs[1:])
        state, scale, more = _compared(state, scale, pair)
        events += more
    return state, scale, events


def _compared(state: SourcesState, scale: ScaleState, pair: Pair) -> tuple[SourcesState, ScaleState, tuple[str, ...]]:
    """Compare two frames with the other odometry."""
    T_start_stop = wheels.motion(state.wheels, pair.start_ns, pair.stop_ns)
    if T_start_stop is None:
        problem = state.wheels.problem or "it does not reach back to the frame"
        return _with_problem(state, ODOMETRY, problem), scale, ()
    T_stop_start = inverse(T_start_stop @ pair.T_base_stop) @ pair.T_base_start
    told = parallax.length(pair.followed, T_stop_start)
    events: tuple[str, ...] = ()
    if told is not None:
        angle = float(np.linalg.norm(rotation_vector(T_stop_start[:3, :3])))
        if told.turned > MAX_OFF + MAX_OFF_SHARE * angle:
            problem = f"its rotation is off by {math.degrees(told.turned):.0f} degrees"
            return _with_problem(state, ODOMETRY, problem), scale, ()
        if told.rho < 0.1:
            return _with_problem(state, ODOMETRY, "it has moved where the pixels have not: slip"), scale, ()
        ratio = LogRatio(-math.log(told.rho), told.sigma / told.rho)
        if pair.height is not None:
            compared = min(state.compared + 1, MEMORY)
            apart = state.apart + (pair.height - ratio.log - state.apart) / compared
            state = replace(state, apart=apart, compared=compared)
        state, scale, events = _taken(state, scale, ODOMETRY, ratio, scale.factor)
        if state.odometry.used_m != 0.0:
            if pair.fits is not None and ODOMETRY in state.in_charge:
                scale, state = _corrected(scale, state, pair.moved, pair.fits)
            return state, scale, events
    if ODOMETRY in state.in_charge:
        way = pair.R_world_start @ inverse(T_stop_start)[:3, 3]
        scale, state = _corrected(scale, state, pair.moved, way)
    return state, scale, events


def _height(state: SourcesState, estimate: Estimate) -> tuple[LogRatio | None, SourcesState]:
    """Return the logarithm of the camera's known over its seen height; None where there is none."""
    if state.T_ground_camera is None or estimate.points is None or estimate.confidence is None:
        return None, state
    height, up = float(state.T_ground_camera[2, 3]), state.T_ground_camera[2, :3]
    if not MIN_HEIGHT <= height <= MAX_HEIGHT:
        return None, _with_problem(state, HEIGHT, f"the camera is {height:.2f} m above ground_frame, which cannot be")
    floor = find_floor(estimate.points, estimate.confidence, up)
    if floor is None:
        return None, _with_problem(state, HEIGHT, "no floor is in view")
    return LogRatio(math.log(height / floor.height), floor.sigma), state


def _source(state: SourcesState, name: str) -> SourceState:
    return state.height if name == HEIGHT else state.odometry


def _with_source(state: SourcesState, name: str, source: SourceState) -> SourcesState:
    return replace(state, height=source) if name == HEIGHT else replace(state, odometry=source)


def _with_problem(state: SourcesState, name: str, problem: str) -> SourcesState:
    return _with_source(state, name, replace(_source(state, name), problem=problem))


def _taken(
    state: SourcesState, scale: ScaleState, name: str, ratio: LogRatio, published: float
) -> tuple[SourcesState, ScaleState, tuple[str, ...]]:
    """Take in a ratio of true over published lengths, where that was the published factor, or say why not."""
    log_scale = ratio.log + math.log(published)
    source = _source(state, name)
    said = min(source.said + 1, MEMORY)
    source = replace(source, said=said, own=source.own + (log_scale - source.own) / said)
    state, scale, events = _voted(_with_source(state, name, source), scale)
    source = _source(state, name)
    if state.outvoted == name:
        return state, scale, events
    deviations, after = scale_filter.measured(scale, log_scale, ratio.sigma**2, gate=GATE)
    off = _percent(log_scale - scale.log_scale - scale.view)
    is_alone = not set(state.in_charge) - {name}
    if deviations is not None and is_alone and (source.refused_m or 0.0) > REOPEN_M:
        events += (f"the {name} has been off for {REOPEN_M:g} m, last by {off}: it is believed from now on",)
        deviations, after = scale_filter.measured(
            scale_filter.reopened(scale), log_scale, ratio.sigma**2, gate=math.inf
        )
    if deviations is not None:
        problem = f"it is off by {off}, {deviations:.1f} standard deviations"
        source = replace(source, problem=problem, refused_m=source.refused_m or 0.0)
        return _with_source(state, name, source), scale, events
    source = replace(source, used_m=0.0, refused_m=None, problem=None)
    return _with_source(state, name, source), after, events


def _voted(state: SourcesState, scale: ScaleState) -> tuple[SourcesState, ScaleState, tuple[str, ...]]:
    """Compare the two sources; where they begin to disagree, or to agree again, say so."""
    height, odometry, outvoted = state.height, state.odometry, state.outvoted
    if state.compared < MIN_SAID:
        return state, scale, ()
    apart = state.apart
    if outvoted and abs(apart) < AGREE:
        state = _with_source(state, outvoted, replace(_source(state, outvoted), problem=None))
        return replace(state, outvoted=""), scale, (f"{HEIGHT} and {ODOMETRY} agree again: the {outvoted} is used",)
    if outvoted or abs(apart) <= DISAGREE:
        return state, scale, ()
    name, other = (HEIGHT, ODOMETRY) if abs(height.own) > abs(odometry.own) else (ODOMETRY, HEIGHT)
    check = "ground_frame and the camera's mount in TF" if name == HEIGHT else "the wheels' radius and grip"
    loser = _source(state, name)
    if loser.is_in_charge:  # the scale may be its
        scale = scale_filter.reopened(scale)
    problem = (
        f"it differs from the {other} by {_percent(apart if name == HEIGHT else -apart)} and is farther from the "
        f"network's own metres; check {check}"
    )
    state = _with_source(state, name, replace(loser, used_m=None, problem=problem))
    return replace(state, outvoted=name), scale, (f"the {name} is not used: {problem}",)


def _percent(log: float) -> str:
    return f"{100 * math.expm1(log):+.0f} %"
