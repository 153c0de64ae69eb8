"""The client role: requests to bytes, bytes to answers.

Rules kept here:

* A request is a series of buffers, which are not joined here.
* Each answer needs a new reader. Its last event is the outcome: RangeEnd, AcqAnswer, PutAnswer, or Refusal. After a Refusal
  the connection must be closed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias, TypeVar

from tsmodel.errors import LocalProtocolError, RemoteProtocolError
from tsmodel.keys import KEY_SIZE, LIMITS, Key
from tsmodel.wire.chunk import Batch, RowChunk
from tsmodel.wire.events import AcqAnswer, Command, PutAnswer, RangeEnd, Refusal
from tsmodel.wire.reader import DEFAULT_BUFFER_SIZE, HEADER, Parser, Reader
from tsmodel.wire.records import GET_FORM, PUT_FORM, PUTA_FORM, RecordForm, WholeRecords, consecutive

__all__ = [
    "MAX_BATCH_SIZE",
    "PORTION_BUFFERS",
    "PORTION_BYTES",
    "Buffers",
    "GetAcqAnswerReader",
    "GetAnswerReader",
    "GetEvent",
    "PutAnswerReader",
    "coalesced",
    "get_acq_request",
    "get_request",
    "portions",
    "put_request",
    "unsent",
]

E = TypeVar("E")

Buffers: TypeAlias = Iterable["bytes | memoryview"]
"""Bytes to send, in order. They may be generated while they are sent."""

MAX_BATCH_SIZE: Final = 2**31 - 1
"""Most bytes of records in one batch of a put."""

_SMALL: Final = 2**14
PORTION_BYTES: Final = 2**19
PORTION_BUFFERS: Final = 512
"""Buffers in one system call. Systems accept at least 1,024."""

_BATCH: Final = struct.Struct("<ii")
_GUARD: Final = struct.pack("<i", -1)


def get_request(key_min: Key, key_max: Key, command: Command = Command.GET) -> Buffers:
    """A GET of the half-open box between two keys."""
    return [HEADER.pack(command, 2 * KEY_SIZE) + key_min.to_bytes() + key_max.to_bytes()]


def get_acq_request(key_min: Key, key_max: Key) -> Buffers:
    """A GETACQ of the half-open box between two keys."""
    return get_request(key_min, key_max, Command.GETACQ)


def put_request(batches: Iterable[Batch], *, with_acq: bool, max_batch_size: int = MAX_BATCH_SIZE) -> Buffers:
    """A PUT, or a PUTA if `with_acq`. Its buffers are generated on demand.

    Args:
        batches: records in PUT form, or in PUTA form if `with_acq`.
        with_acq: whether the records carry their acq.
        max_batch_size: most bytes of records in one batch on the wire. Larger batches are split between records; a record
            that is larger gets a batch of its own.

    Raises:
        LocalProtocolError: if `max_batch_size` is out of range; while the buffers are generated, for an invalid cid.
        RemoteProtocolError: while the buffers are generated, if a batch to be split does not consist of whole records.
    """
    if not 1 <= max_batch_size <= MAX_BATCH_SIZE:
        raise LocalProtocolError(f"max_batch_size is {max_batch_size}; it must be 1 to {MAX_BATCH_SIZE}")
    return _put_buffers(batches, with_acq, max_batch_size)


def _put_buffers(batches: Iterable[Batch], with_acq: bool, max_batch_size: int) -> Iterator[bytes | memoryview]:
    form = PUTA_FORM if with_acq else PUT_FORM
    yield HEADER.pack(Command.PUTA if with_acq else Command.PUT, 0)
    for batch in batches:
        if not LIMITS["cid"].least <= batch.cid <= LIMITS["cid"].bound:
            raise LocalProtocolError(
                f"a batch has cid {batch.cid}; it must be 0 to {LIMITS['cid'].bound}: a negative one would end the put"
            )
        for piece in _pieces(batch, form, max_batch_size):
            yield _BATCH.pack(batch.cid, len(piece))
            yield piece
    yield _GUARD


def coalesced(buffers: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The same bytes for a writer that takes one buffer at a time: joins small buffers, does not copy large ones."""
    small: list[bytes | memoryview] = []
    size = 0
    for buffer in buffers:
        if small and size + len(buffer) > _SMALL:
            yield b"".join(small)
            small, size = [], 0
        if len(buffer) > _SMALL:
            yield buffer
        else:
            small.append(buffer)
            size += len(buffer)
    if small:
        yield b"".join(small)


