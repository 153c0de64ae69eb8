"""Executors connect a backend, a plan and a sink. The work is the same; one executor blocks, the other awaits.

Rules kept here:

* A query reads the innermost open session of its context, unless it names one.
* `delete` removes what the query counts: records that meet its conditions and match its model. Records that do not match
  stay, unless they are asked for; then conditions on the key alone decide.
* Each record to remove is judged in its place. A codec may reorder records and leave out mismatches, so records are found
  again by their keys; records with equal keys are read separately.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import closing
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeAlias, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.backend import AsyncRemover, Predicate, RemovalKind, Remover
from tsmodel.errors import NoSessionError, QueryError
from tsmodel.io.effects import Ask, Emit, LastAcq, LastAcqOf, Work
from tsmodel.io.fetching import OnAsyncBackend, OnBackend, fetched
from tsmodel.io.runners import items, items_async, run, run_async, stream, stream_async
from tsmodel.keys import KEY_FIELDS, LIMITS, KeyRange
from tsmodel.model.model import TSModel
from tsmodel.model.unions import models_of
from tsmodel.query.in_memory import collectors, through
from tsmodel.query.plan import Plan, plan_of
from tsmodel.query.sinks import RunStats, Selection, Sink
from tsmodel.query.spec import QuerySpec, has_one_layout
from tsmodel.wire.chunk import Chunk, keys_of

__all__ = [
    "AsyncExecutor",
    "AsyncSource",
    "Execution",
    "Executor",
    "Make",
    "Regrouping",
    "Source",
    "awaited",
    "current",
    "enter",
    "first_of",
    "last_acq",
    "leave",
    "then",
]

M = TypeVar("M", bound=TSModel)
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Source(Protocol):
    """What a query reads from; sessions are sources."""

    @property
    def name(self) -> str:
        """What the backend is called in messages."""
        ...

    @property
    def allow_full_scan(self) -> bool:
        """Whether queries may read everything."""
        ...

    def on_backend(self) -> OnBackend:
        """Carries out effects on the backend.

        Raises:
            SessionError: when the source is closed.
        """
        ...

    def remover(self, what: str) -> Remover:
        """What removes records, for `what` is to be done.

        Raises:
            UnsupportedError: when the backend cannot.
            SessionError: when the source holds records that are not stored.
        """
        ...


class AsyncSource(Protocol):
    """What an asynchronous query reads from; asynchronous sessions are sources."""

    @property
    def name(self) -> str:
        """See `Source.name`."""
        ...

    @property
    def allow_full_scan(self) -> bool:
        """See `Source.allow_full_scan`."""
        ...

    def on_backend(self) -> OnAsyncBackend:
        """See `Source.on_backend`."""
        ...

    def remover(self, what: str) -> AsyncRemover:
        """See `Source.remover`."""
        ...


_open: ContextVar[tuple[weakref.ref[Source], ...]] = ContextVar("tsmodel_open_sessions", default=())


def enter(source: Source) -> None:
    """Makes `source` the innermost one. It is not kept alive by that."""
    _open.set((*_alive(), weakref.ref(source)))


def leave(source: Source) -> None:
    """Takes `source` out of this context, wherever it stands."""
    _open.set(tuple(ref for ref in _alive() if ref() is not source))


def current(model: type[Any]) -> Source:
    """The innermost open source, for a query of a model.

    Raises:
        NoSessionError: when there is none.
    """
    for ref in reversed(_open.get()):
        if (source := ref()) is not None:
            return source
    name = model.__name__
    raise NoSessionError(
        f"no session is open here for {name}.query: open one with `with connect(...) as session:`, or name one by "
        f"session.query({name}) or {name}.query.using(session); a new thread does not see the sessions of others"
    )


def _alive() -> tuple[weakref.ref[Source], ...]:
    return tuple(ref for ref in _open.get() if ref() is not None)


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


def awaited(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """The asynchronous form of a method whose class has an asynchronous twin.

    The method must return what `run` of its executor gives: an `AsyncExecutor` gives an awaitable.
    """

    @wraps(method)
    async def awaiting(self: Any, /, *args: P.args, **options: P.kwargs) -> R:
        result: Any = method(self, *args, **options)
        return await result  # type: ignore[no-any-return]

    return awaiting


def then(work: Work[R], function: Callable[[R], T]) -> Work[T]:
    """Work whose result is a function of another's."""
    return function((yield from work))


