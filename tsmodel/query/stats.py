"""What a run of a query read and gave back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from tsmodel.query.sinks import Quarantined

__all__ = ["RunStats"]


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
