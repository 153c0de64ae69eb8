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
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from typing_extensions import Self

from tsmodel.backend import Backend, PutInfo, Removal, Remover
from tsmodel.errors import SessionError
from tsmodel.io.effects import Work
from tsmodel.io.fetching import OnBackend
from tsmodel.io.flushing import Flusher
from tsmodel.io.retry import OnUnknown, seconds_of
from tsmodel.io.runners import run
from tsmodel.keys import KeyRange
from tsmodel.model import TSModel
from tsmodel.query import Query, QuerySpec
from tsmodel.query.executor import Execution, enter, leave
from tsmodel.session.core import (
    BACKUP_INSTEAD,
    COMPACT_INSTEAD,
    DRAINER_SECONDS,
    Exclusive,
    SessionBase,
    SessionOptions,
    Undoable,
    answered,
    corrected,
    noted,
    prunable,
    to_undo,
)
from tsmodel.session.receipt import Receipt
from tsmodel.timestamps import DurationLike

if TYPE_CHECKING:
    from tsmodel.session.copying import Copied, OnCopied
    from tsmodel.session.target import SpoolOptions
    from tsmodel.store.maintenance import Compacted, OnProgress, Verified

__all__ = ["Session"]

M = TypeVar("M", bound=TSModel)
R = TypeVar("R")


