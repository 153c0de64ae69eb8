"""Executors connect a backend, a plan and a sink. The work is the same for both; one blocks, the other awaits.

Rules kept here:

* A query reads the innermost open session of its context, unless it names one.
* `delete` removes the records that the query counts: those that meet its conditions and match its model. With
  `undecodable=True` it also removes mismatches; then only conditions on the key decide.
* A backend wants a mask over the records of a chunk. A codec may reorder records and leave out mismatches, so the records
  to remove are found again by their keys. Records with equal keys are judged separately.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from contextvars import ContextVar
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from tsmodel.backend import Predicate, RemovalKind, Remover
from tsmodel.errors import NoSessionError, QueryError
from tsmodel.io.effects import Block, Emit, LastAcq, ShardsOf, Work
from tsmodel.io.fetching import OnAsyncBackend, OnBackend, fetched
from tsmodel.io.runners import items, items_async, run, run_async, stream, stream_async
from tsmodel.keys import KEY_FIELDS, LIMITS, KeyRange
from tsmodel.layout.fixed_rows import FixedRowCodec
from tsmodel.layout.variable_rows import VariableRowCodec
from tsmodel.model.model import TSModel, codec_of
from tsmodel.model.unions import models_of
from tsmodel.query.in_memory import collectors, through
from tsmodel.query.plan import Plan, plan_of
from tsmodel.query.sinks import Regrouped, RunStats, Selection, Sink
from tsmodel.query.spec import QuerySpec
from tsmodel.wire.chunk import Chunk, keys_of
from tsmodel.wire.sorting import run_lengths, run_starts

__all__ = [
    "AsyncExecutor",
    "AsyncSource",
    "Execution",
    "Executor",
    "Make",
    "Source",
    "check_source",
    "current",
    "enter",
    "first_of",
    "last_acq",
    "leave",
    "then",
]

M = TypeVar("M", bound=TSModel)
R = TypeVar("R")
T = TypeVar("T")
OnT = TypeVar("OnT", covariant=True)


class _Source(Protocol[OnT]):
    """What a query reads from: a session."""

    @property
    def name(self) -> str:
        """The backend's name in messages."""
        ...

    @property
    def allow_full_scan(self) -> bool:
        """Whether queries may read every record."""
        ...

    def on_backend(self) -> OnT:
        """Carries out effects on the backend.

        Raises:
            SessionError: when the source is closed.
        """
        ...

    def remover(self, what: str) -> Remover:
        """Returns the backend as a `Remover`, on behalf of `what`.

        Raises:
            UnsupportedError: when the backend cannot remove records.
            SessionError: when the session has pending records.
        """
        ...


Source: TypeAlias = _Source[OnBackend]
AsyncSource: TypeAlias = _Source[OnAsyncBackend]

_open: ContextVar[tuple[weakref.ref[Source], ...]] = ContextVar("tsmodel_open_sessions", default=())


def enter(source: Source) -> None:
    """Makes `source` the innermost one, without keeping it alive."""
    _open.set((*_alive(), weakref.ref(source)))


def leave(source: Source) -> None:
    """Removes `source` from this context, innermost or not."""
    _open.set(tuple(ref for ref in _alive() if ref() is not source))


def current(model: type[Any]) -> Source:
    """The innermost open source, for a query of `model`.

    Raises:
        NoSessionError: when no session is open in this context.
    """
    for ref in reversed(_open.get()):
        if (source := ref()) is not None:
            return source
    name = model.__name__
    raise NoSessionError(
        f"no session is open here for {name}.query: open one with `with connect(...) as session:`, or name one by "
        f"session.query({name}) or {name}.query.using(session), as an asynchronous session requires; "
        f"a new thread does not see the sessions of other threads"
    )


def _alive() -> tuple[weakref.ref[Source], ...]:
    return tuple(ref for ref in _open.get() if ref() is not None)


Make: TypeAlias = Callable[[Selection[Any]], Sink[R]]
"""Makes a sink for the selected records."""


