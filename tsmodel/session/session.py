"""`Session`: collects objects, stores them in batches, and opens queries. `SessionBase` is what `AsyncSession` shares.

Rules kept here:

* A session holds each added object until it is known to be stored: a failed flush loses nothing and can be repeated.
* Nothing is dropped silently: closing flushes. Leaving a `with` block by an exception, or losing the last reference, warns
  of objects that were never stored.
* Several threads may add and flush. One put is under way at a time; adding waits for it only when a batch is full.
* In a forked process the session starts fresh: it has its own connections and holds nothing.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from types import TracebackType, UnionType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeAlias, TypeVar, overload

import msgspec
from typing_extensions import Self

from tsmodel.backend import Backend, PutId, PutInfo, Removal, Remover, Sharded
from tsmodel.errors import QueryError, SessionError, StoreError, TSModelError, UnsupportedError, check_type
from tsmodel.forking import in_child
from tsmodel.io.effects import Block, Work
from tsmodel.io.fetching import Around, OnBackend
from tsmodel.io.flushing import Flusher
from tsmodel.io.retry import ONCE, OnUnknown, Retry, seconds_of
from tsmodel.io.runners import run
from tsmodel.keys import KeyRange
from tsmodel.model import TSModel
from tsmodel.model.meta import schema_of
from tsmodel.model.model import codec_of
from tsmodel.query import Query, QuerySpec
from tsmodel.query.executor import Execution, enter, leave
from tsmodel.session.observing import Watch, hooks_of
from tsmodel.session.puts import ColumnRows, made_of
from tsmodel.session.receipt import Receipt
from tsmodel.session.target import SessionOptions
from tsmodel.session.writer import Limits, Pending, Writer
from tsmodel.store.capabilities import Caretaker, settles_puts
from tsmodel.timestamps import DurationLike, now_ns

if TYPE_CHECKING:
    from tsmodel.session.copying import Copied, OnCopied
    from tsmodel.session.forwarding import Forwarder, SpoolState
    from tsmodel.session.target import SpoolOptions
    from tsmodel.store.maintenance import Compacted, OnProgress, Verified

__all__ = ["DRAINER_SECONDS", "Exclusive", "Session", "SessionBase", "corrected"]

M = TypeVar("M", bound=TSModel)
P = ParamSpec("P")
R = TypeVar("R")

_BACKUP_INSTEAD: Final = "copy its records to a session on a file, with session.copy(KeyRange(), to=other)"
_REMOVE_INSTEAD: Final = (
    "TStorage keeps every record. Copy what is to stay to another database, by session.copy(query, to=other) with a "
    "condition on acq, such as Reading.acq < receipt.acq_min, and use that one from then on"
)
_COMPACT_INSTEAD: Final = "a server looks after its own files"

DRAINER_SECONDS: Final = 1.0
"""How long closing a session waits for its drainer to end, in seconds."""

Undoable: TypeAlias = "Receipt | PutInfo | Iterable[Receipt | PutInfo]"
"""The argument of `undo`."""

_log = logging.getLogger("tsmodel.session")


class Exclusive(msgspec.Struct, eq=False):
    """Runs work on the backend while no other thread or task stores records of the session.

    Attributes:
        work: the work.
        then: called after it, before anything else is stored; its return value is the answer.
    """

    work: Work[None]
    then: Callable[[], Any] | None = None


def answered(function: Callable[P, R], *args: P.args, **options: P.kwargs) -> Work[R]:
    """Work of a single effect: a call of a backend's function."""
    answer: R = yield Block(partial(function, *args, **options))
    return answer


