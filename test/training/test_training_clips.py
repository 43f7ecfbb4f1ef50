from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from training_recipe import TINY_RECIPE, generator

from training import clips as module
from training.clips import ClipBuffer, Clips, mirror, network_input, render_clips, reorder, training_camera
from training.config import Stage
from training.flats import MOMENTS, Shard, build_shard, variety_of
from training.hardship import suffer
from ttt3r_ros.synthetic import Sequence, Variety
from ttt3r_ros.synthetic.places import HORIZON_M

WALK = Stage("walk", 1.0, frames=3, batch=4, stride=8)
TURN = replace(WALK, motion="turn", rotation_deg=10, translation_m=0.3)
BOTH = replace(TURN, motion="both")
ROAM = replace(WALK, motion="roam", stride=16)
MIXED = replace(WALK, motion="mixed", stride=16)
LENS = replace(TURN, lenses=1.0)
CAMERA = training_camera(replace(TINY_RECIPE, width=96, height=64))


@pytest.fixture(scope="module")
def shard() -> Shard:
    return build_shard(range(3, 5))


def depth_seen_twice(clips: Clips) -> torch.Tensor:
    """Return, for pixels of later frames, the depth in the first camera over what the first frame has there."""
    k = CAMERA
    v, u = torch.meshgrid(torch.arange(k.height), torch.arange(k.width), indexing="ij")
    f = k.fx * clips.zoom[:, None, None, None]
    depth = clips.depth[:, 1:].float()
    points = torch.stack([depth * (u - k.cx) / f, depth * (v - k.cy) / f, depth], dim=-1)
    R, t = clips.T_first_camera[:, 1:, :3, :3], clips.T_first_camera[:, 1:, :3, 3]
    x, y, z = (torch.einsum("btij,bthwj->bthwi", R, points) + t[:, :, None, None]).unbind(-1)
    column, row = (f * x / z + k.cx).round().long(), (f * y / z + k.cy).round().long()
    inside = (z > 0.1) & (column >= 0) & (column < k.width) & (row >= 0) & (row < k.height)
    batch = torch.arange(len(clips))[:, None, None, None].expand_as(column)
    first = clips.depth[:, 0].float()[batch[inside], row[inside], column[inside]]
    return z[inside] / first


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage", [WALK, TURN, BOTH, ROAM, MIXED, LENS], ids=["walk", "turn", "both", "roam", "mixed", "lens"]
)
def test_the_poses_explain_the_depth(shard: Shard, stage: Stage):
    """Points of one frame lie on the surfaces of another: depth, pose and lens fit together."""
    clips = render_clips(shard, stage, 6, CAMERA, generator())
    assert clips.image.shape == (6, 3, 64, 96, 3)
    assert clips.T_first_camera[:, 1:, :3, 3].norm(dim=-1).max() > 0.05
    agree = ((depth_seen_twice(clips) - 1).abs() < 0.03).float().mean()
    still = replace_poses(clips, torch.eye(4).expand_as(clips.T_first_camera))
    assert agree > 0.85
    assert ((depth_seen_twice(still) - 1).abs() < 0.03).float().mean() < agree - 0.1


def test_mixed_clips_are_half_of_roaming_cameras_and_half_of_walking_ones(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
):
    counts = []
    for name in ("roams", "walks"):
        move = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda paths, *rest, move=move: counts.append(len(paths)) or move(paths, *rest)
        )
    assert len(render_clips(shard, MIXED, 6, CAMERA, generator())) == 6
    assert counts[:2] == [3, 3]


def test_lenses_are_the_usual_one_or_any_of_40_to_110_degrees():
    zooms = torch.tensor([module._random_zoom(0.5, generator(seed)) for seed in range(200)])
    fov = 2 * torch.rad2deg(torch.atan(CAMERA.width / 2 / (CAMERA.fx * zooms)))
    assert 0.35 < (zooms == 1).float().mean() < 0.65
    assert 39.99 <= fov.min() < 45 < 105 < fov.max() <= 110.01
    assert module._random_zoom(0.0, generator()) == 1.0


