"""From what an operation yields or raises to the responses of a channel; the same for sync and async channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from tsmodel.client.encoding import Encoded
from tsmodel.client.failures import refusal_error
from tsmodel.client.operations import Operation, get
from tsmodel.client.payload_types import PayloadType
from tsmodel.client.record import Key
from tsmodel.client.response import Response, ResponseAcq, ResponseGet, ResponseStatus
from tsmodel.errors import DecodeError, EncodeError, KeyRangeError, LocalProtocolError
from tsmodel.wire.answers import GetEvent
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.messages import AcqAnswer, PutAnswer, RangeEnd, Refusal

__all__ = ["GetOutcome", "acq_response", "failure", "put_response"]

T = TypeVar("T")

_STATUSES: tuple[tuple[type[Exception], ResponseStatus], ...] = (
    (DecodeError, ResponseStatus.UNPARSEABLE_ENTITY),
    (MemoryError, ResponseStatus.NO_MEMORY),
    (EncodeError, ResponseStatus.BAD_REQUEST),
    (KeyRangeError, ResponseStatus.BAD_REQUEST),
    (LocalProtocolError, ResponseStatus.BAD_REQUEST),
)


def failure(cause: Exception | Refusal) -> dict[str, Any]:
    """The arguments of a response that tells of a failure."""
    if isinstance(cause, Refusal):
        error = refusal_error(cause)
        return {"status": ResponseStatus.ERROR, "error": error, "server_status": cause.status}
    status = next((status for kind, status in _STATUSES if isinstance(cause, kind)), ResponseStatus.ERROR)
    key = cause.key if isinstance(cause, DecodeError) else None
    return {"status": status, "error": cause, "key": key}


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
        memory_limit: most bytes of records; None for no limit.
        streaming: whether records are handed over as they come, so that the limit concerns only what is buffered.
    """

    def __init__(self, payload_type: PayloadType[T], memory_limit: int | None, *, streaming: bool = False) -> None:
        self._payload_type = payload_type
        self._limit = memory_limit
        self._left = None if streaming else memory_limit
        self._failure: dict[str, Any] = {}
        self._acq = -1
        self._collector = payload_type.collector()

    @property
    def failed(self) -> bool:
        """Whether the GET has failed, so that reading on is of no use."""
        return bool(self._failure)

    def operation(self, key_min: Key, key_max: Key, buffer_size: int) -> Operation[GetEvent]:
        """The operation to carry out."""
        if self._limit is None:
            return get(key_min, key_max, buffer_size)
        return get(key_min, key_max, min(buffer_size, max(self._limit, 1)), self._limit)

    def take(self, event: GetEvent) -> Iterator[Any]:
        """The batches of records of an event, valid until the next event."""
        if isinstance(event, RangeEnd):
            self._acq = event.acq
        elif isinstance(event, Refusal):
            self._failure = failure(event)
        else:
            yield from self._read(event)

    def fail(self, cause: Exception | ResponseStatus) -> None:
        """Notes that the GET ended by an exception, or could not begin."""
        self._failure = {"status": cause} if isinstance(cause, ResponseStatus) else failure(cause)

    def collect(self, batch: Any) -> None:
        """Keeps a batch for the response; a batch that there is no memory for makes the GET fail."""
        try:
            self._collector.add(batch)
        except MemoryError as error:
            self.fail(error)

    def response(self) -> ResponseGet[T]:
        """The response with all records that were collected."""
        return ResponseGet(**(self._failure or {"acq": self._acq}), data=self._collector.result())

    def response_acq(self) -> ResponseAcq:
        """The response without records."""
        return ResponseAcq(**(self._failure or {"acq": self._acq}))

    def _read(self, chunk: Chunk) -> Iterator[Any]:
        if self._left is not None and chunk.nbytes > self._left:
            self.fail(MemoryError(f"more than the {self._limit} bytes of the memory limit arrived"))
            ends = chunk.offsets() + chunk.sizes()
            chunk = chunk.take(slice(int(np.searchsorted(ends, self._left, side="right"))))
        elif self._left is not None:
            self._left -= chunk.nbytes
        try:
            if len(chunk):
                yield from self._payload_type.batches(chunk)
        except DecodeError as error:
            self.fail(error)
