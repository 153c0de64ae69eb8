"""Aggregates of records by series and window of capture time, made a chunk at a time.

Rules kept here:

* Each chunk becomes partial aggregates, one row for each series and window in it; rows of the same are merged. Memory grows
  with the windows that come out, not with the records that go in, and the order of records does not matter.
* A null is no value: it is counted by `count()` only. NaN is a value: what is computed with it is NaN, as in NumPy.
* Sums of integers are exact, or refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError
from tsmodel.keys import LIMITS
from tsmodel.model.aggregates import Aggregate
from tsmodel.query.ends import Selection
from tsmodel.wire.records import octets_of

__all__ = ["GROUP", "Grid", "WindowAggregates"]

GROUP: Final = ("cid", "mid", "moid", "start")
"""What tells one window from another, in the order of the result."""

_MERGE_AT = 200_000
_TOGETHER = 2**21
"""Bytes of small chunks that are aggregated at once: each time costs the same for few as for many."""

_EXACT = 2.0**62

Array: TypeAlias = npt.NDArray[Any]
Table: TypeAlias = dict[str, Array]
"""Columns of one length, by name."""


@attrs.frozen
class Grid:
    """Half-open windows `[start, start + every)`.

    Attributes:
        every: their length in ns.
        origin: where one of them starts, less whole lengths: `0 <= origin < every`.
    """

    every: int
    origin: int

    def starts(self, caps: Array) -> Array:
        """The start of each time's window, shape (n,).

        Raises:
            QueryError: when a window starts before the first time that there is.
        """
        starts: Array = caps - (caps % self.every - self.origin) % self.every
        if len(caps) and (starts > caps).any():
            raise QueryError("a record lies in a window that starts before the first time that int64 ns can express")
        return starts


class WindowAggregates:
    """The end of a query that aggregates; its result is a table of the group and the named aggregates.

    Args:
        selection: picks the records.
        grid: the windows.
        aggregates: what is asked for, by name.
    """

    def __init__(self, selection: Selection[Any], grid: Grid, aggregates: Mapping[str, Aggregate]) -> None:
        self._selection = selection
        self._grid = grid
        self._aggregates = aggregates
        self._parts: list[Table] = []
        self._held = bytearray()
        self._held_dtype: np.dtype[Any] | None = None
        self._pending = 0
        self._merged = 0

    def feed(self, chunk: memoryview) -> bool:
        """Takes a chunk; returns whether the limit is reached."""
        records = self._selection.of(chunk)
        if isinstance(records, np.ndarray):
            if records.dtype != self._held_dtype:
                self._take_held()
                self._held_dtype = records.dtype
            self._held += octets_of(records)
            if len(self._held) >= _TOGETHER:
                self._take_held()
        elif len(records):
            self._take(records)
        return self._selection.full

    def _take_held(self) -> None:
        held, self._held = self._held, bytearray()
        if held:
            self._take(np.frombuffer(held, self._held_dtype))

    def _take(self, records: Any) -> None:
        part = self._partial(records)
        self._parts.append(part)
        self._pending += len(part["start"])
        if self._pending > max(_MERGE_AT, 2 * self._merged):
            self._parts = [self._merge()]
            self._pending = self._merged = len(self._parts[0]["start"])

    def result(self) -> Table:
        """The windows that have records, by cid, mid, moid and start; masked arrays where there are nulls."""
        self._take_held()
        if not self._parts:
            empty = {name: np.empty(0, LIMITS[name].dtype) for name in GROUP[:3]}
            return {**empty, "start": np.empty(0, np.int64), **{name: np.empty(0) for name in self._aggregates}}
        self._parts = [self._merge()]
        merged = self._parts[0]
        group = {name: merged[name] for name in GROUP}
        return {**group, **{name: _final(name, each, merged) for name, each in self._aggregates.items()}}

    def _partial(self, records: Any) -> Table:
        caps, acqs = (np.ascontiguousarray(records[name], np.int64) for name in ("cap", "acq"))
        keys = {name: np.ascontiguousarray(records[name]) for name in GROUP[:3]} | {"start": self._grid.starts(caps)}
        order, heads = _grouped(keys, caps, acqs)
        part: Table = {name: values[order][heads] for name, values in keys.items()}
        caps, acqs = caps[order], acqs[order]
        columns: dict[str, tuple[Array, Array]] = {}
        for name, aggregate in self._aggregates.items():
            info = aggregate.column
            if info is None:
                part[f"{name}.n"] = np.diff(heads, append=len(order))
                continue
            if info.name not in columns:
                column = info.values(records)
                present = info.present(records)
                there = np.ones(len(order), np.bool_) if present is None else present[order]
                columns[info.name] = column.astype(column.dtype.newbyteorder("="))[order], there
            values, there = columns[info.name]
            part |= {
                f"{name}.{each}": made for each, made in _made(aggregate.kind, values, there, heads, caps, acqs).items()
            }
        return part

    def _merge(self) -> Table:
        """All parts as one, each window once."""
        if len(self._parts) == 1:
            return self._parts[0]
        whole = {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}
        none = np.zeros(len(whole["start"]), np.int64)
        order, heads = _grouped({name: whole[name] for name in GROUP}, none, none)
        table = {name: values[order] for name, values in whole.items()}
        merged: Table = {name: table[name][heads] for name in GROUP}
        for name, aggregate in self._aggregates.items():
            state = {key: table[f"{name}.{key}"] for key in _STATES[aggregate.kind]}
            merged |= {f"{name}.{key}": values for key, values in _joined(aggregate.kind, state, heads).items()}
        return merged


_STATES: Final = {
    "count": ("n",),
    "sum": ("n", "sum", "size"),
    "mean": ("n", "mean"),
    "std": ("n", "mean", "squares"),
    "min": ("n", "value"),
    "max": ("n", "value"),
    "first": ("n", "value", "cap", "acq"),
    "last": ("n", "value", "cap", "acq"),
}


def _grouped(keys: Table, caps: Array, acqs: Array) -> tuple[Array, Array]:
    """An order in which windows lie together, by cap and acq inside, and where each of them begins in it."""
    columns = [*(keys[name] for name in GROUP), caps, acqs]
    order: Array = np.arange(len(caps)) if _is_sorted(columns) else np.lexsort(columns[::-1])
    begins = np.zeros(len(order), np.bool_)
    begins[:1] = True
    for name in GROUP:
        values = keys[name][order]
        begins[1:] |= values[1:] != values[:-1]
    return order, np.flatnonzero(begins)


def _is_sorted(columns: list[Array]) -> bool:
    equal: Any = np.True_
    for values in columns:
        if (equal & (values[1:] < values[:-1])).any():
            return False
        equal = equal & (values[1:] == values[:-1])
    return True


def _made(kind: str, values: Array, there: Array, heads: Array, caps: Array, acqs: Array) -> Table:
    """The state of an aggregate for each window: `heads` says where each begins."""
    n = np.add.reduceat(there, heads, dtype=np.int64)
    if kind == "count":
        return {"n": n}
    if kind == "sum":
        kept = np.where(there, values, values.dtype.type(0))
        wide = np.float64 if values.dtype.kind == "f" else np.int64
        size = np.add.reduceat(np.abs(kept.astype(np.float64)), heads)
        return {"n": n, "sum": np.add.reduceat(kept, heads, dtype=wide), "size": size}
    if kind in ("mean", "std"):
        plain = np.where(there, values.astype(np.float64), 0.0)
        mean = np.add.reduceat(plain, heads) / np.maximum(n, 1)
        if kind == "mean":
            return {"n": n, "mean": mean}
        off = np.where(there, plain - np.repeat(mean, np.diff(heads, append=len(values))), 0.0)
        return {"n": n, "mean": mean, "squares": np.add.reduceat(off * off, heads)}
    if kind in ("min", "max"):
        return {"n": n, "value": _extreme(kind, values, there, heads)}
    at = _edge(kind, there, heads)
    return {"n": n, "value": values[at], "cap": caps[at], "acq": acqs[at]}


def _joined(kind: str, state: Table, heads: Array) -> Table:
    """The state of several parts of each window as one."""
    n = np.add.reduceat(state["n"], heads)
    there = state["n"] > 0
    if kind == "count":
        return {"n": n}
    if kind == "sum":
        return {"n": n, **{name: np.add.reduceat(state[name], heads) for name in ("sum", "size")}}
    if kind in ("mean", "std"):
        mean = np.add.reduceat(state["n"] * state["mean"], heads) / np.maximum(n, 1)
        if kind == "mean":
            return {"n": n, "mean": mean}
        off = state["mean"] - np.repeat(mean, np.diff(heads, append=len(there)))
        squares = np.where(there, state["squares"] + state["n"] * off * off, 0.0)
        return {"n": n, "mean": mean, "squares": np.add.reduceat(squares, heads)}
    if kind in ("min", "max"):
        return {"n": n, "value": _extreme(kind, state["value"], there, heads)}
    groups = np.repeat(np.arange(len(heads)), np.diff(heads, append=len(there)))
    order = np.lexsort((state["acq"], state["cap"], groups))
    at = order[_edge(kind, there[order], heads)]
    return {"n": n, **{name: state[name][at] for name in ("value", "cap", "acq")}}


def _extreme(kind: str, values: Array, there: Array, heads: Array) -> Array:
    least = kind == "min"
    idle: Any
    if values.dtype.kind == "f":
        idle = np.inf if least else -np.inf
    elif values.dtype.kind == "b":
        idle = least
    else:
        limits = np.iinfo(values.dtype)
        idle = limits.max if least else limits.min
    kept = values if there.all() else np.where(there, values, values.dtype.type(idle))
    extreme: Array = (np.minimum if least else np.maximum).reduceat(kept, heads)
    return extreme


def _edge(kind: str, there: Array, heads: Array) -> Array:
    """Where the first or the last value of each window is; anywhere in it when it has none."""
    places = np.arange(len(there))
    if kind == "first":
        found = np.minimum.reduceat(np.where(there, places, len(there)), heads)
        return np.where(found == len(there), heads, found)
    return np.maximum(np.maximum.reduceat(np.where(there, places, -1), heads), heads)


def _final(name: str, aggregate: Aggregate, merged: Table) -> Array:
    n = merged[f"{name}.n"]
    if aggregate.kind == "count":
        return n
    if aggregate.kind == "std":
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.sqrt(merged[f"{name}.squares"] / (n - 1))
        return np.ma.MaskedArray(values, n < 2) if (n < 2).any() else values
    if aggregate.kind == "sum" and merged[f"{name}.sum"].dtype.kind == "i" and (merged[f"{name}.size"] > _EXACT).any():
        raise QueryError(f"{name}: a sum of integers leaves int64; take the mean(), or shorter windows")
    values = merged[f"{name}.{'value' if aggregate.kind in ('min', 'max', 'first', 'last') else aggregate.kind}"]
    return np.ma.MaskedArray(values, n == 0) if (n == 0).any() else values
