"""`AsyncSession` with blocking calls, so that one suite covers both kinds of session."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from support.channels import authority, server_tls
from support.postgres import database, on_postgres, sharded
from typing_extensions import Self

from tsmodel import connect, connect_async
from tsmodel.server import serve_in_thread

Opener: TypeAlias = Callable[..., Any]
"""`connect`, or a function with its signature."""


class _Blocking:
    """An object whose coroutine functions block."""

    def __init__(self, loop: asyncio.AbstractEventLoop, what: Any) -> None:
        self._loop, self._what = loop, what

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._what, name)
        if inspect.iscoroutinefunction(value):
            return lambda *arguments, **options: self._wrapped(self._loop.run_until_complete(value(*arguments, **options)))
        if inspect.ismethod(value):
            return lambda *arguments, **options: self._wrapped(value(*arguments, **options))
        return value

    def _wrapped(self, value: Any) -> Any:
        is_own = type(value).__name__.startswith("Async")
        return _Blocking(self._loop, value) if is_own else value

    def __repr__(self) -> str:
        return repr(self._what)


class BlockingSession(_Blocking):
    """An `AsyncSession` whose calls block. Its event loop runs only during calls."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        session = connect_async(*arguments, **options)
        super().__init__(asyncio.new_event_loop(), session)
        try:
            self._loop.run_until_complete(self._what.open())
        except BaseException:
            self._end()
            raise

    def wait(self, seconds: float) -> None:
        """Lets background tasks run."""
        self._loop.run_until_complete(asyncio.sleep(seconds))

    def close(self) -> None:
        """As `Session.close`. The loop stays, because the session may still be open."""
        self._loop.run_until_complete(self._what.close())
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._loop.is_closed():
            return
        try:
            self._loop.run_until_complete(self._what.__aexit__(kind, error, trace))
        finally:
            self._end()

    def _end(self) -> None:
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


OPENERS: dict[str, Opener] = {"sync": connect, "async": BlockingSession}
EVERYWHERE: list[Any] = [(backend, kind) for backend in ("memory", "file", "tcp") for kind in OPENERS]
"""Each backend with each kind of session; parameters of `opened_at`."""
ON_POSTGRES = [on_postgres("postgres", kind) for kind in OPENERS]
"""The same for PostgreSQL."""


@contextmanager
def target_on(backend: str, directory: Path) -> Iterator[str]:
    """The target of a new backend: memory, file, tcp, tls, postgres or shards."""
    with ExitStack() as stack:
        if backend == "memory":
            yield "memory:"
        elif backend == "file":
            yield str(directory / "readings.tsdb")
        elif backend in ("postgres", "shards"):
            yield stack.enter_context(database() if backend == "postgres" else sharded())
        elif backend == "tcp":
            yield "tstorage://{}:{}?timeout=20".format(*stack.enter_context(serve_in_thread()))
        else:
            authority().cert_pem.write_to_path(directory / "ca.pem")
            address = stack.enter_context(serve_in_thread(ssl_context=server_tls()))
            yield "tstorage://{}:{}?timeout=20&tls=1&ca={}".format(*address, directory / "ca.pem")


@contextmanager
def opened_at(backend: str, kind: str, directory: Path) -> Iterator[Any]:
    """Opens a session of a given kind on a new backend."""
    with target_on(backend, directory) as target, OPENERS[kind](target) as session:
        yield session


@contextmanager
def abandoned(session: Any) -> Iterator[Any]:
    """A session whose pending records are discarded at the end of the block."""
    try:
        yield session
    finally:
        session.discard()
        session.close()
