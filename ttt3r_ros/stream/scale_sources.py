"""What tells how large the world is: the known height of the camera, another odometry.

Each source measures the same thing, the factor on the network's lengths, and its measurements go to the one filter
(`scale_filter`), which refuses those that are too far off. The height is compared with that above the floor in the
points (`floor`), the way by the other odometry with that of the camera, which fits the depth (`tracks`). Here it is
decided what happens where a source is refused:

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
from ttt3r_ros.stream import scale_filter, wheels
from ttt3r_ros.stream.alignment import LogRatio
from ttt3r_ros.stream.covariance import Measured
from ttt3r_ros.stream.estimate import Estimate
from ttt3r_ros.stream.floor import find_floor
from ttt3r_ros.stream.scale_filter import ScaleState
from ttt3r_ros.stream.wheels import OdometrySample, WheelState

HEIGHT, ODOMETRY = "camera height", "wheel odometry"

#: A camera is this high above the ground, or its height tells nothing [m].
MIN_HEIGHT, MAX_HEIGHT = 0.03, 30.0
#: A stretch of the way that is compared is this share of the depth long, and the robot turns by less than this in it
#: [rad]; so many wait for the other odometry.
STRETCH, MAX_TURN, MAX_STRETCHES = 0.1, 1.0, 10
#: Standard deviations of the logarithm of its length: where all of its motions fit the pixels, and where not.
FITTED, BY_NETWORK = 0.06, 0.3
#: The height is measured so often: errors of one view are not independent [s].
HEIGHT_S = 1.0
#: An odometry's rotation may be off by so much, and by this share of the angle turned [rad].
MAX_OFF, MAX_OFF_SHARE = math.radians(4.0), 0.15
#: An odometry that says less than this share of the published way has not moved.
MIN_LENGTH = 0.1
#: A source is in charge until the robot has come so far without a measurement of it that was taken in [m].
CHARGE_M = 5.0
#: A source that is refused along this way is believed after all [m].
REOPEN_M = 6.0
#: A floor that is refused along this way is not where the camera's height says [m].
FLOOR_M = 1.0
#: Two sources disagree, and agree again (logarithms), as medians over so many stretches that both measure.
DISAGREE, AGREE, MIN_SAID, MEMORY = 0.18, 0.12, 5, 15
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
    """A frame that has been published.

    Attributes:
        stamp_ns: of it [ns].
        T_world_base: (4, 4) pose of the robot in the stream's world.
        depth: typical of it, as published [m].
        is_fitted: whether its motion fits the pixels.
    """

    stamp_ns: int
    T_world_base: FloatArray
    depth: float
    is_fitted: bool


@dataclass(frozen=True)
class Stretch:
    """A stretch of the published way, which waits for the other odometry to reach its end.

    Attributes:
        start_ns, stop_ns: stamps of its ends [ns].
        T_start_stop: (4, 4) pose of the robot at its end, from its start.
        is_fitted: whether all of its motions fit the pixels.
        height: logarithm of the known over the published height of the camera along it; None where that is not known.
    """

    start_ns: int
    stop_ns: int
    T_start_stop: FloatArray
    is_fitted: bool
    height: float | None


@dataclass(frozen=True)
class SourcesState:
    """All that sources carry from frame to frame.

    Attributes:
        T_ground_camera: (4, 4) of the last frame; None where it is not known.
        wheels: another odometry's samples.
        view: the last frame, which has yet to be looked at; None where it has been.
        start: frame at which the running stretch begins.
        is_fitted: whether all motions since then fit the pixels.
        seen_height: logarithm of the known over the published height of the camera, as measured last since then; None
            where it has not been.
        stretches: that the other odometry has yet to reach.
        height, odometry: what each source has said.
        apart: logarithms of lengths by the height over those by the odometry, of the last stretches that both measured.
        outvoted: name of the source that is not used since it disagrees; empty where none.
        last_ns: stamp of the last frame that they were asked about [ns].
        height_ns: of the last one at which the height was measured [ns].
        measured: what the measurements at the last frame that they were asked about have done to the scale.
    """

    T_ground_camera: FloatArray | None = None
    wheels: WheelState = field(default_factory=WheelState)
    view: View | None = None
    start: View | None = None
    is_fitted: bool = True
    seen_height: float | None = None
    stretches: tuple[Stretch, ...] = ()
    height: SourceState = field(default_factory=SourceState)
    odometry: SourceState = field(default_factory=SourceState)
    apart: tuple[float, ...] = ()
    outvoted: str = ""
    last_ns: int | None = None
    height_ns: int | None = None
    measured: Measured = field(default_factory=Measured)

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
    return state.T_ground_camera is not None and _is_height_due(state, state.last_ns)


def _is_height_due(state: SourcesState, stamp_ns: int | None) -> bool:
    if state.height_ns is None or stamp_ns is None:
        return True
    return abs(stamp_ns - state.height_ns) >= HEIGHT_S * 1e9


def seen(
    state: SourcesState, stamp_ns: int, T_world_base: FloatArray, depth: float | None, *, is_fitted: bool
) -> SourcesState:
    """Return the state with a frame that will be published, see `View`, for `asked` when it has been."""
    if not state.exist or depth is None:
        return replace(state, view=None)
    return replace(state, view=View(stamp_ns, T_world_base, depth, is_fitted))


def interrupted(state: SourcesState) -> SourcesState:
    """Return the state where the next frame does not follow on the last one."""
    return replace(state, view=None, start=None, seen_height=None, stretches=())


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
    stamp_ns, state = state.view.stamp_ns, replace(state, measured=Measured())
    if state.last_ns is None:
        scale = scale_filter.helped(scale)
    height, state = _height(state, estimate) if _is_height_due(state, stamp_ns) else (None, state)
    if height is not None:
        state = replace(state, height_ns=stamp_ns, seen_height=height.log)
    state, scale = _further(state, scale)
    state, scale, of_odometry = _ask_odometry(state, scale)
    of_height: tuple[str, ...] = ()
    if height is not None:
        state, scale, of_height = _taken(state, scale, HEIGHT, height, estimate.scale)
    return replace(state, view=None, last_ns=stamp_ns), scale, of_odometry + of_height


def is_floor_seen(state: SourcesState) -> bool:
    """Return whether a floor has been seen lately where the camera's height says that it is."""
    return HEIGHT in state.in_charge and (state.height.refused_m or 0.0) < FLOOR_M