def test_a_lens_is_what_the_points_are_seen_through(shard: Shard):
    clips = render_clips(shard, LENS, 2, CAMERA, generator(4))
    fov = 2 * torch.rad2deg(torch.atan(-clips.rays(CAMERA)[0][0, 0, 0, 0] * CAMERA.width / (CAMERA.width - 1)))
    seen = Sequence(3, 1, width=96, height=64, horizontal_fov_deg=float(fov)).intrinsics
    assert seen.fx == pytest.approx(CAMERA.fx * float(clips.zoom[0]), rel=1e-4)
    assert clips.zoom[0] != 1


def test_flats_are_varied_by_their_seed_alone():
    varieties = [variety_of(seed, 0.4) for seed in range(1000, 1400)]
    assert varieties == [variety_of(seed, 0.4) for seed in range(1000, 1400)]
    counts = Counter(variety.place for variety in varieties)
    assert set(counts) == {"apartment", "corridor", "hall", "yard"}
    assert 0.5 < counts["apartment"] / 400 < 0.7
    assert 0.3 < sum(variety.wide_textures for variety in varieties) / 400 < 0.5
    assert {variety_of(seed, 0.0) for seed in range(50)} == {Variety()}


@pytest.mark.slow
def test_places_of_all_kinds_are_rendered_together():
    sixes = (range(first, first + 6) for first in range(1000, 2000))
    seeds = next(six for six in sixes if len({variety_of(seed, 0.5).place for seed in six}) == 4)
    clips = render_clips(build_shard(seeds, 0.5), WALK, 12, CAMERA, generator())
    assert torch.isfinite(clips.depth).all()
    assert clips.depth.max() <= HORIZON_M
    agree = ((depth_seen_twice(clips) - 1).abs() < 0.03).float().mean()
    assert agree > 0.85


def test_people_walk_and_doors_swing_through_clips():
    """In a flat with movers the frames of one view differ, and show consecutive moments to and fro."""
    seed = next(seed for seed in range(1000, 2000) if variety_of(seed, 0.9).people)
    shard = build_shard(range(seed, seed + 1), 0.9)
    assert shard.moments.tolist() == [MOMENTS]
    scenes = shard.scenes(torch.zeros(64, dtype=torch.int64), 40, 3, generator())
    assert (scenes.min(), scenes.max()) == (0, MOMENTS - 1)
    assert scenes.diff(dim=1).abs().max() <= 3
    still = replace(TURN, rotation_deg=0.0, translation_m=0.0, frames=4)
    depth = render_clips(shard, still, 8, CAMERA, generator()).depth
    assert (depth[:, 0] - depth[:, 3]).abs().flatten(1).amax(dim=1).max() > 0.1


def test_where_nothing_moves_all_frames_are_of_one_scene(shard: Shard):
    scenes = shard.scenes(torch.tensor([1, 0, 1]), 5, 3, generator())
    assert torch.equal(scenes, torch.tensor([[1], [0], [1]]).expand(3, 5))


def test_mirrored_poses_explain_mirrored_depth(shard: Shard):
    clips = render_clips(shard, TURN, 6, CAMERA, generator(1))
    chosen = torch.tensor([True, False] * 3)
    mirrored = mirror(clips, chosen)
    assert torch.equal(mirrored.image[0], clips.image[0].flip(2))
    assert torch.equal(mirrored.image[1], clips.image[1])
    assert ((depth_seen_twice(mirrored) - 1).abs() < 0.03).float().mean() > 0.85
    assert torch.equal(mirrored.T_first_camera[1], clips.T_first_camera[1])
    wrong = replace_poses(mirrored, clips.T_first_camera)
    assert ((depth_seen_twice(wrong) - 1).abs() < 0.03).float().mean() < 0.85


def test_any_frame_can_be_the_first(shard: Shard):
    clips = render_clips(shard, TURN, 6, CAMERA, generator(2))
    other = reorder(clips, generator(3))
    assert ((depth_seen_twice(other) - 1).abs() < 0.03).float().mean() > 0.85
    torch.testing.assert_close(other.T_first_camera[:, 0], torch.eye(4).expand(6, 4, 4), atol=1e-5, rtol=0)
    firsts = [int((clips.image[b] == other.image[b, 0]).flatten(1).all(dim=1).nonzero()[0]) for b in range(6)]
    assert len(set(firsts)) > 1


