"""`NumpyPayloadType`: records as structured arrays, in both directions.

Rules kept here:

* The caller's arrays and dicts are read and never changed.
* A record whose payload does not have the dtype's size is an error with its key; it is never read as something else.
* Arrays of records are written after one sort by cid. No Python code runs for each record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tsmodel.client.encoding import Encoded
from tsmodel.client.payload_types import Collector, PayloadType
from tsmodel.codec.batching import batches_by_cid
from tsmodel.codec.fitting import SIZE_FIELD
from tsmodel.errors import DecodeError, EncodeError
from tsmodel.keys import KEY_FIELDS, LIMITS, Key
from tsmodel.wire.records import GET_FORM, MAX_PAYLOAD, PUT_FORM, PUTA_FORM, RecordForm

__all__ = ["NumpyPayloadType"]

Array = npt.NDArray[Any]

_HEADER: Final = GET_FORM.header.itemsize
_BLOCK: Final = 2**14


class NumpyPayloadType(PayloadType[Any]):
    """Payloads of one NumPy dtype; `get` answers a structured array, `put` takes columns.

    Args:
        dtype: of a payload: a structured dtype, a list of fields, or a format such as `"i4,f8"` (fields f0, f1, packed). A
            plain dtype such as `"f8"` makes one field, f0.

    Attributes:
        dtype: of a payload, structured.
        parsing_dtype: of a record as it is read: `_size`, cid, mid, moid, cap, acq, then the payload's fields.

    `put` and `puta` take a structured array, a recarray, or a dict of columns with the fields cid, mid, moid, cap (puta:
    acq too) and those of the payload; other fields are not looked at. In a dict a single value stands for all records.

    Raises:
        ValueError: when the dtype has fields with names of the key, holds Python objects, or is larger than a payload.
    """

    def __init__(self, dtype: npt.DTypeLike) -> None:
        payload = np.dtype(dtype)
        self.dtype = payload if payload.names is not None else np.dtype([("f0", payload)])
        taken = {SIZE_FIELD, *KEY_FIELDS} & set(self.dtype.names or ())
        if taken:
            raise ValueError(
                f"payload fields cannot be called {', '.join(sorted(taken))}: records have fields of that name"
            )
        if self.dtype.hasobject or self.dtype.itemsize > MAX_PAYLOAD:
            raise ValueError(f"{self.dtype} cannot be a payload: it takes plain values, {MAX_PAYLOAD} bytes at most")
        self.parsing_dtype = self._of(GET_FORM)

    def to_bytes(self, value: Any) -> bytes:
        """The payload for one value: a tuple, or an element of a structured array.

        Raises:
            ValueError, TypeError, OverflowError: when the value does not fit.
        """
        return np.array(value, self.dtype).tobytes()

    def from_bytes(self, buffer: bytes) -> Any | None:
        """The payload as an element of a structured array, or None when it has another size."""
        return np.frombuffer(buffer, self.dtype)[0] if len(buffer) == self.dtype.itemsize else None

    def batches(self, chunk: memoryview) -> Iterator[Array]:
        """The records of a chunk as one array, a view.

        Raises:
            DecodeError: at the first payload of another size, after the records before it.
        """
        found = GET_FORM.whole_records(chunk)
        if found.record_size == self.parsing_dtype.itemsize and found.end == len(chunk):
            yield np.frombuffer(chunk, self.parsing_dtype)
            return
        starts = GET_FORM.offsets(chunk)
        ends = np.append(starts[1:], len(chunk))
        differs = ends - starts != self.parsing_dtype.itemsize
        first = int(differs.argmax())
        yield np.frombuffer(chunk[: starts[first]], self.parsing_dtype)
        key = Key.from_bytes(chunk[starts[first] + 4 : starts[first] + _HEADER])
        payload = bytes(chunk[starts[first] + _HEADER : ends[first]])
        raise DecodeError(
            f"the payload of record {key} has {len(payload)} bytes; {self.dtype} takes {self.dtype.itemsize}",
            key=key,
            payload=payload,
        )

    gathers = True

    def collector(self, gathered: Callable[[int], memoryview]) -> Collector:
        """Makes one array of several: of the memory that they were received into."""
        return _ArrayCollector(self.parsing_dtype, gathered)

    def kept(self, batch: Array) -> Array:
        """A copy."""
        copy: Array = batch.copy()
        return copy

    def encode(self, data: Any, *, with_acq: bool, skip_invalid: bool = False) -> Encoded:
        """Columns as batches; see the class. A list of Record is taken too.

        Raises:
            EncodeError: for a column that is missing, has another length or kind, or a value that its field cannot hold,
                with the record's number.
        """
        if not isinstance(data, (np.ndarray, Mapping)):
            return super().encode(data, with_acq=with_acq, skip_invalid=skip_invalid)
        form = PUTA_FORM if with_acq else PUT_FORM
        target = self._of(form)
        columns = _columns(data, ("cid", *form.key_fields, *(self.dtype.names or ())))
        count = len(columns["cid"])
        cids = np.empty(count, "<i4")
        records = (np.zeros if _has_gaps(target) else np.empty)(count, target)
        records[SIZE_FIELD] = target.itemsize - 4
        pieces = _pieces(data, columns, records)
        kept = 0
        # In blocks that stay in the cache: checking and copying go over each column several times.
        for start in range(0, count, _BLOCK):
            block = {name: column[start : start + _BLOCK] for name, column in columns.items()}
            invalid = self._invalid(block, start, skip_invalid)
            valid = slice(None) if invalid is None else ~invalid
            stop = kept + len(block["cid"][valid])
            cids[kept:stop] = block["cid"][valid]
            for source, place in pieces:
                place[kept:stop] = source[start : start + _BLOCK][valid]
            kept = stop
        return Encoded(batches_by_cid(cids[:kept], records[:kept]), kept, count - kept)

    def _invalid(self, block: dict[str, Array], first: int, skip: bool) -> npt.NDArray[np.bool_] | None:
        """Which records cannot be stored; None for none.

        Raises:
            EncodeError: for the first of them, unless they are to be skipped.
        """
        invalid = None
        for name, column in block.items():
            kind = np.dtype(LIMITS[name].dtype) if name in LIMITS else self.dtype[name]
            refused = _refused(name, column, kind)
            if refused is None or not refused.any():
                continue
            if not skip:
                at = int(refused.argmax())
                raise _error(name, column[at], first + at, kind)
            invalid = refused if invalid is None else invalid | refused
        return invalid

    def _of(self, form: RecordForm) -> np.dtype[Any]:
        """dtype of a whole record; the payload's fields keep their places, gaps included."""
        header = form.dtype(0)
        names = [SIZE_FIELD, *form.key_fields]
        offsets = [header.fields[name][1] for name in ("n", *form.key_fields)] if header.fields else []
        fields: Mapping[str, Any] = self.dtype.fields or {}
        return np.dtype(
            {
                "names": [*names, *fields],
                "formats": [header[name] for name in ("n", *form.key_fields)] + [kind[0] for kind in fields.values()],
                "offsets": offsets + [header.itemsize + kind[1] for kind in fields.values()],
                "itemsize": header.itemsize + self.dtype.itemsize,
            }
        )