def portions(buffers: Iterable[bytes | memoryview]) -> Iterator[list[memoryview]]:
    """The same bytes for a writer that takes many buffers at a time, in lists of up to 512 buffers or about half a MiB."""
    portion: list[memoryview] = []
    size = 0
    for buffer in buffers:
        portion.append(memoryview(buffer))
        size += len(buffer)
        if size >= PORTION_BYTES or len(portion) == PORTION_BUFFERS:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def unsent(portion: list[memoryview], sent: int) -> list[memoryview]:
    """The rest of a portion after `sent` bytes were written."""
    at = 0
    while at < len(portion) and sent >= len(portion[at]):
        sent -= len(portion[at])
        at += 1
    left = portion[at:]
    if sent:
        left[0] = left[0][sent:]
    return left


def _pieces(batch: Batch, form: RecordForm, most: int) -> Iterator[memoryview]:
    """Splits the records of a batch into pieces of at most `most` bytes. A larger record gets a piece of its own."""
    total = len(batch.records)
    if total <= most:
        if total:
            yield batch.records
        return
    if batch.record_size:
        length = max(1, most // batch.record_size) * batch.record_size
        for start in range(0, total, length):
            yield batch.records[start : start + length]
        return
    offsets = form.offsets(batch.records) if batch.offsets is None else batch.offsets
    ends = [*offsets.tolist()[1:], total]
    start = 0
    for before, end in zip([0, *ends], ends, strict=False):
        if end - start > most and before > start:
            yield batch.records[start:before]
            start = before
    yield batch.records[start:]


_SIZE_FIELD: Final = 4
_FIRST_GATHERED: Final = 2**17
_ACQ: Final = struct.Struct("<q")

GetEvent: TypeAlias = RowChunk | RangeEnd | Refusal
"""A chunk is valid until the reader's next buffer is requested."""


class AnswerReader(Reader[E | Refusal]):
    """Reads an answer, which a Refusal may replace."""

    def _size(self, *, before_records: bool = False) -> Parser[E | Refusal, int | None]:
        """The size of the data behind a header; None after a Refusal."""
        status, size = yield from self._header()
        if not status:
            return size
        self._drop()
        yield Refusal(status, before_records)
        return None


class GetAnswerReader(AnswerReader[RowChunk | RangeEnd]):
    """Reads the answer to a GET: chunks, then RangeEnd or Refusal.

    Args:
        buffer_size: initial size of the receive buffer in bytes.
        most: size in bytes it may grow to.
        gathers: whether chunks after the first may wait for more records, up to a full buffer: sinks take about the same
            time for few records as for many.
    """

    what = "the answer to a GET"

    def __init__(self, buffer_size: int = DEFAULT_BUFFER_SIZE, most: int | None = None, *, gathers: bool = False) -> None:
        super().__init__(buffer_size, most)
        self._gathers = gathers

    def _parse(self) -> Parser[GetEvent, None]:
        size = yield from self._size(before_records=True)
        if size is None:
            return
        yield from self._skip(size)
        yield from self._records()
        self._buffer.take(_SIZE_FIELD)
        size = yield from self._size()
        if size is not None:
            yield RangeEnd(*(yield from self._values(_ACQ, size)))

    def _records(self) -> Parser[GetEvent, None]:
        """Chunks, up to the end of the records."""
        found: list[WholeRecords] = []
        size = wanted = 0
        is_end = False
        while not is_end:
            more = GET_FORM.whole_records(self._buffer.peek()[size:])
            if more.count:
                found.append(more)
                size += more.end
            fault = None
            try:
                is_end = self._next_size(GET_FORM, size) == 0
            except RemoteProtocolError as error:
                fault = error
            if found and (size >= wanted or is_end or fault or self._buffer.is_nearly_full):
                whole = consecutive(found)
                yield RowChunk(self._buffer.take(size), whole.count, whole.record_size, whole.offsets)
                found, size = [], 0
                if self._gathers:
                    wanted = min(2 * wanted, DEFAULT_BUFFER_SIZE) or _FIRST_GATHERED
            if fault is not None:
                raise fault
            if not is_end:
                yield None


class _NumbersReader(AnswerReader[E]):
    """Reads an answer that consists of a few integers."""

    values: struct.Struct
    event: Callable[..., E]

    def _parse(self) -> Parser[E | Refusal, None]:
        size = yield from self._size()
        if size is not None:
            yield self.event(*(yield from self._values(self.values, size)))


class GetAcqAnswerReader(_NumbersReader[AcqAnswer]):
    """Reads the answer to a GETACQ."""

    what = "the answer to a GETACQ"
    values = _ACQ
    event = AcqAnswer


class PutAnswerReader(_NumbersReader[PutAnswer]):
    """Reads the answer to a PUT or PUTA."""

    what = "the answer to a PUT"
    values = struct.Struct("<qq")
    event = PutAnswer
