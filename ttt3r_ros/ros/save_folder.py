"""The one folder that saved files go to and come from: whole or absent, and never anything outside it.

A file is written under another name in the same folder, brought to the disk, and then given its name in one step, so
that a full disk, a signal or a power cut leaves the old file or none, never half of one. Everything is done relative to
the opened folder, by names without separators, and without following links, so that neither a name nor a link somebody
has placed in the folder leads out of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from ttt3r_ros.errors import UserError, quoted

#: What the names of saved states and maps end in.
STATE_SUFFIX, MAP_SUFFIX = ".state.safetensors", ".ply"

LONGEST_NAME = 100
_NAME = re.compile(rf"[A-Za-z0-9_-][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}")
#: Seconds after which an unfinished file of another process is taken for what a crash has left.
FORGOTTEN_AFTER = 3600.0
#: What file systems without hard links (FAT) answer to one.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


def check_name(name: str) -> str:
    """Return a name that is fit for a file in any folder.

    Raises:
        UserError: it is not.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{quoted(name)} is no name for a file here: use up to {LONGEST_NAME} letters, digits, '-', '_' and '.', "
            "and no '.' at the beginning"
        )
    return name


class SaveFolder:
    """A folder, made when the first file is written."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Name a folder; '~' stands for the user's home. Nothing is touched yet.

        Raises:
            UserError: nobody knows that home.
        """
        try:
            self.path = Path(path).expanduser()
        except RuntimeError as error:
            raise UserError(f"the save_folder {os.fspath(path)} cannot be found: {error}") from error

    def write(self, name: str, fill: Callable[[IO[bytes]], object], *, overwrite: bool) -> Path:
        """Write a file, whole or not at all.

        Args:
            name: of the file.
            fill: writes the content into the open file.
            overwrite: replace an existing file.

        Returns:
            The file's path.

        Raises:
            UserError: the name is impossible, the file exists and may not be replaced, or it cannot be written; what
                was there before is untouched.
        """
        path = self.path / check_name(name)
        unfinished = f".{name}.{os.getpid()}.tmp"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the save_folder {self.path} cannot be made: {error.strerror or error}") from error
        try:
            with self._opened() as folder:
                if not overwrite and _exists(name, folder):  # said before the work, decided again after it
                    raise FileExistsError
                _sweep(name, unfinished, folder)
                try:
                    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                    with os.fdopen(os.open(unfinished, flags, 0o666, dir_fd=folder), "wb") as file:
                        fill(file)
                        file.flush()
                        os.fsync(file.fileno())
                    if overwrite:
                        os.replace(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
                    else:
                        _give_name(unfinished, name, folder)
                    os.fsync(folder)
                finally:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(unfinished, dir_fd=folder)
        except FileExistsError as error:
            raise UserError(f"{path} exists already: choose another save_name, or set overwrite to true") from error
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
        return path

    def read(self, name: str, *, most: int) -> bytes:
        """Return a file's content.

        Args:
            name: of the file.
            most: bytes that it may have.

        Raises:
            FileNotFoundError: there is no such file.
            UserError: the name is impossible, it is no regular file of this folder, larger, or unreadable.
        """
        path = self.path / check_name(name)
        try:
            with self._opened() as folder:
                # a pipe would keep us waiting, a link could lead anywhere
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
                    status = os.fstat(file.fileno())
                    if not stat.S_ISREG(status.st_mode):
                        raise UserError(f"{path} is not a regular file")
                    if status.st_size > most:
                        raise UserError(f"{path} has {status.st_size / 1e6:.0f} MB, which is too large to be ours")
                    return file.read(most)
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UserError(f"{path} is a link, and links are not followed here") from error
            raise UserError(f"{path} cannot be read: {error.strerror or error}") from error

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the folder itself, so that what follows happens in it whatever its path comes to mean."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            os.close(folder)


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _give_name(unfinished: str, name: str, folder: int) -> None:
    """Give a finished file its name, which must be free."""
    try:  # unlike a rename, a link never replaces
        os.link(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if _exists(name, folder):
            raise FileExistsError from error
        os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)


def _sweep(name: str, ours: str, folder: int) -> None:
    """Remove what a crash has left of earlier attempts at this file."""
    left = re.compile(rf"\.{re.escape(name)}\.\d+\.tmp")
    for entry in os.listdir(folder):
        if not left.fullmatch(entry):
            continue
        with contextlib.suppress(FileNotFoundError):
            age = time.time() - os.stat(entry, dir_fd=folder, follow_symlinks=False).st_mtime
            if entry == ours or age > FORGOTTEN_AFTER:
                os.unlink(entry, dir_fd=folder)
