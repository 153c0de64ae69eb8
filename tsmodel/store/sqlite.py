"""The file engine: SQLite, with one row per block and one row per run.

In this module, the journal is SQLite's WAL.

Rules kept here:

* WAL and synchronous=FULL: a commit is on disk when it returns, and readers never wait for the writer.
* Everything read from the main file is checked against a checksum. The state holds a digest of the directories of all runs,
  and a directory holds the checksums of its blocks. The engine caches directories while the state's digest confirms them.
  Logged puts and removals have checksums, and the state holds the sums of those.
* A failed commit is in doubt: it may be there after a restart. A commit whose file or journal was deleted or replaced is in
  doubt, too. The engine then refuses to work until the store is reopened, which writes and syncs again.
* While a process may write, the file is marked as open: its header asks for a journal, and its state says open. A process
  that closes the file clears the state, and the last one also clears the header. A writer that finds the state closed marks
  the file as open first. A file that is marked as open and has no journal was copied while it was open.
* The application id identifies a store, and the user version its format. Other files are neither opened nor changed.
* Every SQLite error leaves this module as a `StoreError` that names the file.
* SQLite connections do not survive a fork. While a child holds inherited copies, its own connections to the same file take
  no locks. So a child closes the copies at once and opens its own connections. If another thread was inside SQLite during
  the fork, its mutexes may stay locked forever; the child then refuses to open these files.
"""

from __future__ import annotations

import atexit
import errno
import os
import queue
import sqlite3
import struct
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from tsmodel.errors import StoreCorruptError, StoreError, StoreFormatError, StoreInDoubtError, StoreRecoveryError
from tsmodel.store.cache import BlockCache
from tsmodel.store.directory import Directory, State, Table
from tsmodel.store.interface import EngineBusyError, held
from tsmodel.store.journal import Committed, check_journal, committed
from tsmodel.store.tables import PUTS, Kind, Snapshot, Transaction

__all__ = [
    "APPLICATION_ID",
    "CANNOT",
    "DEFAULT_CACHE",
    "FORMAT_VERSION",
    "SQLiteEngine",
    "check_schema",
    "connected",
    "examined",
    "identity",
    "new_file",
    "read_header",
    "read_state",
    "sync_directory",
    "undo",
    "write_state",
]

APPLICATION_ID: Final = 0x74736D64
"""`tsmd`: marks a SQLite file as a tsmodel store."""

FORMAT_VERSION: Final = 2

DEFAULT_CACHE: Final = 64 * 2**20
"""Size limit of the block cache, in bytes."""

_PAGE_SIZE: Final = 8192
_LOCK_TIMEOUT: Final = 60.0
_SQLITE_MAGIC: Final = b"SQLite format 3\0"
_CHECKPOINT_PAGES: Final = 2048
_JOURNAL_LIMIT: Final = 16 * 2**20
"""Bytes to which the journal is truncated after a full checkpoint."""
_CHECKPOINTS: Final = 20
"""How often a checkpoint is retried while other connections hinder it."""
_LEAVING: Final = 3
"""How often a process tries to close a file as the last one: two that close it at the same time block each other."""
_MOST_IDLE: Final = 16
"""Most idle connections kept for later readers. Each has two file descriptors and about 2 MiB of pages."""
_CLOSING: Final = 0.3
"""Seconds that a closing process gets to mark the file as closed and remove the journal."""
_JOURNAL_HEAD: Final = 32
"""Bytes of a journal before its first frame."""
_WRITING: Final = 0.05
"""Seconds that another process gets to finish a write to the journal."""

