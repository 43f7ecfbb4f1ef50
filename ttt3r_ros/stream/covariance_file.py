"""The file with the constants of a covariance model: benchmark.covariance writes it, `covariance_file` names it.

JSON with ``format`` "ttt3r_ros covariance", ``version``, ``model`` (each constant of `CovarianceModel`) and
``fitted_to``, which documents what the constants were fitted to: ``weights``, their ``fingerprint``, the update rule...
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ttt3r_ros.errors import UserError, quoted
from ttt3r_ros.stream.covariance import CovarianceModel

FORMAT, VERSION = "ttt3r_ros covariance", 5
MAX_CONSTANT = 1_000_000  #: maximum of each constant; the squares of much larger ones are no numbers
MAX_BYTES = 100_000  #: maximum size of a file; a real one has less than 2000 bytes


def write_covariance(path: Path, model: CovarianceModel, fitted_to: dict[str, Any]) -> None:
    """Write a model's constants.

    Args:
        path: of the file; an existing one is replaced.
        model: to write.
        fitted_to: what its constants were fitted to, such as weights and update rule.

    Raises:
        UserError: the file cannot be written.
    """
    content = {"format": FORMAT, "version": VERSION, "model": asdict(model), "fitted_to": fitted_to}
    try:
        path.write_text(json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"the covariance file {path} cannot be written: {error.strerror or error}") from error


def read_covariance(
    path: str, fingerprint: str | None = None, *, warn: Callable[[str], object] = warnings.warn
) -> CovarianceModel:
    """Return the constants in a file, or the package's own if the path is empty.

    Args:
        path: of the file.
        fingerprint: of the weights in use; None to accept constants that were fitted to any.
        warn: called with one sentence if the file says that its constants were fitted to other weights.

    Raises:
        UserError: the file cannot be read, or is of another kind or version.
    """
    if not path:
        return CovarianceModel()
    remedy = "write a new one with python -m benchmark.covariance --output FILE"
    try:
        with Path(os.path.expanduser(path)).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        content = json.loads(data) if len(data) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        content = None
    except OSError as error:
        raise UserError(f"the covariance file {path} cannot be read: {error.strerror}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is not a covariance file; {remedy}")
    if content.get("version") != VERSION:
        version = quoted(str(content.get("version")), 20)
        raise UserError(
            f"the covariance file {path} has version {version} but this program reads version {VERSION}; {remedy}"
        )
    model = CovarianceModel(**_constants(content.get("model"), path, remedy))
    fitted_to = content.get("fitted_to")
    if isinstance(fitted_to, dict) and fingerprint not in (None, fitted_to.get("fingerprint", fingerprint)):
        others = quoted(str(fitted_to.get("weights", "unknown")))
        warn(f"the covariance file {path} was fitted to other weights ({others}): covariances may be wrong; {remedy}")
    return model


def _constants(given: object, path: str, remedy: str) -> dict[str, float]:
    names = [item.name for item in fields(CovarianceModel)]
    given = given if isinstance(given, dict) else {}
    for name in (*names, *given):
        if name not in names or name not in given:
            fault = "unknown" if name in given else "missing"
            raise UserError(f"the constant {quoted(name)} in the covariance file {path} is {fault}; {remedy}")
        value = given[name]
        if type(value) not in (int, float) or not 0 <= value <= MAX_CONSTANT:
            raise UserError(
                f"the constant {name} in the covariance file {path} is {quoted(str(value))} but must be a number from "
                f"0 to {MAX_CONSTANT}; {remedy}"
            )
    return {name: float(given[name]) for name in names}
