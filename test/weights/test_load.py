"""Which weights are taken, and how long a segment they advise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rule_weights import TINY, rule_network

from ttt3r_ros.errors import UserError
from ttt3r_ros.model.fingerprint import fingerprint
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.weights import load as weights
from ttt3r_ros.weights.checkpoint import save_network
from ttt3r_ros.weights.load import (
    MIN_RATE,
    PUBLISHED_SEGMENT,
    SEGMENT_FRAMES,
    SYNTHETIC,
    USUAL_MIN_RATE_HZ,
    load_weights,
)


def test_those_of_the_package_are_taken_where_none_are_given() -> None:
    found = load_weights("")
    assert found.source == "small.safetensors"
    assert 1 < found.segment_frames < PUBLISHED_SEGMENT
    assert found.min_rate_hz >= USUAL_MIN_RATE_HZ
    assert weights.PACKAGED.stat().st_size <= 24 * 2**20
    assert found.note == (
        f"the weights small.safetensors have never seen a real image and reset every {found.segment_frames} frames: "
        "they are for trying and testing, not for robots"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("source", "noted"), [(SYNTHETIC, True), ("cut3r.pth", False), (None, False), (3, False)])
def test_weights_of_the_synthetic_world_say_so(tmp_path: Path, source: object, noted: bool) -> None:
    """Also those that a user has trained."""
    file = tmp_path / "mine.safetensors"
    save_network(rule_network(TINY), file, provenance={"source": source, SEGMENT_FRAMES: 1})
    note = load_weights(str(file)).note
    assert note.startswith("the weights mine.safetensors have never seen a real image and reset every frame:") == noted
    assert bool(note) == noted


def test_a_package_without_its_weights_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "PACKAGED", tmp_path / "small.safetensors")
    with pytest.raises(UserError, match=r"small\.safetensors does not exist"):
        load_weights("")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("provenance", "frames", "rate_hz"),
    [
        ({SEGMENT_FRAMES: 12, MIN_RATE: 7.5}, 12, 7.5),
        ({}, PUBLISHED_SEGMENT, USUAL_MIN_RATE_HZ),
        ({SEGMENT_FRAMES: 0, MIN_RATE: 0}, PUBLISHED_SEGMENT, 0.0),
        ({SEGMENT_FRAMES: 1.5}, PUBLISHED_SEGMENT, USUAL_MIN_RATE_HZ),
        *(
            ({SEGMENT_FRAMES: nonsense, MIN_RATE: nonsense}, PUBLISHED_SEGMENT, USUAL_MIN_RATE_HZ)
            for nonsense in ("12", -3, None, [])
        ),
    ],
)
def test_a_file_advises_the_length_of_its_segments_and_how_few_images_its_weights_can_follow(
    tmp_path: Path, provenance: dict[str, object], frames: int, rate_hz: float
) -> None:
    file = tmp_path / "tiny.safetensors"
    save_network(rule_network(TINY), file, provenance=provenance)
    found = load_weights(str(file))
    assert (found.segment_frames, found.min_rate_hz, found.source) == (frames, rate_hz, str(file))
    assert torch.is_tensor(found.network.state_tokens)


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.bfloat16), ("meta", torch.float32)])
def test_weights_are_converted_for_a_cpu_and_left_alone_for_other_devices(device: str, dtype: torch.dtype) -> None:
    found = load_weights("", device=device, precision=torch.bfloat16)
    assert found.network.encoder[0].mlp.fc1.weight.dtype == dtype
    assert found.network.pose_token.device.type == "cpu"


def test_a_lowered_precision_goes_on_under_the_fingerprint_of_the_file() -> None:
    plain, lowered = load_weights(""), load_weights("", precision=torch.bfloat16)
    assert lowered.fingerprint == plain.fingerprint == fingerprint(plain.network)
    assert fingerprint(lowered.network) != plain.fingerprint
    backbone = Backbone(lowered.network, precision="bfloat16", weights_fingerprint=lowered.fingerprint)
    assert backbone.fingerprint == Backbone(plain.network, precision="bfloat16").fingerprint


LOADING = """
import sys, torch
before = set(sys.modules)
from ttt3r_ros.weights.load import load_weights
load_weights("")
print(*sorted(set(sys.modules) - before))
"""


@pytest.mark.slow
def test_loading_does_not_import_the_compiler() -> None:
    """It is the better part of torch, a second and 70 MB; some operations on the meta device import it."""
    run = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True, check=True)
    imported = run.stdout.split()
    assert "ttt3r_ros.weights.load" in imported
    assert not {"sympy", "torch._dynamo", "torch.fx.experimental.symbolic_shapes"} & set(imported)
