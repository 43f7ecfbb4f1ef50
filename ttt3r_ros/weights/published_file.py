"""Published checkpoints (`torch.save` archives of ``{"args": ..., "model": state_dict}``) as our parameters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ttt3r_ros.errors import UserError
from ttt3r_ros.weights.contents import Contents, check_tensors, skeleton
from ttt3r_ros.weights.published import aliases, published_key, unused_shapes
from ttt3r_ros.weights.published_args import model_string, parse_model_string
from ttt3r_ros.weights.torch_archive import TensorRecord, TorchArchive


def read_published(path: Path) -> Contents:
    """Open a published checkpoint without executing anything it says.

    Raises:
        UserError: the file is damaged, is no published checkpoint, or disagrees with its own configuration.
    """
    archive = TorchArchive(path)
    if not (isinstance(archive.root, dict) and {"args", "model"} <= archive.root.keys()):
        raise UserError(f"{path} is no published checkpoint: it does not hold the entries 'args' and 'model'")
    records = _records(path, archive.root["model"])
    try:
        config = parse_model_string(model_string(archive.root["args"]))
        network = skeleton(config, len(records))
    except UserError as error:
        raise UserError(f"{path} cannot be used: {error}") from error
    _drop_aliases(archive, records, aliases(config))

    # our key -> published key; a file without a state decoder starts it from a copy of the image decoder
    copied = {} if any(key.startswith("dec_blocks_state.") for key in records) else {"state_decoder.": "image_decoder."}
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    sources = {key: published_key(_replace_prefix(key, copied)) for key in shapes}
    found = {key: record.shape for key, record in records.items()}
    check_tensors(path, found, {sources[key]: shape for key, shape in shapes.items()}, unused_shapes(config))
    if sum(records[source].nbytes for source in set(sources.values())) > 2 * archive.size:
        raise UserError(f"{path} describes more weights than it holds, so it is damaged")

    def tensors() -> Iterator[tuple[str, Tensor]]:
        for key, source in sources.items():
            value = archive.tensor(records[source], source)
            yield key, value.clone() if key.startswith(tuple(copied)) else value

    return Contents(network, tensors(), {"source": path.name})


def _records(path: Path, state_dict: Any) -> dict[str, TensorRecord]:
    """Return the tensors under their published keys, without a `module.` that all of them carry."""
    if not isinstance(state_dict, dict) or not state_dict:
        raise UserError(f"{path} is no published checkpoint: its entry 'model' holds no tensors")
    for key, value in state_dict.items():
        if not isinstance(key, str) or not isinstance(value, TensorRecord):
            raise UserError(f"{path} cannot be used: its entry 'model' holds something that is not a named tensor")
    if all(key.startswith("module.") for key in state_dict):
        return {key.removeprefix("module."): value for key, value in state_dict.items()}
    return dict(state_dict)


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
