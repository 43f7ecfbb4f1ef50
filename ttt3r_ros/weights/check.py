"""Reports what any file is, whether it would load, and what it lacks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ttt3r_ros.errors import UserError
from ttt3r_ros.weights.checkpoint import read_checkpoint
from ttt3r_ros.weights.contents import Contents, MismatchError, check_finite, some
from ttt3r_ros.weights.native_file import NativeFile
from ttt3r_ros.weights.published_file import PublishedFile


@dataclass(frozen=True)
class Report:
    """What a check found out about a file.

    Attributes:
        facts: names and values in the order they were found, safe to print on a terminal.
        refusal: one sentence about why the file would not load; None if it would.
    """

    facts: list[tuple[str, str]]
    refusal: str | None


def check_file(path: Path) -> Report:
    """Run every check that loading runs, including all values, with one tensor in memory at a time and no network.

    Files in our own format are also compared with their checksum: one that is damaged but would still load is refused
    here.
    """
    facts: list[tuple[str, str]] = []
    try:
        file = read_checkpoint(path)
        facts += _of_published(file) if isinstance(file, PublishedFile) else _of_native(file)
        contents = file.contents()
        facts += _of_contents(contents)
        for key, tensor in contents.tensors:
            check_finite(path, key, tensor.float())
            contents.let_go()
        if isinstance(file, NativeFile) and file.checksum and not file.is_intact():
            raise UserError(f"{path} is damaged: its data does not match its checksum; get or convert it again")
    except UserError as error:
        if isinstance(error, MismatchError):
            problems = {"lacks": error.missing, "unexplained": error.unexplained, "misshapen": error.misshapen}
            facts += [(name, some(keys, most=20)) for name, keys in problems.items() if keys]
        return Report(facts, str(error))
    except OSError as error:
        return Report(facts, f"{path} cannot be read: {error.strerror or error}")
    return Report(facts, None)


def _of_published(file: PublishedFile) -> list[tuple[str, str]]:
    dtypes = Counter(str(record.storage.dtype).removeprefix("torch.") for record in file.records.values())
    facts = [
        ("format", "published checkpoint (torch.save archive)"),
        ("tensors", ", ".join(f"{count} {dtype}" for dtype, count in sorted(dtypes.items()))),
        ("beside them", some(file.other_entries, "item", 10) if file.other_entries else "nothing"),
    ]
    try:
        return [*facts, ("model", ascii(file.model_string())[1:-1])]
    except UserError:
        return facts  # `contents` reports the problem


def _of_native(file: NativeFile) -> list[tuple[str, str]]:
    dtypes = sorted(str(dtype).removeprefix("torch.") for dtype in file.dtypes)
    known = {name: file.provenance.get(name) for name in ("source", "license", "sha256")}
    return [
        ("format", "ttt3r_ros weights (safetensors)"),
        ("tensors", f"{len(file.shapes)} {' and '.join(dtypes)}"),
        ("made from", ", ".join(f"{name} {ascii(value)[:200]}" for name, value in known.items() if value) or "unknown"),
    ]


def _of_contents(contents: Contents) -> list[tuple[str, str]]:
    config = contents.network.config
    count = sum(parameter.numel() for parameter in contents.network.parameters())
    summary = (
        f"{count / 1e6:.1f} million parameters in use, {config.head_type} heads, trained at {config.image_size} pixels"
    )
    unknown = [("unknown", f"{some(contents.unknown, 'keyword', 10)}, ignored")] if contents.unknown else []
    return [("network", summary), *unknown]
