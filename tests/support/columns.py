"""A store whose scans return columns, as a file does, but in memory."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from tsmodel.backend import Scan
from tsmodel.keys import KeyRange
from tsmodel.store import EmbeddedStore
from tsmodel.wire.chunk import Chunk, ColumnChunk, RowChunk


class InMemory:
    """The records of a row chunk as `Columns`; remembers which columns were requested.

    Args:
        chunk: the records.
        dtype: dtype of a payload, as `Columns.dtype`.
    """

    def __init__(self, chunk: RowChunk, dtype: np.dtype[Any] | None) -> None:
        self.dtype = dtype
        self.asked: list[str | int] = []
        self._chunk = chunk.kept()

    def __len__(self) -> int:
        return len(self._chunk)

    def key(self, name: str) -> Any:
        self.asked.append(name)
        return np.ascontiguousarray(self._chunk.key(name))

    def field(self, at: int) -> Any:
        self.asked.append(at)
        assert self.dtype is not None
        if self.dtype.fields is None:
            return np.ascontiguousarray(self._chunk.column(0, self.dtype))
        kind, offset, *_ = self.dtype.fields[(self.dtype.names or ())[at]]
        return np.ascontiguousarray(self._chunk.column(offset, kind))

    def payloads(self) -> Any:
        self.asked.append("payloads")
        payloads = [payload for _, payload in self._chunk.pairs()]
        return np.frombuffer(b"".join(payloads), np.uint8), np.cumsum([len(payload) for payload in payloads])


DTypeOf = Callable[[int], "np.dtype[Any] | None"]


def opaque(size: int) -> np.dtype[Any]:
    """Payloads of unknown layout."""
    return np.dtype(f"V{size}")


def apart(size: int) -> np.dtype[Any]:
    """Treats payloads as if their sizes varied."""
    return None  # type: ignore[return-value]


class InColumns:
    """A store wrapped in a backend that returns column chunks.

    Args:
        store: the store.
        dtype_of: maps a payload size to a dtype.
    """

    def __init__(self, store: EmbeddedStore, dtype_of: DTypeOf) -> None:
        self._store = store
        self._dtype_of = dtype_of
        self.given: list[InMemory] = []

    def scan(self, box: KeyRange) -> Scan:
        return Scan(self._chunks(box))

    def _chunks(self, box: KeyRange) -> Generator[Chunk, None, int]:
        with self._store.scan(box) as scan:
            for chunk in scan:
                assert isinstance(chunk, RowChunk)
                dtype = self._dtype_of(chunk.record_size - 36) if chunk.record_size else None
                self.given.append(InMemory(chunk, dtype))
                yield ColumnChunk(self.given[-1])
            return scan.acq

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
