"""`Query` and `AsyncQuery`: their steps make specs, their other methods read. Thin shells over an executor.

`AsyncQuery` takes most methods that read from `Query`: see `awaited`. A method whose result depends on the model is written
twice, because checkers lose the type variable on the way.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import msgspec
import numpy.typing as npt
from typing_extensions import Self

from tsmodel.errors import MultipleResultsError, NoResultError, QueryError
from tsmodel.html import Listed
from tsmodel.io.effects import Work
from tsmodel.io.runners import awaited
from tsmodel.keys import KEY_FIELDS, LIMITS, KeyRange
from tsmodel.model.column import Column, Order
from tsmodel.model.expressions import ColumnInfo, Expression
from tsmodel.model.meta import schema_of
from tsmodel.model.model import TSModel
from tsmodel.model.own_columns import column_of
from tsmodel.query.executor import (
    AsyncExecutor,
    AsyncSource,
    Execution,
    Executor,
    Source,
    check_source,
    first_of,
    then,
)
from tsmodel.query.plan import Explanation
from tsmodel.query.sinks import (
    Count,
    Framed,
    Quarantined,
    Regrouped,
    Rows,
    RunStats,
    Selection,
    Series,
    SeriesFound,
    Tuples,
)
from tsmodel.query.spec import OnError, QuerySpec, at_least, has_one_layout
from tsmodel.timestamps import DurationLike, TimeLike, duration_ns, now_ns, to_ns

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from matplotlib.axes import Axes

    from tsmodel.frames.frame import ArrowFrame, DtypeBackend, Frame, Wanted
    from tsmodel.query.following import AsyncFollow, Follow
    from tsmodel.query.resample import AsyncResampling, Fill, Resampling

__all__ = ["AsyncQuery", "AsyncSelected", "Query", "QueryBuilder", "Selected"]

M = TypeVar("M", bound=TSModel)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")
X = TypeVar("X", bound=Execution[Any])

DEFAULT_BATCH_SIZE = 65_536
"""Rows of an Arrow record batch."""


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
        from tsmodel.frames.frame import batch_of, tables_joined

        batches = Regrouped(at_least(1, size, "batch_size"), tables_joined, batch_of)
        return self._executor.streaming(partial(Framed, frame=frame), batches)

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


class Query(QueryBuilder[M]):
    """A query of a model. It is immutable, and reads nothing until you iterate over it or call `all`, `first`, `one`,
    `count` or another method that returns results.

    Methods that return columns take the columns wanted, as columns or names; without any, they return all. Only these are
    decoded.

    Args:
        what: the model, or a spec from `query.spec`.
        source: the session to read from; None for the innermost open one.
    """

    __slots__ = ()

    _executor: Executor[M]

    @overload
    def __init__(self, what: type[M], source: Source | None = None) -> None: ...
    @overload
    def __init__(self, what: QuerySpec[M], source: Source | None = None) -> None: ...
    def __init__(self, what: Any, source: Source | None = None) -> None:
        super().__init__(Executor(what if isinstance(what, QuerySpec) else QuerySpec(what), source))

    def using(self, source: Source) -> Self:
        """Reads from `source`, a session, instead of the innermost open one."""
        check_source(source, is_async=False)
        return type(self)(self.spec, source)

    def all(self) -> list[M]:
        """All matching records, in no particular order."""
        return self._run(then(self._executor.running(Rows), Listed))

    def first(self) -> M | None:
        """The first matching record in the query's order, or None. Without an order it is any, and reading stops there."""
        return self._run(then(self._executor.running(Rows, 1), first_of))

    def one(self) -> M:
        """The only matching record.

        Raises:
            NoResultError: when there is none.
            MultipleResultsError: when there are several.
        """
        return self._run(then(self._executor.running(Rows, 2), self._one))

    def one_or_none(self) -> M | None:
        """The only matching record, or None.

        Raises:
            MultipleResultsError: when there are several.
        """
        return self._run(then(self._executor.running(Rows, 2), self._one_or_none))

    def count(self) -> int:
        """The number of matching records. No objects are made."""
        return self._run(self._executor.running(Count))

    def exists(self) -> bool:
        """Whether any record matches; reading stops at the first."""
        return self._run(then(self._executor.running(Count, 1), bool))

    def __iter__(self) -> Iterator[M]:
        """The matching records one by one, with at most one chunk of them in memory."""
        return self._executor.stream(self._executor.streaming(Rows))

    def batches(self, size: int) -> Iterator[list[M]]:
        """The matching records in lists of `size`, the last one shorter.

        Raises:
            QueryError: when `size` is not at least 1.
        """
        return self._executor.stream(self._executor.streaming(Rows, Regrouped(size)))

    def last_acq(self) -> int:
        """An acq, ns since 2001, below which the records of this query never change again.

        To read every record exactly once, read `acq_between(a, q.last_acq())`, and continue from there next time.
        """
        return self._run(self._executor.asking())

    def delete(
        self,
        dry_run: bool = False,
        *,
        note: str | None = None,
        undecodable: bool = False,
        allow_full_scan: bool = False,
    ) -> int:
        """Removes the records that match from an embedded file or from memory, durably, all of them or none. The store
        logs it: `session.removals()`.

        `last_acq` does not change. A `follow` or a `copy` that has passed a removed record issues a `RemovedWarning`.

        Args:
            dry_run: only counts the records.
            note: text for the log.
            undecodable: also removes records whose payload does not match the model. The query may then have conditions
                on key components only. By default such records stay, whatever `on_error` says.
            allow_full_scan: allows a query without conditions, which removes every record of the model.

        Returns:
            The number of records.

        Raises:
            QueryError: when the query has a limit, an order, `latest`, `as_of` or `last_per_series`, or has no conditions.
            SessionError: when the session holds records that are not stored.
            UnsupportedError: when the session is on a server; says what to do instead.
            StoreError: when removing failed; nothing was removed.
        """
        return self._run(
            self._executor.removing(
                "delete", dry_run=dry_run, note=note, undecodable=undecodable, allow_full_scan=allow_full_scan
            )
        )

    def series(self) -> list[Series]:
        """The series that have matching records, sorted: cid, mid, moid, number of records, first and last capture time."""
        return self._run(self._executor.running(SeriesFound))

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
        structs with these attributes: `select(meter=Reading.mid, volts=Reading.volts)`. Conditions, order and limit must
        precede it.

        Raises:
            QueryError: for an argument that is not a column of the model.
        """
        return Selected(self._executor, columns, named)

    def resample(
        self,
        every: DurationLike,
        *,
        origin: TimeLike | None = None,
        tz: str | dt.tzinfo | None = None,
        fill: Fill | None = None,
    ) -> Resampling:
        """Half-open windows of cap for each series (cid, mid, moid); `agg` computes aggregates of each window.

        Args:
            every: their length, as "15m", a timedelta, or int ns; or whole calendar months and years, as "3mo" and "1y".
            origin: a time at which a window begins; by default midnight of Monday, 2001-01-01.
            tz: the time zone of the windows; by default UTC. "1d" is from midnight to midnight there, which is 23 or 25
                hours on two days of the year.
            fill: also gives windows without records, from the first to the last of each series, or of the whole range of
                cap that the query asks for. Missing values are None ("null"), the previous value ("previous"), or a
                float on the line between the neighbours ("linear"). Counts are 0.

        Raises:
            QueryError: when the length, the time zone or `fill` is not valid.
            TimestampError: when `every` is not a duration, or `origin` is not a time.
        """
        from tsmodel.query.resample import Resampling

        return Resampling(self._executor, every, origin, tz, fill)

    def follow(
        self,
        since: TimeLike | None = None,
        poll: DurationLike = "1s",
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        checkpoint_every: int = 1,
        wait: bool = True,
    ) -> Follow[M]:
        """Each new record of this query, exactly once, also across restarts; ordered by acq, then by key.

        A record is given once it is fully committed: no more records can appear with an acq below it. It counts as taken
        when the next one is requested, when `commit()` is called, or when the `with` block ends without an exception. A
        process that is killed before that gets this record again, or with `checkpoint_every` above 1, up to that many. An
        exception loses nothing: the next call continues where it stopped.

        Args:
            since: acq to begin at when there is no checkpoint yet; None for all existing records.
            poll: how long to wait when there is nothing new, as "1s", a timedelta, or int ns.
            checkpoint: file that keeps the position, for one reader at a time; None keeps it in memory only.
            checkpoint_every: records between two writes of the file, each of which waits for the disk.
            wait: False ends the iteration when there is nothing new, instead of waiting.

        Raises:
            QueryError: when the query has a limit or conditions on acq.
            CheckpointError: when the file belongs to another query, model or target, or is damaged.
            SessionError: when `poll` is not a duration above 0.
        """
        from tsmodel.query.following import Follow

        return Follow(self._executor, since, poll, checkpoint, checkpoint_every, wait=wait)

    def to_numpy(self, *columns: Wanted) -> npt.NDArray[Any]:
        """One structured array of the fields as they are stored, shape (n,): enums and decimals as their integers, times
        as ns since 2001. Where values may be absent, the last field is their bitmap, `_present`.

        Raises:
            QueryError: when a column is unknown, or payloads have a variable size.
            DecodeError: when a payload does not match the model, unless such records are skipped.
        """
        from tsmodel.frames.frame import StructuredFrame

        return self._run(self._framed(StructuredFrame(self.spec.model, columns)))

    def columns(self, *columns: Wanted) -> dict[str, npt.NDArray[Any]]:
        """A contiguous array of shape (n,) for each column, by name.

        Numbers are as in `to_numpy`, text is text, and a column whose values may be absent is a masked array.

        Raises:
            QueryError, DecodeError: as `to_numpy`.
        """
        from tsmodel.frames.frame import ColumnsFrame

        return self._run(self._framed(ColumnsFrame(self.spec.model, columns)))

    def to_arrow(self, *columns: Wanted) -> pa.Table:
        """A `pyarrow.Table`: times as timestamps in UTC, enums as dictionaries, decimals as decimals.

        Units and docs of fields are in the schema's metadata.

        Raises:
            MissingLibraryError: when pyarrow is not installed.
            QueryError: when a column is unknown.
            DecodeError: as `to_numpy`, or when Arrow cannot hold a time.
        """
        return self._run(self._arrow(columns))

    def to_pandas(
        self,
        *columns: Wanted,
        tz: str = "UTC",
        index: str | tuple[str, ...] | None = None,
        dtype_backend: DtypeBackend | None = None,
    ) -> pd.DataFrame:
        """A `pandas.DataFrame`.

        Nullable integers and bools get pandas' masked types, such as `Int64`. In a Nullable float column pandas cannot tell
        NaN from a missing value, unless Arrow holds it.

        Args:
            columns: the columns to give.
            tz: time zone of times. Times inside arrays and structures stay in UTC.
            index: column or columns that become the index, such as `("mid", "cap")`.
            dtype_backend: "pyarrow" for columns that Arrow holds (`pandas.ArrowDtype`), which lose nothing.

        Raises:
            MissingLibraryError: when pandas or pyarrow is not installed.
            QueryError, DecodeError: as `to_arrow`; also when a time is the number that pandas uses for a missing one.
        """
        from tsmodel.frames import library
        from tsmodel.frames.frame import pandas_of

        library("pandas", "to_pandas()")
        return self._run(then(self._arrow(columns), lambda table: pandas_of(table, tz, index, dtype_backend)))

    def plot(
        self,
        y: Wanted | Sequence[Wanted],
        *,
        x: Wanted = "cap",
        by: Wanted | Sequence[Wanted] | None = ("cid", "mid", "moid"),
        ax: Axes | None = None,
        tz: str | dt.tzinfo = "UTC",
        max_lines: int = 20,
    ) -> Axes:
        """A chart by matplotlib, with a line for each column of `y` and each series: `query.plot("volts")`.

        Long lines are thinned out so that every spike stays: of the values on one point of the axis the first, the least,
        the greatest and the last are drawn.

        Args:
            y: the column or columns to draw: numbers, decimals or bools.
            x: the column along the axis: a time or a number.
            by: the columns that identify a line; None for a single line.
            ax: the axes to draw into; None for a new figure.
            tz: time zone of times.
            max_lines: most lines to draw; the title says how many there are.

        Returns:
            The axes; `ax.figure.savefig("readings.png")` writes a file.

        Raises:
            MissingLibraryError: when matplotlib or pyarrow is not installed.
            QueryError: when a column is unknown, or `x` or `y` is not a number.
            DecodeError: as `to_arrow`.
        """
        from tsmodel.frames.charts import Chart

        chart = Chart.of(self.spec.model, x, y, by, ax=ax, tz=tz, max_lines=max_lines)
        return self._run(then(self._arrow(chart.columns), chart.draw_table))

    def to_polars(self, *columns: Wanted) -> pl.DataFrame:
        """A `polars.DataFrame`.

        Raises:
            MissingLibraryError: when polars or pyarrow is not installed.
            QueryError, DecodeError: as `to_arrow`.
        """
        from tsmodel.frames import library
        from tsmodel.frames.frame import polars_of

        library("polars", "to_polars()")
        return self._run(then(self._arrow(columns), polars_of))

    def iter_arrow(self, *columns: Wanted, batch_size: int = DEFAULT_BATCH_SIZE) -> Iterator[pa.RecordBatch]:
        """The records as `pyarrow.RecordBatch`es of `batch_size` rows, the last one shorter, in bounded memory."""
        from tsmodel.frames.frame import ArrowFrame

        return self._executor.stream(self._batched_arrow(ArrowFrame(self.spec.model, columns), batch_size))

    def to_reader(self, *columns: Wanted, batch_size: int = DEFAULT_BATCH_SIZE) -> pa.RecordBatchReader:
        """The records as a `pyarrow.RecordBatchReader`, which streams them."""
        from tsmodel.frames import library
        from tsmodel.frames.frame import ArrowFrame

        frame = ArrowFrame(self.spec.model, columns)
        # Finds the session now: a consumer may read the stream in a thread where none is open.
        batches = self._executor.stream(self._batched_arrow(frame, batch_size))
        return library("pyarrow", "to_reader()").RecordBatchReader.from_batches(frame.schema, batches)

    def dump_parquet(self, path: str | Path, *columns: Wanted, batch_size: int = 2**20, compression: str = "zstd") -> int:
        """Writes the records to a Parquet file, with a row group for every `batch_size` records; returns their number.

        The file appears complete or not at all.

        Raises:
            MissingLibraryError: when pyarrow is not installed.
            OSError: when the file cannot be written.
            QueryError, DecodeError: as `to_arrow`.
        """
        from tsmodel.frames.frame import write_parquet

        return write_parquet(self.to_reader(*columns, batch_size=batch_size), path, compression=compression)

    def lazy(self) -> pl.LazyFrame:
        """A polars `LazyFrame`, which reads only what it needs when it is collected. Conditions on cid, mid, moid, cap and
        acq (comparisons, `is_in`, `is_between`, combined by `&` and `|`) become key ranges, only the columns used are
        decoded, and `head` stops reading. polars does the rest.

        `pushed_down` shows how a condition narrows the query.

        Raises:
            MissingLibraryError: when polars or pyarrow is not installed, or polars is too old.
        """
        from tsmodel.frames.lazy import lazy_query

        return lazy_query(self.using(self._executor.reading))

    def pushed_down(self, predicate: pl.Expr) -> Self:
        """The query that a lazy frame reads where polars filters it by `predicate`; its `explain()` shows the key ranges.

        Raises:
            MissingLibraryError: when polars is not installed.
        """
        from tsmodel.frames.lazy import pushed

        # A condition applied before a limit, an order or versions would change which records they keep.
        is_limited = self.spec.limit is not None or self.spec.in_memory
        condition = None if is_limited else pushed(self.spec.model, predicate)
        return self if condition is None else self.where(condition)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The Arrow PyCapsule interface: DuckDB, polars and others accept a query directly."""
        return self.to_reader().__arrow_c_stream__(requested_schema)

    def _run(self, work: Work[R]) -> R:
        return self._executor.run(work)


