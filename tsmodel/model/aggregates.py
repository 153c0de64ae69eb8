"""`Reading.volts.mean()`: what is to be made of a column's values, for `query.resample(...).agg(...)`."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from tsmodel.model.operands import ColumnInfo

__all__ = ["Aggregate", "AggregateKind", "Counter", "OnDrop", "count"]

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


@attrs.frozen
class Counter:
    """What it means that a counter's value is less than the one before.

    Attributes:
        modulus: where the counter begins again at zero, as the column stores it; None when it never does. A drop is a
            rollover when the step over this edge is less than half the modulus.
        on_drop: what any other drop means: the counter was reset to zero, the value is ignored, or an error.
    """

    modulus: float | None = None
    on_drop: OnDrop = "reset"


@attrs.frozen
class Aggregate:
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
