"""`Reading.volts.mean()`: what is to be made of a column's values, for `query.resample(...).agg(...)`."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from tsmodel.model.operands import ColumnInfo

__all__ = ["Aggregate", "AggregateKind", "count"]

AggregateKind: TypeAlias = Literal["count", "sum", "mean", "min", "max", "std", "first", "last"]


@attrs.frozen
class Aggregate:
    """Something made of the records of a window.

    Attributes:
        kind: what is made of them.
        column: of which column's values; None for the records themselves.
    """

    kind: AggregateKind
    column: ColumnInfo | None


def count() -> Aggregate:
    """How many records a window has."""
    return Aggregate("count", None)
