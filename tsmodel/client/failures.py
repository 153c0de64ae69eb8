"""How the failures of a connection read."""

from __future__ import annotations

from tsmodel.errors import ServerError, TransportError
from tsmodel.wire.messages import Refusal
from tsmodel.wire.status import describe

__all__ = ["refusal_error", "transport_error"]


def transport_error(host: str, port: int, doing: str, cause: Exception) -> TransportError:
    """The error for a connection that could not be made or was lost, with its cause chained."""
    reason = "timed out" if isinstance(cause, TimeoutError) else str(cause) or type(cause).__name__
    error = TransportError(f"{doing} {host}:{port} failed: {reason}")
    error.__cause__ = cause
    return error


def refusal_error(refusal: Refusal, server: str = "the server") -> ServerError:
    """The error for an answer with an error status."""
    return ServerError(f"{server} refused the request: {describe(refusal.status)}", status=refusal.status)
