"""A query's plan, and what its last run read, for a person to read."""

from __future__ import annotations

from html import escape
from typing import Any

import attrs
import numpy as np

from tsmodel.keys import KEY_FIELDS, LIMITS, KeyRange
from tsmodel.model.expressions import constants_of, leaves, shortened
from tsmodel.query.planning import Plan
from tsmodel.query.spec import QuerySpec
from tsmodel.query.stats import RunStats
from tsmodel.timestamps import to_iso

__all__ = ["Explanation"]

_MOST_SHOWN = 8


@attrs.frozen(repr=False)
class Explanation:
    """How a query is answered; printing it gives a text.

    Attributes:
        spec: what is asked for.
        plan: key ranges and residual filter.
        stats: counts of the query's last run, or None before one.
    """

    spec: QuerySpec[Any]
    plan: Plan
    stats: RunStats | None

    @property
    def model(self) -> str:
        """The model's name."""
        return self.spec.model.__name__

    @property
    def limit(self) -> int | None:
        """Most records returned, or None."""
        return self.spec.limit

    def __str__(self) -> str:
        lines = [f"query of {self.model}"]
        boxes = self.plan.boxes
        widened = ", widened because there would have been too many" if self.plan.widened else ""
        lines.append(f"  key ranges: {len(boxes)}{widened}" + ("" if boxes else " (nothing can match: nothing is read)"))
        lines += [f"    {number}. {_shown(box)}" for number, box in enumerate(boxes[:_MOST_SHOWN], 1)]
        if len(boxes) > _MOST_SHOWN:
            lines.append(f"    … {len(boxes) - _MOST_SHOWN} more")
        residual = shortened(" & ".join(f"({term})" for term in (*self.plan.key_residual, *self.plan.residual)))
        lines.append(f"  residual filter: {residual or 'none'}")
        if rounded := self._rounded():
            lines.append(f"  rounded to the column's width: {rounded}")
        if self.spec.in_memory:
            lines.append(f"  then: {self.spec.in_memory}")
        if self.limit is not None and self.spec.order:
            lines.append(f"  limit: the first {self.limit:,} records; no more are held")
        elif self.limit is not None:
            lines.append(f"  limit: stops after {self.limit:,} records")
        lines.append(f"  last run: {self.stats or 'none yet'}")
        return "\n".join(lines)

    __repr__ = __str__

    def _rounded(self) -> str:
        """Constants that are not quite what they are shown as, because they have the width of their column."""
        found: dict[str, None] = {}
        for term in (*self.plan.key_residual, *self.plan.residual):
            for leaf in leaves(term):
                for value in constants_of(leaf):
                    if isinstance(value, np.floating) and float(str(value)) != float(value):
                        found[f"{leaf.column.alias} {value!s} is {float(value)}"] = None
                if len(found) > _MOST_SHOWN:
                    return ", ".join([*found][:_MOST_SHOWN]) + ", …"
        return ", ".join(found)

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        title, *lines = str(self).splitlines()
        rows = []
        for line in lines:
            name, _, value = line.strip().partition(": ")
            if line.startswith("    "):
                rows.append(f"<tr><td></td><td><code>{escape(line.strip())}</code></td></tr>")
            else:
                rows.append(f"<tr><th style='text-align: left'>{escape(name)}</th><td>{escape(value)}</td></tr>")
        return f"<table><caption>{escape(title)}</caption>{''.join(rows)}</table>"


def _shown(box: KeyRange) -> str:
    parts = []
    for name, (low, high) in zip(KEY_FIELDS, box.intervals(), strict=True):
        limits = LIMITS[name]
        if (low, high) == (limits.least, limits.bound):
            continue
        text = to_iso if name in ("cap", "acq") else str
        start = "min" if low == limits.least else text(low)
        stop = "max" if high == limits.bound else text(high)
        parts.append(f"{name} {start}" if high == low + 1 else f"{name} [{start}, {stop})")
    return ", ".join(parts) or "all keys"
