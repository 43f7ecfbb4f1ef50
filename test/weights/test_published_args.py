"""Configurations are read from a string of Python that is never run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from expectations import one_sentence, refusal
from published_files import MODEL_STRING, TINY, published_state, save_published

from ttt3r_ros.errors import UserError
from ttt3r_ros.model import NetworkConfig
from ttt3r_ros.weights.published_args import parse_model_string


class TestModelString:
    def test_published_example_and_its_defaults(self) -> None:
        text = (
            "ARCroco3DStereo(ARCroco3DStereoConfig(img_size=(512, 512), head_type='dpt', depth_mode=('exp', -inf, inf),"
            " enc_embed_dim=1024, enc_depth=24, enc_num_heads=16, dec_embed_dim=768, dec_depth=12, dec_num_heads=12))"
        )
        assert parse_model_string(text) == NetworkConfig(
            state_size=324, local_mem_size=256, state_pe="2d", state_dec_num_heads=16, ray_enc_depth=2, mlp_ratio=4
        )
        assert parse_model_string(MODEL_STRING) == TINY

    def test_rope_base(self) -> None:
        assert parse_model_string(MODEL_STRING.replace("RoPE100", "RoPE50.5")).rope_base == 50.5

    @pytest.mark.parametrize(
        ("old", "new", "named"),
        [
            ("state_size", "landscape_only", "landscape_only"),
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

    @pytest.mark.parametrize("args", [None, 5, "text", {}, {"model": 5}, argparse.Namespace(lr=1), [MODEL_STRING]])
    def test_args_without_a_model(self, tmp_path: Path, args: Any) -> None:
        torch.save({"args": args, "model": published_state()}, tmp_path / "tiny.pth")
        assert "which model" in refusal(tmp_path / "tiny.pth")
