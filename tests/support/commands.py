"""Commands as tests run them: in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Done", "Run"]


class Done(NamedTuple):
    """What a command came to."""

    status: int
    out: str
    err: str


Run = Callable[..., Done]
"""Runs a command, given its arguments."""