def test_clips_are_the_same_for_a_seed(shard: Shard):
    one, two = (render_clips(shard, WALK, 2, CAMERA, generator(5)) for _ in range(2))
    assert torch.equal(one.image, two.image)
    assert torch.equal(one.depth, two.depth)


def test_views_the_renderer_refuses_are_replaced(shard: Shard, monkeypatch: pytest.MonkeyPatch):
    refusals = iter([True, True, False])
    render = module.render

    def moody(*args: Any) -> Any:
        if next(refusals, True):
            raise ValueError("a tile sees too much")
        return render(*args)

    monkeypatch.setattr(module, "render", moody)
    assert len(render_clips(shard, WALK, 2, CAMERA, generator())) == 2
    with pytest.raises(ValueError, match="sees too much"):
        render_clips(shard, WALK, 2, CAMERA, generator())


def test_the_camera_is_that_of_the_synthetic_world():
    assert Sequence(0, 1, width=96, height=64).intrinsics == CAMERA


def numbered(first: int, count: int) -> Clips:
    number = torch.arange(first, first + count)
    return Clips(
        number.to(torch.uint8).view(-1, 1, 1, 1, 1).expand(-1, 1, 2, 2, 3),
        number.half().view(-1, 1, 1, 1).expand(-1, 1, 2, 2),
        number.float().view(-1, 1, 1, 1).expand(-1, 1, 4, 4),
        number.float(),
    )


def test_a_buffer_keeps_the_newest():
    buffer = ClipBuffer(5)
    buffer.add(numbered(0, 2))
    assert len(buffer) == 2
    for first in (2, 4, 6):
        buffer.add(numbered(first, 2))
    assert len(buffer) == 5
    drawn = buffer.sample(200, generator())
    assert set(drawn.image.flatten().tolist()) == {3, 4, 5, 6, 7}
    assert torch.equal(drawn.image[:, 0, 0, 0, 0].float(), drawn.depth[:, 0, 0, 0].float())
    assert torch.equal(drawn.depth[:, 0, 0, 0].float(), drawn.T_first_camera[:, 0, 0, 0])


def test_the_network_sees_varied_images_in_its_range(shard: Shard):
    clips = render_clips(shard, TURN, 4, CAMERA, generator())
    one, two = network_input(clips.image, generator(1)), network_input(clips.image, generator(2))
    assert one.shape == (4, 3, 3, 64, 96)
    assert one.min() >= -1
    assert one.max() <= 1
    plain = clips.image.permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    assert 0.01 < (one - plain).abs().mean() < 0.4
    assert (one - two).abs().mean() > 0.01
    assert torch.equal(one, network_input(clips.image, generator(1)))
    # what changes is the look, not what is where
    assert torch.corrcoef(torch.stack([one[0, 0].flatten(), plain[0, 0].flatten()]))[0, 1] > 0.85


def replace_poses(clips: Clips, T_first_camera: torch.Tensor) -> Clips:
    return Clips(clips.image, clips.depth, T_first_camera, clips.zoom)


@pytest.mark.slow
def test_hardships_strike_a_share_of_the_clips(shard: Shard):
    images = network_input(render_clips(shard, WALK, 64, CAMERA, generator()).image, generator(1))
    torch.testing.assert_close(suffer(images, 0.0, generator(2)), images, atol=1e-6, rtol=0)
    struck = suffer(images, 0.1, generator(2))
    assert struck.shape == images.shape
    assert struck.abs().max() <= 1
    changed = (struck - images).abs().flatten(1).amax(dim=1) > 1e-3
    assert 0.15 < changed.float().mean() < 0.6  # four hardships, a tenth each
    every = suffer(images, 1.0, generator(3))
    assert every.mean() < images.mean() - 0.2  # it is dark
    assert torch.equal(every, suffer(images, 1.0, generator(3)))
