"""The base of all incremental readers: a receive buffer, and a parser that consumes the bytes received so far.

Rules kept here:

* A parser is a generator. It yields an event, or None when it needs more bytes. So it reads as straight-line code, and
  gives the same events however the bytes are cut, also those before an error.
* The buffer holds unparsed bytes. It grows only when it is full of received bytes, never because of a size field.
* Its memory is reused, unless a consumer holds records that lie in it. Then received bytes go behind them, so that the
  records of a whole answer form one array without being copied.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from tsmodel.errors import LocalProtocolError, RemoteProtocolError, TruncatedError
from tsmodel.wire.records import GET_FORM, RecordForm, WholeRecords

__all__ = ["DEFAULT_BUFFER_SIZE", "HEADER", "Held", "Parser", "Reader", "ReceiveBuffer", "is_held"]

EventT = TypeVar("EventT")
T = TypeVar("T")
Parser: TypeAlias = Generator["EventT | None", None, T]

DEFAULT_BUFFER_SIZE: Final = 2**20
_LEAST_BUFFER_SIZE: Final = 128
_MOST_BUFFER_SIZE: Final = 2 * (GET_FORM.most + 4)

HEADER: Final = struct.Struct("<iQ")
"""Command or status, and size."""
_SIZE: Final = struct.Struct("<i")


_HELD_SIZE: Final = 2**28
"""Bytes to allocate for held records; the system provides memory only where it is written, in large pages."""
_HELD_CALLS: Final = 4
"""Times the initial size: what is received by one call into memory that is not reused."""
_FEW_BYTES: Final = 2**12
"""Unparsed bytes that are moved to the front at once."""


class _Stream:
    """The bytes that a buffer receives. They keep their offset when the buffer grows into other memory.

    Attributes:
        is_held: whether a consumer holds records, which must not be overwritten then.
        is_given: whether the consumer owns the memory now, so that the buffer must begin another stream.
    """

    __slots__ = ("is_given", "is_held")

    def __init__(self) -> None:
        self.is_held = self.is_given = False


class _Memory(npt.NDArray[np.uint8] if TYPE_CHECKING else np.ndarray):  # type: ignore[misc]
    """Memory to receive a stream into."""

    stream: _Stream

    @classmethod
    def of(cls, size: int, stream: _Stream) -> _Memory:
        """Memory of `size` bytes, not filled with zeros."""
        memory: _Memory = np.ndarray.__new__(cls, size, np.uint8)
        memory.stream = stream
        return memory


def _memory_of(view: Any) -> _Memory | None:
    """The receive buffer's memory that an array or a memoryview lies in; None if it lies elsewhere."""
    while not isinstance(view, _Memory):
        if isinstance(view, memoryview):
            view = view.obj
        elif isinstance(view, np.ndarray):
            view = view.base
        else:
            return None
    return view


def is_held(rows: memoryview) -> bool:
    """Whether rows lie in a receive buffer whose records a consumer holds."""
    memory = _memory_of(rows)
    return memory is not None and memory.stream.is_held


