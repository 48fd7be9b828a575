"""The three kinds of trouble, never mixed: refusals are data; these are the other two."""

from __future__ import annotations


class UserError(Exception):
    """The user's mistake: one line that says what is wrong, where, and how to mend it. Exit status 2."""


class ConversionError(Exception):
    """The conversion ran and its result must not be shipped: a check failed. Exit status 1."""
