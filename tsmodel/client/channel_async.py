"""`AsyncChannel`: the official client's asynchronous channel.

It keeps the rules of `channel`. A call that is interrupted, for example by cancellation, also closes the connection.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import Self

from tsmodel.client.channel import Channel
from tsmodel.client.channel_base import RECV_BUFFER_SIZE, ChannelBase
from tsmodel.client.payload_type import PayloadType
from tsmodel.client.record import Key, Record
from tsmodel.client.response import ResponseAcq, ResponseGet
from tsmodel.io.effects import Work
from tsmodel.io.runners import awaited, items_async, perform_async, run_async, stream_async

if TYPE_CHECKING:
    import ssl

__all__ = ["AsyncChannel"]

R = TypeVar("R")
T = TypeVar("T")


class AsyncChannel(ChannelBase[T]):
    """A connection to a TStorage server, for records of one payload type. Used by one task at a time.

    The arguments are those of `Channel`, except that `timeout` is keyword-only: the official client has none here.

    Example::

        async with AsyncChannel("localhost", 2025, TuplePayloadType("<if?")) as channel:
            response = await channel.put([Record(Key(1, 4, 7, now_ns()), (10, 24.0, True))])
    """

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

    connect = awaited(Channel.connect)
    close = awaited(Channel.close)
    put = awaited(Channel.put)
    puta = awaited(Channel.puta)
    get_acq = awaited(Channel.get_acq)

    async def get(self, key_min: Key, key_max: Key, recv_buffer_size: int = RECV_BUFFER_SIZE) -> ResponseGet[T]:
        """Returns all records of the half-open box between two keys."""
        return await self._run(self._got(key_min, key_max, recv_buffer_size))

    async def get_stream(
        self,
        key_min: Key,
        key_max: Key,
        callback: Callable[[Any], object],
        recv_buffer_size: int = RECV_BUFFER_SIZE,
    ) -> ResponseAcq:
        """Calls `callback` with batches of the records of the box, and awaits its result if that is awaitable. Exceptions
        of the callback propagate."""
        outcome = self._outcome(streaming=True)
        async with aclosing(
            stream_async(self._read(outcome, key_min, key_max, recv_buffer_size), perform_async)
        ) as batches:
            async for batch in batches:
                called = callback(batch)
                if inspect.isawaitable(called):
                    await called
        return outcome.response_acq()

    def get_iter(
        self, key_min: Key, key_max: Key, recv_buffer_size: int = RECV_BUFFER_SIZE
    ) -> AsyncIterator[Record[T] | ResponseAcq]:
        """Yields the records of the box one by one, and finally a ResponseAcq with the outcome."""
        return items_async(stream_async(self._iterated(key_min, key_max, recv_buffer_size), perform_async))

    async def __aenter__(self) -> Self:
        response = await self.connect()
        if response.error is not None:
            raise response.error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _run(self, work: Work[R]) -> Awaitable[R]:
        return run_async(work, perform_async)
