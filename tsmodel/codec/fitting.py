"""The records of a chunk that have the size of a dtype, and what becomes of those that do not."""

from __future__ import annotations

from typing import Any, Final

import attrs
import numpy as np

from tsmodel.keys import Key
from tsmodel.types.faults import FieldFault
from tsmodel.wire.chunk import Chunk

__all__ = ["SIZE_FIELD", "Fit", "Mismatch", "fit", "mismatches_of"]

SIZE_FIELD: Final = "_size"
"""Name of a record's size field in structured arrays; no field of a model may begin with an underscore."""


@attrs.frozen
class Mismatch:
    """A record whose payload does not match the layout.

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
        records: what fits, n records, to be indexed by a field's name, a slice or a mask. Of a layout of fixed size they
            have the fields `_size`, the key fields and the payload's fields: a structured array, shape (n,), which is a
            view where all fit; or `ColumnRecords` of a chunk of columns.
        mismatches: the others.
    """

    records: Any
    mismatches: tuple[Mismatch, ...] = ()


def fit(chunk: Chunk, dtype: np.dtype[Any]) -> Fit:
    """The records of a chunk as those of a dtype, and those of another size.

    Args:
        chunk: the records.
        dtype: of a whole record, size field included.
    """
    if chunk.record_size == dtype.itemsize:
        return Fit(chunk.records(dtype))
    fits = chunk.sizes() == dtype.itemsize
    return Fit(chunk.take(fits).records(dtype), mismatches_of(chunk.take(~fits)))


def mismatches_of(chunk: Chunk, fault: FieldFault | None = None) -> tuple[Mismatch, ...]:
    """The records of a chunk as mismatches."""
    return tuple(Mismatch(key, payload, fault) for key, payload in chunk.pairs())
