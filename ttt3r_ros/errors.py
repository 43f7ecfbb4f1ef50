"""The one error that is meant for a user's eyes."""

from __future__ import annotations


class UserError(Exception):
    """Something the user gave us cannot be used; the message is one sentence that says what is wrong and what to do."""
