"""Small chunks put together before an end is fed with them: each time costs about the same for few records as for many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

__all__ = ["Gathering"]

_FIRST: Final = 2**17
_MOST: Final = 2**20
"""Bytes: enough that what each time costs is nothing, few enough that they stay in a processor's cache."""


class Gathering:
    """Makes chunks of a good size.

    The first chunk goes through as it is, and then ever more are held back: a query that needs little is not made to read
    much. Large chunks always go through: copying them would take a fifth of what receiving them takes.
    """

    def __init__(self) -> None:
        self._room = 0
        self._buffer = memoryview(b"")
        self._held = 0

    def push(self, chunk: memoryview) -> Iterator[memoryview]:
        """Takes a chunk, which need not stay valid; gives those that are ready, each valid until the next."""
        size = len(chunk)
        if self._held + size > self._room or size > self._room // 2:
            yield from self.rest()
            self._grow()
            if size > self._room // 2:
                yield chunk
                return
        self._buffer[self._held : self._held + size] = chunk
        self._held += size

    def rest(self) -> Iterator[memoryview]:
        """Gives what is held back."""
        held, self._held = self._held, 0
        if held:
            yield self._buffer[:held]

    def _grow(self) -> None:
        if self._room < _MOST:
            self._room = min(2 * self._room, _MOST) or _FIRST
            self._buffer = np.empty(self._room, np.uint8).data
