from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import Bench
from rule_weights import rule_network

from ttt3r_ros.model import NetworkConfig
from ttt3r_ros.model.checkpoint import save_network

#: As small as a network can be, so that tests wait for DDS and not for arithmetic.
TINY = NetworkConfig(
    enc_embed_dim=32,
    enc_depth=1,
    enc_num_heads=2,
    dec_embed_dim=48,
    dec_depth=2,
    dec_num_heads=3,
    state_dec_num_heads=4,
    state_size=10,
    local_mem_size=6,
    head_type="linear",
    image_size=64,
)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_network(rule_network(TINY), path, provenance={"made": "by rule, for tests"})
    return path


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()
