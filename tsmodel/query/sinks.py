"""Sinks consume the chunks of a query and produce a result: objects, a count, tuples, frames, series.

Rules kept here:

* A sink is fed chunks and says when it has enough. It does no I/O, so both executors feed the same sinks.
* Records are filtered as columns before any object is made.
* If payloads have a fixed size, only the columns that are needed are decoded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import attrs
import msgspec
import numpy as np

from tsmodel.html import Listed
from tsmodel.keys import KEY_DTYPE, Key
from tsmodel.layout import Mismatch, RowCodec
from tsmodel.layout.versions import UpgradeFault
from tsmodel.model.expressions import ColumnInfo
from tsmodel.model.model import TSModel, codec_of, mismatch
from tsmodel.query.plan import Mask, Plan
from tsmodel.query.spec import QuerySpec, at_least
from tsmodel.timestamps import to_iso
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.sorting import order_of, run_lengths, run_starts

if TYPE_CHECKING:
    from tsmodel.frames.frame import Frame

__all__ = [
    "Count",
    "Framed",
    "Quarantined",
    "Regrouped",
    "Rows",
    "RunStats",
    "Selection",
    "Series",
    "SeriesFound",
    "Sink",
    "Tuples",
]

M = TypeVar("M", bound=TSModel)
R = TypeVar("R", covariant=True)
T = TypeVar("T")


class Quarantined(msgspec.Struct, frozen=True):
    """A record whose payload does not match the model.

    Attributes:
        key: its key.
        payload: its payload.
        reason: why it does not match.
    """

    key: Key
    payload: bytes
    reason: str


@attrs.define
class RunStats:
    """Statistics of a run. They are final when the run has ended.

    Attributes:
        ranges: key ranges that were read, completely or in part.
        chunks: chunks that arrived.
        bytes_read: bytes of these chunks.
        records_read: records in these chunks.
        records_returned: records that met every condition, up to the limit.
        skipped: records left out because their payload does not match the model (`on_error("skip")` or `"quarantine"`).
        quarantined: these records, with `on_error("quarantine")`.
        seconds: from the start of the run to its end, or to the last chunk so far.
        steps: seconds of each step: `fetching` chunks from the backend, `checking` that payloads match the model,
            `filtering` by conditions that key ranges do not express, and `making` the result.
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
        """Counts a key range that is about to be read."""
        self.ranges += 1

    def chunk(self, size: int, records: int) -> None:
        """Counts a chunk of `size` bytes and `records` records."""
        self.chunks += 1
        self.bytes_read += size
        self.records_read += records

    def spent(self, step: str, since: float) -> float:
        """Adds the time since `since` to a step; returns the time now. Both are from `time.perf_counter`."""
        now = time.perf_counter()
        self.steps[step] = self.steps.get(step, 0.0) + now - since
        return now

    def tick(self) -> None:
        """Updates `seconds`."""
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


_MISMATCH_HINT: Final = '; if records of another kind lie in this range, narrow the query or use .on_error("skip")'


