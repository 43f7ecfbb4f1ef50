"""Interprets image stamps: whether an image is newer than the one before, and whether time has jumped.

The node, `play` and `reconstruct` share this rule. It is pure: `judge_stamp` takes a state and returns the next one.

* An image whose stamp is not newer than the previous image's is dropped: it was sent twice or overtaken by another.
* An image whose stamp follows the previous one's by less than a fifth of the usual step (at most 20 ms, since a camera
  may become faster), or by less than a millisecond, is dropped: no camera takes two images that close, so that stamp is
  wrong (the same image sent again, or several that waited together for a stamp), and a motion divided by that time
  would be a velocity out of nothing. The next image makes up for it.
* A step back of more than a second, or any step back that persists for a second, is a jump: time restarts there. A step
  ahead is a jump as well if it exceeds the time that has passed by more than two seconds. The second image in the new
  time confirms the jump; a single wrong stamp is dropped without further effect. How long the jump took is what has
  passed between the two arrivals; the rest is by how much the clock has been set.
* An image with a stamp of 0 or an invalid stamp is dropped. If such stamps persist for a second, the camera does not
  stamp its images, and their time of arrival is used until it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

_SECOND = 10**9

#: Longest step back that images arriving out of order can explain [ns].
MAX_DISORDER_NS = _SECOND
#: Stamps that are inconsistent for this long, by time of arrival, are accepted as the new time [ns].
LASTING_NS = _SECOND
#: Largest amount by which a step between two stamps may exceed the time between their arrivals, by default [ns].
MAX_LEAD_NS = 2 * _SECOND
#: Steps that define the usual one (their median), at least and at most; a step is too small below this share of it,
#: within these bounds [ns].
MIN_STEPS, MAX_STEPS = 3, 5
MIN_SHARE, MIN_STEP_NS, MAX_MIN_STEP_NS = 0.2, _SECOND // 1000, _SECOND // 50
#: Stamps are signed 32-bit seconds.
_END_OF_TIME_NS = 2**31 * _SECOND

NOT_NEWER = "not newer than the image before"
TOO_CLOSE = "stamped too soon after the image before"
NO_TIME = "without a valid stamp"
FAR_AHEAD = "stamped far in the future"
OTHER_CLOCK = "stamped, unlike the images before"

_ONCE = "and was dropped; further ones are counted but not logged"


@dataclass(frozen=True)
class StampState:
    """State after the images so far.

    Attributes:
        by_arrival: whether the camera does not stamp its images, so that they get their time of arrival.
        last_ns: stamp of the last accepted image [ns]; None before the first.
        last_arrival_ns: time of arrival of that image, by a clock that nobody sets [ns].
        steps_ns: between the stamps of the last accepted images [ns].
        misfit_ns: stamp of the last dropped image [ns]; None if it had none or an image has been accepted since.
        misfit_since_ns: time of arrival of the first image dropped since the last accepted one, by the same clock [ns].
        dropped: number of dropped images, by reason.
    """

    by_arrival: bool = False
    last_ns: int | None = None
    last_arrival_ns: int = 0
    steps_ns: tuple[int, ...] = ()
    misfit_ns: int | None = None
    misfit_since_ns: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class StampVerdict:
    """What to do with an image.

    Attributes:
        stamp_ns: the stamp to use [ns]; None if the image must be dropped.
        dropped: why it must be dropped, one of this module's reasons; None if it must not.
        jump: why the image does not continue the previous one, in one clause; None if it does.
        clock_step_ns: by how much the images' clock has been set since the previous one, at a jump; else 0 [ns].
        notice: a sentence for the log, given once per reason.
    """

    stamp_ns: int | None
    dropped: str | None = None
    jump: str | None = None
    clock_step_ns: int = 0
    notice: str | None = None


def is_too_close(step_ns: int, steps_ns: tuple[int, ...]) -> bool:
    """Return whether no camera takes an image so soon after another [ns], given its last steps [ns]."""
    usual_ns = sorted(steps_ns)[len(steps_ns) // 2] if len(steps_ns) >= MIN_STEPS else 0
    return step_ns < min(max(MIN_SHARE * usual_ns, MIN_STEP_NS), MAX_MIN_STEP_NS)


def judge_stamp(
    stamp_ns: int | None,
    arrival_ns: int,
    state: StampState,
    *,
    steady_ns: int | None = None,
    max_lead_ns: int = MAX_LEAD_NS,
) -> tuple[StampVerdict, StampState]:
    """Decide what to do with the next image.

    Args:
        stamp_ns: of the image [ns]; None if its fields are not a valid time.
        arrival_ns: when the image arrived or was recorded, for an image without a stamp [ns].
        state: after the previous image.
        steady_ns: the same by a clock that nobody sets; None if that is one [ns].
        max_lead_ns: largest amount by which a step between two stamps may exceed the time between their arrivals [ns].

    Returns:
        What to do with this image, and the state after it.
    """
    is_time = stamp_ns is not None and 0 < stamp_ns < _END_OF_TIME_NS
    now_ns = arrival_ns if steady_ns is None else steady_ns
    lasts = state.misfit_since_ns is not None and now_ns - state.misfit_since_ns >= LASTING_NS
    if is_time == state.by_arrival:
        if not lasts or (not is_time and arrival_ns <= 0):  # a simulation's clock that nobody publishes stands at 0
            return _drop(NO_TIME if not is_time else OTHER_CLOCK, stamp_ns, now_ns, state)
        return _switch_clock(stamp_ns, arrival_ns, now_ns, state)
    stamp = arrival_ns if state.by_arrival or stamp_ns is None else stamp_ns
    if state.last_ns is None:
        return _take(stamp, now_ns, state)
    step = stamp - state.last_ns
    if 0 < step <= _passed(now_ns, state) + max_lead_ns:
        if is_too_close(step, state.steps_ns):
            return _drop(TOO_CLOSE, stamp, now_ns, state)
        return _take(stamp, now_ns, replace(state, steps_ns=(*state.steps_ns, step)[-MAX_STEPS:]))
    follows = state.misfit_ns is not None and 0 < stamp - state.misfit_ns <= max_lead_ns
    if follows and (step > 0 or step < -MAX_DISORDER_NS or lasts):
        direction = "ahead" if step > 0 else "back"
        return _take(stamp, now_ns, state, jump=f"time jumped {direction} by {abs(step) / _SECOND:.3f} s")
    return _drop(FAR_AHEAD if step > 0 else NOT_NEWER, stamp, now_ns, state)


def _passed(now_ns: int, state: StampState) -> int:
    """Return the time since the last accepted image arrived [ns]."""
    return max(now_ns - state.last_arrival_ns, 0)  # a simulation's clock may start anew


def _take(
    stamp_ns: int, now_ns: int, state: StampState, *, jump: str | None = None, notice: str | None = None
) -> tuple[StampVerdict, StampState]:
    clock_step_ns = 0
    if jump is not None and state.last_ns is not None:
        clock_step_ns = stamp_ns - state.last_ns - _passed(now_ns, state)
    after = replace(state, last_ns=stamp_ns, last_arrival_ns=now_ns, misfit_ns=None, misfit_since_ns=None)
    return StampVerdict(stamp_ns, jump=jump, clock_step_ns=clock_step_ns, notice=notice), after


def _drop(reason: str, stamp_ns: int | None, now_ns: int, state: StampState) -> tuple[StampVerdict, StampState]:
    count, seconds = state.dropped.get(reason, 0), (stamp_ns or 0) / _SECOND
    misfit_ns, since_ns = state.misfit_ns, state.misfit_since_ns
    if reason != TOO_CLOSE:  # which is no sign of another time
        misfit_ns = None if reason == NO_TIME else stamp_ns  # which no jump can go to
        since_ns = now_ns if since_ns is None else since_ns
    apart_ms = ((stamp_ns or 0) - (state.last_ns or 0)) / 1e6
    sentences = {
        NOT_NEWER: f"an image is not newer than the one before it {_ONCE}",
        TOO_CLOSE: f"an image is stamped only {apart_ms:.3f} ms after the one before it, too soon for this camera, "
        f"{_ONCE}",
        NO_TIME: f"an image has an invalid stamp of {seconds:g} s {_ONCE}",
        FAR_AHEAD: f"an image has a stamp of {seconds:.3f} s, far in the future, {_ONCE}",
        OTHER_CLOCK: f"an image is stamped, unlike the ones before it, {_ONCE}",
    }
    after = replace(state, misfit_ns=misfit_ns, misfit_since_ns=since_ns, dropped={**state.dropped, reason: count + 1})
    return StampVerdict(None, dropped=reason, notice=None if count else sentences[reason]), after


def _switch_clock(
    stamp_ns: int | None, arrival_ns: int, now_ns: int, state: StampState
) -> tuple[StampVerdict, StampState]:
    by_arrival = not state.by_arrival
    stamp = arrival_ns if by_arrival or stamp_ns is None else stamp_ns
    if by_arrival:
        notice = "the images are not stamped: their time of arrival is used instead; fix the camera driver"
    else:
        notice = "the images are stamped again: their stamps are used"
    jump = None if state.last_ns is None else "the images are stamped by a different clock than before"
    return _take(stamp, now_ns, replace(state, by_arrival=by_arrival), jump=jump, notice=notice)
