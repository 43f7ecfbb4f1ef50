"""Configurations are read from a string of Python that is never run."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from expectations import one_sentence, refusal
from published_files import (
    EARLIER_224,
    EARLIER_512,
    MODEL_STRING,
    PUBLISHED_224,
    PUBLISHED_512,
    TINY,
    published_state,
    save_published,
)

from ttt3r_ros.errors import UserError
from ttt3r_ros.model import CUT3R_224_LINEAR, CUT3R_512_DPT, NetworkConfig
from ttt3r_ros.weights.inert_pickle import read_pickle
from ttt3r_ros.weights.published_args import model_string, parse_model_string

OMEGACONF = Path(__file__).parents[1] / "data" / "omegaconf"


class TestModelString:
    @pytest.mark.parametrize(
        ("text", "config"),
        [
            (PUBLISHED_512, CUT3R_512_DPT),
            (EARLIER_512, CUT3R_512_DPT),
            (PUBLISHED_224, CUT3R_224_LINEAR),
            (EARLIER_224, CUT3R_224_LINEAR),
        ],
        ids=["512", "512 of an earlier stage", "224", "224 of an earlier stage"],
    )
    def test_published_strings_word_for_word(self, text: str, config: NetworkConfig) -> None:
        """Every key and shape of these configurations: test_published.py."""
        assert parse_model_string(text) == (config, [])

    def test_defaults(self) -> None:
        text = "A(B(head_type='dpt', enc_embed_dim=8, enc_depth=1, enc_num_heads=1, dec_embed_dim=64, dec_depth=1, "
        config, _ = parse_model_string(text + "dec_num_heads=1))")
        found = config.state_size, config.local_mem_size, config.state_pe, config.state_dec_num_heads
        assert found == (324, 256, "2d", 16)
        assert (config.ray_enc_depth, config.mlp_ratio, config.rope_base, config.rgb_head) == (2, 4, 100, True)
        assert parse_model_string(MODEL_STRING) == (TINY, [])

    def test_rope_base(self) -> None:
        assert parse_model_string(MODEL_STRING.replace("RoPE100", "RoPE50.5"))[0].rope_base == 50.5

    @pytest.mark.parametrize(
        "more",
        [
            *("depth_head=True", "pose_conf_head=False", "model_update_type='ttt3r'", "landscape_only=True"),
            *("freeze='none'", "depth_mode=('linear', float('-inf'), f())", "conf_mode=None"),
        ],
    )
    def test_keywords_that_change_no_number(self, more: str) -> None:
        text = re.sub(rf"{more.split('=')[0]}=('\w+'|\([^)]*\)|\w+), ", "", MODEL_STRING)
        assert parse_model_string(text.replace("dec_depth", f"{more}, dec_depth")) == (TINY, [])

    @pytest.mark.parametrize("value", ["1", "'text'", "open('x', 'w')", "lambda: 5", "[x for x in y]", "(1, {2: 3})"])
    def test_unknown_keywords_are_named_whatever_they_are_set_to(self, value: str) -> None:
        text = MODEL_STRING.replace("dec_depth", f"zeta={value}, dec_depth").replace("mlp_ratio", "beta=2, mlp_ratio")
        assert parse_model_string(text) == (TINY, ["beta", "zeta"])

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("old", "new", "named"),
        [
            ("head_type='linear'", "head_type='sparse'", "head_type"),
            ("enc_num_heads=2, ", "", "enc_num_heads"),
            ("pose_head=True", "pose_head=False", "pose head"),
            ("RoPE100", "cosine", "pos_embed"),
            ("pos_embed='RoPE100'", "pos_embed=100", "pos_embed"),
            ("'2d'", "'3d'", "state_pe"),
            ("'2d'", "('2d',)", "state_pe"),
            ("state_size=5", "state_size=True", "state_size"),
            ("state_size=5", "state_size='5'", "state_size"),
            ("state_size=5", "state_size=-5", "state_size"),
            ("mlp_ratio=2", "mlp_ratio=inf", "mlp_ratio"),
            ("mlp_ratio=2", "mlp_ratio=" + "9" * 400, "value"),
            ("dec_depth=4", "dec_depth=900000", "layers"),
            ("enc_embed_dim=32", "enc_embed_dim=32, enc_embed_dim=32", "args.model"),
            ("enc_num_heads=2", "enc_num_heads=3", "heads"),
        ],
    )
    def test_what_cannot_be_built(self, tmp_path: Path, old: str, new: str, named: str) -> None:
        text = MODEL_STRING.replace(old, new)
        assert text != MODEL_STRING
        path = save_published(tmp_path / "tiny.pth", args=argparse.Namespace(model=text))
        assert named in refusal(path).removeprefix(str(tmp_path))

    @pytest.mark.parametrize(
        "text",
        [
            *(
                "",
                "()",
                "A",
                "A()",
                "A(B)",
                "A(B(), C())",
                "A(B(x=1), y=2)",
                "A(B(x=",
                "A(B(x='\0'))",
                "A(B(x='\ud800'))",
            ),
            *("A(B(x=" + "-" * 3900 + "1))", "A(B(x=" + "(" * 1900 + ")" * 1900 + "))", "A(B(x=" + "9" * 5000 + "))"),
            *("A(B(x='\\d'))", "${model}", "A(B(x=1));A", "A(B(\n\n"),
        ],
    )
    def test_other_forms_are_refused(self, text: str) -> None:
        with pytest.raises(UserError) as caught:
            parse_model_string(text)
        one_sentence(caught.value)

    @pytest.mark.parametrize("file", sorted(OMEGACONF.glob("*.pkl")), ids=lambda file: file.stem)
    def test_omegaconf(self, file: Path) -> None:
        assert model_string(read_pickle(file.read_bytes())) == MODEL_STRING

    @pytest.mark.parametrize("args", [None, 5, "text", {}, {"model": 5}, argparse.Namespace(lr=1), [MODEL_STRING]])
    def test_args_without_a_model(self, tmp_path: Path, args: Any) -> None:
        torch.save({"args": args, "model": published_state()}, tmp_path / "tiny.pth")
        assert "which model" in refusal(tmp_path / "tiny.pth")
