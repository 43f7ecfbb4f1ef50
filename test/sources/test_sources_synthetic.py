"""The synthetic world as a source."""

from __future__ import annotations

import numpy as np
import pytest

from ttt3r_ros.errors import UserError
from ttt3r_ros.sources import open_source
from ttt3r_ros.sources.frame import SourceFrame


def test_frames_come_with_everything_known() -> None:
    source = open_source("synthetic:seed=3,length=6,width=64,height=48,fps=10,motion=wheeled")
    frames = list(source.frames())
    assert source.length == len(frames) == 6
    assert source.rate_hz == 10.0
    assert not source.recorded_time
    assert source.has_truth
    assert source.T_base_camera is not None
    T_world_base = frames[5].T_world_camera @ np.linalg.inv(source.T_base_camera)
    np.testing.assert_allclose(T_world_base[2], [0.0, 0.0, 1.0, 0.0], atol=1e-9)  # on the floor, upright
    assert open_source("synthetic:length=1,width=32,height=32").T_base_camera is None  # in a hand
    assert [f.stamp_ns for f in frames] == [i * 100_000_000 for i in range(6)]
    for frame in frames:
        assert frame.image.shape == (48, 64, 3)
        assert frame.image.dtype == np.uint8
        assert frame.depth is not None
        assert frame.depth.shape == (48, 64)
        assert frame.depth.dtype == np.float32
        assert frame.T_world_camera is not None
        assert frame.T_world_camera.dtype == np.float64
        assert frame.intrinsics is not None
        assert (frame.intrinsics.width, frame.intrinsics.height) == (64, 48)
    assert not np.array_equal(frames[0].image, frames[5].image)


def test_it_can_start_anywhere_and_at_any_rate() -> None:
    specification = "synthetic:length=6,width=32,height=32,fps=10"
    whole = list(open_source(specification).frames())
    late = list(open_source(specification).frames(start_s=0.31))
    assert [f.stamp_ns for f in late] == [400_000_000, 500_000_000]
    np.testing.assert_array_equal(late[0].image, whole[4].image)
    assert open_source(specification, fps=20.0).rate_hz == 20.0
    assert list(open_source(specification).frames(start_s=9.0)) == []


@pytest.mark.slow
def test_its_options_lead_to_other_places_lenses_and_company() -> None:
    size = "synthetic:seed=4,length=4,width=48,height=36,fps=1,motion=standing"

    def frames(options: str = "") -> list[SourceFrame]:
        return list(open_source(size + options).frames())

    usual = frames()
    for options in (",people=3", ",fov=100"):
        assert not np.array_equal(frames(options)[3].depth, usual[3].depth)
    wide = frames(",textures=wide")
    np.testing.assert_array_equal(wide[3].depth, usual[3].depth)
    assert not np.array_equal(wide[3].image, usual[3].image)
    outdoors = open_source(f"{size},place=yard")
    assert outdoors.name == "synthetic yard 4, standing"
    assert any(np.isinf(frame.depth).any() for frame in outdoors.frames())
    for frame, before in zip(frames(",doors=still,people=0,place=apartment,textures=usual,fov=70"), usual):
        np.testing.assert_array_equal(frame.image, before.image)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("sed=1", "'sed=1'.*seed, length, motion"),
        ("seed", "'seed'"),
        ("seed=x", "seed must be a whole number"),
        ("length=1.5", "length must be a whole number"),
        ("fps=fast", "fps must be a number"),
        ("length=0", "at least one frame"),
        ("length=99999999999999999999", "at most 1000000 frames"),
        ("width=1000000000", "at most 8192 pixels"),
        ("fps=0", "frame rate"),
        ("motion=flying", "handheld, wheeled"),
        ("width=0", "pixels"),
        ("place=moon", "apartment, corridor, hall, yard"),
        ("textures=none", "usual or wide"),
        ("doors=open", "still or moving"),
        ("people=100", "0 to 12"),
        ("fov=170", "20 to 120"),
    ],
)
def test_mistakes_are_explained(options: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_source(f"synthetic:{options}")
