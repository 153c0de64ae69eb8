"""`Reading.volts`: a field accessed on its model class. Conditions, sort orders and aggregates are built from columns."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeAlias, TypeVar, overload

import msgspec
import numpy as np

from tsmodel.errors import QueryError
from tsmodel.model.expressions import Between, ColumnInfo, Comparison, Expression, IsIn, Operator
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
    """How to interpret a drop: a counter value that is less than the one before.

    Attributes:
        modulus: value at which the counter wraps to zero, in stored units; None if it never wraps. A drop is a rollover if
            the step across the wrap is less than half the modulus.
        on_drop: how to handle any other drop: a reset to zero, a value to ignore, or an error.
    """

    modulus: float | None = None
    on_drop: OnDrop = "reset"


class Aggregate(msgspec.Struct, frozen=True):
    """An aggregate of the records in a window.

    Attributes:
        kind: the kind of aggregate.
        column: the column to aggregate; None to count records.
        parameter: the quantile, from 0 to 1; or the unit of time of a rate, in ns.
        error: maximum relative error of an approximate quantile; None for an exact one.
        counter: how a delta or rate interprets drops; None for other kinds.
    """

    kind: AggregateKind
    column: ColumnInfo | None
    parameter: float = 0.0
    error: float = 0.0
    counter: Counter | None = None


def count() -> Aggregate:
    """Number of records in a window, for `query.resample(...).agg(...)`."""
    return Aggregate("count", None)


class Order(msgspec.Struct, frozen=True):
    """A column to sort by, for `query.order_by(...)`.

    Attributes:
        column: the column.
        descending: whether the greatest value comes first. None and NaN come last in both directions.
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
        """Result type of `Reading.volts == "x"` for type checkers. At run time the comparison raises an error."""


def _comparing(operator: Operator) -> Any:
    def compare(self: Column[Any], other: object) -> Comparison:
        return Comparison(self.info, operator, other)

    return compare