class Selection(Generic[M]):
    """Selects the records of a query from chunks, up to a limit, and counts them.

    Args:
        spec: the query.
        plan: its plan.
        stats: the statistics to update.
        limit: most records wanted; None for all.
        counts: whether to count chunks as read; False if they were counted before.
    """

    def __init__(
        self, spec: QuerySpec[M], plan: Plan, stats: RunStats, limit: int | None = None, *, counts: bool = True
    ) -> None:
        self.spec = spec
        self.codec: RowCodec[M] = codec_of(spec.model)
        self.plan = plan
        self.stats = stats
        self.left = limit
        self.counts = counts

    @property
    def full(self) -> bool:
        """Whether the limit has been reached."""
        return self.left == 0

    def of(self, chunk: Chunk, *, keys_only: bool = False, columns: bool = False) -> Any:
        """The selected records of a chunk, in the form of the codec's `fit`.

        Args:
            chunk: the chunk.
            keys_only: whether the caller needs only keys.
            columns: whether the caller needs columns, not rows.

        Raises:
            DecodeError: when a payload does not match the model, unless such records are skipped.
        """
        records, mask = self._checked(chunk, keys_only=keys_only, columns=columns)
        if mask is not None:
            since = time.perf_counter()
            records = records[mask]
            self.stats.spent("filtering", since)
        if self.left is not None:
            records = records[: self.left]
            self.left -= len(records)
        self.stats.records_returned += len(records)
        return records

    def count(self, chunk: Chunk) -> None:
        """Counts the selected records of a chunk without taking them.

        Raises:
            DecodeError: as `of`.
        """
        records, mask = self._checked(chunk, keys_only=True, columns=True)
        count = len(records) if mask is None else int(np.count_nonzero(mask))
        if self.left is not None:
            count = min(count, self.left)
            self.left -= count
        self.stats.records_returned += count

    def _checked(self, chunk: Chunk, *, keys_only: bool, columns: bool) -> tuple[Any, Mask | None]:
        """The records of a chunk that match the model, and a mask of those that meet the conditions; None for all."""
        since = time.perf_counter()
        if keys_only and not self.plan.residual:
            fit = self.codec.fit_keys(chunk)
        else:
            fit = self.codec.fit_columns(chunk) if keys_only or columns else self.codec.fit(chunk)
        if self.counts:
            self.stats.chunk(chunk.nbytes, len(chunk))
        if fit.mismatches:
            self._handle(fit.mismatches)
        since = self.stats.spent("checking", since)
        mask = self.plan.mask(fit.records)
        if mask is not None:
            self.stats.spent("filtering", since)
        return fit.records, mask

    def _handle(self, mismatches: tuple[Mismatch, ...]) -> None:
        keys = np.array([each.key.astuple() for each in mismatches], KEY_DTYPE)
        mask = self.plan.key_mask(keys)
        concerned = [each for at, each in enumerate(mismatches) if mask is None or mask[at]]
        fatal = [each for each in concerned if self.spec.on_error == "raise" or isinstance(each.fault, UpgradeFault)]
        if fatal:
            first = fatal[0]
            raise mismatch(self.spec.model, first.key, first.payload, first.fault, hint=_MISMATCH_HINT)
        self.stats.skipped += len(concerned)
        if self.spec.on_error == "quarantine":
            for each in concerned:
                error = mismatch(self.spec.model, each.key, each.payload, each.fault)
                self.stats.quarantined.append(Quarantined(each.key, each.payload, str(error).partition("\n")[0]))


class Sink(Protocol[R]):
    """Consumes chunks and produces a result."""

    def feed(self, chunk: Chunk) -> bool:
        """Consumes a chunk; returns whether the sink has enough."""
        ...

    def result(self) -> R:
        """The result so far. The sink of a stream returns what is new since the last call."""
        ...


class Rows(Generic[M]):
    """The selected records as objects."""

    def __init__(self, selection: Selection[M]) -> None:
        self._selection = selection
        self._rows: list[M] = []

    def feed(self, chunk: Chunk) -> bool:
        self._rows.extend(self._selection.codec.rows(self._selection.of(chunk)))
        return self._selection.full

    def result(self) -> list[M]:
        rows, self._rows = self._rows, []
        return rows


class Count(Generic[M]):
    """The number of selected records."""

    def __init__(self, selection: Selection[M]) -> None:
        self._selection = selection

    def feed(self, chunk: Chunk) -> bool:
        self._selection.count(chunk)
        return self._selection.full

    def result(self) -> int:
        return self._selection.stats.records_returned


class Framed:
    """The selected records as a frame.

    Args:
        selection: selects the records.
        frame: collects them.
    """

    def __init__(self, selection: Selection[Any], frame: Frame) -> None:
        self._selection = selection
        self._frame = frame

    def feed(self, chunk: Chunk) -> bool:
        self._frame.add(self._selection.of(chunk, columns=True))
        return self._selection.full

    def result(self) -> Any:
        return self._frame.result()


