"""Reads a published checkpoint's configuration from its `args`, a string of Python that is parsed but never run."""

from __future__ import annotations

import ast
import math
import re
import warnings
from typing import Any

from ttt3r_ros.errors import UserError
from ttt3r_ros.model.config import NetworkConfig
from ttt3r_ros.weights.inert_pickle import Inert

#: Keywords that do not affect what the network computes; their values are ignored.
IRRELEVANT = frozenset(
    {
        *("output_mode", "depth_mode", "conf_mode", "pose_mode", "patch_embed_cls"),
        *("freeze", "landscape_only", "depth_head", "pose_conf_head", "model_update_type"),
    }
)
#: Keywords without a published default. The number of heads affects no tensor shape, so it must not be guessed.
REQUIRED = (
    "enc_embed_dim",
    "enc_depth",
    "enc_num_heads",
    "dec_embed_dim",
    "dec_depth",
    "dec_num_heads",
    "head_type",
)
DEFAULTS: dict[str, Any] = {
    "state_size": 324,
    "local_mem_size": 256,
    "state_pe": "2d",
    "state_dec_num_heads": 16,
    "ray_enc_depth": 2,
    "mlp_ratio": 4,
    "pos_embed": "RoPE100",
    "rgb_head": True,
    "pose_head": True,
    "img_size": (512, 512),
}
SQUARE_INPUT = 224  #: the published network of this image size was trained on square images, all others on wider ones
MAX_LENGTH = 4000  # characters; published strings have about 450
_NAMED_NUMBERS = {"inf": math.inf, "nan": math.nan}


def model_string(args: object) -> str:
    """Return `model` from a checkpoint's `args`, a dict, Namespace or OmegaConf DictConfig as inert data.

    Raises:
        UserError: there is no such string.
    """
    value = _lookup(args, "model")
    if isinstance(value, Inert):
        value = _lookup(value, "_val")  # an OmegaConf node
    if not isinstance(value, str):
        raise UserError("its args do not say which model it holds, so it is not a published CUT3R or TTT3R checkpoint")
    return value


def parse_model_string(text: str) -> tuple[NetworkConfig, list[str]]:
    """Parse a string of the form ``Network(Config(keyword=literal, ...))``.

    Args:
        text: the string. Literals are numbers, strings, True, False, None, `inf`, `nan`, and tuples and lists of them.

    Returns:
        The configuration, and the keywords that this package does not know, regardless of their values.

    Raises:
        UserError: the string has a different form, or describes a network that this package cannot build.
    """
    given: dict[str, ast.expr] = {}
    for keyword in _config_call(text).keywords:
        if keyword.arg is None or keyword.arg in given:
            raise UserError("its args.model string has a repeated or unnamed keyword")
        given[keyword.arg] = keyword.value
    missing = [name for name in REQUIRED if name not in given]
    if missing:
        raise UserError(f"its args.model string does not set {', '.join(missing)}")
    known = DEFAULTS.keys() | set(REQUIRED)
    values = DEFAULTS | {name: _literal(value, name) for name, value in given.items() if name in known}
    if values.pop("pose_head") is not True:
        raise UserError("its args.model string describes a network without a pose head, which cannot estimate odometry")
    values["rope_base"] = _rope_base(values.pop("pos_embed"))
    values["image_size"] = _long_side(values.pop("img_size"))
    values["square_input"] = values["image_size"] == SQUARE_INPUT
    try:
        return NetworkConfig.from_dict(values), sorted(given.keys() - known - IRRELEVANT)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError("its args.model string contains a value that no network can have") from error


def _lookup(value: object, name: str) -> object:
    """Return an entry of a dict, or an attribute or entry of an inert Namespace or DictConfig, or None."""
    if isinstance(value, dict):
        return value.get(name)
    if not isinstance(value, Inert):
        return None
    states = value.state if isinstance(value.state, tuple) else (value.state,)  # (dict, slots) or dict
    for place in (value.entries, *states):
        if isinstance(place, dict):
            for entries in (place, place.get("_content")):
                if isinstance(entries, dict) and name in entries:
                    return entries[name]
    return None


def _config_call(text: str) -> ast.Call:
    """Return the inner call of ``Network(Config(...))``."""
    refusal = UserError(
        "its args.model string is not of the form Network(Config(keyword=value, ...)), and nothing else is accepted"
    )
    if len(text) > MAX_LENGTH:
        raise refusal
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the parser's warnings about unusual literals
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise refusal from None
    match tree:
        case ast.Call(func=ast.Name(), args=[ast.Call(func=ast.Name(), args=[]) as config], keywords=[]):
            return config
    raise refusal


def _literal(node: ast.expr, keyword: str) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.Name(id=name) if name in _NAMED_NUMBERS:
            return _NAMED_NUMBERS[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _literal(operand, keyword)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return -value
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return tuple(_literal(element, keyword) for element in elements)
    raise UserError(f"its args.model string sets {keyword} to something that is not a plain value")


def _rope_base(code: object) -> float:
    found = re.fullmatch(r"RoPE(\d{1,6}(?:\.\d{1,6})?)", code) if isinstance(code, str) else None
    if found is None:
        raise UserError("its args.model string sets pos_embed to something other than 'RoPE' followed by a number")
    return float(found[1])


def _long_side(size: object) -> int:
    sides = [side for side in (size if isinstance(size, tuple) else (size,)) if type(side) is int]
    if not sides:
        raise UserError("its args.model string sets img_size to something other than whole numbers")
    return max(sides)
