"""From the batches of a put to records as they are stored.

Rules kept here (source: the TStorage protocol):

* A record one of whose key components has its type's greatest value is skipped, and the others are stored.
* Records of a PUT are given acqs that ascend by 1 ns, so that full keys are unique: those of one cid in the order of their
  arrival. Many small batches, as clients send that do not sort, are joined by cid first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.backend import AcqInterval, Batch
from tsmodel.errors import LocalProtocolError
from tsmodel.keys import LIMITS
from tsmodel.store.blocks import Layout, layout_of
from tsmodel.wire.chunk import RowChunk
from tsmodel.wire.records import GET_FORM, PUT_FORM, PUTA_FORM, RecordForm, octets_of

__all__ = ["Arrived", "arrived"]

_MANY: Final = 16

_HEADER = GET_FORM.header.itemsize


@attrs.frozen
class Arrived:
    """Records of one cid in GET form, in the order of their arrival.

    Attributes:
        cid: their cid.
        chunk: the records.
        acqs: least and greatest acq.
        layout: the pieces of their payloads; None for one piece.
    """

    cid: int
    chunk: RowChunk
    acqs: AcqInterval
    layout: Layout | None = None


def arrived(batches: Iterable[Batch], next_acq: int | None) -> list[Arrived]:
    """The records of a put that can be stored, batch by batch; batches without any are left out.

    Args:
        batches: in PUT form, or in PUTA form when `next_acq` is None.
        next_acq: acq of the first record of a PUT.

    Raises:
        LocalProtocolError: for a cid that cannot be stored.
        RemoteProtocolError: for a batch that does not consist of whole records.
        OverflowError: when there is no acq left to give.
    """
    form = PUTA_FORM if next_acq is None else PUT_FORM
    found = []
    for batch in _joined(list(batches)):
        if not LIMITS["cid"].least <= batch.cid <= LIMITS["cid"].bound:
            raise LocalProtocolError(f"a batch has cid {batch.cid}; it must be 0 to {LIMITS['cid'].bound - 1}")
        if batch.cid == LIMITS["cid"].bound or not batch.count:
            continue
        records = _uniform(batch, form, next_acq) if batch.record_size else _mixed(batch, form, next_acq)
        if records is None:
            continue
        found.append(records)
        if next_acq is not None:
            next_acq += len(records.chunk)
    return found


def _joined(batches: list[Batch]) -> list[Batch]:
    """The same records, in one batch for each cid where batches are many: each costs as much as many records."""
    if len(batches) < _MANY:
        return batches
    by_cid: dict[int, list[Batch]] = {}
    for batch in batches:
        by_cid.setdefault(batch.cid, []).append(batch)
    return [_one(some) for some in by_cid.values()]


def _one(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    sizes = {batch.record_size for batch in batches}
    payloads = {batch.payload for batch in batches}
    return Batch(
        batches[0].cid,
        memoryview(b"".join([batch.records for batch in batches])),
        sum(batch.count for batch in batches),
        sizes.pop() if len(sizes) == 1 else 0,
        payload=payloads.pop() if len(payloads) == 1 else None,
    )


def _uniform(batch: Batch, form: RecordForm, next_acq: int | None) -> Arrived | None:
    payload_size = batch.record_size - form.header.itemsize
    came = np.frombuffer(batch.records, form.dtype(payload_size))
    keep = _storable(came, form)
    if keep is not None:
        came = np.compress(keep, came)
    if not len(came):
        return None
    records = np.empty(len(came), GET_FORM.dtype(payload_size))
    records["n"] = records.dtype.itemsize - 4
    for name in (*form.key_fields, *(["payload"] if payload_size else [])):
        records[name] = came[name]
    acqs = _complete(records, batch.cid, next_acq)
    fits = batch.payload is not None and batch.payload.itemsize == payload_size
    layout = layout_of(batch.payload) if fits and batch.payload is not None else None
    chunk = RowChunk(octets_of(records), len(records), records.dtype.itemsize, lasting=True)
    return Arrived(batch.cid, chunk, acqs, layout)


def _mixed(batch: Batch, form: RecordForm, next_acq: int | None) -> Arrived | None:
    starts = form.offsets(batch.records) if batch.offsets is None else batch.offsets
    ends = np.append(starts[1:], len(batch.records))
    header = form.header.itemsize
    came = form.headers(batch.records, starts)
    keep = _storable(came, form)
    if keep is not None:
        came, starts, ends = np.compress(keep, came), starts[keep], ends[keep]
    if not len(came):
        return None
    headers = np.empty(len(came), GET_FORM.header)
    headers["n"] = ends - starts + (GET_FORM.header.itemsize - header - 4)
    for name in form.key_fields:
        headers[name] = came[name]
    acqs = _complete(headers, batch.cid, next_acq)
    written = octets_of(headers)
    pieces: list[memoryview] = []
    for at, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        pieces += (written[at * _HEADER : (at + 1) * _HEADER], batch.records[start + header : end])
    sizes = ends - starts + (_HEADER - header)
    same = int(sizes[0]) if (sizes == sizes[0]).all() else 0
    offsets = None if same else np.cumsum(sizes) - sizes
    chunk = RowChunk(memoryview(b"".join(pieces)), len(came), same, offsets, lasting=True)
    return Arrived(batch.cid, chunk, acqs)


def _storable(came: npt.NDArray[Any], form: RecordForm) -> npt.NDArray[np.bool_] | None:
    """Which records can be stored; None for all."""
    keep = None
    for name in form.key_fields:
        greatest = came[name] == LIMITS[name].bound
        if greatest.any():
            keep = ~greatest if keep is None else keep & ~greatest
    return keep


def _complete(records: npt.NDArray[Any], cid: int, next_acq: int | None) -> AcqInterval:
    records["cid"] = cid
    if next_acq is None:
        return AcqInterval(int(records["acq"].min()), int(records["acq"].max()))
    end = next_acq + len(records)
    if end > LIMITS["acq"].bound:
        raise OverflowError(f"no acquisition time is left after {next_acq - 1}")
    records["acq"] = np.arange(next_acq, end, dtype=np.int64)
    return AcqInterval(next_acq, end - 1)
