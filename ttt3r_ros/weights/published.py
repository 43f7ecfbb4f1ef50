"""Maps our parameter names to those of published checkpoints; the only place that renames keys."""

from __future__ import annotations

import re

from ttt3r_ros.model.config import PATCH, NetworkConfig
from ttt3r_ros.model.heads import dpt_widths
from ttt3r_ros.model.network import Network
from ttt3r_ros.model.reference import ReferenceNetwork

_RULES: list[tuple[str, str]] = [  # (pattern of our key, published key); the first match applies
    (r"^patch_embed\.", "patch_embed.proj."),
    (r"^encoder_norm\.", "enc_norm."),
    (r"^encoder\.", "enc_blocks."),
    (r"^state_tokens$", "register_tokens.weight"),
    (r"^state_embed\.", "decoder_embed_state."),
    (r"^image_embed\.", "decoder_embed."),
    (r"^image_decoder\.", "dec_blocks."),
    (r"^image_norm\.", "dec_norm."),
    (r"^state_decoder\.", "dec_blocks_state."),
    (r"^state_norm\.", "dec_norm_state."),
    (r"^pose_memory\.slots$", "pose_retriever.mem"),
    (r"^pose_memory\.unknown_pose$", "pose_retriever.masked_token"),
    (r"^pose_memory\.view_embed\.", "pose_retriever.proj_q."),
    (r"^pose_memory\.", "pose_retriever."),
    (r"^pose_head\.", "downstream_head.pose_head."),
    (r"^world_transform\.", "downstream_head.final_transform."),
    (r"^camera_head\.mlp\.", "downstream_head.proj."),
    (r"^world_head\.mlp\.", "downstream_head.cross_proj."),
    (r"^color_head\.mlp\.", "downstream_head.rgb_proj."),
    (r"^camera_head\.", "downstream_head.dpt_self."),
    (r"^world_head\.", "downstream_head.dpt_cross."),
    (r"^color_head\.", "downstream_head.dpt_rgb."),
]
_DPT_NAMES = {"skip_unit": "resConfUnit1", "out_unit": "resConfUnit2"}


def published_key(key: str) -> str:
    """Return the name of one of our parameters in a published checkpoint."""
    for pattern, replacement in _RULES:
        renamed, found = re.subn(pattern, replacement, key)
        if found:
            key = renamed
            break
    key = key.replace(".resample.", ".act_postprocess.")
    key = re.sub(r"\.project\.(\d)\.", lambda m: f".scratch.layer{int(m[1]) + 1}_rn.", key)
    key = re.sub(r"\.fuse\.(\d)\.", lambda m: f".scratch.refinenet{int(m[1]) + 1}.", key)
    return re.sub(r"\.(skip_unit|out_unit)\.", lambda m: f".{_DPT_NAMES[m[1]]}.", key)


def reference_of(network: Network) -> ReferenceNetwork:
    """Return the slow reference network, sharing the weights of a float32 network."""
    weights = {published_key(key): value for key, value in network.state_dict().items()}
    return ReferenceNetwork(network.config, weights)


def aliases(config: NetworkConfig) -> dict[str, str]:
    """Return the published keys that duplicate another key: ``{alias: original}``."""
    if config.head_type != "dpt":
        return {}
    levels = range(len(dpt_widths(config)))
    prefixes = [f"downstream_head.{head}.scratch" for head in _dpt_heads(config)]
    return {
        f"{prefix}.layer_rn.{level}.weight": f"{prefix}.layer{level + 1}_rn.weight"
        for prefix in prefixes
        for level in levels
    }


def unused_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Return the published keys and shapes of parameters that are never used for frames with an image.

    They serve ray-map input (a camera without an image), or belong to a unit whose result is discarded.
    """
    wide, hidden = config.enc_embed_dim, int(config.mlp_ratio * config.enc_embed_dim)
    shapes: dict[str, tuple[int, ...]] = {
        "masked_img_token": (1, wide),
        "masked_ray_map_token": (1, wide),
        "patch_embed_ray_map.proj.weight": (wide, 6, PATCH, PATCH),
        "patch_embed_ray_map.proj.bias": (wide,),
        "enc_norm_ray_map.weight": (wide,),
        "enc_norm_ray_map.bias": (wide,),
    }
    block = {
        "norm1": (wide,),
        "attn.qkv": (3 * wide, wide),
        "attn.proj": (wide, wide),
        "norm2": (wide,),
        "mlp.fc1": (hidden, wide),
        "mlp.fc2": (wide, hidden),
    }
    for layer in range(config.ray_enc_depth):
        for name, shape in block.items():
            shapes[f"enc_blocks_ray_map.{layer}.{name}.weight"] = shape
            shapes[f"enc_blocks_ray_map.{layer}.{name}.bias"] = shape[:1]
    if config.head_type == "dpt":
        for head in _dpt_heads(config):
            for conv in ("conv1", "conv2"):
                unit = f"downstream_head.{head}.scratch.refinenet4.resConfUnit1.{conv}"
                shapes[f"{unit}.weight"] = (config.dpt_width, config.dpt_width, 3, 3)
                shapes[f"{unit}.bias"] = (config.dpt_width,)
    return shapes


def _dpt_heads(config: NetworkConfig) -> list[str]:
    return ["dpt_self", "dpt_cross", *(["dpt_rgb"] if config.rgb_head else [])]
