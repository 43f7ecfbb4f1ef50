"""The reset policy 'adaptive': ends a segment when its state is no longer useful.

A segment knows what its keyframes have seen. It holds only a few keyframes, since a recurrent state has a fixed size
and later frames overwrite earlier ones. When all are taken and the camera looks at something else, the segment has
nothing left to contribute. A segment also ends when its state degrades: confidence collapses, or the learning rate or
the magnitude of the state leaves the range that is usual in this segment.

Every threshold has hysteresis: a second threshold restarts the count toward it, so a value that hovers triggers
nothing. Decisions depend on poses, and on points computed on the policy's own schedule, never on subscribers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.stream.estimate import Estimate
from ttt3r_ros.stream.keyframes import NEW_VIEW, View, has_moved, overlap, view_of
from ttt3r_ros.stream.usual_range import UsualRange

#: Shortest and longest segment, as multiples of the fixed reset interval: the first frames define what is usual; with
#: the published weights (100) the longest is well below the 1000 frames after which runs without a reset drift (TTT3R,
#: arXiv 2509.26645).
MIN_LENGTH, MAX_LENGTH = 0.2, 4.0
#: Keyframes of a segment.
MAX_KEYFRAMES = 8
#: The camera has left a full segment after this many looks at its points with an overlap below LEFT...
LEFT, LOOKS = 0.3, 3
#: ...and none in between above this.
RETURNED = 0.5
#: Confidence (above 1) has collapsed below the first fraction of its usual level, and has recovered above the second.
COLLAPSED, CONFIDENT = 0.3, 0.5
#: Frames with a learning rate or state magnitude outside its usual range, without one well inside it in between.
UNUSUAL_FRAMES = 5
#: Points are checked after a motion (`keyframes.has_moved`), or this many frames.
LOOK_FRAMES = 10
#: Recent looks whose confidence defines what is usual.
MAX_LOOKS = 20

Points = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class PolicyState:
    """What the policy knows about the current segment.

    Attributes:
        segment: its number.
        keyframes: its views.
        last_look: camera pose at the last look at the points.
        frames_since_look: frames since then.
        overlap: overlap with the keyframes at that look.
        outside: count of looks with too little overlap.
        confidences: median confidences (above 1) of the last looks without collapse.
        collapsed: count of looks with too little confidence.
        learning_rate, state_level: ranges of their values over all frames.
    """

    segment: int = -1
    keyframes: tuple[View, ...] = ()
    last_look: FloatArray | None = None
    frames_since_look: int = 0
    overlap: float = 1.0
    outside: int = 0
    confidences: tuple[float, ...] = ()
    collapsed: int = 0
    learning_rate: UsualRange = field(default_factory=UsualRange)
    state_level: UsualRange = field(default_factory=UsualRange)


def check(
    state: PolicyState, estimate: Estimate, interval: int, points: Callable[[], Points | None]
) -> tuple[str | None, PolicyState]:
    """Process a frame; return why a new segment should start after it (one clause, or None), and the new state.

    Args:
        state: state after the last frame.
        estimate: the frame's estimate, without fault.
        interval: frames between resets under the policy 'interval'.
        points: returns the frame's points (H, W, 3) and confidence (H, W); may be slow.
    """
    if estimate.segment != state.segment:
        state = PolicyState(segment=estimate.segment)
    if estimate.segment_frames > 1:  # the first frame's learning rate is 1 by definition
        state = replace(
            state,
            learning_rate=state.learning_rate.with_value(float(estimate.learning_rate.mean())),
            state_level=state.state_level.with_value(estimate.state_level),
        )
    state = replace(state, frames_since_look=state.frames_since_look + 1)
    if _must_look(state, estimate.T_world_camera) and (found := points()) is not None:
        state = _after_look(state, estimate.T_world_camera, *found)
    return _reason(state, estimate.segment_frames, interval), state


def _reason(state: PolicyState, frames: int, interval: int) -> str | None:
    if frames < MIN_LENGTH * interval:
        return None
    if state.outside >= LOOKS:
        return f"the view has left the segment's keyframes (overlap {state.overlap:.0%})"
    if state.collapsed >= LOOKS:
        return "confidence has collapsed"
    if state.learning_rate.outside >= UNUSUAL_FRAMES:
        return "the learning rate has left its usual range"
    if state.state_level.outside >= UNUSUAL_FRAMES:
        return "the state's magnitude has left its usual range"
    if frames >= MAX_LENGTH * interval:
        return f"the segment is {frames} frames long"
    return None


def _must_look(state: PolicyState, T_world_camera: FloatArray) -> bool:
    if state.last_look is None or not state.keyframes or state.frames_since_look >= LOOK_FRAMES:
        return True
    return has_moved(state.last_look, T_world_camera, state.keyframes[-1].median_depth)


def _after_look(
    state: PolicyState,
    T_world_camera: FloatArray,
    points: npt.NDArray[np.float32],
    confidence: npt.NDArray[np.float32],
) -> PolicyState:
    state = replace(state, last_look=T_world_camera, frames_since_look=0)
    view = view_of(points, T_world_camera)
    if view is not None:
        share = overlap(view, state.keyframes)
        if len(state.keyframes) < MAX_KEYFRAMES:
            keyframes = (*state.keyframes, view) if share < NEW_VIEW else state.keyframes
            state = replace(state, overlap=share, keyframes=keyframes)
        else:
            outside = state.outside + 1 if share < LEFT else 0 if share > RETURNED else state.outside
            state = replace(state, overlap=share, outside=outside)

    known = confidence[np.isfinite(points[..., 2])]
    surplus = float(np.median(known)) - 1.0 if known.size else 0.0
    usual = float(np.median(state.confidences)) if state.confidences else surplus
    if surplus >= COLLAPSED * usual:
        state = replace(
            state,
            confidences=(*state.confidences, surplus)[-MAX_LOOKS:],
            collapsed=0 if surplus > CONFIDENT * usual else state.collapsed,
        )
    else:
        state = replace(state, collapsed=state.collapsed + 1)
    return state
