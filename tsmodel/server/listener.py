"""Accepts connections and carries out their conversations, a thread each. The server's one module that knows sockets.

Rules kept here:

* A thread each, since a conversation waits for its peer and for the disk in turn: a slow peer stops nobody else.
* Nothing that happens to one connection ends the server: neither that it cannot be accepted, for want of descriptors, nor
  that there is no thread for it.
* Stopping lets requests that are under way end, for a while; connections at rest are closed at once. What was acknowledged
  is durable anyway.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count

import attrs

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

from tsmodel.backend import Backend
from tsmodel.client.operations import Receive
from tsmodel.errors import SessionError, TransportError
from tsmodel.server.conversation import Conversation
from tsmodel.session.opening import open_backend
from tsmodel.wire.requests import Buffers, gathered, portions, unsent

__all__ = ["DEFAULT_MAX_CONNECTIONS", "DEFAULT_MAX_PUT", "Listener", "serve_in_thread"]

DEFAULT_MAX_CONNECTIONS = 1000
DEFAULT_MAX_PUT = 2**30

_ACCEPT_PAUSE = 0.2
_DESCRIPTORS = 3
"""Of a connection that reads a file: its own, and two of SQLite's."""
_DESCRIPTORS_BESIDE = 32
_HANDSHAKE_TIMEOUT = 10.0
_LINGER = 2.0
_GRACE = 10.0

_log = logging.getLogger("tsmodel.server")


@attrs.define(eq=False)
class _Connection:
    """One that is open."""

    socket: socket.socket
    conversation: Conversation
    thread: threading.Thread | None = None

    @property
    def peer(self) -> str:
        return self.conversation.peer


