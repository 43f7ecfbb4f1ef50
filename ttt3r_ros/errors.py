"""The exception for errors that the user can fix, and helpers for its messages."""

from __future__ import annotations

import re


class UserError(Exception):
    """Some input from the user is invalid; the message is one sentence that says what is wrong and what to do."""


def quoted(text: str, longest: int = 60) -> str:
    """Return untrusted text quoted and on one line, truncated to a maximum number of characters, for log messages."""
    return repr(text if len(text) <= longest else text[: longest - 3] + "...")


def kind_of(text: str) -> str:
    """Return a message with its numbers replaced by '#', so that faults that differ only in numbers compare equal.

    Numbers within quotes are part of a name and are kept.
    """
    return re.sub(r"'[^']*'|\d+(\.\d+)?", lambda found: found[0] if found[0].startswith("'") else "#", text)
