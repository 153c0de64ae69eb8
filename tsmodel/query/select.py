"""Some columns of a query's records, as tuples: `query.select(Reading.mid, Reading.volts)`.

Rules kept here:

* Of payloads of fixed size only the columns asked for are decoded, a chunk at a time; no objects of the model are made.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

import msgspec

from tsmodel.errors import QueryError
from tsmodel.model.columns import Column
from tsmodel.model.operands import ColumnInfo
from tsmodel.query.ends import Regrouped, Selection
from tsmodel.query.unions import own_column
from tsmodel.wire.chunk import Chunk

if TYPE_CHECKING:
    from tsmodel.query.query import Query
    from tsmodel.query.query_async import AsyncQuery

__all__ = ["AsyncSelectStep", "AsyncSelected", "SelectStep", "Selected"]

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
T = TypeVar("T")


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


class _Selected(Generic[T]):
    def __init__(self, query: Any, columns: tuple[ColumnInfo, ...], names: tuple[str, ...] = ()) -> None:
        self._query = query
        self._columns = columns
        self._make = msgspec.defstruct("Selected", names, frozen=True) if names else None

    def _end(self, limit: int | None) -> Tuples:
        return Tuples(self._query._selection(limit), self._columns, self._make)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} ({', '.join(column.alias for column in self._columns)}) of {self._query!r}>"


class Selected(_Selected[T]):
    """Tuples, or structs, of columns of a query's records; each end is that of the query, which keeps its `stats` and
    `explain()`."""

    if TYPE_CHECKING:
        _query: Query[Any]

    def all(self) -> list[T]:
        """The tuples of all matching records, in the query's order."""
        return cast("list[T]", self._query._run(self._end(None)))

    def first(self) -> T | None:
        """That of the first record, or None."""
        found = cast("list[T]", self._query._run(self._end(1)))
        return found[0] if found else None

    def __iter__(self) -> Iterator[T]:
        """One by one, holding no more than a chunk's worth at a time."""
        for tuples in self._query._stream(self._end(None)):
            yield from tuples

    def batches(self, size: int) -> Iterator[list[T]]:
        """Lists of `size`, the last one shorter.

        Raises:
            QueryError: when `size` is not at least 1.
        """
        return self._batches(Regrouped(self._query._checked_size(size)))

    def _batches(self, regrouped: Regrouped[Any]) -> Iterator[list[T]]:
        for tuples in self._query._stream(self._end(None)):
            yield from cast("Iterator[list[T]]", regrouped.take(tuples))
        yield from cast("Iterator[list[T]]", regrouped.rest())


class AsyncSelected(_Selected[T]):
    """As `Selected`, awaited."""

    if TYPE_CHECKING:
        _query: AsyncQuery[Any]

    async def all(self) -> list[T]:
        """See `Selected.all`."""
        return cast("list[T]", await self._query._run(self._end(None)))

    async def first(self) -> T | None:
        """See `Selected.first`."""
        found = cast("list[T]", await self._query._run(self._end(1)))
        return found[0] if found else None

    def __aiter__(self) -> AsyncIterator[T]:
        """See `Selected`. When stopping early, `aclose()` the iterator: it may hold a connection."""
        return self._tuples()

    def batches(self, size: int) -> AsyncIterator[list[T]]:
        """See `Selected.batches`."""
        return self._batches(Regrouped(self._query._checked_size(size)))

    async def _tuples(self) -> AsyncGenerator[T, None]:
        async with aclosing(self._query._stream(self._end(None))) as lists:
            async for tuples in lists:
                for each in tuples:
                    yield each

    async def _batches(self, regrouped: Regrouped[Any]) -> AsyncGenerator[list[T], None]:
        async with aclosing(self._query._stream(self._end(None))) as lists:
            async for tuples in lists:
                for full in regrouped.take(tuples):
                    yield cast("list[T]", full)
        for last in regrouped.rest():
            yield cast("list[T]", last)


class _Selecting:
    __slots__ = ()

    if TYPE_CHECKING:
        _model: type[Any]

        @property
        def _is_plain(self) -> bool: ...

    def _infos(self, columns: tuple[Any, ...], named: dict[str, Any]) -> tuple[ColumnInfo, ...]:
        name = self._model.__name__
        if columns and named:
            raise QueryError(f"select takes columns, or columns by name such as select(at={name}.cap), not both")
        columns = columns or tuple(named.values())
        if not columns:
            raise QueryError(f"select takes columns, such as select({name}.mid, {name}.cap)")
        infos = []
        for column in columns:
            if not isinstance(column, Column):
                raise QueryError(f"select takes columns, such as {name}.cap, not {column!r}")
            own = own_column(self._model, column.info)
            if own is None:
                raise QueryError(f"{column.info.model}.{column.name} is not a column of {name}")
            if not column.info.is_key and not self._is_plain:
                raise QueryError(f"of records of several models or versions select takes key components, not {column.name}")
            infos.append(own)
        return tuple(infos)


class SelectStep(_Selecting):
    """`select` of `Query`."""

    __slots__ = ()

    @overload
    def select(self, a: Column[A], /) -> Selected[tuple[A]]: ...
    @overload
    def select(self, a: Column[A], b: Column[B], /) -> Selected[tuple[A, B]]: ...
    @overload
    def select(self, a: Column[A], b: Column[B], c: Column[C], /) -> Selected[tuple[A, B, C]]: ...
    @overload
    def select(self, a: Column[A], b: Column[B], c: Column[C], d: Column[D], /) -> Selected[tuple[A, B, C, D]]: ...
    @overload
    def select(
        self, a: Column[A], b: Column[B], c: Column[C], d: Column[D], e: Column[E], /
    ) -> Selected[tuple[A, B, C, D, E]]: ...
    @overload
    def select(self, *columns: Column[Any]) -> Selected[tuple[Any, ...]]: ...
    @overload
    def select(self, **named: Column[Any]) -> Selected[Any]: ...
    def select(self, *columns: Column[Any], **named: Column[Any]) -> Selected[Any]:
        """Tuples of some columns instead of objects: `select(Reading.mid, Reading.volts).all()`; or, with names, frozen
        structs with these attributes: `select(meter=Reading.mid, volts=Reading.volts)`. It comes last: conditions, order
        and limit go before it.

        Raises:
            QueryError: for what is no column of the model.
        """
        return Selected(self, self._infos(columns, named), tuple(named))


class AsyncSelectStep(_Selecting):
    """`select` of `AsyncQuery`."""

    __slots__ = ()

    @overload
    def select(self, a: Column[A], /) -> AsyncSelected[tuple[A]]: ...
    @overload
    def select(self, a: Column[A], b: Column[B], /) -> AsyncSelected[tuple[A, B]]: ...
    @overload
    def select(self, a: Column[A], b: Column[B], c: Column[C], /) -> AsyncSelected[tuple[A, B, C]]: ...
    @overload
    def select(self, a: Column[A], b: Column[B], c: Column[C], d: Column[D], /) -> AsyncSelected[tuple[A, B, C, D]]: ...
    @overload
    def select(
        self, a: Column[A], b: Column[B], c: Column[C], d: Column[D], e: Column[E], /
    ) -> AsyncSelected[tuple[A, B, C, D, E]]: ...
    @overload
    def select(self, *columns: Column[Any]) -> AsyncSelected[tuple[Any, ...]]: ...
    @overload
    def select(self, **named: Column[Any]) -> AsyncSelected[Any]: ...
    def select(self, *columns: Column[Any], **named: Column[Any]) -> AsyncSelected[Any]:
        """See `Query.select`."""
        return AsyncSelected(self, self._infos(columns, named), tuple(named))