def first_of(rows: Sequence[T]) -> T | None:
    """The first of some rows, or None."""
    return rows[0] if rows else None


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


@attrs.frozen(eq=False)
class Removing:
    """The records to remove.

    Attributes:
        boxes: disjoint key ranges.
        predicate: which of their records.
        what: the query in words.
    """

    boxes: tuple[KeyRange, ...]
    predicate: Predicate
    what: str


def removing(spec: QuerySpec[Any], plan: Plan, *, undecodable: bool) -> Removing:
    """The records that a query removes.

    Args:
        spec: the query.
        plan: its plan.
        undecodable: whether records that do not fit the model are removed too.

    Raises:
        QueryError: when it says which records by more than conditions, or none that can be decided for all records.
    """
    if spec.limit is not None or spec.in_memory:
        asks = "; ".join(filter(None, [spec.in_memory, "" if spec.limit is None else f"limit {spec.limit}"]))
        raise QueryError(f"delete() removes every record that meets the conditions: take {asks} off the query")
    what = f"{spec.model.__name__}: {spec}"
    if not undecodable:
        return Removing(plan.boxes, _Meeting(spec, plan), what)
    if plan.residual or len(models_of(spec.model)) > 1:
        raise QueryError(
            "undecodable=True removes whatever lies in the query's key range, which takes one model, and conditions on key "
            "components only"
        )
    return Removing(plan.boxes, lambda chunk: plan.key_mask(chunk.keys()), f"{what}, undecodable records included")


class _Meeting:
    """The predicate for the records that a query counts.

    Args:
        spec: the query.
        plan: its plan.
    """

    def __init__(self, spec: QuerySpec[Any], plan: Plan) -> None:
        # Mismatches are left out; a failing upgrade is raised nevertheless.
        self._spec = spec.replaced(on_error="skip")
        self._plan = plan
        self._keeps_order = has_one_layout(spec.model)

    def __call__(self, chunk: Chunk) -> npt.NDArray[np.bool_]:
        if self._keeps_order:
            mask = self._in_order(chunk)
            if mask is not None:
                return mask
        mask = np.zeros(len(chunk), np.bool_)
        for places in _apart(chunk):
            part = chunk if len(places) == len(chunk) else chunk.take(places)
            mask[places] = _found(part, self._counted(part))
        return mask

    def _in_order(self, chunk: Chunk) -> npt.NDArray[np.bool_] | None:
        """The mask where every record fits; otherwise None."""
        codec = Selection(self._spec, self._plan, RunStats()).codec
        fit = codec.fit_columns(chunk) if self._plan.residual else codec.fit_keys(chunk)
        if fit.mismatches:
            return None
        mask = self._plan.mask(fit.records)
        return np.ones(len(chunk), np.bool_) if mask is None else mask

    def _counted(self, chunk: Chunk) -> npt.NDArray[Any]:
        """The keys of the records that are counted."""
        return keys_of(Selection(self._spec, self._plan, RunStats()).of(chunk, keys_only=True))


def _apart(chunk: Chunk) -> list[npt.NDArray[np.intp]]:
    """The places of the records, in groups within each of which no two have the same key."""
    columns = [chunk.key(name) for name in KEY_FIELDS]
    order = np.lexsort(columns)
    same = np.ones(max(len(chunk) - 1, 0), np.bool_)
    for column in columns:
        ordered = column[order]
        same &= ordered[1:] == ordered[:-1]
    if not same.any():
        return [np.arange(len(chunk))]
    starts = np.flatnonzero(np.append(True, ~same))
    rank = np.arange(len(chunk)) - np.repeat(starts, np.diff(starts, append=len(chunk)))
    return [np.sort(order[rank == each]) for each in range(int(rank.max()) + 1)]


def _found(chunk: Chunk, keys: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which records of a chunk, no two of which have the same key, have one of some keys, which are theirs."""
    if len(keys) in (0, len(chunk)):
        return np.full(len(chunk), len(keys) > 0)
    columns = [np.concatenate([chunk.key(name), keys[name]]) for name in KEY_FIELDS]
    order = np.lexsort(columns)  # stable: a record stands ahead of the key that is its own
    same = np.ones(len(order) - 1, np.bool_)
    for column in columns:
        ordered = column[order]
        same &= ordered[1:] == ordered[:-1]
    mask = np.zeros(len(chunk), np.bool_)
    mask[order[:-1][same]] = True
    return mask
