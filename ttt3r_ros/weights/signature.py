"""What a file is by its first bytes; free of torch, so that mistakes are said before torch is loaded."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ttt3r_ros.errors import UserError, command

#: The number that begins a PyTorch file in the legacy format, as it is pickled.
_LEGACY = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
_SIGNATURES: dict[bytes, str] = {  # first bytes of files that users often pass by mistake, and what those files are
    b"version https://git-lfs": "a Git LFS pointer, not the file it points to; fetch it with `git lfs pull`",
    b"<": "a web page, perhaps from a failed download; get the weights with `{fetch}`",
}


def is_published(path: Path) -> bool:
    """Return whether a file is a zip archive, as published checkpoints are, rather than a safetensors file.

    Raises:
        UserError: it is neither, or not a file.
        OSError: the file cannot be read.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist: check the path (`{command('fetch_weights')}` gets the published weights)"
        ) from None
    except ValueError as error:  # a NUL in the name
        raise UserError(f"{os.fspath(path)!r} is not a file name") from error
    if not stat.S_ISREG(mode):  # reading from a pipe or a device could block forever
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise UserError(f"{path} is {kind}; name a .safetensors or .pth file")
    with path.open("rb") as file:
        beginning = file.read(64)
    if not beginning:
        raise UserError(f"{path} is empty; get or convert the weights again")
    if beginning.startswith(b"PK\x03\x04"):
        return True
    if beginning[8:9] == b"{":  # safetensors: eight bytes of length, then a JSON header
        return False
    if beginning[0] == 0x80 and _LEGACY in beginning:
        raise UserError(
            f"{path} is a PyTorch file in the legacy format (before PyTorch 1.6); load and save it again with a newer "
            "PyTorch"
        )
    for signature, kind in _SIGNATURES.items():
        if beginning.lstrip().startswith(signature):
            raise UserError(f"{path} is {kind.format(fetch=command('fetch_weights'))}")
    raise UserError(f"{path} is neither a safetensors file nor a published .pth checkpoint")
