"""`Session`: collects objects, stores them in batches, and opens queries.

Rules kept here:

* What was added stays with the session until it is stored: a flush that fails loses nothing, and can be repeated.
* Nothing is dropped in silence: closing flushes; leaving a `with` block by an exception, or losing the last reference,
  warns of what was never stored.
* A session belongs to one thread at a time.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable
from types import TracebackType, UnionType
from typing import Any, TypeVar, overload

from typing_extensions import Self

from tsmodel.backend import Backend
from tsmodel.errors import SessionError
from tsmodel.model import TSModel
from tsmodel.query import Query
from tsmodel.query.context import enter, leave
from tsmodel.session.pending import DEFAULT_BATCH_SIZE, Pending
from tsmodel.session.receipt import Receipt

__all__ = ["Session"]

M = TypeVar("M", bound=TSModel)


class Session:
    """A unit of work on a backend: a file, memory, or a TStorage server. Usually made by `connect`.

    Args:
        backend: where records live; closed with the session.
        name: what the backend is called in messages.
        batch_size: records collected before they are stored without waiting for `flush`.
    """

    def __init__(self, backend: Backend, *, name: str = "session", batch_size: int = DEFAULT_BATCH_SIZE) -> None:
        self._pending = Pending(name, batch_size)
        self._backend: Backend | None = backend
        self._name = name
        self._finalizer = weakref.finalize(self, self._pending.warn)
        enter(self)

    @property
    def backend(self) -> Backend:
        """The backend.

        Raises:
            SessionError: when the session is closed.
        """
        if self._backend is None:
            raise SessionError(f"the session on {self._name} is closed: open a new one by connect(...)")
        return self._backend

    @property
    def pending(self) -> tuple[TSModel, ...]:
        """What was added and is not stored yet."""
        return tuple(self._pending.rows)

    def add(self, row: TSModel) -> None:
        """Adds one object to what the next flush stores.

        Raises:
            SessionError: when it is not an object of a model, or the session is closed.
        """
        _ = self.backend
        self._pending.add(row)
        if self._pending.is_full:
            self._store()

    def add_all(self, rows: Iterable[TSModel]) -> None:
        """Adds many objects; a generator is taken in batches and may be of any length.

        Raises:
            SessionError: when one is not an object of a model; those before it are added.
            EncodeError: when a batch was full and could not be stored; its objects are still `pending`.
        """
        _ = self.backend
        source = iter(rows)
        while self._pending.fill(source):
            if self._pending.is_full:
                self._store()

    def flush(self) -> Receipt:
        """Stores what was added, durably and, on one backend, whole or not at all.

        Returns:
            What was stored since the last receipt.

        Raises:
            EncodeError: when a field cannot be stored; nothing of this flush was, and the session still holds it all.
            StoreError, TransportError, ServerError: when the backend failed; the session still holds the records.
        """
        _ = self.backend
        self._store()
        return self._pending.receipt()

    def discard(self) -> list[TSModel]:
        """Gives up what was added and is not stored yet, and returns it."""
        return self._pending.discard()

    @overload
    def query(self, model: type[M]) -> Query[M]: ...
    @overload
    def query(self, model: UnionType) -> Query[Any]: ...
    def query(self, model: Any) -> Query[Any]:
        """A query of `model` on this session; of several models, `Reading | Event`, too. It sees what was flushed.

        Raises:
            QueryError: when records of several models cannot be told apart.
        """
        return Query(model, self)

    def close(self) -> None:
        """Flushes and releases the backend; a second call does nothing.

        When the flush fails the session stays open with what it holds: mend and close again, or `discard` first.
        """
        if self._backend is None:
            return
        self.flush()
        self._release()

    def __enter__(self) -> Self:
        _ = self.backend
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._backend is None:
            return
        try:
            if error is None:
                self.flush()
            else:
                self._pending.warn()
        finally:
            self._release()

    def _store(self) -> None:
        if not self._pending.rows:
            return
        started = time.perf_counter()
        encoded = self._pending.encoded()
        interval = self.backend.append(encoded.batches)
        self._pending.stored(encoded, interval, time.perf_counter() - started)

    def _release(self) -> None:
        leave(self)
        self._finalizer.detach()
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()

    def __repr__(self) -> str:
        state = "closed" if self._backend is None else f"{len(self._pending.rows)} pending"
        return f"<Session on {self._name}: {state}>"
