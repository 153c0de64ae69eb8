"""Small chunks put together before a sink is fed with them: each time costs about the same for few records as for many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from tsmodel.wire.chunk import Chunk, ColumnChunk, RowChunk, joined

__all__ = ["Gathering"]

_FIRST: Final = 2**17
_MOST: Final = 2**20
"""Bytes: enough that what each time costs is nothing, few enough that they stay in a processor's cache."""
_HELD: Final = 16 * _MOST
"""Bytes that columns held back may keep alive: few records may have been picked out of many."""


class Gathering:
    """Makes chunks of a good size.

    The first chunk goes through as it is, and then ever more are held back: a query that needs little is not made to read
    much. Large chunks always go through: copying them would take a fifth of what receiving them takes. Rows are copied as
    they come, into a buffer that is used again; columns are joined when they are decoded.
    """

    def __init__(self) -> None:
        self._room = 0
        self._buffer = memoryview(b"")
        self._parts: list[Chunk] = []
        self._size = self._held = 0

    def push(self, chunk: Chunk) -> Iterable[Chunk]:
        """Takes a chunk; gives those that are ready, to be gone through before the next is pushed; each is valid until the
        next."""
        size = chunk.nbytes
        held = chunk.held if isinstance(chunk, ColumnChunk) else 0
        if (
            size <= self._room // 2
            and self._size + size <= self._room
            and self._held + held <= _HELD
            and (not self._parts or type(chunk) is type(self._parts[0]))
        ):
            self._hold(chunk, size, held)
            return ()
        return self._full(chunk, size, held)

    def rest(self) -> Iterator[Chunk]:
        """Gives what is held back."""
        parts, size = self._parts, self._size
        self._parts, self._size, self._held = [], 0, 0
        if parts:
            yield joined(parts, self._buffer[:size] if isinstance(parts[0], RowChunk) else None)

    def _hold(self, chunk: Chunk, size: int, held: int) -> None:
        if isinstance(chunk, RowChunk):
            if len(self._buffer) < self._room:
                self._buffer = np.empty(self._room, np.uint8).data
            copy = self._buffer[self._size : self._size + size]
            copy[:] = chunk.rows()
            chunk = chunk.moved(copy)
        self._parts.append(chunk)
        self._size += size
        self._held += held

    def _full(self, chunk: Chunk, size: int, held: int) -> Iterator[Chunk]:
        yield from self.rest()
        is_first = not self._room
        self._room = min(2 * self._room, _MOST) or _FIRST
        if is_first or size > self._room // 2:
            yield chunk
        else:
            self._hold(chunk, size, held)
