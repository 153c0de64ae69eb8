"""Collectors: sorting, newest versions, first and last of each series, which need all records before they return the first.

Rules kept here:

* Records are held as they arrived, and sorted by NumPy over their columns. Sinks are then fed from a collector as from a
  backend, so that all sinks and all kinds of models see the same order.
* Records that can no longer be among the results are dropped while reading: all but the first `limit` records, all but the
  newest versions.
* The newest version is found among all records in the key ranges, before conditions on the payload are applied: an old
  version must not appear because the new one does not meet them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError
from tsmodel.layout import VariableRecords
from tsmodel.model.column import Order
from tsmodel.query.plan import Plan
from tsmodel.query.sinks import RunStats, Selection
from tsmodel.query.spec import QuerySpec, has_one_layout
from tsmodel.wire.chunk import Chunk, ColumnRecords, RowChunk, joined
from tsmodel.wire.records import bytes_of
from tsmodel.wire.sorting import order_of, run_lasts, run_starts

__all__ = ["collectors", "through"]

Indexes: TypeAlias = npt.NDArray[np.intp]

_SERIES: Final = ("cid", "mid", "moid")
_KEY: Final = (*_SERIES, "cap")
_FIRST_DROP: Final = 65_536
"""Records that are held before the first ones are dropped, unless fewer may be held."""
_CHUNK: Final = 16_384
"""Most records in a chunk that a collector returns."""


class _Collector:
    """Collects records with the columns that decide which of them to keep: a sink whose result is chunks, in order."""

    def __init__(self, spec: QuerySpec[Any]) -> None:
        self._spec = spec
        self._chunks: list[Chunk] = []
        self._columns: list[dict[str, npt.NDArray[Any]]] = []
        self._count = 0
        self._least = self._next_drop = min(_FIRST_DROP, spec.max_rows_in_memory + 1)

    def feed(self, chunk: Chunk) -> bool:
        raise NotImplementedError

    def result(self) -> Generator[Chunk, None, None]:
        """Yields the kept records.

        Raises:
            QueryError: when there are too many.
        """
        self._drop()
        for chunk in self._chunks:
            for first in range(0, len(chunk), _CHUNK):
                yield chunk.take(slice(first, first + _CHUNK))

    def _kept(self, columns: dict[str, npt.NDArray[Any]]) -> Indexes:
        """The indices of the records to keep, in order, given their columns."""
        raise NotImplementedError

    def _hold(self, chunk: Chunk, columns: dict[str, npt.NDArray[Any]]) -> None:
        """Adds records and their columns, whose memory must stay valid."""
        if not len(chunk):
            return
        self._chunks.append(chunk.kept())
        self._columns.append(columns)
        self._count += len(chunk)
        if self._count >= self._next_drop:
            self._drop()
            self._next_drop = max(self._least, 2 * self._count)

    def _drop(self) -> None:
        if not self._count:
            return
        columns = {name: np.concatenate([each[name] for each in self._columns]) for name in self._columns[0]}
        kept = self._kept(columns)
        self._chunks, self._count = [joined(self._chunks).take(kept).kept()], len(kept)
        self._columns = [{name: column[kept] for name, column in columns.items()}]
        most = self._spec.max_rows_in_memory
        if self._count > most:
            raise QueryError(
                f"{self._spec.in_memory}: {self._count:,} records are held in memory, more than the {most:,} allowed: "
                "narrow the query, give it a limit, or allow more by max_rows_in_memory()"
            )


class _ByKey(_Collector):
    """Collects records by their keys alone, whatever their payloads.

    Args:
        spec: asks for the newest versions, or for the first or last of each series.
        plan: filters the keys.
        stats: the statistics to update; None if the records were counted before.
    """

    def __init__(self, spec: QuerySpec[Any], plan: Plan, stats: RunStats | None) -> None:
        super().__init__(spec)
        self._plan = plan
        self._stats = stats

    def feed(self, chunk: Chunk) -> bool:
        if self._stats is not None:
            self._stats.chunk(chunk.nbytes, len(chunk))
        mask = self._plan.key_mask(chunk.keys())
        if mask is not None:
            chunk = chunk.take(mask)
        self._hold(chunk, {name: np.array(chunk.key(name)) for name in (*_KEY, "acq")})
        return False

    def _kept(self, columns: dict[str, npt.NDArray[Any]]) -> Indexes:
        if self._spec.versions == "latest":
            return _last_of_each(columns, _sorted(columns), _KEY)
        return _ordered(columns, self._spec, None)


class _Ordered(_Collector):
    """Collects the selected records in order, or the first or last of each series.

    Args:
        selection: selects the records, without a limit.
        limit: most records wanted.
    """

    def __init__(self, selection: Selection[Any], limit: int | None) -> None:
        super().__init__(selection.spec)
        self._selection = selection
        self._limit = limit

    def feed(self, chunk: Chunk) -> bool:
        records = self._selection.of(chunk)
        if len(records):
            columns = {name: np.array(records[name]) for name in (*_KEY, "acq")} if self._spec.per_series else {}
            for at, order in enumerate(self._spec.order):
                values, present = _sortable(order, records)
                columns |= {f"order{at}": values, f"absent{at}": ~present}
            self._hold(_chunk_of(records), columns)
        return False

    def _kept(self, columns: dict[str, npt.NDArray[Any]]) -> Indexes:
        # Later records may still replace those of any series, so only the sink applies the limit.
        return _ordered(columns, self._spec, None if self._spec.per_series else self._limit)


def _sorted(columns: dict[str, npt.NDArray[Any]]) -> Indexes:
    """Indices of records in the order of their full keys."""
    order = order_of([columns[name] for name in (*_KEY, "acq")])
    return np.arange(len(columns["acq"])) if order is None else order


def _last_of_each(columns: dict[str, npt.NDArray[Any]], order: Indexes, names: tuple[str, ...]) -> Indexes:
    """Of indices in order, the last of each group."""
    starts = run_starts([columns[name][order] for name in names])
    return order[run_lasts(starts, len(order))]


def _chunk_of(records: Any) -> Chunk:
    """Records from a codec's `fit` as a chunk."""
    if isinstance(records, ColumnRecords):
        return records.chunk
    if isinstance(records, VariableRecords):
        places = map(slice, records.starts.tolist(), records.ends.tolist())
        return RowChunk.of(list(map(records.raw.__getitem__, places)))
    return RowChunk(bytes_of(records), len(records), records.dtype.itemsize)