def sigma(state: SourcesState, estimate: Estimate, of_network: float) -> float:
    """Return the standard deviation of the relative error of odometry's scale.

    Args:
        state: after the frame before.
        estimate: of the frame.
        of_network: that of the network alone.
    """
    return min(of_network, math.hypot(estimate.scale_sigma, LASTING)) if state.in_charge else of_network


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


def _further(state: SourcesState, scale: ScaleState) -> tuple[SourcesState, ScaleState]:
    """Go on to the last frame, where the running stretch may end."""
    view, start = state.view, state.start
    assert view is not None
    if start is None:
        return replace(state, start=view, is_fitted=True), scale
    T_start_stop = inverse(start.T_world_base) @ view.T_world_base
    way, is_fitted = float(np.linalg.norm(T_start_stop[:3, 3])), state.is_fitted and view.is_fitted
    is_long = way >= STRETCH * start.depth
    if not is_long and np.linalg.norm(rotation_vector(T_start_stop[:3, :3])) < MAX_TURN:
        return replace(state, is_fitted=is_fitted), scale
    if is_long:
        stretch = Stretch(start.stamp_ns, view.stamp_ns, T_start_stop, is_fitted, state.seen_height)
        state = replace(state, stretches=(*state.stretches, stretch)[-MAX_STRETCHES:])
    state = replace(
        state,
        start=view,
        is_fitted=True,
        seen_height=None,
        height=_after(state.height, way),
        odometry=_after(state.odometry, way),
    )
    return state, scale_filter.travelled(scale, way)


def _after(source: SourceState, way: float) -> SourceState:
    """Return what a source has said lately, so many metres further."""
    used, refused = source.used_m, source.refused_m
    return replace(
        source, used_m=None if used is None else used + way, refused_m=None if refused is None else refused + way
    )


def _ask_odometry(state: SourcesState, scale: ScaleState) -> tuple[SourcesState, ScaleState, tuple[str, ...]]:
    events: tuple[str, ...] = ()
    while state.stretches and wheels.reaches(state.wheels, state.stretches[0].stop_ns):
        stretch, state = state.stretches[0], replace(state, stretches=state.stretches[1:])
        state, scale, more = _compared(state, scale, stretch)
        events += more
    return state, scale, events


