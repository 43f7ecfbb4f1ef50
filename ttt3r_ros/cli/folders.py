"""The folders that commands write to: each held by one process at a time, each file whole or not there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ttt3r_ros.errors import UserError


@contextlib.contextmanager
def locked_folder(path: Path, busy: str) -> Iterator[None]:
    """Create a folder and lock it against other processes.

    Args:
        path: of the folder.
        busy: what to say if another process has locked it.

    Raises:
        UserError: it cannot be created, or another process has locked it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UserError(f"the folder {path} cannot be created: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(busy) from None
        yield
    finally:
        os.close(handle)


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file, completely or not at all.

    Raises:
        UserError: it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f".{file.name}.tmp")
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        # names of files that are no UTF-8 have surrogates, which are escaped as JSON does
        unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")
        unfinished.replace(file)
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror or error}") from None
