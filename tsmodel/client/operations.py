"""Requests as work: send a request, receive its answer. No sockets.

Rules kept here:

* An operation that completes leaves the connection ready for the next request. One that is abandoned, raises, or is
  answered by a `Refusal` closes it: nobody can continue in the middle of an answer.
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

__all__ = ["Operation", "get", "get_acq", "put"]

E = TypeVar("E")


class Operation(Generic[E]):
    """A request, sent once.

    Args:
        request: the bytes to send.
        reader: reads the answer.
        take: called with each event of the answer, including its end, while the connection is in use; None to emit chunks.

    Attributes:
        has_answered: whether the answer has contained chunks.
    """

    def __init__(self, request: Buffers, reader: Reader[E], take: Callable[[E], Work[None]] | None = None) -> None:
        self._request = request
        self._reader = reader
        self._take = take
        self.has_answered = False

    def on(self, connection: Any) -> Work[E]:
        """Sends the request and reads the answer. The result is the last event of the answer.

        Raises:
            TransportError: if the connection is lost or a wait takes too long.
            RemoteProtocolError: if the server violates the protocol.
        """
        connection.open = False
        is_usable = False
        try:
            answer = yield from self._asked(connection)
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
            # A server that refuses a put closes before it has read all of it. Its answer may have arrived already.
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
                if isinstance(event, Chunk):
                    self.has_answered = True
                else:
                    answer = event
                if self._take is not None:
                    yield from self._take(event)
                elif isinstance(event, Chunk):
                    yield Emit(event)
        result: E = answer
        return result


def get(
    key_min: Key,
    key_max: Key,
    buffer_size: int = DEFAULT_BUFFER_SIZE,
    most_buffered: int | None = None,
    take: Callable[[GetEvent], Work[None]] | None = None,
    *,
    gathers: bool = False,
) -> Operation[GetEvent]:
    """A GET of the box between two keys: chunks, then RangeEnd or Refusal.

    Args:
        key_min: lower bounds, inclusive.
        key_max: upper bounds, exclusive.
        buffer_size: initial size of the receive buffer in bytes.
        most_buffered: size it may grow to for a large record, before a MemoryError.
        take: called with each event; None to emit the chunks.
        gathers: see `GetAnswerReader`.
    """
    reader = GetAnswerReader(buffer_size, most_buffered, gathers=gathers)
    return Operation(get_request(key_min, key_max), reader, take)


def get_acq(key_min: Key, key_max: Key) -> Operation[AcqAnswer | Refusal]:
    """A GETACQ of the box between two keys."""
    return Operation(get_acq_request(key_min, key_max), GetAcqAnswerReader())


def put(
    batches: Iterable[Batch], *, with_acq: bool, max_batch_size: int = MAX_BATCH_SIZE
) -> Operation[PutAnswer | Refusal]:
    """A PUT of batches in PUT form, or a PUTA of batches in PUTA form if `with_acq`."""
    request = put_request(batches, with_acq=with_acq, max_batch_size=max_batch_size)
    return Operation(request, PutAnswerReader())
