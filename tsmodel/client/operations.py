"""Requests as work: what to send, where to receive, what came of it. No sockets.

Rules kept here:

* An operation that ends by itself leaves the connection ready for the next request. One that is left early, raises, or
  comes to a `Refusal` leaves it closed: a half-read answer is never read on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from tsmodel.backend import Batch
from tsmodel.errors import TransportError, TSModelError
from tsmodel.io.effects import Emit, Receive, Send, Work
from tsmodel.keys import Key
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.client_role import (
    MAX_BATCH_SIZE,
    Buffers,
    GetAcqAnswerReader,
    GetAnswerReader,
    GetEvent,
    PutAnswerReader,
    get_acq_request,
    get_request,
    put_request,
)
from tsmodel.wire.events import AcqAnswer, PutAnswer, Refusal
from tsmodel.wire.reader import DEFAULT_BUFFER_SIZE, Reader

__all__ = ["Emit", "Operation", "Receive", "Send", "get", "get_acq", "put"]

E = TypeVar("E")


class Operation(Generic[E]):
    """A request, to be made once.

    Args:
        request: what is sent.
        reader: reads the answer.
        feed: takes chunks; None to emit them.

    Attributes:
        has_answered: whether chunks were handed over.
    """

    def __init__(self, request: Buffers, reader: Reader[E], feed: Callable[[Chunk], object] | None = None) -> None:
        self._request = request
        self._reader = reader
        self._feed = feed
        self.has_answered = False

    def on(self, connection: Any) -> Work[E]:
        """Makes the request on a connection: emits the chunks of the answer, and comes to how it ends.

        Raises:
            TransportError: when the connection is lost or a wait takes too long.
            RemoteProtocolError: when the server sends what the protocol does not allow.
        """
        return self._made(connection, emits_end=False)

    def events(self, connection: Any) -> Work[None]:
        """The same; how it ends is emitted too, while the connection is still in use."""
        yield from self._made(connection, emits_end=True)

    def _made(self, connection: Any, *, emits_end: bool) -> Work[E]:
        connection.open = False
        is_usable = False
        try:
            answer = yield from self._asked(connection)
            if emits_end:
                yield Emit(answer)
            is_usable = not isinstance(answer, Refusal)
            return answer
        finally:
            connection.open = is_usable
            if not is_usable:
                connection.close()

    def _asked(self, connection: Any) -> Work[E]:
        try:
            yield Send(self._request, connection)
        except TransportError as error:
            # A server that refuses a put closes before it has read all of it; its reason may have arrived before.
            try:
                return (yield from self._answered(connection))
            except TSModelError:
                raise error from error.__cause__
        return (yield from self._answered(connection))

    def _answered(self, connection: Any) -> Work[E]:
        reader = self._reader
        answer: Any = None
        while not reader.done:
            count: int = yield Receive(reader.get_buffer(), connection)
            for event in reader.received(count):
                if not isinstance(event, Chunk):
                    answer = event
                    continue
                self.has_answered = True
                if self._feed is None:
                    yield Emit(event)
                else:
                    self._feed(event)
        result: E = answer
        return result


def get(
    key_min: Key,
    key_max: Key,
    buffer_size: int = DEFAULT_BUFFER_SIZE,
    most_buffered: int | None = None,
    feed: Callable[[Chunk], object] | None = None,
) -> Operation[GetEvent]:
    """Reads the box between two keys: chunks, then RangeEnd or Refusal.

    Args:
        key_min: lower ends, inclusive.
        key_max: upper ends, exclusive.
        buffer_size: bytes of the buffer that is received into.
        most_buffered: bytes it may grow to for a large record; MemoryError past it.
        feed: takes the chunks; None to emit them.
    """
    return Operation(get_request(key_min, key_max), GetAnswerReader(buffer_size, most_buffered), feed)


def get_acq(key_min: Key, key_max: Key) -> Operation[AcqAnswer | Refusal]:
    """Asks for the last acq of the box between two keys."""
    return Operation(get_acq_request(key_min, key_max), GetAcqAnswerReader())


def put(
    batches: Iterable[Batch], *, with_acq: bool, max_batch_size: int = MAX_BATCH_SIZE
) -> Operation[PutAnswer | Refusal]:
    """Stores batches in PUT form, or PUTA form `with_acq`."""
    request = put_request(batches, with_acq=with_acq, max_batch_size=max_batch_size)
    return Operation(request, PutAnswerReader())
