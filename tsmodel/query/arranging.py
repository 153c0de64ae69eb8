"""Records in an order, and the newest versions of them: what has to see all records before it gives the first.

Rules kept here:

* Records are held as the bytes they came as, and put in order by NumPy over their columns; then any end is fed with them as
  with chunks from a backend. So all ends, and all kinds of models, have the same order.
* Whatever cannot be among the results any more is let go of while reading: all but the best `limit` records, all but the
  newest versions.
* The newest version is looked for among all records in the key ranges, before conditions on the payload: an old version
  must not come up because the new one does not meet them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal, TypeAlias, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.codec import VariableRecords
from tsmodel.errors import QueryError
from tsmodel.model.ordering import Order
from tsmodel.query.ends import End, Selection
from tsmodel.query.planning import Plan
from tsmodel.query.stats import RunStats
from tsmodel.wire.chunk import Chunk, ColumnRecords, RowChunk, joined
from tsmodel.wire.records import octets_of
from tsmodel.wire.sorting import order_of, run_lasts, run_starts

__all__ = ["Arranged", "Arrangement", "ByKey", "collectors", "fed", "fed_whole", "through"]

R = TypeVar("R")

Indexes: TypeAlias = npt.NDArray[np.intp]

_SERIES: Final = ("cid", "mid", "moid")
_KEY: Final = (*_SERIES, "cap")
_FIRST_LOOK: Final = 65_536
"""Records held before any are let go of for the first time, unless fewer may be held."""
_CHUNK: Final = 16_384
"""Records of a chunk that is given back."""


@attrs.frozen
class Arrangement:
    """What a query asks for besides conditions.

    Attributes:
        latest: only the newest version of each record.
        per_series: only the first or last record of each series, by capture time.
        order: columns by which to sort, the most significant first.
        most: records that may be held at once.
    """

    latest: bool = False
    per_series: Literal["first", "last"] | None = None
    order: tuple[Order, ...] = ()
    most: int = 10_000_000

    @property
    def sorts(self) -> bool:
        """Whether it takes more than the newest versions."""
        return self.per_series is not None or bool(self.order)

    def __bool__(self) -> bool:
        return self.latest or self.sorts

    def __str__(self) -> str:
        parts = ["newest versions"] if self.latest else []
        parts += [f"{self.per_series} of each series"] if self.per_series else []
        parts += [f"sorted in memory by {', '.join(map(str, self.order))}"] if self.order else []
        return "; ".join(parts)


class _Held:
    """Whole records, with the columns that decide which of them stay, and in which order.

    Args:
        keep: the places of those that stay, in order, given their columns.
        most: records that may be held at once.
        what: what is done, for messages.
    """

    def __init__(self, keep: Callable[[dict[str, npt.NDArray[Any]]], Indexes], most: int, what: str) -> None:
        self._keep = keep
        self._most = most
        self._what = what
        self._chunks: list[Chunk] = []
        self._columns: list[dict[str, npt.NDArray[Any]]] = []
        self._count = 0
        self._least = min(_FIRST_LOOK, most + 1)
        self._look = self._least

    def add(self, chunk: Chunk, columns: dict[str, npt.NDArray[Any]]) -> None:
        """Takes records, and columns that stay."""
        if not len(chunk):
            return
        self._chunks.append(chunk.kept())
        self._columns.append(columns)
        self._count += len(chunk)
        if self._count >= self._look:
            self._let_go()
            self._look = max(self._least, 2 * self._count)

    def chunks(self) -> Iterator[Chunk]:
        """Those that stay, in order, as chunks.

        Raises:
            QueryError: when there are more than may be held.
        """
        self._let_go()
        for chunk in self._chunks:
            for first in range(0, len(chunk), _CHUNK):
                yield chunk.take(slice(first, first + _CHUNK))

    def _let_go(self) -> None:
        if not self._count:
            return
        columns = {name: np.concatenate([each[name] for each in self._columns]) for name in self._columns[0]}
        kept = self._keep(columns)
        self._chunks, self._count = [joined(self._chunks).take(kept).kept()], len(kept)
        self._columns = [{name: column[kept] for name, column in columns.items()}]
        if self._count > self._most:
            raise QueryError(
                f"{self._what} holds {self._count:,} records in memory, and may hold {self._most:,}: narrow the query, "
                "give it a limit, or allow more by max_rows_in_memory()"
            )


class ByKey:
    """Collects records by their keys alone, whatever their payloads are: an end whose result are chunks.

    Args:
        plan: says which keys are asked for.
        arrangement: what is done: the newest versions are found, or else the first or last of each series.
        stats: counts what is read; None when it was read before.
    """

    def __init__(self, plan: Plan, arrangement: Arrangement, stats: RunStats | None) -> None:
        self._plan = plan
        self._arrangement = arrangement
        self._stats = stats
        self._held = _Held(self._kept, arrangement.most, str(arrangement))

    def feed(self, chunk: Chunk) -> bool:
        """Takes a chunk."""
        if self._stats is not None:
            self._stats.chunk(chunk.nbytes, len(chunk))
        mask = self._plan.key_mask(chunk.keys())
        if mask is not None:
            chunk = chunk.take(mask)
        self._held.add(chunk, {name: np.array(chunk.key(name)) for name in (*_KEY, "acq")})
        return False

    def result(self) -> Iterable[Chunk]:
        """The chunks."""
        return self._held.chunks()

    def _kept(self, columns: dict[str, npt.NDArray[Any]]) -> Indexes:
        return _newest(columns) if self._arrangement.latest else _arranged(columns, self._arrangement, None)


def _newest(columns: dict[str, npt.NDArray[Any]]) -> Indexes:
    order = _sorted([*(columns[name] for name in _KEY), columns["acq"]])
    return _last_of_each(columns, order, _KEY)


def _sorted(keys: list[npt.NDArray[Any]]) -> Indexes:
    """Places in ascending order of keys, the most significant first. What comes from a merged store lies in order."""
    order = order_of(keys)
    return np.arange(len(keys[0])) if order is None else order


def _last_of_each(columns: dict[str, npt.NDArray[Any]], order: Indexes, names: tuple[str, ...]) -> Indexes:
    """Of places in order, the last of each group."""
    starts = run_starts([columns[name][order] for name in names])
    return order[run_lasts(starts, len(order))]


class Arranged:
    """Collects the selected records in an order, or the first or last of each series: an end whose result are chunks.

    Args:
        selection: picks records; without a limit.
        arrangement: what is asked for.
        limit: most records wanted.
    """

    def __init__(self, selection: Selection[Any], arrangement: Arrangement, limit: int | None) -> None:
        self._selection = selection
        self._arrangement = arrangement
        self._limit = limit
        self._held = _Held(self._kept, arrangement.most, str(arrangement))

    def feed(self, chunk: Chunk) -> bool:
        """Takes a chunk."""
        records = self._selection.of(chunk)
        if not len(records):
            return False
        columns = {name: np.array(records[name]) for name in (*_KEY, "acq")} if self._arrangement.per_series else {}
        for at, order in enumerate(self._arrangement.order):
            values, present = _sortable(order, records)
            columns |= {f"order{at}": values, f"absent{at}": ~present}
        self._held.add(_chunk_of(records), columns)
        return False

    def result(self) -> Iterable[Chunk]:
        """The chunks."""
        return self._held.chunks()

    def _kept(self, columns: dict[str, npt.NDArray[Any]]) -> Indexes:
        # While there are records to come, those of any series may still take another's place: the end that reads the chunks
        # has the limit as well.
        return _arranged(columns, self._arrangement, None if self._arrangement.per_series else self._limit)


def _chunk_of(records: Any) -> Chunk:
    """Records that a codec's `fit` gave."""
    if isinstance(records, ColumnRecords):
        return records.chunk
    if isinstance(records, VariableRecords):
        places = map(slice, records.starts.tolist(), records.ends.tolist())
        return RowChunk.of(list(map(records.octets.__getitem__, places)))
    return RowChunk(octets_of(records), len(records), records.dtype.itemsize)


