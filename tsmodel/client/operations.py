"""Requests as generators: what to send, where to receive, what came of it. No sockets.

Rules kept here:

* An operation yields `Send` and `Receive` to be carried out by a pump, which answers a `Receive` with the number of bytes
  (0 at the end of the stream), and `Emit` for the caller. Sync and async pumps drive the same operations.
* An operation that ends by itself leaves the connection ready for the next request. One that is left early, raises, or
  yields a `Refusal` leaves it useless.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Generic, TypeAlias, TypeVar

import attrs

from tsmodel.backend import Batch
from tsmodel.errors import TransportError, TSModelError
from tsmodel.keys import Key
from tsmodel.wire.answers import GetAcqAnswerReader, GetAnswerReader, GetEvent, PutAnswerReader
from tsmodel.wire.messages import AcqAnswer, PutAnswer, Refusal
from tsmodel.wire.reading import DEFAULT_BUFFER_SIZE, Reader
from tsmodel.wire.requests import MAX_BATCH_SIZE, Buffers, get_acq_request, get_request, put_request

__all__ = ["Emit", "Operation", "Receive", "Send", "get", "get_acq", "put"]

E = TypeVar("E")


@attrs.frozen
class Send:
    """Asks the pump to send all of these bytes."""

    buffers: Buffers


@attrs.frozen
class Receive:
    """Asks the pump to receive at least one byte into this buffer, and to answer how many."""

    buffer: memoryview


@attrs.frozen
class Emit(Generic[E]):
    """Something for the caller."""

    event: E


Steps: TypeAlias = Generator["Send | Receive | Emit[E]", "int | None", None]


@attrs.frozen
class Operation(Generic[E]):
    """A request under way.

    Attributes:
        steps: the generator that a pump drives.
        reader: what reads the answer.
    """

    steps: Steps[E]
    reader: Reader[E]


def get(
    key_min: Key,
    key_max: Key,
    buffer_size: int = DEFAULT_BUFFER_SIZE,
    most_buffered: int | None = None,
) -> Operation[GetEvent]:
    """Reads the box between two keys: chunks, then RangeEnd or Refusal.

    Args:
        key_min: lower ends, inclusive.
        key_max: upper ends, exclusive.
        buffer_size: bytes of the buffer that is received into.
        most_buffered: bytes it may grow to for a large record; MemoryError past it.
    """
    return _operation(get_request(key_min, key_max), GetAnswerReader(buffer_size, most_buffered))


def get_acq(key_min: Key, key_max: Key) -> Operation[AcqAnswer | Refusal]:
    """Asks for the last acq of the box between two keys."""
    return _operation(get_acq_request(key_min, key_max), GetAcqAnswerReader())


def put(
    batches: Iterable[Batch], *, with_acq: bool, max_batch_size: int = MAX_BATCH_SIZE
) -> Operation[PutAnswer | Refusal]:
    """Stores batches in PUT form, or PUTA form `with_acq`."""
    request = put_request(batches, with_acq=with_acq, max_batch_size=max_batch_size)
    return _operation(request, PutAnswerReader())


def _operation(request: Buffers, reader: Reader[E]) -> Operation[E]:
    return Operation(_ask(request, reader), reader)


def _ask(request: Buffers, reader: Reader[E]) -> Steps[E]:
    try:
        yield Send(request)
    except TransportError as error:
        # A server that refuses a put closes before it has read all of it; its reason may have arrived before.
        try:
            yield from _answer(reader)
        except TSModelError:
            raise error from error.__cause__
        return
    yield from _answer(reader)


def _answer(reader: Reader[E]) -> Steps[E]:
    while not reader.done:
        count = yield Receive(reader.get_buffer())
        assert count is not None
        for event in reader.received(count):
            yield Emit(event)
