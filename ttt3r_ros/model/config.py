"""The dimensions of a network; stored in every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from ttt3r_ros.errors import UserError

#: Entries introduced after the first files were written, with the values that a file without them implies.
LATER: Mapping[str, Any] = {"dpt_width": 256}
#: Names of the rules in `model.update`; here, because command lines list them before torch is loaded.
UPDATE_RULES = ("ttt3r", "filt3r", "recal3r", "recal3r_pressure", "gain", "brake", "cut3r")
PATCH = 16  #: side of a patch [px]; the same in every published configuration


@dataclass(frozen=True)
class NetworkConfig:
    """Dimensions of a network, under the keyword names of the published checkpoints.

    Attributes:
        enc_embed_dim, enc_depth, enc_num_heads: the image encoder.
        dec_embed_dim, dec_depth, dec_num_heads: both decoder streams, and the heads of the image stream.
        state_dec_num_heads: heads of the state stream.
        state_size: number of state tokens N.
        local_mem_size: number of pose memory slots K.
        state_pe: positions of the state tokens, on a square grid ('2d') or along its diagonal ('1d').
        head_type: 'dpt' or 'linear'.
        mlp_ratio: hidden width of every MLP over its input width.
        rope_base: base of the rotary position embedding.
        ray_enc_depth: depth of the published ray-map encoder. This package does not run it, but recognizes its keys.
        rgb_head: the checkpoint has a color head.
        image_size: side [px] of the training images: the long side, or both sides if `square_input`.
        square_input: the training images were square. Neither this nor `image_size` changes the network itself.
        dpt_width: channels in which a DPT head fuses its four levels. It also scales the width of each level.
    """

    enc_embed_dim: int = 1024
    enc_depth: int = 24
    enc_num_heads: int = 16
    dec_embed_dim: int = 768
    dec_depth: int = 12
    dec_num_heads: int = 12
    state_dec_num_heads: int = 16
    state_size: int = 324
    local_mem_size: int = 256
    state_pe: Literal["1d", "2d"] = "2d"
    head_type: Literal["dpt", "linear"] = "dpt"
    mlp_ratio: float = 4.0
    rope_base: float = 100.0
    ray_enc_depth: int = 2
    rgb_head: bool = True
    image_size: int = 512
    square_input: bool = False
    dpt_width: int = 256

    def __post_init__(self) -> None:
        for field in fields(self):
            value: Any = getattr(self, field.name)
            wanted = {"int": (int,), "float": (int, float), "bool": (bool,)}.get(str(field.type), (object,))
            if not isinstance(value, wanted) or (isinstance(value, bool) and str(field.type) != "bool"):
                raise UserError(f"network configuration: {field.name} must be a {field.type}, not {value!r}")
            smallest = 0 if field.name == "ray_enc_depth" else 1
            if isinstance(value, int) and str(field.type) == "int" and not smallest <= value <= 1_000_000:
                raise UserError(f"network configuration: {field.name}={value} is out of range")
        for name in ("mlp_ratio", "rope_base"):
            if not (0 < getattr(self, name) <= 1e6):
                raise UserError(f"network configuration: the value of {name} is out of range")
        if self.state_pe not in ("1d", "2d"):
            raise UserError(f"network configuration: state_pe must be '1d' or '2d', not {self.state_pe!r}")
        if self.head_type not in ("dpt", "linear"):
            raise UserError(f"network configuration: head_type must be 'dpt' or 'linear', not {self.head_type!r}")
        if self.dpt_width % 8:
            raise UserError(f"network configuration: dpt_width must be a multiple of 8, not {self.dpt_width}")
        for width, heads in (
            (self.enc_embed_dim, self.enc_num_heads),
            (self.dec_embed_dim, self.dec_num_heads),
            (self.dec_embed_dim, self.state_dec_num_heads),
        ):
            if width % (4 * heads):
                raise UserError(
                    f"network configuration: a width of {width} does not give each of {heads} heads a multiple of 4 "
                    "channels, which the rotary position embedding needs"
                )

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain values; the inverse of `from_dict`.

        Entries in `LATER` are left out at their default, so that files stay readable by versions that lack them.
        """
        values = asdict(self)
        return {name: value for name, value in values.items() if name not in LATER or value != LATER[name]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NetworkConfig:
        """Return the configuration with these values and defaults for the rest.

        Raises:
            UserError: a name is unknown or a value is invalid.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise UserError(f"network configuration: unknown entries {', '.join(unknown)}")
        return cls(**values)


#: The published configurations (CUT3R, arXiv 2501.12387).
CUT3R_512_DPT = NetworkConfig(state_size=768, head_type="dpt")
CUT3R_224_LINEAR = NetworkConfig(state_size=768, head_type="linear", image_size=224, square_input=True)