class AsyncQuery(QueryBuilder[M]):
    """A query on an asynchronous session. It has the methods of `Query`, except for `to_reader`, `dump_parquet` and `lazy`.
    Methods that read are awaited, or iterated by `async for`. When you stop iterating early, `aclose()` the iterator: it
    may hold a connection.

    A `delete` that is cancelled runs to its end in a thread. `follow` writes its checkpoint without awaiting.

    Args:
        what: the model, or a spec from `query.spec`.
        source: the session to read from.
    """

    __slots__ = ()

    _executor: AsyncExecutor[M]

    @overload
    def __init__(self, what: type[M], source: AsyncSource) -> None: ...
    @overload
    def __init__(self, what: QuerySpec[M], source: AsyncSource) -> None: ...
    def __init__(self, what: Any, source: AsyncSource) -> None:
        super().__init__(AsyncExecutor(what if isinstance(what, QuerySpec) else QuerySpec(what), source))

    def using(self, source: AsyncSource) -> AsyncQuery[M]:
        """Reads from `source`, an asynchronous session."""
        check_source(source, is_async=True)
        return type(self)(self.spec, source)

    async def all(self) -> list[M]:
        """See `Query.all`."""
        return await self._run(then(self._executor.running(Rows), Listed))

    async def first(self) -> M | None:
        """See `Query.first`."""
        return await self._run(then(self._executor.running(Rows, 1), first_of))

    async def one(self) -> M:
        """See `Query.one`."""
        return await self._run(then(self._executor.running(Rows, 2), self._one))

    async def one_or_none(self) -> M | None:
        """See `Query.one_or_none`."""
        return await self._run(then(self._executor.running(Rows, 2), self._one_or_none))

    count = awaited(Query.count)
    exists = awaited(Query.exists)
    last_acq = awaited(Query.last_acq)
    delete = awaited(Query.delete)
    series = awaited(Query.series)
    to_numpy = awaited(Query.to_numpy)
    columns = awaited(Query.columns)
    to_arrow = awaited(Query.to_arrow)
    to_pandas = awaited(Query.to_pandas)
    plot = awaited(Query.plot)
    to_polars = awaited(Query.to_polars)

    def __aiter__(self) -> AsyncIterator[M]:
        """The matching records one by one, with at most one chunk of them in memory."""
        return self._executor.stream(self._executor.streaming(Rows))

    def batches(self, size: int) -> AsyncIterator[list[M]]:
        """See `Query.batches`."""
        return self._executor.stream(self._executor.streaming(Rows, Regrouped(size)))

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
        return AsyncSelected(self._executor, columns, named)

    def resample(
        self,
        every: DurationLike,
        *,
        origin: TimeLike | None = None,
        tz: str | dt.tzinfo | None = None,
        fill: Fill | None = None,
    ) -> AsyncResampling:
        """See `Query.resample`; its `agg` is awaited."""
        from tsmodel.query.resample import AsyncResampling

        return AsyncResampling(self._executor, every, origin, tz, fill)

    def follow(
        self,
        since: TimeLike | None = None,
        poll: DurationLike = "1s",
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        checkpoint_every: int = 1,
        wait: bool = True,
    ) -> AsyncFollow[M]:
        """See `Query.follow`. The checkpoint is written without awaiting."""
        from tsmodel.query.following import AsyncFollow

        return AsyncFollow(self._executor, since, poll, checkpoint, checkpoint_every, wait=wait)

    def iter_arrow(self, *columns: Wanted, batch_size: int = DEFAULT_BATCH_SIZE) -> AsyncIterator[pa.RecordBatch]:
        """See `Query.iter_arrow`."""
        from tsmodel.frames.frame import ArrowFrame

        return self._executor.stream(self._batched_arrow(ArrowFrame(self.spec.model, columns), batch_size))

    def _run(self, work: Work[R]) -> Awaitable[R]:
        return self._executor.run(work)


