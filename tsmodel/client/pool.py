"""Pools of connections: to block, and to await. What they decide stands in `ledger`.

In a forked process a pool begins anew: the parent's connections close themselves there, and others are dialed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from tsmodel.client.channel import Connection
from tsmodel.client.channel_async import AsyncConnection
from tsmodel.client.ledger import Check, Dial, Discard, Lease, Ledger, PoolOptions, Wait
from tsmodel.forking import in_child

__all__ = ["AsyncPool", "Pool"]


class Pool:
    """Connections for several threads.

    Args:
        options: how to reach the server.
    """

    def __init__(self, options: PoolOptions) -> None:
        self._options = options
        self._ledger: Ledger[Connection] = Ledger(options)
        self._changed = threading.Condition()
        in_child(self._begin_anew)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection that nobody else uses meanwhile. What `Ledger.lease` raises comes out."""
        lease = self._lease()
        ledger = self._ledger
        try:
            yield lease.connection
        finally:
            with self._changed:
                closing = ledger.give_back(lease, usable=lease.connection.open)
                self._changed.notify()
            _close(closing)

    def close(self) -> None:
        """Closes connections at rest; others are closed when they come back."""
        with self._changed:
            closing = self._ledger.close()
            self._changed.notify_all()
        _close(closing)

    def _begin_anew(self) -> None:
        self._ledger, self._changed = self._ledger.anew(), threading.Condition()

    def _lease(self) -> Lease[Connection]:
        steps = self._ledger.lease()
        answer: object = None
        failure: BaseException | None = None
        while True:
            with self._changed:
                try:
                    step = steps.send(answer) if failure is None else steps.throw(failure)
                    while isinstance(step, Wait):
                        self._changed.wait(min(step.seconds, threading.TIMEOUT_MAX))
                        step = steps.send(None)
                except StopIteration as end:
                    self._changed.notify()  # what was reserved and not taken is free for somebody else
                    lease: Lease[Connection] = end.value
                    return lease
                except BaseException:
                    self._changed.notify()
                    raise
            answer = failure = None
            try:
                answer = self._carried_out(step)
            except BaseException as error:  # noqa: BLE001 - the ledger is told, and raises it or what it makes of it
                failure = error

    def _carried_out(self, step: Dial | Check[Connection] | Discard[Connection]) -> object:
        if isinstance(step, Dial):
            address, options = step.address, self._options
            return Connection(address.host, address.port, options.timeout, options.ssl_context)
        if isinstance(step, Check):
            return step.connection.is_usable()
        step.connection.close()
        return None


class AsyncPool:
    """Connections for several tasks of one event loop."""

    def __init__(self, options: PoolOptions) -> None:
        self._options = options
        self._ledger: Ledger[AsyncConnection] = Ledger(options)
        self._waiting: list[asyncio.Future[None]] = []
        in_child(self._begin_anew)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """See `Pool.connection`."""
        lease = await self._lease()
        ledger = self._ledger
        try:
            yield lease.connection
        finally:
            _close(ledger.give_back(lease, usable=lease.connection.open))
            self._notify()

    def close(self) -> None:
        """See `Pool.close`."""
        _close(self._ledger.close())
        self._notify()

    def _begin_anew(self) -> None:
        self._ledger, self._waiting = self._ledger.anew(), []

    async def _lease(self) -> Lease[AsyncConnection]:
        steps = self._ledger.lease()
        answer: object = None
        failure: BaseException | None = None
        while True:
            try:
                step = steps.send(answer) if failure is None else steps.throw(failure)
            except StopIteration as end:
                self._notify()
                lease: Lease[AsyncConnection] = end.value
                return lease
            except BaseException:
                self._notify()
                raise
            answer = failure = None
            try:
                answer = await self._carried_out(step)
            except BaseException as error:  # noqa: BLE001 - as in `Pool`
                failure = error

    async def _carried_out(self, step: Dial | Check[AsyncConnection] | Discard[AsyncConnection] | Wait) -> object:
        if isinstance(step, Dial):
            address, options = step.address, self._options
            return await AsyncConnection.connect(address.host, address.port, options.timeout, options.ssl_context)
        if isinstance(step, Check):
            return step.connection.is_usable()
        if isinstance(step, Discard):
            step.connection.close()
            return None
        changed = asyncio.get_running_loop().create_future()
        self._waiting.append(changed)
        try:
            await asyncio.wait([changed], timeout=None if step.seconds == float("inf") else step.seconds)
        finally:
            self._waiting.remove(changed)
        return None

    def _notify(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)


def _close(connections: list[Connection] | list[AsyncConnection]) -> None:
    for connection in connections:
        connection.close()