class Execution(Generic[M]):
    """A spec, its plan, the statistics of its last run, and the work of running it.

    Args:
        spec: the query.
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
        """The plan of the spec."""
        if self._plan is None:
            self._plan = plan_of(self.spec)
        return self._plan

    @property
    def reading(self) -> Any:
        """The session to read from.

        Raises:
            NoSessionError: when there is none.
        """
        return self.source

    def selection(self, limit: int | None = None) -> Selection[M]:
        """Starts a run: returns the selection for a sink, with the lesser of `limit` and the spec's limit."""
        self.last_run = RunStats()
        limits = [each for each in (limit, self.spec.limit) if each is not None]
        return Selection(self.spec, self.plan, self.last_run, min(limits, default=None), counts=not self.spec.in_memory)

    def boxes(self) -> tuple[KeyRange, ...]:
        """The key ranges to read.

        Raises:
            QueryError: when the query reads every record, and the session does not allow it.
        """
        boxes = self.plan.boxes
        if not self.reading.allow_full_scan and any(map(_is_full_scan, boxes)):
            raise QueryError(
                f"this query of {self.spec.model.__name__} reads every record, which the session does not allow: "
                "narrow it by cid, mid, cap or acq, or connect with allow_full_scan=True"
            )
        return () if self.spec.limit == 0 else boxes

    def running(self, make: Make[R], limit: int | None = None) -> Work[R]:
        """Feeds a sink until it has enough; the result is the sink's."""
        selection = self.selection(limit)
        sink = make(selection)
        yield from self._read(self.boxes(), selection, sink)
        selection.stats.tick()
        return sink.result()

    def streaming(self, make: Make[Any], regrouping: Regrouped | None = None) -> Work[None]:
        """Emits the result of a sink after each chunk, or with `regrouping`, lists of groups."""
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
        """Removes the records of the spec; the result is their number.

        Raises:
            QueryError: when the spec has more than conditions, or removes every record without `allow_full_scan`.
        """
        predicate, what = _removal(self.spec, self.plan, undecodable=undecodable)
        boxes = self.plan.boxes
        is_all = not self.spec.conditions or (not self.plan.filters and any(map(_is_full_scan, boxes)))
        if is_all and not allow_full_scan:
            raise QueryError(
                f"this removes every record of {self.spec.model.__name__}: narrow the query, or call "
                "delete(allow_full_scan=True)"
            )
        self.boxes()
        remover = self.reading.remover(f"{kind}()")
        removed: int = yield Block(
            partial(remover.remove, boxes, predicate, kind=kind, what=what, note=note, dry_run=dry_run)
        )
        return removed

    def asking(self) -> Work[int]:
        """Asks for the acq below which the records of the spec never change again.

        Raises:
            QueryError: when nothing can match.
        """
        boxes = self.plan.boxes
        if not boxes:
            raise QueryError(f"last_acq() of a query that no record can match: {self.spec}")
        return (yield from last_acq(boxes))

    def _streamed(
        self, boxes: tuple[KeyRange, ...], selection: Selection[M], sink: Sink[Any], regrouping: Regrouped | None
    ) -> Work[None]:
        emitted = sink.result if regrouping is None else lambda: list(regrouping.take(sink.result()))
        yield from self._read(boxes, selection, sink, emitted)
        if regrouping is not None:
            yield Emit(list(regrouping.rest()))

    def _read(
        self,
        boxes: tuple[KeyRange, ...],
        selection: Selection[M],
        sink: Sink[Any],
        emitted: Callable[[], object] | None = None,
    ) -> Work[None]:
        """Feeds a sink, with what the spec's collectors return where it has any. Emits `emitted()` after each chunk."""
        stats = selection.stats
        if not self.spec.in_memory:
            yield from fetched(boxes, stats, partial(_feed, sink, stats), emitted)
            return
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
    """Runs work and blocks."""

    __slots__ = ()

    @property
    def reading(self) -> Source:
        source: Source = self.source or current(self.spec.model)
        return source

    def run(self, work: Work[R]) -> R:
        """Runs work for its result."""
        return run(work, self.reading.on_backend())

    def stream(self, work: Work[None]) -> Iterator[Any]:
        """Iterates over the items that work emits. Closing the iterator stops the scan and releases its resources."""
        return items(stream(work, self.reading.on_backend()))


class AsyncExecutor(Execution[M]):
    """Runs work to be awaited."""

    __slots__ = ()

    @property
    def reading(self) -> AsyncSource:
        source: AsyncSource = self.source
        return source

    def run(self, work: Work[R]) -> Awaitable[R]:
        return run_async(work, self.reading.on_backend())

    def stream(self, work: Work[None]) -> AsyncGenerator[Any, None]:
        return items_async(stream_async(work, self.reading.on_backend()))


def check_source(source: object, *, is_async: bool) -> None:
    """Checks that a query can read from `source`.

    Raises:
        QueryError: when it is not a session, or not of the query's kind.
    """
    if not hasattr(source, "on_backend") or hasattr(source, "__enter__" if is_async else "__aenter__"):
        kind = "an asynchronous session" if is_async else "a session"
        raise QueryError(f"using() takes {kind}, not {source!r} ({type(source).__name__})")


def then(work: Work[R], function: Callable[[R], T]) -> Work[T]:
    """Work whose result is a function of another's."""
    return function((yield from work))


def first_of(rows: Sequence[T]) -> T | None:
    """The first of some rows, or None."""
    return rows[0] if rows else None


