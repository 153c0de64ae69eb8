"""A peer that follows a script: what it receives, what it sends, and where it splits its answer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TypeAlias

Play: TypeAlias = Callable[[socket.socket], None]
"""One side of one connection."""


@contextmanager
def playing(*plays: Play) -> Iterator[tuple[str, int]]:
    """The address of a peer that runs one script per connection, in turn, and then closes the connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    failures: list[BaseException] = []

    def listen() -> None:
        for play in plays:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(20)
                try:
                    play(connection)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                except Exception as error:  # noqa: BLE001 - reported in the test's thread
                    failures.append(error)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(20)
    assert not failures, failures


def receive(connection: socket.socket, count: int) -> bytes:
    """Exactly `count` bytes."""
    received = b""
    while len(received) < count:
        part = connection.recv(count - len(received))
        assert part, f"the connection ended after {len(received)} of {count} bytes"
        received += part
    return received


def answering(request_size: int, answer: bytes, *, cuts: Sequence[int] = (), reset: bool = False) -> Play:
    """Receives a request of known size, then sends `answer`, pausing at `cuts` so that the parts arrive separately."""

    def play(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        receive(connection, request_size)
        edges = [0, *sorted(cuts), len(answer)]
        for start, end in pairwise(edges):
            connection.sendall(answer[start:end])
            if cuts:
                time.sleep(0.0005)
        if reset:
            # Lingering for 0 s makes close() send RST.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    return play


def silent(connection: socket.socket) -> None:
    """Reads everything and never answers, until the other side disconnects."""
    while connection.recv(65536):
        pass
