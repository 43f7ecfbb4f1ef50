"""Reads published checkpoints (`torch.save` archives of ``{"args": ..., "model": state_dict}``) as our parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ttt3r_ros.errors import UserError
from ttt3r_ros.weights.contents import Contents, check_tensors, skeleton
from ttt3r_ros.weights.published import aliases, published_key, unused_shapes
from ttt3r_ros.weights.published_args import model_string, parse_model_string
from ttt3r_ros.weights.torch_archive import TensorRecord, TorchArchive

#: Prefixes that torch's wrappers DistributedDataParallel and torch.compile add to keys, in either order.
_WRAPPERS = re.compile(r"^(?:(?:module|_orig_mod)\.)+")


@dataclass(frozen=True)
class PublishedFile:
    """The description in a published checkpoint.

    Attributes:
        archive: the open file.
        records: its tensors by their published keys.
    """

    archive: TorchArchive
    records: Mapping[str, TensorRecord]

    @property
    def other_entries(self) -> list[str]:
        """Its entries other than 'args' and 'model', which are ignored."""
        return [name for name in self.archive.root if isinstance(name, str) and name not in ("args", "model")]

    def model_string(self) -> str:
        """Return the string that describes its configuration.

        Raises:
            UserError: there is none.
        """
        return model_string(self.archive.root["args"])

    def contents(self) -> Contents:
        """Open the tensors, memory-mapped, under our names.

        Raises:
            UserError: the tensors do not match the configuration, or the configuration is not supported.
        """
        archive, path, records = self.archive, self.archive.path, dict(self.records)
        try:
            config, unknown = parse_model_string(self.model_string())
            network = skeleton(config, len(records))
        except UserError as error:
            raise UserError(f"{path} cannot be used: {error}") from error
        _drop_aliases(archive, records, aliases(config))

        # our key -> published key; a file without a state decoder uses a copy of the image decoder
        complete = any(key.startswith("dec_blocks_state.") for key in records)
        copied = {} if complete else {"state_decoder.": "image_decoder."}
        shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        sources = {key: published_key(_replace_prefix(key, copied)) for key in shapes}
        found = {key: record.shape for key, record in records.items()}
        expected = {sources[key]: shape for key, shape in shapes.items()}
        check_tensors(path, found, expected, unused_shapes(config), unknown)
        if sum(records[source].nbytes for source in set(sources.values())) > 2 * archive.mapped.size:
            raise UserError(f"{path} describes more weights than it contains, so it is damaged; get it again")

        def tensors() -> Iterator[tuple[str, Tensor]]:
            for key, source in sources.items():
                value = archive.tensor(records[source], source)
                yield key, value.clone() if key.startswith(tuple(copied)) else value

        return Contents(network, tensors(), {"source": path.name}, archive.mapped.let_go, unknown)


def read_published(path: Path) -> PublishedFile:
    """Read a published checkpoint's description, but no tensor data; nothing in it is executed.

    Raises:
        UserError: the file is damaged or not a published checkpoint.
    """
    archive = TorchArchive(path)
    if not (isinstance(archive.root, dict) and {"args", "model"} <= archive.root.keys()):
        raise UserError(f"{path} is not a published checkpoint: it lacks the entries 'args' and 'model'")
    return PublishedFile(archive, _records(path, archive.root["model"]))


def _records(path: Path, state_dict: Any) -> dict[str, TensorRecord]:
    """Return the tensors by their published keys, without the prefixes of torch's wrappers."""
    if not isinstance(state_dict, dict) or not state_dict:
        raise UserError(f"{path} is not a published checkpoint: its entry 'model' contains no tensors")
    for key, value in state_dict.items():
        if not isinstance(key, str) or not isinstance(value, TensorRecord):
            raise UserError(f"{path} cannot be used: its entry 'model' contains something other than named tensors")
    bare = {_WRAPPERS.sub("", key): value for key, value in state_dict.items()}
    return bare if len(bare) == len(state_dict) else dict(state_dict)


def _drop_aliases(archive: TorchArchive, records: dict[str, TensorRecord], names: dict[str, str]) -> None:
    """Remove keys that duplicate another key; if the original is missing, the duplicate replaces it."""
    for alias, original in names.items():
        repeated = records.pop(alias, None)
        if repeated is None:
            continue
        kept = records.setdefault(original, repeated)
        if kept != repeated and not (
            kept.shape == repeated.shape
            and torch.equal(archive.tensor(kept, original), archive.tensor(repeated, alias))
        ):
            raise UserError(f"{archive.path} cannot be used: {alias} should be identical to {original} but differs")


def _replace_prefix(key: str, prefixes: dict[str, str]) -> str:
    for old, new in prefixes.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key
