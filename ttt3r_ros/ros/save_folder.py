"""The folder for saved files: files are written completely or not at all, and nothing outside it is accessed.

A file is written under a temporary name in the same folder, flushed to the disk, and then renamed atomically, so that a
full disk, a signal or a power failure leaves the old file or none, never a partial one. All operations are relative to
the open folder, use names without separators, and do not follow links, so that neither a name nor a link in the folder
can lead out of it.
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
from ttt3r_ros.ros.home import ros_home

#: Suffixes of saved states, maps of places, and maps of points.
STATE_SUFFIX, PLACES_SUFFIX, MAP_SUFFIX = ".state.safetensors", ".places.safetensors", ".ply"

MAX_NAME = 100
_NAME = re.compile(rf"[A-Za-z0-9_-][A-Za-z0-9._-]{{0,{MAX_NAME - 1}}}")
#: Age at which another process's unfinished file is considered the leftover of a crash [s].
FORGOTTEN_AFTER = 3600.0
#: Errors of file systems without hard links (such as FAT).
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


def check_name(name: str) -> str:
    """Check that a name is valid for a file in this folder, and return it.

    Raises:
        UserError: it is not valid.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{quoted(name)} is not a valid file name: use up to {MAX_NAME} letters, digits, '-', '_' and '.', "
            "and no '.' at the beginning"
        )
    return name


class SaveFolder:
    """A folder that is created when the first file is written."""

    def __init__(self, path: str | os.PathLike[str] = "") -> None:
        """Remember the path; nothing is read or written yet.

        Args:
            path: in which '~' stands for the user's home; empty for ``ttt3r`` in ``ROS_HOME``, by default ``~/.ros``.

        Raises:
            UserError: the home of '~' is unknown.
        """
        home = ros_home()
        try:
            self._path = Path(path).expanduser() if os.fspath(path) else home and home / "ttt3r"
        except RuntimeError as error:
            raise UserError(f"the save_folder {os.fspath(path)} cannot be found: {error}") from error

    @property
    def path(self) -> Path:
        """The folder's path.

        Raises:
            UserError: none was given, and the user has no home folder.
        """
        if self._path is None:
            raise UserError("there is no folder for saved files, since this user has no home folder: set save_folder")
        return self._path

    def write(self, name: str, fill: Callable[[IO[bytes]], object], *, overwrite: bool) -> Path:
        """Write a file, completely or not at all, and return its path; `fill` writes the content into the open file.

        Raises:
            UserError: the name is invalid, the file exists and must not be replaced, or it cannot be written; an
                existing file remains unchanged.
        """
        path = self.path / check_name(name)
        unfinished = f".{name}.{os.getpid()}.tmp"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the save_folder {self.path} cannot be created: {error.strerror or error}") from error
        try:
            with self._opened() as folder:
                if not overwrite and _exists(name, folder):  # fail early; checked again after writing
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
            raise UserError(f"{path} already exists: choose another save_name, or set overwrite to true") from error
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
        return path

    def read(self, name: str, *, most: int) -> bytes:
        """Return the content of a file of at most so many bytes.

        Raises:
            FileNotFoundError: there is no such file.
            UserError: the name is invalid, or the file is not a regular file, too large, or unreadable.
        """
        path = self.path / check_name(name)
        try:
            with self._opened() as folder:
                # a pipe could block forever, a link could lead anywhere
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
                    status = os.fstat(file.fileno())
                    if not stat.S_ISREG(status.st_mode):
                        raise UserError(f"{path} is not a regular file")
                    if status.st_size > most:
                        raise UserError(f"{path} has {status.st_size / 1e6:.0f} MB, too large for a saved file")
                    return file.read(most)
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UserError(f"{path} is a link, which is not followed; replace it with the file itself") from error
            raise UserError(f"{path} cannot be read: {error.strerror or error}") from error

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the folder, so that all operations use this folder even if its path is changed meanwhile."""
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
    """Rename a finished file to its final name, which must not exist."""
    try:  # unlike renaming, linking never replaces a file
        os.link(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if _exists(name, folder):
            raise FileExistsError from error
        os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)


def _sweep(name: str, ours: str, folder: int) -> None:
    """Remove unfinished versions of this file that a crash has left."""
    left = re.compile(rf"\.{re.escape(name)}\.\d+\.tmp")
    for entry in os.listdir(folder):
        if not left.fullmatch(entry):
            continue
        with contextlib.suppress(FileNotFoundError):
            age = time.time() - os.stat(entry, dir_fd=folder, follow_symlinks=False).st_mtime
            if entry == ours or age > FORGOTTEN_AFTER:
                os.unlink(entry, dir_fd=folder)