class Regrouped:
    """Regroups the results of a sink, lists or Arrow tables, into groups of one size.

    Args:
        size: results in a group; the last one may be shorter.
        joined: joins the results of several chunks; lists by default.
        cut: takes a group from joined results, given its start and its end.

    Raises:
        QueryError: when the size is not at least 1.
    """

    def __init__(
        self,
        size: int,
        joined: Callable[[list[Any]], Any] = lambda lists: list(chain.from_iterable(lists)),
        cut: Callable[[Any, int, int], Any] = lambda rows, start, stop: rows[start:stop],
    ) -> None:
        self._size = at_least(1, size, "batches")
        self._joined = joined
        self._cut = cut
        self._held: list[Any] = []
        self._count = 0

    def take(self, part: Any) -> Iterator[Any]:
        """Adds a result; yields the groups that are full."""
        if len(part):
            self._held.append(part)
            self._count += len(part)
        if self._count >= self._size:
            whole = self._joined(self._held)
            count, left = self._count, self._count % self._size
            self._held, self._count = [whole[count - left :]] if left else [], left
            for start in range(0, count - left, self._size):
                yield self._cut(whole, start, start + self._size)

    def rest(self) -> Iterator[Any]:
        """Yields the last group, unless it is empty."""
        if self._count:
            yield self._cut(self._joined(self._held), 0, self._count)


@attrs.frozen
class Series:
    """The records of one cid, mid and moid, summarized.

    Attributes:
        cid, mid, moid: key components that all of them have.
        count: the number of records.
        cap_min, cap_max: the first and the last capture time, both inclusive, ns since 2001.
    """

    cid: int
    mid: int
    moid: int
    count: int
    cap_min: int = attrs.field(repr=to_iso)
    cap_max: int = attrs.field(repr=to_iso)

    def to_dict(self) -> dict[str, int | str]:
        """The attributes by name, with times as ISO 8601 text."""
        return {**attrs.asdict(self), "cap_min": to_iso(self.cap_min), "cap_max": to_iso(self.cap_max)}


class SeriesFound:
    """The selected records, summarized by series."""

    def __init__(self, selection: Selection[Any]) -> None:
        self._selection = selection
        self._found: dict[tuple[int, int, int], tuple[int, int, int]] = {}

    def feed(self, chunk: Chunk) -> bool:
        records = self._selection.of(chunk, keys_only=True)
        if len(records):
            self._add(*(np.asarray(records[name]) for name in ("cid", "mid", "moid", "cap")))
        return self._selection.full

    def result(self) -> list[Series]:
        return Listed(Series(*key, *counts) for key, counts in sorted(self._found.items()))

    def _add(self, cid: Any, mid: Any, moid: Any, cap: Any) -> None:
        order = order_of([cid, mid, moid])
        if order is not None:
            cid, mid, moid, cap = cid[order], mid[order], moid[order], cap[order]
        starts = run_starts([cid, mid, moid])
        counts = run_lengths(starts, len(cap))
        columns = (cid[starts], mid[starts], moid[starts])
        sums = (counts, np.minimum.reduceat(cap, starts), np.maximum.reduceat(cap, starts))
        for c, m, o, *counted in zip(*(each.tolist() for each in (*columns, *sums)), strict=True):
            self.add((c, m, o), *counted)

    def add(self, key: tuple[int, int, int], count: int, least: int, greatest: int) -> None:
        """Counts records of one series: how many, and their least and greatest cap."""
        known = self._found.get(key)
        if known is not None:
            count, least, greatest = known[0] + count, min(known[1], least), max(known[2], greatest)
        self._found[key] = (count, least, greatest)


class Tuples:
    """Columns of the selected records as tuples.

    Args:
        selection: selects the records.
        columns: the columns.
        make: makes another object from a record's values; None for tuples.
    """

    def __init__(
        self, selection: Selection[Any], columns: tuple[ColumnInfo, ...], make: Callable[..., Any] | None = None
    ) -> None:
        self._selection = selection
        self._columns = columns
        self._make = make
        self._tuples: list[Any] = []

    def feed(self, chunk: Chunk) -> bool:
        keys_only = all(column.is_key for column in self._columns)
        records = self._selection.of(chunk, keys_only=keys_only, columns=True)
        if len(records):
            values = [column.objects(records) for column in self._columns]
            self._tuples.extend(zip(*values, strict=True) if self._make is None else map(self._make, *values))
        return self._selection.full

    def result(self) -> list[Any]:
        tuples, self._tuples = self._tuples, []
        return tuples
