from __future__ import annotations

import json

import pytest

from ttt3r_ros.errors import UserError
from ttt3r_ros.model import CUT3R_224_LINEAR, CUT3R_512_DPT, NetworkConfig


def test_survives_json():
    for config in (CUT3R_512_DPT, CUT3R_224_LINEAR):
        assert NetworkConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"enc_depth": 0}, "enc_depth=0 is out of range"),
        ({"enc_depth": "24"}, "enc_depth must be a int"),
        ({"rgb_head": 1}, "rgb_head must be a bool"),
        ({"state_size": True}, "state_size must be a int"),
        ({"head_type": "dtp"}, "head_type must be"),
        ({"dpt_width": 100}, "dpt_width must be a multiple of 8"),
        ({"state_pe": "3d"}, "state_pe must be"),
        ({"dec_embed_dim": 100}, "multiple of 4"),
        ({"mlp_ratio": float("nan")}, "the value of mlp_ratio is out of range"),
        ({"depth": 3}, "unknown entries depth"),
    ],
)
def test_impossible_values_are_refused_in_words(values, words):
    with pytest.raises(UserError, match=words):
        NetworkConfig.from_dict(values)
