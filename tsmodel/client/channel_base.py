"""What the synchronous and the asynchronous channel have in common: settings, and responses made of events and errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from tsmodel.client.operations import Operation, get
from tsmodel.client.payload_types import ChunkPayloadType, Encoded, PayloadType, adapted
from tsmodel.client.record import Key, Record
from tsmodel.client.response import Response, ResponseAcq, ResponseGet, ResponseStatus
from tsmodel.errors import (
    DecodeError,
    EncodeError,
    KeyRangeError,
    LocalProtocolError,
    TransportError,
    TruncatedError,
)
from tsmodel.io.connections import refusal_error
from tsmodel.wire.chunk import Chunk, joined
from tsmodel.wire.client_role import GetEvent
from tsmodel.wire.events import AcqAnswer, PutAnswer, Refusal

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["ChannelMixin", "GetOutcome", "acq_response", "failure", "put_response"]

T = TypeVar("T")

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
    """The arguments of a response that tells of a failure."""
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


def put_response(encoded: Encoded, answer: PutAnswer | Refusal) -> Response:
    """The response to a put."""
    if isinstance(answer, Refusal):
        return Response(**failure(answer))
    return Response(acq_min=answer.acq_min, acq_max=answer.acq_max, count=encoded.count, skipped=encoded.skipped)


def acq_response(answer: AcqAnswer | Refusal) -> ResponseAcq:
    """The response to a GETACQ."""
    if isinstance(answer, Refusal):
        return ResponseAcq(**failure(answer))
    return ResponseAcq(acq=answer.acq)


class GetOutcome(Generic[T]):
    """Makes records of the events of a GET, within the memory limit, and in the end a response.

    Args:
        payload_type: reads the payloads.
        memory_limit: most bytes of records, size fields included; None for no limit.
        streaming: whether records are handed over as they come, so that the limit concerns each batch, not all of them.
    """

    def __init__(self, payload_type: ChunkPayloadType[T], memory_limit: int | None, *, streaming: bool = False) -> None:
        self._payload_type = payload_type
        self._limit = memory_limit
        self._left = None if streaming else memory_limit
        self._batching = Batching(memory_limit) if streaming else None
        self._failure: dict[str, Any] = {}
        self._acq = -1
        self._collector = payload_type.collector()

    @property
    def failed(self) -> bool:
        """Whether the GET has failed, so that reading on is of no use."""
        return bool(self._failure)

    def operation(self, key_min: Key, key_max: Key, buffer_size: int) -> Operation[GetEvent]:
        """The operation to carry out."""
        if self._batching is not None:
            self._batching.least = min(buffer_size, self._batching.least)
        if self._limit is None:
            return get(key_min, key_max, buffer_size)
        return get(key_min, key_max, min(buffer_size, max(self._limit, 1)), self._limit)

    def take(self, event: GetEvent) -> Iterator[list[Any]]:
        """The batches of records of an event, valid until the next event."""
        if isinstance(event, Chunk):
            yield from self._records(event)
            return
        yield from self.rest()
        if isinstance(event, Refusal):
            self.fail(event)
        else:
            self._acq = event.acq

    def rest(self) -> Iterator[list[Any]]:
        """The batch that was still being filled when the GET ended, well or not."""
        if self._batching is not None:
            for chunk in self._batching.rest():
                yield from self._read(chunk)

    def fail(self, cause: Exception | Refusal | ResponseStatus) -> None:
        """Notes that the GET ended by an exception, or could not begin. The first failure stands."""
        if not self._failure:
            self._failure = {"status": cause} if isinstance(cause, ResponseStatus) else failure(cause)

    def collect(self, batch: list[Any]) -> None:
        """Keeps a batch for the response; a batch that there is no memory for makes the GET fail."""
        try:
            self._collector.add(batch)
        except MemoryError as error:
            self.fail(error)

    def kept(self, batch: list[Any]) -> list[Any]:
        """A batch that stays valid."""
        return self._payload_type.kept(batch)

    def response(self) -> ResponseGet[T]:
        """The response with all records that were collected."""
        return ResponseGet(**(self._failure or {"acq": self._acq}), data=self._collector.result())

    def response_acq(self) -> ResponseAcq:
        """The response without records."""
        return ResponseAcq(**(self._failure or {"acq": self._acq}))

    def _records(self, chunk: Chunk) -> Iterator[list[Any]]:
        if self._batching is None:
            yield from self._read(self._within_limit(chunk))
            return
        try:
            for batch in self._batching.add(chunk):
                yield from self._read(batch)
                if self.failed:
                    return
        except MemoryError as error:
            self.fail(error)

    def _within_limit(self, chunk: Chunk) -> Chunk:
        if self._left is not None and chunk.nbytes > self._left:
            self.fail(MemoryError(f"more than the {self._limit} bytes of the memory limit arrived"))
            ends = chunk.ends()
            return chunk.take(slice(int(np.searchsorted(ends, self._left, side="right"))))
        if self._left is not None:
            self._left -= chunk.nbytes
        return chunk

    def _read(self, chunk: Chunk) -> Iterator[list[Any]]:
        try:
            if len(chunk):
                yield from self._payload_type.batches(chunk)
        except DecodeError as error:
            self.fail(error)


class Batching:
    """Makes batches of chunks as they come.

    Args:
        limit: most bytes of a batch; None for none. Every batch but the last is as full as whole records can make it.
        least: without a limit, bytes up to which small chunks are put together: a short answer is one batch, however the
            network cut it.
    """

    def __init__(self, limit: int | None, least: int = 2**16) -> None:
        self._limit = limit
        self.least = least
        self._held: list[Chunk] = []
        self._size = 0

    def add(self, chunk: Chunk) -> Iterator[Chunk]:
        """The batches that are full.

        Raises:
            MemoryError: when a record is larger than the limit; those before it were yielded.
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
        """What is held, as one batch."""
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


class _Connection(Protocol):
    open: bool

    def set_timeout(self, timeout: float | None) -> None: ...

    def close(self) -> None: ...


class ChannelMixin(Generic[T]):
    """The settings of a channel."""

    _connection: _Connection | None = None

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
        """Seconds that each wait may take; None for no limit."""
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._timeout = seconds
        if self._connection is not None and self._connection.open:
            self._connection.set_timeout(seconds)

    @property
    def memory_limit(self) -> int | None:
        """Most bytes of records that are held; None for no limit."""
        return self._memory_limit

    @memory_limit.setter
    def memory_limit(self, size: int | None) -> None:
        self._memory_limit = size

    def _outcome(self, *, streaming: bool = False) -> GetOutcome[T]:
        return GetOutcome(adapted(self._payload_type), self._memory_limit, streaming=streaming)

    def _encoded(self, data: Iterable[Record[T]], skip_invalid: bool, with_acq: bool) -> Encoded:
        return adapted(self._payload_type).encode(data, with_acq=with_acq, skip_invalid=skip_invalid)

    def _closed(self) -> Response:
        """Disconnects; the response says whether there was a connection to close."""
        connection, self._connection = self._connection, None
        if connection is None or not connection.open:
            return Response(ResponseStatus.ERROR)
        connection.close()
        return Response()
