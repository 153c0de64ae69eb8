"""The number of examples to try: all in a long run (`pytest --long`), a quarter otherwise."""

from __future__ import annotations

from hypothesis import settings

__all__ = ["SHORT", "WHOLE", "examples", "is_long"]

WHOLE, SHORT = 100, 25


def examples(whole: int) -> int:
    """Number of examples or rounds for this run; a long run tries `whole`."""
    return max(min(whole, 10), whole * settings().max_examples // WHOLE)


def is_long() -> bool:
    """Whether this is a long run."""
    return settings().max_examples >= WHOLE
