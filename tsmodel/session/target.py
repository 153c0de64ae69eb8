"""What `connect` is given: a file path, `memory:`, a `tstorage://` URL, or None for the environment variable."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import attrs

from tsmodel.client.tls import client_context
from tsmodel.errors import SessionError

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["DEFAULT_PORT", "Server", "StoreFile", "Target", "TargetLike", "parse"]

TargetLike: TypeAlias = "str | os.PathLike[str] | None"
"""What stands for a target."""

DEFAULT_PORT = 2025

_MEMORY = "memory:"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_EXAMPLE = "tstorage://host:2025?timeout=5"
_OPTIONS = ("timeout", "tls", "ca", "cert", "key")


@attrs.frozen
class StoreFile:
    """An embedded store.

    Attributes:
        path: its file, or None for memory.
    """

    path: str | None


@attrs.frozen
class Server:
    """A TStorage server.

    Attributes:
        host: name or address.
        port: its port.
        timeout: seconds that each wait may take; None for no limit.
        ssl_context: for TLS; None for plain TCP.
    """

    host: str
    port: int
    timeout: float | None = None
    ssl_context: SSLContext | None = None


Target: TypeAlias = StoreFile | Server


def parse(target: TargetLike) -> Target:
    """What a target stands for.

    Raises:
        SessionError: when it is none.
        TransportError: when a file that its TLS options name cannot be used.
    """
    if target is None:
        target = os.environ.get("TSMODEL_URL")
        if not target:
            raise SessionError("connect() without a target reads the environment variable TSMODEL_URL, which is not set")
    text = os.fspath(target)
    if not isinstance(text, str) or not text:
        raise SessionError(f"a target is a path, {_MEMORY!r} or a tstorage:// URL, not {target!r}")
    if text == _MEMORY:
        return StoreFile(None)
    if text.startswith("tstorage://"):
        return _server(text)
    if isinstance(target, str) and (scheme := _SCHEME.match(text)):
        raise SessionError(
            f"{text!r}: unknown target {scheme[1]}:; known are paths, {_MEMORY!r} and tstorage://host:port. A path that "
            f"looks like this is given as pathlib.Path({text!r})"
        )
    return StoreFile(text)


def _server(url: str) -> Server:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        found = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise SessionError(f"{url!r} is not a URL such as {_EXAMPLE}: {error}") from error
    if not host or parts.path not in ("", "/") or parts.fragment or parts.username is not None:
        raise SessionError(f"{url!r} is not a URL such as {_EXAMPLE}")
    for name, values in found.items():
        if name not in _OPTIONS or len(values) > 1:
            raise SessionError(f"{url!r}: unknown or repeated option {name!r}; known are {', '.join(_OPTIONS)}")
    options: dict[str, Any] = {name: values[0] for name, values in found.items()}
    timeout = _seconds(url, options["timeout"]) if "timeout" in options else None
    return Server(host, DEFAULT_PORT if port is None else port, timeout, _tls(url, options))


def _seconds(url: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise SessionError(f"{url!r}: timeout={text!r} is not a number of seconds above 0")
    return seconds


def _tls(url: str, options: dict[str, str]) -> SSLContext | None:
    wanted = options.get("tls", "0")
    if wanted not in ("0", "1"):
        raise SessionError(f"{url!r}: tls={wanted!r}; it is 1 for TLS, 0 for none")
    files = {name: options[name] for name in ("ca", "cert", "key") if name in options}
    if wanted == "1":
        return client_context(**files)
    if files:
        raise SessionError(f"{url!r}: {', '.join(files)} are for TLS: add tls=1")
    return None
