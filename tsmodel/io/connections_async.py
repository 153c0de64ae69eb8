"""`AsyncConnection`: a connection for asyncio, with or without TLS.

Rules kept here:

* Bytes that have already arrived are received without the event loop, but only a few times in a row.
* Every wait ends after its timeout, with a TimeoutError.
* A socket is closed only after the event loop has stopped watching it: the next socket may get the same descriptor.
* A forked process shares the event loop's selector with its parent, so it closes only the descriptor.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, TypeVar

from tsmodel.io.connections import BaseConnection, naming
from tsmodel.io.pool import Address, PoolOptions
from tsmodel.wire.client_role import Buffers, coalesced, portions, unsent

__all__ = ["AsyncConnection"]

T = TypeVar("T")

_IN_A_ROW: Final = 8
"""Calls that may succeed immediately before other tasks of the event loop get a turn."""


class AsyncConnection(BaseConnection):
    """A connection whose waits are awaited, opened by `connect`; see `Connection`."""

    def __init__(self, address: Address, options: PoolOptions, connected: socket.socket) -> None:
        super().__init__(address, options, connected)
        self._timeout = options.timeout

    @staticmethod
    async def connect(address: Address, options: PoolOptions) -> AsyncConnection:
        """Connects.

        Raises:
            TransportError: if the server cannot be reached.
        """
        opening = asyncio.ensure_future(_opened(address, options))
        try:
            with naming(address, "connecting to"):
                return await _within(opening, options.timeout)
        except BaseException:
            opening.add_done_callback(_closed)
            raise

    async def send(self, buffers: Buffers) -> None:
        """See `Connection.send`."""
        with naming(self._address, "sending to"):
            await self._send(buffers)

    async def receive(self, buffer: memoryview) -> int:
        """See `Connection.receive`."""
        with naming(self._address, "receiving from"):
            return await self._receive(buffer)

    def set_timeout(self, timeout: float | None) -> None:
        """Sets the seconds that each wait may take from now on."""
        self._timeout = timeout

    def is_usable(self) -> bool:
        """See `Connection.is_usable`."""
        raise NotImplementedError

    async def _send(self, buffers: Buffers) -> None:
        raise NotImplementedError

    async def _receive(self, buffer: memoryview) -> int:
        raise NotImplementedError


class _Plain(AsyncConnection):
    """A plain socket, which receives directly into the operation's buffer."""

    def __init__(self, address: Address, options: PoolOptions, connected: socket.socket) -> None:
        super().__init__(address, options, connected)
        self._loop = asyncio.get_running_loop()
        self._in_a_row = 0

    async def _receive(self, buffer: memoryview) -> int:
        self._loop = loop = asyncio.get_running_loop()
        if self._in_a_row < _IN_A_ROW:
            try:
                received = self._socket.recv_into(buffer)
            except (BlockingIOError, InterruptedError):
                pass
            else:
                self._in_a_row += 1
                return received
        self._in_a_row = 0
        await asyncio.sleep(0)
        return await _within(loop.sock_recv_into(self._socket, buffer), self._timeout)

    async def _send(self, buffers: Buffers) -> None:
        self._loop = loop = asyncio.get_running_loop()
        for number, portion in enumerate(portions(buffers), 1):
            left = self._sent_at_once(portion)
            for buffer in left:
                await _within(loop.sock_sendall(self._socket, buffer), self._timeout)
            if not left and number % _IN_A_ROW == 0:
                await asyncio.sleep(0)

    def is_usable(self) -> bool:
        try:
            self._socket.recv(1)
        except (BlockingIOError, InterruptedError):
            return self.open
        except OSError:
            return False
        return False

    def _shut(self) -> None:
        # A cancelled wait ends only in the next iteration of the loop, which watches the descriptor until then.
        if self._socket.fileno() >= 0 and not self._loop.is_closed():
            with suppress(NotImplementedError):  # loops that watch no descriptors
                self._loop.remove_reader(self._socket)
                self._loop.remove_writer(self._socket)
        self._socket.close()

    def _sent_at_once(self, portion: list[memoryview]) -> list[memoryview]:
        """Sends as much as possible without waiting; returns the rest."""
        if not hasattr(self._socket, "sendmsg"):
            return portion
        try:
            return unsent(portion, self._socket.sendmsg(portion))
        except (BlockingIOError, InterruptedError):
            return portion


class _Secured(AsyncConnection):
    """A TLS stream of asyncio."""

    def __init__(
        self, address: Address, options: PoolOptions, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        super().__init__(address, options, writer.get_extra_info("socket"))
        self._reader, self._writer = reader, writer

    async def _receive(self, buffer: memoryview) -> int:
        data = await _within(self._reader.read(len(buffer)), self._timeout)
        buffer[: len(data)] = data
        return len(data)

    async def _send(self, buffers: Buffers) -> None:
        for buffer in coalesced(buffers):
            self._writer.write(buffer)
            await _within(self._writer.drain(), self._timeout)

    def is_usable(self) -> bool:
        return self.open and not (self._writer.transport.is_closing() or self._reader.at_eof())

    def _shut(self) -> None:
        self._writer.transport.abort()

    def _forsake(self) -> None:
        self.open = False
        # The transport will close this descriptor some time, so it must refer to another file.
        descriptor = self._socket.fileno()
        if descriptor >= 0:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, descriptor, inheritable=False)
            os.close(nothing)


def _closed(opening: asyncio.Future[AsyncConnection]) -> None:
    """Closes a connection whose opener was cancelled."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


async def _opened(address: Address, options: PoolOptions) -> AsyncConnection:
    host, port = address.host, address.port
    if options.ssl_context is not None:
        streams = await asyncio.open_connection(host, port, ssl=options.ssl_context, server_hostname=host)
        return _Secured(address, options, *streams)
    loop = asyncio.get_running_loop()
    failures: list[OSError] = []
    for family, kind, protocol, _, place in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connected = socket.socket(family, kind, protocol)
        try:
            connected.setblocking(False)
            await loop.sock_connect(connected, place)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connected.close()
            failures.append(error)
        except BaseException:
            connected.close()
            raise
        else:
            return _Plain(address, options, connected)
    raise failures[-1]


async def _within(awaitable: Awaitable[T], timeout: float | None) -> T:
    """Returns the result; raises TimeoutError after `timeout` seconds.

    Before Python 3.12, `asyncio.wait_for` loses a cancellation that arrives together with the result.
    """
    if timeout is None:
        return await awaitable
    work = asyncio.ensure_future(awaitable)
    try:
        await asyncio.wait([work], timeout=timeout)
        if not work.done():
            work.cancel()
            await asyncio.wait([work])
    except asyncio.CancelledError:
        work.cancel()
        work.add_done_callback(lambda done: done.cancelled() or done.exception())  # or asyncio logs it as not retrieved
        raise
    if work.cancelled():
        raise TimeoutError(f"nothing for {timeout:g} s")
    return work.result()