class SessionBase:
    """The state of a session, and the work of its methods.

    Args:
        name: the name of the backend in messages.
        options: how the session writes.
        spool: keeps puts that the server cannot take now; None for no spool.
    """

    def __init__(self, name: str, options: SessionOptions, spool: SpoolOptions | None = None) -> None:
        self._name = name
        self._limits = Limits(options)
        self._retry = options.retry or ONCE
        self._spooling = spool
        self._forwarder: Forwarder | None = None
        if spool is not None:
            from tsmodel.session.forwarding import Forwarder

            self._forwarder = Forwarder(spool.file(), name, seconds_of(self._retry.settle, "settle"))
        self._begin(is_remote=True)
        self._flush_seconds = None if options.flush_every is None else seconds_of(options.flush_every, "flush_every")
        self.allow_full_scan = options.allow_full_scan
        hooks = hooks_of(options)
        self._around: Around | None = Watch(hooks, name).around if hooks else None
        self._lock: AbstractContextManager[object] = nullcontext()
        self._backend: Any = None
        self._drainer: Any = None
        in_child(self._forked)

    @property
    def backend(self) -> Any:
        """The backend, of an open session."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The name of the backend in messages."""
        return self._name

    @property
    def retries(self) -> Retry:
        """The retry policy."""
        return self._retry

    @property
    def spool(self) -> SpoolState | None:
        """The current state of the session's spool; None for a session without one.

        Raises:
            StoreError: when the spool cannot be read.
        """
        return None if self._forwarder is None else self._forwarder.state()

    @property
    def pending(self) -> tuple[TSModel, ...]:
        """The objects that were added but not stored yet, in the order of addition, without those in doubt."""
        with self._lock:
            return self._pending.rows()

    @property
    def in_doubt(self) -> tuple[TSModel, ...]:
        """The objects of in-doubt puts: sent but never acknowledged, so they may be stored. `retry` settles them."""
        with self._lock:
            return self._pending.in_doubt()

    def discard(self, *, in_doubt_only: bool = False) -> list[TSModel]:
        """Drops the objects that are not known to be stored (or only those in doubt), and returns them."""
        with self._lock:
            return self._pending.discard(in_doubt_only=in_doubt_only)

    def _unsupported(self, what: str, instead: str) -> UnsupportedError:
        """The error of an operation that the backend does not offer."""
        return UnsupportedError(f"{what} works on embedded files only, and {self._name} is a server: {instead}")

    def _caretaker(self, what: str, instead: str) -> Caretaker:
        """The backend, which looks after its store.

        Raises:
            UnsupportedError: when the session is on a server.
        """
        backend = self.backend
        if not isinstance(backend, Caretaker):
            raise self._unsupported(what, instead)
        return backend

    def remover(self, what: str) -> Remover:
        """The store, which removes records for queries.

        Raises:
            UnsupportedError: when the session is on a server.
            SessionError: when the session holds records that are not stored.
        """
        remover = self._remover(what)
        self._check_stored(what)
        return remover

    def _remover(self, what: str) -> Remover:
        """The backend, which can remove records.

        Raises:
            UnsupportedError: when the session is on a server.
        """
        backend = self.backend
        if not isinstance(backend, Remover):
            raise self._unsupported(what, _REMOVE_INSTEAD)
        return backend

    def _bound(self, receipt: Receipt) -> Receipt:
        """Binds a receipt to the session, for `Receipt.wait_committed`."""
        raise NotImplementedError

    def _check_stored(self, what: str) -> None:
        """Checks that no records are pending or in doubt.

        Raises:
            SessionError: when some are.
        """
        with self._lock:
            count = self._pending.held_count
        if count:
            raise SessionError(
                f"{what} covers stored records only, but {count} records are pending or in doubt: flush() or "
                "discard() them first"
            )

    def _begin(self, *, is_remote: bool) -> None:
        """Starts with nothing pending."""
        self._pending = Pending(self._name, self._limits)
        self._writer = Writer(self._pending, self._name, self._retry, self._forwarder)
        self._writer.is_remote = is_remote
        self._failure: Exception | None = None
        self._finalizer = weakref.finalize(self, self._pending.warn)

    def _on(self, backend: object) -> None:
        """Takes what writing depends on from a backend that blocks."""
        self._writer.is_remote = not settles_puts(backend)
        self._pending.shard_of = backend.shard_of if isinstance(backend, Sharded) else None

    def _forked(self) -> None:
        """Resets the session in a forked process: the parent stores what was added before the fork."""
        self._finalizer.detach()
        if self._forwarder is not None:
            self._forwarder.begin()
        shard_of = self._pending.shard_of
        self._begin(is_remote=self._writer.is_remote)
        self._pending.shard_of = shard_of

    def _add_all(self, rows: Iterable[TSModel], keep_acq: bool, unless_stored: bool) -> Work[None]:
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
            yield from self._added()

    def _add_columns(self, model: Any, columns: Mapping[str, Any], keep_acq: bool, unless_stored: bool) -> Work[int]:
        from tsmodel.frames.input import given_columns

        _ = self.backend
        given, count = given_columns(_model(model, "add_columns"), columns)
        yield from self._take(made_of(model, given, count, with_acq=keep_acq), keep_acq, unless_stored)
        return count

    def _add_frame(
        self, model: Any, frame: Any, columns: Mapping[str, str] | None, keep_acq: bool, unless_stored: bool
    ) -> Work[int]:
        from tsmodel.frames.input import frame_columns

        _ = self.backend
        total = 0
        for first, given, count in frame_columns(_model(model, "add_frame"), frame, columns):
            yield from self._take(made_of(model, given, count, with_acq=keep_acq, first=first), keep_acq, unless_stored)
            total += count
        return total

    def _take(self, rows: ColumnRows | list[Any], keep_acq: bool, unless_stored: bool) -> Work[None]:
        """Adds the records of columns."""
        with self._lock:
            if isinstance(rows, list):
                self._pending.extend(rows, keep_acq=keep_acq, unless_stored=unless_stored)
            else:
                self._pending.take_columns(rows, keep_acq=keep_acq, unless_stored=unless_stored)
        yield from self._added()

    def _added(self) -> Work[None]:
        """Raises a failure of the background flusher; stores full batches."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if self._pending.is_full:
            yield Exclusive(self._store_if_full())

    def _store_if_full(self) -> Work[None]:
        if self._pending.is_full:  # another thread or task may have stored it meanwhile
            yield from self._writer.store()

    def _flush(self, on_unknown: OnUnknown | None, note: str | None = None) -> Work[Receipt]:
        _ = self.backend
        remover = None if noted(note) is None else self._remover("flush(note=...)")

        def work() -> Work[None]:
            yield from self._writer.flush(on_unknown)
            if remover is not None and note is not None and (stored := self._pending.stored_puts):
                yield Block(partial(remover.annotate, stored, note))  # if this fails, the next flush returns the receipt

        receipt: Receipt = yield Exclusive(work(), self._flushed)
        return receipt

    def _flushed(self) -> Receipt:
        with self._lock:
            self._failure = None  # what it could not store is stored now
            return self._bound(self._pending.receipt())

    def _flush_quietly(self) -> Work[None]:
        if self._failure is not None or self._backend is None:
            return
        try:
            yield Exclusive(self._writer.store())
        except TSModelError as error:  # the next call raises it
            _log.warning("flushing %s in the background failed: %s", self._name, error)
            self._failure = error

    def _drained(self, seconds: float | None, *, while_fine: bool = False) -> Work[bool]:
        if self._forwarder is None:
            return True
        if self._drainer is not None and not while_fine:
            self._drainer.hurry()
        return (yield from self._forwarder.emptied(seconds, while_fine=while_fine))

    def _finished(self) -> Work[None]:
        """Flushes, and waits for the spool to drain, for a limited time and while the server can be reached."""
        yield from self._flush(None)
        if self._spooling is not None:
            with suppress(StoreError):
                yield from self._drained(self._spooling.wait, while_fine=True)


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
        check_type(receipt, Receipt, "wait_committed() takes a receipt of flush()")
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

        check_apart(self, to, Session)
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
        caretaker = self._caretaker("backup", _BACKUP_INSTEAD)
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
        caretaker = self._caretaker("compact", _COMPACT_INSTEAD)
        return self._run(answered(caretaker.compact, progress))

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
        if self._backend is not None:
            self._run(self._finished())
            self._release()
            self._pending.warn()

    def __enter__(self) -> Self:
        _ = self.backend
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._backend is not None:
            try:
                if error is None:
                    self._run(self._finished())
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


def _model(model: Any, method: str) -> type[TSModel]:
    if not (isinstance(model, type) and issubclass(model, TSModel)):
        raise SessionError(f"{method} takes a model first, not {model!r} ({type(model).__name__})")
    return model


def to_undo(what: Undoable) -> list[PutId]:
    """The puts to undo.

    Raises:
        SessionError: when `what` names no puts.
    """
    found: dict[PutId, None] = {}
    is_single = isinstance(what, (Receipt, PutInfo, str)) or not isinstance(what, Iterable)
    listed: Iterable[Any] = [what] if is_single else what  # type: ignore[assignment]
    for each in listed:
        if isinstance(each, PutInfo):
            found[each.id] = None
        elif not isinstance(each, Receipt):
            hint = f"; for put {each}: [put for put in session.puts() if put.number == {each}]" if type(each) is int else ""
            raise SessionError(f"undo() takes receipts of flush(), or entries of session.puts(), not {each!r}{hint}")
        elif not each.puts:
            raise SessionError(
                "this receipt names no puts: nothing was stored" if not each.count else "this receipt names no puts"
            )
        else:
            found.update(dict.fromkeys(each.puts))
    if not found:
        raise SessionError("undo() needs a receipt of flush() or an entry of puts(), and was given none")
    return list(found)


def noted(note: object) -> str | None:
    """Checks that a note is text or None; raises SessionError otherwise."""
    if note is not None and not isinstance(note, str):
        raise SessionError(f"note must be text, not {note!r}")
    return note


def prunable(model: Any) -> int:
    """The capture time before which `prune` removes records of a model, ns since 2001.

    Raises:
        QueryError: when the model has no retention, or its records cannot be told apart from those of other models.
    """
    if not isinstance(model, type):
        raise QueryError(f"prune() takes one model, not {model!r}")
    schema, name = schema_of(model), model.__name__
    if schema.retention is None:
        raise QueryError(f'{name} has no retention: write class {name}(..., retention="400d")')
    if any(not discriminator.keys and discriminator.version is None for discriminator in codec_of(model).discriminators):
        raise QueryError(
            f"records of {name} cannot be told apart from those of other models, which would be removed too: fix a key "
            f"component, as in class {name}(TSModel, moid=7, retention=...), or give it a version byte"
        )
    return now_ns() - schema.retention


def corrected(row: M, changes: dict[str, Any]) -> M:
    """A copy of a record with other values and without acq.

    Raises:
        SessionError: when there are no changes, or a change is to the key.
    """
    check_type(row, TSModel, "correct() takes an object of a model")
    model = type(row).__name__
    columns = schema_of(type(row)).columns
    fields = [field.name for field in type(row).layout.fields]
    for name in changes:
        if name in columns and columns[name].info.is_key:
            raise SessionError(
                f"a correction keeps the key, and the database assigns its acq: {name} cannot change. Add a new {model} "
                "instead"
            )
        if name not in fields:
            raise SessionError(f"{model} has no field {name!r}; it has {', '.join(fields)}")
    if not changes:
        raise SessionError(f"correct() needs a field to change: correct(row, {fields[0] if fields else 'field'}=...)")
    struct: Any = row  # checkers do not see that models are Structs
    correction: M = msgspec.structs.replace(struct, acq=-1, **changes)
    return correction
