"""Published checkpoints: every honest variant loads, nothing a file says is executed, damage is said in a sentence."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from expectations import assert_equal, one_sentence, refusal
from published_files import (
    DPT_STRING,
    MODEL_STRING,
    TINY,
    TINY_DPT,
    Touch,
    published_shapes,
    published_state,
    save_published,
    save_with_pickled_args,
)
from rule_weights import rule_network

from ttt3r_ros.errors import UserError
from ttt3r_ros.model import Network
from ttt3r_ros.weights.checkpoint import load_checkpoint, load_network
from ttt3r_ros.weights.published import published_key

OMEGACONF = Path(__file__).parents[1] / "data" / "omegaconf"


class TestPublishedVariants:
    @pytest.mark.slow
    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
    def test_prefixes_of_torchs_wrappers(self, tmp_path: Path, network: Network, prefix: str) -> None:
        state = {f"{prefix}{key}": value for key, value in published_state().items()}
        assert_equal(load_network(save_published(tmp_path / "tiny.pth", state))[0], network)

    def test_a_key_with_and_without_a_prefix_is_two_keys(self, tmp_path: Path) -> None:
        state = published_state() | {"module.pose_token": torch.zeros(1, 1, 16)}
        assert "module.pose_token" in refusal(save_published(tmp_path / "tiny.pth", state))

    def test_a_training_configuration_of_omegaconf(self, tmp_path: Path, network: Network) -> None:
        """OmegaConf is not installed; data/omegaconf/make.py says how the files were made; test_published_args.py."""
        path = save_with_pickled_args(tmp_path / "tiny.pth", (OMEGACONF / "2.3.0.pkl").read_bytes())
        assert_equal(load_network(path)[0], network)

    @pytest.mark.parametrize("name", ["lone", "head", "several"])
    def test_unknown_keywords_are_one_warning(self, tmp_path: Path, network: Network, name: str) -> None:
        more = {"lone": "zeta=1", "head": "depth_head=True, zeta=f(x)", "several": "zeta=[], alpha=None, beta=g"}[name]
        text = MODEL_STRING.replace("dec_depth", f"{more}, dec_depth")
        said: list[str] = []
        path = save_published(tmp_path / "tiny.pth", args=argparse.Namespace(model=text))
        assert_equal(load_checkpoint(path, warn=said.append).network, network)
        (sentence,) = said
        assert one_sentence(UserError(sentence)).startswith(str(path))
        assert ("3 keywords (alpha, beta, zeta)" if name == "several" else "1 keyword (zeta)") in sentence

    def test_known_keywords_are_no_warning(self, tmp_path: Path) -> None:
        load_checkpoint(save_published(tmp_path / "tiny.pth"), warn=pytest.fail)

    def test_an_unknown_keyword_explains_no_tensor(self, tmp_path: Path) -> None:
        args = argparse.Namespace(model=MODEL_STRING.replace("dec_depth", "qk_norm=True, dec_depth"))
        state = published_state() | {"dec_blocks.0.attn.q_norm.weight": torch.ones(8)}
        text = refusal(save_published(tmp_path / "tiny.pth", state, args))
        assert "dec_blocks.0.attn.q_norm.weight" in text
        assert "1 keyword (qk_norm) that this package does not know" in text

    def test_dict_args(self, tmp_path: Path, network: Network) -> None:
        path = save_published(tmp_path / "tiny.pth", args={"model": MODEL_STRING, "lr": 1e-4})
        assert_equal(load_network(path)[0], network)

    def test_other_entries_and_parameters(self, tmp_path: Path, network: Network) -> None:
        state = {key: torch.nn.Parameter(value.clone()) for key, value in published_state().items()}
        optimizer = torch.optim.AdamW(list(state.values())[:3])
        sum(value.sum() for value in list(state.values())[:3]).backward()
        optimizer.step()
        more = {"optimizer": optimizer.state_dict(), "epoch": 3, "best_so_far": 0.5, "scaler": {}, "when": Path("x")}
        loaded, _ = load_network(save_published(tmp_path / "tiny.pth", state, **more))
        assert_equal(loaded, network_of(state))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "more",
        [
            {
                "best_so_far": np.float64(0.5),
                "epoch": np.int64(3),
                "random": np.random.get_state(),
                "ok": np.bool_(True),
            },
            {
                "best_so_far": torch.tensor(0.5, dtype=torch.float64),
                "steps": torch.tensor(3),
                "rng": torch.get_rng_state(),
            },
            {"scaler": {"scale": 65536.0, "_growth_tracker": 7}, "epoch": 39, "args": argparse.Namespace(lr=1)},
            {"odd": torch.ones(2, dtype=torch.uint16), "raw": torch.ones(2).untyped_storage(), "c": torch.ones(1) * 1j},
            {"scheduler": collections.defaultdict(list, {((1, 2), (3,)): [4]}), "seen": {frozenset({1})}, "last": ...},
            {3: torch.nn.Linear(2, 2), "when": Path("x"), "device": torch.device("cpu"), "dtype": torch.float16},
        ],
        ids=["numpy", "scalars", "scaler", "kinds of numbers", "containers", "objects"],
    )
    def test_other_entries_of_any_kind(self, tmp_path: Path, network: Network, more: dict[Any, Any]) -> None:
        content = more | {"args": argparse.Namespace(model=MODEL_STRING, **{"more": more}), "model": published_state()}
        torch.save(content, tmp_path / "tiny.pth")
        assert_equal(load_network(tmp_path / "tiny.pth")[0], network)

    def test_a_tensor_with_attributes(self, tmp_path: Path, network: Network) -> None:
        state = published_state()
        state["pose_token"] = state["pose_token"].clone()
        state["pose_token"].note = "x"
        assert_equal(load_network(save_published(tmp_path / "tiny.pth", state))[0], network)

    @pytest.mark.slow
    def test_strided_and_shared_storages(self, tmp_path: Path, network: Network) -> None:
        state = published_state()
        key = "decoder_embed.weight"
        state[key] = state[key].t().contiguous().t()
        joined = torch.cat([state["dec_norm.weight"], state["dec_norm.bias"]])
        state["dec_norm.weight"], state["dec_norm.bias"] = joined[:16], joined[16:]
        assert_equal(load_network(save_published(tmp_path / "tiny.pth", state))[0], network)

    def test_state_decoder_starts_from_a_copy(self, tmp_path: Path) -> None:
        state = {key: value for key, value in published_state().items() if not key.startswith("dec_blocks_state.")}
        loaded, _ = load_network(save_published(tmp_path / "tiny.pth", state))
        for key, value in loaded.image_decoder.state_dict().items():
            copy = loaded.state_decoder.state_dict()[key]
            assert torch.equal(copy, value)
            assert copy.data_ptr() != value.data_ptr()  # training one must not train the other

    def test_unused_keys_may_be_missing(self, tmp_path: Path, network: Network) -> None:
        unused = re.compile(r"masked_(img|ray_map)_token|patch_embed_ray_map|enc_(blocks|norm)_ray_map")
        state = {key: value for key, value in published_state().items() if not unused.match(key)}
        assert len(state) < len(published_state())
        assert_equal(load_network(save_published(tmp_path / "tiny.pth", state))[0], network)

    @pytest.mark.parametrize("other", [torch.ones(256, 96, 3, 3), torch.zeros(1, 96, 3, 3)])
    def test_a_repeated_tensor_must_be_equal(self, tmp_path: Path, other: torch.Tensor) -> None:
        state = {key: torch.zeros(1).expand(shape) for key, shape in published_shapes(TINY_DPT).items()}
        alias = "downstream_head.dpt_self.scratch.layer_rn.0.weight"
        args = argparse.Namespace(model=DPT_STRING)
        assert "more weights" in refusal(save_published(tmp_path / "dpt.pth", state, args))
        assert f"{alias} should be identical to" in refusal(
            save_published(tmp_path / "dpt.pth", state | {alias: other}, args)
        )


def network_of(state: Mapping[str, torch.Tensor]) -> Network:
    network = rule_network(TINY)
    values = {key: state[published_key(key)].detach() for key in network.state_dict()}
    network.load_state_dict(values)
    return network


class Loud:
    """Makes a file when its state is restored."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __setstate__(self, state: Any) -> None:
        Path(state["path"]).touch()


