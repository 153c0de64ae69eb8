"""What a query's plan is, and what its last run read, for a person to read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from tsmodel.keys import KEY_FIELDS, LIMITS, KeyRange
from tsmodel.model.expressions import constants_of, leaves, shortened
from tsmodel.query.plan import Plan
from tsmodel.query.spec import QuerySpec
from tsmodel.timestamps import to_iso

if TYPE_CHECKING:
    from tsmodel.query.sinks import Quarantined

__all__ = ["Explanation", "RunStats"]


@attrs.define
class RunStats:
    """Counts of one run, final once it has ended.

    Attributes:
        ranges: key ranges that were read, whole or in part.
        chunks: chunks that arrived.
        bytes_read: their bytes.
        records_read: their records.
        records_returned: records that met every condition and the limit.
        skipped: records left out because their payload does not fit the model (`on_error("skip")` or `"quarantine"`).
        quarantined: those, when the query says `on_error("quarantine")`.
        seconds: from the start of the run to its end or to the last chunk so far.
        steps: seconds of each step: `fetching` chunks from the backend, `checking` that payloads are the model's,
            `filtering` records by conditions that key ranges do not express, and `making` what is asked for of them.
    """

    ranges: int = 0
    chunks: int = 0
    bytes_read: int = 0
    records_read: int = 0
    records_returned: int = 0
    skipped: int = 0
    quarantined: list[Quarantined] = attrs.field(factory=list, repr=False)
    seconds: float = 0.0
    steps: dict[str, float] = attrs.field(factory=dict)
    _started: float = attrs.field(factory=time.perf_counter, repr=False)

    def range_begun(self) -> None:
        """A key range is about to be read."""
        self.ranges += 1

    def chunk(self, size: int, records: int) -> None:
        """A chunk of `size` bytes that holds `records` records arrived."""
        self.chunks += 1
        self.bytes_read += size
        self.records_read += records

    def spent(self, step: str, since: float) -> float:
        """Adds the time from `since` on to that of a step; returns the time now. Both are of `time.perf_counter`."""
        now = time.perf_counter()
        self.steps[step] = self.steps.get(step, 0.0) + now - since
        return now

    def tick(self) -> None:
        """Brings `seconds` up to date."""
        self.seconds = time.perf_counter() - self._started

    def __str__(self) -> str:
        share = f" ({self.records_returned / self.records_read:.1%})" if self.records_read else ""
        text = (
            f"read {self.records_read:,} records, {self.bytes_read:,} bytes, from {_counted(self.chunks, 'chunk')} of "
            f"{_counted(self.ranges, 'key range')}; returned {self.records_returned:,}{share}, {self.seconds * 1000:.1f} ms"
        )
        if self.steps:
            text += f" ({', '.join(f'{step} {seconds * 1000:.1f}' for step, seconds in self.steps.items())})"
        return f"{text}; skipped {self.skipped:,}" if self.skipped else text


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


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
        from html import escape

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
