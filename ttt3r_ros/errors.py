"""The one error that is meant for a user's eyes."""

from __future__ import annotations


class UserError(Exception):
    """Something the user gave us cannot be used; the message is one sentence that says what is wrong and what to do."""


def quoted(text: str, longest: int = 60) -> str:
    """Return text from outside fit for a line of the log: quoted, on one line, at most so many of its characters."""
    return repr(text if len(text) <= longest else text[: longest - 3] + "...")
