"""Executors connect what is read from, a plan and a sink: the only place where a query waits. One blocks, one awaits."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from tsmodel.backend import RemovalKind
from tsmodel.errors import QueryError
from tsmodel.keys import KEY_FIELDS, LIMITS, KeyRange
from tsmodel.model.model import TSModel
from tsmodel.query.context import AsyncSource, Source, current
from tsmodel.query.explain import RunStats
from tsmodel.query.fetching import fetched, fetched_async
from tsmodel.query.in_memory import collectors, through
from tsmodel.query.plan import Plan, plan_of
from tsmodel.query.sinks import Selection, Sink
from tsmodel.query.spec import QuerySpec
from tsmodel.wire.chunk import Chunk

if TYPE_CHECKING:
    from tsmodel.query.deletion import Removing

__all__ = ["AsyncExecutor", "Execution", "Executor", "Make"]

M = TypeVar("M", bound=TSModel)
R = TypeVar("R")

Make: TypeAlias = Callable[[Selection[Any]], Sink[R]]
"""Makes a sink that is fed with what a selection picks."""


class Execution(Generic[M]):
    """A spec, its plan, and the counts of its last run; what both executors have in common.

    Args:
        spec: what to read.
        source: the session to read from; None for the innermost open one.
    """

    __slots__ = ("_plan", "last_run", "source", "spec")

    def __init__(self, spec: QuerySpec[M], source: Any) -> None:
        self.spec = spec
        self.source = source
        self.last_run: RunStats | None = None
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan:
        """How the spec is answered."""
        if self._plan is None:
            self._plan = plan_of(self.spec)
        return self._plan

    @property
    def reading(self) -> Any:
        """The session that is read from.

        Raises:
            NoSessionError: when there is none.
        """
        return self.source

    def selection(self, limit: int | None = None) -> Selection[M]:
        """Begins a run: what picks records for a sink, at most `limit` and the spec's."""
        self.last_run = RunStats()
        limits = [each for each in (limit, self.spec.limit) if each is not None]
        return Selection(self.spec, self.plan, self.last_run, min(limits, default=None), counts=not self.spec.in_memory)

    def boxes(self) -> tuple[KeyRange, ...]:
        """The key ranges that a run reads.

        Raises:
            QueryError: when that is all there is, and the session does not allow it.
        """
        boxes = self.plan.boxes
        if not getattr(self.reading, "allow_full_scan", True) and any(map(_is_full_scan, boxes)):
            raise QueryError(
                f"this query of {self.spec.model.__name__} reads all that there is, which the session does not allow: "
                "narrow it by cid, mid, cap or acq, or connect with allow_full_scan=True"
            )
        return () if self.spec.limit == 0 else boxes

    def to_remove(self, *, undecodable: bool, allow_full_scan: bool) -> Removing:
        """What the spec removes.

        Raises:
            QueryError: when it cannot say so, or when that is all there is, and nobody allowed it.
        """
        from tsmodel.query.deletion import removing

        found = removing(self.spec, self.plan, undecodable=undecodable)
        is_all = not self.spec.conditions or (not self.plan.filters and any(map(_is_full_scan, found.boxes)))
        if is_all and not allow_full_scan:
            raise QueryError(
                f"this removes every record of {self.spec.model.__name__}: narrow the query, or say "
                "delete(allow_full_scan=True)"
            )
        self.boxes()
        return found

    def boxes_to_ask(self) -> tuple[KeyRange, ...]:
        """The key ranges whose last acq is asked for.

        Raises:
            QueryError: when there are none.
        """
        if boxes := self.plan.boxes:
            return boxes
        raise QueryError("last_acq() of a query that nothing can match")


class Executor(Execution[M]):
    """Runs sinks, and blocks."""

    __slots__ = ()

    @property
    def reading(self) -> Source:
        """See `Execution.reading`."""
        source: Source = self.source or current(self.spec.model.__name__)
        return source

    def run(self, make: Make[R], limit: int | None = None) -> R:
        """What a sink comes to, which is fed until it has enough."""
        selection = self.selection(limit)
        sink = make(selection)
        return _fed(self._chunks(selection), sink, selection.stats)

    def stream(self, make: Make[R], limit: int | None = None) -> Iterator[R]:
        """What a sink gives after each chunk. Closing the iterator stops the scan and releases what it holds."""
        selection = self.selection(limit)
        sink = make(selection)
        return _streamed(self._chunks(selection), sink, selection.stats)

    def remove(
        self,
        kind: RemovalKind,
        *,
        dry_run: bool,
        undecodable: bool = False,
        allow_full_scan: bool = False,
        note: str | None = None,
    ) -> int:
        """Removes the records of the spec; returns how many."""
        found = self.to_remove(undecodable=undecodable, allow_full_scan=allow_full_scan)
        remover = self.reading.remover(f"{kind}()")
        return remover.remove(found.boxes, found.predicate, kind=kind, what=found.what, note=note, dry_run=dry_run)

    def last_acq(self) -> int:
        """The acq below which the records of the spec never change again."""
        backend = self.reading.backend
        return min(backend.last_acq(box) for box in self.boxes_to_ask())

    def _chunks(self, selection: Selection[M]) -> Generator[Chunk, None, None]:
        chunks = fetched(self.reading.backend, self.boxes(), selection.stats)
        if not self.spec.in_memory:
            return chunks
        first, *others = collectors(selection)
        return through(_fed(chunks, first, selection.stats), others, selection.stats)


