"""From records in one array to batches, one for each cid."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tsmodel.wire.chunk import Batch
from tsmodel.wire.records import octets_of
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
    payload = records.dtype["payload"] if "payload" in (records.dtype.names or ()) else None
    return Batch(cid, octets_of(records), len(records), records.dtype.itemsize, payload=payload)
