"""Accepts connections and runs their conversations, one thread per connection. The only server module with sockets.

Rules kept here:

* Each connection has its own thread, because a conversation waits for its peer and for the disk. A slow peer delays only
  itself.
* A problem with one connection never ends the server, not even a lack of file descriptors or threads.
* Timeouts limit how long a peer may keep the server waiting, and how long a request may take. So no peer can hold a
  connection or a read snapshot indefinitely.
* On shutdown, requests in progress get some time to finish, and idle connections are closed at once. Acknowledged puts are
  durable in any case.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

import attrs

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

from tsmodel.backend import Backend
from tsmodel.errors import SessionError, TransportError
from tsmodel.io.connections import certified_names, listen_error, send_all
from tsmodel.io.effects import Send
from tsmodel.io.runners import run
from tsmodel.server.conversation import Conversation, Memory
from tsmodel.server.monitoring import Counts
from tsmodel.session.connecting import open_backend

__all__ = [
    "DEFAULT_MAX_CONNECTIONS",
    "DEFAULT_MAX_MEMORY",
    "DEFAULT_MAX_PUT",
    "DEFAULT_REQUEST_TIMEOUT",
    "DEFAULT_STALL_TIMEOUT",
    "Listener",
    "serve_in_thread",
]

DEFAULT_MAX_CONNECTIONS = 1000
DEFAULT_MAX_PUT = 2**30
DEFAULT_MAX_MEMORY = 2**31
DEFAULT_STALL_TIMEOUT = 60.0
DEFAULT_REQUEST_TIMEOUT = 3600.0

_ACCEPT_PAUSE = 0.2
_ACCEPT_TIMEOUT = 1.0
"""A signal that arrives just before accept() does not interrupt it; its handler then runs after this many seconds."""
_DESCRIPTORS = 3
"""File descriptors of a connection that reads a file: its socket, and two of SQLite's."""
_DESCRIPTORS_BESIDE = 32
_HANDSHAKE_TIMEOUT = 10.0
_LINGER = 2.0
_GRACE = 10.0

_log = logging.getLogger("tsmodel.server")


@attrs.frozen
class _Limits:
    """Limits on what peers may use."""

    max_connections: int
    max_put: int
    max_memory: int
    idle_timeout: float | None
    stall_timeout: float | None
    request_timeout: float | None

    def __attrs_post_init__(self) -> None:
        for name, value in attrs.asdict(self).items():
            if name.startswith("max_"):
                if value < 1:
                    raise SessionError(f"{name} must be at least 1, not {value!r}")
            elif value is not None and not 0 < value <= threading.TIMEOUT_MAX:
                raise SessionError(f"{name} must be a number of seconds above 0, or None for no limit, not {value!r}")

    def __str__(self) -> str:
        return ", ".join(f"{name} {'none' if value is None else value}" for name, value in attrs.asdict(self).items())


@attrs.define(eq=False)
class _Connection:
    """An open connection."""

    socket: socket.socket
    conversation: Conversation
    thread: threading.Thread | None = None

    @property
    def peer(self) -> str:
        return self.conversation.peer


