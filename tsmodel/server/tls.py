"""TLS of a server."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from tsmodel.errors import TransportError

__all__ = ["certified_names", "server_context"]


def server_context(cert: str | None, key: str | None, client_ca: str | None) -> ssl.SSLContext | None:
    """A context from PEM files, or None without any.

    Args:
        cert: the certificate chain.
        key: its private key; None when it is in the same file.
        client_ca: authority whose certificates clients must have; None to let in all.

    Raises:
        TransportError: when a file cannot be used, or there is a key or an authority without a certificate.
    """
    if cert is None:
        if key or client_ca:
            raise TransportError("TLS needs a certificate: give --tls-cert as well")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # Some distributions leave it to OpenSSL, which may take older ones.
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
    """The names that the peer's certificate is for: of hosts, users and services, and its common name."""
    found: Any = (connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None) or {}
    names = {str(value) for _, value in found.get("subjectAltName", ())}
    subject = [pair for part in found.get("subject", ()) for pair in part]
    return names | {str(value) for name, value in subject if name == "commonName"}
