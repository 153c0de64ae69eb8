"""Chunks as structured arrays, where all records have the size of a dtype, and what becomes of those that do not."""

from __future__ import annotations

from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.codec.field import FieldFault
from tsmodel.keys import Key, unpack_key
from tsmodel.wire.records import GET_FORM, RecordForm

__all__ = ["SIZE_FIELD", "Fit", "Misfit", "fit", "heads", "misfits_at"]

SIZE_FIELD: Final = "_size"
"""Name of a record's size field in structured arrays; no field of a model may begin with an underscore."""

_HEADER: Final = GET_FORM.header.itemsize


@attrs.frozen
class Misfit:
    """A record whose payload is none of the layout's.

    Attributes:
        key: its key.
        payload: its payload.
        fault: which field is at fault, where, and why; None when the payload does not have the layout's size.
    """

    key: Key
    payload: bytes
    fault: FieldFault | None = None


@attrs.frozen
class Fit:
    """A chunk set apart into what fits the layout and what does not.

    Attributes:
        records: what fits, n records, to be indexed by a field's name, a slice or a mask. Of a layout of fixed size a
            structured array, shape (n,): `_size`, the key fields, the payload's fields; a view where all fit.
        misfits: the others.
    """

    records: Any
    misfits: tuple[Misfit, ...] = ()


def fit(chunk: memoryview, dtype: np.dtype[Any]) -> Fit:
    """The records of a chunk as a structured array, and those of another size.

    Args:
        chunk: whole records in GET form.
        dtype: of a whole record, size field included.

    Raises:
        RemoteProtocolError: when the chunk does not consist of whole records.
    """
    whole = GET_FORM.whole_records(chunk)
    if whole.end != len(chunk):
        raise GET_FORM.fault(chunk, whole.end)
    if whole.record_size == dtype.itemsize:
        return Fit(np.frombuffer(chunk, dtype))
    return _split(chunk, dtype)


def _split(chunk: memoryview, dtype: np.dtype[Any]) -> Fit:
    starts = GET_FORM.offsets(chunk)
    sizes = np.diff(starts, append=len(chunk))
    fits = sizes == dtype.itemsize
    octets = np.frombuffer(chunk, np.uint8)
    records = octets[starts[fits][:, None] + np.arange(dtype.itemsize)].view(dtype).reshape(-1)
    return Fit(records, misfits_at(chunk, starts[~fits], sizes[~fits]))


def misfits_at(chunk: memoryview, starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> tuple[Misfit, ...]:
    """The records of these offsets and sizes (shape (n,)) as misfits."""
    return tuple(
        Misfit(unpack_key(chunk[start + 4 : start + _HEADER]), bytes(chunk[start + _HEADER : start + size]))
        for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)
    )


def heads(octets: memoryview | bytes, starts: npt.NDArray[np.int64], form: RecordForm = GET_FORM) -> npt.NDArray[Any]:
    """The size and key of the records at these offsets (shape (n,)), as a structured array: `n`, then the key fields."""
    gathered = np.frombuffer(octets, np.uint8)[starts[:, None] + np.arange(form.header.itemsize)]
    records: npt.NDArray[Any] = gathered.view(form.header).reshape(-1)
    return records
