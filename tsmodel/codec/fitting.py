"""Chunks as structured arrays, where all records have the size of a dtype, and what becomes of those that do not."""

from __future__ import annotations

from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.keys import Key
from tsmodel.wire.records import GET_FORM

__all__ = ["SIZE_FIELD", "Fit", "Misfit", "fit"]

SIZE_FIELD: Final = "_size"
"""Name of a record's size field in structured arrays; no field of a model may begin with an underscore."""


@attrs.frozen
class Misfit:
    """A record whose payload does not have the layout's size."""

    key: Key
    payload: bytes


@attrs.frozen
class Fit:
    """A chunk set apart into what fits the layout and what does not.

    Attributes:
        records: structured array, shape (n,): `_size`, the key fields, the payload's fields; a view where all fit.
        misfits: the others.
    """

    records: npt.NDArray[Any]
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
    header = GET_FORM.header.itemsize
    misfits = tuple(
        Misfit(Key.from_bytes(chunk[start + 4 : start + header]), bytes(chunk[start + header : start + size]))
        for start, size in zip(starts[~fits].tolist(), sizes[~fits].tolist(), strict=True)
    )
    return Fit(records, misfits)
