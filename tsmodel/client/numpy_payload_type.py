"""`NumpyPayloadType`: records as structured arrays, in both directions.

Rules kept here:

* The caller's arrays and dicts are read and never changed.
* A record whose payload does not have the dtype's size is an error with its key; it is never read as something else.
* No Python code runs for each record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tsmodel.client.encoding import Encoded
from tsmodel.client.numpy_columns import ColumnBatches, checked_rows, columns_of
from tsmodel.client.payload_types import ChunkPayloadType, Collector
from tsmodel.errors import DecodeError
from tsmodel.keys import KEY_FIELDS
from tsmodel.layout.matching import SIZE_FIELD
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.records import GET_FORM, MAX_PAYLOAD, PUT_FORM, PUTA_FORM, RecordForm, octets_of

__all__ = ["NumpyPayloadType"]

Array = npt.NDArray[Any]

_HEADER: Final = GET_FORM.header.itemsize

_ROOM: Final = 2**26
"""Bytes of room as soon as there is more than one batch; the system gives memory only where something is written."""


class NumpyPayloadType(ChunkPayloadType[Any]):
    """Payloads of one NumPy dtype; `get` answers a list of structured arrays, `put` takes columns.

    Args:
        dtype: of a payload: a structured dtype, a list of fields, a format such as `"i4,f8"` (fields f0, f1), or None for
            no fields. A plain dtype such as `np.int32` makes one field, v0. Fields lie packed, without gaps.

    Attributes:
        dtype: of a payload, structured.
        parsing_dtype: of a record as it is read: `_size`, cid, mid, moid, cap, acq, then the payload's fields.
        record_dtype: the same without `_size`.
        serializer_dtype_with_acq: of a record as `puta` sends it: `_size`, mid, moid, cap, acq, the payload's fields.
        serializer_dtype_no_acq: the same without acq, as `put` sends it.

    `put` and `puta` take a structured array, a recarray, or a dict of columns with the fields cid, mid, moid, cap (puta:
    acq too) and those of the payload; other fields are not looked at. In a dict a single value stands for all records.
    `get` answers with one array, in a list; with none, when there are no records.

    Raises:
        ValueError: when the dtype has fields with names of the key, holds Python objects, or is larger than a payload.
    """

    def __init__(self, dtype: npt.DTypeLike | None) -> None:
        payload = np.dtype([] if dtype is None else dtype)
        if payload.names is None:
            payload = np.dtype([("v0", payload)])
        self.dtype = np.dtype(_fields(payload))
        taken = {SIZE_FIELD, *KEY_FIELDS} & set(self.dtype.names or ())
        if taken:
            raise ValueError(
                f"payload fields cannot be called {', '.join(sorted(taken))}: records have fields of that name"
            )
        if self.dtype.hasobject or self.dtype.itemsize > MAX_PAYLOAD:
            raise ValueError(f"{self.dtype} cannot be a payload: it takes plain values, {MAX_PAYLOAD} bytes at most")
        self.parsing_dtype = self._of(GET_FORM)
        self.record_dtype = np.dtype(_fields(self.parsing_dtype)[1:])
        self.serializer_dtype_with_acq = self._of(PUTA_FORM)
        self.serializer_dtype_no_acq = self._of(PUT_FORM)

    def to_bytes(self, value: Any) -> bytes:
        """The payload for one value: a tuple, or an element of a structured array.

        Raises:
            ValueError, TypeError, OverflowError: when the value does not fit.
        """
        return np.array(value, self.dtype).tobytes()

    def from_bytes(self, buffer: bytes) -> Any | None:
        """The payload as an element of a structured array, or None when it has another size."""
        return np.frombuffer(buffer, self.dtype)[0] if len(buffer) == self.dtype.itemsize else None

    def batches(self, chunk: Chunk) -> Iterator[list[Array]]:
        """The records of a chunk as one array, a view.

        Raises:
            DecodeError: at the first payload of another size, after the records before it.
        """
        if chunk.record_size == self.parsing_dtype.itemsize:
            yield [np.frombuffer(chunk.rows(), self.parsing_dtype)]
            return
        first = int((chunk.sizes() != self.parsing_dtype.itemsize).argmax())
        if first:
            yield [np.frombuffer(chunk.take(slice(first)).rows(), self.parsing_dtype)]
        key, payload = next(chunk.take(slice(first, first + 1)).pairs())
        raise DecodeError(
            f"the payload of record {key} has {len(payload)} bytes; {self.dtype} takes {self.dtype.itemsize}",
            key=key,
            payload=payload,
        )

    def collector(self) -> Collector:
        """Makes one array of several."""
        return _ArrayCollector(self.parsing_dtype)

    def kept(self, batch: list[Array]) -> list[Array]:
        """Copies."""
        return [array.copy() for array in batch]

    def encode(self, data: Any, *, with_acq: bool, skip_invalid: bool = False) -> Encoded:
        """Columns as batches; see the class. A list of Record is taken too.

        Raises:
            EncodeError: for a column that is missing, has another length or kind, or a value that its field cannot hold,
                with the record's number.
        """
        if not isinstance(data, (np.ndarray, Mapping)):
            return super().encode(data, with_acq=with_acq, skip_invalid=skip_invalid)
        target = self.serializer_dtype_with_acq if with_acq else self.serializer_dtype_no_acq
        columns = columns_of(data, ("cid", *(target.names or ())[1:]))
        checked = checked_rows(columns, self.dtype, skip_invalid=skip_invalid)
        batches = ColumnBatches(data, columns, target, checked)
        return Encoded(batches, batches.count, len(columns["cid"]) - batches.count)

    def _of(self, form: RecordForm) -> np.dtype[Any]:
        """dtype of a whole record."""
        return np.dtype([(SIZE_FIELD, form.header["n"]), *_fields(form.header)[1:], *_fields(self.dtype)])


def _fields(dtype: np.dtype[Any]) -> list[tuple[str, np.dtype[Any]]]:
    return [(name, dtype[name]) for name in dtype.names or ()]


class _ArrayCollector:
    """Copies batches into one piece of memory while they are in the cache.

    Receiving straight into it takes longer: new memory is slow to write to, and slower for the system than for us.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._memory: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self._size = 0

    def add(self, batch: list[Array]) -> None:
        for array in batch:
            self._add(np.frombuffer(octets_of(array), np.uint8))

    def result(self) -> list[Array]:
        return [self._memory[: self._size].view(self._dtype)] if self._size else []

    def _add(self, octets: npt.NDArray[np.uint8]) -> None:
        end = self._size + len(octets)
        if end > len(self._memory):
            # NumPy asks the system for large pages when it is this much, which takes a fifth of the time.
            grown = np.empty(max(end, _ROOM, 4 * len(self._memory)) if self._size else end, np.uint8)
            grown[: self._size] = self._memory[: self._size]
            self._memory = grown
        self._memory[self._size : end] = octets
        self._size = end
