"""`connect` and `connect_async`: open a session on a target."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING

from tsmodel.errors import SessionError

if TYPE_CHECKING:
    from tsmodel.backend import Backend
    from tsmodel.io.effects import Work
    from tsmodel.io.retry import Retry
    from tsmodel.session.observing import Hooks, OnRequest, OnResponse
    from tsmodel.session.session import Session
    from tsmodel.session.session_async import AsyncSession
    from tsmodel.session.target import Database, SpoolOptions, StoreFile, Target, TargetLike
    from tsmodel.store import EmbeddedStore
    from tsmodel.store.postgres import ShardedStore
    from tsmodel.timestamps import DurationLike

__all__ = ["connect", "connect_async", "open_backend"]


def connect(
    target: TargetLike = None,
    *,
    batch_size: int = 100_000,
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
        target: one of the following.

            * A path, or `"file:path?read_only=1"`: an embedded file, created if it does not exist. The options `read_only`
              and `create` are 0 or 1.
            * `"memory:"` or `":memory:"`: a store that lives as long as the session.
            * `"tstorage://host:port"`: a TStorage server; the default port is 2025. For a server with several connectors,
              `"tstorage://a:2025,b:2025"` spreads operations over them. Options follow a `?`: `timeout=seconds` limits
              each wait, `pool=16` the number of connections, and `pool_timeout=seconds` (default 30) the wait for a free
              one. `tls=1` turns on TLS; `ca=file` names the authorities to trust, `cert=file` and `key=file` your own
              certificate. `spool=path` names a file that keeps records while the server is away. The session sends them
              when the server is back, and they get their acq then; `spool_bytes`, `spool_full=refuse` or `drop_oldest`,
              and `spool_wait` configure the spool.
            * `"postgresql://user@host/db?schema=tsmodel"`: a schema of a PostgreSQL database; its tables are created if
              they do not exist. Options are `schema`, `pool`, `pool_timeout`, `read_only` and `create`; all others go to
              libpq, such as `sslmode` and `target_session_attrs`.
            * None: the value of the environment variable TSMODEL_URL.
        batch_size: number of pending records at which the session stores them without waiting for `flush`.
        batch_bytes: the same limit in bytes. Sizes are estimated for models with variable payloads. None for no limit.
        batch_age: how long the oldest pending record may wait, as "30s". Checked whenever you add something.
        flush_every: interval of background flushes, which a thread (or a task) makes. After a failed flush they pause
            until the next call that adds has raised the error.
        retry: what to retry after a failure, and what to do about in-doubt puts. None retries nothing.
        allow_full_scan: whether queries may read without bounds on cid, mid, cap and acq. If False, they raise.
        cache_bytes: memory for blocks read from an embedded file or from PostgreSQL, which then need not be read and
            checked again; 0 for no cache, None for 64 MiB.
        read_only: opens an embedded file or a PostgreSQL schema without writing anything, not even a file beside it. It
            must exist.
        create: whether to create an embedded file or a PostgreSQL schema that does not exist (default). If False,
            `connect` raises.
        on_request: called with a `Request` before each request is sent. An exception stops the request.
        on_response: called with a `Response` when a request has completed or failed. Exceptions are logged.
        telemetry: True for OpenTelemetry spans and metrics of each request through the global providers; or an
            `OpenTelemetry` with other providers.

    Raises:
        SessionError: when the target or an option is not valid.
        StoreError: when the file cannot be opened, is not a tsmodel store, or was written by a newer version.
        TransportError: when the server cannot be reached.
        MissingLibraryError: when `telemetry` is set and opentelemetry-api is not installed.

    >>> with connect("memory:") as session:
    ...     session.flush().count
    0
    """
    from tsmodel.session.core import SessionOptions  # late: a program that only declares models needs no sessions
    from tsmodel.session.session import Session
    from tsmodel.session.target import check_cache, name_of, parse, with_options

    parsed = with_options(parse(target), read_only, create)
    check_cache(parsed, cache_bytes)
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
    return Session(_backend(parsed, retry, cache_bytes), name=name_of(target, parsed), options=options, spool=spool)


def connect_async(
    target: TargetLike = None,
    *,
    batch_size: int = 100_000,
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
    """Returns an asynchronous session. Use it in an `async with` block, which opens it.

    The arguments are those of `connect`. An embedded store runs in threads.

    Raises:
        SessionError: when the target or an option is not valid. Entering the block raises all other errors of `connect`.
    """
    from tsmodel.client.tstorage import TStorageBackend
    from tsmodel.io.effects import Block
    from tsmodel.io.retry import ONCE
    from tsmodel.io.runners import perform_async, run_async
    from tsmodel.session.core import SessionOptions
    from tsmodel.session.session_async import AsyncSession
    from tsmodel.session.target import Database, SpooledServer, StoreFile, check_cache, name_of, parse, with_options

    parsed = with_options(parse(target), read_only, create)
    check_cache(parsed, cache_bytes)

    def opening() -> Work[Backend]:
        if isinstance(parsed, (StoreFile, Database)):
            return (yield Block(partial(_store, parsed, cache_bytes)))  # type: ignore[no-any-return]
        server = TStorageBackend(parsed, retry or ONCE, reached=False)
        if isinstance(parsed, SpooledServer):
            yield Block(partial(_prepared, parsed))
            return server
        return (yield from server.reaching())

    def opener() -> Awaitable[Backend]:
        return run_async(opening(), perform_async)

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
    return AsyncSession(opener, name=name_of(target, parsed), options=options, spool=spool)


def open_backend(target: TargetLike, *, cache_bytes: int | None = None, read_only: bool = False) -> Backend:
    """The backend of a target; see `connect`. Options for embedded files are ignored for other targets."""
    from tsmodel.session.target import SpooledServer, is_stored, parse, with_options

    parsed = parse(target)
    if is_stored(parsed):
        return _backend(with_options(parsed, read_only or None, None), cache_bytes=cache_bytes)
    if isinstance(parsed, SpooledServer):
        raise SessionError(f"{target!r}: only a session can use a spool: leave spool= out")
    return _backend(parsed)


def _backend(target: Target, retry: Retry | None = None, cache_bytes: int | None = None) -> Backend:
    from tsmodel.session.target import Database, SpooledServer, StoreFile

    if isinstance(target, (StoreFile, Database)):
        return _store(target, cache_bytes)
    from tsmodel.client.tstorage import TStorageBackend  # late: imports sockets and TLS
    from tsmodel.io.retry import ONCE

    return TStorageBackend(target, retry or ONCE, reached=not isinstance(target, SpooledServer))


def _prepared(target: Target) -> SpoolOptions | None:
    """The spool in front of a server, opened."""
    from tsmodel.session.target import SpooledServer

    if not isinstance(target, SpooledServer):
        return None
    target.spool.file().prepare([str(address) for address in target.addresses])
    return target.spool


def _store(target: StoreFile | Database, cache_bytes: int | None) -> EmbeddedStore | ShardedStore:
    from tsmodel.session.target import Database
    from tsmodel.store import DEFAULT_CACHE, open_store

    cache = DEFAULT_CACHE if cache_bytes is None else cache_bytes
    if isinstance(target, Database):
        from tsmodel.store.postgres.shards import open_database  # late: imports psycopg

        return open_database(target, cache)
    return open_store(target.path, cache, read_only=target.read_only, create=target.create)
