from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt3r_ros.camera.preprocess import PixelMap
from ttt3r_ros.geometry import Intrinsics, inverse, rotation_vector
from ttt3r_ros.stream import tracks
from ttt3r_ros.stream.corners import PER_CELL
from ttt3r_ros.stream.estimate import Estimate, Timings
from ttt3r_ros.stream.tracks import MASK_MARGIN, Found, Tracked, TracksState, View

WIDTH, HEIGHT, FOCAL, DEPTH = 320, 240, 220.0, 3.0
CAMERA = Intrinsics(FOCAL, FOCAL, (WIDTH - 1) / 2, (HEIGHT - 1) / 2, WIDTH, HEIGHT)
PICTURE = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (480, 640)).astype(np.float32), (0, 0), 3.0)


def wall(T: np.ndarray) -> np.ndarray:
    """Return the picture on a wall 3 m ahead of the origin, seen from a pose T; by its homography."""
    n = np.array([0.0, 0.0, 1.0])
    back = inverse(T)
    H = CAMERA.matrix() @ (back[:3, :3] + np.outer(back[:3, 3], n) / DEPTH) @ np.linalg.inv(CAMERA.matrix())
    center = np.array([[1.0, 0.0, 160.0], [0.0, 1.0, 120.0], [0.0, 0.0, 1.0]])
    seen = cv2.warpPerspective(PICTURE, H @ np.linalg.inv(center), (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)
    return np.clip((seen - 128) * 6 + 128, 0, 255).astype(np.uint8)


def estimate(T: np.ndarray, depth: float = DEPTH) -> Estimate:
    """Return what a network sees from a pose, but for the pose."""
    x, y = np.meshgrid(np.arange(WIDTH) - CAMERA.cx, np.arange(HEIGHT) - CAMERA.cy)
    rays = np.stack([x / FOCAL, y / FOCAL, np.ones_like(x)], axis=-1)
    far = (depth - T[2, 3]) / (rays @ T[2, :3])
    return Estimate(
        np.eye(4),
        None,
        np.zeros(1, np.float32),
        1.0,
        0,
        2,
        PixelMap((WIDTH, HEIGHT), (WIDTH, HEIGHT), (0, 0), (WIDTH, HEIGHT)),
        1.0,
        Timings(0.0, 0.0, 0.0),
        points=(rays * far[..., None]).astype(np.float32),
        depth=far.astype(np.float32),
        confidence=np.full((HEIGHT, WIDTH), 3.0, np.float32),
        intrinsics=CAMERA,
    )


@dataclass
class Walk:
    """A camera that walks before the wall, followed like a stream follows it."""

    state: TracksState
    T: np.ndarray  #: (4, 4) as tracked
    found: Found | None = None  #: by the pixels of the last frame

    @classmethod
    def begin(cls, visible: np.ndarray | None = None) -> Walk:
        tracked = Tracked(View(wall(np.eye(4)), visible), *empty())
        state = tracks.moved(TracksState(), tracked, np.eye(4), is_found=False)
        return cls(tracks.renewed(state, estimate(np.eye(4))), np.eye(4))

    def go(self, T: np.ndarray, said: np.ndarray | None = None, image: np.ndarray | None = None) -> bool:
        """Take in a frame at a pose, where the network says that it has moved so; return whether pixels told."""
        said = np.eye(4) if said is None else said
        tracked = tracks.follow(self.state, View(wall(T) if image is None else image))
        found = tracks.motion(self.state, tracked, said, estimate(T))
        moved = said if found is None else found.T_last_now
        self.T, self.found = self.T @ moved, found
        moved_state = tracks.moved(self.state, tracked, moved, is_found=found is not None)
        self.state = tracks.renewed(moved_state, estimate(T))
        return found is not None

    def off(self, T: np.ndarray) -> tuple[float, float]:
        difference = inverse(T) @ self.T
        return float(np.linalg.norm(difference[:3, 3])), float(np.linalg.norm(rotation_vector(difference[:3, :3])))


def empty() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((0, 2), np.float32), np.zeros(0, np.bool_)


def pose(t, angles) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = cv2.Rodrigues(np.asarray(angles, float))[0], t
    return T


little, turn = st.floats(-0.1, 0.1), st.floats(-0.04, 0.04)


@settings(max_examples=10)
@given(st.tuples(little, little, little), st.tuples(turn, turn, turn), st.booleans())
def test_pixels_tell_what_the_network_has_not_seen(t, angles, is_opposite):
    T, walk = pose(t, angles), Walk.begin()
    assert walk.go(T, inverse(T) if is_opposite else None)
    metres, radians = walk.off(T)
    assert metres < 0.02
    assert radians < 0.006


@pytest.mark.parametrize(
    ("t", "angles"),
    [((0, 0, 0.04), (0, 0, 0)), ((0, 0, -0.04), (0, 0, 0)), ((0.04, 0, 0), (0, 0, 0)), ((0, 0, 0), (0, 0.05, 0.01))],
    ids=["forwards", "backwards", "sideways", "turning"],
)
def test_a_way_of_many_steps_does_not_drift(t, angles):
    walk, T = Walk.begin(), np.eye(4)
    keys = set()
    for _ in range(8):
        T = T @ pose(t, angles)
        assert walk.go(T)
        keys.add(id(walk.state.key))
    assert len(keys) > 1  # it went on from another keyframe
    metres, radians = walk.off(T)
    assert metres < 0.03
    assert radians < 0.008


def test_the_first_motion_from_a_keyframe_is_marked():
    walk, news = Walk.begin(), []
    for i in range(1, 5):
        assert walk.go(pose((0.01 * i, 0, 0), (0, 0, 0)))
        news.append(walk.found.certainty.is_new)
    assert news == [True, False, False, False]


def test_less_to_go_by_is_less_certain():
    """The right half of the picture alone, and a noisy one."""
    certain, T = {}, pose((0.05, 0, 0), (0, 0.02, 0))
    half = np.ones((HEIGHT, WIDTH), np.uint8)
    half[:, :160] = 0
    noise = np.random.default_rng(2).normal(0, 25, (HEIGHT, WIDTH))
    for name, visible, added in (("all", None, 0), ("half", half, 0), ("noisy", None, noise)):
        walk = Walk.begin(visible)
        assert walk.go(T, image=np.clip(wall(T) + added, 0, 255).astype(np.uint8))
        certain[name] = np.sqrt(np.diag(walk.found.certainty.covariance))
        assert walk.off(T)[0] < 0.05
    for name in ("half", "noisy"):
        assert (certain[name] > certain["all"]).all()
    assert certain["half"].sum() > 1.3 * certain["all"].sum()


def test_noise_does_not_move_who_creeps():
    """Motion is told since the keyframe, so that the noise of many steps does not add up."""
    walk, rng = Walk.begin(), np.random.default_rng(1)
    for i in range(1, 16):
        T = pose((0, 0, 0.001 * i), (0, 0, 0))
        image = np.clip(wall(T) + rng.normal(0, 4, (HEIGHT, WIDTH)), 0, 255).astype(np.uint8)
        assert walk.go(T, image=image)
    assert walk.off(T)[0] < 0.01


def test_hidden_pixels_are_not_followed():
    visible = np.ones((HEIGHT, WIDTH), np.uint8)
    visible[:, :200] = 0
    walk = Walk.begin(visible)
    assert (walk.state.key.corners.pixels[:, 0] >= 200).all()
    hood = wall(np.eye(4))
    image = wall(pose((0.1, 0, 0), (0, 0, 0)))
    image[:, :200] = hood[:, :200]  # it moves along with the camera
    tracked = tracks.follow(walk.state, View(image, visible))
    assert tracked.seen.sum() > 20
    assert (tracked.pixels[tracked.seen, 0] >= 199).all()
    assert MASK_MARGIN > 5


@pytest.mark.parametrize("kind", ["another picture", "black", "blur", "another size"])
def test_where_nothing_can_be_followed_the_network_is_believed(kind):
    walk, said = Walk.begin(), pose((0.01, 0, 0.05), (0, 0.01, 0))
    image = {
        "another picture": np.random.default_rng(5).integers(0, 255, (HEIGHT, WIDTH)).astype(np.uint8),
        "black": np.zeros((HEIGHT, WIDTH), np.uint8),
        "blur": cv2.blur(wall(said), (81, 81)),
        "another size": wall(said)[:200].copy(),
    }[kind]
    key = walk.state.key
    assert not walk.go(said, said, image)
    np.testing.assert_allclose(walk.T, said, atol=1e-12)
    assert kind != "black" or walk.state.key is key  # nothing better has been seen
    assert tracks.motion(TracksState(), Tracked(View(image), *empty()), said, estimate(said)) is None


def test_a_keyframe_waits_for_points():
    walk = Walk.begin()
    T = pose((0.3, 0, 0), (0, 0, 0))
    tracked = tracks.follow(walk.state, View(wall(T)))
    state = tracks.moved(walk.state, tracked, T, is_found=False)
    assert tracks.is_worn(state)
    assert tracks.renewed(state, replace(estimate(T), points=None)) == replace(state, view=None)
    assert not tracks.is_worn(tracks.renewed(state, estimate(T)))
    assert tracks.is_worn(TracksState())


def test_what_is_rich_in_detail_does_not_take_all_corners():
    """A poster on a third of a faint wall, with three times its contrast."""
    image = (128 + 0.3 * (wall(np.eye(4)).astype(float) - 128)).astype(np.uint8)
    image[:, :107] = wall(np.eye(4))[:, :107]
    state = tracks.moved(TracksState(), Tracked(View(image), *empty()), np.eye(4), is_found=False)
    pixels = tracks.renewed(state, estimate(np.eye(4))).key.corners.pixels
    assert (pixels[:, 0] > 107).mean() > 0.5
    cells = np.unique((pixels * [8, 6] / [WIDTH, HEIGHT]).astype(int), axis=0, return_counts=True)[1]
    assert len(cells) > 30
    assert cells.max() <= PER_CELL