_SCHEMA: Final = (
    "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), data BLOB NOT NULL)",
    "CREATE TABLE runs (number INTEGER PRIMARY KEY, cid INTEGER NOT NULL, digest BLOB NOT NULL, directory BLOB NOT NULL)",
    "CREATE TABLE blocks (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    "CREATE TABLE puts (number INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    "CREATE TABLE removals (number INTEGER PRIMARY KEY, data BLOB NOT NULL)",
)
_EARLY_TABLES: Final = 3
"""Number of tables in files written before the log of puts and removals existed."""
CANNOT: Final = ("locked", "disk I/O", "full", "readonly", "unable to open", "interrupted", "too big", "busy")
"""Texts in SQLite errors that do not mean damage. Python 3.10 does not expose the error codes."""

_ADD_BLOCK: Final = "INSERT INTO blocks (id, data) VALUES (?, ?)"
_ADD_RUN: Final = "INSERT INTO runs (number, cid, digest, directory) VALUES (?, ?, ?, ?)"
_ADD_PUT: Final = "INSERT INTO puts (number, data) VALUES (?, ?)"
_ADD_REMOVAL: Final = "INSERT INTO removals (number, data) VALUES (?, ?)"
_DROP_BLOCKS: Final = "DELETE FROM blocks WHERE id >= ? AND id <= ?"
_DROP_RUN: Final = "DELETE FROM runs WHERE number = ?"
_LATER: Final = (_ADD_BLOCK, _ADD_RUN, _ADD_PUT, _ADD_REMOVAL, _DROP_BLOCKS, _DROP_RUN)
_SMALL: Final = 4096
"""Largest block, in bytes, that is buffered and written together with others."""

_OPENING = threading.RLock()  # reentrant: collecting a store closes it
_OPENED: Counter[tuple[int, int]] = Counter()
"""How many times this process has a file open, by device and inode."""


class SQLiteTables:
    """The tables of a file, through one connection.

    Inserts and deletes are buffered until the state is written or something is read: SQLite runs many statements on one
    table in a fraction of the time. Ids are never reused, so all inserts can run before the deletes.
    """

    at_once = 1
    """One at a time: the page cache and read-ahead of the disk make batches useless."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._waiting: dict[str, list[tuple[Any, ...]]] = {statement: [] for statement in _LATER}

    def flush(self) -> None:
        """Runs the buffered statements."""
        for statement, rows in self._waiting.items():
            if rows:
                self.connection.executemany(statement, rows)
                rows.clear()

    def read_state(self) -> State:
        return read_state(self.connection)

    def write_state(self, state: State) -> None:
        self.flush()
        write_state(self.connection, state)

    def fetch_blocks(self, ids: Sequence[int]) -> dict[int, bytes]:
        found = {}
        if self._waiting[_ADD_BLOCK]:
            self.flush()
        for number in ids:
            row = self.connection.execute("SELECT data FROM blocks WHERE id = ?", (number,)).fetchone()
            if row is not None and isinstance(row[0], bytes):
                found[number] = row[0]
        return found

    def add_blocks(self, first: int, stored: Sequence[bytes]) -> None:
        rows = enumerate(stored, first)
        if len(stored) == 1 and len(stored[0]) <= _SMALL:
            self._waiting[_ADD_BLOCK].extend(rows)
        else:
            self.connection.executemany(_ADD_BLOCK, rows)

    def put_block(self, number: int, data: bytes) -> None:
        self.flush()
        self.connection.execute("UPDATE blocks SET data = ? WHERE id = ?", (data, number))

    def drop_blocks(self, first: int, last: int) -> None:
        self._waiting[_DROP_BLOCKS].append((first, last))

    def add_run(self, directory: Directory, generation: int) -> None:  # noqa: ARG002 - the digest is enough
        row = (directory.number, directory.cid, directory.digest.to_bytes(16, "little"), directory.to_bytes())
        self._waiting[_ADD_RUN].append(row)

    def put_run(self, directory: Directory, generation: int) -> None:  # noqa: ARG002
        row = (directory.digest.to_bytes(16, "little"), directory.to_bytes(), directory.number)
        self.flush()
        self.connection.execute("UPDATE runs SET digest = ?, directory = ? WHERE number = ?", row)

    def drop_run(self, number: int, generation: int) -> None:  # noqa: ARG002
        self._waiting[_DROP_RUN].append((number,))

    def directories(self, numbers: Sequence[int]) -> dict[int, object]:
        query = "SELECT directory FROM runs WHERE number = ?"
        found = ((number, self.connection.execute(query, (number,)).fetchone()) for number in numbers)
        return {number: row[0] for number, row in found if row is not None}

    def entries(self, kind: Kind[Any]) -> Iterator[tuple[Any, Any]]:
        self.flush()
        return iter(self.connection.execute(f"SELECT number, data FROM {kind.table} ORDER BY number"))

    def add_entry(self, kind: Kind[Any], number: int, data: bytes) -> None:
        self._waiting[_ADD_PUT if kind is PUTS else _ADD_REMOVAL].append((number, data))

    def put_entry(self, kind: Kind[Any], number: int, data: bytes) -> None:
        self.flush()
        self.connection.execute(f"UPDATE {kind.table} SET data = ? WHERE number = ?", (data, number))

    def sizes(self) -> tuple[int, int]:
        """Bytes of the file after a checkpoint, and how many of them are free."""
        names = ("page_size", "page_count", "freelist_count")
        page, count, free = (self.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
        return count * page, free * page


class _Transaction(Transaction):
    def changed_state(self) -> State:
        # Set it again: a closed copy may have been restored over the file meanwhile.
        return msgspec.structs.replace(super().changed_state(), is_open=True)


class SQLiteEngine:
    """Stores blocks in a file.

    Args:
        path: the file. While it is open, SQLite keeps two more next to it, named with `-wal` and `-shm` appended.
        cache_bytes: size limit of the block cache, in bytes; 0 disables it.
        read_only: opens the file without writing to it or creating any file.
        create: whether to create a file that does not exist.
        as_copy: accepts a file that was copied while it was open, without its journal.

    Raises:
        StoreFormatError: if the file is not a store, or has another format.
        StoreCorruptError: if it is damaged, or was copied while it was open.
        StoreError: if it cannot be opened.
    """

    def __init__(
        self,
        path: str,
        cache_bytes: int = DEFAULT_CACHE,
        *,
        read_only: bool = False,
        create: bool = True,
        as_copy: bool = False,
    ) -> None:
        self._closed = True  # until opening succeeds
        self.path = path
        self.cache = BlockCache(cache_bytes)
        self._read_only = read_only
        self._lost = False
        self._failure: str | None = None
        self._lock = threading.Lock()
        self._table = Table({})
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._files: list[tuple[Path, tuple[int, int]]] = []
        self._journal = Path(f"{path}-wal")
        self._options = "mode=ro"
        self._lacks_journal = self._was_left = False
        self._takes_early = as_copy and read_only
        self._writer: sqlite3.Connection | None = None
        self._guard: sqlite3.Connection | None = None
        self._connections: set[sqlite3.Connection] = set()
        self._readers: set[object] = set()
        _engines.add(self)
        with self._lock, self._errors():
            try:
                _check_place(Path(path), create and not read_only)
                self._key = identity(Path(path))
            except (OSError, ValueError) as error:  # an invalid path: too long, or with a NUL in it
                raise StoreError(f"{path!r} cannot be opened: {error}", path=path) from error
            if self._key in _lost_files:
                raise _lost_error(path)
            with _OPENING:
                if not _OPENED[self._key]:
                    self._look(as_copy)
                _OPENED[self._key] += 1
            try:
                self._opened_writer()
            except BaseException:
                self._forget()
                raise
            self._closed = False
            _reachable[id(self)] = self._connections

    @contextmanager
    def reading(self) -> Iterator[Snapshot]:
        """Opens a snapshot, on a connection of its own."""
        self._check_open()
        with self._reader(), self._errors():
            if self._writer is None:  # in a forked process
                with self._lock:
                    self._opened_writer()
            try:
                connection = self._idle.get_nowait()
            except queue.Empty:
                connection = self._connect()
            healthy = False
            try:
                connection.execute("BEGIN")
                snapshot = Snapshot(self, SQLiteTables(connection))
                assert snapshot.table is not None  # loads and checks the directories, so every reader hears of damage
                yield snapshot
                healthy = True
            except GeneratorExit:
                healthy = True
                raise
            finally:
                self._give_back(connection, healthy)

    @contextmanager
    def writing(self, *, wait: bool = True) -> Iterator[_Transaction]:
        """Opens a transaction on the write connection."""
        with held(self._lock, wait=wait), self._errors("; nothing was stored by this call"):
            writer = self._checked_writer()
            undo(writer)  # what a second Ctrl-C has kept from being undone
            try:
                self._begin(writer, wait)
                transaction = _Transaction(self, SQLiteTables(writer))
                if not transaction.state.is_open:  # another process closed the file meanwhile
                    _say_open(writer, transaction.state)
                    self._begin(writer, wait)
                    transaction = _Transaction(self, SQLiteTables(writer))
                assert transaction.table is not None
                yield transaction
                transaction.finish()
                table = transaction.changed_table()
            except BaseException:
                undo(writer)
                raise
            self._commit(writer)
            self._table = table
            if not self._readers and self._has_grown():
                with suppress(sqlite3.Error):
                    _truncate_journal(writer)

    def preparing(self) -> AbstractContextManager[Transaction]:
        """Same as `writing`: SQLite has one writer, so what it reads cannot change."""
        return self.writing()

    def close(self) -> None:
        """Closes the file. The last process to do so removes the journal and marks the file as closed."""
        if self._closed:
            return
        with self._lock, self._errors("; nothing is lost: all stored records are in the file and its journal"):
            self._closed = True
            try:
                while not self._idle.empty():
                    self._disconnect(self._idle.get_nowait())
                if self._writer is not None:
                    self._close_writer(self._writer)
            finally:
                self._forget()
                self.cache.clear()
                self._table = Table({})
                _reachable.pop(id(self), None)

    def _close_writer(self, writer: sqlite3.Connection) -> None:
        if not self._read_only and self._moved() is None:
            try:
                self._leave(writer)
            except (sqlite3.Error, StoreCorruptError):
                if self._failure is None:
                    raise
            return
        self._let_go()
        if not self._read_only and self._moved(1) is None:
            with suppress(sqlite3.Error):  # this connection still knows what the lost journal held
                writer.execute("PRAGMA journal_mode = DELETE")
        self._disconnect(writer)

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()

    def close_at_exit(self) -> None:
        """Closes a store that is still open at exit. Leaves one that another thread is using."""
        if self._lock.acquire(timeout=_CLOSING):
            self._lock.release()
            with suppress(StoreError):
                self.close()
        else:
            for connection in self._connections:
                _leak(connection)

    def shrink(self) -> None:
        """Returns free pages to the file system; at once, unless a reader holds an older snapshot."""
        with self._lock, self._errors("; the file stays as large as it is"):
            writer = self._checked_writer()
            writer.execute("VACUUM")
            try:
                _truncate_journal(writer)
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):  # by a reader: a later put truncates the file
                    raise

    def _checked_writer(self) -> sqlite3.Connection:
        self._check_open()
        if self._read_only:
            raise StoreError(f"{self.path} is open read-only; nothing was stored", path=self.path)
        if (fault := self._moved()) is not None:
            raise StoreError(f"{fault}; nothing was stored by this call", path=self.path)
        return self._opened_writer()

    def _begin(self, writer: sqlite3.Connection, wait: bool) -> None:
        with nullcontext() if wait else _impatience(writer):
            try:
                writer.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not wait and "locked" in str(error):  # by another process
                    raise EngineBusyError from error
                raise

    @property
    def is_at_work(self) -> bool:
        """Whether a thread may be inside SQLite, or has an unfinished scan."""
        return bool(self._readers) or self._lock.locked()

    def carried_over(self, *, lost: bool) -> None:
        """Resets the engine in a forked process, or disables it if it is `lost`."""
        inherited, self._connections = self._connections, set()
        if not self._closed:
            _reachable[id(self)] = self._connections
        self._lock, self._readers, self._idle = threading.Lock(), set(), queue.SimpleQueue()
        self._writer = self._guard = None
        self.cache = BlockCache(self.cache.most)
        if not lost:
            for connection in inherited:
                connection.close()
        elif inherited:
            self._lost = True
            for connection in inherited:
                _leak(connection)
            with suppress(OSError):
                _lost_files.add(identity(Path(self.path)))

    @contextmanager
    def _reader(self) -> Iterator[None]:
        reader, readers = object(), self._readers
        readers.add(reader)
        try:
            yield
        finally:
            readers.discard(reader)
            if not readers and readers is self._readers:
                self._rest()

    def _rest(self) -> None:
        """Truncates a large journal after the last reader of this process. Best effort: if a writer is active, it does so
        itself later."""
        if self._read_only or self._closed or not self._has_grown() or not self._lock.acquire(blocking=False):
            return
        try:
            if self._writer is not None and not self._closed:
                with suppress(sqlite3.Error):
                    _truncate_journal(self._writer)
        finally:
            self._lock.release()

    def _has_grown(self) -> bool:
        """Whether the journal exceeds its limit for an idle store."""
        return _size(self._journal) > _JOURNAL_LIMIT

    def _look(self, as_copy: bool) -> None:
        """Reads the file without SQLite. Only while this process does not have it open: closing any descriptor of a file
        releases all locks the process holds on it (https://www.sqlite.org/howtocorrupt.html, 2.2)."""
        _check_header(Path(self.path))
        if not as_copy:
            self._check_copy()
        has_journal = read_header(Path(self.path)).has_journal
        self._lacks_journal = has_journal and not self._journal.exists()
        self._was_left = has_journal and not Path(f"{self.path}-journal").exists()
        # Before SQLite rebuilds the index from whatever part of the journal it accepts.
        _look_at_journal(self._journal, _refused, alone=True)

    def _forget(self) -> None:
        with _OPENING:
            _OPENED[self._key] -= 1
            if not _OPENED[self._key]:
                del _OPENED[self._key]

    def _commit(self, writer: sqlite3.Connection) -> None:
        try:
            writer.execute("COMMIT")
        except sqlite3.Error as error:
            undo(writer)
            # SQLite could not start, or had no space for the commit frame: nothing is in doubt.
            if "locked" in str(error) or "is full" in str(error):
                raise
            self._fail(f"{self.path}: {error} during a commit", error)
        except BaseException:
            undo(writer)
            self._failure = f"{self.path}: a commit was interrupted"
            raise
        if (fault := self._moved()) is not None:
            self._fail(fault, None)

    def _fail(self, what: str, cause: BaseException | None) -> None:
        self._failure = what
        raise StoreInDoubtError(
            f"{what}: the records may or may not be stored; close the store and open it again to find out",
            path=self.path,
        ) from cause

    def _moved(self, first: int = 2) -> str | None:
        """Says whether the file or its journal was deleted or replaced since it was opened; checks the `first` of them.
        None if both are the same."""
        for path, known in self._files[:first]:
            try:
                is_same = identity(path) == known
            except OSError:
                return f"{path} was deleted while it was open"
            if not is_same:
                return f"{path} was replaced by another file while it was open"
        return None

    def table_of(self, tables: SQLiteTables, state: State) -> Table:
        """The directories of a state, from memory or read and checked."""
        table = self._table
        if not table.matches(state):
            rows = tables.connection.execute("SELECT number, cid, digest FROM runs").fetchall()
            self._table = table = table.renewed(rows, state, tables.directories, "file")
        return table

    def _give_back(self, connection: sqlite3.Connection, healthy: bool) -> None:
        if connection not in self._connections:  # the parent's
            return
        if not healthy or self._closed or self._idle.qsize() >= _MOST_IDLE:
            self._disconnect(connection)
            return
        connection.execute("ROLLBACK")
        self._idle.put(connection)

    def _connect(self, options: str | None = None, timeout: float | None = None) -> sqlite3.Connection:
        connection = connected(self.path, options or self._options, timeout)
        self._connections.add(connection)
        with self._or_none(connection):
            connection.execute("PRAGMA synchronous = FULL")
        return connection

    @contextmanager
    def _or_none(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Closes the connection if the block fails."""
        try:
            yield
        except BaseException:
            self._disconnect(connection)
            raise

    def _disconnect(self, connection: sqlite3.Connection) -> None:
        self._connections.discard(connection)
        connection.close()

    def _opened_writer(self) -> sqlite3.Connection:
        """The write connection; a forked process opens its own."""
        if self._writer is None:
            if (fault := self._moved(1)) is not None:
                raise StoreError(fault, path=self.path)
            self._writer = self._open_read_only() if self._read_only else self._open()
        return self._writer

    def _open(self) -> sqlite3.Connection:
        """Opens the write connection, checks the file and marks it as open."""
        guard = self._guarding() if self._was_left else None
        connection = None
        try:
            connection = self._connect("mode=rw")
            if _switched_to_journal(connection) != "wal":
                raise StoreError(
                    f"{self.path} cannot use WAL mode: SQLite needs shared memory next to the file, which network file "
                    "systems do not support; put the file on a local disk",
                    path=self.path,
                )
            connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_LIMIT}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            guard = guard or self._guarding()
            connection.execute("BEGIN IMMEDIATE")
            check_schema(connection)
            if had_journal := _size(self._journal) > 0:
                check_journal(self._journal)
            state = read_state(connection)
            self.table_of(SQLiteTables(connection), state)
            # Write and sync even if it is marked as open: the earlier mark may never have reached the disk.
            if not state.is_open or had_journal:
                _say_open(connection, state)
            else:
                connection.execute("ROLLBACK")
            self._files = [(each, identity(each)) for each in (Path(self.path), self._journal)]
        except BaseException as error:
            if connection is not None:
                self._disconnect(connection)
            if guard is not None:
                self._disconnect(guard)
            if isinstance(error, OSError):
                raise StoreError(f"{self.path} cannot be opened: {error}", path=self.path) from error
            raise
        self._guard = guard
        return connection

    def _guarding(self, timeout: float | None = None) -> sqlite3.Connection:
        """Opens a read-only connection that keeps the journal in place. When the last connection closes, for whatever
        reason, SQLite checkpoints the journal and removes it. The file would then be marked as open and look as if its
        journal were lost. A read-only connection may not do that, so nothing happens if it is the last one."""
        guard = self._connect("mode=ro", timeout)
        with self._or_none(guard):
            guard.execute("SELECT one FROM state").fetchone()  # takes the shared lock, which the connection keeps
        return guard

    def _open_read_only(self) -> sqlite3.Connection:
        """Opens a connection that writes nothing and creates no files."""
        self._options = "mode=ro&readonly_shm=1"
        if self._journal.exists():
            is_left = not Path(f"{self.path}-shm").exists() or _is_only_a_head(self._journal)
        else:
            is_left = _is_half_closed(self.path)
            if self._lacks_journal:
                self._options = "mode=ro&immutable=1"
        if is_left:
            raise StoreRecoveryError(
                f"{self.path} has a journal that needs recovery, which requires write access; open the store once without "
                "read_only, and close it",
                path=self.path,
            )
        connection = self._connect()
        with self._or_none(connection):
            check_schema(connection, early=self._takes_early)
            self.table_of(SQLiteTables(connection), read_state(connection))
        return connection

    def _check_copy(self) -> None:
        """Checks that the file is not a copy without its journal."""

        def lacks_journal() -> bool:
            if not read_header(Path(self.path)).has_journal or self._journal.exists():
                return False
            connection = self._connect("mode=ro&immutable=1")
            try:
                return read_state(connection).is_open
            finally:
                self._disconnect(connection)

        if _persists(lacks_journal):
            raise StoreCorruptError(
                f"{self.path} was copied while it was open, without its journal {self._journal}: records are missing. "
                "Copy an open store with session.backup, or copy all its files while no process has it open; "
                "`python -m tsmodel.store.convert` saves the records that are in the file",
                path=self.path,
            )

    def _leave(self, writer: sqlite3.Connection) -> None:
        """Marks the file as closed and removes the journal, unless another process has it open; the last one does that."""
        for attempt in range(_LEAVING):
            # A new connection: an old one may still trust pages that it read from the journal earlier.
            try:
                connection = self._connect("mode=rw")
            except sqlite3.Error:
                self._disconnect(writer)
                self._let_go()
                raise
            if not attempt:
                self._disconnect(writer)
            self._let_go()
            done = False
            try:
                done = _said_closed(connection)
                if done:
                    connection.execute("PRAGMA journal_mode = DELETE").fetchone()
            finally:
                if not done:
                    self._keep_journal(connection)
                self._disconnect(connection)
                self._let_go()
            if done or self._moved() is not None:
                return
            time.sleep(0.001)  # another process that is closing it may be done by now
        self._settle()

    def _settle(self) -> None:
        """Checkpoints the journal and marks the file as closed while another process still has it open, so that a copy of
        the file alone is complete. A process that writes later marks the file as open first."""
        with suppress(sqlite3.Error, StoreCorruptError):
            connection = self._connect("mode=rw", 0)
            done = False
            try:
                connection.execute("BEGIN IMMEDIATE")
                write_state(connection, msgspec.structs.replace(read_state(connection), is_open=False))
                connection.execute("COMMIT")
                done = True
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                if not done:
                    self._keep_journal(connection)
                self._disconnect(connection)
                self._let_go()

    def _keep_journal(self, connection: sqlite3.Connection) -> None:
        """Releases the exclusive lock after a failed close, and opens a guard so that this connection is not the last."""
        for _ in range(_LEAVING):  # the failure may be temporary
            with suppress(sqlite3.Error):
                undo(connection)
                connection.execute("PRAGMA locking_mode = NORMAL")
                connection.execute("SELECT one FROM state").fetchone()
                self._guard = self._guarding(0)
                return

    def _let_go(self) -> None:
        if self._guard is not None:
            self._disconnect(self._guard)
            self._guard = None

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store {self.path} is closed", path=self.path)
        if self._lost:
            raise _lost_error(self.path)
        if self._failure is not None:
            raise StoreError(f"{self._failure}: close the store and open it again", path=self.path)

    @contextmanager
    def _errors(self, consequence: str = "") -> Iterator[None]:
        try:
            yield
        except StoreCorruptError as error:
            if error.path is not None:
                raise
            raise StoreCorruptError(f"{self.path} is damaged: {error}; restore a copy", path=self.path) from error
        except sqlite3.OperationalError as error:
            if not any(text in str(error) for text in CANNOT):
                raise StoreCorruptError(f"{self.path} is damaged: {error}; restore a copy", path=self.path) from error
            waited = ": another process writes to it"
            hint = f"{waited}, and did not finish within {_LOCK_TIMEOUT:g} s" if "locked" in str(error) else ""
            raise StoreError(f"{self.path}: {error}{hint}{consequence}", path=self.path) from error
        except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
            raise StoreCorruptError(f"{self.path} is damaged: {error}; restore a copy", path=self.path) from error


def connected(path: str, options: str, timeout: float | None = None) -> sqlite3.Connection:
    """Opens a SQLite file with the options of a URI."""
    quoted = quote(path.replace(os.sep, "/"))
    # Path.as_uri rejects relative paths. An absolute path follows an empty host.
    start = "file://" if quoted.startswith("/") else "file:///" if Path(path).drive else "file:"
    timeout = _LOCK_TIMEOUT if timeout is None else timeout
    uri = f"{start}{quoted}?{options}"
    return sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False)


@contextmanager
def _impatience(writer: sqlite3.Connection) -> Iterator[None]:
    """Within the block, SQLite does not wait for locks."""
    writer.execute("PRAGMA busy_timeout = 0")
    try:
        yield
    finally:
        writer.execute(f"PRAGMA busy_timeout = {int(_LOCK_TIMEOUT * 1000)}")


def _truncate_journal(writer: sqlite3.Connection) -> None:
    """Checkpoints and truncates the journal; fails if a reader still needs it."""
    with _impatience(writer):
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def undo(writer: sqlite3.Connection) -> None:
    """Ends a transaction, if one is open, without its changes."""
    if writer.in_transaction:
        with suppress(sqlite3.Error):
            writer.execute("ROLLBACK")


def read_state(connection: sqlite3.Connection) -> State:
    row = connection.execute("SELECT data FROM state WHERE one = 1").fetchone()
    if row is None:
        raise StoreCorruptError("the file has no state")
    return State.from_bytes(row[0])


def write_state(connection: sqlite3.Connection, state: State) -> None:
    if connection.execute("UPDATE state SET data = ? WHERE one = 1", (state.to_bytes(),)).rowcount != 1:
        raise StoreCorruptError("the file has no state")


def check_schema(connection: sqlite3.Connection, *, early: bool = False) -> None:
    """Checks that a file has the tables of a store; with `early`, also accepts a file without puts and removals."""
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY rowid").fetchall()
    wanted = [("table", (name := text.split()[2]), name, text) for text in _SCHEMA]
    if found == wanted or (early and found == wanted[:_EARLY_TABLES]):
        return
    if found == wanted[:_EARLY_TABLES]:
        (_, _, path) = connection.execute("PRAGMA database_list").fetchone()
        raise StoreFormatError(
            f"{path} has no log of puts and removals: an older tsmodel wrote it; "
            f"`python -m tsmodel.store.convert {path} NEW` copies it to a file in the current format",
            path=path,
        )
    raise StoreCorruptError("its tables are not those of a store")


def _switched_to_journal(connection: sqlite3.Connection) -> str:
    """Switches to WAL mode, and returns the mode. Unlike for other statements, SQLite does not wait for a process that is
    just opening or closing the file."""
    until = time.monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(0.002)


def _say_open(connection: sqlite3.Connection, state: State) -> None:
    """Marks the file as open and checkpoints that, so that a copy without its journal is refused."""
    write_state(connection, msgspec.structs.replace(state, is_open=True, generation=state.generation + 1))
    connection.execute("COMMIT")
    for _ in range(_CHECKPOINTS):
        is_busy, in_journal, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if not is_busy and in_journal == copied:
            return
        time.sleep(0.005)  # a reader, or the checkpoint of another process, is in the way


def _said_closed(connection: sqlite3.Connection) -> bool:
    """Marks the file as closed in its state, before the journal is removed; False if another process has it open. If the
    process dies in between, the journal is still there, or the file no longer needs it."""
    connection.execute("PRAGMA busy_timeout = 0")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # locks out other processes from the next transaction on
    try:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            # SQLite then holds part of the lock, and releases it only when this fails as well.
            if connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0] != "delete":
                return False
            connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return False
        raise
    write_state(connection, msgspec.structs.replace(read_state(connection), is_open=False))
    try:
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:  # without a journal, a reader that has just opened the file is in the way
        if "locked" not in str(error):
            raise
        connection.execute("ROLLBACK")
        return False
    return True


def identity(path: str | Path) -> tuple[int, int]:
    """The device and inode of a file."""
    found = os.stat(path)  # noqa: PTH116 - half the time of Path.stat
    return found.st_dev, found.st_ino


class _Header(NamedTuple):
    """The header of a SQLite file (https://www.sqlite.org/fileformat.html, "The Database Header")."""

    data: bytes
    has_journal: bool
    version: int
    application: int


def read_header(path: Path) -> _Header:
    """Reads the header without SQLite; only of files that this process does not have open."""
    try:
        with path.open("rb") as file:
            data = file.read(100)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error}", path=str(path)) from error
    return _Header(data, 2 in data[18:20], *struct.unpack_from(">I4xI", data.ljust(100, b"\0"), 60))


def _check_place(path: Path, create: bool) -> None:
    """Checks that the file exists, or creates it."""
    name = str(path)
    with suppress(FileNotFoundError, NotADirectoryError):
        path.stat()  # since Python 3.14, exists() and is_dir() return False for invalid paths
    if path.is_dir():
        raise StoreError(f"{name} is a directory; give the path of a file in it", path=name)
    journal = Path(f"{name}-wal")  # looked at before the file: another thread or process may be creating both
    was_left = _size(journal) > 0
    if path.exists():
        return
    if not create:
        raise StoreError(f"{name} does not exist; remove read_only or create=False to create it", path=name)
    if not path.parent.is_dir():
        raise StoreError(f"{name}: there is no directory {path.parent}; create it first", path=name)
    if was_left:
        raise StoreCorruptError(
            f"{name} does not exist, but its journal {journal} does: restore the file, or remove the journal", path=name
        )
    _create(path)


def _create(path: Path) -> None:
    """Creates a store atomically: a file at the path is always a complete store."""
    with suppress(FileExistsError), new_file(path):  # another process may be faster
        pass


@contextmanager
def new_file(path: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """Creates an empty, closed store under a temporary name and yields that name and a connection to fill it. At the end
    of the `with` block, the file is synced and moved to `path`; after an error, nothing is at `path`.

    Raises:
        FileExistsError: if `path` exists by then.
        StoreError: if the file cannot be created.
    """
    made = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    try:
        made.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be created: {error}", path=str(path)) from error
    try:
        try:
            with closing(sqlite3.connect(made, isolation_level=None, check_same_thread=False)) as connection:
                _write_schema(connection)
                yield made, connection
        except sqlite3.Error as error:
            raise StoreError(f"{path} cannot be written: {error}", path=str(path)) from error
        try:
            _sync_file(made)
            try:
                path.hardlink_to(made)
            except FileExistsError:
                raise
            except OSError:  # a file system without hard links
                if path.exists():
                    raise FileExistsError(f"{path} exists") from None
                made.rename(path)
            try:
                sync_directory(path.parent)
            except OSError:
                path.unlink()
                raise
        except FileExistsError:
            raise
        except OSError as error:
            raise StoreError(f"{path} cannot be created: {error}", path=str(path)) from error
    finally:
        for end in ("", "-journal"):
            with suppress(OSError):
                Path(f"{made}{end}").unlink(missing_ok=True)


def _write_schema(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute("INSERT INTO state (one, data) VALUES (1, ?)", (State().to_bytes(),))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    connection.execute("COMMIT")


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def examined(path: Path, found: Callable[[str, str], object], scratch: Path | None = None) -> Iterator[sqlite3.Connection]:
    """Opens a file, damaged or not, for reading in one snapshot. Never writes to it. Reads a temporary copy where reading
    the file itself would take a write: if a process died and left a journal, or the first page is damaged.

    Args:
        path: the file.
        found: called with each fault of the file as a whole: where, and what.
        scratch: directory for the copy; None for the system's temporary directory.

    Raises:
        StoreFormatError: if the file is not a store, or has another format.
        StoreError: if it cannot be read.
    """
    import shutil
    import tempfile

    name, journal = str(path), Path(f"{path}-wal")
    try:
        key = identity(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"{name!r} cannot be read: {error}", path=name) from error
    options, is_mended = "mode=ro&readonly_shm=1", False
    with _OPENING:  # see `SQLiteEngine._look`
        if not _OPENED[key]:
            try:
                _check_header(path)
            except StoreCorruptError as error:
                found("header", str(error))
                is_mended = True
            if _persists(lambda: read_header(path).has_journal and not journal.exists()):
                options = "mode=ro&immutable=1"
        has_journal = journal.exists()
        is_half_closed = not _OPENED[key] and _is_half_closed(name)
        is_begun = not _OPENED[key] and _is_only_a_head(journal)
        is_left = is_half_closed or is_begun or (has_journal and not Path(f"{name}-shm").exists())
        if journal.exists() and not _look_at_journal(journal, found, alone=not _OPENED[key]):
            is_left = True
        if not is_mended and not is_left and not _has_schema(name, options):
            if _OPENED[key]:
                is_mended = True
                found("schema", "its tables are not those of a store, or cannot be read")
            else:  # perhaps only because reading needs write access: try a copy
                is_left = True
        may_copy = not _OPENED[key]
    if not may_copy or not (is_mended or is_left):
        with _snapshot(name, options) as connection:
            if "immutable" in options and _may_be_open(connection):
                found(
                    "journal", f"the file was copied while it was open, without {journal}: the latest records are missing"
                )
            yield connection
        return
    with tempfile.TemporaryDirectory(dir=scratch, prefix="tsmodel-") as directory:
        copy = Path(directory) / "copy.tsdb"
        try:
            with _OPENING:
                if _OPENED[key]:
                    raise OSError("it is being opened; try again")
                shutil.copyfile(path, copy)
                if is_begun and not _is_only_a_head(journal):
                    raise OSError("another process has begun to write to it; try again")
                if has_journal:
                    shutil.copyfile(journal, f"{copy}-wal")
                if is_half_closed:
                    shutil.copyfile(f"{name}-journal", f"{copy}-journal")
            if is_left and not is_mended:
                is_mended = not _has_schema(str(copy), "mode=rw")
                if is_mended:
                    found("schema", "its tables are not those of a store, or cannot be read")
            if is_mended:
                _mend(copy)
        except OSError as error:
            raise StoreError(f"{name} cannot be copied to {directory}: {error}", path=name) from error
        with _snapshot(str(copy), "mode=rw") as connection:
            yield connection


def _persists(condition: Callable[[], bool]) -> bool:
    """Whether a condition still holds once a process that is just opening or closing the file has had time to finish."""
    until = time.monotonic() + _CLOSING
    while condition():
        if time.monotonic() > until:
            return True
        time.sleep(0.02)
    return False


def _size(path: str | Path) -> int:
    """The size of a file in bytes; -1 if there is none."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - half the time of Path.stat
    except OSError:
        return -1


def _is_only_a_head(journal: Path) -> bool:
    """Whether a process died after it wrote the header of a new journal and before the first frame. The journal holds no
    commits. SQLite cannot read it without writing to its index: it retries for 10 s and fails with "locking protocol"."""
    return _persists(lambda: _size(journal) == _JOURNAL_HEAD)


def _is_half_closed(path: str) -> bool:
    """Whether a process died while closing a file: it left a rollback journal for its last write."""
    journal = f"{path}-journal"
    return _persists(lambda: _size(journal) >= 0) and _size(journal) > 0


@contextmanager
def _snapshot(name: str, options: str) -> Iterator[sqlite3.Connection]:
    try:
        connection = connected(name, options)
    except sqlite3.Error as error:
        raise StoreError(f"{name} cannot be read: {error}", path=name) from error
    with closing(connection):
        with suppress(sqlite3.Error):  # reading fails with the same error
            connection.execute("BEGIN")
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        yield connection


def _may_be_open(connection: sqlite3.Connection) -> bool:
    try:
        return read_state(connection).is_open
    except (sqlite3.Error, StoreCorruptError):
        return True


def _has_schema(name: str, options: str) -> bool:
    try:
        with _snapshot(name, options) as connection:
            check_schema(connection)
    except (sqlite3.Error, StoreCorruptError, UnicodeDecodeError):
        return False
    return True


def _refused(_: str, what: str) -> None:
    raise StoreCorruptError(what)


def _committed(journal: Path) -> Committed | None:
    """Reads the index (`-shm`) of a journal. Only for files that this process does not have open.

    Raises:
        StoreCorruptError: if the index lists frames and the journal is empty.
    """
    sizes = []
    found = None
    for _ in range(2):  # SQLite updates the index before it truncates a journal, and after it fills one
        sizes.append(_size(journal))
        found = found or committed(Path(f"{journal}"[: -len("-wal")] + "-shm"))
    if found is not None and found.frames and max(sizes) <= _JOURNAL_HEAD and min(sizes) >= 0:
        raise StoreCorruptError(f"the journal {journal} is truncated; it held stored records, which would be lost")
    return found


def _look_at_journal(journal: Path, found: Callable[[str, str], object], *, alone: bool) -> bool:
    """Reports damage in a journal; returns whether it is intact. Retries, because an unfinished write of another process
    is not damage. Uses the index only if no connection of this process is open (`alone`)."""
    for last in (False, False, True):
        try:
            check_journal(journal, _committed(journal) if alone else None)
        except StoreCorruptError as error:
            if last:
                found("journal", str(error))
            time.sleep(_WRITING)
        except FileNotFoundError:
            return True
        except OSError as error:
            found("journal", f"it cannot be read: {error}")
            return False
        else:
            return True
    return False


def _mend(copy: Path) -> None:
    """Replaces the first page of a file with that of a new store: the tables have the same root pages in every store."""
    new = copy.with_name("new.tsdb")
    _create(new)
    first = bytearray(new.read_bytes()[:_PAGE_SIZE])
    first[28:32] = (copy.stat().st_size // _PAGE_SIZE).to_bytes(4, "big")  # the page count
    with copy.open("r+b") as file:
        file.write(first)


def sync_directory(path: Path) -> None:
    """Syncs a directory, on systems that support it.

    Raises:
        OSError: if the sync fails.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # Windows cannot open directories
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _check_header(path: Path) -> None:
    """Checks that a file is a store of this format."""
    header, name = read_header(path), str(path)
    if not header.data:
        raise StoreCorruptError(
            f"{name} is empty, which a store never is: restore a copy, or remove the file to start a new store", path=name
        )
    magic = header.data[: len(_SQLITE_MAGIC)]
    if magic != _SQLITE_MAGIC:
        if _alike(magic, _SQLITE_MAGIC) and header.application == APPLICATION_ID:
            raise StoreCorruptError(f"{name} is damaged: its first bytes are {magic!r}; restore a copy", path=name)
        raise StoreFormatError(f"{name} is not a tsmodel store: it starts with {magic!r}; choose another path", path=name)
    if header.application != APPLICATION_ID:
        if header.version == FORMAT_VERSION and _alike(header.data[68:72], APPLICATION_ID.to_bytes(4, "big")):
            raise StoreCorruptError(
                f"{name} is damaged: its application id is not that of a store; restore a copy", path=name
            )
        raise StoreFormatError(f"{name} is a SQLite database of another application; choose another path", path=name)
    if header.version == 1:
        raise StoreFormatError(
            f"{name} has format 1, which this version no longer reads; `python -m tsmodel.store.convert {name} NEW` copies "
            "it to a file in the current format",
            path=name,
        )
    if header.version != FORMAT_VERSION:
        raise StoreFormatError(
            f"{name} has format {header.version}, written by a newer tsmodel; this version reads format {FORMAT_VERSION}: "
            "upgrade tsmodel",
            path=name,
        )


def _alike(found: bytes, wanted: bytes) -> bool:
    """Whether two byte strings differ in at most one byte."""
    return sum(a != b for a, b in zip(found, wanted, strict=False)) <= 1 and len(found) == len(wanted)


_engines: weakref.WeakSet[SQLiteEngine] = weakref.WeakSet()
_reachable: dict[int, set[sqlite3.Connection]] = {}
"""The connections of each open engine. Keeps them reachable: the garbage collector clears weak references first, and Python
3.10 could then not finalize the statements of a connection in a cycle, nor close the connection."""
_lost_files: set[tuple[int, int]] = set()
"""Files to which this process holds inherited connections, which it must not use."""


def _forked() -> None:
    global _OPENING
    _OPENING = threading.RLock()  # another thread of the parent may hold it
    engines = list(_engines)
    lost = any(engine.is_at_work for engine in engines)
    for engine in engines:
        engine.carried_over(lost=lost)


@atexit.register
def _close_all() -> None:
    for engine in list(_engines):
        engine.close_at_exit()


def _leak(connection: sqlite3.Connection) -> None:
    """Keeps a connection open forever: closing it could hang, or roll back a write of another process."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _lost_error(path: str) -> StoreError:
    return StoreError(
        f"the store {path} cannot be used in this process: when it was forked, another thread or an unfinished iteration "
        "was reading or writing a file. Fork when none is, or start processes by spawn or forkserver",
        path=path,
    )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
