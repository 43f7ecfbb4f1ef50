"""Points that are followed through the images, and the camera's motion by them.

Corners of one frame, the *keyframe*, are followed to every later one by pyramidal Lucas-Kanade (Bouguet 2001), there
and back, from where the last frame saw them. Since the network has seen how far away they are, they tell the whole
motion since the keyframe (`pose_fit`): the network's own motion is far worse, and only decides what pixels do not.
Another frame becomes the keyframe when too many corners are lost, or when the camera has moved far.

A motion is told since the keyframe, not since the last frame, so that slow motion is not a sum of noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ttt3r_ros.geometry import FloatArray, inverse, orthonormal, rotation_vector
from ttt3r_ros.stream import pose_fit
from ttt3r_ros.stream.corners import Corners, corners_of, rays_of
from ttt3r_ros.stream.covariance import Certainty
from ttt3r_ros.stream.estimate import Estimate
from ttt3r_ros.stream.gray import FloatImage, GrayImage, find_again
from ttt3r_ros.stream.pose_fit import Prior

#: Corners closer than this to a hidden pixel are not followed [px].
MASK_MARGIN = 8
#: A corner that does not come back to within this distance is lost [px].
MAX_RETURN = 0.7
#: A keyframe is worn when less than this share of its corners is left, or when the camera has moved by more than this
#: share of their depth, or turned by more than this [rad].
LEFT, FAR, TURNED = 0.6, 0.07, 0.3
#: Noise of a corner's place [px].
NOISE = 0.3
#: How far the network's motion may be off, where the pixels leave it to decide: at rest, and as a share of it [m, rad].
PRIOR_METRES, PRIOR_RADIANS = (0.02, 0.5), (0.02, 0.3)


@dataclass(frozen=True)
class View:
    """A frame's gray image, and which pixels (h, w) of it are 1 since they show the scene; None where all do."""

    image: GrayImage
    visible: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Key:
    """A frame that points are followed from: its gray image, and corners."""

    image: GrayImage
    corners: Corners


@dataclass(frozen=True)
class TracksState:
    """What is carried from frame to frame.

    Attributes:
        key: the keyframe; None where there is none.
        pixels: (n, 2) float32, where the last frame saw the key's corners.
        seen: (n,) bool, which of them it saw.
        T_last_key: (4, 4) the keyframe's camera in the frame of the last one.
        is_new: whether no motion has been found from this keyframe yet.
        view: of the last frame, which may become the keyframe once it has been published; None in a state that is
            prepared.
    """

    key: Key | None = None
    pixels: FloatImage = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    seen: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    T_last_key: FloatArray = field(default_factory=lambda: np.eye(4))
    is_new: bool = True
    view: View | None = None


@dataclass(frozen=True)
class Tracked:
    """Where an image sees the corners: (n, 2) float32, and which of them, (n,); see `TracksState`."""

    view: View
    pixels: FloatImage
    seen: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """The camera's motion since the last frame, (4, 4), by the pixels, and how certain it is."""

    T_last_now: FloatArray
    certainty: Certainty


def follow(state: TracksState, view: View) -> Tracked:
    """Return where another image sees the corners."""
    key, (height, width) = state.key, view.image.shape
    if key is None or key.image.shape != view.image.shape:
        return Tracked(view, state.pixels, np.zeros(len(state.pixels), np.bool_))
    start = key.corners.pixels
    pixels, found = find_again(key.image, view.image, start, state.pixels)
    back, returned = find_again(view.image, key.image, pixels, start)
    seen = found & returned & (np.linalg.norm(back - start, axis=1) < MAX_RETURN)
    seen &= ((pixels >= 0) & (pixels <= [width - 1, height - 1])).all(axis=1)  # NaN compares false
    if view.visible is not None:
        column, row = np.rint(np.where(seen[:, None], pixels, 0)).astype(int).T
        seen &= view.visible[row, column] > 0
    return Tracked(view, np.where(seen[:, None], pixels, state.pixels), seen)


def motion(state: TracksState, tracked: Tracked, T_last_now: FloatArray, estimate: Estimate) -> Found | None:
    """Return the camera's motion since the last frame by the pixels; None where they do not tell.

    Where pixels leave it open, the network's motion `T_last_now` (4, 4) decides.
    """
    if state.key is None or estimate.intrinsics is None:
        return None
    rays = rays_of(tracked.pixels[tracked.seen], tracked.view.image, estimate)[0]
    metres = float(np.linalg.norm(T_last_now[:3, 3]))
    radians = float(np.linalg.norm(rotation_vector(T_last_now[:3, :3])))
    prior = Prior(
        inverse(T_last_now) @ state.T_last_key,
        PRIOR_METRES[0] + PRIOR_METRES[1] * metres,
        PRIOR_RADIANS[0] + PRIOR_RADIANS[1] * radians,
    )
    pixel = estimate.pixel_map.scaled_size[0] / tracked.view.image.shape[1] / estimate.intrinsics.fx
    found = pose_fit.fit(state.key.corners.points[tracked.seen], rays, prior, NOISE * pixel)
    if found is None:
        return None
    return Found(state.T_last_key @ inverse(found.T), Certainty(_of_pose(found), state.is_new))


def _of_pose(found: pose_fit.Fit) -> FloatArray:
    """Return the covariance of the camera's pose (6, 6), position and rotation vector, in its own axes."""
    x, y, z = found.T[:3, 3]
    J = np.zeros((6, 6))  # of the motion that leads there: rotation vector and translation
    J[:3, :3] = [[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]]
    J[:3, 3:] = J[3:, :3] = -np.eye(3)
    return np.asarray(J @ found.covariance @ J.T)


def moved(state: TracksState, tracked: Tracked, T_last_now: FloatArray, *, is_found: bool) -> TracksState:
    """Return the state after a frame whose motion since the last one was this, found by the pixels or not."""
    if state.key is None:
        return TracksState(view=tracked.view)
    T = inverse(T_last_now) @ state.T_last_key
    T[:3, :3] = orthonormal(T[:3, :3])
    return replace(
        state,
        pixels=tracked.pixels,
        seen=tracked.seen,
        T_last_key=T,
        is_new=state.is_new and not is_found,
        view=tracked.view,
    )


def is_worn(state: TracksState) -> bool:
    """Return whether another keyframe is wanted."""
    if state.key is None:
        return True
    T, depth = state.T_last_key, float(np.median(state.key.corners.points[:, 2]))
    return bool(
        state.seen.sum() < LEFT * len(state.seen)
        or np.linalg.norm(T[:3, 3]) > FAR * depth
        or np.linalg.norm(rotation_vector(T[:3, :3])) > TURNED
    )


def renewed(state: TracksState, estimate: Estimate) -> TracksState:
    """Return the state when the last frame has been published, with its estimate: it may become the keyframe."""
    view, state = state.view, replace(state, view=None)
    if view is None or estimate.points is None or not is_worn(state):
        return state
    corners = corners_of(view.image, estimate, view.visible)
    if corners is None:
        return state
    return TracksState(Key(view.image, corners), corners.pixels, np.ones(len(corners.pixels), np.bool_))
