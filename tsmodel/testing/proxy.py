"""A proxy that cuts, delays and resets connections, to test how a program handles a failing network."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Final, Literal, NamedTuple, TypeAlias

from tsmodel.timestamps import DurationLike, duration_ns

__all__ = ["Faults"]

_RESET: Final = b"\1\0\0\0\0\0\0\0"
"""Lingering for 0 s, so that close() sends RST."""

Way: TypeAlias = Literal["from_server", "to_server"]


class Plan(NamedTuple):
    """When and how the proxy ends a connection.

    Attributes:
        to_server, from_server: number of bytes after which it ends; None for never.
        is_reset: whether it ends by a reset.
    """

    to_server: int | None = None
    from_server: int | None = None
    is_reset: bool = False


def _plan(way: Way, after: int, *, is_reset: bool = False) -> Plan:
    return Plan(after, None, is_reset) if way == "to_server" else Plan(None, after, is_reset)


class Faults:
    """A proxy in front of a server. It passes all bytes on until told otherwise.

    Args:
        host, port: the address of the server.

    Attributes:
        host, port: the address of the proxy.
        connections: number of connections so far.
        plans: how to end the next connections, one each; later ones pass.
        is_refusing: whether new connections are refused.

    >>> faults.cut(after=100)                    # doctest: +SKIP
    >>> connect(faults.url).query(Reading).all() # doctest: +SKIP
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        self.connections = 0
        self.plans: list[Plan] = []
        self._delay = 0.0
        self.is_refusing = False
        self._ending = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """The target for `connect`."""
        return f"tstorage://{self.host}:{self.port}?timeout=10"

    def cut(self, after: int = 0, way: Way = "from_server") -> None:
        """Ends the next connection after this many bytes in one direction. Another call is for the connection after it."""
        self.plans.append(_plan(way, after))

    def reset(self, after: int = 0, way: Way = "from_server") -> None:
        """Like `cut`, but by a reset."""
        self.plans.append(_plan(way, after, is_reset=True))

    def cut_all(self) -> None:
        """Ends all open connections."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def delay(self, by: DurationLike) -> None:
        """Delays all further bytes, in both directions; 0 for no delay."""
        self._delay = duration_ns(by) / 10**9

    def refuse(self, refusing: bool = True) -> None:
        """Refuses new connections, or with False accepts them again."""
        self.is_refusing = refusing

    def close(self) -> None:
        """Ends all connections, and stops listening."""
        self._ending.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()
        for thread in self._threads:
            thread.join(10)
        for each in self._sockets:
            each.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.is_refusing:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
                continue
            plan = self.plans.pop(0) if self.plans else Plan()
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                continue
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += (client, server)
            for source, target, most in ((client, server, plan.to_server), (server, client, plan.from_server)):
                arguments = (source, target, most, plan.is_reset)
                self._threads.append(threading.Thread(target=self._pass_on, args=arguments, daemon=True))
                self._threads[-1].start()

    def _pass_on(self, source: socket.socket, target: socket.socket, most: int | None, is_reset: bool) -> None:
        passed = 0
        with suppress(OSError):
            while most is None or passed < most:
                data = source.recv(65_536)
                if not data or (self._delay and self._ending.wait(self._delay)):
                    break
                part = data if most is None else data[: most - passed]
                target.sendall(part)
                passed += len(part)
        was_cut = most is not None and passed >= most
        for each in (source, target):
            with suppress(OSError):
                if was_cut and is_reset:
                    # A receive in the other thread would hold the reset back.
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    each.shutdown(socket.SHUT_RD)
                    each.close()
                else:
                    each.shutdown(socket.SHUT_RDWR)
