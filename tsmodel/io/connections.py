"""`Connection`, a blocking socket with or without TLS; TLS contexts; and the errors of connections.

Rules kept here:

* A connection belongs to the process that opened it. A forked process closes only its copy of the descriptor, so the parent
  can go on using the connection.
* Our errors are also the system's: an unreachable port raises a `ConnectionRefusedError`.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tsmodel.errors import ServerError, TransportError
from tsmodel.forking import in_child
from tsmodel.io.pool import Address, PoolOptions
from tsmodel.wire.client_role import Buffers, coalesced, portions, unsent
from tsmodel.wire.events import Refusal, describe

__all__ = [
    "BaseConnection",
    "Connection",
    "certified_names",
    "client_context",
    "listen_error",
    "naming",
    "refusal_error",
    "send_all",
    "server_context",
    "set_abrupt",
    "transport_error",
]


class RefusedTransportError(TransportError, ConnectionRefusedError): ...


class ResetTransportError(TransportError, ConnectionResetError): ...


class BrokenPipeTransportError(TransportError, BrokenPipeError): ...


class AbortedTransportError(TransportError, ConnectionAbortedError): ...


class TimeoutTransportError(TransportError, TimeoutError): ...


class AddressTransportError(TransportError, socket.gaierror): ...


class CertificateTransportError(TransportError, ssl.SSLCertVerificationError):
    __str__ = OSError.__str__  # an SSLError without an errno shows its arguments


class TLSTransportError(TransportError, ssl.SSLError):
    __str__ = OSError.__str__


_KINDS: tuple[tuple[type[Exception], type[TransportError]], ...] = (
    (ConnectionRefusedError, RefusedTransportError),
    (ConnectionResetError, ResetTransportError),
    (BrokenPipeError, BrokenPipeTransportError),
    (ConnectionAbortedError, AbortedTransportError),
    (TimeoutError, TimeoutTransportError),
    (socket.gaierror, AddressTransportError),
    (ssl.SSLCertVerificationError, CertificateTransportError),
    (ssl.SSLError, TLSTransportError),
)


def transport_error(address: Address, doing: str, cause: Exception) -> TransportError:
    """The error for a failed or lost connection, with its cause chained."""
    kind = next((ours for theirs, ours in _KINDS if isinstance(cause, theirs)), TransportError)
    error = kind(f"{doing} {address} failed: {_reason(cause)}")
    error.__cause__ = cause
    error.errno = getattr(cause, "errno", None)
    return error


def _reason(cause: Exception) -> str:
    """Why a connection failed, without numbers."""
    if isinstance(cause, TimeoutError):
        return "timed out"
    if isinstance(cause, ssl.SSLError):
        words = (getattr(cause, "reason", None) or str(cause)).replace("_", " ")
        return ": ".join(filter(None, ["TLS", words.lower(), getattr(cause, "verify_message", "")]))
    if isinstance(cause, OSError) and cause.errno is not None:
        return (cause.strerror or str(cause)) if isinstance(cause, socket.gaierror) else os.strerror(cause.errno)
    return str(cause) or type(cause).__name__


@contextmanager
def naming(address: Address, doing: str) -> Iterator[None]:
    """Turns failures of the block into transport errors."""
    try:
        yield
    except (OSError, OverflowError, UnicodeError) as error:
        raise transport_error(address, doing, error) from error


def listen_error(host: str, port: int, cause: OSError) -> TransportError:
    """The error for an address that cannot be listened on."""
    if cause.errno == errno.EADDRINUSE:
        return TransportError(f"port {port} is in use on {host}; choose another with --port, or 0 for any free port")
    if cause.errno == errno.EACCES:
        return TransportError(f"port {port} needs privileges that this process lacks; choose one from 1024 with --port")
    return TransportError(f"cannot listen on {host}:{port}: {cause.strerror or cause}")


def refusal_error(refusal: Refusal, server: str = "the server") -> ServerError:
    """The error for an answer with an error status."""
    return ServerError(f"{server} refused the request: {describe(refusal.status)}", status=refusal.status)


def client_context(ca: str | None = None, cert: str | None = None, key: str | None = None) -> ssl.SSLContext:
    """A client context that verifies the server's certificate and name.

    Args:
        ca: PEM file with trusted certificate authorities; None for those of the system.
        cert: PEM file with this client's certificate chain, for servers that require one.
        key: PEM file with the private key; None if it is in the same file.

    Raises:
        TransportError: if a file cannot be used.
    """
    return _context(ssl.Purpose.SERVER_AUTH, ca, cert, key)


def server_context(cert: str | None, key: str | None, client_ca: str | None) -> ssl.SSLContext | None:
    """Creates a server context from PEM files; None without a certificate.

    Args:
        cert: the certificate chain.
        key: its private key; None if it is in the same file.
        client_ca: certificate authority that must have signed client certificates; None requires none.

    Raises:
        TransportError: if a file cannot be used, or a key or an authority is given without a certificate.
    """
    if cert is None:
        if key or client_ca:
            raise TransportError("TLS needs a certificate: add --tls-cert")
        return None
    context = _context(ssl.Purpose.CLIENT_AUTH, client_ca, cert, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _context(purpose: ssl.Purpose, ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(purpose, cafile=ca)
        # Some distributions leave the minimum to OpenSSL, which may allow older versions.
        context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
        if cert is not None:
            context.load_cert_chain(cert, key)
    except OSError as error:
        raise TransportError(
            f"TLS cannot use {', '.join(filter(None, (ca, cert, key)))}: {error.strerror or error}"
        ) from error
    return context


def certified_names(connection: socket.socket) -> set[str]:
    """The names in the certificate of the peer: its alternative names, and its common name."""
    found: Any = (connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None) or {}
    names = {str(value) for _, value in found.get("subjectAltName", ())}
    subject = [pair for part in found.get("subject", ()) for pair in part]
    return names | {str(value) for name, value in subject if name == "commonName"}


def set_abrupt(connected: socket.socket, is_abrupt: bool) -> None:
    """Sets whether closing a socket resets its connection and discards unsent bytes. Otherwise the system keeps sending
    them, possibly for minutes, even after the process has ended.
    """
    form = "hh" if os.name == "nt" else "ii"
    with suppress(OSError):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(form, is_abrupt, 0))


def send_all(connected: socket.socket, buffers: Buffers, before: Callable[[], object] = lambda: None) -> int:
    """Sends buffers through a blocking socket; returns the number of bytes.

    Args:
        connected: the socket.
        buffers: sent with few system calls where the system allows it: not through TLS, nor without sendmsg.
        before: called before each system call.
    """
    total = 0
    if isinstance(connected, ssl.SSLSocket) or not hasattr(connected, "sendmsg"):
        for buffer in coalesced(buffers):
            before()
            connected.sendall(buffer)
            total += len(buffer)
        return total
    for portion in portions(buffers):
        while portion:
            before()
            sent = connected.sendmsg(portion)
            portion = unsent(portion, sent)
            total += sent
    return total


class BaseConnection:
    """A connection to a server.

    Args:
        address: the server.
        options: how to reach it.
        connected: the socket, for its options.

    Attributes:
        open: whether it can serve a request: it is not closed, and no request is in progress.
    """

    def __init__(self, address: Address, options: PoolOptions, connected: socket.socket) -> None:
        self._address = address
        self._resets = options.resets
        self._socket = connected
        self.open = True
        if self._resets:
            set_abrupt(connected, True)
        in_child(self._forsake)

    def close(self) -> None:
        """Closes at once."""
        if self._resets and self.open:
            set_abrupt(self._socket, False)
        self.open = False
        self._shut()

    def _shut(self) -> None:
        self._socket.close()

    def _forsake(self) -> None:
        """Closes the copy of a forked process; the parent keeps its own."""
        self.open = False
        self._socket.close()


class Connection(BaseConnection):
    """A blocking connection.

    Raises:
        TransportError: if the server cannot be reached.
    """

    def __init__(self, address: Address, options: PoolOptions) -> None:
        with naming(address, "connecting to"):
            connected = socket.create_connection((address.host, address.port), options.timeout)
        try:
            with naming(address, "securing the connection to"):
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if options.ssl_context is not None:
                    connected = options.ssl_context.wrap_socket(connected, server_hostname=address.host)
        except TransportError:
            connected.close()
            raise
        super().__init__(address, options, connected)

    def send(self, buffers: Buffers) -> None:
        """Sends all bytes.

        Raises:
            TransportError: if the connection is lost or a wait takes too long.
        """
        with naming(self._address, "sending to"):
            send_all(self._socket, buffers)

    def receive(self, buffer: memoryview) -> int:
        """Receives at least one byte; returns the number of bytes, 0 at the end of the stream.

        Raises:
            TransportError: as `send`.
        """
        with naming(self._address, "receiving from"):
            return self._socket.recv_into(buffer)

    def set_timeout(self, timeout: float | None) -> None:
        """Sets the seconds that each wait may take from now on."""
        self._socket.settimeout(timeout)

    def is_usable(self) -> bool:
        """Whether an idle connection still works: the server has neither closed it nor sent unexpected bytes."""
        timeout = self._socket.gettimeout()
        try:
            self._socket.settimeout(0)
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            self._socket.settimeout(timeout)
            return self.open
        except OSError:
            return False
        return False
