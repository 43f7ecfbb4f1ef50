"""The file of a covariance model's constants: written by benchmark.covariance, named by `covariance_file`.

JSON with ``format`` "ttt3r_ros covariance", ``version``, ``model`` (each constant of `CovarianceModel`) and
``fitted_to``, which tells people what the constants were fitted to.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ttt3r_ros.errors import UserError, quoted
from ttt3r_ros.stream.covariance import CovarianceModel

FORMAT, VERSION = "ttt3r_ros covariance", 1
MAX_BYTES = 100_000  #: of a file; a real one has less than 2000


def write_covariance(path: Path, model: CovarianceModel, fitted_to: dict[str, Any]) -> None:
    """Write a model's constants.

    Args:
        path: of the file, which is replaced.
        model: to be written.
        fitted_to: what its constants were fitted to: weights, update rule and so on.

    Raises:
        UserError: the file cannot be written.
    """
    content = {"format": FORMAT, "version": VERSION, "model": asdict(model), "fitted_to": fitted_to}
    try:
        path.write_text(json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"the covariance file {path} cannot be written: {error.strerror or error}") from error


def read_covariance(path: str) -> CovarianceModel:
    """Return the constants in a file, or those of the package where the path is empty.

    Raises:
        UserError: the file cannot be read, is something else, or of another version.
    """
    if not path:
        return CovarianceModel()
    remedy = "write a new one with python -m benchmark.covariance --output FILE"
    try:
        with Path(path).expanduser().open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        content = json.loads(data) if len(data) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        content = None
    except (OSError, RuntimeError) as error:  # the latter where nobody knows the home that ~ stands for
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"the covariance file {path} cannot be read: {reason}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is no covariance file; {remedy}")
    if content.get("version") != VERSION:
        version = quoted(str(content.get("version")), 20)
        raise UserError(f"the covariance file {path} is of version {version}, this program reads {VERSION}; {remedy}")
    return CovarianceModel(**_constants(content.get("model"), path, remedy))


def _constants(given: object, path: str, remedy: str) -> dict[str, float]:
    names = [item.name for item in fields(CovarianceModel)]
    given = given if isinstance(given, dict) else {}
    for name in (*names, *given):
        if name not in names or name not in given:
            fault = "unknown" if name in given else "missing"
            raise UserError(f"the constant {quoted(name)} in the covariance file {path} is {fault}; {remedy}")
        value = given[name]
        if type(value) not in (int, float) or not (math.isfinite(value) and value >= 0):
            raise UserError(
                f"the constant {name} in the covariance file {path} is {quoted(str(value))}, not a number of 0 or "
                f"more; {remedy}"
            )
    return {name: float(given[name]) for name in names}
