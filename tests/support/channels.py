"""`AsyncChannel` with blocking calls, so that one suite covers both channels, and TLS contexts for both."""

from __future__ import annotations

import asyncio
import atexit
import inspect
import ssl
from collections.abc import Callable, Iterator
from functools import cache
from types import TracebackType
from typing import Any

import trustme
from typing_extensions import Self

from tsmodel.client.channel_async import AsyncChannel


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


class BlockingChannel:
    """An `AsyncChannel` whose calls block; all instances share one event loop."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        object.__setattr__(self, "_loop", _loop())
        object.__setattr__(self, "_channel", AsyncChannel(*arguments, **options))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._channel, name)
        return self._blocking(value) if inspect.iscoroutinefunction(value) else value

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._channel, name, value)

    def get_iter(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        """As `Channel.get_iter`."""
        records = self._channel.get_iter(*arguments, **options)
        try:
            while True:
                try:
                    yield self._loop.run_until_complete(anext(records))
                except StopAsyncIteration:
                    return
        finally:
            self._loop.run_until_complete(records.aclose())

    def __enter__(self) -> Self:
        self._loop.run_until_complete(self._channel.__aenter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.run_until_complete(self._channel.__aexit__(kind, error, trace))
        self._loop.run_until_complete(asyncio.sleep(0))

    def _blocking(self, call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **options: self._loop.run_until_complete(call(*arguments, **options))


@cache
def authority() -> trustme.CA:
    """A certificate authority for tests."""
    return trustme.CA()


def server_tls() -> ssl.SSLContext:
    """TLS for a server at 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


def client_tls(name: str | None = None) -> ssl.SSLContext:
    """TLS for a client that trusts the authority; with `name`, it has a certificate of its own."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    if name is not None:
        authority().issue_cert(name).configure_cert(context)
    return context
