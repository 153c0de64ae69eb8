"""`AsyncTStorageBackend`: a TStorage server as an asynchronous backend. Its rules are those of `TStorageBackend`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import NoReturn, TypeVar

from tsmodel.backend import AcqInterval, AsyncScan, Batch, Spare
from tsmodel.client.failures import refusal_error
from tsmodel.client.ledger import PoolOptions
from tsmodel.client.operations import Operation, get, get_acq, put
from tsmodel.client.pool import AsyncPool
from tsmodel.client.retry import ONCE, Attempts, Retry
from tsmodel.errors import TSModelError
from tsmodel.keys import KeyRange
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.messages import Refusal
from tsmodel.wire.unstored import Unstored

__all__ = ["AsyncTStorageBackend"]

E = TypeVar("E")


class AsyncTStorageBackend:
    """A TStorage server. May be used by several tasks at once: each operation has a connection of its own.

    Args:
        options: how to reach it.
        retry: how connecting and reads are tried again.
    """

    def __init__(self, options: PoolOptions, retry: Retry = ONCE) -> None:
        self._options = options
        self._retry = retry
        self._pool = AsyncPool(options)
        # Never all: somebody who waits for a query's next record may ask for something else meanwhile.
        self.spare = Spare(options.size // 2)

    async def connect(self) -> None:
        """Makes sure that the server can be reached.

        Raises:
            TransportError: when it cannot.
        """
        await self._again(self._reached)

    def scan(self, box: KeyRange) -> AsyncScan:
        """See `TStorageBackend.scan`."""
        return AsyncScan(self._chunks(box))

    async def append(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> AcqInterval:
        """See `TStorageBackend.append`."""
        if unless_stored is not None:
            for box in unless_stored.boxes():
                async with self.scan(box) as scan:
                    async for chunk in scan:
                        unless_stored.feed(chunk)
            batches = unless_stored.left_of(batches)
        if not batches:
            return AcqInterval(-1, -1)
        answer = await self._result(put(batches, with_acq=with_acq))
        return AcqInterval(answer.acq_min, answer.acq_max)

    async def last_acq(self, box: KeyRange) -> int:
        """See `TStorageBackend.last_acq`."""
        return (await self._again(lambda: self._result(get_acq(box.min, box.max)))).acq

    async def close(self) -> None:
        """Disconnects."""
        self._pool.close()

    async def _chunks(self, box: KeyRange) -> AsyncGenerator[Chunk | int, None]:
        if box.is_empty:
            yield box.max.acq
            return
        attempts = Attempts(self._retry)
        acq: int | None = None
        while acq is None:
            handed_over = False
            try:
                async with (
                    self._pool.connection() as connection,
                    aclosing(connection.run(get(box.min, box.max))) as events,
                ):
                    async for event in events:
                        if isinstance(event, Refusal):
                            self._refused(event)
                        if isinstance(event, Chunk):
                            handed_over = True
                            yield event
                        else:
                            acq = event.acq
            except TSModelError as error:
                pause = None if handed_over else attempts.pause(error)
                if pause is None:
                    raise
                await asyncio.sleep(pause)
        yield acq

    async def _again(self, work: Callable[[], Awaitable[E]]) -> E:
        attempts = Attempts(self._retry)
        while True:
            try:
                return await work()
            except TSModelError as error:
                if (pause := attempts.pause(error)) is None:
                    raise
            await asyncio.sleep(pause)

    async def _reached(self) -> None:
        async with self._pool.connection():
            pass

    async def _result(self, operation: Operation[E | Refusal]) -> E:
        async with self._pool.connection() as connection:
            answer = await connection.result(operation)
        if isinstance(answer, Refusal):
            self._refused(answer)
        return answer

    def _refused(self, refusal: Refusal) -> NoReturn:
        raise refusal_error(refusal, str(self._options))
