"""A map's file: it comes back as it was, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_weights import TINY, rule_network
from safetensors.torch import load, save

from ttt3r_ros.camera.preprocess import pixel_map
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import Intrinsics
from ttt3r_ros.places import map_file
from ttt3r_ros.places.content import MapContent
from ttt3r_ros.places.graph import Edge, Sigmas
from ttt3r_ros.places.keyframe import Keyframe
from ttt3r_ros.places.map_file import from_bytes, read, to_bytes
from ttt3r_ros.places.similarity import Similarity
from ttt3r_ros.places.verification import PoseSkill
from ttt3r_ros.serialize import checksum
from ttt3r_ros.stream.backbone import Backbone

BACKBONE = Backbone(rule_network(TINY))


def keyframe(number: int, width: int = 80, height: int = 60) -> Keyframe:
    rng = np.random.default_rng(number)
    mapping = pixel_map(width, height, image_size=64)
    image = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (width, height))
    shape = (mapping.size[1] // 2, mapping.size[0] // 2)
    depth = rng.uniform(0.5, 5, shape).astype(np.float16)
    depth[0] = np.nan
    T = np.eye(4)
    T[:3, 3] = rng.uniform(-5, 5, 3)
    return Keyframe(
        number=number,
        track=0,
        segment=number // 2,
        stamp_ns=number * 10**9,
        T_odom_camera=T,
        factor=1.1,
        descriptor=rng.normal(size=2 * BACKBONE.network.config.enc_embed_dim).astype(np.float32),
        jpeg=cv2.imencode(".jpg", image)[1].ravel(),
        pixel_map=mapping,
        intrinsics=Intrinsics(70.0, 70.0, 31.5, 23.5, *mapping.size),
        depth=depth,
        confidence=np.full(shape, 2.0, np.float16),
        stride=2,
        turns=number % 4,
    )


def content(count: int = 5) -> MapContent:
    numbers = [2 * n + 1 for n in range(count)]  # some have been dropped
    sigmas = Sigmas(0.01, 0.02, 0.03)
    edges = [Edge(a, b, Similarity(1.0, np.eye(3), np.ones(3)), sigmas) for a, b in pairwise(numbers)]
    edges.append(Edge(numbers[0], numbers[-1], replace(Similarity.of(np.eye(4)), scale=0.9), sigmas, is_place=True))
    keyframes = tuple(map(keyframe, numbers))
    poses = tuple(Similarity.of(k.T_odom_camera, 1.2) for k in keyframes)
    skill = PoseSkill((0.1, 0.25))
    return MapContent(keyframes, poses, tuple(edges), (len(edges) - 1,), tuple(numbers), skill)


def same(a: MapContent, b: MapContent) -> bool:
    def plain(value: object) -> object:
        if isinstance(value, np.ndarray):
            return value.dtype.str, value.shape, np.nan_to_num(value).tolist()
        if hasattr(value, "__dataclass_fields__"):
            return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
        return tuple(map(plain, value)) if isinstance(value, (tuple, list)) else value

    return plain(a) == plain(b)


def test_a_map_comes_back_as_it_was(tmp_path):
    saved = content()
    (tmp_path / "a").write_bytes(to_bytes(saved, BACKBONE))
    assert same(read(tmp_path / "a", BACKBONE), saved)
    assert same(from_bytes(to_bytes(MapContent(), BACKBONE), BACKBONE, "a"), MapContent())


def test_images_of_several_sizes_are_kept():
    mixed = content(3)
    other = replace(keyframe(9, 96, 60), number=mixed.keyframes[-1].number)
    mixed = replace(mixed, keyframes=(*mixed.keyframes[:-1], other))
    assert same(from_bytes(to_bytes(mixed, BACKBONE), BACKBONE, "a"), mixed)


def test_impossible_measurements_of_the_network_are_refused():
    for errors in ((-0.1,), 17 * (0.1,)):
        wrong = to_bytes(replace(content(), skill=PoseSkill(errors)), BACKBONE)
        with pytest.raises(UserError, match="is damaged"):
            from_bytes(wrong, BACKBONE, "a")


@pytest.mark.slow
def test_a_map_of_other_weights_is_refused_in_one_sentence():
    other = Backbone(rule_network(TINY), weights_fingerprint="another")
    with pytest.raises(UserError, match=r"^a was made with other weights; use those, or make the map anew$"):
        from_bytes(to_bytes(content(), BACKBONE), other, "a")


def test_a_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "none", BACKBONE)
    (tmp_path / "other").write_bytes(b"not a map")
    with pytest.raises(UserError, match="is not a map of places"):
        read(tmp_path / "other", BACKBONE)


DATA = to_bytes(content(), BACKBONE)


@settings(max_examples=60)
@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused(place, change):
    data = bytearray(DATA)
    data[place] ^= change
    with pytest.raises(UserError):
        from_bytes(bytes(data), BACKBONE, "a")


@settings(max_examples=20)
@given(st.integers(0, len(DATA) - 1))
def test_a_file_that_is_cut_off_is_refused(length):
    with pytest.raises(UserError):
        from_bytes(DATA[:length], BACKBONE, "a")


def _tensors() -> dict:
    return load(DATA)


@settings(max_examples=60)
@given(st.data())
def test_impossible_values_with_a_right_checksum_are_refused_or_harmless(data):
    """Someone may forge a file; what is taken from it must at least be a map that can be used and saved."""
    tensors = _tensors()
    name = data.draw(st.sampled_from(sorted(tensors)))
    tensor = tensors[name].clone()
    if tensor.numel():
        index = data.draw(st.integers(0, tensor.numel() - 1))
        limits = (
            (-(2**15), 2**15 - 1) if tensor.element_size() == 2 else (0, 255) if tensor.element_size() == 1 else None
        )
        if tensor.is_floating_point():
            value = data.draw(st.sampled_from([0.0, -1.0, 1e30, -1e30, 2.0]))
        elif limits:
            value = data.draw(st.integers(*limits))
        else:
            value = data.draw(st.sampled_from([-1, 0, 1, 7, 2**31, 2**62, -(2**62)]))
        tensor.view(-1)[index] = value
    tensors[name] = tensor
    metadata = json.loads(DATA[8 : 8 + int.from_bytes(DATA[:8], "little")])["__metadata__"]
    metadata["sha256"] = checksum(metadata["values"], tensors)
    try:
        taken = from_bytes(save(tensors, metadata), BACKBONE, "a")
    except UserError:
        return
    for one in taken.keyframes:
        assert one.image.shape[2] == 3
        assert one.points(np.array([[3.0, 3.0]])).shape == (1, 3)
    to_bytes(taken, BACKBONE)


def test_the_versions_of_the_format_are_told_apart(monkeypatch):
    monkeypatch.setattr(map_file, "FORMAT", replace(map_file.FORMAT, version=map_file.FORMAT.version + 1))
    with pytest.raises(UserError, match="format version"):
        from_bytes(DATA, BACKBONE, "a")
