"""From records in one array to batches, one for each cid."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tsmodel.wire.chunk import Batch
from tsmodel.wire.records import PUT_FORM, PUTA_FORM, octets_of
from tsmodel.wire.sorting import order_of, run_starts

__all__ = ["batches_by_cid"]


def batches_by_cid(cids: npt.NDArray[Any], records: npt.NDArray[Any]) -> list[Batch]:
    """One batch for each cid, cids ascending; the records of each in their order. One sort, however many cids there are.

    Args:
        cids: cid of each record, shape (n,).
        records: structured array in PUT or PUTA form, shape (n,).
    """
    if not len(cids):
        return []
    order = order_of([cids])
    if order is not None:
        cids, records = cids[order], np.take(records, order)
    edges = [*run_starts([cids]).tolist(), len(cids)]
    return [_batch(int(cids[start]), records[start:end]) for start, end in pairwise(edges)]


def _batch(cid: int, records: npt.NDArray[Any]) -> Batch:
    return Batch(cid, octets_of(records), len(records), records.dtype.itemsize, payload=_payload(records.dtype))


@lru_cache(maxsize=256)
def _payload(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """The dtype of the payloads of records, whose fields follow those of the key or are one field; None for no payload."""
    fields = dict(dtype.fields or {})
    if "payload" in fields:
        payload: np.dtype[Any] = fields["payload"][0]
        return payload
    header = (PUTA_FORM if "acq" in fields else PUT_FORM).header.itemsize
    placed = [(name, kind, offset - header) for name, (kind, offset, *_) in fields.items() if offset >= header]
    if not placed:
        return None
    names, formats, offsets = zip(*placed, strict=True)
    return np.dtype(
        {
            "names": list(names),
            "formats": list(formats),
            "offsets": list(offsets),
            "itemsize": dtype.itemsize - header,
        }
    )
