"""Places other than apartments, random textures, and what moves."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from ttt3r_ros.errors import UserError
from ttt3r_ros.synthetic import Sequence, Variety
from ttt3r_ros.synthetic.atlas import build_atlas
from ttt3r_ros.synthetic.limits import Kind
from ttt3r_ros.synthetic.movers import Door, Person
from ttt3r_ros.synthetic.places import HORIZON_M
from ttt3r_ros.synthetic.scene import build_scene

SIZE = {"width": 120, "height": 90}
PLACES = get_args(Kind)
BUSY = Variety(people=3, doors=True)


@pytest.mark.slow
def test_apartments_are_what_they_always_were() -> None:
    """Figures, tests and recordings rest on them."""
    scene = build_scene(5)
    assert len(scene.center) == 487
    assert (scene.center.sum(), scene.half.sum()) == pytest.approx((5513.144054738477, 477.10292418744336), abs=1e-9)
    assert int(scene.surfaces["first_texel"].astype(np.int64).sum()) == 13648601725
    assert float(scene.surfaces["u_0"].astype(float).sum()) == pytest.approx(1153879.4962414503, abs=1e-3)
    assert int(scene.openness.astype(np.int64).sum()) == 324567658949
    assert scene.openness.shape == (132, 166)
    usual, all_ = (build_atlas("cpu", families).texels for families in (False, True))
    assert torch.equal(all_[: len(usual)], usual)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fov", [40.0, 110.0])
def test_every_place_is_closed_bright_and_has_room_to_walk(place: Kind, fov: float) -> None:
    sequence = Sequence(2, 8, **SIZE, fps=0.25, horizontal_fov_deg=fov, variety=Variety(place))
    frames = sequence.render(0, 8)
    seen = torch.isfinite(frames.depth)
    assert seen.all() or place == "yard"
    assert seen.float().mean() > 0.3
    assert frames.depth[seen].min() > 0.2
    assert frames.depth[seen].max() < HORIZON_M
    assert 40 < frames.image.float().mean() < 215
    assert np.ptp(sequence.T_world_camera[:, :2, 3].numpy(), axis=0).max() > 1.5
    k = sequence.intrinsics
    v, u = np.mgrid[: k.height, : k.width]
    points = np.stack([(u - k.cx) / k.fx, (v - k.cy) / k.fy, np.ones_like(u, dtype=float)], axis=-1)
    T = sequence.T_world_camera.numpy()[:, None, None]
    z = (T[..., 2, :3] * points).sum(-1) * frames.depth.numpy() + T[..., 2, 3]
    z = z[seen.numpy()]
    assert z.min() > -1e-3
    assert (np.abs(z) < 2e-3).mean() > 0.01, "there is a floor"


def test_places_have_their_sizes() -> None:
    for seed in range(4):
        corridor, hall, yard = (build_scene(seed, Variety(place)).plan for place in ("corridor", "hall", "yard"))
        long, wide = (np.ptp(corridor.rooms[0].x), np.ptp(corridor.rooms[0].y))
        assert long > 15
        assert 1.9 <= wide <= 2.6
        assert any(o.kind == "doorway" for o in corridor.rooms[0].openings)
        assert hall.height >= 3.5
        assert min(hall.size) >= 10
        assert min(yard.size) >= 10


def test_the_sky_has_no_depth_and_everything_else_has() -> None:
    frames = Sequence(2, 6, **SIZE, fps=0.25, variety=Variety("yard")).render(0, 6)
    sky = torch.isinf(frames.depth)
    assert 0.05 < sky.float().mean() < 0.7
    blue = frames.image[..., 2].float() - frames.image[..., 0].float()
    assert blue[sky].mean() > 20 + blue[~sky].mean()
    assert sky[:, :30].float().mean() > sky[:, 60:].float().mean()


def test_random_textures_change_the_look_and_nothing_else() -> None:
    usual, wide = (
        Sequence(6, 3, **SIZE, fps=0.5, variety=Variety(wide_textures=w)).render(0, 3) for w in (False, True)
    )
    assert torch.equal(usual.depth, wide.depth)
    assert torch.equal(usual.T_world_camera, wide.T_world_camera)
    assert (usual.image.float() - wide.image.float()).abs().mean() > 10


@pytest.mark.slow
def test_what_moves_is_seen_to_move_and_the_rest_stays() -> None:
    still, busy = (
        Sequence(4, 10, **SIZE, fps=1.0, motion="standing", variety=variety) for variety in (Variety(), BUSY)
    )
    assert torch.equal(still.T_world_camera, busy.T_world_camera)
    a, b = still.render(0, 10).depth, busy.render(0, 10).depth
    nearer = b < a - 1e-3
    assert (b <= a + 1e-3).all(), "movers only hide what was there"
    assert 0.003 < nearer.float().mean() < 0.5
    assert not torch.equal(nearer[0], nearer[-1])


@pytest.mark.slow
def test_a_frame_with_movers_does_not_depend_on_its_batch() -> None:
    sequence = Sequence(4, 12, **SIZE, fps=2.0, variety=BUSY)
    together = sequence.render(0, 12)
    for i in (0, 5, 11):
        alone = sequence.render(i)
        assert torch.equal(alone.image[0], together.image[i])
        assert torch.equal(alone.depth[0], together.depth[i])


@pytest.mark.slow
def test_doors_swing_on_their_hinges_and_people_walk_on_the_floor() -> None:
    scene = build_scene(4, BUSY)
    assert {type(mover) for mover in scene.movers} == {Door, Person}
    times = np.arange(0.0, 400.0, 0.1)
    for mover in scene.movers:
        places = np.array([mover.at(float(t)) for t in times])
        if isinstance(mover, Door):
            assert np.ptp(places[:, :2], axis=0).max() == 0.0
            opened = mover.way * (places[:, 2] - mover.closed_rad)
            assert np.deg2rad(79.9) < opened.min() < opened.max() < np.deg2rad(165.1)
        else:
            speed = np.hypot(*np.diff(places[:, :2], axis=0).T) / 0.1
            assert speed.mean() > 0.2
            assert speed.max() < 1.5
            assert abs(np.diff(places[:, 2])).max() < 0.3
        now, later = scene.at(0.0), scene.at(1.0)
        part = slice(mover.first, mover.first + mover.count)
        assert not np.array_equal(now.center[part], later.center[part])
        np.testing.assert_array_equal(now.half, later.half)
    moving = np.concatenate([np.arange(m.first, m.first + m.count) for m in scene.movers])
    rest = np.setdiff1d(np.arange(len(scene.center)), moving)
    np.testing.assert_array_equal(scene.at(0.0).center[rest], scene.at(7.0).center[rest])


@pytest.mark.parametrize(
    ("variety", "word"), [(Variety("moon"), "apartment, corridor, hall, yard"), (Variety(people=99), "0 to 12 people")]
)
def test_varieties_out_of_range_are_named(variety: Variety, word: str) -> None:
    with pytest.raises(UserError, match=word):
        Sequence(0, 1, variety=variety)
