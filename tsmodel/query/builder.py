"""What to read, built step by step: the conditions of a query, without the ends that read it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from typing_extensions import Self

from tsmodel.errors import MultipleResultsError, NoResultError, QueryError
from tsmodel.keys import KEY_FIELDS, LIMITS, KeyRange
from tsmodel.model.base import TSModel
from tsmodel.model.columns import Column
from tsmodel.model.expressions import Between, Comparison, Expression, IsIn, leaves, shortened
from tsmodel.model.meta import schema_of
from tsmodel.model.operands import ColumnInfo
from tsmodel.model.unions import models_of, queried
from tsmodel.query.arrangement import ArrangementSteps
from tsmodel.query.arranging import Arrangement
from tsmodel.query.days import day_of
from tsmodel.query.ends import OnError, Quarantined, Selection
from tsmodel.query.explain import Explanation
from tsmodel.query.planning import DEFAULT_MAX_BOXES, Plan
from tsmodel.query.stats import RunStats
from tsmodel.query.unions import own_column, plan_of
from tsmodel.timestamps import DurationLike, TimeLike, duration_ns, now_ns

__all__ = ["QueryBuilder"]

M = TypeVar("M", bound=TSModel)
R = TypeVar("R")


def is_full_scan(box: KeyRange) -> bool:
    """Whether a key range leaves out nothing by client, meter or time: by moid alone a database cannot narrow much."""
    names = ("cid", "mid", "cap", "acq")
    intervals = dict(zip(KEY_FIELDS, box.intervals(), strict=True))
    return all(intervals[name] == (LIMITS[name].least, LIMITS[name].bound) for name in names)


class QueryBuilder(ArrangementSteps[M], Generic[M]):
    """The conditions of a query. Every step returns a new query; none reads anything.

    Between-steps are half-open: the lower end is inside, the upper is not. Times are int ns since 2001, aware datetimes,
    ISO 8601 text with an offset, or `numpy.datetime64` (UTC).
    """

    __slots__ = (
        "_arrangement",
        "_conditions",
        "_limit",
        "_max_boxes",
        "_model",
        "_on_error",
        "_plan",
        "_source",
        "_stats",
        "_wanted",
    )

    def __init__(self, model: type[M], source: object = None) -> None:
        self._model: type[M] = queried(model)
        self._source = source
        fixed = schema_of(self._model).fixed
        self._conditions: tuple[Expression, ...] = tuple(self._column(name) == value for name, value in fixed.items())
        self._limit: int | None = None
        self._wanted: int | None = None
        self._arrangement = Arrangement()
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

    def last(self, duration: DurationLike) -> Self:
        """Captured in the last "15m", "2h", "7d" or another duration, reckoned from now, when this is called."""
        ns = duration_ns(duration)
        if ns < 0:
            raise QueryError(f"last takes a duration from 0, not {duration!r}")
        return self.cap_since(now_ns() - ns)

    def on(self, date: dt.date | str, tz: str | dt.tzinfo = "UTC") -> Self:
        """Captured on a day, from one midnight to the next by the clocks of a time zone: 23, 24 or 25 hours.

        Args:
            date: the day, or its ISO 8601 text.
            tz: the time zone: a name such as "Europe/Warsaw", or a tzinfo.

        Raises:
            QueryError: when there is no such day or time zone.
        """
        return self.cap_between(*day_of(date, tz))

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
        """At most `most` records: the first ones of order_by, or any that match, at which reading stops."""
        if type(most) is not int or most < 0:
            raise QueryError(f"limit takes an int from 0, not {most!r}")
        return self._with(_limit=most)

    def on_error(self, action: OnError) -> Self:
        """What becomes of records whose payload does not fit the model: "raise" (default); "skip", which counts them in
        `stats.skipped`; or "quarantine", which keeps them, all of them, in `quarantined` as well."""
        if action not in ("raise", "skip", "quarantine"):
            raise QueryError(f'on_error takes "raise", "skip" or "quarantine", not {action!r}')
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
        return Explanation(self._model.__name__, self._planned(), self._limit, self._stats, self._arrangement)

    @property
    def quarantined(self) -> list[Quarantined]:
        """Records that the last run of this very query left out because their payload does not fit the model: key, payload
        and reason of each.

        Raises:
            QueryError: when it was not run, or does not say `on_error("quarantine")`.
        """
        if self._on_error != "quarantine":
            raise QueryError('quarantined is for queries with .on_error("quarantine")')
        return self.stats.quarantined

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
        conditions = shortened(" & ".join(f"({condition})" for condition in self._conditions)) or "all records"
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
        boxes = self._planned().boxes
        if not getattr(self._reading(), "allow_full_scan", True) and any(map(is_full_scan, boxes)):
            raise QueryError(
                f"this query of {self._model.__name__} reads all that there is, which the session does not allow: "
                "narrow it by cid, mid, cap or acq, or connect with allow_full_scan=True"
            )
        return () if self._limit == 0 else boxes

    def _reading(self) -> Any:
        """What is read from."""
        raise NotImplementedError

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
        self._stats, self._wanted = RunStats(), min(limits, default=None)
        counts = not self._arrangement
        return Selection(self._model, self._planned(), self._wanted, self._on_error, self._stats, counts=counts)

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
        known: dict[int, list[ColumnInfo]] = {}
        for leaf in leaves(condition) if isinstance(condition, Expression) else [condition]:
            if not isinstance(leaf, (Comparison, Between, IsIn)):
                raise QueryError(
                    f"where() takes conditions such as {self._model.__name__}.cap > 0, not {leaf!r} ({type(leaf).__name__})"
                )
            column = leaf.column
            if id(column) not in known:
                models = models_of(self._model)
                owns = [own for each in models if (own := own_column(each, column)) is not None]
                if not owns:
                    names = dict.fromkeys(name for each in models for name in schema_of(each).columns)
                    raise QueryError(
                        f"{column.model}.{column.name} is not a column of {self._model.__name__}, which has "
                        f"{', '.join(names)}"
                    )
                known[id(column)] = [own for own in owns if own is not column]
            for own in known[id(column)]:
                leaf.of(own)  # says now what cannot be compared
