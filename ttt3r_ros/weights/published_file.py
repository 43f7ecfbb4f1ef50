"""Published checkpoints (`torch.save` archives of ``{"args": ..., "model": state_dict}``) as our parameters."""

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

#: What torch's wrappers put before the keys: DistributedDataParallel and torch.compile, in either order.
_WRAPPERS = re.compile(r"^(?:(?:module|_orig_mod)\.)+")


@dataclass(frozen=True)
class PublishedFile:
    """What a published checkpoint says about itself.

    Attributes:
        archive: it.
        records: its tensors under their published keys.
    """

    archive: TorchArchive
    records: Mapping[str, TensorRecord]

    @property
    def other_entries(self) -> list[str]:
        """What it holds beside 'args' and 'model'; nobody reads it."""
        return [name for name in self.archive.root if isinstance(name, str) and name not in ("args", "model")]

    def model_string(self) -> str:
        """Return the string that spells out its configuration.

        Raises:
            UserError: there is none.
        """
        return model_string(self.archive.root["args"])

    def contents(self) -> Contents:
        """Open the tensors, memory-mapped, under our names.

        Raises:
            UserError: they are not those of the configuration, or the configuration is none of ours.
        """
        archive, path, records = self.archive, self.archive.path, dict(self.records)
        try:
            config, unknown = parse_model_string(self.model_string())
            network = skeleton(config, len(records))
        except UserError as error:
            raise UserError(f"{path} cannot be used: {error}") from error
        _drop_aliases(archive, records, aliases(config))

        # our key -> published key; a file without a state decoder starts it from a copy of the image decoder
        complete = any(key.startswith("dec_blocks_state.") for key in records)
        copied = {} if complete else {"state_decoder.": "image_decoder."}
        shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        sources = {key: published_key(_replace_prefix(key, copied)) for key in shapes}
        found = {key: record.shape for key, record in records.items()}
        expected = {sources[key]: shape for key, shape in shapes.items()}
        check_tensors(path, found, expected, unused_shapes(config), unknown)
        if sum(records[source].nbytes for source in set(sources.values())) > 2 * archive.mapped.size:
            raise UserError(f"{path} describes more weights than it holds, so it is damaged")

        def tensors() -> Iterator[tuple[str, Tensor]]:
            for key, source in sources.items():
                value = archive.tensor(records[source], source)
                yield key, value.clone() if key.startswith(tuple(copied)) else value

        return Contents(network, tensors(), {"source": path.name}, archive.mapped.let_go, unknown)


def read_published(path: Path) -> PublishedFile:
    """Read a published checkpoint's description without executing anything it says; no tensor data yet.

    Raises:
        UserError: the file is damaged or no published checkpoint.
    """
    archive = TorchArchive(path)
    if not (isinstance(archive.root, dict) and {"args", "model"} <= archive.root.keys()):
        raise UserError(f"{path} is no published checkpoint: it does not hold the entries 'args' and 'model'")
    return PublishedFile(archive, _records(path, archive.root["model"]))


def _records(path: Path, state_dict: Any) -> dict[str, TensorRecord]:
    """Return the tensors under their published keys, without what torch's wrappers put before them."""
    if not isinstance(state_dict, dict) or not state_dict:
        raise UserError(f"{path} is no published checkpoint: its entry 'model' holds no tensors")
    for key, value in state_dict.items():
        if not isinstance(key, str) or not isinstance(value, TensorRecord):
            raise UserError(f"{path} cannot be used: its entry 'model' holds something that is not a named tensor")
    bare = {_WRAPPERS.sub("", key): value for key, value in state_dict.items()}
    return bare if len(bare) == len(state_dict) else dict(state_dict)


def _drop_aliases(archive: TorchArchive, records: dict[str, TensorRecord], names: dict[str, str]) -> None:
    """Take out the keys that only repeat another; where the other is missing, the repetition takes its place."""
    for alias, original in names.items():
        repeated = records.pop(alias, None)
        if repeated is None:
            continue
        kept = records.setdefault(original, repeated)
        if kept != repeated and not (
            kept.shape == repeated.shape
            and torch.equal(archive.tensor(kept, original), archive.tensor(repeated, alias))
        ):
            raise UserError(f"{archive.path} cannot be used: {alias} should repeat {original} but differs from it")


def _replace_prefix(key: str, prefixes: dict[str, str]) -> str:
    for old, new in prefixes.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key