class _Selected(Generic[T, X]):
    """Columns of the records that an executor reads.

    Args:
        executor: reads the records.
        columns, named: columns of the model; either the one or the other.
    """

    def __init__(self, executor: X, columns: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        self._columns = _chosen(executor.spec, columns, named)
        self._executor = executor
        self._make = msgspec.defstruct("Selected", list(named), frozen=True) if named else None

    def _sink(self, selection: Selection[Any]) -> Tuples:
        return Tuples(selection, self._columns, self._make)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} ({', '.join(column.alias for column in self._columns)}) of {self._executor.spec!r}>"


class Selected(_Selected[T, Executor[Any]]):
    """Columns of a query's records, as tuples or structs. The methods are those of the query, and update its `stats`."""

    def all(self) -> list[T]:
        """All matching records, in the query's order."""
        return self._executor.run(self._executor.running(self._sink))

    def first(self) -> T | None:
        """The first matching record, or None."""
        return self._executor.run(then(self._executor.running(self._sink, 1), first_of))

    def __iter__(self) -> Iterator[T]:
        """The matching records one by one, with at most one chunk of them in memory."""
        return self._executor.stream(self._executor.streaming(self._sink))

    def batches(self, size: int) -> Iterator[list[T]]:
        """The matching records in lists of `size`, the last one shorter.

        Raises:
            QueryError: when `size` is not at least 1.
        """
        return self._executor.stream(self._executor.streaming(self._sink, Regrouped(size)))


