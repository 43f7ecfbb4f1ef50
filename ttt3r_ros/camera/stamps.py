"""What the stamps of a camera's images mean: which image comes next, and where time has jumped.

The one rule for the node, `play` and `reconstruct`. It is pure: `judge_stamp` takes the state and returns the next one.

* An image whose stamp is not newer than that of the image before is dropped: it was sent twice, or overtaken.
* A step back of more than a second, and any step back that lasts for a second, is a jump: time starts anew there. So
  is a step ahead of more than ten seconds that did not pass. The second image of the new time confirms the jump; a
  single wrong stamp is dropped and leaves nothing behind.
* A stamp of 0, or one that is no time, is dropped. Where such stamps last for a second, the camera does not stamp, and
  the time of arrival is used until it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

_SECOND = 10**9

#: A longer step back is no disorder among images on their way [ns].
MAX_DISORDER_NS = _SECOND
#: What does not fit for so long, by time of arrival, is how things are now [ns].
LASTING_NS = _SECOND
#: A stamp may run so far ahead of the time that has passed between two arrivals [ns].
MAX_LEAD_NS = 10 * _SECOND
#: Stamps are signed 32-bit seconds.
_END_OF_TIME_NS = 2**31 * _SECOND

NOT_NEWER = "not newer than the image before"
NO_TIME = "without a time in its stamp"
FAR_AHEAD = "stamped far ahead of its time"
OTHER_CLOCK = "stamped, unlike the images before"

_ONCE = "and was left out; further ones are only counted"


@dataclass(frozen=True)
class StampState:
    """What is known after some images.

    Attributes:
        by_arrival: the camera does not stamp; images are given their time of arrival.
        last_ns: stamp of the last image taken; None before the first.
        last_arrival_ns: when that image arrived.
        misfit_ns: stamp of the last image dropped, where none has been taken since.
        misfit_since_ns: arrival of the first image dropped since the last one taken.
        dropped: images dropped, by reason.
    """

    by_arrival: bool = False
    last_ns: int | None = None
    last_arrival_ns: int = 0
    misfit_ns: int | None = None
    misfit_since_ns: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class StampVerdict:
    """What is to be done with an image.

    Attributes:
        stamp_ns: the stamp to use; None where the image is dropped.
        dropped: why, one of this module's reasons; None where it is not.
        jump: why the image does not follow on the one before, in one clause; None where it does.
        notice: a sentence for the log; given once for each reason.
    """

    stamp_ns: int | None
    dropped: str | None = None
    jump: str | None = None
    notice: str | None = None


def judge_stamp(stamp_ns: int | None, arrival_ns: int, state: StampState) -> tuple[StampVerdict, StampState]:
    """Decide about the next image.

    Args:
        stamp_ns: of the image [ns]; None for fields that are no time.
        arrival_ns: when the image arrived or was recorded [ns].
        state: after the image before.

    Returns:
        What to do with this image, and the state after it.
    """
    is_time = stamp_ns is not None and 0 < stamp_ns < _END_OF_TIME_NS
    lasts = state.misfit_since_ns is not None and arrival_ns - state.misfit_since_ns >= LASTING_NS
    if is_time == state.by_arrival:
        if not lasts:
            return _drop(NO_TIME if not is_time else OTHER_CLOCK, stamp_ns or 0, arrival_ns, state)
        return _switch_clock(stamp_ns, arrival_ns, state)
    stamp = arrival_ns if state.by_arrival or stamp_ns is None else stamp_ns
    if state.last_ns is None:
        return _take(stamp, arrival_ns, state)
    step = stamp - state.last_ns
    passed = max(arrival_ns - state.last_arrival_ns, 0)  # clocks are set back
    if 0 < step <= passed + MAX_LEAD_NS:
        return _take(stamp, arrival_ns, state)
    follows = state.misfit_ns is not None and 0 < stamp - state.misfit_ns <= MAX_LEAD_NS
    if follows and (step > 0 or step < -MAX_DISORDER_NS or lasts):
        direction = "ahead" if step > 0 else "back"
        return _take(stamp, arrival_ns, state, jump=f"time jumped {direction} by {abs(step) / _SECOND:.3f} s")
    return _drop(FAR_AHEAD if step > 0 else NOT_NEWER, stamp, arrival_ns, state)


def _take(
    stamp_ns: int, arrival_ns: int, state: StampState, *, jump: str | None = None, notice: str | None = None
) -> tuple[StampVerdict, StampState]:
    after = replace(state, last_ns=stamp_ns, last_arrival_ns=arrival_ns, misfit_ns=None, misfit_since_ns=None)
    return StampVerdict(stamp_ns, jump=jump, notice=notice), after


def _drop(reason: str, stamp_ns: int, arrival_ns: int, state: StampState) -> tuple[StampVerdict, StampState]:
    count = state.dropped.get(reason, 0)
    sentences = {
        NOT_NEWER: f"an image is not newer than the one before it {_ONCE}",
        NO_TIME: f"an image has a stamp of {stamp_ns / _SECOND:g} s, which is no time, {_ONCE}",
        FAR_AHEAD: f"an image's stamp of {stamp_ns / _SECOND:.3f} s is far ahead of its time {_ONCE}",
        OTHER_CLOCK: f"an image is stamped, unlike the ones before it, {_ONCE}",
    }
    since_ns = arrival_ns if state.misfit_since_ns is None else state.misfit_since_ns
    after = replace(state, misfit_ns=stamp_ns, misfit_since_ns=since_ns, dropped={**state.dropped, reason: count + 1})
    return StampVerdict(None, dropped=reason, notice=None if count else sentences[reason]), after


def _switch_clock(stamp_ns: int | None, arrival_ns: int, state: StampState) -> tuple[StampVerdict, StampState]:
    by_arrival = not state.by_arrival
    stamp = arrival_ns if by_arrival or stamp_ns is None else stamp_ns
    if by_arrival:
        notice = "the images are not stamped: the time at which they arrive is used; correct the camera driver"
    else:
        notice = "the images are stamped now: their stamps are used"
    jump = None if state.last_ns is None else "the images are stamped by another clock than before"
    return _take(stamp, arrival_ns, replace(state, by_arrival=by_arrival), jump=jump, notice=notice)
