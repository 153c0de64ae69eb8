"""The sinks of a query: they consume its chunks and produce a result.

Rules kept here:

* A sink is fed chunks and says when it has enough. It does no I/O: both executors feed the same sinks.
* Records are filtered as columns before any object is made of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
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
    """A record whose payload does not fit the model.

    Attributes:
        key: its key.
        payload: its payload.
        reason: what is wrong with it.
    """

    key: Key
    payload: bytes
    reason: str


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


_MISMATCH_HINT: Final = '; if records of another kind lie in this range, narrow the query or use .on_error("skip")'


class Selection(Generic[M]):
    """Selects the records of a query from chunks, up to a limit, and counts them.

    Args:
        spec: what is asked for.
        plan: its plan.
        stats: counts what is read and returned.
        limit: most records wanted; None for all.
        counts: whether chunks are counted as read: not when they were counted before.
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
        """Whether the limit is reached."""
        return self.left == 0

    def of(self, chunk: Chunk, *, keys_only: bool = False, columns: bool = False) -> Any:
        """The selected records of a chunk, as the codec's `fit` gives them; `keys_only` when no payload is asked for,
        `columns` when no rows are made of them.

        Raises:
            DecodeError: when a payload does not fit the model, unless such records are to be skipped.
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
        """Counts the selected records of a chunk, as `of` does, and takes none.

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
        """The records of a chunk that fit, and which of them are selected; None for all."""
        since = time.perf_counter()
        if keys_only and not self.plan.residual:
            fit = self.codec.fit_keys(chunk)
        else:
            fit = self.codec.fit_columns(chunk) if keys_only or columns else self.codec.fit(chunk)
        if self.counts:
            self.stats.chunk(chunk.nbytes, len(chunk))
        if fit.mismatches:
            self._meet(fit.mismatches)
        since = self.stats.spent("checking", since)
        mask = self.plan.mask(fit.records)
        if mask is not None:
            self.stats.spent("filtering", since)
        return fit.records, mask

    def _meet(self, mismatches: tuple[Mismatch, ...]) -> None:
        keys = np.array([each.key.astuple() for each in mismatches], KEY_DTYPE)
        mask = self.plan.key_mask(keys)
        asked_for = [each for at, each in enumerate(mismatches) if mask is None or mask[at]]
        fatal = [each for each in asked_for if self.spec.on_error == "raise" or isinstance(each.fault, UpgradeFault)]
        if fatal:
            first = fatal[0]
            raise mismatch(self.spec.model, first.key, first.payload, first.fault, hint=_MISMATCH_HINT)
        self.stats.skipped += len(asked_for)
        if self.spec.on_error == "quarantine":
            for each in asked_for:
                error = mismatch(self.spec.model, each.key, each.payload, each.fault)
                self.stats.quarantined.append(Quarantined(each.key, each.payload, str(error).partition("\n")[0]))


class Sink(Protocol[R]):
    """Consumes chunks and produces a result."""

    def feed(self, chunk: Chunk) -> bool:
        """Takes a chunk; returns whether it has enough."""
        ...

    def result(self) -> R:
        """The result so far; the sink of a stream gives what is new since the last call."""
        ...


class Rows(Generic[M]):
    """The selected records as objects; `result` gives those that came since its last call."""

    def __init__(self, selection: Selection[M]) -> None:
        self._selection = selection
        self._rows: list[M] = []

    def feed(self, chunk: Chunk) -> bool:
        """Takes a chunk; returns whether the limit is reached."""
        self._rows.extend(self._selection.codec.rows(self._selection.of(chunk)))
        return self._selection.full

    def result(self) -> list[M]:
        """The objects since the last call."""
        rows, self._rows = self._rows, []
        return rows


class Count(Generic[M]):
    """How many records are selected; no objects are made."""

    def __init__(self, selection: Selection[M]) -> None:
        self._selection = selection

    def feed(self, chunk: Chunk) -> bool:
        """Takes a chunk; returns whether the limit is reached."""
        self._selection.count(chunk)
        return self._selection.full

    def result(self) -> int:
        """The number of records so far."""
        return self._selection.stats.records_returned