class AsyncExecutor(Execution[M]):
    """Runs sinks, and awaits."""

    __slots__ = ()

    @property
    def reading(self) -> AsyncSource:
        """See `Execution.reading`."""
        source: AsyncSource = self.source
        return source

    async def run(self, make: Make[R], limit: int | None = None) -> R:
        """See `Executor.run`."""
        selection = self.selection(limit)
        sink = make(selection)
        if self.spec.in_memory:
            return _fed(await self._collected(selection), sink, selection.stats)
        return await self._fed(sink, selection.stats)

    async def stream(self, make: Make[R], limit: int | None = None) -> AsyncGenerator[R, None]:
        """See `Executor.stream`."""
        selection = self.selection(limit)
        sink, stats = make(selection), selection.stats
        if self.spec.in_memory:
            for result in _streamed(await self._collected(selection), sink, stats):
                yield result
            return
        async with aclosing(fetched_async(self.reading.backend, self.boxes(), stats)) as chunks:
            async for chunk in chunks:
                enough = _feed(sink, chunk, stats)
                yield sink.result()
                if enough:
                    return

    async def remove(
        self,
        kind: RemovalKind,
        *,
        dry_run: bool,
        undecodable: bool = False,
        allow_full_scan: bool = False,
        note: str | None = None,
    ) -> int:
        """See `Executor.remove`."""
        found = self.to_remove(undecodable=undecodable, allow_full_scan=allow_full_scan)
        remover = self.reading.remover(f"{kind}()")
        return await remover.remove(found.boxes, found.predicate, kind=kind, what=found.what, note=note, dry_run=dry_run)

    async def last_acq(self) -> int:
        """See `Executor.last_acq`."""
        backend = self.reading.backend
        return min([await backend.last_acq(box) for box in self.boxes_to_ask()])

    async def _fed(self, sink: Sink[R], stats: RunStats) -> R:
        async with aclosing(fetched_async(self.reading.backend, self.boxes(), stats)) as chunks:
            async for chunk in chunks:
                if _feed(sink, chunk, stats):
                    break
        stats.tick()
        return sink.result()

    async def _collected(self, selection: Selection[M]) -> Generator[Chunk, None, None]:
        first, *others = collectors(selection)
        return through(await self._fed(first, selection.stats), others, selection.stats)


def _fed(chunks: Generator[Chunk, None, None], sink: Sink[R], stats: RunStats) -> R:
    with closing(chunks):
        for chunk in chunks:
            if _feed(sink, chunk, stats):
                break
    stats.tick()
    return sink.result()


def _streamed(chunks: Generator[Chunk, None, None], sink: Sink[R], stats: RunStats) -> Iterator[R]:
    with closing(chunks):
        for chunk in chunks:
            enough = _feed(sink, chunk, stats)
            yield sink.result()
            if enough:
                return


def _feed(sink: Sink[Any], chunk: Chunk, stats: RunStats) -> bool:
    since = time.perf_counter()
    known = stats.steps.get("checking", 0.0) + stats.steps.get("filtering", 0.0)
    enough = sink.feed(chunk)
    # What is not spent on these is spent on making something of the records.
    known -= stats.steps.get("checking", 0.0) + stats.steps.get("filtering", 0.0)
    stats.spent("making", since - known)
    stats.tick()
    return enough


def _is_full_scan(box: KeyRange) -> bool:
    """Whether a key range leaves out nothing by client, meter or time: by moid alone a database cannot narrow much."""
    names = ("cid", "mid", "cap", "acq")
    intervals = dict(zip(KEY_FIELDS, box.intervals(), strict=True))
    return all(intervals[name] == (LIMITS[name].least, LIMITS[name].bound) for name in names)
