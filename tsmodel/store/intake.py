"""Turns the batches of a put into records ready to store.

Rules kept here (source: the TStorage protocol):

* A record with a key component equal to its type's greatest value is skipped; the others are stored.
* Records of a PUT get acqs that increase by 1 ns, so full keys are unique. Within a cid, acqs follow the order of arrival.
  Many small batches, as from clients that do not sort, are joined by cid first.
* The acqs of a PUT, and the put number that marks the records of a PUTA, are assigned inside the transaction. Everything
  else happens before, so that other writers do not wait for it.
* A large put is sorted and compressed in slices while the rest arrives. Its memory is that of the compressed blocks and one
  slice.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.backend import AcqInterval, Batch
from tsmodel.errors import LocalProtocolError
from tsmodel.keys import LIMITS
from tsmodel.store.blocks import Block, EncodedBlock, Layout, layout_of, sorted_runs
from tsmodel.store.directory import Level
from tsmodel.store.parts import Codec
from tsmodel.wire.chunk import RowChunk, joined
from tsmodel.wire.records import GET_FORM, PUT_FORM, PUTA_FORM, RecordForm, bytes_of

__all__ = ["SLICE_BYTES", "Arrived", "Put", "arrived", "by_cid", "give_acqs", "one_batch", "runs_of"]

SLICE_BYTES: Final = 32 * 2**20
"""Bytes of a put that are encoded at once, while the rest arrives."""

_MANY: Final = 16
_PIECE: Final = 400
"""Memory overhead of a batch, in bytes."""
_BLOCK: Final = 500
"""Memory overhead of an encoded block, in bytes."""
_GET_HEADER: Final = struct.Struct("<iiqiqq")
_ONE: Final = {PUT_FORM: struct.Struct("<iqiq"), PUTA_FORM: struct.Struct("<iqiqq")}
_INT64: Final = struct.Struct("<q")
_BOUNDS: Final = [LIMITS[name].bound for name in PUTA_FORM.key_fields]

_HEADER = GET_FORM.header.itemsize
_ACQ = int(GET_FORM.header.fields["acq"][1]) if GET_FORM.header.fields else 0


class Put:
    """A put being received. Once prepared, it lacks only its acqs and its number. Not thread-safe.

    Args:
        with_acq: whether its records carry acqs (PUTA).
        whole: bytes from which a run is final: never merged, so it is encoded at once.
        slice_bytes: bytes to buffer before encoding.
        encoding: lock held while encoding a slice, which needs several times the memory of the slice.

    Attributes:
        with_acq: whether its records carry acqs (PUTA).
        is_gone: returns whether the sender has given up; called before the put is written.
        outcome: the acqs of the stored records, or the error.
        number: its number; 0 until it is assigned.
        count: number of records to store. Valid once prepared.
        records: those that are not encoded. Valid once prepared.
    """

    def __init__(self, *, with_acq: bool, whole: int, slice_bytes: int, encoding: threading.Lock) -> None:
        self.with_acq = with_acq
        self.is_gone: Callable[[], bool] | None = None
        self.outcome: AcqInterval | BaseException | None = None
        self.number = 0
        self._whole = whole
        self._slice_bytes = slice_bytes
        self._encoding = encoding
        self._batches: list[Batch] = []
        self.records: list[Arrived] = []
        self._encoded: list[tuple[int, list[EncodedBlock], Level]] = []
        self._raw = self._encoded_bytes = 0
        self.count = 0
        self._acqs: AcqInterval | None = None

    @property
    def held(self) -> int:
        """Memory it uses, in bytes."""
        return self._raw + self._encoded_bytes

    @property
    def cids(self) -> tuple[int, ...]:
        """The cids of its records, ascending. Valid once prepared."""
        return tuple(sorted({*(each.cid for each in self.records), *(cid for cid, *_ in self._encoded)}))

    @property
    def mark(self) -> int:
        """The mark of its records; 0 for none."""
        return self.number if self.with_acq else 0

    @property
    def acqs(self) -> AcqInterval:
        """Least and greatest acq of a PUTA; it must have records."""
        return self._spanned(self.records)

    def add(self, batches: Iterable[Batch]) -> None:
        """Adds records.

        Raises:
            LocalProtocolError: for an invalid cid.
            RemoteProtocolError: for a batch that does not consist of whole records.
        """
        for batch in batches:
            for part in _parted(batch, self._slice_bytes, PUTA_FORM if self.with_acq else PUT_FORM):
                self._batches.append(part)
                self._raw += len(part.records) + _PIECE + (0 if part.offsets is None else part.offsets.nbytes)
                if self._raw >= self._slice_bytes:
                    self._encode(0)

    def prepare(self) -> None:
        """Does everything that does not need the acqs and the number.

        Raises:
            LocalProtocolError, RemoteProtocolError: see `add`.
        """
        if self._raw >= self._whole:
            self._encode(self._whole)  # smaller runs are about to be merged: encoding them would be wasted
        else:
            self.records, self._batches = self._arrived(self._batches), []

    def give_acqs(self, next_acq: int) -> AcqInterval:
        """Assigns consecutive acqs from `next_acq` to the records of a PUT, which must have some. May be called again.
        Returns the first and the last acq.

        Raises:
            OverflowError: if there are not enough acqs left.
        """
        if next_acq + self.count > LIMITS["acq"].bound:
            raise OverflowError(f"no acquisition time is left after {next_acq - 1}")
        give_acqs(self.records, next_acq)
        self._acqs = AcqInterval(next_acq, next_acq + self.count - 1)
        return self._acqs

    def encoded(self) -> Iterator[tuple[int, list[Block], Level]]:
        """Yields the encoded runs, each with its cid and level, with the assigned acqs and mark filled in."""
        first = 0 if self.with_acq or self._acqs is None else self._acqs.acq_min
        for cid, blocks, level in self._encoded:
            yield cid, [block.placed(first, self.mark) for block in blocks], level

    def _arrived(self, batches: list[Batch]) -> list[Arrived]:
        found = arrived(batches, with_acq=self.with_acq, first=self.count)
        self.count += sum(len(each.chunk) for each in found)
        return found

    def _spanned(self, records: list[Arrived]) -> AcqInterval:
        """Least and greatest acq of some records and of the encoded ones."""
        known = [acqs for acqs in (self._acqs, *(each.acqs for each in records)) if acqs is not None]
        return AcqInterval(min(each.acq_min for each in known), max(each.acq_max for each in known))

    def _encode(self, least: int) -> None:
        """Encodes the buffered records of each cid with `least` bytes or more."""
        with self._encoding:
            batches, self._batches, self._raw = self._batches, [], 0
            by_cid: dict[int, list[Arrived]] = {}
            for records in self._arrived(batches):
                by_cid.setdefault(records.cid, []).append(records)
            batches.clear()
            while by_cid:
                cid, found = by_cid.popitem()
                if (size := sum(each.chunk.nbytes for each in found)) < least:
                    self.records += found
                    self._raw += size
                else:
                    self._encode_runs(cid, found)

    def _encode_runs(self, cid: int, found: list[Arrived]) -> None:
        if self.with_acq:
            self._acqs = self._spanned(found)
        else:
            give_acqs(found, 0)
        runs = runs_of([(each, int(self.with_acq)) for each in found])
        found.clear()
        level = Level.PUT if len(runs) == 1 else Level.FINAL
        for run in runs:
            encoded = []
            while run:  # frees each block once it is encoded
                encoded.append(EncodedBlock(run.pop(0), Codec.LZ4))
            self._encoded.append((cid, encoded, level))
            self._encoded_bytes += sum(block.nbytes + _BLOCK for block in encoded)


class Arrived(msgspec.Struct, frozen=True):
    """Records of one cid in GET form, in the order of their arrival.

    Attributes:
        cid: their cid.
        chunk: the records.
        acqs: least and greatest acq; None for a PUT.
        first: number of records of the put before them.
        layout: the pieces of their payloads; None for one piece.
    """

    cid: int
    chunk: RowChunk
    acqs: AcqInterval | None
    first: int
    layout: Layout | None = None


def arrived(batches: Iterable[Batch], *, with_acq: bool, first: int = 0) -> list[Arrived]:
    """Converts batches to records in GET form; `first` is the number of records of the put before these. Skips records that
    cannot be stored, and batches without records.

    Raises:
        LocalProtocolError: for an invalid cid.
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