class _ArrayCollector:
    def __init__(self, dtype: np.dtype[Any], gathered: Callable[[int], memoryview]) -> None:
        self._dtype = dtype
        self._gathered = gathered
        self._count = 0

    def add(self, batch: Array) -> None:
        self._count += len(batch)

    def result(self) -> Array:
        return np.frombuffer(self._gathered(self._count * self._dtype.itemsize), self._dtype)


def _columns(data: Array | Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Array]:
    """The named columns, all of one length."""
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


def _pieces(data: Any, columns: dict[str, Array], records: Array) -> list[tuple[Array, Array]]:
    """What is copied where: columns, or several at once that lie side by side in both arrays and need no conversion."""
    names = (records.dtype.names or ())[1:]
    if not isinstance(data, np.ndarray):
        return [(columns[name], records[name]) for name in names]
    spans: list[list[int]] = []
    for name in names:
        (kind, start), (target, place) = data.dtype.fields[name][:2], records.dtype.fields[name][:2]  # type: ignore[index]
        last = spans[-1] if spans else [0, 0, 0]
        if kind != target:
            return [(columns[each], records[each]) for each in names]
        if spans and start == last[0] + last[2] and place == last[1] + last[2]:
            last[2] += kind.itemsize
        else:
            spans.append([start, place, kind.itemsize])
    sources = _as_spans(data, [(start, size) for start, _, size in spans])
    return list(zip(sources, _as_spans(records, [(place, size) for _, place, size in spans]), strict=True))


def _as_spans(records: Array, spans: list[tuple[int, int]]) -> list[Array]:
    names = [f"span{at}" for at in range(len(spans))]
    dtype = np.dtype(
        {
            "names": names,
            "formats": [f"V{size}" for _, size in spans],
            "offsets": [start for start, _ in spans],
            "itemsize": records.dtype.itemsize,
        }
    )
    seen = np.asarray(records).view(dtype)
    return [seen[name] for name in names]


def _refused(name: str, column: Array, kind: np.dtype[Any]) -> npt.NDArray[np.bool_] | None:
    """Which values the field cannot hold; None when that cannot be."""
    if kind.subdtype is not None:
        kind = kind.subdtype[0]
    if column.dtype.kind in "iu" and kind.kind in "iu":
        least, bound = (LIMITS[name].least, LIMITS[name].bound - 1) if name in LIMITS else _range(kind)
        low, high = _range(column.dtype)
        if not column.size or (
            (least <= low or least <= int(column.min())) and (high <= bound or int(column.max()) <= bound)
        ):
            return None
        outside = np.zeros(column.shape, np.bool_)
        if low < least:
            outside |= column < column.dtype.type(least)
        if high > bound:
            outside |= column > column.dtype.type(bound)
        return _in_rows(outside)
    if not np.can_cast(column.dtype, kind, "same_kind"):
        raise EncodeError(f"column {name} holds {column.dtype}, which cannot become {kind}; convert it first", field=name)
    if column.dtype.kind == "f" and kind.itemsize < column.dtype.itemsize:
        with np.errstate(over="ignore"):
            lost = np.isinf(column.astype(kind)) & ~np.isinf(column)
        return _in_rows(lost)
    return None


def _in_rows(found: Any) -> npt.NDArray[np.bool_]:
    """Whether any value of each row was found."""
    return np.asarray(np.reshape(found, (len(found), -1)).any(axis=1), np.bool_)


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
