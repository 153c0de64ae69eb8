"""`AsyncQuery`: the same queries, whose ends are awaited."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

from tsmodel.backend import AsyncBackend
from tsmodel.model.base import TSModel
from tsmodel.query.arranging import fed, fed_whole
from tsmodel.query.builder import QueryBuilder
from tsmodel.query.drive import run_async, stream_async
from tsmodel.query.ends import Count, End, Regrouped, Rows
from tsmodel.query.follow import AsyncFollowEnds
from tsmodel.query.frames import AsyncFrameEnds
from tsmodel.query.resample import AsyncResampleEnds
from tsmodel.query.select import AsyncSelectStep
from tsmodel.query.series import Series, SeriesFound
from tsmodel.wire.chunk import Chunk

__all__ = ["AsyncQuery", "AsyncSource"]

M = TypeVar("M", bound=TSModel)
R = TypeVar("R")


class AsyncSource(Protocol):
    """What an asynchronous query reads from; asynchronous sessions are sources."""

    @property
    def backend(self) -> AsyncBackend:
        """The backend to read.

        Raises:
            SessionError: when the source is closed.
        """
        ...


class AsyncQuery(AsyncSelectStep, AsyncFollowEnds[M], AsyncResampleEnds[M], AsyncFrameEnds[M], QueryBuilder[M]):
    """A query of a model on an asynchronous session: built as `Query` is, its ends are awaited."""

    __slots__ = ()

    def __init__(self, model: type[M], source: AsyncSource) -> None:
        super().__init__(model, source)

    def using(self, source: AsyncSource) -> AsyncQuery[M]:
        """Reads from `source`, an asynchronous session."""
        return self._with(_source=source)

    async def all(self) -> list[M]:
        """See `Query.all`."""
        return await self._run(Rows(self._selection(None)))

    async def first(self) -> M | None:
        """See `Query.first`."""
        rows = await self._run(Rows(self._selection(1)))
        return rows[0] if rows else None

    async def one(self) -> M:
        """See `Query.one`."""
        return self._required(await self.one_or_none())

    async def one_or_none(self) -> M | None:
        """See `Query.one_or_none`."""
        return self._only(await self._run(Rows(self._selection(2))))

    async def count(self) -> int:
        """See `Query.count`."""
        return await self._run(Count(self._selection(None)))

    async def exists(self) -> bool:
        """See `Query.exists`."""
        return await self._run(Count(self._selection(1))) > 0

    def __aiter__(self) -> AsyncIterator[M]:
        """The matching records one by one. When stopping early, `aclose()` the iterator: it may hold a connection."""
        return self._rows()

    def batches(self, size: int) -> AsyncIterator[list[M]]:
        """See `Query.batches`."""
        return self._batches(Regrouped(self._checked_size(size)))

    async def last_acq(self) -> int:
        """See `Query.last_acq`."""
        backend = self._backend()
        return min([await backend.last_acq(box) for box in self._boxes_to_ask()])

    async def _rows(self) -> AsyncGenerator[M, None]:
        async with aclosing(self._stream(Rows(self._selection(None)))) as batches:
            async for rows in batches:
                for row in rows:
                    yield row

    async def _batches(self, regrouped: Regrouped[M]) -> AsyncGenerator[list[M], None]:
        async with aclosing(self._stream(Rows(self._selection(None)))) as batches:
            async for rows in batches:
                for full in regrouped.take(rows):
                    yield full
        for last in regrouped.rest():
            yield last

    def _backend(self) -> AsyncBackend:
        backend: AsyncBackend = self._reading().backend
        return backend

    def _reading(self) -> Any:
        assert self._source is not None
        return self._source

    async def series(self) -> list[Series]:
        """See `Query.series`."""
        return await self._run(SeriesFound(self._selection(None)))

    async def _run(self, end: End[R]) -> R:
        if not self._arrangement:
            return await run_async(self._backend(), self._boxes(), end, self.stats)
        return fed_whole(await self._chunks(), end)

    async def _stream(self, end: End[R]) -> AsyncGenerator[R, None]:
        if self._arrangement:
            for result in fed(await self._chunks(), end):
                yield result
            return
        async with aclosing(stream_async(self._backend(), self._boxes(), end, self.stats)) as results:
            async for result in results:
                yield result

    async def _chunks(self) -> Iterable[Chunk]:
        first, *others = self._collectors()
        return self._through(await run_async(self._backend(), self._boxes(), first, self.stats), others)
