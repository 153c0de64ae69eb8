"""`Session`: collects objects, stores them in batches, and opens queries.

Rules kept here:

* A session holds each added object until it is known to be stored: a failed flush loses nothing and can be repeated.
* Nothing is dropped silently: closing flushes. Leaving a `with` block by an exception, or losing the last reference, warns
  of objects that were never stored.
* Several threads may add and flush. One put is under way at a time; adding waits for it only when a batch is full.
* In a forked process the session starts fresh: it has its own connections and holds nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from typing_extensions import Self

from tsmodel.backend import Backend, Remover
from tsmodel.errors import SessionError
from tsmodel.io.effects import Work
from tsmodel.io.fetching import OnBackend, OnWatchedBackend
from tsmodel.io.flushing import Flusher
from tsmodel.io.runners import run
from tsmodel.keys import KeyRange
from tsmodel.model import TSModel
from tsmodel.query import Query, QuerySpec
from tsmodel.query.context import enter, leave
from tsmodel.session.core import DRAINER_SECONDS, Exclusive, SessionBase, SessionOptions, corrected
from tsmodel.session.receipt import Receipt
from tsmodel.store.capabilities import settles_puts

if TYPE_CHECKING:
    from tsmodel.session.copying import Copied, OnCopied
    from tsmodel.session.target import SpoolOptions

__all__ = ["Session"]

M = TypeVar("M", bound=TSModel)
R = TypeVar("R")


def _blocking(function: Callable[..., Work[R]]) -> Callable[..., R]:
    """A method that runs the work of a function, and blocks."""

    def method(session: Session, *arguments: Any, **named: Any) -> R:
        return session._run(function(session, *arguments, **named))  # noqa: SLF001 - its own method

    return method


class Session(SessionBase, shell=_blocking):
    """A unit of work on a backend: a file, memory, PostgreSQL, or a TStorage server. Usually made by `connect`.

    Args:
        backend: stores the records; closed with the session.
        name: the name of the backend in messages.
        options: how the session writes.
        spool: keeps puts that the backend cannot take now; None for no spool.
        named: the options as keywords, as for `connect`.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        name: str = "session",
        options: SessionOptions | None = None,
        spool: SpoolOptions | None = None,
        **named: Any,
    ) -> None:
        super().__init__(name, options or SessionOptions(**named), spool)
        self._backend: Backend | None = backend
        self._writer.is_remote = not settles_puts(backend)
        self._lock = threading.RLock()
        self._writing = threading.RLock()
        self._flusher = None if self._flush_seconds is None else Flusher(self._flush_seconds, self._flush_in_background)
        self._start_drainer()
        enter(self)

    @property
    def backend(self) -> Backend:
        """The backend.

        Raises:
            SessionError: when the session is closed.
        """
        if self._backend is None:
            raise SessionError(f"the session on {self._name} is closed: open a new one with connect(...)")
        return self._backend

    def on_backend(self) -> OnBackend:
        """Carries out effects on the backend, and calls the hooks for each request.

        Raises:
            SessionError: when the session is closed.
        """
        return OnBackend(self.backend) if self._around is None else OnWatchedBackend(self.backend, self._around)

    def add(self, row: TSModel, *, keep_acq: bool = False, unless_stored: bool = False) -> None:
        """Adds one object, which the next flush stores.

        Args:
            row: the object.
            keep_acq: stores the object with its own acq instead of one that the database assigns, for replication and
                backfill.
            unless_stored: stores the object only if no stored record has the same cid, mid, moid, cap and payload; acq
                does not matter. See `add_all`.

        Raises:
            SessionError: when `row` is not an object of a model, or the session is closed.
            WriteError, EncodeError: when a full batch could not be stored, or a background flush has failed. The session
                holds the object all the same.
        """
        with self._lock:
            if self._backend is None:
                _ = self.backend
            full = self._pending.add(row, keep_acq=keep_acq, unless_stored=unless_stored)
        if full or self._failure is not None:
            self._run(self._added())

    def correct(self, row: M, **changes: Any) -> M:
        """Adds a correction of a stored record: a copy with the same cid, mid, moid and cap, and other values.

        The database keeps both; the correction has the greater acq, and `latest()` selects it.

        Args:
            row: the record to correct.
            changes: new values by field name.

        Returns:
            The copy that was added.

        Raises:
            SessionError: when there are no changes, or one is to the key or to an unknown field.
        """
        correction = corrected(row, changes)
        self.add(correction)
        return correction

    @overload
    def query(self, model: type[M]) -> Query[M]: ...
    @overload
    def query(self, model: QuerySpec[M]) -> Query[M]: ...
    @overload
    def query(self, model: UnionType) -> Query[Any]: ...
    def query(self, model: Any) -> Query[Any]:
        """A query on this session. It sees flushed records only.

        Args:
            model: a model, a union of models such as `Reading | Event`, or a `QuerySpec`.

        Raises:
            QueryError: when records of several models cannot be told apart.
        """
        return Query(model, self)

    def copy(
        self,
        what: Query[Any] | QuerySpec[Any] | KeyRange,
        to: Session,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: OnCopied | None = None,
    ) -> Copied:
        """Copies the records of a query or of a key range to another session's backend, with their keys and acq.

        Payloads are not decoded, so records that do not match the query's model are copied too. The copy contains all
        records that are fully committed when it starts; it does not contain unflushed objects.

        Args:
            what: a key range, a query, or its spec, without a limit and without conditions on fields.
            to: an open session on another backend.
            checkpoint: file that keeps the position. Calling `copy` again resumes from there and repeats nothing. Without
                a checkpoint, repeating a failed copy stores the same records twice.
            progress: called with the progress so far after every window of up to 32 MiB.

        Raises:
            SessionError: when both sessions are on the same file or server.
            QueryError: when the query has a limit or conditions on fields.
            CheckpointError: when the file belongs to another copy, or is damaged.
            TransportError, ServerError, StoreError: when either side fails; reads are retried by the `retry` policy.
        """
        from tsmodel.session.copying import Copying, check_apart

        check_apart(self, to)
        copying = Copying(what, self, to.name, self.retries, checkpoint, progress)
        there = run(copying.keys_there(), to.on_backend())
        on_backend = self.on_backend()
        on_backend.target = to.on_backend()
        return run(copying.steps(there), on_backend)

    def remover(self, what: str) -> Remover:
        """The store, which removes records for queries.

        Raises:
            UnsupportedError: when the session is on a server.
            SessionError: when the session holds records that are not stored.
        """
        remover: Remover = self._remover(what, only_stored=True)
        return remover

    def close(self) -> None:
        """Flushes, and releases the backend. A second call does nothing.

        If the flush fails, the session stays open and holds its objects: fix the cause and close again, or `discard` first.
        """
        if self._backend is None:
            return
        self.flush()
        self._leave_spool()
        self._release()
        self._pending.warn()

    def __enter__(self) -> Self:
        _ = self.backend
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._backend is None:
            return
        try:
            if error is None:
                self.flush()
                self._leave_spool()
        finally:
            self._release()
        self._pending.warn()

    def _run(self, work: Work[R]) -> R:
        return run(work, self._perform)

    def _perform(self, effect: Any) -> object:
        if type(effect) is not Exclusive:
            return self.on_backend()(effect)
        with self._writing:
            run(effect.work, self.on_backend(), self._lock)
            return None if effect.then is None else effect.then()

    def _bound(self, receipt: Receipt) -> Receipt:
        return receipt.of(self.on_backend)

    def _forked(self) -> None:
        self._lock, self._writing = threading.RLock(), threading.RLock()
        super()._forked()
        if self._flusher is not None and self._flush_seconds is not None:
            self._flusher = Flusher(self._flush_seconds, self._flush_in_background)
        if self._drainer is not None:
            self._start_drainer()

    def _start_drainer(self) -> None:
        if self._forwarder is not None and self._backend is not None:
            from tsmodel.session.forwarding import Drainer

            self._drainer = Drainer(self._forwarder, self.on_backend(), self)

    def _release(self) -> None:
        flusher, self._flusher = self._flusher, None
        if flusher is not None:
            flusher.stop()
        drainer, self._drainer = self._drainer, None
        if drainer is not None:
            drainer.stop(DRAINER_SECONDS)
        leave(self)
        self._finalizer.detach()
        with self._lock:
            backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()

    def __repr__(self) -> str:
        return f"<Session on {self._name}: {'closed' if self._backend is None else self._pending.state()}>"