class Listener:
    """A server on one address. The constructor starts listening; `serve` answers requests.

    Args:
        backend: stores the records; the listener does not close it.
        host: address to listen on; `::` for all IPv4 and IPv6 addresses, where the system supports it.
        port: port to listen on; 0 picks a free one.
        ssl_context: a server context, for TLS.
        max_connections: limit of concurrent connections; further ones are closed at once.
        idle_timeout: seconds a peer may keep the server waiting between or within requests; None for no limit.
        max_put: most bytes of records in one put.
        max_memory: most bytes that all connections together buffer for incoming puts. A large put counts with its
            compressed size; other puts with their records and about 400 bytes per batch. Sorting needs about 300 MB more.
        stall_timeout: seconds a peer may keep the server waiting within a request, for more data or for space to send.
        request_timeout: seconds a request may take in total, until its answer is sent.
        client_names: the client certificate must have one of these names; None accepts any certificate, or none.
        read_only: whether to refuse puts.

    Attributes:
        counts: the counters.
        memory: the memory shared by all connections.

    Raises:
        TransportError: if it cannot listen on the address.
        SessionError: if a limit is invalid.
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
        max_memory: int = DEFAULT_MAX_MEMORY,
        stall_timeout: float | None = DEFAULT_STALL_TIMEOUT,
        request_timeout: float | None = DEFAULT_REQUEST_TIMEOUT,
        client_names: Collection[str] | None = None,
        read_only: bool = False,
    ) -> None:
        self._backend = backend
        self._ssl_context = ssl_context
        self._limits = _Limits(max_connections, max_put, max_memory, idle_timeout, stall_timeout, request_timeout)
        self._client_names = client_names
        self._read_only = read_only
        self.counts = Counts()
        self.memory = Memory(self._limits.max_memory)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: set[_Connection] = set()
        self._numbers = count(1)
        if not 0 <= port <= 65535:
            raise TransportError(f"cannot listen on {host}:{port}: a port must be 0 to 65535")
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            dual = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
            self._socket = socket.create_server((host, port), family=family, backlog=512, dualstack_ipv6=dual)
        except OSError as error:
            raise listen_error(host, port, error) from error

    @property
    def address(self) -> tuple[str, int]:
        """The host and port it listens on."""
        host, port, *_ = self._socket.getsockname()
        return str(host), int(port)

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._open)

    def serve(self) -> None:
        """Serves until `stop` is called; returns once all connections are closed."""
        self._count_descriptors()
        self._warn_of_openness()
        _log.info("limits: %s", self._limits)
        failing = False
        self._socket.settimeout(_ACCEPT_TIMEOUT)
        while not self._stopping.is_set():
            try:
                accepted, address = self._socket.accept()
            except TimeoutError:
                continue
            except OSError as error:
                if self._stopping.is_set():
                    break
                if not failing:
                    _log.error("cannot accept connections, retrying every %g s: %s", _ACCEPT_PAUSE, error)
                failing = True
                self._stopping.wait(_ACCEPT_PAUSE)
                continue
            if failing:
                _log.warning("accepting connections again")
                failing = False
            self._take(accepted, f"connection {next(self._numbers)} from {address[0]}:{address[1]}")
        self._socket.close()
        self._finish()

    def stop(self) -> None:
        """Makes `serve` return. Safe to call from any thread or signal handler, and more than once."""
        self._stopping.set()
        # Wakes accept(): by a shutdown where the system supports it, otherwise by a connection.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            socket.create_connection(self.address, 1).close()

    def _count_descriptors(self) -> None:
        needed = _DESCRIPTORS * self._limits.max_connections + _DESCRIPTORS_BESIDE
        if resource is not None and 0 <= (most := resource.getrlimit(resource.RLIMIT_NOFILE)[0]) < needed:
            _log.warning(
                "%d connections may need %d file descriptors, but the limit of this process is %d: raise it (ulimit -n) or "
                "lower max_connections; further connections wait to be accepted",
                self._limits.max_connections,
                needed,
                most,
            )

    def _warn_of_openness(self) -> None:
        host, port = self.address
        if self._ssl_context is None and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            _log.warning(
                "LISTENING ON %s:%d WITHOUT TLS: anyone who can reach this port can read, add and intercept records. Use "
                "TLS with client certificates (--tls-cert, --tls-client-ca), or listen on 127.0.0.1",
                host,
                port,
            )

    def _take(self, accepted: socket.socket, peer: str) -> None:
        conversation = Conversation(
            self._backend,
            self._limits.max_put,
            peer,
            memory=self.memory,
            counts=self.counts,
            read_only=self._read_only,
        )
        connection = _Connection(accepted, conversation)
        conversation.is_gone = lambda: _is_gone(connection.socket)
        self.counts.add(connections_accepted=1)
        with self._lock:
            if self._stopping.is_set() or len(self._open) >= self._limits.max_connections:
                accepted.close()
                self.counts.add(connections_refused=1)
                if not self._stopping.is_set():
                    _log.warning("%s: closed, %d connections are open already", peer, self._limits.max_connections)
                return
            self._open.add(connection)
        thread = threading.Thread(target=self._converse, args=(connection,), name=peer, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            with self._lock:
                self._open.discard(connection)
            accepted.close()
            self.counts.add(connections_refused=1)
            _log.error("%s: closed, no thread is available: %s", peer, error)
            return
        connection.thread = thread

    def _converse(self, connection: _Connection) -> None:
        _log.info("%s: opened", connection.peer)
        try:
            self._secure(connection)
            if self._lets_in(connection):
                self._drive(connection.socket, connection.conversation)
            _log.info("%s: closed", connection.peer)
        except TimeoutError:
            self.counts.add(connections_timed_out=1)
            _log.info("%s: closed by a timeout", connection.peer)
        except OSError as error:
            _log.info("%s: lost: %s", connection.peer, error)
        except Exception:  # noqa: BLE001 - an error in one conversation must not end the others
            _log.exception("%s: closed by a server error", connection.peer)
        finally:
            _close(connection.socket)
            with self._lock:
                self._open.discard(connection)

    def _secure(self, connection: _Connection) -> None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._ssl_context is not None:
            connection.socket.settimeout(_HANDSHAKE_TIMEOUT)
            connection.socket = self._ssl_context.wrap_socket(connection.socket, server_side=True)

    def _lets_in(self, connection: _Connection) -> bool:
        """Whether the client certificate has one of the accepted names."""
        if self._client_names is None:
            return True
        names = certified_names(connection.socket)
        if names.isdisjoint(self._client_names):
            self.counts.add(connections_refused=1)
            _log.warning("%s: closed, its certificate is for %r, which is not accepted", connection.peer, sorted(names))
            return False
        _log.info("%s: is %r", connection.peer, min(names.intersection(self._client_names)))
        return True

    def _drive(self, connection: socket.socket, conversation: Conversation) -> None:
        patience = _Patience(connection, self._limits)
        received = sent = 0

        def carry_out(effect: Any) -> int | None:
            nonlocal received, sent
            if conversation.at_rest:
                self.counts.add(received_bytes=received, sent_bytes=sent)
                received = sent = 0
            patience.apply(conversation)
            if isinstance(effect, Send):
                sent += send_all(connection, effect.buffers, patience.check)
                return None
            if self._stopping.is_set() and conversation.at_rest:
                return 0  # as if the peer had closed the connection
            count = connection.recv_into(effect.buffer)
            received += count
            return count

        try:
            run(conversation.work(), carry_out)
        finally:
            self.counts.add(received_bytes=received, sent_bytes=sent)

    def _finish(self) -> None:
        """Closes the connections: idle ones at once, others after their request or the grace period."""
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


class _Patience:
    """Sets the timeouts of a connection.

    Args:
        connection: its socket.
        limits: the limits of the server.
    """

    def __init__(self, connection: socket.socket, limits: _Limits) -> None:
        self._connection = connection
        self._at_rest = limits.idle_timeout
        self._under_way = min((each for each in (limits.idle_timeout, limits.stall_timeout) if each), default=None)
        self._whole = limits.request_timeout
        self._request = -1
        self._until: float | None = None

    def apply(self, conversation: Conversation) -> None:
        """Sets the timeout for the next wait."""
        if conversation.at_rest:
            self._request = -1
            self._connection.settimeout(self._at_rest)
            return
        if self._request != conversation.ended:
            self._request = conversation.ended
            self._until = None if self._whole is None else time.monotonic() + self._whole
        self.check()

    def check(self) -> None:
        """Sets the timeout for the next wait within a request.

        Raises:
            TimeoutError: if the request takes too long.
        """
        left = None if self._until is None else self._until - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError("the request took too long")
        self._connection.settimeout(min((each for each in (self._under_way, left) if each is not None), default=None))


def _is_gone(connection: socket.socket) -> bool:
    """Whether the peer has reset the connection, so that nothing can be sent to it. A half-closed connection does not
    count: the peer may still wait for the answer."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    try:
        poll.register(connection, 0)
    except (OSError, ValueError):
        return True
    return bool(poll.poll(0))


