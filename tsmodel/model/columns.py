"""`Reading.volts`: a model's field, seen from its class, from which conditions are made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, NoReturn, TypeVar

from tsmodel.errors import QueryError
from tsmodel.model.aggregates import Aggregate
from tsmodel.model.expressions import Between, Comparison, Expression, IsIn, Operator
from tsmodel.model.operands import ColumnInfo
from tsmodel.model.ordering import Order
from tsmodel.timestamps import TimeLike

__all__ = ["Column"]

T = TypeVar("T")


class Column(Generic[T]):
    """A field of a model. Comparing it gives an `Expression`, for `Model.query.where(...)`.

    Columns of times (cap, acq, Timestamp fields) are compared with int ns since 2001, aware datetimes, ISO 8601 text or
    `numpy.datetime64`.

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

    def __lt__(self, other: T | TimeLike) -> Expression:
        return self._compare("<", other)

    def __le__(self, other: T | TimeLike) -> Expression:
        return self._compare("<=", other)

    def __gt__(self, other: T | TimeLike) -> Expression:
        return self._compare(">", other)

    def __ge__(self, other: T | TimeLike) -> Expression:
        return self._compare(">=", other)

    def __eq__(self, other: object) -> Expression:  # type: ignore[override]
        return self._compare("==", other)

    def __ne__(self, other: object) -> Expression:  # type: ignore[override]
        return self._compare("!=", other)

    def between(self, low: T | TimeLike, high: T | TimeLike) -> Expression:
        """`low <= column < high`: the lower end is inside, the upper is not."""
        low, high = (self.info.operand(end, ordering=True) for end in (low, high))
        return Between(self.info, low, high)

    def is_in(self, values: Iterable[T | TimeLike]) -> Expression:
        """The column is one of `values`; never, when there are none."""
        if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
            raise QueryError(f"{self.info.model}.{self.name}: is_in() takes several values, such as a list, not {values!r}")
        return IsIn(self.info, tuple(map(self.info.operand, values)))

    def desc(self) -> Order:
        """This column, the greatest value first, for `query.order_by(...)`."""
        return Order(self.info, descending=True)

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

    def _compare(self, operator: Operator, value: object) -> Expression:
        return Comparison(self.info, operator, self.info.operand(value, ordering=operator not in ("==", "!=")))

    def __bool__(self) -> NoReturn:
        raise QueryError(
            f"{self.info.model}.{self.name} is a column, not a truth value: compare it (== True for a Bool), and combine "
            "conditions with & | ~ and parentheses"
        )

    def __repr__(self) -> str:
        return f"<Column {self.info.model}.{self.info.alias}: {self.info.codec.label}>"
