"""Argument types for argparse."""

from __future__ import annotations

import argparse
from pathlib import Path


def positive(text: str) -> float:
    """Parse a finite number above 0."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be greater than 0, got {text}")
    return value


def not_negative(text: str) -> float:
    """Parse a finite number that is 0 or more."""
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return value


def at_least_one(text: str) -> int:
    """Parse an integer that is 1 or more."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def file_path(text: str) -> Path:
    """Parse the path of a file, which an empty string is not (for `Path` it is the current folder)."""
    if not text:
        raise argparse.ArgumentTypeError("must name a file, got an empty string")
    return Path(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None
