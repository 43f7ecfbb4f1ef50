from __future__ import annotations

import contextlib
import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from rule_weights import TINY, rule_network
from safetensors.torch import load, save
from segment_runner import photo

from ttt3r_ros import serialize
from ttt3r_ros.camera.mask import Mask
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_BASE_CAMERA, T_from_rpy
from ttt3r_ros.model.update import RULES
from ttt3r_ros.stream import reset_policy
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.estimate import POINTS
from ttt3r_ros.stream.gravity import ImuSamples
from ttt3r_ros.stream.saved_state import from_bytes, to_bytes
from ttt3r_ros.stream.scale_filter import ScaleState
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.stream.stream import Stream, StreamResult
from ttt3r_ros.weights.checkpoint import save_network

#: Random weights move the camera as no camera moves.
ANY_MOTION = StreamSettings(max_speed=0.0, max_turn_rate=0.0)
SECOND = 1_000_000_000


#: Float32 on the CPU, as it is: several streams can share it.
NETWORK = rule_network(TINY)


def stream(settings: StreamSettings = ANY_MOTION, **changes) -> Stream:
    return Stream(Backbone(NETWORK), dataclasses.replace(settings, **changes))


def feed(fed: Stream, numbers: range, outputs: frozenset[str] = frozenset(), **others) -> list[StreamResult]:
    mount = others.pop("T_base_camera", np.eye(4))
    return [fed.process(photo(n), n * SECOND // 10, mount, outputs=outputs, **others) for n in numbers]


def masked_and_tilted() -> dict[str, object]:
    """Return what a robot knows whose hood is in the picture, and which has an IMU."""
    gray = np.zeros((60, 80), np.uint8)
    gray[40:] = 255
    return {"mask": Mask(gray), "imu": ImuSamples(np.array([1]), np.array([[0.0, 1.0, 9.7]]))}


def moved_over(before: Stream, after: Stream, *, later: bool = False) -> bytes:
    """Save one stream, load it into another one."""
    data = to_bytes(before)
    after.resume(from_bytes(data, after, "a"), later=later)
    return data


def metadata_of(data: bytes) -> dict[str, str]:
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]


def content(data: bytes) -> str:
    """Return what is the same for files of the same content, whatever the order in them."""
    return metadata_of(data)["sha256"]


def assert_same(found: list[StreamResult], expected: list[StreamResult]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.events == b.events
        assert a.motion is not None
        assert b.motion is not None
        np.testing.assert_array_equal(a.motion.T_odom_base, b.motion.T_odom_base)
        np.testing.assert_array_equal(a.motion.twist, b.motion.twist)
        np.testing.assert_array_equal(a.motion.covariances.pose, b.motion.covariances.pose)
        assert a.estimate is not None
        assert b.estimate is not None
        assert (a.estimate.segment, a.estimate.segment_frames) == (b.estimate.segment, b.estimate.segment_frames)
        assert a.estimate.scale == b.estimate.scale
        assert a.estimate.intrinsics == b.estimate.intrinsics
        if a.estimate.points is not None:
            np.testing.assert_array_equal(a.estimate.points, b.estimate.points)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "outputs", "others"),
    [
        *((rule, frozenset(), {}) for rule in RULES),
        ("ttt3r", {POINTS}, {}),
        ("ttt3r", {POINTS}, masked_and_tilted()),
        ("ttt3r", {POINTS}, {"T_base_camera": T_from_rpy([0, 0, 0], math.pi / 2, 0, 0) @ T_BASE_CAMERA}),
    ],
)
def test_a_stream_goes_on_to_the_last_bit(rule, outputs, others):
    """Also across a reset, whose last frame's points nobody has wanted so far."""
    settings = dataclasses.replace(ANY_MOTION, reset_policy="interval", reset_interval=4)
    whole = feed(stream(settings, update_rule=rule), range(8), outputs, **others)
    going = stream(settings, update_rule=rule)
    # handed on in between: within a segment, and around ends
    for at, until in ((0, 1), (1, 2), (2, 4), (4, 5), (5, 8)):
        assert_same(feed(going, range(at, until), outputs, **others), whole[at:until])
        going, before = stream(settings, update_rule=rule), going
        moved_over(before, going)
    assert (going.state.gravity.force is not None) == ("imu" in others)


