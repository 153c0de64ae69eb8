"""`connect`: from a target to a session.

A target is a file path, `memory:`, a `tstorage://` URL, or None for the environment variable TSMODEL_URL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from tsmodel.backend import Backend
from tsmodel.client.backend import TStorageBackend
from tsmodel.errors import SessionError
from tsmodel.session.session import DEFAULT_BATCH_SIZE, Session
from tsmodel.store import open_store

__all__ = ["DEFAULT_PORT", "connect", "open_backend"]

DEFAULT_PORT = 2025
_MEMORY = "memory:"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


def connect(target: str | os.PathLike[str] | None = None, *, batch_size: int = DEFAULT_BATCH_SIZE) -> Session:
    """Opens a session; use it in a `with` block.

    Args:
        target: path of an embedded file, created when absent; `"memory:"` for a store that lives as long as the session;
            `"tstorage://host:port"` (port 2025 by default; `?timeout=seconds`) for a TStorage server; None for the value
            of the environment variable TSMODEL_URL.
        batch_size: records collected before they are stored without waiting for `flush`.

    Raises:
        SessionError: when the target is not one of these.
        StoreError: when the file cannot be opened, is not a tsmodel store, or was written by a newer version.
        TransportError: when the server cannot be reached.

    >>> with connect("memory:") as session:
    ...     session.flush().count
    0
    """
    if target is None:
        target = os.environ.get("TSMODEL_URL")
        if not target:
            raise SessionError("connect() without a target reads the environment variable TSMODEL_URL, which is not set")
    return Session(open_backend(target), name=str(target), batch_size=batch_size)


def open_backend(target: str | os.PathLike[str]) -> Backend:
    """The backend of a target; see `connect`."""
    text = os.fspath(target)
    if not isinstance(text, str) or not text:
        raise SessionError(f"a target is a path, {_MEMORY!r} or a tstorage:// URL, not {target!r}")
    if text == _MEMORY:
        return open_store(None)
    if text.startswith("tstorage://"):
        return _tstorage(text)
    if isinstance(target, str) and (scheme := _SCHEME.match(text)):
        raise SessionError(
            f"{text!r}: unknown target {scheme[1]}:; known are paths, {_MEMORY!r} and tstorage://host:port. A path that "
            f"looks like this is given as pathlib.Path({text!r})"
        )
    return open_store(text)


def _tstorage(url: str) -> Backend:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise SessionError(f"{url!r} is not a URL such as tstorage://host:2025?timeout=5: {error}") from error
    if not host or parts.path not in ("", "/") or parts.fragment or parts.username is not None:
        raise SessionError(f"{url!r} is not a URL such as tstorage://host:2025?timeout=5")
    timeout = None
    for name, values in options.items():
        if name not in _OPTIONS or len(values) > 1:
            raise SessionError(f"{url!r}: unknown or repeated option {name!r}; known are {', '.join(_OPTIONS)}")
        timeout = _OPTIONS[name](url, values[0])
    return TStorageBackend(host, DEFAULT_PORT if port is None else port, timeout=timeout)


def _seconds(url: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise SessionError(f"{url!r}: timeout={text!r} is not a number of seconds above 0")
    return seconds


_OPTIONS: dict[str, Callable[[str, str], float]] = {"timeout": _seconds}
