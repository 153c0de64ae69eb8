"""A query as a polars LazyFrame. Predicates on the key, the selected columns and the number of rows are pushed down to it.

Rules kept here:

* A condition that is pushed down is never narrower than the predicate. polars applies the whole predicate to the result, so
  parts that are not understood need not be pushed down.
* The structure of a predicate comes from its JSON form, which polars may change: an unknown form is not pushed down. polars
  itself computes the values.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any, Final

from tsmodel.errors import MissingLibraryError, TSModelError
from tsmodel.frames import library
from tsmodel.frames.frame import ArrowFrame
from tsmodel.keys import KEY_FIELDS
from tsmodel.model.column import Column
from tsmodel.model.expressions import Expression
from tsmodel.model.meta import schema_of
from tsmodel.timestamps import EPOCH_UNIX_NS

if TYPE_CHECKING:
    import polars as pl

__all__ = ["lazy_query", "pushed"]

_log = logging.getLogger("tsmodel.frames")

_COMPARISONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "Eq": lambda column, value: column == value,
    "Lt": lambda column, value: column < value,
    "LtEq": lambda column, value: column <= value,
    "Gt": lambda column, value: column > value,
    "GtEq": lambda column, value: column >= value,
}
_MIRRORED: Final = {"Eq": "Eq", "Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq"}
_STRANGE: Final = (KeyError, IndexError, TypeError, ValueError, AttributeError, TSModelError)
"""Raised for unknown forms, and for values that a key cannot have."""

_OLDEST: Final = (1, 24)
_MOST_MEMBERS: Final = 10_000


class _UnknownError(Exception):
    """A part of a predicate that is left to polars."""


def lazy_query(query: Any) -> pl.LazyFrame:
    """A query as a LazyFrame, which reads when polars collects it.

    Raises:
        MissingLibraryError: when polars is not installed, or too old.
    """
    polars = library("polars", "lazy()")
    try:
        register = library("polars.io.plugins", "lazy()").register_io_source
    except (MissingLibraryError, AttributeError) as error:
        raise _too_old(polars) from error
    # Older versions drop predicates that they cannot pass on, and return all rows.
    if tuple(int(part) for part in polars.__version__.split(".")[:2]) < _OLDEST:
        raise _too_old(polars)
    nothing: pl.DataFrame = polars.from_arrow(ArrowFrame(query.spec.model, ()).schema.empty_table())

    def source(
        names: list[str] | None, predicate: pl.Expr | None, most: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        narrowed, wanted = query, names
        if predicate is not None:
            narrowed = query.pushed_down(predicate)
            wanted = None if names is None else list(dict.fromkeys([*names, *predicate.meta.root_names()]))
        elif most is not None:
            narrowed = query.limit(most if query.spec.limit is None else min(most, query.spec.limit))
        # polars may ask for no column at all: then one column serves to count the rows.
        batches = narrowed.iter_arrow(*(("cid",) if wanted == [] else wanted or ()))
        left = most
        empty = True
        for batch in batches:
            frame: pl.DataFrame = polars.from_arrow(batch)
            if predicate is not None:
                frame = frame.filter(predicate)
            if names is not None:
                frame = frame.select(names)
            if left is not None:
                frame = frame.head(left)
                left -= frame.height
            empty = False
            yield frame
            if left == 0:
                return
        if empty:
            yield nothing if names is None else nothing.select(names)

    whole: pl.LazyFrame = register(source, schema=nothing.schema)
    return whole


def _too_old(polars: Any) -> MissingLibraryError:
    return MissingLibraryError(
        f"lazy() needs polars {_OLDEST[0]}.{_OLDEST[1]} or newer, and this is {polars.__version__}: pip install -U polars",
        library="polars",
    )


def pushed(model: type[Any], predicate: pl.Expr) -> Expression | None:
    """The condition on the model's key that a predicate implies; None if no part of it is understood."""
    polars = library("polars", "lazy()")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the form, which may change
            tree = json.loads(predicate.meta.serialize(format="json"))
        return _Pushing(polars, model).condition(tree, predicate)
    except _UnknownError as unknown:
        _log.debug("not pushed: %s", unknown)
    except (*_STRANGE, RecursionError, polars.exceptions.PolarsError) as error:  # RecursionError: very deep predicates
        _log.debug("not pushed: %r", error)
    return None


