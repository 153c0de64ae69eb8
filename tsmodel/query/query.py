"""`Query`: what to read, built step by step, and the ends that read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

from typing_extensions import Self

from tsmodel.backend import Backend
from tsmodel.errors import MultipleResultsError, NoResultError, QueryError
from tsmodel.keys import LIMITS, KeyRange
from tsmodel.model.base import TSModel, query_factory
from tsmodel.model.columns import Column
from tsmodel.model.expressions import And, Between, Comparison, Expression, IsIn, Not, Or
from tsmodel.model.meta import schema_of
from tsmodel.model.unions import models_of, queried
from tsmodel.query.context import Source, current
from tsmodel.query.drive import run, stream
from tsmodel.query.ends import Count, End, OnError, Regrouped, Rows, Selection
from tsmodel.query.explain import Explanation
from tsmodel.query.follow import FollowEnds
from tsmodel.query.frames import FrameEnds
from tsmodel.query.planning import DEFAULT_MAX_BOXES, Plan
from tsmodel.query.resample import ResampleEnds
from tsmodel.query.stats import RunStats
from tsmodel.query.unions import column_named, plan_of
from tsmodel.timestamps import TimeLike

__all__ = ["Query", "QueryBuilder"]

M = TypeVar("M", bound=TSModel)
R = TypeVar("R")


class QueryBuilder(Generic[M]):
    """The conditions of a query. Every step returns a new query; none reads anything.

    Between-steps are half-open: the lower end is inside, the upper is not. Times are int ns since 2001, aware datetimes,
    ISO 8601 text with an offset, or `numpy.datetime64` (UTC).
    """

    __slots__ = ("_conditions", "_limit", "_max_boxes", "_model", "_on_error", "_plan", "_source", "_stats")

    def __init__(self, model: type[M], source: object = None) -> None:
        self._model: type[M] = queried(model)
        self._source = source
        fixed = schema_of(self._model).fixed
        self._conditions: tuple[Expression, ...] = tuple(self._column(name) == value for name, value in fixed.items())
        self._limit: int | None = None
        self._max_boxes = DEFAULT_MAX_BOXES
        self._on_error: OnError = "raise"
        self._plan: Plan | None = None
        self._stats: RunStats | None = None

    def cid(self, *values: int | Iterable[int]) -> Self:
        """Client ids: one, several, or a range."""
        return self._members("cid", values)

    def mid(self, *values: int | Iterable[int]) -> Self:
        """Meter ids: one, several, or a range."""
        return self._members("mid", values)

    def moid(self, *values: int | Iterable[int]) -> Self:
        """Meter object ids: one, several, or a range."""
        return self._members("moid", values)

    def cid_between(self, low: int, high: int) -> Self:
        """`low <= cid < high`."""
        return self.where(self._column("cid").between(low, high))

    def mid_between(self, low: int, high: int) -> Self:
        """`low <= mid < high`."""
        return self.where(self._column("mid").between(low, high))

    def moid_between(self, low: int, high: int) -> Self:
        """`low <= moid < high`."""
        return self.where(self._column("moid").between(low, high))

    def cap_between(self, start: TimeLike, end: TimeLike) -> Self:
        """Captured at `start` or later and before `end`."""
        return self.where(self._column("cap").between(start, end))

    def cap_since(self, start: TimeLike) -> Self:
        """Captured at `start` or later."""
        return self.where(self._column("cap") >= start)

    def cap_before(self, end: TimeLike) -> Self:
        """Captured before `end`."""
        return self.where(self._column("cap") < end)

    def acq_between(self, start: TimeLike, end: TimeLike) -> Self:
        """Acquired at `start` or later and before `end`."""
        return self.where(self._column("acq").between(start, end))

    def acq_since(self, start: TimeLike) -> Self:
        """Acquired at `start` or later."""
        return self.where(self._column("acq") >= start)

    def acq_before(self, end: TimeLike) -> Self:
        """Acquired before `end`."""
        return self.where(self._column("acq") < end)

    def where(self, *conditions: Expression) -> Self:
        """Records that meet all `conditions`, made from columns: `Reading.volts > 240`, combined by `& | ~`.

        What they say about the key narrows what is read; the rest filters what was read, before objects are made.

        Raises:
            QueryError: when an argument is not a condition, or names a column of another model.
        """
        for condition in conditions:
            self._check(condition)
        return self._with(_conditions=(*self._conditions, *conditions))

    def limit(self, most: int) -> Self:
        """At most `most` records: any that match, since records come in no particular order. Reading stops there."""
        if type(most) is not int or most < 0:
            raise QueryError(f"limit takes an int from 0, not {most!r}")
        return self._with(_limit=most)

    def on_error(self, action: OnError) -> Self:
        """What becomes of records whose payload does not fit the model: "raise" (default) or "skip", which counts them
        in `stats.skipped`."""
        if action not in ("raise", "skip"):
            raise QueryError(f'on_error takes "raise" or "skip", not {action!r}')
        return self._with(_on_error=action)

    def max_boxes(self, most: int) -> Self:
        """Most key ranges to read (default 64) before neighbouring ones are widened into one and filtered."""
        if type(most) is not int or most < 1:
            raise QueryError(f"max_boxes takes an int from 1, not {most!r}")
        return self._with(_max_boxes=most)

    def key_ranges(self) -> list[KeyRange]:
        """The disjoint key ranges that the query reads; none when nothing can match."""
        return list(self._planned().boxes)

    def explain(self) -> Explanation:
        """The key ranges, the residual filter, and what the last run of this very query read."""
        return Explanation(self._model.__name__, self._planned(), self._limit, self._stats)

    @property
    def stats(self) -> RunStats:
        """Counts of the last run of this very query.

        Raises:
            QueryError: when it was not run.
        """
        if self._stats is None:
            raise QueryError("this query was not run yet: keep it in a variable, run it, then ask for its stats")
        return self._stats

    def __repr__(self) -> str:
        conditions = " & ".join(f"({condition})" for condition in self._conditions) or "all records"
        return f"<{type(self).__name__} of {self._model.__name__}: {conditions}>"

    def _with(self, **changes: Any) -> Self:
        query = object.__new__(type(self))
        for name in QueryBuilder.__slots__:
            object.__setattr__(query, name, changes.get(name, getattr(self, name)))
        query._plan = query._stats = None
        return query

    def _planned(self) -> Plan:
        if self._plan is None:
            self._plan = plan_of(self._model, self._conditions, self._max_boxes)
        return self._plan

    def _boxes(self) -> tuple[KeyRange, ...]:
        return () if self._limit == 0 else self._planned().boxes

    def _boxes_to_ask(self) -> tuple[KeyRange, ...]:
        if boxes := self._planned().boxes:
            return boxes
        raise QueryError("last_acq() of a query that nothing can match")

    def _only(self, rows: list[M]) -> M | None:
        """The row of at most one."""
        if len(rows) > 1:
            raise MultipleResultsError(f"expected one record, found several, such as {rows[0]} and {rows[1]}: {self!r}")
        return rows[0] if rows else None

    def _required(self, row: M | None) -> M:
        if row is None:
            raise NoResultError(f"one() found no record: {self!r}")
        return row

    def _checked_size(self, size: int) -> int:
        if type(size) is not int or size < 1:
            raise QueryError(f"batches takes an int from 1, not {size!r}")
        return size

    def _selection(self, limit: int | None) -> Selection[M]:
        limits = [each for each in (limit, self._limit) if each is not None]
        self._stats = RunStats()
        return Selection(self._model, self._planned(), min(limits, default=None), self._on_error, self._stats)

    def _column(self, name: str) -> Column[int]:
        return schema_of(self._model).columns[name]

    def _members(self, name: str, values: tuple[int | Iterable[int], ...]) -> Self:
        column, limits = self._column(name), LIMITS[name]
        if len(values) == 1 and isinstance(values[0], range) and values[0].step == 1:
            return self.where(column.between(values[0].start, values[0].stop))
        listed = [each for value in values for each in (value if isinstance(value, Iterable) else (value,))]
        condition = column.is_in(listed)
        for each in listed:
            if not limits.least <= each < limits.bound:
                raise QueryError(
                    f"{name}({each}): no record can have that {name}; it is {limits.least} to {limits.bound - 1}"
                )
        return self.where(condition)

    def _check(self, condition: object) -> None:
        if isinstance(condition, (And, Or)):
            for term in condition.terms:
                self._check(term)
        elif isinstance(condition, Not):
            self._check(condition.term)
        elif isinstance(condition, (Comparison, Between, IsIn)):
            column = condition.column
            if not column_named(self._model, column):
                known = dict.fromkeys(name for each in models_of(self._model) for name in schema_of(each).columns)
                raise QueryError(
                    f"{column.model}.{column.name} is not a column of {self._model.__name__}, which has {', '.join(known)}"
                )
        else:
            raise QueryError(
                f"where() takes conditions such as {self._model.__name__}.cap > 0, not {condition!r} "
                f"({type(condition).__name__})"
            )


class Query(FollowEnds[M], ResampleEnds[M], FrameEnds[M], QueryBuilder[M]):
    """A query of a model. Immutable; reads when an end is called: `all`, `first`, `one`, `count`, iteration and others."""

    __slots__ = ()

    def using(self, source: Source) -> Self:
        """Reads from `source`, a session, instead of the innermost open one."""
        return self._with(_source=source)

    def all(self) -> list[M]:
        """All matching records, in no particular order."""
        return self._run(Rows(self._selection(None)))

    def first(self) -> M | None:
        """Some matching record, or None; reading stops at it."""
        rows = self._run(Rows(self._selection(1)))
        return rows[0] if rows else None

    def one(self) -> M:
        """The only matching record.

        Raises:
            NoResultError: when there is none.
            MultipleResultsError: when there are several.
        """
        return self._required(self.one_or_none())

    def one_or_none(self) -> M | None:
        """The only matching record, or None.

        Raises:
            MultipleResultsError: when there are several.
        """
        return self._only(self._run(Rows(self._selection(2))))

    def count(self) -> int:
        """How many records match. They are read, but no objects are made."""
        return self._run(Count(self._selection(None)))

    def exists(self) -> bool:
        """Whether any record matches; reading stops at the first."""
        return self._run(Count(self._selection(1))) > 0

    def __iter__(self) -> Iterator[M]:
        """The matching records one by one, holding no more than a chunk's worth at a time."""
        for rows in self._stream(Rows(self._selection(None))):
            yield from rows

    def batches(self, size: int) -> Iterator[list[M]]:
        """The matching records in lists of `size`, the last one shorter.

        Raises:
            QueryError: when `size` is not at least 1.
        """
        return self._batches(Regrouped(self._checked_size(size)))

    def last_acq(self) -> int:
        """An acq, ns since 2001, below which the records of this query never change again.

        Reading `acq_between(a, q.last_acq())` and going on from there sees every record once.
        """
        backend = self._backend()
        return min(backend.last_acq(box) for box in self._boxes_to_ask())

    def _batches(self, regrouped: Regrouped[M]) -> Iterator[list[M]]:
        for rows in self._stream(Rows(self._selection(None))):
            yield from regrouped.take(rows)
        yield from regrouped.rest()

    def _backend(self) -> Backend:
        backend: Backend = self._reading().backend
        return backend

    def _reading(self) -> Any:
        return self._source or current(self._model.__name__)

    def _bound(self) -> Self:
        return self.using(self._reading())

    def _is_limited(self) -> bool:
        return self._limit is not None

    def _at_most(self, most: int) -> Self:
        return self.limit(most if self._limit is None else min(most, self._limit))

    def _run(self, end: End[R]) -> R:
        return run(self._backend(), self._boxes(), end, self.stats)

    def _stream(self, end: End[R]) -> Iterator[R]:
        return stream(self._backend(), self._boxes(), end, self.stats)


query_factory.append(Query)
