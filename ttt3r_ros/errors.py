"""The one error that is meant for a user's eyes, and sentences of its kind."""

from __future__ import annotations

import re


class UserError(Exception):
    """Something the user gave us cannot be used; the message is one sentence that says what is wrong and what to do."""


def quoted(text: str, longest: int = 60) -> str:
    """Return text from outside fit for a line of the log: quoted, on one line, at most so many of its characters."""
    return repr(text if len(text) <= longest else text[: longest - 3] + "...")


def kind_of(text: str) -> str:
    """Return what stays the same where a fault comes again with other sizes and counts: the text without numbers.

    Numbers within quotes are part of a name and stay.
    """
    return re.sub(r"'[^']*'|\d+(\.\d+)?", lambda found: found[0] if found[0].startswith("'") else "#", text)
