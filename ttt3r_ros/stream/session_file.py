"""A stream's memory as a file, so that a robot that was switched off goes on in its old map.

The file is safetensors: the tensors of the `StreamSnapshot`, and in the metadata its plain values, what it belongs to
and a checksum. Nothing in it is executed, and everything is checked before anything is believed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ttt3r_ros.errors import UserError, quoted
from ttt3r_ros.serialize import flattened, unflattened
from ttt3r_ros.stream.reconstructor import Reconstructor
from ttt3r_ros.stream.snapshot import attached, detached, why_impossible
from ttt3r_ros.stream.stream import StreamSnapshot

FORMAT_VERSION = 1
#: Bytes that a file may have; the largest published network's has about 20 MB.
LARGEST = 2**28

_VERSION, _OWNER, _STREAM, _CHECKSUM = "ttt3r_ros_session", "belongs_to", "stream", "sha256"


@dataclass(frozen=True)
class _Owner:
    """What a saved memory makes sense with: it goes on only where all of it is the same.

    Attributes:
        network: the network's configuration, as plain values.
        weights: the weights' fingerprint.
        image_size: side of the network's image [px].
        update_rule: name of the rule.
    """

    network: dict[str, Any]
    weights: str
    image_size: int
    update_rule: str

    @classmethod
    def of(cls, reconstructor: Reconstructor) -> _Owner:
        return cls(
            reconstructor.network.config.to_dict(),
            reconstructor.weights_fingerprint,
            reconstructor.image_size,
            reconstructor.rule.name,
        )


def to_bytes(snapshot: StreamSnapshot, reconstructor: Reconstructor) -> bytes:
    """Return a session file's content.

    Args:
        snapshot: of a stream.
        reconstructor: that stream's.

    Raises:
        UserError: a number in the snapshot is not finite.
    """
    try:
        values, tensors = flattened(detached(snapshot))
    except ValueError as error:
        raise UserError(f"the stream cannot be saved: {error}") from error
    stream = json.dumps(values, allow_nan=False)
    metadata = {
        _VERSION: str(FORMAT_VERSION),
        _OWNER: json.dumps(vars(_Owner.of(reconstructor))),
        _STREAM: stream,
        _CHECKSUM: _checksum(stream, tensors),
    }
    return save(tensors, metadata)


def from_bytes(data: bytes, reconstructor: Reconstructor, name: str) -> StreamSnapshot:
    """Return the snapshot in a session file, ready for `Stream.resume`.

    Args:
        data: the file's content.
        reconstructor: of the stream that is to go on from it; only read.
        name: of the file, for messages.

    Raises:
        UserError: it is no session file, damaged, of another version, or belongs to something else.
    """
    metadata = _metadata(data, name)
    version = metadata[_VERSION]
    if version != str(FORMAT_VERSION):
        raise UserError(
            f"{name} has format version {quoted(version, 20)} but this ttt3r_ros reads version {FORMAT_VERSION}; save "
            "the state again with this one"
        )
    try:
        stream, owner = metadata[_STREAM], _Owner(**json.loads(metadata[_OWNER]))
        tensors = load(data)
        if metadata[_CHECKSUM] != _checksum(stream, tensors):
            raise ValueError("its checksum is wrong")
        _check_owner(owner, _Owner.of(reconstructor), name)
        snapshot: StreamSnapshot = unflattened(StreamSnapshot, json.loads(stream), tensors)
        if impossible := why_impossible(snapshot, reconstructor):
            raise ValueError(f"its {impossible} cannot be")
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"{name} is damaged; save the state again") from error
    return attached(snapshot, reconstructor)


def _metadata(data: bytes, name: str) -> dict[str, str]:
    """Return a safetensors file's metadata, once it is clear that it is whole and one of ours."""
    start = 8 + int.from_bytes(data[:8], "little")
    if data[8:9] != b"{":
        raise UserError(f"{name} is not a saved state")
    try:
        header = json.loads(data[8:start])
        metadata = header.pop("__metadata__", {})
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if len(data) != start + end or not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("its length is wrong")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise UserError(f"{name} is truncated or damaged; save the state again") from error
    if _VERSION not in metadata:
        kind = "weights" if "ttt3r_ros_format" in metadata else "something else"
        raise UserError(f"{name} is a safetensors file, but it holds {kind}, not a saved state")
    return dict(metadata)


def _check_owner(saved: _Owner, ours: _Owner, name: str) -> None:
    if saved.network != ours.network:
        differing = sorted(key for key in ours.network if saved.network.get(key) != ours.network[key])
        shown = ", ".join(
            f"{key} {quoted(str(saved.network.get(key)), 20)} instead of {ours.network[key]!r}" for key in differing[:3]
        )
        raise UserError(f"{name} was saved with another network ({shown or 'other settings'}); use its weights")
    if saved.weights != ours.weights:
        raise UserError(f"{name} was saved with other weights of the same size; start the node with those")
    if saved.image_size != ours.image_size:
        raise UserError(
            f"{name} was saved with image_size {saved.image_size}, not {ours.image_size}; set the parameter to that"
        )
    if saved.update_rule != ours.update_rule:
        raise UserError(
            f"{name} was saved with update_rule {quoted(saved.update_rule, 20)}, not {ours.update_rule}; set the "
            "parameter to that"
        )


def _checksum(stream: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(stream.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
