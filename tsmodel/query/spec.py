"""`QuerySpec`: a query as a value.

Rules kept here:

* A spec is immutable and independent of sessions: it can be compared, pickled, and run by `session.query(spec)`.
* A mistake is reported when the spec is made, not when it is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, get_args

import attrs
import msgspec

from tsmodel.errors import QueryError
from tsmodel.model.column import Column, Order
from tsmodel.model.expressions import Between, ColumnInfo, Comparison, Expression, IsIn, comparable, leaves, shortened
from tsmodel.model.meta import schema_of
from tsmodel.model.model import TSModel
from tsmodel.model.own_columns import column_of, listed, own_column
from tsmodel.model.unions import models_of, queried

__all__ = ["OnError", "PerSeries", "QuerySpec", "Versions", "at_least", "has_one_layout"]

M = TypeVar("M", bound=TSModel)

OnError: TypeAlias = Literal["raise", "skip", "quarantine"]
PerSeries: TypeAlias = Literal["first", "last"]
Versions: TypeAlias = Literal["all", "latest"]


@attrs.frozen(repr=False)
class QuerySpec(Generic[M]):
    """A query as a value. `query.spec` returns it, and `session.query(spec)` runs it.

    Two specs are equal when all their attributes are; equal specs have equal hashes. `str()` gives the conditions.

    Attributes:
        model: the model class; for several, `Reading | Event`, a `ModelUnion`, which lists them in `models`.
        conditions: records must meet all of them, and have the key components that the class fixes.
        order: columns to sort by, the most significant first.
        limit: most records wanted; None for all.
        versions: "latest" for only the newest version of each cid, mid, moid and cap.
        per_series: "first" or "last" for only that record of each cid, mid and moid, by capture time.
        on_error: what to do with records whose payload does not match the model; see `Query.on_error`.
        max_boxes: most key ranges to read; above it, neighbouring ones are merged, and the surplus is filtered.
        max_rows_in_memory: most records that may be held for sorting, versions and windows.

    Raises:
        QueryError: for an invalid value, such as a column of another model.
    """

    model: type[M]
    conditions: tuple[Expression, ...] = attrs.field(default=(), eq=lambda conditions: tuple(map(comparable, conditions)))
    order: tuple[Order, ...] = ()
    limit: int | None = None
    versions: Versions = "all"
    per_series: PerSeries | None = None
    on_error: OnError = "raise"
    max_boxes: int = 64
    max_rows_in_memory: int = 10_000_000

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "model", queried(self.model))
        schema_of(self.model)
        for name, check in _CHECKS.items():
            if (given := getattr(self, name)) is not _DEFAULTS[name]:
                object.__setattr__(self, name, check(self.model, given))

    def where(self, *conditions: Expression) -> QuerySpec[M]:
        """A copy with more conditions."""
        return self._with({"conditions": (*self.conditions, *_checked_conditions(self.model, conditions))})

    def replaced(self, **changes: Any) -> QuerySpec[M]:
        """A copy with other values of any attributes but `model`. Only these values are checked."""
        return self._with({name: _CHECKS[name](self.model, value) for name, value in changes.items()})

    @property
    def all_conditions(self) -> tuple[Expression, ...]:
        """The conditions, preceded by those for key components that the model's class fixes."""
        schema = schema_of(self.model)
        return (*(schema.columns[name] == value for name, value in schema.fixed.items()), *self.conditions)

    @property
    def in_memory(self) -> str:
        """Describes what needs all records in memory; empty when records are streamed."""
        if self.versions == "all" and not self.per_series and not self.order:
            return ""
        parts = ["newest versions"] if self.versions == "latest" else []
        parts += [f"{self.per_series} of each series"] if self.per_series else []
        parts += [f"sorted in memory by {', '.join(map(str, self.order))}"] if self.order else []
        return "; ".join(parts)

    def require_streaming(self, what: str) -> None:
        """Raises `QueryError` on behalf of `what` if the spec collects records in memory."""
        if self.in_memory:
            raise QueryError(f"{what} streams records, and cannot be combined with: {self.in_memory}")

    def __str__(self) -> str:
        return shortened(" & ".join(f"({condition})" for condition in self.all_conditions)) or "all records"

    def __repr__(self) -> str:
        parts = [f"limit {self.limit}"] if self.limit is not None else []
        options = (attribute for attribute in attrs.fields(QuerySpec) if attribute.name in _OPTIONS)
        parts += [f"{each.name} {value}" for each in options if (value := getattr(self, each.name)) != each.default]
        return f"<QuerySpec of {self.model.__name__}: {'; '.join([str(self), *filter(None, [self.in_memory]), *parts])}>"

    def _with(self, changes: dict[str, Any]) -> QuerySpec[M]:
        spec: QuerySpec[M] = object.__new__(QuerySpec)
        for name in ("model", *_CHECKS):
            object.__setattr__(spec, name, changes[name] if name in changes else getattr(self, name))
        return spec


