"""Which backend `Model.query` reads: the innermost open session of this context."""

from __future__ import annotations

import weakref
from contextvars import ContextVar
from typing import Any, Protocol

from tsmodel.backend import AsyncRemover, Remover
from tsmodel.errors import NoSessionError
from tsmodel.io.fetching import OnAsyncBackend, OnBackend

__all__ = ["AsyncSource", "Source", "current", "enter", "leave"]


class Source(Protocol):
    """What a query reads from; sessions are sources."""

    @property
    def name(self) -> str:
        """What the backend is called in messages."""
        ...

    @property
    def allow_full_scan(self) -> bool:
        """Whether queries may read everything."""
        ...

    def on_backend(self) -> OnBackend:
        """Carries out effects on the backend.

        Raises:
            SessionError: when the source is closed.
        """
        ...

    def remover(self, what: str) -> Remover:
        """What removes records, for `what` is to be done.

        Raises:
            UnsupportedError: when the backend cannot.
            SessionError: when the source holds records that are not stored.
        """
        ...


class AsyncSource(Protocol):
    """What an asynchronous query reads from; asynchronous sessions are sources."""

    @property
    def name(self) -> str:
        """See `Source.name`."""
        ...

    @property
    def allow_full_scan(self) -> bool:
        """See `Source.allow_full_scan`."""
        ...

    def on_backend(self) -> OnAsyncBackend:
        """See `Source.on_backend`."""
        ...

    def remover(self, what: str) -> AsyncRemover:
        """See `Source.remover`."""
        ...


_open: ContextVar[tuple[weakref.ref[Source], ...]] = ContextVar("tsmodel_open_sessions", default=())


def enter(source: Source) -> None:
    """Makes `source` the innermost one. It is not kept alive by that."""
    _open.set((*_alive(), weakref.ref(source)))


def leave(source: Source) -> None:
    """Takes `source` out of this context, wherever it stands."""
    _open.set(tuple(ref for ref in _alive() if ref() is not source))


def current(model: type[Any]) -> Source:
    """The innermost open source, for a query of a model.

    Raises:
        NoSessionError: when there is none.
    """
    for ref in reversed(_open.get()):
        if (source := ref()) is not None:
            return source
    name = model.__name__
    raise NoSessionError(
        f"no session is open here for {name}.query: open one with `with connect(...) as session:`, or name one by "
        f"session.query({name}) or {name}.query.using(session); a new thread does not see the sessions of others"
    )


def _alive() -> tuple[weakref.ref[Source], ...]:
    return tuple(ref for ref in _open.get() if ref() is not None)