class TestNothingIsExecuted:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        "attack",
        [
            lambda mark: Touch(os.system, f"touch {mark}"),
            lambda mark: Touch(eval, f"open({str(mark)!r}, 'w')"),
            lambda mark: Touch(exec, f"open({str(mark)!r}, 'w')"),
            lambda mark: Touch(open, str(mark), "w"),
            lambda mark: Touch(getattr, Touch(Path, str(mark)), "touch"),
            lambda mark: Touch(functools.partial(open, str(mark), "w")),
            lambda mark: Touch(map, open, [str(mark)]),
            lambda mark: Touch(torch.load, str(mark)),
            lambda mark: Touch(torch.save, {}, str(mark)),
            lambda mark: Touch(torch.UntypedStorage.from_file, str(mark), True, 64),
            Loud,
        ],
    )
    @pytest.mark.parametrize("place", ["args", "entry", "tensor", "model"])
    def test_a_pickle_that_would_touch_a_file(self, tmp_path: Path, attack: Any, place: str, network: Network) -> None:
        mark = tmp_path / "touched"
        payload = attack(mark)
        state = published_state()
        if place == "args":
            path = save_published(tmp_path / "evil.pth", args=payload)
        elif place == "entry":
            path = save_published(tmp_path / "evil.pth", epoch=payload)
        elif place == "tensor":
            path = save_published(tmp_path / "evil.pth", state | {"dec_norm.bias": payload})
        else:
            path = save_published(tmp_path / "evil.pth", payload)
        if place == "entry":  # carried along and of no interest
            assert_equal(load_network(path)[0], network)
        else:
            refusal(path)
        assert not mark.exists()

    def test_the_attacks_work_on_an_ordinary_unpickler(self, tmp_path: Path) -> None:
        mark = tmp_path / "touched"
        pickle.loads(pickle.dumps(Touch(open, str(mark), "w")))
        assert mark.exists()

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("state_size=5", "state_size=len('12345')"),
            ("state_size=5", "state_size=__import__('os').system('touch {mark}')"),
            ("state_size=5", "state_size=float('inf')"),
            ("state_size=5", "state_size=[5 for _ in '1'][0]"),
            ("state_size=5", "state_size=(lambda: 5)()"),
            ("state_size=5", "state_size=f'{{5}}'"),
            ("state_size=5", "state_size=2+3"),
            ("state_size=5", "state_size=-'5'"),
            ("state_size=5", "state_size=os"),
            ("state_size=5", "state_size=(x:=5)"),
            ("state_size=5", "state_size=5j"),
            ("state_size=5", "**{{'state_size': 5}}"),
            ("state_size=5", "5"),
            ("ARCroco3DStereo(ARC", "open('{mark}', 'w') or ARCroco3DStereo(ARC"),
            ("ARCroco3DStereo(ARC", "os.system(ARC"),
            ("ARCroco3DStereo(ARC", "f(x)(ARC"),
        ],
    )
    def test_a_model_string_with_more_than_literals(self, tmp_path: Path, old: str, new: str) -> None:
        mark = tmp_path / "touched"
        text = MODEL_STRING.replace(old, new.format(mark=mark))
        assert text != MODEL_STRING
        assert "args.model" in refusal(save_published(tmp_path / "evil.pth", args=argparse.Namespace(model=text)))
        assert not mark.exists()


