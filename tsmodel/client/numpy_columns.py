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

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.backend import Batch
from tsmodel.errors import EncodeError
from tsmodel.keys import LIMITS
from tsmodel.layout.fixed_rows import batches_by_cid
from tsmodel.layout.matching import SIZE_FIELD
from tsmodel.wire.records import octets_of
from tsmodel.wire.sorting import order_of

__all__ = ["Checked", "ColumnBatches", "checked_rows", "columns_of"]

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
        checked: what was found about the rows.
    """

    def __init__(self, data: object, columns: Columns, target: np.dtype[Any], checked: Checked) -> None:
        cids, rows = columns["cid"], None if checked.valid is None else np.flatnonzero(checked.valid)
        self.count = len(cids) if rows is None else len(rows)
        if checked.cid is None:
            order = order_of([cids if rows is None else cids[rows]])
            if order is not None:
                rows = order if rows is None else rows[order]
        self._cid, self._cids, self._rows = checked.cid, cids, rows
        self._dtype = target
        self._pieces = {name: columns[name] for name in (target.names or ())[1:]}
        if isinstance(data, np.ndarray) and (spans := _spans(data.dtype, target)) is not None:
            self._dtype, self._pieces = _by_span(data, target, spans)

    def __iter__(self) -> Iterator[Batch]:
        size = self._dtype.itemsize
        # Holds what is the same in all blocks: the size fields, and zeros in gaps. Copying it is faster than writing that.
        empty = np.zeros(min(_BLOCK, self.count), self._dtype)
        empty[SIZE_FIELD] = size - 4
        octets = empty.view(np.uint8)
        for start in range(0, self.count, _BLOCK):
            stop = min(start + _BLOCK, self.count)
            rows: Any = slice(start, stop) if self._rows is None else self._rows[start:stop]
            records: Array = octets[: (stop - start) * size].copy().view(self._dtype)
            for name, source in self._pieces.items():
                records[name] = source[rows]
            if self._cid is None:
                yield from batches_by_cid(self._cids[rows], records)
            else:
                yield Batch(self._cid, octets_of(records), len(records), size)


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


def _by_span(
    source: Array, target: np.dtype[Any], spans: list[tuple[int, int, int]]
) -> tuple[np.dtype[Any], dict[str, Array]]:
    """A dtype of the target's size with a field for each span, and what of each source record belongs there."""
    names = [f"span {at}" for at in range(len(spans))]
    formats = [f"V{size}" for _, _, size in spans]
    dtype = np.dtype(
        {
            "names": [SIZE_FIELD, *names],
            "formats": [target[SIZE_FIELD], *formats],
            "offsets": [0, *(place for _, place, _ in spans)],
            "itemsize": target.itemsize,
        }
    )
    offsets = [start for start, _, _ in spans]
    given = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": source.dtype.itemsize})
    records = np.asarray(source).view(given)
    return dtype, {name: records[name] for name in names}


@attrs.frozen(eq=False)
class Checked:
    """What was found about rows.

    Attributes:
        valid: which of them can be stored; None for all.
        cid: the one cid of all of them; None when they differ, or there are none.
    """

    valid: npt.NDArray[np.bool_] | None
    cid: int | None


def checked_rows(columns: Columns, payload: np.dtype[Any], *, skip_invalid: bool) -> Checked:
    """Looks at all rows, before anything is sent.

    Raises:
        EncodeError: for the first row that cannot be stored, unless such are skipped.
    """
    cids = columns["cid"]
    count = len(cids)
    valid = None
    kinds = {name: np.dtype(LIMITS[name].dtype) if name in LIMITS else payload[name] for name in columns}
    doubtful = [name for name, column in columns.items() if _is_doubtful(name, column.dtype, kinds[name])]
    cid = int(cids[0]) if count else None
    for start in range(0, count, _BLOCK):
        if cid is not None and (cids[start : start + _BLOCK] != cid).any():
            cid = None
        for name in doubtful:
            if name == "cid" and cid is not None and LIMITS["cid"].least <= cid < LIMITS["cid"].bound:
                continue
            kind, block = kinds[name], columns[name][start : start + _BLOCK]
            refused = _refused(name, block, kind)
            if refused is None or not refused.any():
                continue
            if not skip_invalid:
                at = int(refused.argmax())
                raise _error(name, block[at], start + at, kind)
            valid = np.ones(count, np.bool_) if valid is None else valid
            valid[start : start + _BLOCK] &= ~refused
    return Checked(valid, cid)


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
