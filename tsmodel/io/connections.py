"""`Connection`: a socket that blocks, plain or through TLS.

Rules kept here:

* A connection belongs to the process that made it. In a forked one it is closed at once, by its descriptor alone: the
  parent goes on with it.
"""

from __future__ import annotations

import socket
import ssl

from tsmodel.forking import in_child
from tsmodel.io.failures import transport_error
from tsmodel.wire.requests import Buffers, gathered, portions, unsent

__all__ = ["Connection"]


class Connection:
    """A connection to a server.

    Args:
        host: name or address of the server.
        port: its port.
        timeout: seconds that connecting and each wait for bytes may take; None for no limit.
        ssl_context: for TLS; None for plain TCP.

    Attributes:
        open: whether it can be asked something: it is not closed, and no operation is under way.

    Raises:
        TransportError: when the server cannot be reached.
    """

    def __init__(
        self, host: str, port: int, timeout: float | None = None, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._host, self._port = host, port
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
        in_child(self.close)

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
