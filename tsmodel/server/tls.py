"""TLS for a server."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from tsmodel.errors import TransportError

__all__ = ["certified_names", "server_context"]


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
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # Some distributions leave the minimum to OpenSSL, which may allow older versions.
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    try:
        context.load_cert_chain(cert, key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:
        raise TransportError(f"TLS cannot use {', '.join(filter(None, (cert, key, client_ca)))}: {error}") from error
    return context


def certified_names(connection: socket.socket) -> set[str]:
    """The names in the certificate of the peer: its alternative names, and its common name."""
    found: Any = (connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None) or {}
    names = {str(value) for _, value in found.get("subjectAltName", ())}
    subject = [pair for part in found.get("subject", ()) for pair in part]
    return names | {str(value) for name, value in subject if name == "commonName"}
