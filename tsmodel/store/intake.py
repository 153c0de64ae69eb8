"""From the batches of a put to records as they are stored.

Rules kept here (source: the TStorage protocol):

* A record one of whose key components has its type's greatest value is skipped, and the others are stored.
* Records of a PUT are given acqs that ascend by 1 ns, so that full keys are unique: those of one cid in the order of their
  arrival. Many small batches, as clients send that do not sort, are joined by cid first.
* Which acqs they are is known only when they are stored; all else is done before, so that others need not wait for it.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.backend import AcqInterval, Batch
from tsmodel.errors import LocalProtocolError
from tsmodel.keys import LIMITS
from tsmodel.store.blocks import Block, EncodedBlock, Layout, layout_of, sorted_blocks
from tsmodel.store.parts import Codec
from tsmodel.wire.chunk import RowChunk, joined
from tsmodel.wire.records import GET_FORM, PUT_FORM, PUTA_FORM, RecordForm, octets_of

__all__ = ["Arrived", "Put", "arrived", "give_acqs", "sorted_run"]

_MANY: Final = 16
_SLICE: Final = 32 * 2**20
"""Bytes of a put of which runs are made while the rest of it arrives."""
_PIECE: Final = 400
"""Bytes that a batch takes beside its records."""
_BLOCK: Final = 500
"""Bytes that an encoded block takes beside what is stored of it."""
_GET_HEADER: Final = struct.Struct("<iiqiqq")
_ONE: Final = {PUT_FORM: struct.Struct("<iqiq"), PUTA_FORM: struct.Struct("<iqiqq")}
_INT64: Final = struct.Struct("<q")
_BOUNDS: Final = [LIMITS[name].bound for name in PUTA_FORM.key_fields]

_HEADER = GET_FORM.header.itemsize
_ACQ = int(GET_FORM.header.fields["acq"][1]) if GET_FORM.header.fields else 0


class Put:
    """A put on its way into the store: what has arrived of it, ready to be stored but for its acqs.

    Of a large one, what has arrived is sorted and compressed as soon as there is enough for a run: little memory is taken,
    and others need not wait meanwhile. May be used by one thread at a time.

    Args:
        final: bytes from which on a run is never merged with others.
        encoding: held while large puts are sorted, which takes several times their memory: one at a time.
        with_acq: whether its records have their acqs already.

    Attributes:
        with_acq: see above.
        is_gone: says whether whoever sent the put has given it up. Asked before it is written.
        outcome: what came of it.
    """

    def __init__(self, final: int, encoding: threading.Lock, *, with_acq: bool) -> None:
        self.outcome: AcqInterval | BaseException | None = None
        self.is_gone: Callable[[], bool] | None = None
        self.with_acq = with_acq
        self._encoding = encoding
        self._final = final
        self._batches: list[Batch] = []
        self._raw = self._encoded = 0
        self._records: list[Arrived] = []
        self._runs: list[tuple[int, list[EncodedBlock]]] = []
        self._count = 0
        self._acqs: AcqInterval | None = None

    @property
    def held(self) -> int:
        """Bytes of memory that it takes."""
        return self._raw + self._encoded

    def add(self, batches: Iterable[Batch]) -> None:
        """Takes more of its records.

        Raises:
            LocalProtocolError: for a cid that cannot be stored.
            RemoteProtocolError: for a batch that does not consist of whole records.
        """
        for batch in batches:
            for part in _parted(batch):
                self._batches.append(part)
                self._raw += len(part.records) + _PIECE + (0 if part.offsets is None else part.offsets.nbytes)
                if self._raw >= _SLICE:
                    self._encode(0)

    def prepare(self) -> None:
        """Does what can be done before the acqs are known."""
        if self._raw >= self._final:
            self._encode(self._final)  # what would be merged is not encoded: it would be for nothing
        else:
            self._records, self._batches = self._arrived(self._batches), []

    def stored(self, next_acq: int) -> tuple[AcqInterval, list[Arrived], list[tuple[int, list[EncodedBlock]]]]:
        """Gives acqs to the records of a PUT, from `next_acq` on; they may be given others later, for nothing is copied.

        Returns:
            Its acqs, or (-1, -1) when there are no records; records; and runs that are encoded, with their cid.

        Raises:
            OverflowError: when there is no acq left to give.
        """
        if self.with_acq:
            acqs = _spanned([*(each.acqs for each in self._records), self._acqs])
            return acqs or AcqInterval(-1, -1), self._records, self._runs
        if not self._count:
            return AcqInterval(-1, -1), [], []
        if next_acq + self._count > LIMITS["acq"].bound:
            raise OverflowError(f"no acquisition time is left after {next_acq - 1}")
        for _, blocks in self._runs:
            for block in blocks:
                block.move(next_acq)
        give_acqs(self._records, next_acq)
        return AcqInterval(next_acq, next_acq + self._count - 1), self._records, self._runs

    def _arrived(self, batches: list[Batch]) -> list[Arrived]:
        found = arrived(batches, with_acq=self.with_acq, first=self._count)
        self._count += sum(len(each.chunk) for each in found)
        return found

    def _encode(self, least: int) -> None:
        """Encodes the records of each cid that has so many bytes of them."""
        with self._encoding:
            batches, self._batches, self._raw = self._batches, [], 0
            by_cid: dict[int, list[Arrived]] = {}
            for records in self._arrived(batches):
                by_cid.setdefault(records.cid, []).append(records)
            batches.clear()
            while by_cid:
                cid, found = by_cid.popitem()
                if sum(each.chunk.nbytes for each in found) < least:
                    self._records += found
                    self._raw += sum(each.chunk.nbytes for each in found)
                    continue
                if self.with_acq:
                    self._acqs = _spanned([*(each.acqs for each in found), self._acqs])
                else:
                    give_acqs(found, 0)
                blocks = sorted_run(found)
                found.clear()
                encoded = []
                while blocks:
                    encoded.append(EncodedBlock(blocks.pop(0), Codec.LZ4))
                self._runs.append((cid, encoded))
                self._encoded += sum(len(block.data) + _BLOCK for block in encoded)


@attrs.frozen
class Arrived:
    """Records of one cid in GET form, in the order of their arrival.

    Attributes:
        cid: their cid.
        chunk: the records.
        acqs: least and greatest acq; None for records of a PUT that were given none yet.
        first: how many records of the put come before them.
        layout: the pieces of their payloads; None for one piece.
    """

    cid: int
    chunk: RowChunk
    acqs: AcqInterval | None
    first: int
    layout: Layout | None = None


def arrived(batches: Iterable[Batch], *, with_acq: bool, first: int = 0) -> list[Arrived]:
    """The records of a put that can be stored, batch by batch; batches without any are left out.

    Args:
        batches: in PUT form, or in PUTA form.
        with_acq: whether they are in PUTA form.
        first: how many records of the put came before.

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
            records = _single(batch, form, first)
        else:
            records = _uniform(batch, form, first) if batch.record_size else _mixed(batch, form, first)
        if records is not None:
            found.append(records)
            first += len(records.chunk)
    return found


