"""How the failures of a connection read.

Rules kept here:

* A program that catches what the system's sockets raise catches ours: an unreachable port is a `ConnectionRefusedError`.
"""

from __future__ import annotations

import socket
import ssl

from tsmodel.errors import ServerError, TransportError
from tsmodel.wire.messages import Refusal
from tsmodel.wire.status import describe

__all__ = ["refusal_error", "transport_error"]


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


def refusal_error(refusal: Refusal, server: str = "the server") -> ServerError:
    """The error for an answer with an error status."""
    return ServerError(f"{server} refused the request: {describe(refusal.status)}", status=refusal.status)
