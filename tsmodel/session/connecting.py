"""`connect` and `connect_async`: from a target to a session."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from tsmodel.backend import AsyncBackend, Backend
from tsmodel.errors import SessionError
from tsmodel.io.retry import ONCE, Retry
from tsmodel.session.core import SessionOptions
from tsmodel.session.observing import Hooks, OnRequest, OnResponse
from tsmodel.session.pending import DEFAULT_BATCH_SIZE
from tsmodel.session.session import Session
from tsmodel.session.target import Database, SpooledServer, SpoolOptions, StoreFile, Target, TargetLike, parse
from tsmodel.store import DEFAULT_CACHE, EmbeddedStore, open_store
from tsmodel.timestamps import DurationLike

if TYPE_CHECKING:
    from tsmodel.session.session_async import AsyncSession

__all__ = ["connect", "connect_async", "open_backend"]


def connect(
    target: TargetLike = None,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    batch_bytes: int | None = None,
    batch_age: DurationLike | None = None,
    flush_every: DurationLike | None = None,
    retry: Retry | None = None,
    allow_full_scan: bool = True,
    cache_bytes: int | None = None,
    read_only: bool | None = None,
    create: bool | None = None,
    on_request: OnRequest | None = None,
    on_response: OnResponse | None = None,
    telemetry: Hooks | bool = False,
) -> Session:
    """Opens a session; use it in a `with` block.

    Args:
        target: path of an embedded file, created when absent, or `"file:path?read_only=1"`, whose options `read_only` and
            `create` are 0 or 1; `"memory:"` or `":memory:"` for a store that lives as long as the session;
            `"tstorage://host:port"` (port 2025 by default) for a TStorage server, or `"tstorage://a:2025,b:2025"` for one
            with several connectors, over which operations are spread; `"postgresql://user@host/db?schema=tsmodel"` for a
            schema of a PostgreSQL database, whose tables are created when absent; None for the value of the environment
            variable TSMODEL_URL. A TStorage server's URL takes options behind a `?`: `timeout=seconds` for each wait,
            `pool=16` for the most connections at once, `pool_timeout=seconds` (30 by default) for waiting until one of them
            is free, `tls=1` for TLS, then `ca=file` for the authorities to trust, `cert=file` and `key=file` for a
            certificate of one's own; and `spool=path`, a file that keeps records while the server is away. They are sent
            when it is back, and their acq is the time of that; `spool_bytes`, `spool_full=refuse` or `drop_oldest`, and
            `spool_wait` say more. That of a database takes `schema`, `pool`, `pool_timeout`, `read_only` and `create`;
            all else is libpq's: `sslmode`, `target_session_attrs`, ...
        batch_size: records collected before they are stored without waiting for `flush`.
        batch_bytes: the same in bytes of their records; those of models of variable size are estimated. None: no limit.
        batch_age: stores when the oldest record has waited this long, "30s" say. Looked at whenever something is added.
        flush_every: stores in the background, by a thread (or a task), every so often. When that fails the next call that
            adds raises it, and nothing is tried in the background until it has.
        retry: what is tried again after a failure, and what becomes of a put without an answer. None: nothing is.
        allow_full_scan: whether queries may read without any bounds on cid, mid, cap and acq; they raise otherwise.
        cache_bytes: most bytes of what was read from an embedded file that are kept in memory, and need not be read and
            checked again; 0 for none. None: 64 MiB.
        read_only: opens an embedded file without writing anything, not even a file beside it; it must exist.
        create: whether an embedded file that does not exist is created; it is by default. False refuses it.
        on_request: called with a `Request` before each request is sent; what it raises stops the request.
        on_response: called with a `Response` when a request came to its end or failed; what it raises is logged.
        telemetry: True for an OpenTelemetry span of each request, and metrics, by the global providers; or an
            `OpenTelemetry` with others.

    Raises:
        SessionError: when the target is not one of these, or an option is not valid.
        StoreError: when the file cannot be opened, is not a tsmodel store, or was written by a newer version.
        TransportError: when the server cannot be reached.
        MissingLibraryError: when `telemetry` is asked for and opentelemetry-api is not installed.

    >>> with connect("memory:") as session:
    ...     session.flush().count
    0
    """
    parsed = _with_options(parse(target), read_only, create)
    _check_cache(parsed, cache_bytes)
    options = SessionOptions(
        batch_size=batch_size,
        batch_bytes=batch_bytes,
        batch_age=batch_age,
        flush_every=flush_every,
        retry=retry,
        allow_full_scan=allow_full_scan,
        on_request=on_request,
        on_response=on_response,
        telemetry=telemetry,
    )
    spool = _prepared(parsed)
    return Session(_backend(parsed, retry, cache_bytes), name=_named(target, parsed), options=options, spool=spool)


def connect_async(
    target: TargetLike = None,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    batch_bytes: int | None = None,
    batch_age: DurationLike | None = None,
    flush_every: DurationLike | None = None,
    retry: Retry | None = None,
    allow_full_scan: bool = True,
    cache_bytes: int | None = None,
    read_only: bool | None = None,
    create: bool | None = None,
    on_request: OnRequest | None = None,
    on_response: OnResponse | None = None,
    telemetry: Hooks | bool = False,
) -> AsyncSession:
    """Gives a session whose waits are awaited; use it in an `async with` block, which opens it.

    Arguments as for `connect`. An embedded store is driven by threads.

    Raises:
        SessionError: when the target is not one of these. Whatever else `connect` raises comes on entering the block.
    """
    from tsmodel.client.tstorage import AsyncTStorageBackend
    from tsmodel.io.threads import ThreadedStore, in_thread
    from tsmodel.session.session_async import AsyncSession

    parsed = _with_options(parse(target), read_only, create)
    _check_cache(parsed, cache_bytes)

    async def spooled(server: SpooledServer) -> AsyncBackend:
        await in_thread(lambda: _prepared(server))
        return AsyncTStorageBackend(server, retry or ONCE)

    def opener() -> Awaitable[AsyncBackend]:
        if isinstance(parsed, (StoreFile, Database)):
            return ThreadedStore.opened(partial(_store, parsed, cache_bytes))
        if isinstance(parsed, SpooledServer):
            return spooled(parsed)
        return AsyncTStorageBackend.opened(parsed, retry or ONCE)

    options = SessionOptions(
        batch_size=batch_size,
        batch_bytes=batch_bytes,
        batch_age=batch_age,
        flush_every=flush_every,
        retry=retry,
        allow_full_scan=allow_full_scan,
        on_request=on_request,
        on_response=on_response,
        telemetry=telemetry,
    )
    spool = parsed.spool if isinstance(parsed, SpooledServer) else None
    return AsyncSession(opener, name=_named(target, parsed), options=options, spool=spool)


def open_backend(target: TargetLike, *, cache_bytes: int | None = None, read_only: bool = False) -> Backend:
    """The backend of a target; see `connect`. What is only for embedded files is left out for others."""
    parsed = parse(target)
    if _is_stored(parsed):
        return _backend(_with_options(parsed, read_only or None, None), cache_bytes=cache_bytes)
    if isinstance(parsed, SpooledServer):
        raise SessionError(f"{target!r}: a spool is for sessions, which know their puts: leave spool= out")
    return _backend(parsed)


def _backend(target: Target, retry: Retry | None = None, cache_bytes: int | None = None) -> Backend:
    if isinstance(target, (StoreFile, Database)):
        return _store(target, cache_bytes)
    from tsmodel.client.tstorage import TStorageBackend  # sockets and TLS, for those who need them

    return TStorageBackend(target, retry or ONCE, reached=not isinstance(target, SpooledServer))


def _prepared(target: Target) -> SpoolOptions | None:
    """The spool before a server, opened."""
    if not isinstance(target, SpooledServer):
        return None
    target.spool.file().prepare([str(address) for address in target.addresses])
    return target.spool


def _store(target: StoreFile | Database, cache_bytes: int | None) -> EmbeddedStore:
    cache = DEFAULT_CACHE if cache_bytes is None else cache_bytes
    if isinstance(target, Database):
        from tsmodel.store.postgres.store import open_database  # psycopg, for those who need it

        return open_database(target, cache)
    return open_store(target.path, cache, read_only=target.read_only, create=target.create)


def _with_options(target: Target, read_only: bool | None, create: bool | None) -> Target:
    """A target with the options that were given as arguments; they come before those of a URL."""
    given = {name: value for name, value in (("read_only", read_only), ("create", create)) if value is not None}
    for name, value in given.items():
        if type(value) is not bool:
            raise SessionError(f"{name} takes a bool, not {value!r}")
        if not _is_stored(target):
            raise SessionError(f"{name} is for embedded files and PostgreSQL")
    if not given or not isinstance(target, (StoreFile, Database)):
        return target
    return msgspec.structs.replace(
        target, read_only=given.get("read_only", target.read_only), create=given.get("create", target.create)
    )


def _check_cache(target: Target, cache_bytes: int | None) -> None:
    if cache_bytes is None:
        return
    if type(cache_bytes) is not int or cache_bytes < 0:
        raise SessionError(f"cache_bytes takes an int from 0, not {cache_bytes!r}")
    if not _is_stored(target):
        raise SessionError("cache_bytes is for embedded files and PostgreSQL: only what is read from these is kept")


def _is_stored(target: Target) -> bool:
    """Whether blocks are kept in a file or in a database."""
    return isinstance(target, Database) or (isinstance(target, StoreFile) and target.path is not None)


def _named(target: TargetLike, parsed: Target) -> str:
    if isinstance(parsed, Database):
        return parsed.name  # without a password
    if target is not None:
        return str(target)
    return str(parsed) if not isinstance(parsed, StoreFile) else parsed.path or "memory:"
