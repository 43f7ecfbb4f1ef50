"""Makes small files in the published checkpoints' format, honest and hostile ones."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import zipfile
from pathlib import Path
from typing import Any

import torch
from rule_weights import rule_weight

from ttt3r_ros.model import Network, NetworkConfig
from ttt3r_ros.weights.published import aliases, published_key, unused_shapes

TINY = NetworkConfig(
    enc_embed_dim=32,
    enc_depth=2,
    enc_num_heads=2,
    dec_embed_dim=16,
    dec_depth=4,
    dec_num_heads=2,
    state_dec_num_heads=4,
    state_size=5,
    local_mem_size=3,
    mlp_ratio=2,
    ray_enc_depth=1,
    head_type="linear",
)
#: The published networks' strings, word for word, and those of earlier stages of their training.
PUBLISHED_512 = (
    "ARCroco3DStereo(ARCroco3DStereoConfig(freeze='encoder', state_size=768, state_pe='2d', pos_embed='RoPE100', "
    "rgb_head=True, pose_head=True, patch_embed_cls='ManyAR_PatchEmbed', img_size=(512, 512), head_type='dpt', "
    "output_mode='pts3d+pose', depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), pose_mode=('exp', -inf, inf), "
    "enc_embed_dim=1024, enc_depth=24, enc_num_heads=16, dec_embed_dim=768, dec_depth=12, dec_num_heads=12, "
    "landscape_only=False))"
)
PUBLISHED_224 = (
    "ARCroco3DStereo(ARCroco3DStereoConfig(freeze='encoder', state_size=768, state_pe='2d', pos_embed='RoPE100', "
    "rgb_head=True, pose_head=True, img_size=(224, 224), head_type='linear', "
    "output_mode='pts3d+pose', depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), pose_mode=('exp', -inf, inf), "
    "enc_embed_dim=1024, enc_depth=24, enc_num_heads=16, dec_embed_dim=768, dec_depth=12, dec_num_heads=12))"
)
EARLIER_512 = (
    "ARCroco3DStereo(ARCroco3DStereoConfig(state_size=768, state_pe='2d', pos_embed='RoPE100', "
    "rgb_head=True, pose_head=True, patch_embed_cls='ManyAR_PatchEmbed', img_size=(512, 512), head_type='dpt', "
    "output_mode='pts3d+pose', depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), pose_mode=('exp', -inf, inf), "
    "enc_embed_dim=1024, enc_depth=24, enc_num_heads=16, dec_embed_dim=768, dec_depth=12, dec_num_heads=12, "
    "landscape_only=False))"
)
EARLIER_224 = (
    "ARCroco3DStereo(ARCroco3DStereoConfig(state_size=768, state_pe='2d', pos_embed='RoPE100', "
    "rgb_head=True, pose_head=True, img_size=(224, 224), head_type='linear', "
    "output_mode='pts3d+pose', depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), pose_mode=('exp', -inf, inf), "
    "enc_embed_dim=1024, enc_depth=24, enc_num_heads=16, dec_embed_dim=768, dec_depth=12, dec_num_heads=12))"
)
#: A tiny network's, in the same form.
MODEL_STRING = (
    "ARCroco3DStereo(ARCroco3DStereoConfig(freeze='encoder', state_size=5, state_pe='2d', pos_embed='RoPE100', "
    "rgb_head=True, pose_head=True, patch_embed_cls='ManyAR_PatchEmbed', img_size=(512, 512), head_type='linear', "
    "output_mode='pts3d+pose', depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), pose_mode=('exp', -inf, inf), "
    "enc_embed_dim=32, enc_depth=2, enc_num_heads=2, dec_embed_dim=16, dec_depth=4, dec_num_heads=2, "
    "landscape_only=False, state_dec_num_heads=4, local_mem_size=3, mlp_ratio=2, ray_enc_depth=1))"
)


TINY_DPT = dataclasses.replace(TINY, head_type="dpt", rgb_head=False)
DPT_STRING = MODEL_STRING.replace("'linear'", "'dpt'").replace("rgb_head=True", "rgb_head=False")


def published_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Return every key of a published checkpoint with this configuration, and its shape."""
    with torch.device("meta"):
        parameters = Network(config).state_dict()
    shapes = {published_key(key): tuple(value.shape) for key, value in parameters.items()}
    shapes.update(unused_shapes(config))
    shapes.update({alias: shapes[original] for alias, original in aliases(config).items()})
    return shapes


def published_state(config: NetworkConfig = TINY) -> dict[str, torch.Tensor]:
    """Return a state_dict with every published key and the rule's weights; aliases share memory.

    Calls share their tensors: replace them, do not write into them.
    """
    return dict(_published_state(config))


@functools.cache
def _published_state(config: NetworkConfig) -> dict[str, torch.Tensor]:
    repeated = aliases(config)
    state = {key: rule_weight(key, shape) for key, shape in published_shapes(config).items() if key not in repeated}
    return state | {alias: state[original] for alias, original in repeated.items()}


def save_published(path: Path, state: dict[str, Any] | None = None, args: Any = None, **more: Any) -> Path:
    """Write a checkpoint of the tiny network, or of what is given."""
    args = argparse.Namespace(model=MODEL_STRING, seed=0) if args is None else args
    torch.save({"args": args, "model": published_state() if state is None else state, **more}, path)
    return path


def save_with_pickled_args(path: Path, args: bytes) -> Path:
    """Write a checkpoint whose args are an object that has been pickled already (with protocol 2), as torch.save would.

    Pickles are programs for a stack machine: without its frame, one is the part of another that makes its object.
    """
    save_published(path, args=0)

    def change(name: str, data: bytes) -> bytes:
        if not name.endswith("/data.pkl"):
            return data
        start, end = b"\x80\x02", b"."
        assert args.startswith(start)
        assert args.endswith(end)
        before, after = data.split(b"argsq\x01K\x00", 1)  # the key, its place in the memo, the number 0
        # what follows refers only to what it has put into the memo itself
        return before + b"argsq\x01" + args.removeprefix(start).removesuffix(end) + after

    rewrite(path.read_bytes(), path, change)
    return path


def rewrite(archive: bytes, path: Path, change: Any) -> None:
    """Copy an archive, each record as `change(name, data)` returns it."""
    path.write_bytes(archive)
    with zipfile.ZipFile(path) as old:
        records = {name: change(name, old.read(name)) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in records.items():
            if data is not None:
                new.writestr(name, data)


class Touch:
    """Pickles as a call that makes a file."""

    def __init__(self, maker: Any, *arguments: Any) -> None:
        self.call = (maker, arguments)

    def __reduce__(self) -> Any:
        return self.call
