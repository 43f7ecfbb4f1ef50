"""Work that is done in pieces: a generator that yields between them, so that what is more urgent can come first."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")

#: Work in pieces, and what comes of it.
Pieces = Generator[None, None, Result]


def finished(work: Pieces[Result]) -> Result:
    """Do all pieces, one after the other, and return what comes of them."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
