"""The base of all incremental readers: a receive buffer, and a parser that consumes the bytes received so far.

Rules kept here:

* A parser is a generator. It yields an event, or None when it needs more bytes. So it reads as straight-line code, and
  gives the same events however the bytes are cut, also those before an error.
* The buffer holds unparsed bytes. It grows only when it is full of received bytes, never because of a size field.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from typing import Any, Final, Generic, TypeAlias, TypeVar

import numpy as np

from tsmodel.errors import LocalProtocolError, RemoteProtocolError, TruncatedError
from tsmodel.wire.records import GET_FORM, RecordForm, WholeRecords

__all__ = ["DEFAULT_BUFFER_SIZE", "Parser", "Reader", "ReceiveBuffer"]

EventT = TypeVar("EventT")
T = TypeVar("T")
Parser: TypeAlias = Generator["EventT | None", None, T]

DEFAULT_BUFFER_SIZE: Final = 2**20
_LEAST_BUFFER_SIZE: Final = 128
_MOST_BUFFER_SIZE: Final = 2 * (GET_FORM.most + 4)

_HEADER: Final = struct.Struct("<iQ")
_SIZE: Final = struct.Struct("<i")


def _memory(size: int) -> memoryview:
    # Not filled with zeros, as a bytearray is.
    memory: Any = np.empty(size, np.uint8)
    return memoryview(memory)


class ReceiveBuffer:
    """Received bytes that are not parsed yet.

    Args:
        size: initial size in bytes.
        most: size in bytes it may grow to for a large record.
    """

    def __init__(self, size: int = DEFAULT_BUFFER_SIZE, most: int | None = None) -> None:
        size = max(size, _LEAST_BUFFER_SIZE)
        self.consumed = 0
        self._most = max(_MOST_BUFFER_SIZE if most is None else most, size)
        self._size = size
        self._view = _memory(size)
        self._start = self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    def room(self) -> memoryview:
        """The buffer to receive into; never empty. Earlier views are no longer valid.

        Raises:
            MemoryError: when a record does not fit into the most that the buffer may grow to.
        """
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start and 2 * self._end > len(self._view):
            held = bytes(self._view[self._start : self._end])
            self._view[: len(held)] = held
            self._start, self._end = 0, len(held)
        if self._end == len(self._view):
            if len(self._view) >= self._most:
                raise MemoryError(f"a record is larger than the {self._most} bytes that may be buffered")
            self._grow(min(2 * len(self._view), self._most))
        return self._view[self._end :]

    def _grow(self, size: int) -> None:
        # A new buffer: chunks that were handed out may still point into the old one.
        grown = _memory(size)
        grown[: self._end] = self._view[: self._end]
        self._view = grown

    def received(self, count: int) -> None:
        """Notes that `count` bytes were written into `room()`."""
        if not 0 <= count <= len(self._view) - self._end:
            raise LocalProtocolError(f"{count} bytes cannot have been received into {len(self._view) - self._end}")
        self._end += count

    @property
    def grown(self) -> int:
        """Bytes by which it has grown beyond the initial size."""
        return len(self._view) - self._size

    def shrink(self) -> None:
        """Shrinks an empty buffer to its initial size."""
        if self.grown and not len(self):
            self._view = _memory(self._size)
            self._start = self._end = 0

    def peek(self) -> memoryview:
        """All unparsed bytes."""
        return self._view[self._start : self._end]

    def take(self, count: int) -> memoryview:
        """Takes the first `count` unparsed bytes, or all if there are fewer."""
        count = min(count, len(self))
        taken = self._view[self._start : self._start + count]
        self._start += count
        self.consumed += count
        return taken


class Reader(Generic[EventT]):
    """Turns bytes into events, however they are cut. Subclasses define the parser.

    Args:
        buffer_size: initial size of the receive buffer in bytes.
        most: size in bytes it may grow to.
    """

    what = "a message"
    at_rest = False
    """Whether the stream may end here."""

    def __init__(self, buffer_size: int = DEFAULT_BUFFER_SIZE, most: int | None = None) -> None:
        self._buffer = ReceiveBuffer(buffer_size, most)
        self._parser = self._parse()
        self.done = self._deaf = False

    def get_buffer(self) -> memoryview:
        """Where to receive into; never empty. Views in earlier events are no longer valid.

        Raises:
            MemoryError: when a record does not fit into the most that may be buffered.
        """
        return self._buffer.room()

    @property
    def grown(self) -> int:
        """Bytes that the receive buffer has grown by, for a large record."""
        return self._buffer.grown

    def received(self, count: int) -> Iterator[EventT]:
        """Takes `count` bytes that were received into `get_buffer()`; 0 stands for the end of the stream.

        Returns:
            Their events, which are parsed as they are taken: take all of them before more is received. What comes before
            bytes that the protocol does not allow is given first, however the bytes are cut.

        Raises:
            RemoteProtocolError: for bytes that the protocol does not allow, behind the events before them; at once for an
                end in the middle of a message.
        """
        if count == 0 and not (self.at_rest or self.done):
            at = self._buffer.consumed + len(self._buffer)
            raise TruncatedError(f"the connection ended in the middle of {self.what}, at byte {at}", offset=at)
        self._buffer.received(count)
        return self._events()

    def _events(self) -> Iterator[EventT]:
        for event in self._parser:
            if event is None:
                return
            yield event
        self.done = True
        if self._deaf:
            self._buffer.take(len(self._buffer))
        elif len(self._buffer):
            at = self._buffer.consumed
            raise RemoteProtocolError(f"{len(self._buffer)} bytes follow {self.what}, from byte {at}", offset=at)

    def feed(self, data: bytes) -> Iterator[EventT]:
        """The events of bytes that were received elsewhere; views in them are valid until the next event."""
        rest = memoryview(data)
        while rest:
            room = self.get_buffer()[: len(rest)]
            room[:] = rest[: len(room)]
            rest = rest[len(room) :]
            yield from self.received(len(room))

    def _parse(self) -> Parser[EventT, None]:
        raise NotImplementedError

    def _bytes(self, count: int) -> Parser[EventT, bytes]:
        """The next `count` bytes; waits for all of them."""
        while len(self._buffer) < count:
            yield None
        return bytes(self._buffer.take(count))

    def _skip(self, count: int) -> Parser[EventT, None]:
        """Discards the next `count` bytes as they arrive."""
        while count:
            while not len(self._buffer):
                yield None
            count -= len(self._buffer.take(count))

    def _drop(self) -> None:
        """Discards all unparsed bytes, and everything that follows."""
        self._deaf = True

    def _header(self) -> Parser[EventT, tuple[int, int]]:
        """Command or status, and size."""
        first, size = _HEADER.unpack((yield from self._bytes(_HEADER.size)))
        return first, size

    def _values(self, values: struct.Struct, size: int) -> Parser[EventT, tuple[int, ...]]:
        """Integers at the front of a header's data of `size` bytes; the rest is skipped."""
        if size < values.size:
            raise RemoteProtocolError(
                f"{self.what} has {size} bytes of data where {values.size} are needed", offset=self._buffer.consumed
            )
        found: tuple[int, ...] = values.unpack((yield from self._bytes(values.size)))
        yield from self._skip(size - values.size)
        return found

    def _whole_records(self, form: RecordForm, most: int | None = None) -> tuple[memoryview, WholeRecords]:
        """Takes the whole records, possibly none, among the next `most` bytes."""
        found = form.whole_records(self._buffer.peek()[:most])
        return self._buffer.take(found.end), found

    def _next_size(self, form: RecordForm) -> int | None:
        """The size field that comes next, or None when it is not there yet.

        Raises:
            RemoteProtocolError: when it is neither 0 nor a size of this form.
        """
        view = self._buffer.peek()
        if len(view) < _SIZE.size:
            return None
        (n,) = _SIZE.unpack_from(view)
        if n and not form.least <= n <= form.most:
            at = self._buffer.consumed
            raise RemoteProtocolError(
                f"a {form.name} record at byte {at} says {n} bytes; valid are {form.least} to {form.most}", offset=at
            )
        return int(n)
