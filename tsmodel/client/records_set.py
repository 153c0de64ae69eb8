"""`RecordsSet`: a collection of records, for annotations. A plain list is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from tsmodel.client.record import Record

__all__ = ["GetCallback", "RecordsSet"]

T = TypeVar("T")


class RecordsSet(Protocol[T]):
    """Records that can be iterated over, counted, and appended to."""

    def __iter__(self) -> Iterator[Record[T]]: ...

    def __len__(self) -> int: ...

    def append(self, value: Record[T], /) -> None:
        """Adds a record."""
        ...


GetCallback = Callable[[RecordsSet[T]], None]
"""A function that `get_stream` calls with each batch of records."""