class TestKeys:
    def test_incomplete_state_decoder(self, tmp_path: Path) -> None:
        state = published_state()
        del state["dec_blocks_state.0.norm1.weight"]
        assert "lacks 1 tensor (dec_blocks_state.0.norm1.weight)" in refusal(save_published(tmp_path / "t.pth", state))

    @pytest.mark.parametrize("state", [{}, [1], {"a": 1}, {3: torch.zeros(1)}, {"a": {"b": torch.zeros(1)}}])
    def test_no_state_dict(self, tmp_path: Path, state: Any) -> None:
        torch.save({"args": argparse.Namespace(model=MODEL_STRING), "model": state}, tmp_path / "tiny.pth")
        refusal(tmp_path / "tiny.pth")

    @pytest.mark.parametrize("content", [{}, [], 5, {"model": {}}, {"args": {}}, torch.zeros(3)])
    def test_no_checkpoint(self, tmp_path: Path, content: Any) -> None:
        torch.save(content, tmp_path / "tiny.pth")
        assert "not a published checkpoint" in refusal(tmp_path / "tiny.pth")

    def test_integer_weights(self, tmp_path: Path) -> None:
        state = published_state() | {"dec_norm.weight": torch.ones(16, dtype=torch.int64)}
        assert "data type" in refusal(save_published(tmp_path / "tiny.pth", state))


class TestDamagedArchives:
    def test_expanded_tensors_do_not_become_memory(self, tmp_path: Path) -> None:
        """A few bytes that claim to be terabytes, in a configuration that agrees with them."""
        wide = 2**19
        text = MODEL_STRING.replace("enc_embed_dim=32", f"enc_embed_dim={wide}")
        shapes = published_shapes(dataclasses.replace(TINY, enc_embed_dim=wide))
        one = torch.zeros(1)
        state = {key: one.expand(shape) for key, shape in shapes.items()}
        path = save_published(tmp_path / "t.pth", state, argparse.Namespace(model=text))
        assert path.stat().st_size < 1e6
        assert "more weights than it contains" in refusal(path)