def _close(connection: socket.socket) -> None:
    """Closes a connection so that the answer still arrives, even if the peer sent more than was read. Drains for a limited
    time: a peer that keeps sending loses the answer."""
    until = time.monotonic() + _LINGER
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(0.2)
        while connection.recv(65536) and time.monotonic() < until:
            pass
    connection.close()


@contextmanager
def serve_in_thread(
    target: str | os.PathLike[str] | Backend = "memory:",
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    ssl_context: ssl.SSLContext | None = None,
    max_connections: int = DEFAULT_MAX_CONNECTIONS,
    idle_timeout: float | None = None,
    client_names: Collection[str] | None = None,
    read_only: bool = False,
) -> Iterator[tuple[str, int]]:
    """Runs a server in a background thread for the `with` block; yields its host and port.

    Args:
        target: a target of `connect` (a path, `"memory:"`, a URL), closed at the end; or a backend, which stays open.
        host: address to listen on.
        port: port to listen on; 0 picks a free one.
        ssl_context: a server context, for TLS.
        max_connections: limit of concurrent connections.
        idle_timeout: seconds a peer may keep the server waiting; None for no limit.
        client_names: the client certificate must have one of these names; None accepts any.
        read_only: whether to refuse puts.

    >>> with serve_in_thread() as (host, port):
    ...     host
    '127.0.0.1'
    """
    is_own = isinstance(target, (str, os.PathLike))
    backend = open_backend(target) if isinstance(target, (str, os.PathLike)) else target
    try:
        listener = Listener(
            backend,
            host,
            port,
            ssl_context=ssl_context,
            max_connections=max_connections,
            idle_timeout=idle_timeout,
            client_names=client_names,
            read_only=read_only,
        )
        thread = threading.Thread(target=listener.serve, name="tsmodel server", daemon=True)
        thread.start()
        try:
            yield listener.address
        finally:
            listener.stop()
            thread.join()
    finally:
        if is_own:
            backend.close()