class Listener:
    """A server on one address. It listens when it has been made; `serve` answers.

    Args:
        backend: where records live; not closed by the listener.
        host: address to listen at; `::` for all addresses of both IP versions where the system allows it.
        port: port to listen at; 0 for any that is free.
        ssl_context: for TLS; a server context.
        max_connections: connections at once; one more is closed as soon as it comes.
        idle_timeout: seconds that a peer may let the server wait: for a request, for more of it, or for room to answer;
            None for no limit.
        max_put: most bytes that one put may take in memory while it arrives; storing it takes a few times as much.

    Raises:
        TransportError: when it cannot listen there.
        SessionError: when a limit is none.
    """

    def __init__(
        self,
        backend: Backend,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        idle_timeout: float | None = None,
        max_put: int = DEFAULT_MAX_PUT,
    ) -> None:
        if idle_timeout is not None and not 0 < idle_timeout <= threading.TIMEOUT_MAX:
            raise SessionError(f"idle_timeout takes seconds above 0, or None for no limit, not {idle_timeout!r}")
        for name, most in (("max_connections", max_connections), ("max_put", max_put)):
            if most < 1:
                raise SessionError(f"{name} is at least 1, not {most!r}")
        self._backend = backend
        self._ssl_context = ssl_context
        self._max_connections = max_connections
        self._idle_timeout = idle_timeout
        self._max_put = max_put
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: set[_Connection] = set()
        self._numbers = count(1)
        if not 0 <= port <= 65535:
            raise TransportError(f"cannot listen at {host}:{port}: a port is 0 to 65535")
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            dual = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
            self._socket = socket.create_server((host, port), family=family, backlog=512, dualstack_ipv6=dual)
        except OSError as error:
            raise TransportError(f"cannot listen at {host}:{port}: {error}") from error

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens at."""
        host, port, *_ = self._socket.getsockname()
        return str(host), int(port)

    def serve(self) -> None:
        """Answers until `stop` is called; returns when all connections are closed."""
        self._count_descriptors()
        failing = False
        while not self._stopping.is_set():
            try:
                accepted, address = self._socket.accept()
            except OSError as error:
                if self._stopping.is_set():
                    break
                if not failing:
                    _log.error("connections cannot be accepted, trying again every %g s: %s", _ACCEPT_PAUSE, error)
                failing = True
                self._stopping.wait(_ACCEPT_PAUSE)
                continue
            if failing:
                _log.warning("connections are accepted again")
                failing = False
            self._take(accepted, f"connection {next(self._numbers)} from {address[0]}:{address[1]}")
        self._socket.close()
        self._finish()

    def stop(self) -> None:
        """Makes `serve` return. May be called from any thread and from a signal handler, more than once."""
        self._stopping.set()
        # Wakes accept(): by shutdown where the system does that, by a connection elsewhere.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            socket.create_connection(self.address, 1).close()

    def _count_descriptors(self) -> None:
        needed = _DESCRIPTORS * self._max_connections + _DESCRIPTORS_BESIDE
        if resource is not None and 0 <= (most := resource.getrlimit(resource.RLIMIT_NOFILE)[0]) < needed:
            _log.warning(
                "%d connections may need %d descriptors, and this process may have %d: raise that (ulimit -n), or serve "
                "fewer connections; those beyond wait to be accepted",
                self._max_connections,
                needed,
                most,
            )

    def _take(self, accepted: socket.socket, peer: str) -> None:
        connection = _Connection(accepted, Conversation(self._backend, self._max_put, peer))
        with self._lock:
            if self._stopping.is_set() or len(self._open) >= self._max_connections:
                accepted.close()
                if not self._stopping.is_set():
                    _log.warning("%s: closed, there are %d connections already", peer, self._max_connections)
                return
            self._open.add(connection)
        thread = threading.Thread(target=self._converse, args=(connection,), name=peer, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            with self._lock:
                self._open.discard(connection)
            accepted.close()
            _log.error("%s: closed, there is no thread for it: %s", peer, error)
            return
        connection.thread = thread

    def _converse(self, connection: _Connection) -> None:
        _log.info("%s: opened", connection.peer)
        try:
            self._secure(connection)
            self._drive(connection.socket, connection.conversation)
            _log.info("%s: closed", connection.peer)
        except TimeoutError:
            _log.info("%s: closed, it let the server wait too long", connection.peer)
        except OSError as error:
            _log.info("%s: lost: %s", connection.peer, error)
        except Exception:  # noqa: BLE001 - a fault in one conversation must not end the others
            _log.exception("%s: closed by a fault of the server", connection.peer)
        finally:
            _close(connection.socket)
            with self._lock:
                self._open.discard(connection)

    def _secure(self, connection: _Connection) -> None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._ssl_context is not None:
            connection.socket.settimeout(_HANDSHAKE_TIMEOUT)
            connection.socket = self._ssl_context.wrap_socket(connection.socket, server_side=True)
        connection.socket.settimeout(self._idle_timeout)

    def _drive(self, connection: socket.socket, conversation: Conversation) -> None:
        steps = conversation.steps()
        try:
            step = next(steps)
            while True:
                if isinstance(step, Receive):
                    if self._stopping.is_set() and conversation.at_rest:
                        return
                    step = steps.send(connection.recv_into(step.buffer))
                else:
                    _send(connection, step.buffers)
                    step = next(steps)
        except StopIteration:
            pass
        finally:
            steps.close()

    def _finish(self) -> None:
        """Ends the connections: those at rest at once, others when their request has ended or patience has."""
        deadline = time.monotonic() + _GRACE
        while True:
            with self._lock:
                left = list(self._open)
            if not left:
                return
            late = time.monotonic() > deadline
            for connection in left:
                if late or connection.conversation.at_rest:
                    with suppress(OSError):
                        connection.socket.shutdown(socket.SHUT_RDWR)
                if connection.thread is not None:
                    connection.thread.join(0.02)


def _send(connection: socket.socket, buffers: Buffers) -> None:
    if isinstance(connection, ssl.SSLSocket) or not hasattr(connection, "sendmsg"):  # takes one buffer at a time
        for buffer in gathered(buffers):
            connection.sendall(buffer)
        return
    for portion in portions(buffers):
        while portion:
            portion = unsent(portion, connection.sendmsg(portion))


def _close(connection: socket.socket) -> None:
    """Closes so that what was sent still arrives, though the peer may have sent more than was read. Not for long: a peer
    that goes on sending loses the answer in the end."""
    until = time.monotonic() + _LINGER
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(0.2)
        while connection.recv(65536) and time.monotonic() < until:
            pass
    connection.close()


@contextmanager
def serve_in_thread(
    target: str | Backend = "memory:",
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    ssl_context: ssl.SSLContext | None = None,
    max_connections: int = DEFAULT_MAX_CONNECTIONS,
    idle_timeout: float | None = None,
) -> Iterator[tuple[str, int]]:
    """A server in a thread of its own, for as long as the `with` block lasts; gives its host and port.

    Args:
        target: what `connect` takes (a path, `"memory:"`, a URL), closed in the end; or a backend, which is left open.
        host: address to listen at.
        port: port to listen at; 0 for any that is free.
        ssl_context: for TLS; a server context.
        max_connections: connections at once.
        idle_timeout: seconds that a peer may let the server wait; None for no limit.

    >>> with serve_in_thread() as (host, port):
    ...     host
    '127.0.0.1'
    """
    backend = open_backend(target) if isinstance(target, str) else target
    try:
        listener = Listener(
            backend,
            host,
            port,
            ssl_context=ssl_context,
            max_connections=max_connections,
            idle_timeout=idle_timeout,
        )
        thread = threading.Thread(target=listener.serve, name="tsmodel server", daemon=True)
        thread.start()
        try:
            yield listener.address
        finally:
            listener.stop()
            thread.join()
    finally:
        if isinstance(target, str):
            backend.close()
