"""A proxy between a session and a server, that cuts connections at a given byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple


class Cut(NamedTuple):
    """Where one connection is cut: after so many bytes to the server, or from it. None: nowhere."""

    to_server: int | None = None
    from_server: int | None = None
    reset: bool = False


class Proxy:
    """Passes bytes on.

    Attributes:
        address: where it listens.
        cuts: what becomes of the connections to come, in turn; those after the last one pass.
        connections: how many there were.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self.cuts: list[Cut] = []
        self.connections = 0
        self.refusing = False
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        self._sockets: list[socket.socket] = []
        self._threads[0].start()

    def cut_all(self) -> None:
        """Cuts all connections that are open."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends everything."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()
        for thread in self._threads:
            thread.join(5)
        for each in self._sockets:
            each.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.refusing:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                client.close()
                continue
            cut = self.cuts.pop(0) if self.cuts else Cut()
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                continue
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += (client, server)
            ways = ((client, server, cut.to_server), (server, client, cut.from_server))
            for source, target, most in ways:
                arguments = (source, target, most, cut.reset)
                self._threads.append(threading.Thread(target=self._pass_on, args=arguments, daemon=True))
                self._threads[-1].start()

    def _pass_on(self, source: socket.socket, target: socket.socket, most: int | None, reset: bool) -> None:
        passed = 0
        with suppress(OSError):
            while most is None or passed < most:
                data = source.recv(65536)
                if not data:
                    break
                part = data if most is None else data[: most - passed]
                target.sendall(part)
                passed += len(part)
        cut = most is not None and passed >= most
        for each in (source, target):
            with suppress(OSError):
                if cut and reset:
                    # Lingering for 0 s makes close() send RST; a receive in the other thread would hold it back.
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    each.shutdown(socket.SHUT_RD)
                    each.close()
                else:
                    each.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxied(host: str, port: int) -> Iterator[Proxy]:
    """A proxy in front of a server."""
    proxy = Proxy(host, port)
    try:
        yield proxy
    finally:
        proxy.close()
