"""The base of both channels: settings, requests as work, and how events and errors become responses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import numpy as np

from tsmodel.client.operations import exchange
from tsmodel.client.payload_type import ChunkPayloadType, PayloadType, adapted
from tsmodel.client.record import Key, Record
from tsmodel.client.response import Response, ResponseAcq, ResponseGet, ResponseStatus
from tsmodel.errors import (
    DecodeError,
    EncodeError,
    KeyRangeError,
    LocalProtocolError,
    TransportError,
    TruncatedError,
    TSModelError,
)
from tsmodel.io.connections import refusal_error
from tsmodel.io.effects import Dial, Emit, Work
from tsmodel.io.pool import Address, PoolOptions
from tsmodel.wire.chunk import Chunk, joined
from tsmodel.wire.client_role import (
    GetAcqAnswerReader,
    GetAnswerReader,
    GetEvent,
    PutAnswerReader,
    get_acq_request,
    get_request,
    put_request,
)
from tsmodel.wire.events import Refusal
from tsmodel.wire.reader import DEFAULT_BUFFER_SIZE

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["RECV_BUFFER_SIZE", "ChannelBase", "GetOutcome"]

T = TypeVar("T")

RECV_BUFFER_SIZE: Final = 65536
"""Default of `recv_buffer_size`, as in the official client."""

_STATUSES: tuple[tuple[type[Exception], ResponseStatus], ...] = (
    (DecodeError, ResponseStatus.UNPARSEABLE_ENTITY),
    (MemoryError, ResponseStatus.NO_MEMORY),
    (EncodeError, ResponseStatus.BAD_REQUEST),
    (KeyRangeError, ResponseStatus.BAD_REQUEST),
    (LocalProtocolError, ResponseStatus.BAD_REQUEST),
    (TransportError, ResponseStatus.DISCONNECTED),
    (TruncatedError, ResponseStatus.DISCONNECTED),
)


def failure(cause: Exception | Refusal) -> dict[str, Any]:
    """The arguments of the response for a failure."""
    if isinstance(cause, Refusal):
        error = refusal_error(cause)
        status = ResponseStatus.BAD_REQUEST if cause.before_records else ResponseStatus.ERROR
        return {"status": status, "error": error, "server_status": cause.status}
    status = next((status for kind, status in _STATUSES if isinstance(cause, kind)), ResponseStatus.ERROR)
    return {"status": status, "error": cause, "failed_key": _failed_key(cause)}


def _failed_key(cause: Exception) -> Key | None:
    if isinstance(cause, DecodeError):
        return cause.key
    key = getattr(cause.value, "key", None) if isinstance(cause, EncodeError) else None
    return key if isinstance(key, Key) else None


class GetOutcome(Generic[T]):
    """Turns the events of a GET into records, within the memory limit, and finally into a response.

    Args:
        payload_type: decodes the payloads.
        memory_limit: most bytes of records, including their size fields; None for no limit.
        streaming: whether the limit applies to each batch, which is then filled as far as possible, and not to all records
            together.
        collecting: whether records are kept for the response instead of being emitted.
    """

    def __init__(
        self,
        payload_type: ChunkPayloadType[T],
        memory_limit: int | None,
        *,
        streaming: bool = False,
        collecting: bool = False,
    ) -> None:
        self._payload_type = payload_type
        self._limit = memory_limit
        self._left = None if streaming else memory_limit
        self._batching = Batching(memory_limit) if streaming else None
        self._collects = collecting
        self._failure: dict[str, Any] = {}
        self._acq = -1
        self._collector = payload_type.collector()

    def read(self, connection: Any, key_min: Key, key_max: Key, buffer_size: int) -> Work[None]:
        """Sends the GET, and emits or collects the records of its answer in batches."""
        if self._batching is not None:
            self._batching.least = min(buffer_size, self._batching.least)
        if self._collects:  # nobody sees the pieces, and a larger buffer takes fewer calls
            buffer_size = max(buffer_size, DEFAULT_BUFFER_SIZE)
        most = None
        if self._limit is not None:
            buffer_size, most = min(buffer_size, max(self._limit, 1)), self._limit
        try:
            reader = GetAnswerReader(buffer_size, most)
            yield from exchange(connection, get_request(key_min, key_max), reader, self._taken)
        except (TSModelError, MemoryError) as error:
            self.fail(error)
        try:
            yield from self._handed(self._rest())
        except (TSModelError, MemoryError) as error:
            self.fail(error)

    def fail(self, cause: Exception | Refusal | ResponseStatus) -> None:
        """Notes a failure. The first one counts."""
        if not self._failure:
            self._failure = {"status": cause} if isinstance(cause, ResponseStatus) else failure(cause)

    def response(self) -> ResponseGet[T]:
        """The response, with the collected records."""
        return ResponseGet(**(self._failure or {"acq": self._acq}), data=self._collector.result())

    def response_acq(self) -> ResponseAcq:
        """The response, without records."""
        return ResponseAcq(**(self._failure or {"acq": self._acq}))

    def _taken(self, event: GetEvent) -> Work[None]:
        if isinstance(event, Chunk):
            yield from self._handed(self._within_limit(event) if self._batching is None else self._batching.add(event))
            return
        yield from self._handed(self._rest())
        if isinstance(event, Refusal):
            self.fail(event)
        else:
            self._acq = event.acq

    def _handed(self, chunks: Iterable[Chunk]) -> Work[None]:
        """Emits or collects the records of chunks."""
        for chunk in chunks:
            for batch in self._payload_type.batches(chunk):
                if self._collects:
                    self._collector.add(batch)
                else:
                    yield Emit(self._payload_type.kept(batch))

    def _rest(self) -> Iterable[Chunk]:
        """The batch that was being filled when the GET ended, successfully or not."""
        return () if self._batching is None else self._batching.rest()

    def _within_limit(self, chunk: Chunk) -> Iterator[Chunk]:
        """Yields the records within the memory limit.

        Raises:
            MemoryError: after them, if there are more.
        """
        if self._left is None or chunk.nbytes <= self._left:
            self._left = None if self._left is None else self._left - chunk.nbytes
            yield chunk
            return
        if fit := int(np.searchsorted(chunk.ends(), self._left, side="right")):
            yield chunk.take(slice(fit))
        raise MemoryError(f"more than the {self._limit} bytes of the memory limit arrived")


class Batching:
    """Regroups chunks into batches.

    Args:
        limit: most bytes of a batch; None for no limit. Every batch except the last is as full as whole records allow.
        least: without a limit, small chunks are joined up to this many bytes, so that a short answer is one batch however
            the network split it.
    """

    def __init__(self, limit: int | None, least: int = 2**16) -> None:
        self._limit = limit
        self.least = least
        self._held: list[Chunk] = []
        self._size = 0

    def add(self, chunk: Chunk) -> Iterator[Chunk]:
        """Adds a chunk; yields the batches that are full.

        Raises:
            MemoryError: if a record exceeds the limit, after the records before it were yielded.
        """
        size = chunk.nbytes
        if self._limit is None and self._size + size > self.least:
            yield from self.rest()
            if size >= self.least:
                yield chunk
                return
        self._held.append(chunk.kept())
        self._size += size
        if self._limit is not None and self._size > self._limit:
            yield from self._full(self._limit)

    def rest(self) -> Iterator[Chunk]:
        """Yields the remaining records as one batch."""
        held, self._held, self._size = self._held, [], 0
        if held:
            yield joined(held)

    def _full(self, limit: int) -> Iterator[Chunk]:
        (held,) = self.rest()
        ends = held.ends()
        first = start = 0
        while held.nbytes - start > limit:
            after = int(np.searchsorted(ends, start + limit, "right"))
            if after <= first:
                raise MemoryError(f"a record is larger than the {limit} bytes of the memory limit")
            yield held.take(slice(first, after))
            first, start = after, int(ends[after - 1])
        rest = held.take(slice(first, len(held))).kept()
        self._held, self._size = [rest], rest.nbytes


class ChannelBase(Generic[T]):
    """The settings of a channel, and its requests as work."""

    _connection: Any = None

    def __init__(
        self,
        host: str,
        port: int,
        payload_type: PayloadType[T],
        timeout: float | None,
        memory_limit: int | None,
        ssl_context: SSLContext | None,
    ) -> None:
        self._host, self._port = host, port
        self._payload_type = payload_type
        self._timeout = timeout
        self._memory_limit = memory_limit
        self._ssl_context = ssl_context

    @property
    def timeout(self) -> float | None:
        """Seconds that each wait for bytes may take; None for no limit."""
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._timeout = seconds
        if self._is_connected:
            self._connection.set_timeout(seconds)

    @property
    def memory_limit(self) -> int | None:
        """Most bytes of records to hold; None for no limit."""
        return self._memory_limit

    @memory_limit.setter
    def memory_limit(self, size: int | None) -> None:
        self._memory_limit = size

    @property
    def _is_connected(self) -> bool:
        return self._connection is not None and self._connection.open

    def _connected(self) -> Work[Response]:
        yield from self._disconnected()
        address = Address(self._host, self._port)
        options = PoolOptions(addresses=(address,), timeout=self._timeout, ssl_context=self._ssl_context)
        try:
            self._connection = yield Dial(address, options)
        except TransportError as error:
            return Response(ResponseStatus.ERROR, error=error)
        return Response()

    def _disconnected(self) -> Work[Response]:
        """Disconnects; the result is ERROR if there was no connection."""
        yield from ()
        is_connected, connection, self._connection = self._is_connected, self._connection, None
        if not is_connected:
            return Response(ResponseStatus.ERROR)
        connection.close()
        return Response()

    def _outcome(self, **named: bool) -> GetOutcome[T]:
        return GetOutcome(adapted(self._payload_type), self._memory_limit, **named)

    def _read(self, outcome: GetOutcome[T], key_min: Key, key_max: Key, buffer_size: int) -> Work[None]:
        """Emits the records of a GET in batches; afterwards `outcome` gives the response."""
        if not self._is_connected:
            outcome.fail(ResponseStatus.DISCONNECTED)
            return
        yield from outcome.read(self._connection, key_min, key_max, buffer_size)

    def _got(self, key_min: Key, key_max: Key, buffer_size: int) -> Work[ResponseGet[T]]:
        outcome = self._outcome(collecting=True)
        yield from self._read(outcome, key_min, key_max, buffer_size)
        return outcome.response()

    def _iterated(self, key_min: Key, key_max: Key, buffer_size: int) -> Work[None]:
        """Emits lists of records, and finally a list with the response."""
        outcome = self._outcome()
        yield from self._read(outcome, key_min, key_max, buffer_size)
        yield Emit([outcome.response_acq()])

    def _stored(
        self, data: Iterable[Record[T]], max_batch_size: int, skip_invalid: bool, *, with_acq: bool
    ) -> Work[Response]:
        if not self._is_connected:
            return Response(ResponseStatus.DISCONNECTED)
        try:
            encoded = adapted(self._payload_type).encode(data, with_acq=with_acq, skip_invalid=skip_invalid)
            request = put_request(encoded.batches, with_acq=with_acq, max_batch_size=max_batch_size)
            answer = yield from exchange(self._connection, request, PutAnswerReader())
        except TSModelError as error:
            return Response(**failure(error))
        if isinstance(answer, Refusal):
            return Response(**failure(answer))
        return Response(acq_min=answer.acq_min, acq_max=answer.acq_max, count=encoded.count, skipped=encoded.skipped)

    def _acq(self, key_min: Key, key_max: Key) -> Work[ResponseAcq]:
        if not self._is_connected:
            return ResponseAcq(ResponseStatus.DISCONNECTED)
        try:
            answer = yield from exchange(self._connection, get_acq_request(key_min, key_max), GetAcqAnswerReader())
        except TSModelError as error:
            return ResponseAcq(**failure(error))
        return ResponseAcq(**failure(answer)) if isinstance(answer, Refusal) else ResponseAcq(acq=answer.acq)