def give_acqs(records: list[Arrived], next_acq: int) -> None:
    """Gives acqs to records of a PUT whose first one is given `next_acq`; they may be given others later."""
    for each in records:
        first = next_acq + each.first
        if len(each.chunk) == 1:
            _INT64.pack_into(each.chunk.rows(), _ACQ, first)
        else:
            _write_acqs(each.chunk, np.arange(first, first + len(each.chunk), dtype="<i8"))


def _parted(batch: Batch) -> Iterable[Batch]:
    """A batch as several that are not larger than a slice, where that is easily done."""
    if len(batch.records) <= _SLICE or not batch.record_size:
        return [batch]
    most = max(1, _SLICE // batch.record_size)
    size, starts = batch.record_size, range(0, batch.count, most)
    parts = ((start, min(start + most, batch.count)) for start in starts)
    return (attrs.evolve(batch, records=batch.records[a * size : b * size], count=b - a) for a, b in parts)


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


def sorted_run(records: list[Arrived]) -> list[Block]:
    """Records of one cid as a run: sorted blocks that do not overlap."""
    whole = joined([each.chunk for each in records])
    layouts = [each.layout for each in records if each.layout is not None] if whole.record_size else []
    return sorted_blocks(whole.rows(), whole.record_size, max(layouts, key=len, default=None))


def _spanned(intervals: Iterable[AcqInterval | None]) -> AcqInterval | None:
    """The least and the greatest of all of them; None for none."""
    known = [each for each in intervals if each is not None]
    if not known:
        return None
    return AcqInterval(min(each.acq_min for each in known), max(each.acq_max for each in known))


def _write_acqs(chunk: RowChunk, acqs: npt.NDArray[np.int64]) -> None:
    rows: Any = chunk.rows()
    if size := chunk.record_size:
        np.ndarray(len(acqs), "<i8", rows, _ACQ, (size,))[:] = acqs
        return
    places = chunk.offsets()[:, None] + np.arange(_ACQ, _ACQ + acqs.itemsize)
    np.frombuffer(rows, np.uint8)[places] = acqs.view(np.uint8).reshape(-1, acqs.itemsize)


def _single(batch: Batch, form: RecordForm, first: int) -> Arrived | None:
    """The same as `_uniform` for one record, without NumPy, which takes ten times as long."""
    key = _ONE[form]
    _, *found = key.unpack_from(batch.records)
    if any(value == bound for value, bound in zip(found, _BOUNDS, strict=False)):
        return None
    payload = batch.records[key.size :]
    acqs = AcqInterval(found[3], found[3]) if form is PUTA_FORM else None
    row = bytearray(_GET_HEADER.pack(_HEADER - 4 + len(payload), batch.cid, *found, *(() if acqs else (0,))))
    row += payload
    return Arrived(batch.cid, RowChunk(memoryview(row), 1, len(row), lasting=True), acqs, first)


def _uniform(batch: Batch, form: RecordForm, first: int) -> Arrived | None:
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
    return Arrived(batch.cid, chunk, acqs, first, layout)


def _mixed(batch: Batch, form: RecordForm, first: int) -> Arrived | None:
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
    return Arrived(batch.cid, chunk, acqs, first)


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