def _compared(
    state: SourcesState, scale: ScaleState, stretch: Stretch
) -> tuple[SourcesState, ScaleState, tuple[str, ...]]:
    """Compare a stretch with the other odometry."""
    T_start_stop = wheels.motion(state.wheels, stretch.start_ns, stretch.stop_ns)
    if T_start_stop is None:
        problem = state.wheels.problem or "it does not reach back to the frame"
        return _with_problem(state, ODOMETRY, problem), scale, ()
    R, published = stretch.T_start_stop[:3, :3], float(np.linalg.norm(stretch.T_start_stop[:3, 3]))
    off, angle = (float(np.linalg.norm(rotation_vector(of))) for of in (R.T @ T_start_stop[:3, :3], R))
    if off > MAX_OFF + MAX_OFF_SHARE * angle:
        return _with_problem(state, ODOMETRY, f"its rotation is off by {math.degrees(off):.0f} degrees"), scale, ()
    length = float(np.linalg.norm(T_start_stop[:3, 3]))
    if length < MIN_LENGTH * published:
        return _with_problem(state, ODOMETRY, "it has not moved where the camera has"), scale, ()
    ratio = LogRatio(math.log(length / published), FITTED if stretch.is_fitted else BY_NETWORK)
    if stretch.height is not None:
        state = replace(state, apart=(*state.apart, stretch.height - ratio.log)[-MEMORY:])
    return _taken(state, scale, ODOMETRY, ratio, scale.factor)


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
    before = scale
    deviations, after = scale_filter.measured(before, log_scale, ratio.sigma**2, gate=GATE)
    off = _percent(log_scale - scale.log_scale)
    is_alone = not set(state.in_charge) - {name}
    if deviations is not None and is_alone and (source.refused_m or 0.0) > REOPEN_M:
        events += (f"the {name} has been off for {REOPEN_M:g} m, last by {off}: it is believed from now on",)
        before = scale_filter.reopened(scale)
        deviations, after = scale_filter.measured(before, log_scale, ratio.sigma**2, gate=math.inf)
    if deviations is not None:
        problem = f"it is off by {off}, {deviations:.1f} standard deviations"
        source = replace(source, problem=problem, refused_m=source.refused_m or 0.0)
        return _with_source(state, name, source), scale, events
    source = replace(source, used_m=0.0, refused_m=None, problem=None)
    state = _with_measured(_with_source(state, name, source), before, after, name, ratio.sigma)
    return state, after, events


def _with_measured(state: SourcesState, before: ScaleState, after: ScaleState, name: str, sigma: float) -> SourcesState:
    """Return the state where a measurement has been taken in.

    What lengths by wheels are off is that of the path that they are compared with, and so no noise of their own.
    """
    gain = 1.0 - float(after.covariance[0, 0] / before.covariance[0, 0])
    noise = (gain * sigma) ** 2 if name == HEIGHT else 0.0
    return replace(state, measured=state.measured.then(gain, noise + (1.0 - (1.0 - gain) ** 2) * LASTING**2))


def _voted(state: SourcesState, scale: ScaleState) -> tuple[SourcesState, ScaleState, tuple[str, ...]]:
    """Compare the two sources; where they begin to disagree, or to agree again, say so."""
    height, odometry, outvoted = state.height, state.odometry, state.outvoted
    if len(state.apart) < MIN_SAID:
        return state, scale, ()
    apart = float(np.median(state.apart))
    if outvoted and abs(apart) < AGREE:
        state = _with_source(state, outvoted, replace(_source(state, outvoted), problem=None))
        return replace(state, outvoted=""), scale, (f"{HEIGHT} and {ODOMETRY} agree again: the {outvoted} is used",)
    if outvoted or abs(apart) <= DISAGREE:
        return state, scale, ()
    name, other = (HEIGHT, ODOMETRY) if abs(height.own) > abs(odometry.own) else (ODOMETRY, HEIGHT)
    check = "ground_frame and the camera's mount in TF" if name == HEIGHT else "the wheels' radius and grip"
    loser = _source(state, name)
    if loser.is_in_charge:  # the scale may be its
        own, before = _source(state, other).own, scale_filter.reopened(scale)
        scale = scale_filter.measured(before, own, FITTED**2, gate=math.inf)[1]
        state = _with_measured(state, before, scale, other, FITTED)
    problem = (
        f"it differs from the {other} by {_percent(apart if name == HEIGHT else -apart)} and is farther from the "
        f"network's own metres; check {check}"
    )
    state = _with_source(state, name, replace(loser, used_m=None, problem=problem))
    return replace(state, outvoted=name), scale, (f"the {name} is not used: {problem}",)


def _percent(log: float) -> str:
    return f"{100 * math.expm1(log):+.0f} %"
