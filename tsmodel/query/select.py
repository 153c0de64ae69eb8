"""Some columns of a query's records, as tuples: `query.select(Reading.mid, Reading.volts)`.

Rules kept here:

* Of payloads of fixed size only the columns asked for are decoded, a chunk at a time; no objects of the model are made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from tsmodel.errors import QueryError
from tsmodel.io.effects import Work
from tsmodel.model.column import Column
from tsmodel.model.expressions import ColumnInfo
from tsmodel.query.executor import AsyncExecutor, Execution, Executor
from tsmodel.query.sinks import Regrouped, Selection
from tsmodel.query.spec import QuerySpec, has_one_layout, own_column
from tsmodel.wire.chunk import Chunk

__all__ = ["AsyncSelected", "Selected"]

T = TypeVar("T")
E = TypeVar("E", bound=Execution[Any])


class Tuples:
    """Columns of the selected records as tuples; `result` hands over those that came since it was last called.

    Args:
        selection: picks the records.
        columns: of which columns.
        make: makes something else of the values of each; None for tuples.
    """

    def __init__(
        self, selection: Selection[Any], columns: tuple[ColumnInfo, ...], make: Callable[..., Any] | None = None
    ) -> None:
        self._selection = selection
        self._columns = columns
        self._make = make
        self._tuples: list[Any] = []

    def feed(self, chunk: Chunk) -> bool:
        """Takes a chunk; returns whether the limit is reached."""
        keys_only = all(column.is_key for column in self._columns)
        records = self._selection.of(chunk, keys_only=keys_only, columns=True)
        if len(records):
            values = [column.objects(records) for column in self._columns]
            self._tuples.extend(zip(*values, strict=True) if self._make is None else map(self._make, *values))
        return self._selection.full

    def result(self) -> list[Any]:
        """The tuples since the last call."""
        tuples, self._tuples = self._tuples, []
        return tuples


class _Selected(Generic[T, E]):
    """Columns of what an executor reads.

    Args:
        executor: reads the records.
        columns, named: one of the two, checked here.
    """

    def __init__(self, executor: E, columns: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        self._columns = _chosen(executor.spec, columns, named)
        self._executor = executor
        self._make = msgspec.defstruct("Selected", list(named), frozen=True) if named else None

    def _sink(self, selection: Selection[Any]) -> Tuples:
        return Tuples(selection, self._columns, self._make)

    def _first(self) -> Work[T | None]:
        found: list[T] = yield from self._executor.running(self._sink, 1)
        return found[0] if found else None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} ({', '.join(column.alias for column in self._columns)}) of {self._executor.spec!r}>"


class Selected(_Selected[T, Executor[Any]]):
    """Tuples, or structs, of columns of a query's records; each method is that of the query, which keeps its `stats` and
    `explain()`."""

    def all(self) -> list[T]:
        """The tuples of all matching records, in the query's order."""
        return self._executor.run(self._executor.running(self._sink))

    def first(self) -> T | None:
        """The tuple of the first record, or None."""
        return self._executor.run(self._first())

    def __iter__(self) -> Iterator[T]:
        """One by one, holding no more than a chunk's worth at a time."""
        return self._executor.stream(self._executor.streaming(self._sink))

    def batches(self, size: int) -> Iterator[list[T]]:
        """Lists of `size`, the last one shorter.

        Raises:
            QueryError: when `size` is not at least 1.
        """
        return self._executor.stream(self._executor.streaming(self._sink, Regrouped(size)))


class AsyncSelected(_Selected[T, AsyncExecutor[Any]]):
    """As `Selected`, awaited."""

    async def all(self) -> list[T]:
        """See `Selected.all`."""
        return await self._executor.run(self._executor.running(self._sink))

    async def first(self) -> T | None:
        """See `Selected.first`."""
        return await self._executor.run(self._first())

    def __aiter__(self) -> AsyncIterator[T]:
        """See `Selected`. When stopping early, `aclose()` the iterator: it may hold a connection."""
        return self._executor.stream(self._executor.streaming(self._sink))

    def batches(self, size: int) -> AsyncIterator[list[T]]:
        """See `Selected.batches`."""
        return self._executor.stream(self._executor.streaming(self._sink, Regrouped(size)))


def _chosen(spec: QuerySpec[Any], columns: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[ColumnInfo, ...]:
    name = spec.model.__name__
    if columns and named:
        raise QueryError(f"select takes columns, or columns by name such as select(at={name}.cap), not both")
    columns = columns or tuple(named.values())
    if not columns:
        raise QueryError(f"select takes columns, such as select({name}.mid, {name}.cap)")
    infos = []
    for column in columns:
        if not isinstance(column, Column):
            raise QueryError(f"select takes columns, such as {name}.cap, not {column!r}")
        own = own_column(spec.model, column.info)
        if own is None:
            raise QueryError(f"{column.info.model}.{column.name} is not a column of {name}")
        if not column.info.is_key and not has_one_layout(spec.model):
            raise QueryError(f"of records of several models or versions select takes key components, not {column.name}")
        infos.append(own)
    return tuple(infos)
