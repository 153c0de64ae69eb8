"""Columns as the batches of a put: checked first, all of them, then made block by block as they are sent.

Rules kept here:

* Whatever cannot be stored is found before the first byte is sent.
* A block stays in the cache from the columns to the socket: memory for all records at once costs as much as sending them.
* Records go in the order of their cids, after one sort however many cids there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tsmodel.backend import Batch
from tsmodel.codec.batching import batches_by_cid
from tsmodel.codec.fitting import SIZE_FIELD
from tsmodel.errors import EncodeError
from tsmodel.keys import LIMITS

__all__ = ["ColumnBatches", "columns_of", "valid_rows"]

Array = npt.NDArray[Any]
Columns = Mapping[str, Array]

_BLOCK: Final = 2**14
"""Records checked, and made, at a time."""


class ColumnBatches:
    """The valid rows of some columns as batches; each iteration makes them anew.

    Args:
        data: the array that the columns are fields of, or what else they came from.
        columns: cid, the other key fields, and the payload's, all of one length.
        target: dtype of a whole record as it is sent.
        valid: which rows to send; None for all.
    """

    def __init__(self, data: object, columns: Columns, target: np.dtype[Any], valid: npt.NDArray[np.bool_] | None) -> None:
        self._columns = columns
        self._target = target
        self._spans = _spans(data.dtype, target) if isinstance(data, np.ndarray) else None
        self._data = data
        cids = columns["cid"]
        rows = None if valid is None else np.flatnonzero(valid)
        self.count = len(cids) if rows is None else len(rows)
        if self.count and (cids[:1] != cids).any():
            rows = np.argsort(cids, kind="stable") if rows is None else rows[np.argsort(cids[rows], kind="stable")]
        self._rows = rows

    def __iter__(self) -> Iterator[Batch]:
        make = np.zeros if _has_gaps(self._target) else np.empty
        for start in range(0, self.count, _BLOCK):
            stop = min(start + _BLOCK, self.count)
            rows: Any = slice(start, stop) if self._rows is None else self._rows[start:stop]
            records: Array = make(stop - start, self._target)
            records[SIZE_FIELD] = self._target.itemsize - 4
            for source, place in self._pieces(records):
                place[...] = source[rows]
            yield from batches_by_cid(self._columns["cid"][rows], records)

    def _pieces(self, records: Array) -> Iterator[tuple[Array, Array]]:
        """What is copied where: columns, or several at once that lie side by side in both arrays."""
        if self._spans is None:
            for name in (self._target.names or ())[1:]:
                yield self._columns[name], records[name]
            return
        data: Any = self._data
        for start, place, size in self._spans:
            yield _span(data, start, size), _span(records, place, size)


def _spans(source: np.dtype[Any], target: np.dtype[Any]) -> list[tuple[int, int, int]] | None:
    """Where to copy from, where to, and how many bytes; None when some field must be converted."""
    spans: list[tuple[int, int, int]] = []
    for name in (target.names or ())[1:]:
        (kind, start), (wanted, place) = source.fields[name][:2], target.fields[name][:2]  # type: ignore[index]
        if kind != wanted:
            return None
        if spans and (start, place) == (spans[-1][0] + spans[-1][2], spans[-1][1] + spans[-1][2]):
            spans[-1] = (*spans[-1][:2], spans[-1][2] + kind.itemsize)
        else:
            spans.append((start, place, kind.itemsize))
    return spans


def _span(records: Array, start: int, size: int) -> Array:
    """Some bytes of each record."""
    dtype = np.dtype({"names": ["span"], "formats": [f"V{size}"], "offsets": [start], "itemsize": records.dtype.itemsize})
    span: Array = np.asarray(records).view(dtype)["span"]
    return span


def valid_rows(columns: Columns, payload: np.dtype[Any], *, skip_invalid: bool) -> npt.NDArray[np.bool_] | None:
    """Which rows can be stored; None for all.

    Raises:
        EncodeError: for the first row that cannot, unless such are skipped.
    """
    count = len(columns["cid"])
    valid = None
    kinds = {name: np.dtype(LIMITS[name].dtype) if name in LIMITS else payload[name] for name in columns}
    doubtful = [name for name, column in columns.items() if _is_doubtful(name, column.dtype, kinds[name])]
    for start in range(0, count, _BLOCK):
        for name in doubtful:
            kind, block = kinds[name], columns[name][start : start + _BLOCK]
            refused = _refused(name, block, kind)
            if refused is None or not refused.any():
                continue
            if not skip_invalid:
                at = int(refused.argmax())
                raise _error(name, block[at], start + at, kind)
            valid = np.ones(count, np.bool_) if valid is None else valid
            valid[start : start + _BLOCK] &= ~refused
    return valid


def columns_of(data: Array | Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Array]:
    """The named columns, all of one length.

    Raises:
        EncodeError: when one is missing or has another length.
    """
    known = set(data) if isinstance(data, Mapping) else set(data.dtype.names or ())
    if missing := [name for name in names if name not in known]:
        raise EncodeError(f"there is no column {', '.join(missing)}; needed are {', '.join(names)}", field=missing[0])
    columns = {name: np.asarray(data[name]) for name in names}
    lengths = {name: len(column) for name, column in columns.items() if column.ndim}
    count = max(lengths.values(), default=1)
    for name, length in lengths.items():
        if length != count:
            raise EncodeError(f"column {name} has {length} values, others have {count}", field=name)
    return {name: column if column.ndim else np.broadcast_to(column, count) for name, column in columns.items()}


def _is_doubtful(name: str, given: np.dtype[Any], kind: np.dtype[Any]) -> bool:
    """Whether the field may be unable to hold some value of a column of the given dtype.

    Raises:
        EncodeError: when it cannot hold any.
    """
    kind = kind.subdtype[0] if kind.subdtype is not None else kind
    if given.kind in "iu" and kind.kind in "iu":
        (least, greatest), (low, high) = _storable(name, kind), _range(given)
        return low < least or high > greatest
    if not np.can_cast(given, kind, "same_kind"):
        raise EncodeError(f"column {name} holds {given}, which cannot become {kind}; convert it first", field=name)
    return given.kind == "f" and kind.itemsize < given.itemsize


def _refused(name: str, column: Array, kind: np.dtype[Any]) -> npt.NDArray[np.bool_] | None:
    """Which values of a doubtful column the field cannot hold; None for none."""
    kind = kind.subdtype[0] if kind.subdtype is not None else kind
    if column.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return _in_rows(np.isinf(column.astype(kind)) & ~np.isinf(column))
    (least, greatest), (low, high) = _storable(name, kind), _range(column.dtype)
    below, above = low < least and int(column.min()) < least, high > greatest and int(column.max()) > greatest
    if not (below or above):
        return None
    outside = np.zeros(column.shape, np.bool_)
    if below:
        outside |= column < column.dtype.type(least)
    if above:
        outside |= column > column.dtype.type(greatest)
    return _in_rows(outside)


def _storable(name: str, kind: np.dtype[Any]) -> tuple[int, int]:
    """Least and greatest value of an integer field."""
    return (LIMITS[name].least, LIMITS[name].bound - 1) if name in LIMITS else _range(kind)


def _in_rows(found: Any) -> npt.NDArray[np.bool_]:
    """Whether any value of each row was found."""
    return np.asarray(np.reshape(found, (len(found), -1)).any(axis=1), np.bool_)


@cache
def _range(kind: np.dtype[Any]) -> tuple[int, int]:
    info = np.iinfo(kind)
    return int(info.min), int(info.max)


def _error(name: str, value: Any, record: int, kind: np.dtype[Any]) -> EncodeError:
    allowed = f"{kind}"
    if name in LIMITS:
        allowed = f"{LIMITS[name].least} to {LIMITS[name].bound - 1}"
    elif kind.kind in "iu":
        allowed = "{} to {}".format(*_range(kind))
    return EncodeError(f"record {record}: {name} is {value}; it must be {allowed}", record=record, field=name, value=value)


def _has_gaps(dtype: np.dtype[Any]) -> bool:
    """Whether there are bytes between the fields, or behind them, that no field writes."""
    return sum(kind[0].itemsize for kind in (dtype.fields or {}).values()) != dtype.itemsize
