"""The fast way to what a ray hits, against geometry on paper and against the slow way that tries everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ttt3r_ros.geometry import Intrinsics
from ttt3r_ros.synthetic import Sequence
from ttt3r_ros.synthetic.atlas import build_atlas
from ttt3r_ros.synthetic.builder import Builder, Paint, Place
from ttt3r_ros.synthetic.cull import Views, visible
from ttt3r_ros.synthetic.render import render
from ttt3r_ros.synthetic.scene import Scene, build_scene
from ttt3r_ros.synthetic.world import World

K = Intrinsics(100.0, 100.0, 79.5, 59.5, 160, 120)
SMALL = Intrinsics(50.0, 50.0, 39.5, 29.5, 80, 60)
LOOKING_ALONG_X = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def ray_grid(k: Intrinsics = K) -> tuple[np.ndarray, np.ndarray]:
    v, u = np.mgrid[: k.height, : k.width]
    return (u - k.cx) / k.fx, (v - k.cy) / k.fy


def depth_of(builder: Builder, position: tuple[float, float, float]) -> np.ndarray:
    """Render what a builder holds, looking along +x."""
    scene = build_scene(0)
    things = builder.primitives()
    world = World.stack(
        [
            Scene(
                plan=scene.plan, center=things["center"], half=things["half"], flatness=things["flatness"],
                roundness=things["roundness"], cosine=np.cos(things["yaw"]), sine=np.sin(things["yaw"]),
                occluders=np.full((1, 6), -1e3), surfaces=builder.surfaces(), rooms=scene.rooms,
                openness=scene.openness, distance=scene.distance,
            )
        ],
        "cpu",
    )  # fmt: skip
    views = Views(
        torch.tensor(LOOKING_ALONG_X, dtype=torch.float32)[None],
        torch.tensor([position]),
        torch.zeros(1, dtype=torch.int64),
    )
    return render(world, build_atlas("cpu"), views, K)[1][0].double().numpy()


@pytest.fixture
def builder() -> Builder:
    """A wall at x = 5 behind everything."""
    builder = Builder(np.random.Generator(np.random.PCG64(0)))
    builder.box(Place(5.5, 0.0), (-0.5, 0.5), (-20.0, 20.0), (-20.0, 20.0), Paint("plaster"))
    return builder


def test_a_wall_has_one_depth(builder: Builder) -> None:
    np.testing.assert_allclose(depth_of(builder, (1.0, 0.3, 1.5)), 4.0, rtol=1e-6)


def test_a_turned_box(builder: Builder) -> None:
    angle = np.deg2rad(30)
    builder.box(Place(3.0, 0.0, angle), (-0.4, 0.4), (-0.3, 0.3), (1.0, 2.0), Paint("wood"))
    depth = depth_of(builder, (0.0, 0.0, 1.5))
    x, y = ray_grid()
    # rays (1, -x, -y) against the box's four upright faces, one by one
    c, s = np.cos(angle), np.sin(angle)
    expected = np.full_like(x, 5.0)
    for normal, offset, along, reach in (
        ((c, s), -0.4, (-s, c), 0.3),
        ((-s, c), -0.3, (c, s), 0.4),
        ((-s, c), 0.3, (c, s), 0.4),
    ):
        t = (offset + normal[0] * 3.0) / (normal[0] - normal[1] * x)
        place = along[0] * (t - 3.0) - along[1] * t * x
        hit = (t > 0) & (np.abs(place) <= reach) & (np.abs(t * y) <= 0.5)
        expected = np.where(hit, np.minimum(expected, t), expected)
    agree = np.abs(depth - expected) < 1e-4
    assert agree.mean() > 0.999  # all but rays along an edge
    assert 0.05 < (expected < 4.0).mean() < 0.5


def test_a_cylinder_and_its_cap(builder: Builder) -> None:
    builder.cylinder(Place(3.0, 0.2, 1.1), 0.5, (0.0, 1.0), Paint("plaster"))
    depth = depth_of(builder, (0.0, 0.0, 1.5))
    x, y = ray_grid()
    a, b, c = 1 + x * x, -3.0 + 0.2 * x, 9.0 + 0.04 - 0.25
    root = np.sqrt(np.maximum(b * b - a * c, 0))
    side, back, cap = (-b - root) / a, (-b + root) / a, 0.5 / np.maximum(y, 1e-9)
    t = np.where(side * y >= 0.5, side, cap)
    hit = (b * b > a * c) & (y > 0) & (cap < back) & (t * y <= 1.5)
    expected = np.where(hit, t, 5.0)
    assert (np.abs(depth - expected) < 1e-4).mean() > 0.999
    assert 0.03 < hit.mean() < 0.5


def test_an_ellipsoid(builder: Builder) -> None:
    builder.ellipsoid(Place(3.0, 0.0), 0.6, (1.2, 1.8), Paint("plaster"))
    depth = depth_of(builder, (0.0, 0.0, 1.5))
    assert depth[59:61, 79:81].min() == pytest.approx(2.4, abs=1e-3)
    x, y = ray_grid()
    points = np.stack([depth - 3.0, -x * depth, -y * depth], axis=-1)
    on_it = np.abs((points**2 / [0.36, 0.36, 0.09]).sum(-1) - 1) < 1e-4
    assert (on_it | (np.abs(depth - 5.0) < 1e-4)).all()
    assert on_it.mean() > 0.03


def brute_force(world: World, views: Views) -> np.ndarray:
    """Depth by trying every primitive on every ray in float64, one formula after the other."""
    x, y = ray_grid(SMALL)
    camera = np.stack([x, y, np.ones_like(x)], axis=-1)
    depths = []
    for rotation, position in zip(views.rotation.double().numpy(), views.position.double().numpy(), strict=True):
        direction = camera @ rotation.T
        nearest = np.full(x.shape, np.inf)
        columns = (world.center, world.half, world.cosine, world.sine, world.flatness, world.roundness)
        for center, half, c, s, flatness, is_round in zip(*(w[0].double().numpy() for w in columns), strict=True):
            R = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
            o, d = R @ (position - center), direction @ R.T
            with np.errstate(divide="ignore", invalid="ignore"):
                t0, t1 = (-half - o) / d, (half - o) / d
                near, far = np.minimum(t0, t1), np.maximum(t0, t1)
                if is_round:
                    a = d[..., 0] ** 2 + d[..., 1] ** 2 + flatness * d[..., 2] ** 2
                    b = d[..., 0] * o[0] + d[..., 1] * o[1] + flatness * d[..., 2] * o[2]
                    q = b * b - a * (o[0] ** 2 + o[1] ** 2 + flatness * o[2] ** 2 - half[0] ** 2)
                    root = np.sqrt(q)  # NaN where it misses, and no comparison with NaN holds
                    entry, leave = np.maximum((-b - root) / a, near[..., 2]), np.minimum((root - b) / a, far[..., 2])
                else:
                    entry, leave = near.max(axis=-1), far.min(axis=-1)
                hit = (entry <= leave) & (entry > 0)
            nearest = np.where(hit & (entry < nearest), entry, nearest)
        depths.append(nearest)
    return np.stack(depths)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "motion"), [(0, "handheld"), (9, "wheeled")])
def test_the_fast_way_agrees_with_trying_everything(seed: int, motion: str) -> None:
    sequence = Sequence(seed, 3, width=160, height=120, fps=0.08, motion=motion)
    poses = sequence.T_world_camera.float()
    views = Views(poses[:, :3, :3].contiguous(), poses[:, :3, 3].contiguous(), torch.zeros(3, dtype=torch.int64))
    fast = render(sequence._world, build_atlas("cpu"), views, SMALL)[1].double().numpy()
    slow = brute_force(sequence._world, views)
    assert np.isfinite(slow).all(), "the flat is closed"
    error = np.abs(fast - slow) / slow
    assert (error < 1e-4).mean() > 0.9995  # all but rays along an edge


def test_culling_leaves_little() -> None:
    sequence = Sequence(2, 1, width=160, height=120)
    poses = sequence.T_world_camera.float()
    views = Views(poses[:, :3, :3], poses[:, :3, 3], torch.zeros(1, dtype=torch.int64))
    x, y = (torch.linspace(-w, w, 9) for w in (0.8, 0.6))
    listed = visible(sequence._world, views, x, y).sum(dim=1)
    assert listed.min() >= 1
    assert listed.float().mean() < 0.1 * sequence._world.primitives