class Framed:
    """The selected records as a frame.

    Args:
        selection: picks the records.
        frame: the frame that takes them.
    """

    def __init__(self, selection: Selection[Any], frame: Frame) -> None:
        self._selection = selection
        self._frame = frame

    def feed(self, chunk: Chunk) -> bool:
        """Takes a chunk; returns whether the limit is reached."""
        self._frame.add(self._selection.of(chunk, columns=True))
        return self._selection.full

    def result(self) -> Any:
        """The frame of the chunks since the last call."""
        return self._frame.result()


class Regrouped(Generic[T]):
    """Regroups lists of rows into lists of one size.

    Raises:
        QueryError: when the size is not at least 1.
    """

    def __init__(self, size: int) -> None:
        self._size = at_least(1, size, "batches")
        self._held: list[T] = []

    def take(self, rows: list[T]) -> Iterator[list[T]]:
        """Takes rows; gives the lists that are full."""
        self._held += rows
        full = len(self._held) - len(self._held) % self._size
        for start in range(0, full, self._size):
            yield self._held[start : start + self._size]
        del self._held[:full]

    def rest(self) -> Iterator[list[T]]:
        """The last list, unless it would be empty."""
        if self._held:
            yield self._held


@attrs.frozen
class Series:
    """Records of one client, meter, and meter object.

    Attributes:
        cid, mid, moid: of all of them.
        count: how many there are.
        cap_min, cap_max: least and greatest capture time, both of records; ns since 2001.
    """

    cid: int
    mid: int
    moid: int
    count: int
    cap_min: int = attrs.field(repr=to_iso)
    cap_max: int = attrs.field(repr=to_iso)

    def to_dict(self) -> dict[str, int | str]:
        """The same by name, with times as ISO 8601 text."""
        return {**attrs.asdict(self), "cap_min": to_iso(self.cap_min), "cap_max": to_iso(self.cap_max)}


class SeriesFound:
    """Counts the selected records by series, by NumPy; a sink."""

    def __init__(self, selection: Selection[Any]) -> None:
        self._selection = selection
        self._found: dict[tuple[int, int, int], tuple[int, int, int]] = {}

    def feed(self, chunk: Chunk) -> bool:
        """Takes a chunk; returns whether the limit is reached."""
        records = self._selection.of(chunk, keys_only=True)
        if len(records):
            self._take(*(np.asarray(records[name]) for name in ("cid", "mid", "moid", "cap")))
        return self._selection.full

    def result(self) -> list[Series]:
        """All series so far, sorted."""
        return Listed(Series(*key, *counts) for key, counts in sorted(self._found.items()))

    def _take(self, cid: Any, mid: Any, moid: Any, cap: Any) -> None:
        order = order_of([cid, mid, moid])
        if order is not None:
            cid, mid, moid, cap = cid[order], mid[order], moid[order], cap[order]
        starts = run_starts([cid, mid, moid])
        counts = run_lengths(starts, len(cap))
        columns = (cid[starts], mid[starts], moid[starts])
        sums = (counts, np.minimum.reduceat(cap, starts), np.maximum.reduceat(cap, starts))
        found = self._found
        for c, m, o, count, least, greatest in zip(*(each.tolist() for each in (*columns, *sums)), strict=True):
            known = found.get((c, m, o))
            if known is not None:
                count, least, greatest = known[0] + count, min(known[1], least), max(known[2], greatest)
            found[c, m, o] = (count, least, greatest)


class Tuples:
    """Columns of the selected records as tuples; `result` hands over those that came since it was last called.

    Args:
        selection: picks the records.
        columns: of which columns.
        make: makes something else of the values of each; None for tuples.
    """

    def __init__(
        self, selection: Selection[Any], columns: tuple[ColumnInfo, ...], make: Callable[..., Any] | None = None
    ) -> None:
        self._selection = selection
        self._columns = columns
        self._make = make
        self._tuples: list[Any] = []

    def feed(self, chunk: Chunk) -> bool:
        """Takes a chunk; returns whether the limit is reached."""
        keys_only = all(column.is_key for column in self._columns)
        records = self._selection.of(chunk, keys_only=keys_only, columns=True)
        if len(records):
            values = [column.objects(records) for column in self._columns]
            self._tuples.extend(zip(*values, strict=True) if self._make is None else map(self._make, *values))
        return self._selection.full

    def result(self) -> list[Any]:
        """The tuples since the last call."""
        tuples, self._tuples = self._tuples, []
        return tuples
