"""`NumpyPayloadType`: records as structured arrays, in both directions.

Rules kept here:

* The caller's arrays and dicts are read and never changed.
* A record whose payload does not have the dtype's size is an error with its key; it is never read as something else.
* No Python code runs for each record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tsmodel.client.encoding import Encoded
from tsmodel.client.numpy_columns import ColumnBatches, columns_of, valid_rows
from tsmodel.client.payload_types import Collector, PayloadType
from tsmodel.codec.fitting import SIZE_FIELD
from tsmodel.errors import DecodeError
from tsmodel.keys import KEY_FIELDS, Key
from tsmodel.wire.records import GET_FORM, MAX_PAYLOAD, PUT_FORM, PUTA_FORM, RecordForm

__all__ = ["NumpyPayloadType"]

Array = npt.NDArray[Any]

_HEADER: Final = GET_FORM.header.itemsize


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
        columns = columns_of(data, ("cid", *form.key_fields, *(self.dtype.names or ())))
        valid = valid_rows(columns, self.dtype, skip_invalid=skip_invalid)
        batches = ColumnBatches(data, columns, self._of(form), valid)
        return Encoded(batches, batches.count, len(columns["cid"]) - batches.count)

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