def give_acqs(records: Iterable[Arrived], next_acq: int) -> None:
    """Assigns consecutive acqs to the records of a PUT, in place; its first record gets `next_acq`. May be called again."""
    for each in records:
        first = next_acq + each.first
        if len(each.chunk) == 1:
            _INT64.pack_into(each.chunk.rows(), _ACQ, first)
        else:
            _write_acqs(each.chunk, np.arange(first, first + len(each.chunk), dtype="<i8"))


def by_cid(puts: Iterable[Put]) -> dict[int, list[tuple[Arrived, int]]]:
    """Groups the records that are not encoded by cid, each with its mark."""
    groups: dict[int, list[tuple[Arrived, int]]] = {}
    for put in puts:
        for records in put.records:
            groups.setdefault(records.cid, []).append((records, put.mark))
    return groups


def runs_of(marked: list[tuple[Arrived, int]]) -> list[list[Block]]:
    """Sorts records of one cid, given with the marks of their puts, into runs of non-overlapping blocks."""
    records = [each for each, _ in marked]
    whole = joined([each.chunk for each in records])
    assert isinstance(whole, RowChunk)  # `Arrived` holds row chunks
    layouts = [each.layout for each in records if each.layout is not None] if whole.record_size else []
    marks = [np.full(len(each.chunk), mark, np.int64) for each, mark in marked] if any(mark for _, mark in marked) else None
    joined_marks = None if marks is None else np.concatenate(marks)
    return sorted_runs(whole, max(layouts, key=len, default=None), joined_marks)