def at_least(least: int, value: object, what: str) -> Any:
    """Returns the value if it is an int of at least `least`; otherwise raises `QueryError`."""
    if type(value) is not int or value < least:
        raise QueryError(f"{what} takes an int from {least}, not {value!r}")
    return value


def has_one_layout(model: Any) -> bool:
    """Whether all records of a model have the same fields once they are read: it is not a union."""
    return len(models_of(model)) == 1


def _checked_conditions(model: Any, conditions: Iterable[object]) -> tuple[Any, ...]:
    conditions = tuple(conditions)
    known: dict[int, list[ColumnInfo]] = {}
    for leaf in (leaf for each in conditions for leaf in (leaves(each) if isinstance(each, Expression) else [each])):
        if not isinstance(leaf, (Comparison, Between, IsIn)):
            raise QueryError(
                f"where() takes conditions such as {model.__name__}.cap > 0, not {leaf!r} ({type(leaf).__name__})"
            )
        column = leaf.column
        if id(column) not in known:
            column_of(model, column)
            owns = [own_column(each, column) for each in models_of(model)]
            known[id(column)] = [own for own in owns if own is not None and own is not column]
        for own in known[id(column)]:
            leaf.of(own)  # raises if the constant cannot be compared with this column
    return conditions


def _checked_order(model: Any, column: object) -> Order:
    if isinstance(column, str):
        named = [schema_of(each).columns[column] for each in models_of(model) if column in schema_of(each).columns]
        if not named:
            raise QueryError(f"{column!r} is not a column of {listed(model)}")
        column = named[0]
    order = Order(column.info) if isinstance(column, Column) else column
    if not isinstance(order, Order):
        raise QueryError(f"order_by takes columns or their names, such as {model.__name__}.cap, not {column!r}")
    order = msgspec.structs.replace(order, column=column_of(model, order.column))
    if order.column.codec.comparisons != "all":
        raise QueryError(f"{order.column.model}.{order.column.alias} ({order.column.codec.label}) has no order")
    if not has_one_layout(model):
        raise QueryError("order_by and revisions take a query of one model: sort the result of all() instead")
    return order


def _one_of(what: str, choices: tuple[object, ...]) -> Callable[[Any, object], Any]:
    def check(_: Any, value: object) -> Any:
        if value not in choices:
            *others, last = (f'"{each}"' if isinstance(each, str) else str(each) for each in choices)
            raise QueryError(f"{what} takes {', '.join(others)} or {last}, not {value!r}")
        return value

    return check


_CHECKS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "conditions": _checked_conditions,
    "order": lambda model, order: tuple(_checked_order(model, each) for each in order),
    "limit": lambda _, limit: None if limit is None else at_least(0, limit, "limit"),
    "versions": _one_of("versions", get_args(Versions)),
    "per_series": _one_of("per_series", (*get_args(PerSeries), None)),
    "on_error": _one_of("on_error", get_args(OnError)),
    "max_boxes": lambda _, most: at_least(1, most, "max_boxes"),
    "max_rows_in_memory": lambda _, most: at_least(1, most, "max_rows_in_memory"),
}
"""By attribute: takes the model and a value, and returns the value to keep or raises `QueryError`."""
_DEFAULTS: Final = {attribute.name: attribute.default for attribute in attrs.fields(QuerySpec)}
_OPTIONS: Final = ("on_error", "max_boxes", "max_rows_in_memory")
