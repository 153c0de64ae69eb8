"""`Reading.volts.mean()`: what is to be made of a column's values, for `query.resample(...).agg(...)`."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from tsmodel.model.operands import ColumnInfo

__all__ = ["Aggregate", "AggregateKind", "count"]

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


@attrs.frozen
class Aggregate:
    """Something made of the records of a window.

    Attributes:
        kind: what is made of them.
        column: of which column's values; None for the records themselves.
        parameter: which quantile, from 0 to 1; or the unit of time of a rate, in ns.
        error: the relative error that a rough quantile may have.
    """

    kind: AggregateKind
    column: ColumnInfo | None
    parameter: float = 0.0
    error: float = 0.0


def count() -> Aggregate:
    """How many records a window has."""
    return Aggregate("count", None)