class Held:
    """Records held where they were received, one after another."""

    def __init__(self) -> None:
        self._memory: _Memory | None = None
        self._start = self._end = 0

    def take(self, records: npt.NDArray[Any]) -> bool:
        """Holds records. False if they do not lie in a receive buffer, directly behind those that are held."""
        memory = _memory_of(records)
        if memory is None or memory.stream.is_given or not records.flags.c_contiguous:
            return False
        start = _address(records) - _address(memory)
        if self._memory is None:
            self._start = start
        elif start != self._end or memory.stream is not self._memory.stream:
            return False
        memory.stream.is_held = True
        self._memory, self._end = memory, start + records.nbytes
        return True

    def result(self, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """All held records, shape (n,); none are held afterwards."""
        memory, start, size = self._memory, self._start, self._end - self._start
        self._memory, self._start, self._end = None, 0, 0
        if memory is None:
            return np.empty(0, dtype)
        memory.stream.is_given = True
        whole: npt.NDArray[Any] = np.ndarray(size // dtype.itemsize, dtype, memory, start)
        return whole if size >= memory.nbytes // 2 or size >= DEFAULT_BUFFER_SIZE else whole.copy()


def _address(array: npt.NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


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
        self._start = self._end = 0
        self._use(_Memory.of(size, _Stream()))

    def __len__(self) -> int:
        return self._end - self._start

    def room(self) -> memoryview:
        """The buffer to receive into; never empty. Earlier views become invalid.

        Raises:
            MemoryError: if a record exceeds the largest buffer size.
        """
        if self._memory.stream.is_given:
            rest = bytes(self.peek())
            self._use(_Memory.of(max(self._size, len(rest)), _Stream()))
            self._view[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        elif not self._memory.stream.is_held:
            self._rewind()
        if self._end == len(self._view):
            if len(self) >= self._most:
                raise MemoryError(f"a record is larger than the {self._most} bytes that may be buffered")
            self._grow()
        # Reused memory should stay in the cache; for other memory, fewer calls are better.
        most = min(_HELD_CALLS * self._size, self._most) if self._memory.stream.is_held else self._size
        return self._view[self._end : self._end + max(most, len(self))]

    @property
    def is_nearly_full(self) -> bool:
        """Whether little more can be received before parsed bytes make room."""
        return not self._memory.stream.is_held and len(self._view) - self._end < self._size // 16

    def _rewind(self) -> None:
        """Moves unparsed bytes to the front, if they are few or occupy the second half."""
        count = len(self)
        if self._start and (count <= _FEW_BYTES or 2 * self._end > len(self._view)):
            self._view[:count] = bytes(self.peek())
            self._start, self._end = 0, count

    def _grow(self) -> None:
        # New memory, because earlier chunks may still refer to the old one.
        size = min(2 * len(self._view), self._most)
        if self._memory.stream.is_held:
            try:
                grown = _Memory.of(max(4 * len(self._view), _HELD_SIZE), self._memory.stream)
            except MemoryError:
                grown = _Memory.of(2 * len(self._view), self._memory.stream)
        else:
            grown = _Memory.of(size, self._memory.stream)
        grown[: self._end] = self._memory[: self._end]
        self._use(grown)

    def _use(self, memory: _Memory) -> None:
        self._memory = memory
        buffer: Any = memory
        self._view = memoryview(buffer)

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
            self._start = self._end = 0
            self._use(_Memory.of(self._size, _Stream()))

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
        """The buffer to receive into; never empty. Views in earlier events become invalid.

        Raises:
            MemoryError: if a record exceeds the largest buffer size.
        """
        return self._buffer.room()

    @property
    def grown(self) -> int:
        """Bytes by which the receive buffer has grown beyond its initial size."""
        return self._buffer.grown

    def received(self, count: int) -> Iterator[EventT]:
        """Notes that `count` bytes were received into `get_buffer()`; 0 means the end of the stream.

        Returns:
            Their events, parsed lazily: consume all of them before receiving more. Events before invalid bytes come first,
            however the bytes are cut.

        Raises:
            RemoteProtocolError: for invalid bytes, after the events before them; at once if the stream ends in the middle
                of a message.
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
        """Yields the events of bytes that were received elsewhere. Their views are valid until the next event."""
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
        first, size = HEADER.unpack((yield from self._bytes(HEADER.size)))
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

    def _next_size(self, form: RecordForm, behind: int = 0) -> int | None:
        """The size field that comes next, behind some unparsed bytes, or None if it has not arrived yet.

        Raises:
            RemoteProtocolError: if it is neither 0 nor a size of this form.
        """
        view = self._buffer.peek()[behind:]
        if len(view) < _SIZE.size:
            return None
        (n,) = _SIZE.unpack_from(view)
        if n and not form.least <= n <= form.most:
            at = self._buffer.consumed + behind
            raise RemoteProtocolError(
                f"a {form.name} record at byte {at} says {n} bytes; valid are {form.least} to {form.most}", offset=at
            )
        return int(n)
