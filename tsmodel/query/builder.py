"""`QueryBuilder`: the steps of `Query` and `AsyncQuery`, which make specs and read nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from typing_extensions import Self

from tsmodel.errors import MultipleResultsError, NoResultError, QueryError
from tsmodel.io.effects import Work
from tsmodel.keys import KEY_FIELDS, LIMITS, KeyRange
from tsmodel.model.column import Column, Order
from tsmodel.model.expressions import Expression
from tsmodel.model.meta import schema_of
from tsmodel.model.model import TSModel
from tsmodel.query.executor import Execution, first_of
from tsmodel.query.plan import Explanation
from tsmodel.query.sinks import Framed, Quarantined, RunStats
from tsmodel.query.spec import OnError, QuerySpec, at_least
from tsmodel.timestamps import DurationLike, TimeLike, duration_ns, now_ns, to_ns

if TYPE_CHECKING:
    from tsmodel.frames.frame import ArrowFrame, Frame, Wanted

__all__ = ["QueryBuilder"]

M = TypeVar("M", bound=TSModel)


class QueryBuilder(Generic[M]):
    """The steps of a query. Each returns a new query with another spec; none reads anything.

    Intervals are half-open: they include the lower end, not the upper. Times are int ns since 2001, aware datetimes, ISO
    8601 text with an offset, or `numpy.datetime64` (UTC).
    """

    __slots__ = ("_executor",)

    def __init__(self, executor: Execution[M]) -> None:
        self._executor = executor

    @property
    def spec(self) -> QuerySpec[M]:
        """The query as a value, which can be compared, pickled, and run by `session.query(spec)`."""
        return self._executor.spec

    def cid(self, *values: int | Iterable[int]) -> Self:
        """Records of one client id, several, or a range of them."""
        return self._members("cid", values)

    def mid(self, *values: int | Iterable[int]) -> Self:
        """Records of one meter id, several, or a range of them."""
        return self._members("mid", values)

    def moid(self, *values: int | Iterable[int]) -> Self:
        """Records of one meter object id, several, or a range of them."""
        return self._members("moid", values)

    def cid_between(self, low: int, high: int) -> Self:
        """`low <= cid < high`."""
        return self._between("cid", low, high)

    def mid_between(self, low: int, high: int) -> Self:
        """`low <= mid < high`."""
        return self._between("mid", low, high)

    def moid_between(self, low: int, high: int) -> Self:
        """`low <= moid < high`."""
        return self._between("moid", low, high)

    def cap_between(self, start: TimeLike, end: TimeLike) -> Self:
        """Captured at `start` or later and before `end`."""
        return self._between("cap", start, end)

    def cap_since(self, start: TimeLike) -> Self:
        """Captured at `start` or later."""
        return self.where(self._column("cap") >= start)

    def cap_before(self, end: TimeLike) -> Self:
        """Captured before `end`."""
        return self.where(self._column("cap") < end)

    def acq_between(self, start: TimeLike, end: TimeLike) -> Self:
        """Acquired at `start` or later and before `end`."""
        return self._between("acq", start, end)

    def acq_since(self, start: TimeLike) -> Self:
        """Acquired at `start` or later."""
        return self.where(self._column("acq") >= start)

    def acq_before(self, end: TimeLike) -> Self:
        """Acquired before `end`."""
        return self.where(self._column("acq") < end)

    def last(self, duration: DurationLike) -> Self:
        """Captured in the last "15m", "2h", "7d" or another duration, counted back from this call."""
        ns = duration_ns(duration)
        if ns < 0:
            raise QueryError(f"last() takes a duration of 0 or more, not {duration!r}")
        return self.cap_since(now_ns() - ns)

    def on(self, date: dt.date | str, tz: str | dt.tzinfo = "UTC") -> Self:
        """Captured on a day, from midnight to midnight in a time zone: 23, 24 or 25 hours.

        Args:
            date: the day, as a date or ISO 8601 text.
            tz: the time zone: a name such as "Europe/Warsaw", or a tzinfo.

        Raises:
            QueryError: when the day or the time zone does not exist.
        """
        from tsmodel.query.grids import day_of

        return self.cap_between(*day_of(date, tz))

    def where(self, *conditions: Expression) -> Self:
        """Records that meet all `conditions`. Conditions compare columns, `Reading.volts > 240`, and combine by `& | ~`.

        Conditions on the key narrow what is read; the others filter records before objects are made.

        Raises:
            QueryError: when an argument is not a condition, or names a column of another model.
        """
        return self._of(self.spec.where(*conditions))

    def limit(self, most: int) -> Self:
        """At most `most` records: the first ones of `order_by`, or else any that match, and then reading stops early."""
        return self._replaced(limit=at_least(0, most, "limit"))

    def on_error(self, action: OnError) -> Self:
        """What to do with records whose payload does not match the model: "raise" (default); "skip", which counts them in
        `stats.skipped`; or "quarantine", which also keeps them in `quarantined`."""
        return self._replaced(on_error=action)

    def max_boxes(self, most: int) -> Self:
        """Most key ranges to read (default 64). Above it, neighbouring ones are merged, and the surplus is filtered."""
        return self._replaced(max_boxes=most)

    def order_by(self, *columns: Column[Any] | Order | str) -> Self:
        """Records sorted by columns or their names, the most significant first: `order_by(-Reading.cap, "mid")`. A minus
        sorts in descending order, as `desc()` does.

        A database returns records in no particular order, so all that match are read and held in memory first; with
        `limit(n)`, only the first n. None and NaN come last. Records with equal values keep the order they arrived in.

        Raises:
            QueryError: when an argument is not a column of the model, or has no order; when run, for more records than
                `max_rows_in_memory`.
        """
        if not columns:
            raise QueryError("order_by takes columns, such as order_by(Reading.cap.desc(), Reading.mid)")
        return self._replaced(order=columns)

    def latest(self) -> Self:
        """Only the newest version of each cid, mid, moid and cap, which has the greatest acq: a correction replaces the
        record that it corrects.

        The newest version is found among the records that meet the conditions on the key, including those on acq; only
        then are conditions on the payload applied.
        """
        return self._replaced(versions="latest")

    def as_of(self, acq: TimeLike) -> Self:
        """The state of the database at a time: the newest versions among the records acquired at `acq` or before."""
        return self.where(self._column("acq") <= acq).latest()

    def revisions(self) -> Self:
        """All versions, sorted by cid, mid, moid, cap and acq: those of one record follow each other, the oldest first."""
        return self._replaced(order=map(self._column, KEY_FIELDS))

    def first_per_series(self) -> Self:
        """Only the first matching record of each cid, mid and moid, by capture time."""
        return self._replaced(per_series="first")

    def last_per_series(self) -> Self:
        """Only the last matching record of each cid, mid and moid, by capture time."""
        return self._replaced(per_series="last")

    def max_rows_in_memory(self, most: int) -> Self:
        """Most records that `order_by`, `latest` and others may hold (default 10 million). Above it they raise
        `QueryError`."""
        return self._replaced(max_rows_in_memory=most)

    def key_ranges(self) -> list[KeyRange]:
        """The disjoint key ranges that the query reads; empty when nothing can match."""
        return list(self._executor.plan.boxes)

    def explain(self) -> Explanation:
        """The key ranges, the residual filter, and what the last run of this query object read."""

        return Explanation(self.spec, self._executor.plan, self._executor.last_run)

    @property
    def quarantined(self) -> list[Quarantined]:
        """Records that the last run of this query object left out because their payload does not match the model: key,
        payload and reason of each.

        Raises:
            QueryError: when it was not run, or has no `on_error("quarantine")`.
        """
        if self.spec.on_error != "quarantine":
            raise QueryError('quarantined is for queries with .on_error("quarantine")')
        return self.stats.quarantined

    @property
    def stats(self) -> RunStats:
        """Counts of the last run of this query object.

        Raises:
            QueryError: when it was not run.
        """
        if self._executor.last_run is None:
            raise QueryError("this query has not run yet: keep it in a variable, run it, then read its stats")
        return self._executor.last_run

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.spec.model.__name__}: {self.spec}>"

    def _repr_html_(self) -> str:
        """The explanation as a table, for notebooks."""
        return self.explain()._repr_html_()

    def _of(self, spec: QuerySpec[M]) -> Self:
        """The same query with another spec."""
        query = object.__new__(type(self))
        query._executor = type(self._executor)(spec, self._executor.source)
        return query

    def _replaced(self, **changes: Any) -> Self:
        return self._of(self.spec.replaced(**changes))

    def _one_or_none(self, rows: list[M]) -> M | None:
        if len(rows) > 1:
            raise MultipleResultsError(f"expected one record, found at least two, {rows[0]} and {rows[1]}: {self!r}")
        return first_of(rows)

    def _one(self, rows: list[M]) -> M:
        if not rows:
            raise NoResultError(f"one() found no record: {self!r}")
        self._one_or_none(rows)
        return rows[0]

    def _framed(self, frame: Frame) -> Work[Any]:
        return self._executor.running(partial(Framed, frame=frame))

    def _arrow(self, columns: Sequence[Wanted]) -> Work[Any]:
        from tsmodel.frames.frame import ArrowFrame

        return self._framed(ArrowFrame(self.spec.model, columns))

    def _batched_arrow(self, frame: ArrowFrame, size: int) -> Work[None]:
        from tsmodel.frames.frame import Rebatched

        return self._executor.streaming(partial(Framed, frame=frame), Rebatched(at_least(1, size, "batch_size")))

    def _column(self, name: str) -> Column[int]:
        return schema_of(self.spec.model).columns[name]

    def _between(self, name: str, low: Any, high: Any) -> Self:
        condition = self._column(name).between(low, high)  # checks both ends
        if (to_ns(low) > to_ns(high)) if name in ("cap", "acq") else (low > high):
            raise QueryError(f"{name}_between({low!r}, {high!r}) is empty: its end lies below its start; swap them")
        return self.where(condition)

    def _members(self, name: str, values: tuple[Any, ...]) -> Self:
        column, limits = self._column(name), LIMITS[name]
        if len(values) == 1 and isinstance(values[0], range) and values[0].step == 1:
            return self.where(column.between(values[0].start, values[0].stop))
        listed: list[int] = []
        for value in values:  # text is iterable, but is one value, which is_in refuses
            listed.extend(value if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else (value,))
        condition = column.is_in(listed)
        for each in listed:
            if not limits.least <= each < limits.bound:
                raise QueryError(
                    f"{name}({each}): no record can have that {name}; it is between {limits.least} and {limits.bound - 1}"
                )
        return self.where(condition)
