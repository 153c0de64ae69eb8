"""`Session`: collects objects, stores them in batches, and opens queries.

Rules kept here:

* What was added stays with the session until it is stored: a flush that fails loses nothing, and can be repeated.
* Nothing is dropped in silence: closing flushes; leaving a `with` block by an exception, or losing the last reference,
  warns of what was never stored.
* A session belongs to one thread at a time.
"""

from __future__ import annotations

import time
import warnings
import weakref
from collections.abc import Iterable
from itertools import islice
from types import TracebackType
from typing import TypeVar

from typing_extensions import Self

from tsmodel.backend import Backend
from tsmodel.errors import SessionError, UnflushedWarning
from tsmodel.model import TSModel
from tsmodel.query import Query
from tsmodel.query.context import enter, leave
from tsmodel.session.pending import checked, encoded
from tsmodel.session.receipt import Receipt

__all__ = ["DEFAULT_BATCH_SIZE", "Session"]

M = TypeVar("M", bound=TSModel)

DEFAULT_BATCH_SIZE = 100_000
"""Records that a session collects before it stores them without being asked."""


class Session:
    """A unit of work on a backend: a file, memory, or a TStorage server. Usually made by `connect`.

    Args:
        backend: where records live; closed with the session.
        name: what the backend is called in messages.
        batch_size: records collected before they are stored without waiting for `flush`.
    """

    def __init__(self, backend: Backend, *, name: str = "session", batch_size: int = DEFAULT_BATCH_SIZE) -> None:
        if type(batch_size) is not int or batch_size < 1:
            raise SessionError(f"batch_size takes an int from 1, not {batch_size!r}")
        self._backend: Backend | None = backend
        self._name = name
        self._batch_size = batch_size
        self._pending: list[TSModel] = []
        self._receipt = Receipt()
        self._finalizer = weakref.finalize(self, _warn, name, self._pending)
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
        return tuple(self._pending)

    def add(self, row: TSModel) -> None:
        """Adds one object to what the next flush stores.

        Raises:
            SessionError: when it is not an object of a model, or the session is closed.
        """
        _ = self.backend
        self._pending.append(checked(row))
        if len(self._pending) >= self._batch_size:
            self._store()

    def add_all(self, rows: Iterable[TSModel]) -> None:
        """Adds many objects; a generator is taken in batches and may be of any length.

        Raises:
            SessionError: when one is not an object of a model; those before it are added.
            EncodeError: when a batch was full and could not be stored; its objects are still `pending`.
        """
        _ = self.backend
        source = iter(rows)
        while True:
            room = max(1, self._batch_size - len(self._pending))
            before = len(self._pending)
            self._pending.extend(map(checked, islice(source, room)))
            if len(self._pending) >= self._batch_size:
                self._store()
            elif len(self._pending) - before < room:
                return

    def flush(self) -> Receipt:
        """Stores what was added, durably and, on one backend, whole or not at all.

        Returns:
            What was stored since the last receipt.

        Raises:
            EncodeError: when a field cannot be stored; nothing of this flush was, and the session still holds it all.
            StoreError, TransportError, ServerError: when the backend failed; the session still holds the records.
        """
        _ = self.backend
        if self._pending:
            self._store()
        receipt, self._receipt = self._receipt, Receipt()
        return receipt

    def discard(self) -> list[TSModel]:
        """Gives up what was added and is not stored yet, and returns it."""
        rows = list(self._pending)
        self._pending.clear()
        return rows

    def query(self, model: type[M]) -> Query[M]:
        """A query of `model` on this session. It sees what was flushed."""
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
        if error is None and self._backend is not None:
            try:
                self.flush()
            except BaseException:
                self._release()
                raise
        if self._backend is not None:
            _warn(self._name, self._pending)
            self._release()

    def _store(self) -> None:
        started = time.perf_counter()
        batches = encoded(self._pending, self._receipt.count)
        interval = self.backend.append(batches)
        stored = Receipt(
            len(self._pending),
            interval.acq_min,
            interval.acq_max,
            sum(len(batch.records) for batch in batches),
            time.perf_counter() - started,
        )
        self._pending.clear()
        self._receipt += stored

    def _release(self) -> None:
        leave(self)
        self._finalizer.detach()
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()

    def __repr__(self) -> str:
        state = "closed" if self._backend is None else f"{len(self._pending)} pending"
        return f"<Session on {self._name}: {state}>"


def _warn(name: str, pending: list[TSModel]) -> None:
    if pending:
        count = "1 record" if len(pending) == 1 else f"{len(pending)} records"
        warnings.warn(
            f"a session on {name} ended with {count} added and never stored, the first of them "
            f"{pending[0]}: call flush() or close(), or leave its with block without an exception",
            UnflushedWarning,
            stacklevel=3,
        )
