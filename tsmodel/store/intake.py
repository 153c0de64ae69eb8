"""From the batches of a put to records as they are stored.

Rules kept here (source: the TStorage protocol):

* A record one of whose key components has its type's greatest value is skipped, and the others are stored.
* Records of a PUT are given acqs that ascend by 1 ns, so that full keys are unique: those of one cid in the order of their
  arrival. Many small batches, as clients send that do not sort, are joined by cid first.
* Which acqs they are is known only when they are stored; all else is done before, so that others need not wait for it.
"""

from __future__ import annotations

import struct
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

__all__ = ["Arrived", "arrived", "with_acqs"]

_MANY: Final = 16
_GET_HEADER: Final = struct.Struct("<iiqiqq")
_ONE: Final = {PUT_FORM: struct.Struct("<iqiq"), PUTA_FORM: struct.Struct("<iqiqq")}
_INT64: Final = struct.Struct("<q")
_BOUNDS: Final = [LIMITS[name].bound for name in PUTA_FORM.key_fields]

_HEADER = GET_FORM.header.itemsize
_ACQ = int(GET_FORM.header.fields["acq"][1]) if GET_FORM.header.fields else 0


@attrs.frozen
class Arrived:
    """Records of one cid in GET form, in the order of their arrival.

    Attributes:
        cid: their cid.
        chunk: the records.
        acqs: least and greatest acq; None for records of a PUT that were given none yet.
        layout: the pieces of their payloads; None for one piece.
    """

    cid: int
    chunk: RowChunk
    acqs: AcqInterval | None
    layout: Layout | None = None


def arrived(batches: Iterable[Batch], *, with_acq: bool) -> list[Arrived]:
    """The records of a put that can be stored, batch by batch; batches without any are left out.

    Args:
        batches: in PUT form, or in PUTA form.
        with_acq: whether they are in PUTA form.

    Raises:
        LocalProtocolError: for a cid that cannot be stored.
        RemoteProtocolError: for a batch that does not consist of whole records.
    """
    form = PUTA_FORM if with_acq else PUT_FORM
    found = []
    for batch in _joined(list(batches)):
        if not LIMITS["cid"].least <= batch.cid <= LIMITS["cid"].bound:
            raise LocalProtocolError(f"a batch has cid {batch.cid}; it must be 0 to {LIMITS['cid'].bound - 1}")
        if batch.cid == LIMITS["cid"].bound or not batch.count:
            continue
        if batch.count == 1 and batch.record_size == len(batch.records) and batch.payload is None:
            records = _single(batch, form)
        else:
            records = _uniform(batch, form) if batch.record_size else _mixed(batch, form)
        if records is not None:
            found.append(records)
    return found


def with_acqs(records: list[Arrived], next_acq: int) -> AcqInterval:
    """Gives acqs to the records of a PUT, from `next_acq` on; they may be given others later, for nothing is copied.

    Returns:
        The first one, and the last one.

    Raises:
        OverflowError: when there is no acq left to give.
    """
    end = next_acq + sum(len(each.chunk) for each in records)
    if end > LIMITS["acq"].bound:
        raise OverflowError(f"no acquisition time is left after {next_acq - 1}")
    if end == next_acq + 1:
        _INT64.pack_into(records[0].chunk.rows(), _ACQ, next_acq)
        return AcqInterval(next_acq, next_acq)
    acqs = np.arange(next_acq, end, dtype="<i8")
    at = 0
    for each in records:
        count = len(each.chunk)
        _write_acqs(each.chunk, acqs[at : at + count])
        at += count
    return AcqInterval(next_acq, end - 1)


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


def _write_acqs(chunk: RowChunk, acqs: npt.NDArray[np.int64]) -> None:
    rows: Any = chunk.rows()
    if size := chunk.record_size:
        np.ndarray(len(acqs), "<i8", rows, _ACQ, (size,))[:] = acqs
        return
    places = chunk.offsets()[:, None] + np.arange(_ACQ, _ACQ + acqs.itemsize)
    np.frombuffer(rows, np.uint8)[places] = acqs.view(np.uint8).reshape(-1, acqs.itemsize)


def _single(batch: Batch, form: RecordForm) -> Arrived | None:
    """The same as `_uniform` for one record, without NumPy, which takes ten times as long."""
    key = _ONE[form]
    _, *found = key.unpack_from(batch.records)
    if any(value == bound for value, bound in zip(found, _BOUNDS, strict=False)):
        return None
    payload = batch.records[key.size :]
    acqs = AcqInterval(found[3], found[3]) if form is PUTA_FORM else None
    row = bytearray(_GET_HEADER.pack(_HEADER - 4 + len(payload), batch.cid, *found, *(() if acqs else (0,))))
    row += payload
    return Arrived(batch.cid, RowChunk(memoryview(row), 1, len(row), lasting=True), acqs)


def _uniform(batch: Batch, form: RecordForm) -> Arrived | None:
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
    acqs = _complete(records, batch.cid, form)
    fits = batch.payload is not None and batch.payload.itemsize == payload_size
    layout = layout_of(batch.payload) if fits and batch.payload is not None else None
    chunk = RowChunk(octets_of(records), len(records), records.dtype.itemsize, lasting=True)
    return Arrived(batch.cid, chunk, acqs, layout)


def _mixed(batch: Batch, form: RecordForm) -> Arrived | None:
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
    acqs = _complete(headers, batch.cid, form)
    written = octets_of(headers)
    pieces: list[memoryview] = []
    for at, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        pieces += (written[at * _HEADER : (at + 1) * _HEADER], batch.records[start + header : end])
    sizes = ends - starts + (_HEADER - header)
    same = int(sizes[0]) if (sizes == sizes[0]).all() else 0
    offsets = None if same else np.cumsum(sizes) - sizes
    chunk = RowChunk(memoryview(bytearray().join(pieces)), len(came), same, offsets, lasting=True)
    return Arrived(batch.cid, chunk, acqs)


def _storable(came: npt.NDArray[Any], form: RecordForm) -> npt.NDArray[np.bool_] | None:
    """Which records can be stored; None for all."""
    keep = None
    for name in form.key_fields:
        greatest = came[name] == LIMITS[name].bound
        if greatest.any():
            keep = ~greatest if keep is None else keep & ~greatest
    return keep


def _complete(records: npt.NDArray[Any], cid: int, form: RecordForm) -> AcqInterval | None:
    records["cid"] = cid
    if form is not PUTA_FORM:
        return None
    return AcqInterval(int(records["acq"].min()), int(records["acq"].max()))