def _ordered(columns: dict[str, npt.NDArray[Any]], spec: QuerySpec[Any], limit: int | None) -> Indexes:
    """The indices of the records to keep, in order."""
    places: Indexes = np.arange(len(next(iter(columns.values()))))
    if spec.per_series:
        places = _sorted(columns)
        if spec.per_series == "first":
            places = places[::-1]
        places = np.sort(_last_of_each(columns, places, _SERIES))
    keys = [
        _ranks(columns[f"order{at}"][places], columns[f"absent{at}"][places], descending=order.descending)
        for at, order in enumerate(spec.order)
    ]
    if keys:
        places = places[np.lexsort(keys[::-1])]
    return places if limit is None else places[:limit]


def _sortable(order: Order, records: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """The values of a column to sort by, and which of them are present."""
    values = np.array(order.column.values(records))
    mask = order.column.present(records)
    present = np.ones(len(values), np.bool_) if mask is None else np.array(mask)
    if values.dtype.kind == "f":
        present &= ~np.isnan(values)
    if values.dtype == object:
        present &= np.array([value is not None for value in values], np.bool_)
    return values.astype(values.dtype.newbyteorder("="), copy=False), present


def _ranks(values: npt.NDArray[Any], absent: npt.NDArray[np.bool_], *, descending: bool) -> npt.NDArray[np.int64]:
    """The rank of each value; absent ones come last."""
    ranks = np.full(len(values), len(values), np.int64)
    _, found = np.unique(values[~absent], return_inverse=True)
    ranks[~absent] = -found if descending else found
    return ranks


def collectors(selection: Selection[Any]) -> list[_Collector]:
    """The collectors of a query, to be applied in turn. `selection` selects among the records that they keep."""
    spec, plan, stats = selection.spec, selection.plan, selection.stats
    found: list[_Collector] = []
    if spec.per_series and plan.residual and not has_one_layout(spec.model):
        raise QueryError(f"{spec.in_memory} of several models takes conditions on the key only: remove those on fields")
    if spec.versions == "latest":
        found.append(_ByKey(spec.replaced(per_series=None, order=()), plan, stats))
    if not spec.per_series and not spec.order:
        return found
    if has_one_layout(spec.model):
        found.append(_Ordered(Selection(spec, plan, stats, counts=not found), selection.left))
        selection.codec = selection.codec.writing  # records of older versions were upgraded
    else:
        found.append(_ByKey(spec.replaced(versions="all"), plan, None if found else stats))
    return found


def through(
    chunks: Generator[Chunk, None, None], collectors: Iterable[_Collector], stats: RunStats
) -> Generator[Chunk, None, None]:
    """Passes chunks through more collectors. Resets `records_returned`, which the sink counts."""
    for collector in collectors:
        for chunk in chunks:
            collector.feed(chunk)
        chunks = collector.result()
    stats.records_returned = 0
    return chunks
