"""`Session`: collects objects, stores them in batches, and opens queries.

Rules kept here:

* What was added stays with the session until it is surely stored: a flush that fails loses nothing, and can be repeated.
* Nothing is dropped in silence: closing flushes; leaving a `with` block by an exception, or losing the last reference,
  warns of what was never stored.
* Several threads may add and flush: one put is under way at a time, and adding does not wait for it unless a batch is full.
* A forked process has the session as if it were new: with connections of its own, and nothing added.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from typing_extensions import Self

from tsmodel.backend import Backend, PutInfo, Removal
from tsmodel.errors import SessionError, StoreError, TSModelError
from tsmodel.io.effects import Work
from tsmodel.io.fetching import OnBackend, OnWatchedBackend
from tsmodel.io.flushing import Flusher
from tsmodel.io.retry import OnUnknown, seconds_of
from tsmodel.io.runners import perform, run
from tsmodel.keys import KeyRange
from tsmodel.model import TSModel
from tsmodel.query import Query, QuerySpec
from tsmodel.query.context import enter, leave
from tsmodel.session.core import (
    BACKUP_INSTEAD,
    COMPACT_INSTEAD,
    DRAINER_SECONDS,
    REMOVE_INSTEAD,
    SessionBase,
    SessionOptions,
    Undoable,
    corrected,
    noted,
    prunable,
    to_undo,
)
from tsmodel.session.receipt import Receipt
from tsmodel.store import EmbeddedStore
from tsmodel.timestamps import DurationLike

if TYPE_CHECKING:
    from tsmodel.session.copying import Copied, OnCopied
    from tsmodel.session.draining import Drainer
    from tsmodel.session.target import SpoolOptions
    from tsmodel.store.care import Compacted, OnProgress, Verified

__all__ = ["Session"]

M = TypeVar("M", bound=TSModel)


class Session(SessionBase):
    """A unit of work on a backend: a file, memory, or a TStorage server. Usually made by `connect`.

    Args:
        backend: where records live; closed with the session.
        name: what the backend is called in messages.
        options: how it writes.
        spool: keeps what the backend cannot take now; None for none.
        named: the same by name, as `connect` takes them.
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
        self._writer.is_remote = not isinstance(backend, EmbeddedStore)
        self._lock = threading.RLock()
        self._writing = threading.RLock()
        self._flusher = None if self._flush_seconds is None else Flusher(self._flush_seconds, self._flush_in_background)
        self._drainer: Drainer | None = None
        self._start_drainer()
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

    def on_backend(self) -> OnBackend:
        """Carries out effects on the backend, and tells hooks of the requests.

        Raises:
            SessionError: when the session is closed.
        """
        return OnBackend(self.backend) if self._around is None else OnWatchedBackend(self.backend, self._around)

    def add(self, row: TSModel, *, keep_acq: bool = False, unless_stored: bool = False) -> None:
        """Adds one object to what the next flush stores. What was given stays with the session, also when this raises.

        Args:
            row: the object.
            keep_acq: stores it with the acq it has, instead of one that the database gives: for replication and backfill.
            unless_stored: stores it only when no stored record has the same cid, mid, moid, cap and payload, whatever its
                acq. See `add_all`.

        Raises:
            SessionError: when it is not an object of a model, or the session is closed.
            WriteError, EncodeError: when a batch was full and could not be stored, or the background flusher has failed.
        """
        with self._lock:
            if self._backend is None:
                _ = self.backend
            full = self._pending.add(row, keep_acq=keep_acq, unless_stored=unless_stored)
        if full or self._failure is not None:
            self._added()

    def add_all(self, rows: Iterable[TSModel], *, keep_acq: bool = False, unless_stored: bool = False) -> None:
        """Adds many objects; a generator is taken in batches and may be of any length.

        Args:
            rows: the objects.
            keep_acq: as for `add`.
            unless_stored: the flush stores only objects that are not stored yet, in any version, and of equal ones among
                `rows` the first: importing the same data twice changes nothing. The receipt says how many were `skipped`.
                On a file and in memory each put looks and stores in one transaction. On a server it looks first, so two
                writers at the same time may both store a record.

        Raises:
            SessionError: when one is not an object of a model; those before it are added.
            WriteError, EncodeError: as for `add`; all that was taken from `rows` is still with the session.
        """
        _ = self.backend
        source = iter(rows)
        more = True
        while more:
            taken, more, failure = self._pending.taken(source)
            with self._lock:
                _ = self.backend
                self._pending.extend(taken, keep_acq=keep_acq, unless_stored=unless_stored)
            if failure is not None:
                raise failure
            self._added()

    def add_columns(
        self,
        model: type[M],
        columns: Mapping[str, Any] | None = None,
        /,
        *,
        keep_acq: bool = False,
        unless_stored: bool = False,
        **named: Any,
    ) -> int:
        """Adds records that are given as columns, without making objects: `add_columns(Reading, cid=1, mid=mids, …)`.

        Arrays of integers hold stored numbers, as `query.columns()` gives them: times as ns since 2001, enums and decimals
        as their integers. Lists and single values hold what the constructor takes. What is masked, or None, is absent.

        Args:
            model: the model.
            columns: columns by name, which may be given as keywords, too: arrays and lists of one length, n, and
                single values, which stand for all rows. `acq` may be left out, and what has a default.
            keep_acq: as for `add`; takes a column `acq`.
            unless_stored: as for `add_all`.

        Returns:
            How many records: n, or 1 when there are only single values.

        Raises:
            SessionError: when a column is missing or unknown, or the session is closed.
            EncodeError: when columns differ in length, or a value cannot be stored: says the row, counted from 0 in these
                columns, and the field. Nothing of them is added then.
            WriteError: as for `add`. All of the columns are with the session, and accounted for as objects are.
        """
        _ = self.backend
        rows = self._columns(model, columns, named, keep_acq)
        self._take(rows, keep_acq, unless_stored)
        self._added()
        return len(rows)

    def add_frame(
        self,
        model: type[M],
        frame: Any,
        *,
        columns: Mapping[str, str] | None = None,
        keep_acq: bool = False,
        unless_stored: bool = False,
    ) -> int:
        """Adds the rows of a frame, without making objects. A reader is taken batch by batch, and may be of any length.

        Args:
            model: the model.
            frame: a pandas or polars frame, an Arrow table, record batch or reader, anything with `__arrow_c_stream__` or
                `__dataframe__`, or Arrow batches.
            columns: for columns of the model, the name of the frame's: `{"mid": "meter"}`. Others bear the same name.
            keep_acq: as for `add`; takes a column `acq`.
            unless_stored: as for `add_all`.

        Returns:
            How many records.

        Raises:
            SessionError, EncodeError, WriteError: as for `add_columns`; rows of batches before are added.
            MissingLibraryError: when pyarrow is not installed.
        """
        _ = self.backend
        count = 0
        for rows in self._framed(model, frame, columns, keep_acq):
            self._take(rows, keep_acq, unless_stored)
            self._added()
            count += len(rows)
        return count

    def load_parquet(
        self,
        model: type[M],
        path: str | Path,
        *,
        columns: Mapping[str, str] | None = None,
        keep_acq: bool = False,
        unless_stored: bool = False,
        batch_size: int = 65_536,
    ) -> int:
        """Adds the rows of a Parquet file, such as `dump_parquet` writes, in bounded memory. See `add_frame`.

        Raises:
            OSError: when the file cannot be read.
        """
        from tsmodel.frames.given import parquet_reader

        return self.add_frame(
            model, parquet_reader(path, batch_size), columns=columns, keep_acq=keep_acq, unless_stored=unless_stored
        )

    def correct(self, row: M, **changes: Any) -> M:
        """Adds a correction of a stored record: a copy with the same cid, mid, moid and cap, and other values.

        The database keeps both. The newer acq says which one is the correction: see "Corrections" in the documentation.

        Returns:
            The copy that was added.

        Raises:
            SessionError: when a change is of the key, or of a field that there is not.
        """
        correction = corrected(row, changes)
        self.add(correction)
        return correction

    def flush(self, note: str | None = None) -> Receipt:
        """Stores what was added, durably. One put is stored whole or not at all; objects that keep their acq and objects
        that do not go in puts of their own.

        Args:
            note: is kept with the puts, for `puts`; on the embedded store only.

        Returns:
            What was stored since the last receipt.

        Raises:
            EncodeError: when a field cannot be stored; nothing of this flush was, and the session still holds it all.
            WriteError: when not everything is surely stored. It says what is stored, what is not, and what is in doubt;
                the session still holds all but the first. Flushing again stores what is not stored; what is in doubt it
                leaves alone, and raises again, unless the session's `retry` says otherwise.
        """
        return self._flush(None, note)

    def retry(self, on_unknown: OnUnknown = "check") -> Receipt:
        """Flushes, and settles what is in doubt.

        Args:
            on_unknown: "check" asks the database what it stored, and sends only the rest; it takes a session opened with
                retry=Retry(on_unknown="check"). "duplicate" sends all again, which may store records twice. "raise" is
                a plain flush.

        Returns:
            What was stored since the last receipt, what was found included.

        Raises:
            WriteError, EncodeError: as for `flush`.
        """
        return self._flush(on_unknown)

    def drain(self, timeout: DurationLike | None = None) -> bool:
        """Waits until nothing waits in the session's spool any more; tries again at once when an attempt has failed.

        Args:
            timeout: how long, "30s" say; None for no limit.

        Returns:
            Whether the spool is empty, but for what is set aside. True for a session without a spool.

        Raises:
            StoreError: when the spool cannot be read.
        """
        _ = self.backend
        return self._drained(None if timeout is None else seconds_of(timeout, "timeout"))

    def wait_committed(self, receipt: Receipt, timeout: DurationLike | None = None) -> int:
        """Waits until the records of a receipt are fully committed. See `Receipt.wait_committed`."""
        return run(receipt.waiting(timeout), self.on_backend())

    @overload
    def query(self, model: type[M]) -> Query[M]: ...
    @overload
    def query(self, model: QuerySpec[M]) -> Query[M]: ...
    @overload
    def query(self, model: UnionType) -> Query[Any]: ...
    def query(self, model: Any) -> Query[Any]:
        """A query of `model` on this session; of several models, `Reading | Event`, too; or of what a `QuerySpec` asks
        for. It sees what was flushed.

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
        """Copies the records of a query, or of a key range, to another session's backend, with the keys and acq that they
        have. Payloads are not decoded: those that do not fit the query's model are copied too.

        What is fully committed when it begins is copied. What sessions hold unflushed is not.

        Args:
            what: the records; a query, or its spec, without limit and conditions on fields.
            to: an open session; not the same backend.
            checkpoint: file that keeps how far it came; the same call goes on from there, and repeats nothing. Without it a
                copy that failed and is repeated stores the same records twice.
            progress: called with what was copied so far after every window of up to 32 MiB.

        Raises:
            SessionError: when both sessions are on the same file or server.
            QueryError: when the query has a limit, or conditions on fields.
            CheckpointError: when the file is of another copy, or damaged.
            TransportError, ServerError, StoreError: when either side fails; reads are tried again as `retry` says.
        """
        from tsmodel.session.copying import Copying, check_apart

        check_apart(self, to)
        copying = Copying(what, self, to.name, self.retries, checkpoint, progress)
        there = run(copying.keys_there(), to.on_backend())
        on_backend = self.on_backend()
        on_backend.target = to.on_backend()
        return run(copying.steps(there), on_backend)

    def backup(self, path: str | os.PathLike[str], progress: OnProgress | None = None) -> Verified:
        """Copies the embedded file, as it is now, to a new one, while others read and write. What was not flushed is not
        in it. The copy is verified, and appears at `path` only when it is whole.

        Args:
            path: the file to create; there must be nothing.
            progress: called with the bytes that were copied, and of all there are. What it raises ends the backup.

        Returns:
            What `tsmodel.store.verify` says of the copy.

        Raises:
            UnsupportedError: when the session is on a server or in memory: says what to do instead.
            StoreCorruptError: when the file is damaged; `tsmodel.store.recover` saves what is whole.
            StoreError: when there is something at `path`, or it cannot be written.
        """
        from tsmodel.store.care import backup

        return backup(self._store_of(self.backend, "backup", BACKUP_INSTEAD), path, progress)

    def compact(self, progress: OnProgress | None = None) -> Compacted:
        """Makes the embedded file smaller and faster to read: merges its runs, compresses them more strongly, and gives
        free space back. Others may read and write meanwhile. A process that dies in the middle leaves a whole file.

        It needs free space: as much as the file uses beside it, and as much again in SQLite's directory of temporary files.

        Args:
            progress: called with the bytes that were merged, and of all there are. What it raises ends the work, between
                transactions; what was merged stays merged.

        Raises:
            UnsupportedError: when the session is on a server or in memory.
            StoreCorruptError: when the file is damaged; `tsmodel.store.recover` saves what is whole.
            StoreError: when there is too little free space (says how much it takes), or the file may only be read.
        """
        from tsmodel.store.care import compact

        return compact(self._store_of(self.backend, "compact", COMPACT_INSTEAD), progress)

    def remover(self, what: str) -> EmbeddedStore:
        """What removes records, for queries.

        Raises:
            UnsupportedError: when the session is on a server.
            SessionError: when it holds records that are not stored.
        """
        store = self._store_of(self.backend, what, REMOVE_INSTEAD)
        self._check_stored(what)
        return store

    def undo(self, what: Undoable, note: str | None = None) -> int:
        """Takes back what a flush stored: removes what is left of the records of exactly these puts, durably, all or none.
        Records of others stay, also those with the same keys and acqs. `removals` logs it.

        Args:
            what: a receipt of `flush`, also of an earlier session on the same file; a put that `puts` lists; or several.
            note: what the log says about it.

        Returns:
            How many records were removed: as many as were stored, less those that were removed before.

        Raises:
            StoreError: when one of the puts was undone before, or is of another store; nothing was removed.
            SessionError: when the session holds records that are not stored.
            UnsupportedError: when the session is on a server; says what to do instead.
        """
        puts = to_undo(what)
        return self.remover("undo()").undo(puts, noted(note))

    def prune(self, model: type[TSModel], dry_run: bool = False, *, note: str | None = None) -> int:
        """Removes the records of a model that were captured longer ago than its `retention` says, as `query.delete` does.

        Args:
            model: a class such as `class Reading(TSModel, moid=7, retention="400d")`.
            dry_run: only counts.
            note: what the log of removals says about it.

        Returns:
            How many records.

        Raises:
            QueryError: when the model has no retention, or neither a fixed key component nor a version byte: its records
                could not be told from those of other models.
            SessionError, UnsupportedError, StoreError: as for `query.delete`.
        """
        from tsmodel.query.executor import Executor

        query = self.query(model).cap_before(prunable(model))
        executor = Executor(query.spec, self)
        return executor.run(executor.removing("prune", dry_run=dry_run, note=noted(note)))

    def puts(self) -> list[PutInfo]:
        """All puts that the embedded store remembers, the oldest first: when, what, and the note of `flush(note=...)`.

        Raises:
            UnsupportedError: when the session is on a server.
        """
        return self._store_of(self.backend, "puts()", REMOVE_INSTEAD).puts()

    def removals(self) -> list[Removal]:
        """All removals that the embedded store remembers, the oldest first: deletions, undos and prunings.

        Raises:
            UnsupportedError: when the session is on a server.
        """
        return self._store_of(self.backend, "removals()", REMOVE_INSTEAD).removals()

    def close(self) -> None:
        """Flushes and releases the backend; a second call does nothing.

        When the flush fails the session stays open with what it holds: mend and close again, or `discard` first.
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

    def _added(self) -> None:
        self._tell()
        if self._pending.is_full:
            with self._writing:
                if self._pending.is_full:  # another thread may have stored it meanwhile
                    self._carry_out(self._writer.store())

    def _flush(self, on_unknown: OnUnknown | None, note: str | None = None) -> Receipt:
        _ = self.backend
        store = None if noted(note) is None else self._store_of(self.backend, "flush(note=...)", REMOVE_INSTEAD)
        with self._writing:
            self._carry_out(self._writer.flush(on_unknown))
            if store is not None and note is not None and self._pending.stored_puts:
                store.annotate(self._pending.stored_puts, note)  # when this fails, the next flush gives the receipt
            with self._lock:
                self._failure = None  # what it could not store is stored now
                stored = self._pending.receipt()
        return stored.of(self.on_backend)

    def _carry_out(self, work: Work[None]) -> None:
        with self._writing:
            run(work, self.on_backend(), self._lock)

    def _flush_in_background(self) -> None:
        if self._failure is not None or self._backend is None:
            return
        try:
            self._carry_out(self._writer.store())
        except TSModelError as error:
            self._failed(error)

    def _forked(self) -> None:
        self._lock, self._writing = threading.RLock(), threading.RLock()
        super()._forked()
        if self._flusher is not None and self._flush_seconds is not None:
            self._flusher = Flusher(self._flush_seconds, self._flush_in_background)
        if self._drainer is not None:
            self._start_drainer()

    def _stop_flusher(self) -> None:
        flusher, self._flusher = self._flusher, None
        if flusher is not None:
            flusher.stop()

    def _start_drainer(self) -> None:
        if self._forwarder is not None and self._backend is not None:
            from tsmodel.session.draining import Drainer

            self._drainer = Drainer(self._forwarder, self.on_backend(), self)

    def _drained(self, seconds: float | None, *, while_fine: bool = False) -> bool:
        if self._forwarder is None:
            return True
        if self._drainer is not None and not while_fine:
            self._drainer.hurry()
        return run(self._forwarder.emptied(seconds, while_fine=while_fine), perform)

    def _leave_spool(self) -> None:
        """Gives the drainer some time, as long as the database can be reached."""
        if self._spooling is not None:
            with suppress(StoreError):
                self._drained(self._spooling.wait, while_fine=True)

    def _release(self) -> None:
        self._stop_flusher()
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