def _arranged(columns: dict[str, npt.NDArray[Any]], arrangement: Arrangement, limit: int | None) -> Indexes:
    """The places of the records that stay, in order."""
    places: Indexes = np.arange(len(next(iter(columns.values()))))
    if arrangement.per_series:
        places = _sorted([*(columns[name] for name in _KEY), columns["acq"]])
        if arrangement.per_series == "first":
            places = places[::-1]
        places = np.sort(_last_of_each(columns, places, _SERIES))
    keys = [
        _ranks(columns[f"order{at}"][places], columns[f"absent{at}"][places], descending=order.descending)
        for at, order in enumerate(arrangement.order)
    ]
    if keys:
        places = places[np.lexsort(keys[::-1])]
    return places if limit is None else places[:limit]


def _sortable(order: Order, records: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """The values of a column to sort by, and which of them are there."""
    values = np.array(order.column.values(records))
    mask = order.column.present(records)
    present = np.ones(len(values), np.bool_) if mask is None else np.array(mask)
    if values.dtype.kind == "f":
        present &= ~np.isnan(values)
    if values.dtype == object:
        present &= np.array([value is not None for value in values], np.bool_)
    return values.astype(values.dtype.newbyteorder("="), copy=False), present


def _ranks(values: npt.NDArray[Any], absent: npt.NDArray[np.bool_], *, descending: bool) -> npt.NDArray[np.int64]:
    """The place of each value among all; those that are absent last."""
    ranks = np.full(len(values), len(values), np.int64)
    _, found = np.unique(values[~absent], return_inverse=True)
    ranks[~absent] = -found if descending else found
    return ranks


def collectors(
    plan: Plan, arrangement: Arrangement, selection: Selection[Any] | None, limit: int | None, stats: RunStats
) -> list[ByKey | Arranged]:
    """What collects the records of an arrangement, one after the other.

    Args:
        plan: the query's.
        arrangement: what is asked for.
        selection: picks records; None for models whose records are of several kinds, which only keys put in order.
        limit: most records wanted.
        stats: counts what is read.
    """
    found: list[ByKey | Arranged] = []
    if arrangement.latest:
        found.append(ByKey(plan, attrs.evolve(arrangement, per_series=None, order=()), stats))
    if arrangement.sorts and selection is not None:
        selection.counts = not found
        found.append(Arranged(selection, arrangement, limit))
    elif arrangement.sorts:
        found.append(ByKey(plan, attrs.evolve(arrangement, latest=False), None if found else stats))
    return found


def through(chunks: Iterable[Chunk], collectors: Iterable[ByKey | Arranged]) -> Iterable[Chunk]:
    """What is left of chunks after they have gone through collectors, one after the other."""
    for collector in collectors:
        for chunk in chunks:
            collector.feed(chunk)
        chunks = collector.result()
    return chunks


def fed(chunks: Iterable[Chunk], end: End[R]) -> Iterator[R]:
    """What an end gives after each chunk, until it has enough."""
    for chunk in chunks:
        enough = end.feed(chunk)
        yield end.result()
        if enough:
            return


def fed_whole(chunks: Iterable[Chunk], end: End[R]) -> R:
    """What an end gives after all chunks, or as soon as it has enough."""
    any(map(end.feed, chunks))
    return end.result()
