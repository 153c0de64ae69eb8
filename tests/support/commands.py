"""Running commands in the process of the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Done", "Run"]


class Done(NamedTuple):
    """The result of a command."""

    status: int
    out: str
    err: str


Run = Callable[..., Done]
"""Runs a command with the given arguments."""
