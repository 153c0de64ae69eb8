"""Executors connect a backend, a plan and a sink. The work is the same; one executor blocks, the other awaits."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from tsmodel.backend import RemovalKind
from tsmodel.errors import QueryError
from tsmodel.io.effects import Ask, Emit, LastAcq, LastAcqOf, Work
from tsmodel.io.fetching import fetched
from tsmodel.io.runners import items, items_async, run, run_async, stream, stream_async
from tsmodel.keys import KEY_FIELDS, LIMITS, KeyRange
from tsmodel.model.model import TSModel
from tsmodel.query.context import AsyncSource, Source, current
from tsmodel.query.explain import RunStats
from tsmodel.query.in_memory import collectors, through
from tsmodel.query.plan import Plan, plan_of
from tsmodel.query.sinks import Selection, Sink
from tsmodel.query.spec import QuerySpec
from tsmodel.wire.chunk import Chunk

__all__ = ["AsyncExecutor", "Execution", "Executor", "Make", "Regrouping", "last_acq"]

M = TypeVar("M", bound=TSModel)
R = TypeVar("R")

Make: TypeAlias = Callable[[Selection[Any]], Sink[R]]
"""Makes a sink for the records of a selection."""


class Regrouping(Protocol):
    """Regroups the results of a sink into parts of one size."""

    def take(self, part: Any, /) -> Any:
        """Takes a part; gives those that are full."""
        ...

    def rest(self) -> Any:
        """Gives the last part, unless it would be empty."""
        ...


class Execution(Generic[M]):
    """A spec, its plan, the counts of its last run, and the work of running it.

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
        """Starts a run: the selection for a sink, of at most `limit` records and the spec's limit."""
        self.last_run = RunStats()
        limits = [each for each in (limit, self.spec.limit) if each is not None]
        return Selection(self.spec, self.plan, self.last_run, min(limits, default=None), counts=not self.spec.in_memory)

    def boxes(self) -> tuple[KeyRange, ...]:
        """The key ranges that a run reads.

        Raises:
            QueryError: when the query reads everything, and the session does not allow it.
        """
        boxes = self.plan.boxes
        if not self.reading.allow_full_scan and any(map(_is_full_scan, boxes)):
            raise QueryError(
                f"this query of {self.spec.model.__name__} reads every record, which the session does not allow: "
                "narrow it by cid, mid, cap or acq, or connect with allow_full_scan=True"
            )
        return () if self.spec.limit == 0 else boxes

    def running(self, make: Make[R], limit: int | None = None) -> Work[R]:
        """Feeds a sink until it has enough, for its result."""
        selection = self.selection(limit)
        sink = make(selection)
        if self.spec.in_memory:
            yield from self._read(self.boxes(), selection, sink)
        else:
            yield from fetched(self.boxes(), selection.stats, partial(_feed, sink, selection.stats))
        selection.stats.tick()
        return sink.result()

    def streaming(self, make: Make[Any], regrouping: Regrouping | None = None) -> Work[None]:
        """Emits the result of a sink after each chunk; with `regrouping`, lists of parts of one size."""
        selection = self.selection()
        return self._streamed(self.boxes(), selection, make(selection), regrouping)

    def removing(
        self,
        kind: RemovalKind,
        *,
        dry_run: bool,
        undecodable: bool = False,
        allow_full_scan: bool = False,
        note: str | None = None,
    ) -> Work[int]:
        """Removes the records of the spec; the result is how many.

        Raises:
            QueryError: when the spec does not say which by conditions alone, or removes every record and nobody allowed it.
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
        remover = self.reading.remover(f"{kind}()")
        removed: int = yield Ask(
            partial(remover.remove, found.boxes, found.predicate, kind=kind, what=found.what, note=note, dry_run=dry_run)
        )
        return removed

    def asking(self) -> Work[int]:
        """Asks for the acq below which the records of the spec never change again.

        Raises:
            QueryError: when nothing can match.
        """
        boxes = self.plan.boxes
        if not boxes:
            raise QueryError("last_acq() of a query that nothing can match")
        return (yield from last_acq(boxes))

    def _streamed(
        self, boxes: tuple[KeyRange, ...], selection: Selection[M], sink: Sink[Any], regrouping: Regrouping | None
    ) -> Work[None]:
        given = sink.result if regrouping is None else lambda: list(regrouping.take(sink.result()))
        if self.spec.in_memory:
            yield from self._read(boxes, selection, sink, given)
        else:
            yield from fetched(boxes, selection.stats, partial(_feed, sink, selection.stats), given)
        if regrouping is not None:
            yield Emit(list(regrouping.rest()))

    def _read(
        self,
        boxes: tuple[KeyRange, ...],
        selection: Selection[M],
        sink: Sink[Any],
        emitted: Callable[[], object] | None = None,
    ) -> Work[None]:
        """Feeds a sink with what is left of the chunks after they have gone through the spec's collectors."""
        stats = selection.stats
        first, *others = collectors(selection)
        yield from fetched(boxes, stats, partial(_feed, first, stats))
        with closing(through(first.result(), others, stats)) as chunks:
            for chunk in chunks:
                is_enough = _feed(sink, stats, chunk)
                if emitted is not None:
                    yield Emit(emitted())
                if is_enough:
                    break


class Executor(Execution[M]):
    """Runs work, and blocks."""

    __slots__ = ()

    @property
    def reading(self) -> Source:
        """See `Execution.reading`."""
        source: Source = self.source or current(self.spec.model)
        return source

    def run(self, work: Work[R]) -> R:
        """The result of work."""
        return run(work, self.reading.on_backend())

    def stream(self, work: Work[None]) -> Iterator[Any]:
        """The items of what work emits. Closing the iterator stops the scan and releases what it holds."""
        return items(stream(work, self.reading.on_backend()))


class AsyncExecutor(Execution[M]):
    """Runs work, to be awaited."""

    __slots__ = ()

    @property
    def reading(self) -> AsyncSource:
        """See `Execution.reading`."""
        source: AsyncSource = self.source
        return source

    def run(self, work: Work[R]) -> Awaitable[R]:
        """See `Executor.run`."""
        return run_async(work, self.reading.on_backend())

    def stream(self, work: Work[None]) -> AsyncGenerator[Any, None]:
        """See `Executor.stream`."""
        return items_async(stream_async(work, self.reading.on_backend()))


def last_acq(boxes: Sequence[KeyRange], shard: int | None = None) -> Work[int]:
    """Asks for the acq below which no record of some key ranges changes any more; with `shard`, of that store only."""
    together: int | None = (yield LastAcqOf(tuple(boxes))) if len(boxes) > 1 and shard is None else None
    if together is not None:
        return together
    least: int = LIMITS["acq"].bound
    for box in boxes:
        least = min(least, (yield LastAcq(box, shard)))
    return least


def _feed(sink: Sink[Any], stats: RunStats, chunk: Chunk) -> bool:
    since = time.perf_counter()
    known = stats.steps.get("checking", 0.0) + stats.steps.get("filtering", 0.0)
    enough = sink.feed(chunk)
    # The rest of the time is spent on making the result.
    known -= stats.steps.get("checking", 0.0) + stats.steps.get("filtering", 0.0)
    stats.spent("making", since - known)
    stats.tick()
    return enough


def _is_full_scan(box: KeyRange) -> bool:
    """Whether a key range is unbounded in client, meter and time: by moid alone a database cannot narrow much."""
    names = ("cid", "mid", "cap", "acq")
    intervals = dict(zip(KEY_FIELDS, box.intervals(), strict=True))
    return all(intervals[name] == (LIMITS[name].least, LIMITS[name].bound) for name in names)