@pytest.mark.slow
def test_the_adaptive_policy_goes_on_as_well(monkeypatch):
    monkeypatch.setattr(reset_policy, "MIN_LENGTH", 0.3)
    monkeypatch.setattr(reset_policy, "MAX_LENGTH", 0.7)
    settings = dataclasses.replace(ANY_MOTION, reset_policy="adaptive", reset_interval=10)
    whole = feed(stream(settings), range(16))
    assert whole[-1].estimate.segment > whole[10].estimate.segment > 0
    before, after = stream(settings), stream(settings)
    feed(before, range(11))
    moved_over(before, after)
    assert_same(feed(after, range(11, 16)), whole[11:])


def test_saving_changes_nothing():
    whole, saved = feed(stream(), range(5)), stream()
    found = feed(saved, range(3))
    to_bytes(saved)
    assert_same(found + feed(saved, range(3, 5)), whole)


def test_a_loaded_state_is_a_copy():
    before, after = stream(), stream()
    feed(before, range(3))
    data = moved_over(before, after)
    feed(after, range(3, 5))
    feed(before, range(3, 5))
    after.resume(from_bytes(data, after, "a"))
    assert content(to_bytes(after)) == content(data)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["ttt3r", "filt3r"])
@pytest.mark.parametrize("stamp", [0, 10**15], ids=["an older clock", "days later"])
def test_a_restarted_robot_goes_on_in_its_old_map(rule, stamp):
    before, after = stream(update_rule=rule), stream(update_rule=rule)
    feed(before, range(6))
    expected = before.state.segments
    moved_over(before, after, later=True)
    found = after.process(photo(5), stamp, np.eye(4), break_reason="no image for 3 days")
    assert found.events == ()
    assert found.motion is not None
    assert found.estimate.segment_frames == 7
    np.testing.assert_array_equal(found.motion.twist, np.zeros((2, 3)))
    assert found.motion.covariances.twist[0] > 1000  # no velocity is known
    assert after.state.segments.focals[:1] == expected.focals[:1]
    again = after.process(photo(6), stamp + SECOND // 10, np.eye(4))
    assert again.motion is not None
    assert again.motion.covariances.twist[0] < 1000 or np.any(again.motion.twist)


def test_a_camera_that_was_carried_away_is_judged_like_any_jump(monkeypatch):
    settings = StreamSettings(max_speed=0.001, max_turn_rate=0.001)
    before, after = stream(settings), stream(settings)
    first = before.process(photo(0), 0, np.eye(4))
    moved_over(before, after, later=True)
    T, step = first.motion.T_odom_base, after.backbone.network.step

    def elsewhere(*args, **options):
        prediction, state = step(*args, **options)
        return dataclasses.replace(prediction, translation=prediction.translation + 5), state

    monkeypatch.setattr(NETWORK, "step", elsewhere)
    frames = [after.process(photo(n), n * SECOND // 10, np.eye(4)) for n in range(1, 8)]
    assert frames[0].lost is not None
    assert "jumped" in frames[0].lost
    went_on = next(frame for frame in frames if frame.motion is not None)
    np.testing.assert_allclose(went_on.motion.T_odom_base, T, atol=1e-6)


def test_precisions_share_files():
    before, after = stream(), Stream(Backbone(rule_network(TINY), precision="bfloat16"), ANY_MOTION)
    feed(before, range(3))
    moved_over(before, after)
    network = after.backbone.network
    assert after.state.segments.state.pose_memory.dtype == network.pose_memory.slots.dtype
    (found,) = feed(after, range(3, 4))
    assert found.estimate.segment_frames == 4
    moved_over(after, before)
    assert feed(before, range(4, 5))[0].estimate.segment_frames == 5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_state_moves_between_gpu_and_cpu(precision):
    on_gpu = Stream(Backbone(rule_network(TINY), device="cuda", precision=precision), ANY_MOTION)
    on_cpu = stream()
    for fed, other, numbers in ((on_cpu, on_gpu, range(3)), (on_gpu, on_cpu, range(3, 6))):
        frames = feed(fed, numbers)
        assert frames[-1].estimate.segment_frames == numbers.stop
        moved_over(fed, other)
    assert on_cpu.state.segments.state.tokens.device.type == "cpu"
    assert feed(on_cpu, range(6, 7))[0].estimate.segment_frames == 7


# --- what cannot be used ---


@pytest.fixture(scope="module")
def saved() -> bytes:
    made = stream()
    feed(made, range(3))
    return to_bytes(made)


@pytest.fixture(scope="module")
def reader() -> Stream:
    return stream()


def refused(data: bytes, reader: Stream) -> str:
    with pytest.raises(UserError) as caught:
        from_bytes(data, reader, "a.state.safetensors")
    message = str(caught.value)
    assert message.startswith("a.state.safetensors ")
    assert "\n" not in message
    assert len(message) < 300
    return message


def forged(
    data: bytes, change=lambda metadata: None, tensors=lambda tensors: None, values=lambda values: None
) -> bytes:
    """Return a file with something changed in it and a checksum that is right again."""
    metadata, kept = metadata_of(data), load(data)
    stream = json.loads(metadata["values"])
    tensors(kept), values(stream)
    metadata["values"] = json.dumps(stream)
    metadata["sha256"] = serialize.checksum(metadata["values"], kept)
    change(metadata)
    return save(kept, metadata)


def test_it_takes_what_it_makes(saved, reader):
    from_bytes(saved, reader, "a")
    from_bytes(forged(saved), reader, "a")
    assert len(saved) < 200_000


def test_a_file_cut_off_anywhere_is_refused(saved, reader):
    for length in [0, 1, 7, 8, 9, 10, 100, 1000, len(saved) // 2, len(saved) - 1]:
        assert "not a saved state" in (said := refused(saved[:length], reader)) or "truncated or damaged" in said
    assert "truncated or damaged" in refused(saved + b"\0", reader)


def test_a_changed_byte_is_noticed(saved, reader):
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(saved), 300):
        changed = bytearray(saved)
        changed[place] ^= 1 << int(rng.integers(8))
        with contextlib.suppress(UserError):
            found = from_bytes(bytes(changed), reader, "a.state.safetensors")
            again = stream()
            again.resume(found)
            assert content(to_bytes(again)) == content(saved)  # as of a space that fills up the header


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 5000,
        b"ply\nformat binary_little_endian 1.0\n",
        b"PK\x03\x04" + b"\0" * 500,
        b"\xff" * 8 + b"{" * 5000,
        (5000).to_bytes(8, "little") + b"[" * 5000,
        (5000).to_bytes(8, "little") + b'{"a":' + b"[" * 4995,
        (2).to_bytes(8, "little") + b"{}",
        (24).to_bytes(8, "little") + b'{"__metadata__":[1,2,3]}',
        (17).to_bytes(8, "little") + b'{"__metadata__":{' + b'"a":NaN}}',
        (30).to_bytes(8, "little") + b'{"a":{"data_offsets":["x","y"]}'[:30],
    ],
)
def test_foreign_files_are_refused(data, reader):
    refused(data, reader)


def test_weights_are_no_saved_state(reader, tmp_path):
    save_network(rule_network(TINY), tmp_path / "weights", provenance={})
    assert "contains weights" in refused((tmp_path / "weights").read_bytes(), reader)
    assert "something else" in refused(save({"a": torch.zeros(1)}), reader)


def test_another_version_is_said(saved, reader):
    newer = forged(saved, lambda metadata: metadata.update(ttt3r_ros_session="9\x1b[31m"))
    assert "format version '9\\x1b[31m' but this ttt3r_ros reads version 8" in refused(newer, reader)


def test_another_network_is_said(saved):
    deeper = dataclasses.replace(TINY, enc_depth=2, state_size=11)
    said = refused(saved, Stream(Backbone(rule_network(deeper))))
    assert "a different network (enc_depth '1' instead of 2, state_size '10' instead of 11)" in said


def test_other_weights_are_said(saved):
    network = rule_network(TINY)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 1e-3
    assert "different weights of the same size" in refused(saved, Stream(Backbone(network)))


def test_another_image_size_and_rule_are_said(saved):
    assert "image_size 64, not 96" in refused(saved, stream(image_size=96))
    assert "update_rule 'ttt3r', not filt3r" in refused(saved, stream(update_rule="filt3r"))


def with_value(path: str, value: object):
    def change(values: dict) -> None:
        *parents, name = path.split(".")
        for parent in parents:
            values = values[parent]
        assert name in values
        values[name] = value

    return change


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("segments.scale_state.bias", 1e3),
        ("segments.scale_state.log_scale", 1e300),
        ("segments.segment", -2),
        ("segments.segment_frames", 10**30),
        ("segments.reset_due", 1),
        ("segments.input_size", [80]),
        ("segments.input_size", [80, -60]),
        ("segments.input_size", [10**9, 10**9]),
        ("segments.input_size", None),
        ("segments.focals", [-1.0]),
        ("segments.state", None),
        ("segments.last", None),
        ("odometry.stamp_ns", -(2**63)),
        ("odometry.stamp_ns", 2**70),
    ],
)
def test_forged_values_are_refused(saved, reader, path, value):
    """Of the right kind, or None; those of another kind are refused for all states alike, see `test_serialize`."""
    assert "is damaged" in refused(forged(saved, values=with_value(path, value)), reader)


