"""When a new segment starts by itself because the old one has served its time: the policy 'adaptive'.

A segment knows what its keyframes have seen. There is room for a few: a recurrent state of fixed size holds no more,
and what comes later overwrites what came first. When they are all taken and the camera looks at something else, the
segment has nothing to give any more. It also ends when its state is no longer what it used to be: confidence has
collapsed, or the learning rate or the state's size has left the range that is usual in this segment.

Every threshold has a second one at which the count towards it begins anew, so that a figure that hovers resets nothing.
Decisions follow from poses and from points computed on a schedule of this policy's own, never from who listens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ttt3r_ros.geometry import FloatArray, inverse, rotation_vector
from ttt3r_ros.stream.estimate import Estimate
from ttt3r_ros.stream.keyframes import View, overlap, view_of
from ttt3r_ros.stream.usual_range import UsualRange

#: Frames of a segment, of those between resets at fixed intervals: at least so many times as many, since its first ones
#: set what is usual; at most so many, which for the published weights (100) is well below the 1000 after which runs
#: without a reset drift (TTT3R, arXiv 2509.26645).
SHORTEST, LONGEST = 0.2, 4.0
#: Views that a segment holds, and the overlap with them below which one is added.
MOST_KEYFRAMES, NEW_VIEW = 8, 0.6
#: The camera has left a full segment when so little of what it sees is known, in so many looks...
LEFT, LOOKS = 0.3, 3
#: ...without one in between with so much.
RETURNED = 0.5
#: Confidence (above 1) has collapsed at this share of its usual level, and is back at the other.
COLLAPSED, CONFIDENT = 0.3, 0.5
#: Frames in a row (but for those in between) that learning rate or state size must be outside their usual range.
UNUSUAL_FRAMES = 5
#: Points are looked at when the camera has moved by this share of the depth, or turned so far, or after so many frames.
LOOK_DISTANCE, LOOK_ANGLE, LOOK_FRAMES = 0.1, 0.15, 10
#: Looks whose confidence tells what is usual.
RECENT_LOOKS = 20

Points = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class PolicyMemory:
    """What the policy has noticed of the running segment.

    Attributes:
        segment: its number.
        keyframes: its views.
        last_look: pose of the camera when points were last looked at.
        frames_since_look: frames since then.
        overlap: what was found then.
        outside: looks with too little overlap.
        confidences: medians (above 1) of the last looks that were as usual.
        collapsed: looks with too little confidence.
        learning_rate, state_level: of every frame.
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


class AdaptivePolicy:
    """Watches a segment."""

    def __init__(self) -> None:
        self.memory = PolicyMemory()

    def why_reset(self, estimate: Estimate, interval: int, points: Callable[[], Points | None]) -> str | None:
        """Take in a frame; return why a new segment should start after it, in one clause, or None.

        Args:
            estimate: the frame's, without fault.
            interval: frames between resets where they come at fixed intervals.
            points: gives the frame's points (H, W, 3) and confidence (H, W), which may take a while.
        """
        memory = self.memory
        if estimate.segment != memory.segment:
            memory = PolicyMemory(segment=estimate.segment)
        if estimate.segment_frames > 1:  # the first frame's learning rate is 1 by definition
            memory = replace(
                memory,
                learning_rate=memory.learning_rate.with_value(float(estimate.learning_rate.mean())),
                state_level=memory.state_level.with_value(estimate.state_level),
            )
        memory = replace(memory, frames_since_look=memory.frames_since_look + 1)
        if _must_look(memory, estimate.T_world_camera) and (found := points()) is not None:
            memory = _after_look(memory, estimate.T_world_camera, *found)
        self.memory = memory
        return _why(memory, estimate.segment_frames, interval)


def _why(memory: PolicyMemory, frames: int, interval: int) -> str | None:
    if frames < SHORTEST * interval:
        return None
    if memory.outside >= LOOKS:
        return f"the view has left what the segment knows (overlap {memory.overlap:.0%})"
    if memory.collapsed >= LOOKS:
        return "confidence has collapsed"
    if memory.learning_rate.outside >= UNUSUAL_FRAMES:
        return "the learning rate has left its usual range"
    if memory.state_level.outside >= UNUSUAL_FRAMES:
        return "the state's size has left its usual range"
    if frames >= LONGEST * interval:
        return f"the segment is {frames} frames long"
    return None


def _must_look(memory: PolicyMemory, T_world_camera: FloatArray) -> bool:
    if memory.last_look is None or not memory.keyframes or memory.frames_since_look >= LOOK_FRAMES:
        return True
    T_last_now = inverse(memory.last_look) @ T_world_camera
    if np.linalg.norm(rotation_vector(T_last_now[:3, :3])) > LOOK_ANGLE:
        return True
    return bool(np.linalg.norm(T_last_now[:3, 3]) > LOOK_DISTANCE * memory.keyframes[-1].median_depth)


def _after_look(
    memory: PolicyMemory,
    T_world_camera: FloatArray,
    points: npt.NDArray[np.float32],
    confidence: npt.NDArray[np.float32],
) -> PolicyMemory:
    memory = replace(memory, last_look=T_world_camera, frames_since_look=0)
    view = view_of(points, T_world_camera)
    if view is not None:
        share = overlap(view, memory.keyframes)
        if len(memory.keyframes) < MOST_KEYFRAMES:
            keyframes = (*memory.keyframes, view) if share < NEW_VIEW else memory.keyframes
            memory = replace(memory, overlap=share, keyframes=keyframes)
        else:
            outside = memory.outside + 1 if share < LEFT else 0 if share > RETURNED else memory.outside
            memory = replace(memory, overlap=share, outside=outside)

    surplus = float(np.median(confidence)) - 1.0
    usual = float(np.median(memory.confidences)) if memory.confidences else surplus
    if surplus >= COLLAPSED * usual:
        memory = replace(
            memory,
            confidences=(*memory.confidences, surplus)[-RECENT_LOOKS:],
            collapsed=0 if surplus > CONFIDENT * usual else memory.collapsed,
        )
    else:
        memory = replace(memory, collapsed=memory.collapsed + 1)
    return memory
