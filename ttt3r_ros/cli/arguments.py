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
    value = _whole(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def zero_or_more(text: str) -> int:
    """Parse an integer that is 0 or more."""
    value = _whole(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return value


def tcp_port(text: str) -> int:
    """Parse the number of a TCP port; 0 for any."""
    value = _whole(text)
    if not 0 <= value < 2**16:
        raise argparse.ArgumentTypeError(f"must be from 0 to 65535, got {text}")
    return value


def file_path(text: str) -> Path:
    """Parse the path of a file, which an empty string is not (for `Path` it is the current folder)."""
    if not text:
        raise argparse.ArgumentTypeError("must name a file, got an empty string")
    return Path(text)


def folder_path(text: str) -> Path:
    """Parse the path of a folder, which an empty string is not: a variable that is not set names no folder."""
    if not text:
        raise argparse.ArgumentTypeError("must name a folder, got an empty string; . is the current one")
    return Path(text)


def output_file(text: str) -> Path:
    """Parse the path of a file to be written, whose folder exists: to find out at the end costs all of the work."""
    path = file_path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"must name a file, but {text} is a folder")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"cannot write {text}: there is no folder {path.parent}")
    return path


def output_folder(text: str) -> Path:
    """Parse the path of a folder to be filled, which may be new."""
    path = folder_path(text)
    if not_folder := next((part for part in (path, *path.parents) if part.exists() and not part.is_dir()), None):
        raise argparse.ArgumentTypeError(f"must name a folder, but {not_folder} is a file")
    return path


def name(text: str) -> str:
    """Parse a name, which an empty string is not."""
    if not text:
        raise argparse.ArgumentTypeError("must be a name, got an empty string")
    return text


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None
