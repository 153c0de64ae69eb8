"""The server's side: requests from bytes, answers as bytes.

Rules kept here:

* A put is handed on as it arrives, in pieces of whole records, so that a put of any size is read in bounded memory.
  Whoever takes the pieces keeps them back until `PutEnd`: a put that breaks off has not happened.
* A request that the protocol does not allow raises `RemoteProtocolError`; the server refuses and closes.
* Whether a range or a cid can be served is not decided here, except for what would make the stream unreadable.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

from tsmodel.errors import RemoteProtocolError
from tsmodel.keys import KEY_SIZE, unpack_key
from tsmodel.wire.messages import GetAcqRequest, GetRequest, PutBegin, PutEnd, PutRecords
from tsmodel.wire.reading import Parser, Reader
from tsmodel.wire.records import PUT_FORM, PUTA_FORM, RecordForm
from tsmodel.wire.requests import Buffers
from tsmodel.wire.status import Command

__all__ = ["Request", "RequestReader", "acq_answer", "get_begin", "get_break", "get_end", "put_answer", "refusal"]

Request: TypeAlias = GetRequest | GetAcqRequest | PutBegin | PutRecords | PutEnd
"""What a server reads."""

_HEADER: Final = struct.Struct("<iQ")
_INT: Final = struct.Struct("<i")
_GUARD: Final = -1
_KEYS: Final = 2 * KEY_SIZE


class RequestReader(Reader[Request]):
    """Reads the requests of a connection, one after another. The end of the stream is fine between two of them."""

    what = "a request"
    at_rest = True

    def _parse(self) -> Parser[Request, None]:
        while True:
            self.at_rest = True
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


def get_begin() -> Buffers:
    """The beginning of a GET answer; chunks follow."""
    return [_HEADER.pack(0, 0)]


def get_break() -> Buffers:
    """Ends the records of a GET answer early; a refusal follows."""
    return [_INT.pack(0)]


def get_end(acq: int) -> Buffers:
    """The end of a GET answer."""
    return [_INT.pack(0) + _HEADER.pack(0, 8) + struct.pack("<q", acq)]


def acq_answer(acq: int) -> Buffers:
    """The answer to a GETACQ."""
    return [_HEADER.pack(0, 8) + struct.pack("<q", acq)]


def put_answer(acq_min: int, acq_max: int) -> Buffers:
    """The answer to a put that is stored."""
    return [_HEADER.pack(0, 16) + struct.pack("<qq", acq_min, acq_max)]


def refusal(status: int) -> Buffers:
    """An error status instead of an answer, or behind `get_break`."""
    return [_HEADER.pack(status, 0)]
