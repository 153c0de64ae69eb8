"""`AsyncTStorageBackend`: a TStorage server as an asynchronous backend. Its rules are those of `TStorageBackend`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, NoReturn, TypeVar

from tsmodel.backend import AcqInterval, AsyncScan, Batch
from tsmodel.client.channel_async import AsyncConnection
from tsmodel.client.failures import refusal_error
from tsmodel.client.operations import Operation, get, get_acq, put
from tsmodel.errors import SessionError
from tsmodel.keys import KeyRange
from tsmodel.wire.messages import Chunk, Refusal

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["AsyncTStorageBackend"]

E = TypeVar("E")


class AsyncTStorageBackend:
    """A TStorage server. May be used by several tasks at once: each operation has a connection of its own.

    Args:
        host: name or address of the server.
        port: its port.
        timeout: seconds that connecting and each wait for bytes may take; None for no limit.
        ssl_context: for TLS; None for plain TCP.
    """

    def __init__(
        self, host: str, port: int, *, timeout: float | None = None, ssl_context: SSLContext | None = None
    ) -> None:
        self._host, self._port, self._timeout, self._ssl_context = host, port, timeout, ssl_context
        self._closed = False
        self._resting: list[AsyncConnection] = []

    async def connect(self) -> None:
        """Makes sure that the server can be reached.

        Raises:
            TransportError: when it cannot.
        """
        self._give_back(await self._take())

    def scan(self, box: KeyRange) -> AsyncScan:
        """See `TStorageBackend.scan`."""
        return AsyncScan(self._chunks(box))

    async def append(self, batches: Sequence[Batch], *, with_acq: bool = False) -> AcqInterval:
        """See `TStorageBackend.append`."""
        if not batches:
            return AcqInterval(-1, -1)
        answer = await self._result(put(batches, with_acq=with_acq))
        if isinstance(answer, Refusal):
            self._refused(answer)
        return AcqInterval(answer.acq_min, answer.acq_max)

    async def last_acq(self, box: KeyRange) -> int:
        """See `TStorageBackend.last_acq`."""
        answer = await self._result(get_acq(box.min, box.max))
        if isinstance(answer, Refusal):
            self._refused(answer)
        return answer.acq

    async def close(self) -> None:
        """Disconnects."""
        self._closed = True
        while self._resting:
            self._resting.pop().close()

    async def _chunks(self, box: KeyRange) -> AsyncGenerator[memoryview | int, None]:
        if box.is_empty:
            yield box.max.acq
            return
        connection = await self._take()
        acq = -1
        async with aclosing(connection.run(get(box.min, box.max))) as events:
            async for event in events:
                if isinstance(event, Refusal):
                    self._refused(event)
                if isinstance(event, Chunk):
                    yield event.records
                else:
                    acq = event.acq
        self._give_back(connection)
        yield acq

    async def _result(self, operation: Operation[E]) -> E:
        connection = await self._take()
        result = await connection.result(operation)
        self._give_back(connection)
        return result

    async def _take(self) -> AsyncConnection:
        if self._closed:
            raise SessionError(f"the connection to {self._host}:{self._port} is closed")
        if self._resting:
            return self._resting.pop()
        return await AsyncConnection.connect(self._host, self._port, self._timeout, self._ssl_context)

    def _give_back(self, connection: AsyncConnection) -> None:
        if self._closed:
            connection.close()
        elif connection.open:
            self._resting.append(connection)

    def _refused(self, refusal: Refusal) -> NoReturn:
        raise refusal_error(refusal, f"{self._host}:{self._port}")
