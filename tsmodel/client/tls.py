"""TLS of a client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsmodel.errors import TransportError

if TYPE_CHECKING:
    import ssl

__all__ = ["client_context"]


def client_context(ca: str | None = None, cert: str | None = None, key: str | None = None) -> ssl.SSLContext:
    """A context that verifies the server and its name.

    Args:
        ca: file (PEM) with the authorities to trust; None for those that the system trusts.
        cert: file (PEM) with this client's certificate chain, when the server asks for one.
        key: file (PEM) with its private key; None when it is in the same file.

    Raises:
        TransportError: when a file cannot be used.
    """
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            context.load_cert_chain(cert, key)
    except OSError as error:
        raise TransportError(f"TLS cannot use {', '.join(filter(None, (ca, cert, key)))}: {error}") from error
    return context
