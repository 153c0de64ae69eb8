"""Streams over asyncio that are closed while somebody waits for them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tsmodel.io.connections_async import Stream, _Plain, open_stream

MUCH = memoryview(bytes(2**24))


async def receiving(stream: Stream, timeout: float | None) -> None:
    await stream.receive(memoryview(bytearray(10)), timeout)


async def sending(stream: Stream, timeout: float | None) -> None:
    await stream.send([MUCH], timeout)


@pytest.mark.parametrize("wait", [receiving, sending])
@pytest.mark.parametrize("timeout", [None, 20.0])
def test_what_gets_the_same_descriptor_next_works(
    wait: Callable[[Stream, float | None], Coroutine[Any, Any, None]], timeout: float | None
) -> None:
    async def used(stream: Stream) -> None:
        try:
            await wait(stream, timeout)
        finally:  # as a request does it
            stream.close()

    async def check(listener: socket.socket) -> None:
        first = await open_stream(*listener.getsockname(), None, None)
        accepted, _ = listener.accept()
        descriptor = first._socket.fileno()  # type: ignore[attr-defined]
        turn = asyncio.get_running_loop().create_future()

        async def next_one() -> _Plain:
            """Begins in the same round of the event loop, and waits at once."""
            await turn
            second = _Plain(socket.create_connection(listener.getsockname()))
            second._socket.setblocking(False)
            assert second._socket.fileno() == descriptor
            await second.send([MUCH], None)
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
        received = asyncio.create_task(second.receive(memoryview(room), 20))
        for _ in range(5):
            await asyncio.sleep(0)
        again.sendall(b"ok")
        assert await received == 2
        second.close()
        accepted.close()
        again.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(check(listener))


def test_a_stream_is_closed_after_its_loop() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = asyncio.run(open_stream(*listener.getsockname(), None, None))
        descriptor = stream._socket.fileno()  # type: ignore[attr-defined]
        stream.close()
        stream.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