class _Pushing:
    """Translates predicates on a model's key."""

    def __init__(self, polars: Any, model: type[Any]) -> None:
        self._pl = polars
        columns = schema_of(model).columns
        self._columns = {
            column.info.alias: column
            for column in columns.values()
            if column.info.is_key and column.info.name in KEY_FIELDS
        }

    def condition(self, tree: Any, expression: Any) -> Expression:
        """The condition of a predicate.

        Raises:
            _UnknownError: when it is not understood.
        """
        ((kind, body),) = tree.items()
        inputs = expression.meta.pop()[::-1]
        if kind == "BinaryExpr" and len(inputs) == 2:
            operation = body["op"]
            sides = ((body["left"], inputs[0]), (body["right"], inputs[1]))
            if operation in ("And", "LogicalAnd"):
                return self._all([part for side in sides if (part := self._known(*side)) is not None])
            if operation in ("Or", "LogicalOr"):
                return reduce(or_, [self.condition(*side) for side in sides])
            return self._comparison(operation, *sides)
        if kind == "Function":
            function = body["function"]["Boolean"]
            column = self._column(body["input"][0])
            if "IsIn" in function and len(inputs) == 2:
                return self._is_in(column, inputs[1])
            if "IsBetween" in function and len(inputs) == 3:
                return self._is_between(column, function["IsBetween"]["closed"], inputs[1], inputs[2])
        raise _UnknownError(str(expression))

    def _known(self, tree: Any, expression: Any) -> Expression | None:
        """The condition of one operand of `&`, or None if it is not understood: it may be left out."""
        try:
            return self.condition(tree, expression)
        except (_UnknownError, *_STRANGE, self._pl.exceptions.PolarsError):
            return None

    def _all(self, parts: list[Expression]) -> Expression:
        if not parts:
            raise _UnknownError("no operand of &")
        return reduce(and_, parts)

    def _column(self, tree: Any) -> Column[int]:
        column: Column[int] = self._columns[tree["Column"]]
        return column

    def _comparison(self, operation: str, left: Any, right: Any) -> Expression:
        if "Column" in right[0]:
            left, right, operation = right, left, _MIRRORED[operation]
        compare, column = _COMPARISONS[operation], self._column(left[0])
        (value,) = self._values(column, right[1])
        condition: Expression = compare(column, value)
        return condition

    def _is_in(self, column: Column[int], expression: Any) -> Expression:
        values = self._values(column, expression)
        if len(values) > _MOST_MEMBERS:
            raise _UnknownError(f"is_in of {len(values)} values")
        return column.is_in(values)

    def _is_between(self, column: Column[int], closed: str, low: Any, high: Any) -> Expression:
        (least,), (greatest,) = self._values(column, low), self._values(column, high)
        lower = {"Both": "GtEq", "Left": "GtEq", "Right": "Gt", "None": "Gt"}[closed]
        upper = {"Both": "LtEq", "Left": "Lt", "Right": "LtEq", "None": "Lt"}[closed]
        return self._all([_COMPARISONS[lower](column, least), _COMPARISONS[upper](column, greatest)])

    def _values(self, column: Column[int], expression: Any) -> list[int]:
        """The values of a constant, as the column stores them."""
        if expression.meta.root_names():
            raise _UnknownError(f"{expression} is not a constant")
        series = self._pl.select(expression).to_series()
        if series.dtype.base_type() in (self._pl.List, self._pl.Array):
            series = series.explode()
        if series.null_count():
            raise _UnknownError("null")
        if column.info.name not in ("cap", "acq"):
            if not series.dtype.is_integer():
                raise _UnknownError(f"{series.dtype} for {column.info.alias}")
            return series.to_list()  # type: ignore[no-any-return]
        if series.dtype.base_type() is not self._pl.Datetime or series.dtype.time_zone is None:
            raise _UnknownError(f"{series.dtype} for {column.info.alias}")
        factor = {"ns": 1, "us": 10**3, "ms": 10**6}[series.dtype.time_unit]
        return [count * factor - EPOCH_UNIX_NS for count in series.to_physical().to_list()]