class Column(Generic[T]):
    """A field of a model, for use in queries. Comparisons return an `Expression` for `Model.query.where(...)`.

    Compare time columns (cap, acq, Timestamp, UnixTime and DateTime fields) with int ns since 2001-01-01T00:00:00Z, aware
    datetimes, ISO 8601 text or `numpy.datetime64`. Compare numeric columns with any real number, and other columns with
    values of their own type. Anything else raises a `QueryError`. Type checkers report it as well; for `==` and `!=`, they
    report it where the result is used as a condition.

    >>> Reading.volts > 240              # doctest: +SKIP
    >>> Reading.mid.between(1, 9)        # 1 <= mid < 9
    >>> Reading.mid.is_in([1, 4])
    """

    __slots__ = ("info",)
    __hash__ = object.__hash__
    __array_ufunc__ = None  # makes NumPy scalars and arrays defer comparisons to the column

    def __init__(self, info: ColumnInfo) -> None:
        self.info = info

    @property
    def name(self) -> str:
        """Name of the field."""
        return self.info.alias

    if TYPE_CHECKING:
        # The overloads select the operand type by the type of the column's values. An operand that can never be equal gives
        # a `WrongOperand`, which is not a condition: checkers allow the comparison, because object.__eq__ takes any object.
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
        __lt__, __le__, __gt__, __ge__, __eq__, __ne__ = map(_comparing, ("<", "<=", ">", ">=", "==", "!="))

        def between(self, low, high):
            """Matches values in a half-open interval: `low <= column < high`."""
            return Between(self.info, (low, high))

        def is_in(self, values):
            """Matches values that are equal to one of `values`. An empty list matches nothing."""
            if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
                raise QueryError(
                    f"{self.info.model}.{self.name}: is_in() takes several values, such as a list, not {values!r}"
                )
            return IsIn(self.info, tuple(values))

    def desc(self) -> Order:
        """Descending order, for `query.order_by(...)`. None and NaN come last."""
        return Order(self.info, descending=True)

    def __neg__(self) -> Order:
        """Descending order, as `desc()`: `order_by(-Reading.cap)`."""
        return self.desc()

    def asc(self) -> Order:
        """Ascending order, for `query.order_by(...)`; a plain column means the same."""
        return Order(self.info)

    def sum(self) -> Aggregate:
        """Sum of the values in a window, for `query.resample(...).agg(...)`."""
        return Aggregate("sum", self.info)

    def mean(self) -> Aggregate:
        """Arithmetic mean of the values in a window, for `query.resample(...).agg(...)`."""
        return Aggregate("mean", self.info)

    def min(self) -> Aggregate:
        """Minimum of the values in a window, for `query.resample(...).agg(...)`."""
        return Aggregate("min", self.info)

    def max(self) -> Aggregate:
        """Maximum of the values in a window, for `query.resample(...).agg(...)`."""
        return Aggregate("max", self.info)

    def std(self) -> Aggregate:
        """Sample standard deviation of the values in a window, for `query.resample(...).agg(...)`."""
        return Aggregate("std", self.info)

    def first(self) -> Aggregate:
        """Value with the earliest capture time in a window, for `query.resample(...).agg(...)`."""
        return Aggregate("first", self.info)

    def last(self) -> Aggregate:
        """Value with the latest capture time in a window, for `query.resample(...).agg(...)`."""
        return Aggregate("last", self.info)

    def count(self) -> Aggregate:
        """Number of values in a window, without None, for `query.resample(...).agg(...)`."""
        return Aggregate("count", self.info)

    def quantile(self, q: float, *, error: float | None = None) -> Aggregate:
        """Quantile of the values in a window, for `query.resample(...).agg(...)`.

        Args:
            q: the quantile, from 0 to 1: 0.95 is the value below which 95 % of the values lie.
            error: None for the exact quantile, with linear interpolation as in NumPy; it keeps all values in memory. A
                number from 1e-6 to 0.5, such as 0.01, allows that relative error and keeps only a histogram.

        Raises:
            QueryError: if `q` or `error` is out of range.
        """
        if not isinstance(q, (int, float)) or not 0 <= q <= 1:
            raise QueryError(f"quantile takes a number from 0 to 1, such as 0.95, not {q!r}")
        if error is None:
            return Aggregate("quantile", self.info, float(q))
        if not isinstance(error, (int, float)) or not 1e-6 <= error <= 0.5:
            raise QueryError(f"quantile(error=...) takes a relative error from 1e-6 to 0.5, such as 0.01, not {error!r}")
        return Aggregate("rough_quantile", self.info, float(q), float(error))

    def median(self, *, error: float | None = None) -> Aggregate:
        """Median of the values in a window: `quantile(0.5)`."""
        return self.quantile(0.5, error=error)

    def delta(self, *, modulus: T | None = None, on_drop: OnDrop = "reset") -> Aggregate:
        """Increase of a counter, for `query.resample(...).agg(...)`.

        The difference between two consecutive values of a series counts in the window of the first value. The result
        counts values that are less than the one before in `drops` and `rollovers`.

        Args:
            modulus: value at which the counter wraps to zero, such as `2**32`. A drop is then a rollover if the step across
                the wrap is less than half the modulus.
            on_drop: how to handle any other drop. "reset": the counter restarted at zero, and the whole new value is the
                increase. "ignore": skip values until one is at least the last value before the drop. "raise": raise a
                `QueryError` when the query runs.

        Raises:
            QueryError: if `modulus` is not a number above zero, or `on_drop` is unknown.
        """
        return Aggregate("delta", self.info, counter=self._counter("delta", modulus, on_drop))

    def rate(self, per: DurationLike = "1s", *, modulus: T | None = None, on_drop: OnDrop = "reset") -> Aggregate:
        """Growth rate of a counter, for `query.resample(...).agg(...)`: its `delta` divided by the elapsed time.

        Args:
            per: the unit of time, such as "1h" for growth per hour.
            modulus, on_drop: as for `delta`.

        Raises:
            QueryError: if `per` is not a positive duration, and as for `delta`.
        """
        unit = duration_ns(per)
        if unit <= 0:
            raise QueryError(f"rate takes a unit of time such as '1h', not {per!r}")
        return Aggregate("rate", self.info, float(unit), counter=self._counter("rate", modulus, on_drop))

    def time_weighted_mean(self) -> Aggregate:
        """Mean weighted by time, for `query.resample(...).agg(...)`: each value holds until the next one of its series.

        The value that holds when a window begins counts in that window. The last value of a series has no known end and
        does not count.
        """
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
        """A `Column[int]` whose integers are not times, so it cannot be compared with times. A `Column` at run time."""

        def __lt__(self, other: Number) -> Expression: ...  # type: ignore[override]

        __le__ = __gt__ = __ge__ = __lt__  # type: ignore[assignment]

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
