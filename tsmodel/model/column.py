"""`Reading.volts`: a model's field seen from its class; conditions, orders and aggregates are made from it."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeAlias, TypeVar, overload

import msgspec
import numpy as np

from tsmodel.errors import QueryError
from tsmodel.model.expressions import Between, ColumnInfo, Comparison, Expression, IsIn
from tsmodel.timestamps import DurationLike, TimeLike, duration_ns

__all__ = ["Aggregate", "AggregateKind", "Column", "Counter", "IntColumn", "OnDrop", "Order", "count"]


AggregateKind: TypeAlias = Literal[
    "count",
    "sum",
    "mean",
    "min",
    "max",
    "std",
    "first",
    "last",
    "quantile",
    "rough_quantile",
    "delta",
    "rate",
    "time_weighted_mean",
]
OnDrop: TypeAlias = Literal["reset", "ignore", "raise"]


class Counter(msgspec.Struct, frozen=True):
    """What it means that a counter's value is less than the one before.

    Attributes:
        modulus: where the counter begins again at zero, as the column stores it; None when it never does. A drop is a
            rollover when the step over this edge is less than half the modulus.
        on_drop: what any other drop means: the counter was reset to zero, the value is ignored, or an error.
    """

    modulus: float | None = None
    on_drop: OnDrop = "reset"


class Aggregate(msgspec.Struct, frozen=True):
    """Something made of the records of a window.

    Attributes:
        kind: what is made of them.
        column: of which column's values; None for the records themselves.
        parameter: which quantile, from 0 to 1; or the unit of time of a rate, in ns.
        error: the relative error that a rough quantile may have.
        counter: what a drop of a delta or rate means; None for other kinds.
    """

    kind: AggregateKind
    column: ColumnInfo | None
    parameter: float = 0.0
    error: float = 0.0
    counter: Counter | None = None


def count() -> Aggregate:
    """How many records a window has."""
    return Aggregate("count", None)


class Order(msgspec.Struct, frozen=True):
    """A column by which records are put in order, for `query.order_by(...)`.

    Attributes:
        column: the column.
        descending: whether the greatest value comes first. What is absent, or not a number, comes last either way.
    """

    column: ColumnInfo
    descending: bool = False

    def __str__(self) -> str:
        return f"{self.column.alias} descending" if self.descending else self.column.alias


T = TypeVar("T")

if TYPE_CHECKING:
    Number: TypeAlias = int | float | Decimal | np.integer[Any] | np.floating[Any]
    _Times: TypeAlias = "Column[int] | Column[int | None] | Column[dt.datetime] | Column[dt.datetime | None]"
    _Numbers: TypeAlias = (
        "Column[float] | Column[float | None] | Column[Decimal] | Column[Decimal | None] | Column[int | None]"
    )
    _Durations: TypeAlias = "Column[dt.timedelta] | Column[dt.timedelta | None]"
    _Dates: TypeAlias = "Column[dt.date] | Column[dt.date | None]"
    _Bools: TypeAlias = "Column[bool] | Column[bool | None]"

    class WrongOperand:
        """What a checker takes `Reading.volts == "x"` for. There is none at run time: the comparison raises an error."""


class Column(Generic[T]):
    """A field of a model. Comparing it gives an `Expression`, for `Model.query.where(...)`.

    Columns of times (cap, acq, Timestamp, UnixTime and DateTime fields) are compared with int ns since 2001, aware
    datetimes, ISO 8601 text or `numpy.datetime64`; those of numbers with any real number; others with values of their own
    type. Type checkers refuse an operand of another type; one of `==` and `!=` where the result is used as a condition.

    >>> Reading.volts > 240              # doctest: +SKIP
    >>> Reading.mid.between(1, 9)        # 1 <= mid < 9
    >>> Reading.mid.is_in([1, 4])
    """

    __slots__ = ("info",)
    __hash__ = object.__hash__
    __array_ufunc__ = None  # NumPy's scalars and arrays leave it to the column to be compared with them

    def __init__(self, info: ColumnInfo) -> None:
        self.info = info

    @property
    def name(self) -> str:
        """The field's name."""
        return self.info.alias

    if TYPE_CHECKING:
        # What a column is compared with depends on its values, and a checker finds it by them. What nothing can equal gives
        # a `WrongOperand`, which is not a condition: a checker passes the comparison itself, for object.__eq__ takes any.
        @overload
        def __lt__(self: _Times, other: TimeLike) -> Expression: ...
        @overload
        def __lt__(self: _Numbers, other: Number) -> Expression: ...
        @overload
        def __lt__(self: _Durations, other: DurationLike) -> Expression: ...
        @overload
        def __lt__(self: _Dates, other: dt.date | str) -> Expression: ...
        @overload
        def __lt__(self: Column[T], other: T) -> Expression: ...
        def __lt__(self, other: Any) -> Expression: ...

        __le__ = __gt__ = __ge__ = __lt__

        @overload  # type: ignore[override]
        def __eq__(self: _Times, other: TimeLike) -> Expression: ...  # type: ignore[overload-overlap]
        @overload
        def __eq__(self: _Numbers, other: Number) -> Expression: ...  # type: ignore[overload-overlap]
        @overload
        def __eq__(self: _Durations, other: DurationLike) -> Expression: ...  # type: ignore[overload-overlap]
        @overload
        def __eq__(self: _Dates, other: dt.date | str) -> Expression: ...  # type: ignore[overload-overlap]
        @overload
        def __eq__(self: _Bools, other: np.bool_) -> Expression: ...  # type: ignore[overload-overlap]
        @overload
        def __eq__(self: Column[T], other: T) -> Expression: ...
        @overload
        def __eq__(self, other: object) -> WrongOperand: ...
        def __eq__(self, other: object) -> Any: ...

        @overload  # type: ignore[override]
        def __ne__(self: _Times, other: TimeLike) -> Expression: ...  # type: ignore[overload-overlap]
        @overload
        def __ne__(self: _Numbers, other: Number) -> Expression: ...  # type: ignore[overload-overlap]
        @overload
        def __ne__(self: _Durations, other: DurationLike) -> Expression: ...  # type: ignore[overload-overlap]
        @overload
        def __ne__(self: _Dates, other: dt.date | str) -> Expression: ...  # type: ignore[overload-overlap]
        @overload
        def __ne__(self: _Bools, other: np.bool_) -> Expression: ...  # type: ignore[overload-overlap]
        @overload
        def __ne__(self: Column[T], other: T) -> Expression: ...
        @overload
        def __ne__(self, other: object) -> WrongOperand: ...
        def __ne__(self, other: object) -> Any: ...

        @overload
        def between(self: _Times, low: TimeLike, high: TimeLike) -> Expression: ...
        @overload
        def between(self: _Numbers, low: Number, high: Number) -> Expression: ...
        @overload
        def between(self: _Durations, low: DurationLike, high: DurationLike) -> Expression: ...
        @overload
        def between(self: _Dates, low: dt.date | str, high: dt.date | str) -> Expression: ...
        @overload
        def between(self: Column[T], low: T, high: T) -> Expression: ...
        def between(self, low: Any, high: Any) -> Expression: ...

        @overload
        def is_in(self: _Times, values: Iterable[TimeLike | None]) -> Expression: ...
        @overload
        def is_in(self: _Numbers, values: Iterable[Number | None]) -> Expression: ...
        @overload
        def is_in(self: _Durations, values: Iterable[DurationLike | None]) -> Expression: ...
        @overload
        def is_in(self: _Dates, values: Iterable[dt.date | str | None]) -> Expression: ...
        @overload
        def is_in(self: Column[T], values: Iterable[T]) -> Expression: ...
        def is_in(self, values: Iterable[Any]) -> Expression: ...

    else:

        def __lt__(self, other):
            return Comparison(self.info, "<", other)

        def __le__(self, other):
            return Comparison(self.info, "<=", other)

        def __gt__(self, other):
            return Comparison(self.info, ">", other)

        def __ge__(self, other):
            return Comparison(self.info, ">=", other)

        def __eq__(self, other):
            return Comparison(self.info, "==", other)

        def __ne__(self, other):
            return Comparison(self.info, "!=", other)

        def between(self, low, high):
            """`low <= column < high`: the lower end is inside, the upper is not."""
            return Between(self.info, (low, high))

        def is_in(self, values):
            """The column is one of `values`; never, when there are none."""
            if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
                raise QueryError(
                    f"{self.info.model}.{self.name}: is_in() takes several values, such as a list, not {values!r}"
                )
            return IsIn(self.info, tuple(values))

    def desc(self) -> Order:
        """This column, the greatest value first, for `query.order_by(...)`."""
        return Order(self.info, descending=True)

    def __neg__(self) -> Order:
        """The same: `order_by(-Reading.cap)`."""
        return self.desc()

    def asc(self) -> Order:
        """This column, the least value first, which is what `order_by` takes a column for."""
        return Order(self.info)

    def sum(self) -> Aggregate:
        """The sum of the column's values in a window, for `query.resample(...).agg(...)`."""
        return Aggregate("sum", self.info)

    def mean(self) -> Aggregate:
        """Their arithmetic mean, for `query.resample(...).agg(...)`."""
        return Aggregate("mean", self.info)

    def min(self) -> Aggregate:
        """The least of them, for `query.resample(...).agg(...)`."""
        return Aggregate("min", self.info)

    def max(self) -> Aggregate:
        """The greatest of them, for `query.resample(...).agg(...)`."""
        return Aggregate("max", self.info)

    def std(self) -> Aggregate:
        """Their standard deviation, of a sample, for `query.resample(...).agg(...)`."""
        return Aggregate("std", self.info)

    def first(self) -> Aggregate:
        """The value captured first, for `query.resample(...).agg(...)`."""
        return Aggregate("first", self.info)

    def last(self) -> Aggregate:
        """The value captured last, for `query.resample(...).agg(...)`."""
        return Aggregate("last", self.info)

    def count(self) -> Aggregate:
        """How many values there are, not counting None, for `query.resample(...).agg(...)`."""
        return Aggregate("count", self.info)

    def quantile(self, q: float, *, error: float | None = None) -> Aggregate:
        """The value below which the part `q` of them lies, for `query.resample(...).agg(...)`.

        Args:
            q: from 0 to 1.
            error: None for the exact one, on the line between two values where it lies between them, as NumPy's: for
                it, all values are held in memory. Otherwise the relative error by which it may miss the value that
                is nearest to it, such as 0.01: then only how many values have which size is held.

        Raises:
            QueryError: when `q` or `error` is not such a number.
        """
        if not isinstance(q, (int, float)) or not 0 <= q <= 1:
            raise QueryError(f"quantile takes a number from 0 to 1, such as 0.95, not {q!r}")
        if error is None:
            return Aggregate("quantile", self.info, float(q))
        if not isinstance(error, (int, float)) or not 1e-6 <= error <= 0.5:
            raise QueryError(f"quantile(error=...) takes a relative error from 1e-6 to 0.5, such as 0.01, not {error!r}")
        return Aggregate("rough_quantile", self.info, float(q), float(error))

    def median(self, *, error: float | None = None) -> Aggregate:
        """Their median: `quantile(0.5)`."""
        return self.quantile(0.5, error=error)

    def delta(self, *, modulus: T | None = None, on_drop: OnDrop = "reset") -> Aggregate:
        """Increase of a counter, for `query.resample(...).agg(...)`.

        A counter grows from each value to the next one of the series by their difference, which counts in the window of the
        first of the two. The result's `drops` and `rollovers` say how often a value was less than the one before.

        Args:
            modulus: the value at which the counter begins again at zero, such as `2**32`. A drop is then a rollover when
                the step over this edge is less than half the modulus.
            on_drop: what any other drop means. "reset": the counter began again at zero, and grew by the whole new value.
                "ignore": the value is left out, and so are those after it that are less than the last one before it.
                "raise": a `QueryError` when the query runs.

        Raises:
            QueryError: when `modulus` is not a number above zero, or `on_drop` is unknown.
        """
        return Aggregate("delta", self.info, counter=self._counter("delta", modulus, on_drop))

    def rate(self, per: DurationLike = "1s", *, modulus: T | None = None, on_drop: OnDrop = "reset") -> Aggregate:
        """How fast a counter grew: its `delta` by the time in which it grew so, in units of time `per`, for
        `query.resample(...).agg(...)`.

        Args:
            per: the unit of time.
            modulus, on_drop: as in `delta`.

        Raises:
            QueryError: when `per` is not longer than nothing, or as `delta`.
        """
        unit = duration_ns(per)
        if unit <= 0:
            raise QueryError(f"rate takes a unit of time such as '1h', not {per!r}")
        return Aggregate("rate", self.info, float(unit), counter=self._counter("rate", modulus, on_drop))

    def time_weighted_mean(self) -> Aggregate:
        """The mean over time of what holds from each value until the next one of the series, for
        `query.resample(...).agg(...)`. What holds when a window begins counts in it; what the last value of a series is
        followed by is not known, and does not count."""
        return Aggregate("time_weighted_mean", self.info)

    def _counter(self, kind: str, modulus: object, on_drop: OnDrop) -> Counter:
        if on_drop not in ("reset", "ignore", "raise"):
            raise QueryError(f'{kind}(on_drop=...) takes "reset", "ignore" or "raise", not {on_drop!r}')
        if modulus is None:
            return Counter(None, on_drop)
        stored = self.info.operand(modulus, ordering=True)
        number = self.info.codec.number
        is_float = number is not None and number.kind == "float"
        if not 0 < stored < sys.float_info.max or number is None or (not is_float and stored % 1):
            raise QueryError(
                f"{self.info.model}.{self.name}: {kind}(modulus=...) takes the number at which the counter begins again at "
                f"zero, such as 2**32, not {modulus!r}"
            )
        return Counter(float(stored) if is_float else int(stored), on_drop)

    def __bool__(self) -> NoReturn:
        raise QueryError(
            f"{self.info.model}.{self.name} is a column, not a truth value: compare it (== True for a Bool), and combine "
            "conditions with & | ~ and parentheses"
        )

    def __repr__(self) -> str:
        return f"<Column {self.info.model}.{self.info.alias}: {self.info.codec.label}>"


if TYPE_CHECKING:

    class IntColumn(Column[int]):
        """A `Column[int]` of integers that are no times, and so are not compared with times. A `Column` at run time."""

        def __lt__(self, other: Number) -> Expression: ...  # type: ignore[override]
        def __le__(self, other: Number) -> Expression: ...  # type: ignore[override]
        def __gt__(self, other: Number) -> Expression: ...  # type: ignore[override]
        def __ge__(self, other: Number) -> Expression: ...  # type: ignore[override]
        @overload  # type: ignore[override]
        def __eq__(self, other: Number) -> Expression: ...  # type: ignore[overload-overlap]
        @overload
        def __eq__(self, other: object) -> WrongOperand: ...
        def __eq__(self, other: object) -> Any: ...
        @overload  # type: ignore[override]
        def __ne__(self, other: Number) -> Expression: ...  # type: ignore[overload-overlap]
        @overload
        def __ne__(self, other: object) -> WrongOperand: ...
        def __ne__(self, other: object) -> Any: ...
        def between(self, low: Number, high: Number) -> Expression: ...  # type: ignore[override]
        def is_in(self, values: Iterable[Number]) -> Expression: ...  # type: ignore[override]

else:
    IntColumn = Column
