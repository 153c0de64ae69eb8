"""`connect` and `connect_async`: from a target to a session."""

from __future__ import annotations

from tsmodel.backend import AsyncBackend, Backend
from tsmodel.client.backend import TStorageBackend
from tsmodel.client.backend_async import AsyncTStorageBackend
from tsmodel.session.pending import DEFAULT_BATCH_SIZE
from tsmodel.session.session import Session
from tsmodel.session.session_async import AsyncSession
from tsmodel.session.target import StoreFile, Target, TargetLike, parse
from tsmodel.session.threads import ThreadedStore
from tsmodel.store import open_store

__all__ = ["connect", "connect_async", "open_backend"]


def connect(target: TargetLike = None, *, batch_size: int = DEFAULT_BATCH_SIZE) -> Session:
    """Opens a session; use it in a `with` block.

    Args:
        target: path of an embedded file, created when absent; `"memory:"` for a store that lives as long as the session;
            `"tstorage://host:port"` (port 2025 by default) for a TStorage server; None for the value of the environment
            variable TSMODEL_URL. A URL takes options behind a `?`: `timeout=seconds` for each wait, `tls=1` for TLS, then
            `ca=file` for the authorities to trust, `cert=file` and `key=file` for a certificate of one's own.
        batch_size: records collected before they are stored without waiting for `flush`.

    Raises:
        SessionError: when the target is not one of these.
        StoreError: when the file cannot be opened, is not a tsmodel store, or was written by a newer version.
        TransportError: when the server cannot be reached.

    >>> with connect("memory:") as session:
    ...     session.flush().count
    0
    """
    parsed = parse(target)
    return Session(_backend(parsed), name=_named(target, parsed), batch_size=batch_size)


def connect_async(target: TargetLike = None, *, batch_size: int = DEFAULT_BATCH_SIZE) -> AsyncSession:
    """Gives a session whose waits are awaited; use it in an `async with` block, which opens it.

    Arguments as for `connect`. An embedded store is driven by threads.

    Raises:
        SessionError: when the target is not one of these. Whatever else `connect` raises comes on entering the block.
    """
    parsed = parse(target)

    async def opener() -> AsyncBackend:
        if isinstance(parsed, StoreFile):
            return ThreadedStore(open_store(parsed.path))
        backend = AsyncTStorageBackend(parsed.host, parsed.port, timeout=parsed.timeout, ssl_context=parsed.ssl_context)
        await backend.connect()
        return backend

    return AsyncSession(opener, name=_named(target, parsed), batch_size=batch_size)


def open_backend(target: TargetLike) -> Backend:
    """The backend of a target; see `connect`."""
    return _backend(parse(target))


def _backend(target: Target) -> Backend:
    if isinstance(target, StoreFile):
        return open_store(target.path)
    return TStorageBackend(target.host, target.port, timeout=target.timeout, ssl_context=target.ssl_context)


def _named(target: TargetLike, parsed: Target) -> str:
    if target is not None:
        return str(target)
    return f"{parsed.host}:{parsed.port}" if not isinstance(parsed, StoreFile) else parsed.path or "memory:"