def with_tensor(name: str, tensor: torch.Tensor | None):
    def change(tensors: dict) -> None:
        assert name in tensors or tensor is not None
        tensors.pop(name, None)
        if tensor is not None:
            tensors[name] = tensor

    return change


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("segments.state.tokens", torch.zeros(1, 10, 47)),
        ("segments.state.tokens", torch.zeros(1, 10, 48, dtype=torch.float64)),
        ("segments.state.tokens", torch.full((1, 10, 48), float("nan"))),
        ("segments.state.pose_memory", torch.zeros(2, 6, 96)),
        ("segments.state.carried.0", torch.zeros(1, 10)),
        ("segments.last.points", torch.zeros(1, 48, 64, 2)),
        ("segments.last.points", None),
        ("segments.T_world_camera", torch.zeros(4, 4, dtype=torch.float64)),
        ("segments.T_world_camera", torch.eye(4)),
        ("tracks.T_last_key", torch.zeros(4, 4, dtype=torch.float64)),
        ("tracks.seen", torch.ones(7, dtype=torch.bool)),
        ("tracks.pixels", torch.zeros(7, 2)),
        ("segments.T_world_camera", 2 * torch.eye(4, dtype=torch.float64)),
        ("segments.T_world_camera", torch.full((4, 4), float("nan"), dtype=torch.float64)),
        ("segments.T_world_camera", torch.eye(3, dtype=torch.float64)),
        ("odometry.covariance", torch.eye(6, dtype=torch.float64)),
        ("odometry.error", torch.eye(6, dtype=torch.float64)),
        ("odometry.moved", torch.zeros(2, dtype=torch.float64)),
        ("images.thumbnail", torch.zeros(16, 12)),
        ("motions.velocity", torch.zeros(3, dtype=torch.float64)),
        ("motions.velocity", torch.zeros(6, dtype=torch.bfloat16)),
    ],
)
def test_forged_tensors_are_refused(saved, reader, name, tensor):
    assert "is damaged" in refused(forged(saved, tensors=with_tensor(name, tensor)), reader)


def test_what_is_refused_has_changed_nothing(saved):
    going = stream()
    feed(going, range(3))
    before = going.state
    refused(saved[:-1], going)
    assert going.state is before


def test_a_stream_that_is_not_finite_is_not_saved():
    made = stream()
    feed(made, range(2))
    segments = dataclasses.replace(made.state.segments, scale_state=ScaleState(lag=float("inf")))
    made.resume(dataclasses.replace(made.state, segments=segments))
    with pytest.raises(UserError, match=r"cannot be saved: segments\.scale_state\.lag is not a finite number"):
        to_bytes(made)