def _parted(batch: Batch, most: int, form: RecordForm) -> Iterable[Batch]:
    """Splits a batch into batches of about `most` bytes."""
    size = len(batch.records)
    if size <= most:
        return [batch]
    if batch.record_size:
        step = max(1, most // batch.record_size)
        places = [*range(0, batch.count, step), batch.count]
        ends = [place * batch.record_size for place in places]
        offsets: list[npt.NDArray[np.int64] | None] = [None] * len(places)
    else:
        starts = form.offsets(batch.records) if batch.offsets is None else batch.offsets
        places = sorted({0, *np.searchsorted(starts, range(most, size, most)).tolist(), len(starts)})
        ends = [*starts[places[:-1]].tolist(), size]
        offsets = [starts[start:stop] - starts[start] for start, stop in pairwise(places)]
    return [
        msgspec.structs.replace(batch, records=batch.records[begin:end], count=stop - start, offsets=some)
        for (begin, end), (start, stop), some in zip(pairwise(ends), pairwise(places), offsets, strict=False)
    ]


def _joined(batches: list[Batch]) -> list[Batch]:
    """Joins many batches into one per cid: a batch costs as much as many records."""
    if len(batches) < _MANY:
        return batches
    by_cid: dict[int, list[Batch]] = {}
    for batch in batches:
        by_cid.setdefault(batch.cid, []).append(batch)
    return [one_batch(some) for some in by_cid.values()]


def one_batch(batches: Sequence[Batch]) -> Batch:
    """Joins batches of one cid."""
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


def _single(batch: Batch, form: RecordForm, first: int) -> Arrived | None:
    """Same as `_uniform` for one record, without NumPy: ten times faster."""
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
    chunk = RowChunk(bytes_of(records), len(records), records.dtype.itemsize, lasting=True)
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
    written = bytes_of(headers)
    pieces: list[memoryview] = []
    for at, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        pieces += (written[at * _HEADER : (at + 1) * _HEADER], batch.records[start + header : end])
    sizes = ends - starts + (_HEADER - header)
    same = int(sizes[0]) if (sizes == sizes[0]).all() else 0
    offsets = None if same else np.cumsum(sizes) - sizes
    chunk = RowChunk(memoryview(bytearray().join(pieces)), len(came), same, offsets, lasting=True)
    return Arrived(batch.cid, chunk, acqs, first)


def _storable(came: npt.NDArray[Any], form: RecordForm) -> npt.NDArray[np.bool_] | None:
    """A mask of the records that can be stored; None for all."""
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
