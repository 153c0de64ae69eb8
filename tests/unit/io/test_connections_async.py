"""asyncio connections that are closed while a task waits on them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tsmodel.io.connections_async import AsyncConnection
from tsmodel.io.pool import Address, PoolOptions

MUCH = memoryview(bytes(2**24))


async def opened(listener: socket.socket, timeout: float | None = None) -> Any:
    address = Address(*listener.getsockname())
    return await AsyncConnection.connect(address, PoolOptions(addresses=(address,), timeout=timeout))


async def receiving(connection: AsyncConnection) -> None:
    await connection.receive(memoryview(bytearray(10)))


async def sending(connection: AsyncConnection) -> None:
    await connection.send([MUCH])


@pytest.mark.parametrize("wait", [receiving, sending])
@pytest.mark.parametrize("timeout", [None, 20.0])
def test_next_socket_with_the_same_descriptor_works(
    wait: Callable[[AsyncConnection], Coroutine[Any, Any, None]], timeout: float | None
) -> None:
    async def used(connection: AsyncConnection) -> None:
        try:
            await wait(connection)
        finally:  # as a request would
            connection.close()

    async def check(listener: socket.socket) -> None:
        first = await opened(listener, timeout)
        accepted, _ = listener.accept()
        descriptor = first._socket.fileno()
        turn = asyncio.get_running_loop().create_future()

        async def next_one() -> Any:
            """Starts in the same iteration of the event loop and waits at once."""
            await turn
            connected = socket.create_connection(listener.getsockname())
            connected.setblocking(False)
            address = Address(*listener.getsockname())
            second = type(first)(address, PoolOptions(addresses=(address,), timeout=20), connected)
            assert connected.fileno() == descriptor
            await second.send([MUCH])
            return second

        waiting, following = asyncio.create_task(used(first)), asyncio.create_task(next_one())
        for _ in range(5):
            await asyncio.sleep(0)
        waiting.cancel()
        turn.set_result(None)
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        again, _ = listener.accept()
        again.setblocking(False)
        left = len(MUCH)
        while left and not following.done():
            left -= len(await asyncio.wait_for(asyncio.get_running_loop().sock_recv(again, 2**20), 20))
        second = await following
        room = bytearray(10)
        received = asyncio.create_task(second.receive(memoryview(room)))
        for _ in range(5):
            await asyncio.sleep(0)
        again.sendall(b"ok")
        assert await received == 2
        second.close()
        accepted.close()
        again.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(check(listener))


def test_connection_can_be_closed_after_its_loop() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = asyncio.run(opened(listener))
        descriptor = connection._socket.fileno()
        connection.close()
        connection.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
