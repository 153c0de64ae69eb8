"""`connect` and `connect_async`: open a session on a target."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from typing_extensions import ParamSpec

from tsmodel.errors import SessionError
from tsmodel.io.retry import ONCE, Retry
from tsmodel.session.target import (
    ConnectOptions,
    Database,
    SpooledServer,
    StoreFile,
    Target,
    TargetLike,
    is_stored,
    name_of,
    parse,
)

if TYPE_CHECKING:
    from tsmodel.backend import Backend
    from tsmodel.io.effects import Work
    from tsmodel.session.session import Session
    from tsmodel.session.session_async import AsyncSession
    from tsmodel.store import EmbeddedStore
    from tsmodel.store.postgres import ShardedStore

__all__ = ["connect", "connect_async", "open_backend"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def _taking(options: Callable[P, T]) -> Callable[[Callable[[T], R]], Callable[P, R]]:
    """Gives a function the arguments of a class; the function gets an object of the class."""

    def decorate(function: Callable[[T], R]) -> Callable[P, R]:
        signature = inspect.signature(options)

        @wraps(function)
        def taking(*args: P.args, **given: P.kwargs) -> R:
            try:
                signature.bind(*args, **given)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            return function(options(*args, **given))

        taking.__signature__ = signature.replace(  # type: ignore[attr-defined]
            return_annotation=inspect.signature(function).return_annotation
        )
        return taking

    return decorate


@_taking(ConnectOptions)
def connect(options: ConnectOptions) -> Session:
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
    from tsmodel.session.session import Session  # late: a program that only declares models needs no sessions

    target = options.parsed()
    spool = target.spool if isinstance(target, SpooledServer) else None
    backend = _backend(target, options.retry or ONCE, options.cache_bytes)
    return Session(backend, name=name_of(options.target, target), options=options, spool=spool)


@_taking(ConnectOptions)
def connect_async(options: ConnectOptions) -> AsyncSession:
    """Returns an asynchronous session. Use it in an `async with` block, which opens it.

    The arguments are those of `connect`. An embedded store runs in threads.

    Raises:
        SessionError: when the target or an option is not valid. Entering the block raises all other errors of `connect`.
    """
    from tsmodel.client.tstorage import TStorageBackend
    from tsmodel.io.effects import Block
    from tsmodel.io.runners import perform_async, run_async
    from tsmodel.session.session_async import AsyncSession

    target = options.parsed()

    def opening() -> Work[Backend]:
        if isinstance(target, (StoreFile, Database)):
            store: Backend = yield Block(partial(_store, target, options.cache_bytes))
            return store
        server = TStorageBackend(target, options.retry or ONCE, reached=False)
        if isinstance(target, SpooledServer):
            yield Block(partial(_prepare_spool, target))
            return server
        return (yield from server.reaching())

    def opener() -> Awaitable[Backend]:
        return run_async(opening(), perform_async)

    spool = target.spool if isinstance(target, SpooledServer) else None
    return AsyncSession(opener, name=name_of(options.target, target), options=options, spool=spool)


def open_backend(target: TargetLike, *, cache_bytes: int | None = None, read_only: bool = False) -> Backend:
    """The backend of a target; see `connect`. Options for stored targets are ignored for others."""
    parsed: Any = parse(target)
    if isinstance(parsed, SpooledServer):
        raise SessionError(f"{target!r}: only a session can use a spool: leave spool= out")
    if read_only and is_stored(parsed):
        parsed = msgspec.structs.replace(parsed, read_only=True)
    return _backend(parsed, ONCE, cache_bytes)


def _backend(target: Target, retry: Retry, cache_bytes: int | None) -> Backend:
    if isinstance(target, (StoreFile, Database)):
        return _store(target, cache_bytes)
    from tsmodel.client.tstorage import TStorageBackend  # late: imports sockets and TLS

    if isinstance(target, SpooledServer):
        _prepare_spool(target)
    return TStorageBackend(target, retry, reached=not isinstance(target, SpooledServer))


def _prepare_spool(server: SpooledServer) -> None:
    server.spool.file().prepare([str(address) for address in server.addresses])


def _store(target: StoreFile | Database, cache_bytes: int | None) -> EmbeddedStore | ShardedStore:
    from tsmodel.store import DEFAULT_CACHE, open_store

    cache = DEFAULT_CACHE if cache_bytes is None else cache_bytes
    if isinstance(target, Database):
        from tsmodel.store.postgres.shards import open_database  # late: imports psycopg

        return open_database(target, cache)
    return open_store(target.path, cache, read_only=target.read_only, create=target.create)
