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
import ssl
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, Protocol, TypeVar

from typing_extensions import Self

from tsmodel.forking import in_child
from tsmodel.io.connections import set_abrupt, transport_error
from tsmodel.wire.client_role import Buffers, gathered, portions, unsent

__all__ = ["AsyncConnection", "Stream", "open_stream"]

T = TypeVar("T")

_IN_A_ROW: Final = 8
"""Calls that may succeed immediately before other tasks of the event loop get a turn."""


class Stream(Protocol):
    """A bidirectional stream of bytes."""

    async def receive(self, buffer: memoryview, timeout: float | None) -> int:
        """Receives at least one byte; returns 0 at the end."""
        ...

    async def send(self, buffers: Buffers, timeout: float | None) -> None:
        """Sends all bytes."""
        ...

    def rests(self) -> bool:
        """Whether the peer is still connected and has sent nothing unexpected."""
        ...

    def set_abrupt(self, is_abrupt: bool) -> None:
        """Sets whether closing resets the connection."""
        ...

    def close(self) -> None:
        """Closes immediately."""
        ...

    def forsake(self) -> None:
        """Closes the copy of a forked process."""
        ...


class AsyncConnection:
    """A connection to a server, opened by `connect`; see `Connection`."""

    def __init__(self, host: str, port: int, stream: Stream, timeout: float | None, *, resets: bool = False) -> None:
        self._host, self._port = host, port
        self._resets = resets
        if resets:
            stream.set_abrupt(True)
        self._stream = stream
        self._timeout = timeout
        self.open = True
        in_child(self._forsake)

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        timeout: float | None = None,
        ssl_context: ssl.SSLContext | None = None,
        *,
        resets: bool = False,
    ) -> Self:
        """Connects. The arguments are those of `Connection`.

        Raises:
            TransportError: if the server cannot be reached.
        """
        try:
            stream = await open_stream(host, port, timeout, ssl_context)
        except (OSError, OverflowError, UnicodeError) as error:
            raise transport_error(host, port, "connecting to", error) from error
        return cls(host, port, stream, timeout, resets=resets)

    async def send(self, buffers: Buffers) -> None:
        """See `Connection.send`."""
        try:
            await self._stream.send(buffers, self._timeout)
        except OSError as error:
            raise transport_error(self._host, self._port, "sending to", error) from error

    async def receive(self, buffer: memoryview) -> int:
        """See `Connection.receive`."""
        try:
            return await self._stream.receive(buffer, self._timeout)
        except OSError as error:
            raise transport_error(self._host, self._port, "receiving from", error) from error

    def set_timeout(self, timeout: float | None) -> None:
        """Sets the seconds that each wait may take from now on."""
        self._timeout = timeout

    def is_usable(self) -> bool:
        """See `Connection.is_usable`."""
        return self.open and self._stream.rests()

    def close(self) -> None:
        """See `Connection.close`."""
        if self._resets and self.open:
            self._stream.set_abrupt(False)
        self.open = False
        self._stream.close()

    def _forsake(self) -> None:
        """Closes the copy of a forked process; the parent keeps its own."""
        self.open = False
        self._stream.forsake()


class _Plain:
    """A plain socket, which receives directly into the operation's buffer."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self._in_a_row = 0

    async def receive(self, buffer: memoryview, timeout: float | None) -> int:
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
        return await _within(loop.sock_recv_into(self._socket, buffer), timeout)

    async def send(self, buffers: Buffers, timeout: float | None) -> None:
        self._loop = loop = asyncio.get_running_loop()
        for number, portion in enumerate(portions(buffers), 1):
            left = self._sent_at_once(portion)
            for buffer in left:
                await _within(loop.sock_sendall(self._socket, buffer), timeout)
            if not left and number % _IN_A_ROW == 0:
                await asyncio.sleep(0)

    def rests(self) -> bool:
        try:
            self._socket.recv(1)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False

    def set_abrupt(self, is_abrupt: bool) -> None:
        set_abrupt(self._socket, is_abrupt)

    def close(self) -> None:
        # A cancelled wait ends only in the next iteration of the loop, which watches the descriptor until then.
        if self._socket.fileno() >= 0 and not self._loop.is_closed():
            with suppress(NotImplementedError):  # loops that watch no descriptors
                self._loop.remove_reader(self._socket)
                self._loop.remove_writer(self._socket)
        self._socket.close()

    def forsake(self) -> None:
        self._socket.close()

    def _sent_at_once(self, portion: list[memoryview]) -> list[memoryview]:
        """Sends as much as possible without waiting; returns the rest."""
        if not hasattr(self._socket, "sendmsg"):
            return portion
        try:
            return unsent(portion, self._socket.sendmsg(portion))
        except (BlockingIOError, InterruptedError):
            return portion


class _Secured:
    """A TLS stream of asyncio."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def receive(self, buffer: memoryview, timeout: float | None) -> int:
        data = await _within(self._reader.read(len(buffer)), timeout)
        buffer[: len(data)] = data
        return len(data)

    async def send(self, buffers: Buffers, timeout: float | None) -> None:
        for buffer in gathered(buffers):
            self._writer.write(buffer)
            await _within(self._writer.drain(), timeout)

    def rests(self) -> bool:
        return not (self._writer.transport.is_closing() or self._reader.at_eof())

    def set_abrupt(self, is_abrupt: bool) -> None:
        set_abrupt(self._writer.get_extra_info("socket"), is_abrupt)

    def close(self) -> None:
        self._writer.transport.abort()

    def forsake(self) -> None:
        # The transport will close this descriptor some time, so it must refer to another file.
        descriptor = self._writer.get_extra_info("socket").fileno()
        if descriptor >= 0:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, descriptor, inheritable=False)
            os.close(nothing)


async def open_stream(host: str, port: int, timeout: float | None, ssl_context: ssl.SSLContext | None) -> Stream:
    """Connects.

    Raises:
        OSError: if the server cannot be reached.
        OverflowError: if the port is out of range.
        UnicodeError: if the host name is invalid.
    """
    opening = asyncio.ensure_future(_opened(host, port, ssl_context))
    try:
        return await _within(opening, timeout)
    except BaseException:
        opening.add_done_callback(_closed)
        raise


def _closed(opening: asyncio.Future[Stream]) -> None:
    """Closes a stream whose opener was cancelled."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


async def _opened(host: str, port: int, ssl_context: ssl.SSLContext | None) -> Stream:
    if ssl_context is not None:
        return _Secured(*await asyncio.open_connection(host, port, ssl=ssl_context, server_hostname=host))
    loop = asyncio.get_running_loop()
    failures: list[OSError] = []
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connected = socket.socket(family, kind, protocol)
        try:
            connected.setblocking(False)
            await loop.sock_connect(connected, address)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connected.close()
            failures.append(error)
        except BaseException:
            connected.close()
            raise
        else:
            return _Plain(connected)
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