class Session(SessionBase):
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
        self._on(backend)
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
        return OnBackend(self.backend, self._around)

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

    def add_all(self, rows: Iterable[TSModel], *, keep_acq: bool = False, unless_stored: bool = False) -> None:
        """Adds many objects. A generator is consumed in batches and may be of any length.

        Args:
            rows: the objects.
            keep_acq: as for `add`.
            unless_stored: stores only objects that are not stored yet in any version, and the first of equal ones among
                `rows`, so importing the same data twice changes nothing. The receipt counts the others as `skipped`.
                An embedded store checks and stores in one transaction. A server is checked before the put, so two
                concurrent writers may both store a record.

        Raises:
            SessionError: when an item is not an object of a model; those before it are added.
            WriteError, EncodeError: as for `add`. The session still holds everything it took from `rows`.
        """
        return self._run(self._add_all(rows, keep_acq, unless_stored))

    def add_columns(
        self,
        model: type[TSModel],
        columns: Mapping[str, Any] | None = None,
        /,
        *,
        keep_acq: bool = False,
        unless_stored: bool = False,
        **named: Any,
    ) -> int:
        """Adds records from columns, without making objects: `add_columns(Reading, cid=1, mid=mids, …)`.

        Integer arrays hold stored numbers, as `query.columns()` returns them: times as ns since 2001, enums and decimals
        as their integers. Lists and single values hold what the constructor takes. Masked values and None are missing.

        Args:
            model: the model.
            columns: columns by name, which you can also pass as keywords: arrays and lists of the same length n, or single
                values, which apply to all rows. `acq` and fields with a default may be left out.
            keep_acq: as for `add`; needs a column `acq`.
            unless_stored: as for `add_all`.

        Returns:
            The number of records: n, or 1 if there are only single values.

        Raises:
            SessionError: when a column is missing or unknown, or the session is closed.
            EncodeError: when columns differ in length, or a value cannot be stored. Names the field and the row, counted
                from 0 in these columns. Nothing is added.
            WriteError: as for `add`. The session holds all rows of the columns.
        """
        return self._run(self._add_columns(model, {**(columns or {}), **named}, keep_acq, unless_stored))

    def add_frame(
        self,
        model: type[TSModel],
        frame: Any,
        *,
        columns: Mapping[str, str] | None = None,
        keep_acq: bool = False,
        unless_stored: bool = False,
    ) -> int:
        """Adds the rows of a frame, without making objects. A reader is consumed batch by batch and may be of any length.

        Args:
            model: the model.
            frame: a pandas or polars frame, an Arrow table, record batch or reader, anything with `__arrow_c_stream__` or
                `__dataframe__`, or Arrow batches.
            columns: maps columns of the model to columns of the frame: `{"mid": "meter"}`. All others have the same name.
            keep_acq: as for `add`; needs a column `acq`.
            unless_stored: as for `add_all`.

        Returns:
            The number of records.

        Raises:
            SessionError, EncodeError, WriteError: as for `add_columns`; rows of earlier batches are added.
            MissingLibraryError: when pyarrow is not installed.
        """
        return self._run(self._add_frame(model, frame, columns, keep_acq, unless_stored))

    def load_parquet(
        self,
        model: type[TSModel],
        path: str | Path,
        *,
        columns: Mapping[str, str] | None = None,
        keep_acq: bool = False,
        unless_stored: bool = False,
        batch_size: int = 65_536,
    ) -> int:
        """Adds the rows of a Parquet file, such as one from `dump_parquet`, in bounded memory. See `add_frame`.

        Raises:
            OSError: when the file cannot be read.
        """
        from tsmodel.frames.input import parquet_reader

        frame = parquet_reader(path, batch_size)
        return self._run(self._add_frame(model, frame, columns, keep_acq, unless_stored))

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

    def flush(self, note: str | None = None) -> Receipt:
        """Stores all added objects durably. Each put is stored whole or not at all.

        Objects that keep their acq go in separate puts.

        Args:
            note: text that is kept with the puts and shown by `puts`; on an embedded store only.

        Returns:
            The receipt for all records stored since the last receipt.

        Raises:
            EncodeError: when a field cannot be stored. This flush stored nothing, and the session still holds all objects.
            WriteError: when some objects are not known to be stored. The error says which are stored, which are not, and
                which are in doubt; the session holds all that are not stored or in doubt. Flushing again stores those that
                are not stored. It leaves those in doubt alone and raises again, unless the session's `retry` policy
                settles them.
        """
        return self._run(self._flush(None, note))

    def retry(self, on_unknown: OnUnknown = "check") -> Receipt:
        """Flushes, and settles in-doubt puts.

        Args:
            on_unknown: "check" asks the database what it stored and sends only the rest; the session must have been opened
                with retry=Retry(on_unknown="check"). "duplicate" sends everything again, which may store records twice.
                "raise" is a plain flush.

        Returns:
            The receipt for all records stored since the last receipt, including those found stored.

        Raises:
            WriteError, EncodeError: as for `flush`.
        """
        return self._run(self._flush(on_unknown))

    def drain(self, timeout: DurationLike | None = None) -> bool:
        """Waits until the session's spool is drained. If the last attempt failed, the next one starts at once.

        Args:
            timeout: how long to wait, as "30s"; None for no limit.

        Returns:
            Whether the spool is empty except for puts set aside. True for a session without a spool.

        Raises:
            StoreError: when the spool cannot be read.
        """
        _ = self.backend
        return self._run(self._drained(None if timeout is None else seconds_of(timeout, "timeout")))

    def wait_committed(self, receipt: Receipt, timeout: DurationLike | None = None) -> int:
        """Waits until the records of a receipt are fully committed. See `Receipt.wait_committed`."""
        return self._run(receipt.waiting(timeout))

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

    def backup(self, path: str | os.PathLike[str], progress: OnProgress | None = None) -> Verified:
        """Copies the embedded file to a new file, in its current state, while others read and write.

        The copy does not contain unflushed objects. It is verified, and appears at `path` only when it is complete.

        Args:
            path: the file to create; it must not exist.
            progress: called with the bytes copied so far and the total. An exception ends the backup.

        Returns:
            The result of `tsmodel.store.verify` for the copy.

        Raises:
            UnsupportedError: when the session is on a server or in memory; says what to do instead.
            StoreCorruptError: when the file is damaged; `tsmodel.store.recover` saves the intact records.
            StoreError: when `path` exists or cannot be written.
        """
        caretaker = self._caretaker("backup", BACKUP_INSTEAD)
        return self._run(answered(caretaker.backup, path, progress))

    def compact(self, progress: OnProgress | None = None) -> Compacted:
        """Makes the embedded file smaller and faster to read: merges its runs, compresses them harder, and returns free
        space to the file system.

        Others may read and write meanwhile. The file stays intact even if the process dies. Compacting needs free space of
        the file's size beside the file, and as much again in SQLite's directory for temporary files.

        Args:
            progress: called with the bytes merged so far and the total. An exception ends the work between transactions;
                what is merged stays merged.

        Raises:
            UnsupportedError: when the session is on a server or in memory.
            StoreCorruptError: when the file is damaged; `tsmodel.store.recover` saves the intact records.
            StoreError: when there is too little free space (says how much it needs), or the file is read-only.
        """
        caretaker = self._caretaker("compact", COMPACT_INSTEAD)
        return self._run(answered(caretaker.compact, progress))

    def remover(self, what: str) -> Remover:
        """The store, which removes records for queries.

        Raises:
            UnsupportedError: when the session is on a server.
            SessionError: when the session holds records that are not stored.
        """
        remover: Remover = self._remover(what, only_stored=True)
        return remover

    def undo(self, what: Undoable, note: str | None = None) -> int:
        """Undoes a flush: removes the remaining records of exactly these puts, durably, all of them or none.

        Records of other puts stay, even those with the same keys and acq. The store logs the removal; see `removals`.

        Args:
            what: a receipt of `flush`, even from an earlier session on the same file; an entry of `puts`; or several of
                these.
            note: text for the log.

        Returns:
            The number of records removed: those stored, less those removed before.

        Raises:
            StoreError: when one of the puts was undone before, or belongs to another store; nothing was removed.
            SessionError: when the session holds records that are not stored.
            UnsupportedError: when the session is on a server; says what to do instead.
        """
        puts = to_undo(what)
        return self._run(answered(self.remover("undo()").undo, puts, noted(note)))

    def prune(self, model: type[TSModel], dry_run: bool = False, *, note: str | None = None) -> int:
        """Removes the records of a model that are older than its `retention`, by capture time. See `query.delete`.

        Args:
            model: a class such as `class Reading(TSModel, moid=7, retention="400d")`.
            dry_run: only counts the records.
            note: text for the log of removals.

        Returns:
            The number of records.

        Raises:
            QueryError: when the model has no retention, or has neither a fixed key component nor a version byte, so its
                records cannot be told apart from those of other models.
            SessionError, UnsupportedError, StoreError: as for `query.delete`.
        """
        spec = Query(model).cap_before(prunable(model)).spec
        return self._run(Execution(spec, self).removing("prune", dry_run=dry_run, note=noted(note)))

    def puts(self) -> list[PutInfo]:
        """All puts that the embedded store remembers, oldest first, with their time, records, and `flush(note=...)`.

        Raises:
            UnsupportedError: when the session is on a server.
        """
        return self._run(answered(self._remover("puts()").puts))

    def removals(self) -> list[Removal]:
        """All removals that the embedded store remembers, oldest first: by `delete`, `undo` and `prune`.

        Raises:
            UnsupportedError: when the session is on a server.
        """
        return self._run(answered(self._remover("removals()").removals))

    def close(self) -> None:
        """Flushes, and releases the backend. A second call does nothing.

        If the flush fails, the session stays open and holds its objects: fix the cause and close again, or `discard` first.
        """
        if self._backend is None:
            return
        self.flush()
        self._run(self._leave_spool())
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
                self._run(self._leave_spool())
        finally:
            self._release()
        self._pending.warn()

    def _flush_in_background(self) -> None:
        self._run(self._flush_quietly())

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
