"""`Connection`: a blocking socket, plain or through TLS; and the errors of connections.

Rules kept here:

* A connection belongs to the process that made it. In a forked process it is closed at once, by its descriptor alone: the
  parent goes on with it.
* A program that catches what the system's sockets raise catches ours: an unreachable port is a `ConnectionRefusedError`.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import struct
from contextlib import suppress

from tsmodel.errors import ServerError, TransportError
from tsmodel.forking import in_child
from tsmodel.wire.client_role import Buffers, gathered, portions, unsent
from tsmodel.wire.events import Refusal, describe

__all__ = ["Connection", "client_context", "listen_error", "refusal_error", "set_abrupt", "transport_error"]


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


def transport_error(host: str, port: int, doing: str, cause: Exception) -> TransportError:
    """The error for a connection that could not be made or was lost, with its cause chained."""
    reason = "timed out" if isinstance(cause, TimeoutError) else str(cause) or type(cause).__name__
    kind = next((ours for theirs, ours in _KINDS if isinstance(cause, theirs)), TransportError)
    error = kind(f"{doing} {host}:{port} failed: {reason}")
    error.__cause__ = cause
    error.errno = getattr(cause, "errno", None)
    return error


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
    """A context that verifies the server and its name.

    Args:
        ca: file (PEM) with the authorities to trust; None for those that the system trusts.
        cert: file (PEM) with this client's certificate chain, when the server asks for one.
        key: file (PEM) with its private key; None when it is in the same file.

    Raises:
        TransportError: when a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
        # Some distributions leave it to OpenSSL, which may take older ones.
        context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
        if cert is not None:
            context.load_cert_chain(cert, key)
    except OSError as error:
        raise TransportError(f"TLS cannot use {', '.join(filter(None, (ca, cert, key)))}: {error}") from error
    return context


def set_abrupt(connected: socket.socket, is_abrupt: bool) -> None:
    """Says whether closing a socket resets its connection, and drops what was not sent yet. Otherwise the system goes on
    sending it, for minutes if need be, also when the process is gone.
    """
    form = "hh" if os.name == "nt" else "ii"
    with suppress(OSError):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(form, is_abrupt, 0))


class Connection:
    """A connection to a server.

    Args:
        host: name or address of the server.
        port: its port.
        timeout: seconds that connecting and each wait for bytes may take; None for no limit.
        ssl_context: for TLS; None for plain TCP.
        resets: whether it is reset when it ends in the middle of a request; see `PoolOptions`.

    Attributes:
        open: whether it can be asked something: it is not closed, and no operation is under way.

    Raises:
        TransportError: when the server cannot be reached.
    """

    def __init__(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        ssl_context: ssl.SSLContext | None = None,
        *,
        resets: bool = False,
    ) -> None:
        self._host, self._port = host, port
        self._resets = resets
        try:
            self._socket = socket.create_connection((host, port), timeout)
        except (OSError, OverflowError, UnicodeError) as error:
            raise transport_error(host, port, "connecting to", error) from error
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if ssl_context is not None:
                self._socket = ssl_context.wrap_socket(self._socket, server_hostname=host)
        except OSError as error:
            self._socket.close()
            raise transport_error(host, port, "securing the connection to", error) from error
        scatters = ssl_context is None and hasattr(self._socket, "sendmsg")
        self._write = self._scatter if scatters else self._gather
        self.open = True
        if resets:
            set_abrupt(self._socket, True)
        in_child(self._forsake)

    def send(self, buffers: Buffers) -> None:
        """Sends all bytes.

        Raises:
            TransportError: when the connection is lost, or it takes too long.
        """
        try:
            self._write(buffers)
        except OSError as error:
            raise transport_error(self._host, self._port, "sending to", error) from error

    def receive(self, buffer: memoryview) -> int:
        """Receives at least one byte; 0 at the end.

        Raises:
            TransportError: as `send`.
        """
        try:
            return self._socket.recv_into(buffer)
        except OSError as error:
            raise transport_error(self._host, self._port, "receiving from", error) from error

    def set_timeout(self, timeout: float | None) -> None:
        """Seconds that each wait may take from now on."""
        self._socket.settimeout(timeout)

    def is_usable(self) -> bool:
        """Whether a connection at rest is still there: the server has not closed it, nor sent what nobody asked for."""
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

    def close(self) -> None:
        """Closes the socket, and tells the other side nothing more."""
        if self._resets and self.open:
            set_abrupt(self._socket, False)
        self._forsake()

    def _forsake(self) -> None:
        self.open = False
        self._socket.close()

    def _scatter(self, buffers: Buffers) -> None:
        """Sends many buffers with few system calls, as they are made."""
        assert not isinstance(self._socket, ssl.SSLSocket)
        for portion in portions(buffers):
            while portion:
                portion = unsent(portion, self._socket.sendmsg(portion))

    def _gather(self, buffers: Buffers) -> None:
        """Sends where one buffer is taken at a time: through TLS, and where the system has no sendmsg."""
        for buffer in gathered(buffers):
            self._socket.sendall(buffer)