class AsyncSelected(_Selected[T, AsyncExecutor[Any]]):
    """Like `Selected`, on an asynchronous session."""

    async def all(self) -> list[T]:
        """See `Selected.all`."""
        return await self._executor.run(self._executor.running(self._sink))

    async def first(self) -> T | None:
        """See `Selected.first`."""
        return await self._executor.run(then(self._executor.running(self._sink, 1), first_of))

    def __aiter__(self) -> AsyncIterator[T]:
        """See `Selected`. When stopping early, `aclose()` the iterator: it may hold a connection."""
        return self._executor.stream(self._executor.streaming(self._sink))

    def batches(self, size: int) -> AsyncIterator[list[T]]:
        """See `Selected.batches`."""
        return self._executor.stream(self._executor.streaming(self._sink, Regrouped(size)))


def _chosen(spec: QuerySpec[Any], columns: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[ColumnInfo, ...]:
    name = spec.model.__name__
    if columns and named:
        raise QueryError(f"select takes columns, or named columns such as select(at={name}.cap), not both")
    columns = columns or tuple(named.values())
    if not columns:
        raise QueryError(f"select takes columns, such as select({name}.mid, {name}.cap)")
    infos = []
    for column in columns:
        if not isinstance(column, Column):
            raise QueryError(f"select takes columns, such as {name}.cap, not {column!r}")
        own = column_of(spec.model, column.info)
        if not column.info.is_key and not has_one_layout(spec.model):
            raise QueryError(f"select takes only key components of several models, not {column.name}")
        infos.append(own)
    return tuple(infos)
