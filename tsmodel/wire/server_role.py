"""The server role: bytes to requests, answers to bytes.

Rules kept here:

* A put is passed on in pieces of whole records as it arrives, so a put of any size is read in bounded memory. No piece may
  be stored before `PutEnd`: a put that is cut off has not happened.
* A request that violates the protocol raises `RemoteProtocolError`. The server then refuses and closes.
* Small batches that have arrived completely are read together and grouped by cid, because clients that do not sort send a
  batch for every record. Records of one cid keep their order.
* Key ranges and cids are validated elsewhere, unless they would make the stream unreadable.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from tsmodel.errors import RemoteProtocolError
from tsmodel.keys import KEY_SIZE, unpack_key
from tsmodel.wire.client_role import Buffers
from tsmodel.wire.events import Command, GetAcqRequest, GetRequest, PutBegin, PutEnd, PutRecords
from tsmodel.wire.reader import HEADER, Parser, Reader
from tsmodel.wire.records import PUT_FORM, PUTA_FORM, RecordForm, WholeRecords, bytes_of
from tsmodel.wire.sorting import order_of, run_starts

__all__ = ["Request", "RequestReader", "acq_answer", "get_begin", "get_break", "get_end", "put_answer", "refusal"]

Request: TypeAlias = GetRequest | GetAcqRequest | PutBegin | PutRecords | PutEnd
"""A request, or a part of a put."""

_INT: Final = struct.Struct("<i")
_BATCH: Final = struct.Struct("<ii")
_ONE: Final = struct.Struct("<iii")
_FEW: Final = 8
"""Similar batches from which processing them together pays off."""
_SOME: Final = 64
"""Batches to process one by one before searching for similar ones again."""
_SMALL: Final = 2**12
"""Largest batch, in bytes, that is read together with its neighbours."""
_GUARD: Final = -1
_KEYS: Final = 2 * KEY_SIZE


class RequestReader(Reader[Request]):
    """Reads the requests of a connection, one after another. The stream may end between requests."""

    what = "a request"
    at_rest = True

    def _parse(self) -> Parser[Request, None]:
        while True:
            self.at_rest = True
            self._buffer.shrink()
            while not len(self._buffer):
                yield None
            self.at_rest = False
            start = self._buffer.consumed
            command, size = yield from self._header()
            if command in (Command.GET, Command.GETACQ):
                yield from self._range(command, size, start)
            elif command in (Command.PUT, Command.PUTA):
                yield from self._skip(size)
                yield from self._put(with_acq=command == Command.PUTA)
            else:
                raise RemoteProtocolError(f"unknown command {command} at byte {start}", offset=start)

    def _range(self, command: int, size: int, start: int) -> Parser[Request, None]:
        if size < _KEYS:
            raise RemoteProtocolError(f"the range at byte {start} has {size} bytes; two keys take {_KEYS}", offset=start)
        yield from self._skip(size - _KEYS)
        key_min = unpack_key((yield from self._bytes(KEY_SIZE)))
        key_max = unpack_key((yield from self._bytes(KEY_SIZE)))
        yield (GetRequest if command == Command.GET else GetAcqRequest)(key_min, key_max)

    def _put(self, *, with_acq: bool) -> Parser[Request, None]:
        yield PutBegin(with_acq)
        form = PUTA_FORM if with_acq else PUT_FORM
        while True:
            yield from self._neighbours(form)
            at = self._buffer.consumed
            (cid,) = _INT.unpack((yield from self._bytes(_INT.size)))
            if cid == _GUARD:
                break
            if cid < 0:
                raise RemoteProtocolError(f"a batch at byte {at} has cid {cid}", offset=at)
            (size,) = _INT.unpack((yield from self._bytes(_INT.size)))
            if size < 0:
                raise RemoteProtocolError(f"a batch at byte {at} says {size} bytes", offset=at)
            yield from self._batch(cid, size, form)
        yield PutEnd()

    def _neighbours(self, form: RecordForm) -> Iterator[PutRecords]:
        """Takes small batches that have arrived completely. Leaves faulty ones for the caller to find."""
        view = self._buffer.peek()
        found = _Together()
        at = 0
        while True:
            start = at
            at = found.alike(view, at, form)
            at = found.others(view, at, form)
            if at == start:
                break
        if 1 != found.batches < _FEW:
            return iter(())
        self._buffer.take(at)
        return found.records()

    def _batch(self, cid: int, left: int, form: RecordForm) -> Parser[Request, None]:
        while True:
            records, found = self._whole_records(form, left)
            left -= found.end
            if found.count:
                yield PutRecords(cid, records, found)
            if left == 0:
                return
            n = self._next_size(form) if left >= _INT.size else 0
            if n is not None and (n == 0 or n + _INT.size > left):
                at = self._buffer.consumed
                raise RemoteProtocolError(
                    f"the {form.name} record at byte {at} does not fit the {left} bytes that are left of its batch",
                    offset=at,
                )
            yield None


class _Together:
    """The records of neighbouring batches, grouped by cid.

    Attributes:
        batches: number of batches.
    """

    def __init__(self) -> None:
        self.batches = 0
        self._pieces: dict[int, list[memoryview]] = {}
        self._counts: dict[int, int] = {}
        self._sizes: dict[int, int] = {}

    def alike(self, view: memoryview, at: int, form: RecordForm) -> int:
        """Takes batches of one record each, all of the same size, from `at` on; returns the end offset."""
        if len(view) - at < _ONE.size:
            return at
        _, size, n = _ONE.unpack_from(view, at)
        if size != n + _INT.size or not form.least <= n <= form.most or len(view) - at < _FEW * (size + _BATCH.size):
            return at
        batch = np.dtype([("cid", "<i4"), ("size", "<i4"), ("n", "<i4"), ("rest", f"V{n}")])
        room = (len(view) - at) // batch.itemsize
        count, window = 0, _FEW
        while count < room:
            some = np.ndarray(min(window, room - count), batch, view, at + count * batch.itemsize)
            differs = (some["size"] != size) | (some["n"] != n) | (some["cid"] < 0)
            first = int(differs.argmax())
            if differs[first]:
                count += first
                break
            count += len(some)
            window *= 8
        if count < _FEW:
            return at
        cids: npt.NDArray[np.int32] = np.ndarray(count, "<i4", view, at, (batch.itemsize,))
        records = np.ndarray(count, f"V{size}", view, at + _BATCH.size, (batch.itemsize,))
        order = order_of([cids])
        if order is not None:
            cids, records = cids[order], records[order]
        data = bytes_of(records)
        for start, end in pairwise([*run_starts([cids]).tolist(), count]):
            self._add(int(cids[start]), data[start * size : end * size], end - start, size)
        self.batches += count
        return at + count * batch.itemsize

    def others(self, view: memoryview, at: int, form: RecordForm) -> int:
        """Takes some small batches of any contents; returns the end offset."""
        least, last = form.least, len(view) - _BATCH.size
        unpack, size_at = _BATCH.unpack_from, _INT.unpack_from
        for _ in range(_SOME):
            if at > last:
                break
            cid, size = unpack(view, at)
            first = record = at + _BATCH.size
            end = first + size
            if cid < 0 or not least + _INT.size <= size <= _SMALL or end > len(view):
                break
            count, sizes = 0, set()
            while record <= end - _INT.size:
                (n,) = size_at(view, record)
                if n < least:
                    break
                sizes.add(n)
                record += n + _INT.size
                count += 1
            if record != end:
                break
            self.batches += 1
            self._add(cid, view[first:end], count, sizes.pop() + _INT.size if len(sizes) == 1 else 0)
            at = end
        return at

    def records(self) -> Iterator[PutRecords]:
        """The records taken, one event per cid."""
        for cid, pieces in self._pieces.items():
            data = pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))
            yield PutRecords(cid, data, WholeRecords(len(data), self._counts[cid], self._sizes[cid]))

    def _add(self, cid: int, data: memoryview, count: int, size: int) -> None:
        pieces = self._pieces.get(cid)
        if pieces is None:
            self._pieces[cid], self._counts[cid], self._sizes[cid] = [data], count, size
            return
        pieces.append(data)
        self._counts[cid] += count
        if self._sizes[cid] != size:
            self._sizes[cid] = 0


def get_begin() -> Buffers:
    """The beginning of a GET answer; chunks follow."""
    return [HEADER.pack(0, 0)]


def get_break() -> Buffers:
    """Ends the records of a GET answer early; a `refusal` follows."""
    return [_INT.pack(0)]


def get_end(acq: int) -> Buffers:
    """The end of a GET answer."""
    return [_INT.pack(0) + HEADER.pack(0, 8) + struct.pack("<q", acq)]


def acq_answer(acq: int) -> Buffers:
    """The answer to a GETACQ."""
    return [HEADER.pack(0, 8) + struct.pack("<q", acq)]


def put_answer(acq_min: int, acq_max: int) -> Buffers:
    """The answer to a put that is stored."""
    return [HEADER.pack(0, 16) + struct.pack("<qq", acq_min, acq_max)]


def refusal(status: int) -> Buffers:
    """An error status, instead of an answer or after `get_break`."""
    return [HEADER.pack(status, 0)]