def last_acq(boxes: Sequence[KeyRange], shard: int | None = None) -> Work[int]:
    """Asks for the acq below which the records of key ranges never change again; with `shard`, on that store only."""
    if len(boxes) > 1 and shard is None and (yield ShardsOf(boxes)) != (None,):
        return (yield LastAcq(boxes[0], also=tuple(boxes[1:])))  # type: ignore[no-any-return]
    least: int = LIMITS["acq"].bound
    for box in boxes:
        least = min(least, (yield LastAcq(box, shard)))
    return least


def _feed(sink: Sink[Any], stats: RunStats, chunk: Chunk) -> bool:
    since = time.perf_counter()
    known = stats.steps.get("checking", 0.0) + stats.steps.get("filtering", 0.0)
    enough = sink.feed(chunk)
    # The sink has accounted for checking and filtering; the rest was spent on making the result.
    known -= stats.steps.get("checking", 0.0) + stats.steps.get("filtering", 0.0)
    stats.spent("making", since - known)
    stats.tick()
    return enough


def _is_full_scan(box: KeyRange) -> bool:
    """Whether a key range is unbounded in cid, mid, cap and acq. moid alone does not narrow a scan much."""
    names = ("cid", "mid", "cap", "acq")
    intervals = dict(zip(KEY_FIELDS, box.intervals(), strict=True))
    return all(intervals[name] == (LIMITS[name].least, LIMITS[name].bound) for name in names)


def _removal(spec: QuerySpec[Any], plan: Plan, *, undecodable: bool) -> tuple[Predicate, str]:
    """The predicate that selects the records to remove, and the query as text, for the log. `undecodable` also removes
    mismatches.

    Raises:
        QueryError: when the query has more than conditions, or, with `undecodable`, conditions on the payload.
    """
    if spec.limit is not None or spec.in_memory:
        asks = "; ".join(filter(None, [spec.in_memory, "" if spec.limit is None else f"limit {spec.limit}"]))
        raise QueryError(f"delete() removes every record that meets the conditions: remove {asks} from the query")
    what = f"{spec.model.__name__}: {spec}"
    if not undecodable:
        return _CountedRecords(spec, plan), what
    if plan.residual or len(models_of(spec.model)) > 1:
        raise QueryError(
            "undecodable=True removes every record in the query's key ranges: query one model, with conditions on key "
            "components only"
        )
    return lambda chunk: plan.key_mask(chunk.keys()), f"{what}, undecodable records included"


class _CountedRecords:
    """The predicate that selects the records that a query counts."""

    def __init__(self, spec: QuerySpec[Any], plan: Plan) -> None:
        # Mismatches are left out; a failing upgrade still raises.
        self._spec = spec.replaced(on_error="skip")
        self._plan = plan
        self._keeps_order = isinstance(codec_of(spec.model), (FixedRowCodec, VariableRowCodec))

    def __call__(self, chunk: Chunk) -> npt.NDArray[np.bool_]:
        if self._keeps_order:
            mask = self._in_order(chunk)
            if mask is not None:
                return mask
        mask = np.zeros(len(chunk), np.bool_)
        for places in _apart(chunk):
            part = chunk if len(places) == len(chunk) else chunk.take(places)
            counted = Selection(self._spec, self._plan, RunStats()).of(part, keys_only=True)
            mask[places] = _among(part, keys_of(counted))
        return mask

    def _in_order(self, chunk: Chunk) -> npt.NDArray[np.bool_] | None:
        """The mask if every record matches the model; otherwise None."""
        codec = codec_of(self._spec.model)
        fit = codec.fit_columns(chunk) if self._plan.residual else codec.fit_keys(chunk)
        if fit.mismatches:
            return None
        mask = self._plan.mask(fit.records)
        return np.ones(len(chunk), np.bool_) if mask is None else mask


def _apart(chunk: Chunk) -> list[npt.NDArray[np.intp]]:
    """The indices of the records in groups, so that no group has a key twice."""
    columns = [chunk.key(name) for name in KEY_FIELDS]
    order = np.lexsort(columns)
    starts = run_starts([column[order] for column in columns])
    if len(starts) == len(chunk):
        return [np.arange(len(chunk))]
    rank = np.arange(len(chunk)) - np.repeat(starts, run_lengths(starts, len(chunk)))
    return [np.sort(order[rank == each]) for each in range(int(rank.max()) + 1)]


def _among(chunk: Chunk, keys: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which records of a chunk with distinct keys have one of `keys`, a subset of its keys."""
    if len(keys) in (0, len(chunk)):
        return np.full(len(chunk), len(keys) > 0)
    columns = [np.concatenate([chunk.key(name), keys[name]]) for name in KEY_FIELDS]
    order = np.lexsort(columns)  # stable: a record comes before the equal key of `keys`
    starts = run_starts([column[order] for column in columns])
    mask = np.zeros(len(chunk), np.bool_)
    mask[order[starts[run_lengths(starts, len(order)) == 2]]] = True
    return mask
