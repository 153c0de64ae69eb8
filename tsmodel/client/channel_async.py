"""`AsyncChannel`: the official client's asynchronous channel.

Its rules are those of `channel`; and whatever ends a call in its middle, cancellation included, closes the connection.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import Self

from tsmodel.client.channel_base import ChannelMixin, GetOutcome, acq_response, failure, put_response
from tsmodel.client.operations import get_acq, put
from tsmodel.client.payload_types import PayloadType
from tsmodel.client.record import Key, Record
from tsmodel.client.response import Response, ResponseAcq, ResponseGet, ResponseStatus
from tsmodel.errors import TransportError, TSModelError
from tsmodel.io.runners import perform_async, run_async, stream_async
from tsmodel.io.streams import AsyncConnection
from tsmodel.wire.client_role import MAX_BATCH_SIZE
from tsmodel.wire.reader import DEFAULT_BUFFER_SIZE

if TYPE_CHECKING:
    import ssl

__all__ = ["AsyncChannel"]

T = TypeVar("T")


class AsyncChannel(ChannelMixin[T]):
    """A connection to a TStorage server, for records with values of one payload type. One task at a time.

    In a forked process it is not connected: `connect` there.

    Args:
        host: name or address of the server.
        port: its port.
        payload_type: between values and bytes.
        timeout: seconds that connecting and each wait for bytes may take; None for no limit. By keyword only.
        memory_limit: most bytes of records, size fields included, that `get` and `get_iter` take in, and that a batch of
            `get_stream` has; None for no limit.
        ssl_context: for TLS; None for plain TCP.

    Example::

        async with AsyncChannel("localhost", 2025, TuplePayloadType("<if?")) as channel:
            response = await channel.put([Record(Key(1, 4, 7, now_ns()), (10, 24.0, True))])
    """

    _connection: AsyncConnection | None = None

    def __init__(
        self,
        host: str,
        port: int,
        payload_type: PayloadType[T],
        memory_limit: int | None = None,
        ssl_context: ssl.SSLContext | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        super().__init__(host, port, payload_type, timeout, memory_limit, ssl_context)

    async def connect(self) -> Response:
        """Connects; a channel that is connected connects anew. On failure the response carries the `error`."""
        await self.close()
        try:
            self._connection = await AsyncConnection.connect(self._host, self._port, self._timeout, self._ssl_context)
        except TransportError as error:
            return Response(ResponseStatus.ERROR, error=error)
        return Response()

    async def close(self) -> Response:
        """Disconnects; later calls answer DISCONNECTED. Answers ERROR when the channel is not connected."""
        return self._closed()

    async def get(self, key_min: Key, key_max: Key, recv_buffer_size: int = DEFAULT_BUFFER_SIZE) -> ResponseGet[T]:
        """All records of the half-open box between two keys."""
        outcome = self._outcome()
        async with aclosing(self._read(outcome, key_min, key_max, recv_buffer_size)) as batches:
            async for batch in batches:
                outcome.collect(batch)
        return outcome.response()

    async def get_stream(
        self,
        key_min: Key,
        key_max: Key,
        callback: Callable[[Any], object],
        recv_buffer_size: int = DEFAULT_BUFFER_SIZE,
    ) -> ResponseAcq:
        """Calls `callback` with the records of the box, some at a time, and awaits what it returns when that can be
        awaited. What it raises comes out of here."""
        outcome = self._outcome(streaming=True)
        async with aclosing(self._read(outcome, key_min, key_max, recv_buffer_size)) as batches:
            async for batch in batches:
                called = callback(outcome.kept(batch))
                if inspect.isawaitable(called):
                    await called
        return outcome.response_acq()

    async def get_iter(
        self, key_min: Key, key_max: Key, recv_buffer_size: int = DEFAULT_BUFFER_SIZE
    ) -> AsyncIterator[Record[T] | ResponseAcq]:
        """The records of the box one by one, and last a ResponseAcq that says how it went."""
        outcome = self._outcome()
        async with aclosing(self._read(outcome, key_min, key_max, recv_buffer_size)) as batches:
            async for batch in batches:
                for record in outcome.kept(batch):
                    yield record
        yield outcome.response_acq()

    async def put(self, data: Any, max_batch_size: int = MAX_BATCH_SIZE, skip_invalid: bool = False) -> Response:
        """Stores records; the server gives their acq. Arguments: see `Channel.put`."""
        return await self._put(data, max_batch_size, skip_invalid, with_acq=False)

    async def puta(self, data: Any, max_batch_size: int = MAX_BATCH_SIZE, skip_invalid: bool = False) -> Response:
        """Stores records with the acq of their keys; otherwise as `put`."""
        return await self._put(data, max_batch_size, skip_invalid, with_acq=True)

    async def get_acq(self, key_min: Key, key_max: Key) -> ResponseAcq:
        """The last acq of the half-open box between two keys."""
        connection = self._connection
        if connection is None or not connection.open:
            return ResponseAcq(ResponseStatus.DISCONNECTED)
        try:
            return acq_response(await run_async(get_acq(key_min, key_max).on(connection), perform_async))
        except TSModelError as error:
            return ResponseAcq(**failure(error))

    async def __aenter__(self) -> Self:
        response = await self.connect()
        if response.error is not None:
            raise response.error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _read(
        self, outcome: GetOutcome[T], key_min: Key, key_max: Key, buffer_size: int
    ) -> AsyncGenerator[Any, None]:
        """The records of a GET in batches; `outcome` tells afterwards how it went."""
        connection = self._connection
        if connection is None or not connection.open:
            outcome.fail(ResponseStatus.DISCONNECTED)
            return
        try:
            operation = outcome.operation(key_min, key_max, buffer_size)
            async with aclosing(stream_async(operation.events(connection), perform_async)) as events:
                async for event in events:
                    for batch in outcome.take(event):
                        yield batch
                    if outcome.failed:
                        break
        except (TSModelError, MemoryError) as error:
            outcome.fail(error)
        for batch in outcome.rest():
            yield batch

    async def _put(self, data: Any, max_batch_size: int, skip_invalid: bool, *, with_acq: bool) -> Response:
        connection = self._connection
        if connection is None or not connection.open:
            return Response(ResponseStatus.DISCONNECTED)
        try:
            encoded = self._encoded(data, skip_invalid, with_acq)
            operation = put(encoded.batches, with_acq=with_acq, max_batch_size=max_batch_size)
            return put_response(encoded, await run_async(operation.on(connection), perform_async))
        except TSModelError as error:
            return Response(**failure(error))
