"""What a run leaves on the disk: checkpoints that can be resumed, and a log."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ttt3r_ros.errors import UserError

RUNS = Path(__file__).parent / "runs"


class RunFolder:
    """The folder of one run, and the files in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint, self.weights = path / "checkpoint.pt", path / "weights.safetensors"
        self.log, self.report, self.evaluation = path / "log.jsonl", path / "report.md", path / "evaluation.json"
        self.curve, self.picture = path / "curve.png", path / "depth.png"

    @classmethod
    def named(cls, name: str) -> RunFolder:
        """Return the folder of a run's name, or the one a path names.

        Raises:
            UserError: the name is empty or that of a file.
        """
        if not name.strip():
            raise UserError("a run needs a name, as in --run first")
        path = Path(name) if os.sep in name else RUNS / name
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file, not the folder of a run; choose another name")
        return cls(path)

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint, whole or not at all."""
        import torch

        self.path.mkdir(parents=True, exist_ok=True)
        unfinished = self.checkpoint.with_suffix(".tmp")
        with unfinished.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.checkpoint)

    def load(self) -> dict[str, Any]:
        """Read the checkpoint; only tensors and plain values are ever read.

        Raises:
            UserError: there is none, or it is damaged.
        """
        import torch

        if not self.checkpoint.exists():
            raise UserError(f"the run {self.path} has no checkpoint; start it without --resume")
        try:
            state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except Exception as error:
            raise UserError(f"{self.checkpoint} cannot be read; start the run anew") from error
        return state

    def append(self, entry: dict[str, Any]) -> None:
        """Add a line to the log."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def entries(self) -> list[dict[str, Any]]:
        """Return the log; a line cut short by a crash is left out."""
        entries = []
        for line in self.log.read_text().splitlines() if self.log.exists() else []:
            try:
                entries.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return entries
