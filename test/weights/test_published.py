from __future__ import annotations

from pathlib import Path

import pytest
import torch
from published_files import published_shapes

from ttt3r_ros.model import CUT3R_224_LINEAR, CUT3R_512_DPT, Network
from ttt3r_ros.weights.published import aliases, published_key, unused_shapes

DATA = Path(__file__).parents[1] / "data"


def table(name: str) -> dict[str, tuple[int, ...]]:
    lines = (DATA / name).read_text().splitlines()
    pairs = (line.split("\t") for line in lines)
    return {key: tuple(int(side) for side in shape.split(",") if side) for key, shape in pairs}


@pytest.mark.parametrize(
    ("config", "name"),
    [(CUT3R_512_DPT, "checkpoint_512_dpt.tsv"), (CUT3R_224_LINEAR, "checkpoint_224_linear.tsv")],
    ids=["512 dpt", "224 linear"],
)
def test_full_size_matches_the_published_checkpoint_key_by_key(config, name):
    assert published_shapes(config) == table(name)


@pytest.mark.slow
def test_every_parameter_has_a_published_name_of_its_own():
    with torch.device("meta"):
        keys = list(Network(CUT3R_512_DPT).state_dict())
    names = [published_key(key) for key in keys]
    assert len(set(names)) == len(keys)
    assert not set(names) & set(unused_shapes(CUT3R_512_DPT))
    assert set(aliases(CUT3R_512_DPT).values()) <= set(names)
