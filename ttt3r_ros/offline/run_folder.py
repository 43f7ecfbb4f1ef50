"""The folder of a run: its settings, its results so far, and the state to resume from after an interruption."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ttt3r_ros.cli.folders import locked_folder, write_json
from ttt3r_ros.errors import UserError
from ttt3r_ros.sources.dataset import image_folders

FORMAT = 1

_RUN = "run.json"
_UNFINISHED = "unfinished"
_RESULTS = (
    "trajectory.txt",
    "trajectory_map.txt",
    "trajectory_map.png",
    "map.places.safetensors",
    "groundtruth.txt",
    "metrics.json",
    "camera.json",
    "cloud.ply",
    "trajectory.png",
    "frames.png",
    "depth.txt",
    "rgb.txt",
)
_IMAGE_FOLDERS = ("depth", "rgb")

#: Suffixes of files that a user might expect to be written, instead of a folder.
_FILE_SUFFIXES = frozenset(
    {".ply", ".pcd", ".txt", ".tum", ".csv", ".json", ".png", ".jpg", ".safetensors", ".zip"}
    | {".mp4", ".mov", ".avi", ".mkv", ".webm", ".bag", ".mcap", ".db3"}
)


class RunFolder:
    """The folder of one run. Only files that a run has written are ever replaced or removed."""

    def __init__(self, path: Path) -> None:
        """Remember the path; nothing is read or written yet."""
        self.path = Path(os.path.expanduser(path))

    @property
    def depth(self) -> Path:
        """Folder of the depth images."""
        return self.path / "depth"

    @property
    def rgb(self) -> Path:
        """Folder of the images that the network received."""
        return self.path / "rgb"

    def locked(self) -> AbstractContextManager[None]:
        """Create the folder and lock it against other runs; see `locked_folder`."""
        return locked_folder(self.path, f"another run is writing to {self.path}; choose another --output")

    def check(self, *, overwrite: bool) -> None:
        """Check whether a run may write here; nothing is read of its settings, or written.

        Raises:
            UserError: it is no folder, or contains a finished run or files that no run has written.
        """
        if (file := next((path for path in (self.path, *self.path.parents) if path.is_file()), None)) is not None:
            raise UserError(f"{file} is a file, but the results need a folder; choose another --output")
        if not self.path.exists() and self.path.suffix.lower() in _FILE_SUFFIXES:
            raise UserError(f"{self.path} is named like a file, but the results need a folder; choose another --output")
        earlier = self._earlier()
        if earlier is not None and earlier.get("finished") and not overwrite:
            raise UserError(f"{self.path} contains a finished run; choose another --output, or add --overwrite")
        if earlier is None:
            names = (*_RESULTS, *_IMAGE_FOLDERS, _UNFINISHED)
            foreign = next((name for name in names if (self.path / name).exists()), None)
            if foreign is not None:
                raise UserError(
                    f"{self.path} contains {foreign}, which no run of this program wrote; choose another --output"
                )

    def check_apart(self, recording: Path) -> None:
        """Check that a run here neither changes nor deletes the recording.

        Raises:
            UserError: the folder is that of the recording, or a run replaces the one that the recording lies in.
        """
        here, recording = self.path.resolve(), recording.resolve()
        if recording.is_dir() and here in image_folders(recording):
            raise UserError(f"{self.path} is the folder of the recording itself; choose another --output")
        for name in _IMAGE_FOLDERS:
            if here / name in (recording, *recording.parents):
                raise UserError(
                    f"the recording lies in {self.path / name}, which a run replaces; choose another --output"
                )

    def begin(self, settings: dict[str, Any], *, overwrite: bool) -> Path | None:
        """Prepare for a run with settings that include everything that affects the results.

        Returns:
            Folder with the state of an interrupted run with the same settings, to resume from; None for a new run.

        Raises:
            UserError: the folder contains the results of another run, or files that no run has written.
        """
        self.check(overwrite=overwrite)
        earlier = self._earlier()
        if earlier is not None and not overwrite:
            changed = _difference(earlier.get("settings", {}), settings)
            if changed is not None:
                raise UserError(
                    f"{self.path} contains an unfinished run with a different {changed}; use the same one to continue, "
                    "choose another --output, or start over with --overwrite"
                )
            left = self._newest()
            if left is not None:
                return left
        self._clear()
        write_json(self.path / _RUN, {"format": FORMAT, "finished": False, "settings": settings})
        return None

    def save(self, frames: int, fill: Callable[[Path], None]) -> None:
        """Save the state to resume from, completely or not at all.

        Args:
            frames: number of frames processed so far.
            fill: writes the state into an empty folder.
        """
        with self._sentences():
            unfinished = self.path / _UNFINISHED
            making, made = unfinished / "in_the_making", unfinished / f"{frames:09d}"
            if made.exists():
                return
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(parents=True)
            fill(making)
            making.rename(made)
            for older in unfinished.iterdir():
                if older != made:
                    shutil.rmtree(older)

    def finish(self) -> None:
        """Mark the run as finished, and delete the state to resume from."""
        run = self._earlier() or {}
        write_json(self.path / _RUN, {**run, "finished": True})
        shutil.rmtree(self.path / _UNFINISHED, ignore_errors=True)

    def _earlier(self) -> dict[str, Any] | None:
        """Return the description of an earlier run in this folder, if any."""
        try:
            content = json.loads((self.path / _RUN).read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            content = None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(f"{self.path / _RUN} is from another version of this program; choose another --output")
        return content

    def _newest(self) -> Path | None:
        saved = sorted(path for path in (self.path / _UNFINISHED).glob("[0-9]*") if path.is_dir())
        return saved[-1] if saved else None

    def _clear(self) -> None:
        """Remove the results of an earlier run."""
        with self._sentences():
            for name in (*_IMAGE_FOLDERS, _UNFINISHED):
                if (self.path / name).is_dir():
                    shutil.rmtree(self.path / name)
            for name in (*_RESULTS, _RUN):  # run.json last, since it marks the others as ours
                (self.path / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{error.filename or self.path} cannot be written: {error.strerror or error}") from None


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """Return the name of a setting that has changed, if any."""
    return next((name for name in (*new, *old) if old.get(name) != new.get(name)), None)
