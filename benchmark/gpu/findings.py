"""What a part of the run has found, on the disk after every measurement."""

from __future__ import annotations

import json
import math
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

Arguments = ParamSpec("Arguments")

#: Names of measurements, each with a table: names of rows, each with values by column. A value is a number, a text, or
#: a spread (see `benchmark.gpu.clock.spread`). What is under `SERIES` is drawn and not written out.
Tables = dict[str, dict[str, dict[str, Any]]]

SERIES = "series"


class DeviceFaultError(Exception):
    """The device is in no state to go on in this process."""


class Findings:
    """Collects one part's tables and failures, and writes them to a file whenever there is something new."""

    def __init__(self, path: Path, seconds: float, *, start_s: float = 0.0) -> None:
        """Begin with nothing.

        Args:
            path: of the file; pictures go beside it.
            seconds: that the part has from now on.
            start_s: that it took to get here [s].
        """
        self.tables: Tables = {}
        self.failures: dict[str, str] = {}
        self.folder = path.parent
        self._path, self._start_s = path, start_s
        self._end = time.monotonic() + seconds
        self._write()

    def seconds_left(self) -> float:
        return self._end - time.monotonic()

    def add(self, title: str, rows: dict[str, dict[str, Any]]) -> None:
        """Keep a table, or what is new of one."""
        self.tables.setdefault(title, {}).update(rows)
        self._write()

    def attempt(
        self, name: str, work: Callable[Arguments, object], *args: Arguments.args, **kw: Arguments.kwargs
    ) -> bool:
        """Do some work; if it fails, keep its traceback under this name and return False.

        Raises:
            DeviceFaultError: it failed in a way that nothing else in this process will survive.
        """
        try:
            work(*args, **kw)
        except DeviceFaultError:
            raise
        except Exception as error:
            self.fail(name, traceback.format_exc())
            if is_fault(error):
                raise DeviceFaultError(name) from error
            return False
        return True

    def fail(self, name: str, why: str) -> None:
        """Keep what went wrong, under the name of what was tried."""
        self.failures[name] = why
        self._write()
        print(f"{name} failed:\n{why}", flush=True)

    def _write(self) -> None:
        write_json(self._path, {"start_s": self._start_s, "tables": self.tables, "failures": self.failures})


def is_fault(error: BaseException) -> bool:
    """Return whether an error is one of those after which a CUDA context answers nothing but errors."""
    text = str(error)
    return "CUDA error" in text and "out of memory" not in text


def write_json(path: Path, content: object) -> None:
    """Write a file whole or not at all; numbers that are not finite become null, as JSON has none."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(_finite(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _finite(content: object) -> object:
    if isinstance(content, dict):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
