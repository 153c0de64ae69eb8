"""The engine behind a file: SQLite, one row a block and one row a run.

Rules kept here:

* WAL and synchronous=FULL: a commit is on the disk when it returns, and readers never wait for the writer.
* Nothing in the main file is believed without a checksum: the state holds a digest of the directories of all runs, a
  directory holds the checksums of its blocks. Directories that were read stay in memory, for as long as the state's digest
  says that they are those of the file. What it remembers of puts and removals has checksums, and sums in the state, too.
* A commit that fails is in doubt: it may be there after a restart. So is one whose file or journal was deleted or replaced.
  The engine then refuses to work until it is opened again, which writes and syncs once more.
* While a process may write, the file says so: its header asks for a journal and its state is open. Both are undone when
  the last process closes it. A file that says so and has no journal was copied while it was open.
* The file says what it is (application id) and how it is laid out (user version); nothing else is opened or changed.
* Every error of SQLite leaves this module as a `StoreError` that names the file.
* SQLite's connections do not survive a fork, and while copies of them are open in the child, connections that it opens
  to the same file take no locks. So a child closes the copies at once, and opens its own. It cannot when SQLite was at work
  in another thread: its mutexes may be held for ever. Then the child may not open these files at all.
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
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from tsmodel.errors import StoreCorruptError, StoreError, StoreFormatError, StoreInDoubtError
from tsmodel.store.cache import BlockCache
from tsmodel.store.directory import Directory, State, Table
from tsmodel.store.engine import EngineBusyError, held
from tsmodel.store.history import PUTS, Kind
from tsmodel.store.journal import Committed, check_journal, committed
from tsmodel.store.tables import Snapshot, Transaction

__all__ = [
    "APPLICATION_ID",
    "DEFAULT_CACHE",
    "FORMAT_VERSION",
    "SQLiteEngine",
    "check_schema",
    "examined",
    "new_file",
    "read_state",
    "sync_directory",
    "write_state",
]

APPLICATION_ID: Final = 0x74736D64
"""`tsmd`: what marks a SQLite file as a store of tsmodel."""

FORMAT_VERSION: Final = 2

DEFAULT_CACHE: Final = 64 * 2**20
"""Bytes of blocks that are kept in memory when they were read."""

_PAGE_SIZE: Final = 8192
_LOCK_TIMEOUT: Final = 60.0
_SQLITE_MAGIC: Final = b"SQLite format 3\0"
_CHECKPOINT_PAGES: Final = 2048
_JOURNAL_LIMIT: Final = 16 * 2**20
"""Bytes to which the journal is cut back once all of it is in the main file."""
_CHECKPOINTS: Final = 20
"""How often a checkpoint that others hinder is tried."""
_LEAVING: Final = 3
"""How often a process tries to be the last that closes a file: two that close it at once hinder one another."""
_MOST_IDLE: Final = 16
"""Connections that are kept for later readers: each has two descriptors, and some 2 MiB of pages."""
_CLOSING: Final = 0.3
"""Seconds in which a process that is closing the file removes its journal and says that the file is closed."""
_JOURNAL_HEAD: Final = 32
"""Bytes of a journal before its first frame."""
_WRITING: Final = 0.05
"""Seconds in which a process finishes what it has begun to write to a journal."""

_SCHEMA: Final = (
    "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), data BLOB NOT NULL)",
    "CREATE TABLE runs (number INTEGER PRIMARY KEY, cid INTEGER NOT NULL, digest BLOB NOT NULL, directory BLOB NOT NULL)",
    "CREATE TABLE blocks (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    "CREATE TABLE puts (number INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    "CREATE TABLE removals (number INTEGER PRIMARY KEY, data BLOB NOT NULL)",
)
_EARLY_TABLES: Final = 3
"""Tables of files that were written before there were puts and removals."""
_CANNOT: Final = ("locked", "disk I/O", "full", "readonly", "unable to open", "interrupted", "too big", "busy")
"""What SQLite says when something stops it that is no damage. Its error codes are not known to Python 3.10."""

_ADD_BLOCK: Final = "INSERT INTO blocks (id, data) VALUES (?, ?)"
_ADD_RUN: Final = "INSERT INTO runs (number, cid, digest, directory) VALUES (?, ?, ?, ?)"
_ADD_PUT: Final = "INSERT INTO puts (number, data) VALUES (?, ?)"
_ADD_REMOVAL: Final = "INSERT INTO removals (number, data) VALUES (?, ?)"
_DROP_BLOCKS: Final = "DELETE FROM blocks WHERE id >= ? AND id <= ?"
_DROP_RUN: Final = "DELETE FROM runs WHERE number = ?"
_LATER: Final = (_ADD_BLOCK, _ADD_RUN, _ADD_PUT, _ADD_REMOVAL, _DROP_BLOCKS, _DROP_RUN)
_SMALL: Final = 4096
"""Bytes of a block that waits to be written with others."""

_OPENING = threading.RLock()  # a store that is collected meanwhile is closed
_OPENED: Counter[tuple[int, int]] = Counter()
"""How often this process has a file open, by its device and inode."""


class SQLiteTables:
    """The tables of a file, by one connection.

    Rows that come and go wait until the state is written, or somebody reads: SQLite takes many of one table in a fraction
    of the time. Ids are never given again, so it does not matter that all come before any goes.
    """

    at_once = 1
    """A block is read from memory, or from a disk that reads ahead."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._waiting: dict[str, list[tuple[Any, ...]]] = {statement: [] for statement in _LATER}

    def flush(self) -> None:
        """Writes what waits."""
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

    def add_run(self, directory: Directory, generation: int) -> None:  # noqa: ARG002 - the digest says it all
        row = (directory.number, directory.cid, directory.digest.to_bytes(16, "little"), directory.to_bytes())
        self._waiting[_ADD_RUN].append(row)

    def put_run(self, directory: Directory, generation: int) -> None:  # noqa: ARG002
        row = (directory.digest.to_bytes(16, "little"), directory.to_bytes(), directory.number)
        self.flush()
        self.connection.execute("UPDATE runs SET digest = ?, directory = ? WHERE number = ?", row)

    def drop_run(self, number: int, generation: int) -> None:  # noqa: ARG002
        self._waiting[_DROP_RUN].append((number,))

    def entries(self, kind: Kind[Any]) -> Iterator[tuple[Any, Any]]:
        self.flush()
        return iter(self.connection.execute(f"SELECT number, data FROM {kind.table} ORDER BY number"))

    def add_entry(self, kind: Kind[Any], number: int, data: bytes) -> None:
        self._waiting[_ADD_PUT if kind is PUTS else _ADD_REMOVAL].append((number, data))

    def put_entry(self, kind: Kind[Any], number: int, data: bytes) -> None:
        self.flush()
        self.connection.execute(f"UPDATE {kind.table} SET data = ? WHERE number = ?", (data, number))

    def sizes(self) -> tuple[int, int]:
        """Bytes of the file once the journal is taken in, and how many of them are free."""
        names = ("page_size", "page_count", "freelist_count")
        page, count, free = (self.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
        return count * page, free * page


class _Transaction(Transaction):
    def changed_state(self) -> State:
        # Also where a copy was restored over the file meanwhile.
        return msgspec.structs.replace(super().changed_state(), is_open=True)


class SQLiteEngine:
    """Keeps blocks in a file.

    Args:
        path: the file. Beside it SQLite keeps two more while it is open, with `-wal` and `-shm` behind its name.
        cache_bytes: most bytes of blocks that are kept in memory when they were read; 0 for none.
        read_only: neither writes nor creates any file.
        create: whether a file that does not exist is created.
        as_copy: takes what is there of a file that was copied while it was open, without its journal.

    Raises:
        StoreFormatError: when the file is something else, or of another format.
        StoreCorruptError: when it is damaged, or was copied while it was open.
        StoreError: when it cannot be opened.
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
        self._closed = True  # until it is open
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
                self._key = _identity(Path(path))
            except (OSError, ValueError) as error:  # the path may be none: too long, or with a NUL in it
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
        """A snapshot, on a connection of its own."""
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
                assert snapshot.table is not None  # whoever asks less of a damaged file is told, too
                yield snapshot
                healthy = True
            except GeneratorExit:
                healthy = True
                raise
            finally:
                self._give_back(connection, healthy)

    @contextmanager
    def writing(self, *, wait: bool = True) -> Iterator[_Transaction]:
        """A transaction on the one connection that writes."""
        with held(self._lock, wait=wait), self._errors("; nothing was stored by this call"):
            writer = self._checked_writer()
            self._begin(writer, wait)
            try:
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
                _undo(writer)
                raise
            self._commit(writer)
            self._table = table
            if not self._readers and self._has_grown():
                self._cut_back(writer)

    def preparing(self) -> AbstractContextManager[Transaction]:
        """The same as `writing`: what a writer reads here it may rely on."""
        return self.writing()

    def close(self) -> None:
        """Closes the file. The last process to do so removes the journal and says that the file is closed."""
        if self._closed:
            return
        with self._lock, self._errors("; nothing is lost: what was stored is in the file and its journal"):
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
            with suppress(sqlite3.Error):  # what the lost journal held is still known to this connection
                writer.execute("PRAGMA journal_mode = DELETE")
        self._disconnect(writer)

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()

    def close_at_exit(self) -> None:
        """Closes the file of a store that nobody closed. One that is at work in another thread is left as it is."""
        if self._lock.acquire(timeout=_CLOSING):
            self._lock.release()
            with suppress(StoreError):
                self.close()
        else:
            for connection in self._connections:
                _leak(connection)

    def shrink(self) -> None:
        """Gives free pages back to the file system, as soon as nobody reads the file as it was before."""
        with self._lock, self._errors("; the file stays as large as it is"):
            writer = self._checked_writer()
            writer.execute("VACUUM")
            writer.execute("PRAGMA busy_timeout = 0")
            try:
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):  # by a reader: a later put cuts the file back
                    raise
            finally:
                writer.execute(f"PRAGMA busy_timeout = {int(_LOCK_TIMEOUT * 1000)}")

    def _checked_writer(self) -> sqlite3.Connection:
        self._check_open()
        if self._read_only:
            raise StoreError(f"{self.path} was opened to be read only; nothing was stored", path=self.path)
        if (fault := self._moved()) is not None:
            raise StoreError(f"{fault}; nothing was stored by this call", path=self.path)
        return self._opened_writer()

    def _begin(self, writer: sqlite3.Connection, wait: bool) -> None:
        if wait:
            writer.execute("BEGIN IMMEDIATE")
            return
        writer.execute("PRAGMA busy_timeout = 0")
        try:
            writer.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):  # by another process
                raise EngineBusyError from error
            raise
        finally:
            writer.execute(f"PRAGMA busy_timeout = {int(_LOCK_TIMEOUT * 1000)}")

    @property
    def is_at_work(self) -> bool:
        """Whether some thread may be inside SQLite, or will go on reading."""
        return bool(self._readers) or self._lock.locked()

    def carried_over(self, *, lost: bool) -> None:
        """In a forked process: begins anew, or is `lost`."""
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
                _lost_files.add(_identity(Path(self.path)))

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
        """Cuts the journal back, when it has grown, after the last reader of this process; unless somebody is writing, who
        will then do it. Nothing depends on it."""
        if self._read_only or self._closed or not self._has_grown() or not self._lock.acquire(blocking=False):
            return
        try:
            if self._writer is not None and not self._closed:
                self._cut_back(self._writer)
        finally:
            self._lock.release()

    def _has_grown(self) -> bool:
        """Whether the journal is larger than it is to be while nobody writes."""
        try:
            return os.stat(self._journal).st_size > _JOURNAL_LIMIT  # noqa: PTH116 - half the time of Path.stat
        except OSError:
            return False

    def _cut_back(self, writer: sqlite3.Connection) -> None:
        """Takes the journal in and empties it, as far as no reader of another process needs it."""
        with suppress(sqlite3.Error):
            writer.execute("PRAGMA busy_timeout = 0")
            try:
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                writer.execute(f"PRAGMA busy_timeout = {int(_LOCK_TIMEOUT * 1000)}")

    def _look(self, as_copy: bool) -> None:
        """Looks at the file past SQLite, which nobody may do while this process has it open: closing a file gives up all
        locks on it that the process has (https://www.sqlite.org/howtocorrupt.html, 2.2)."""
        _check_header(Path(self.path))
        if not as_copy:
            self._check_copy()
        has_journal = _read_header(Path(self.path)).has_journal
        self._lacks_journal = has_journal and not self._journal.exists()
        self._was_left = has_journal and not Path(f"{self.path}-journal").exists()
        # Before SQLite makes a new index of what it takes for the whole journal.
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
            _undo(writer)
            # SQLite could not begin, or found no room for the frame that would have committed: nothing is in doubt.
            if "locked" in str(error) or "is full" in str(error):
                raise
            self._fail(f"{self.path}: {error} while records were committed", error)
        except BaseException:
            _undo(writer)
            self._failure = f"{self.path}: a commit was interrupted"
            raise
        if (fault := self._moved()) is not None:
            self._fail(fault, None)

    def _fail(self, what: str, cause: BaseException | None) -> None:
        self._failure = what
        raise StoreInDoubtError(
            f"{what}: whether they are stored is known only after the store was opened again; close it and open it again",
            path=self.path,
        ) from cause

    def _moved(self, first: int = 2) -> str | None:
        """What is wrong with the file or its journal, or the first of them, where it is no longer the one that was opened;
        None for nothing."""
        for path, identity in self._files[:first]:
            try:
                found = os.stat(path)  # noqa: PTH116 - half the time of Path.stat
            except OSError:
                return f"{path} was deleted while it was open"
            if (found.st_dev, found.st_ino) != identity:
                return f"{path} was replaced by another file while it was open"
        return None

    def table_of(self, tables: SQLiteTables, state: State) -> Table:
        """The directories of a state: those in memory, or read and checked."""
        connection, table = tables.connection, self._table
        if table.matches(state):
            return table
        runs = {}
        for number, cid, digest in connection.execute("SELECT number, cid, digest FROM runs").fetchall():
            if not (isinstance(number, int) and isinstance(cid, int) and isinstance(digest, bytes)):
                raise StoreCorruptError("the table of runs holds what is no run")
            wanted = int.from_bytes(digest, "little")
            run = table.runs.get(number)
            if run is None or run.digest != wanted or run.cid != cid:
                row = connection.execute("SELECT directory FROM runs WHERE number = ?", (number,)).fetchone()
                if row is None or not isinstance(row[0], bytes):
                    raise StoreCorruptError(f"run {number} has no directory")
                run = Directory.from_bytes(row[0], number, cid, wanted)
            runs[number] = run
        found = Table(runs)
        if not found.matches(state):
            raise StoreCorruptError(f"{len(runs)} runs are there, and not the {state.runs} that the file's state says")
        self._table = found
        return found

    def _give_back(self, connection: sqlite3.Connection, healthy: bool) -> None:
        if connection not in self._connections:  # the parent's
            return
        if not healthy or self._closed or self._idle.qsize() >= _MOST_IDLE:
            self._disconnect(connection)
            return
        connection.execute("ROLLBACK")
        self._idle.put(connection)

    def _connect(self, options: str | None = None, timeout: float | None = None) -> sqlite3.Connection:
        connection = _connected(self.path, options or self._options, timeout)
        self._connections.add(connection)
        try:
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            self._disconnect(connection)
            raise
        return connection

    def _disconnect(self, connection: sqlite3.Connection) -> None:
        self._connections.discard(connection)
        connection.close()

    def _opened_writer(self) -> sqlite3.Connection:
        """The connection that writes; a forked process opens its own."""
        if self._writer is None:
            if (fault := self._moved(1)) is not None:
                raise StoreError(fault, path=self.path)
            self._writer = self._open_read_only() if self._read_only else self._open()
        return self._writer

    def _open(self) -> sqlite3.Connection:
        """The connection that writes, when the file was found to be whole and says that it is open."""
        guard = self._guarding() if self._was_left else None
        connection = None
        try:
            connection = self._connect("mode=rw")
            if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
                raise StoreError(
                    f"{self.path} cannot have a journal: SQLite needs shared memory beside it, which network file systems "
                    "do not have; put the file on a local disk",
                    path=self.path,
                )
            connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_LIMIT}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            guard = guard or self._guarding()
            connection.execute("BEGIN IMMEDIATE")
            check_schema(connection)
            had_journal = self._journal.exists() and self._journal.stat().st_size > 0
            if had_journal:
                check_journal(self._journal)
            state = read_state(connection)
            self.table_of(SQLiteTables(connection), state)
            # Written and synced anew also when it is open already: what was there may never have reached the disk.
            if not state.is_open or had_journal:
                _say_open(connection, state)
            else:
                connection.execute("ROLLBACK")
            self._files = [(each, _identity(each)) for each in (Path(self.path), self._journal)]
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
        """A connection that keeps the journal where it is. SQLite takes the journal in and removes it when the last
        connection is closed, however that comes about. The file would then say that it is open, and look as if it lacked a
        journal. This connection has no right to write, so nothing happens when it is the last."""
        guard = self._connect("mode=ro", timeout)
        try:
            guard.execute("SELECT one FROM state").fetchone()  # takes the lock that it keeps
        except BaseException:
            self._disconnect(guard)
            raise
        return guard

    def _open_read_only(self) -> sqlite3.Connection:
        """A connection that leaves no trace, not even a file beside this one."""
        self._options = "mode=ro&readonly_shm=1"
        if self._journal.exists():
            if not Path(f"{self.path}-shm").exists() or _is_only_a_head(self._journal):
                raise self._only_for_writers()
        elif _is_half_closed(self.path):
            raise self._only_for_writers()
        elif self._lacks_journal:
            self._options = "mode=ro&immutable=1"
        connection = self._connect()
        try:
            check_schema(connection, early=self._takes_early)
            self.table_of(SQLiteTables(connection), read_state(connection))
        except BaseException:
            self._disconnect(connection)
            raise
        return connection

    def _only_for_writers(self) -> StoreError:
        return StoreError(
            f"{self.path} has a journal that only a process with the right to write can take in; open it once "
            "without read_only, and close it",
            path=self.path,
        )

    def _check_copy(self) -> None:
        """Makes sure that the file does not lack its journal."""
        until = time.monotonic() + _CLOSING
        while _read_header(Path(self.path)).has_journal and not self._journal.exists():
            connection = self._connect("mode=ro&immutable=1")
            try:
                is_open = read_state(connection).is_open
            finally:
                self._disconnect(connection)
            if not is_open:
                return
            if time.monotonic() > until:
                raise StoreCorruptError(
                    f"{self.path} was copied while it was open, without its journal {self._journal}: records are missing. "
                    "Copy an open store with session.backup, or all its files while no process has it open; "
                    "`python -m tsmodel.store.convert` copies what is there",
                    path=self.path,
                )
            time.sleep(0.02)  # a process that is just closing it is not done yet

    def _leave(self, writer: sqlite3.Connection) -> None:
        """Closes the file for good where no other process has it open; otherwise whoever is last does."""
        for attempt in range(_LEAVING):
            # A new connection: one that leaves the journal may go on to believe pages it read from it long ago.
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
            time.sleep(0.001)  # whoever else is closing it just now may have let it go
        self._settle()

    def _settle(self) -> None:
        """Copies the journal into the file and marks the file as closed, while another process keeps it open: a copy of the
        file alone is then complete. A process that writes to it later first marks it as open again."""
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
        """Lets others have the file that this connection could not close, and makes sure that it is not the last one."""
        for _ in range(_LEAVING):  # what failed once may have failed only once
            with suppress(sqlite3.Error):
                _undo(connection)
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
            raise StoreError(f"{self._failure}: nothing more is done before the store was opened again", path=self.path)

    @contextmanager
    def _errors(self, consequence: str = "") -> Iterator[None]:
        try:
            yield
        except StoreCorruptError as error:
            if error.path is not None:
                raise
            raise StoreCorruptError(f"{self.path} is damaged: {error}; restore a copy", path=self.path) from error
        except sqlite3.OperationalError as error:
            if not any(text in str(error) for text in _CANNOT):
                raise StoreCorruptError(f"{self.path} is damaged: {error}; restore a copy", path=self.path) from error
            waited = ": another process writes to it"
            hint = f"{waited}, and did not end within {_LOCK_TIMEOUT:g} s" if "locked" in str(error) else ""
            raise StoreError(f"{self.path}: {error}{hint}{consequence}", path=self.path) from error
        except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
            raise StoreCorruptError(f"{self.path} is damaged: {error}; restore a copy", path=self.path) from error


def _connected(path: str, options: str, timeout: float | None = None) -> sqlite3.Connection:
    from urllib.parse import quote

    quoted = quote(path.replace(os.sep, "/"))
    # Path.as_uri takes no relative path; an absolute one follows an empty host.
    timeout = _LOCK_TIMEOUT if timeout is None else timeout
    start = "file://" if quoted.startswith("/") else "file:///" if Path(path).drive else "file:"
    return sqlite3.connect(
        f"{start}{quoted}?{options}", uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
    )


def _undo(writer: sqlite3.Connection) -> None:
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
    """Makes sure that a file has the tables of a store; of an `early` one, at will."""
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY rowid").fetchall()
    wanted = [("table", (name := text.split()[2]), name, text) for text in _SCHEMA]
    if found == wanted or (early and found == wanted[:_EARLY_TABLES]):
        return
    if found == wanted[:_EARLY_TABLES]:
        (_, _, path) = connection.execute("PRAGMA database_list").fetchone()
        raise StoreFormatError(
            f"{path} was written before puts and removals were remembered; `python -m tsmodel.store.convert {path} NEW` "
            "copies it to a file of the present format",
            path=path,
        )
    raise StoreCorruptError("its tables are not those of a store")


def _say_open(connection: sqlite3.Connection, state: State) -> None:
    """Commits that the file is open, and copies that into the file itself: a copy without its journal is then refused."""
    write_state(connection, msgspec.structs.replace(state, is_open=True, generation=state.generation + 1))
    connection.execute("COMMIT")
    for _ in range(_CHECKPOINTS):
        is_busy, in_journal, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if not is_busy and in_journal == copied:
            return
        time.sleep(0.005)  # a reader, or the checkpoint of another process, is in the way


def _said_closed(connection: sqlite3.Connection) -> bool:
    """Lets the state say that the file is closed, before its journal is removed; False when another process has it open.
    A process that dies between the two leaves a journal, or a file that does not miss it."""
    connection.execute("PRAGMA busy_timeout = 0")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # from the next transaction on, nobody else has it open
    try:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            # SQLite has half of the lock then, and gives it up only when this fails, too.
            if connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0] != "delete":
                return False
            connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return False
        raise
    write_state(connection, msgspec.structs.replace(read_state(connection), is_open=False))
    connection.execute("COMMIT")
    return True


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


class _Header:
    """What the first bytes of a file say (https://www.sqlite.org/fileformat.html, "The Database Header")."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.magic = data[:16]
        self.has_journal = data[18:19] == b"\2" or data[19:20] == b"\2"
        whole = data.ljust(100, b"\0")
        self.version: int = struct.unpack_from(">I", whole, 60)[0]
        self.application: int = struct.unpack_from(">I", whole, 68)[0]


def _read_header(path: Path) -> _Header:
    try:
        with path.open("rb") as file:
            return _Header(file.read(100))
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error}", path=str(path)) from error


def _check_place(path: Path, create: bool) -> None:
    """Makes sure that there is a file, or creates one."""
    name = str(path)
    with suppress(FileNotFoundError, NotADirectoryError):
        path.stat()  # since Python 3.14, exists() and is_dir() are False for paths that cannot be
    if path.is_dir():
        raise StoreError(f"{name} is a directory; give the path of a file in it", path=name)
    if path.exists():
        return
    if not create:
        raise StoreError(f"{name} does not exist; without read_only and create=False it would be created", path=name)
    if not path.parent.is_dir():
        raise StoreError(f"{name}: there is no directory {path.parent}; create it first", path=name)
    journal = Path(f"{name}-wal")
    if journal.exists() and journal.stat().st_size:
        raise StoreCorruptError(
            f"{name} does not exist, and its journal {journal} does: put the file back, or remove the journal", path=name
        )
    _create(path)


def _create(path: Path) -> None:
    """Creates a store that is there whole or not at all: whoever finds a file at the path finds a store."""
    with suppress(FileExistsError), new_file(path):  # another process may be faster
        pass


@contextmanager
def new_file(path: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """A closed store without records under a name of its own, and a connection to fill it by. When the `with` block has
    ended it is on the disk, and at `path`; an error leaves nothing there.

    Raises:
        FileExistsError: when there is something at `path` by then.
        StoreError: when it cannot be created.
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
            except OSError:  # a file system without links
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
    """A connection that reads whatever is there of a file, damaged or not, in one snapshot. The file is only read. What
    nobody may read without writing (a journal that a dead process left), and a file whose first page is damaged, is
    copied for a while.

    Args:
        path: the file.
        found: told of each fault of the file as a whole: where, and what.
        scratch: directory for the copy; None for the system's directory of temporary files.

    Raises:
        StoreFormatError: when the file is something else, or of another format.
        StoreError: when it cannot be read.
    """
    import shutil
    import tempfile

    name, journal = str(path), Path(f"{path}-wal")
    try:
        key = _identity(path)
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
            if _read_header(path).has_journal and not journal.exists():
                time.sleep(_CLOSING)  # a process that is just closing it is not done yet
                if not journal.exists():
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
            else:  # perhaps only because reading it takes writing: the copy tells
                is_left = True
        may_copy = not _OPENED[key]
    if not may_copy or not (is_mended or is_left):
        with _snapshot(name, options) as connection:
            if "immutable" in options and _may_be_open(connection):
                found(
                    "journal", f"the file was copied while it was open, without {journal}: the newest records are missing"
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


def _is_only_a_head(journal: Path) -> bool:
    """Whether a process died between the head of a new journal and its first frame. Nothing in it was committed. SQLite
    cannot read such a journal without writing to its index: it tries for 10 s, and says "locking protocol"."""
    until = time.monotonic() + _CLOSING
    while journal.exists() and journal.stat().st_size == _JOURNAL_HEAD:
        if time.monotonic() > until:
            return True
        time.sleep(0.02)  # a process that is just writing its first frames is not done yet
    return False


def _is_half_closed(path: str) -> bool:
    """Whether a process died while it closed a file: it left a journal that undoes what it wrote last."""
    until = time.monotonic() + _CLOSING
    while True:
        try:
            size = os.stat(f"{path}-journal").st_size  # noqa: PTH116 - half the time of Path.stat
        except OSError:
            return False
        if time.monotonic() > until:
            return size > 0
        time.sleep(0.02)  # a process that is just closing it is not done yet


@contextmanager
def _snapshot(name: str, options: str) -> Iterator[sqlite3.Connection]:
    try:
        connection = _connected(name, options)
    except sqlite3.Error as error:
        raise StoreError(f"{name} cannot be read: {error}", path=name) from error
    with closing(connection):
        with suppress(sqlite3.Error):  # whatever is read says so again
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
    """What the index beside a journal says. Only for files that this process has not open.

    Raises:
        StoreCorruptError: when it says that something is in a journal that is empty.
    """
    sizes = []
    found = None
    for _ in range(2):  # SQLite changes the index before it empties a journal, and after it fills one
        sizes.append(journal.stat().st_size if journal.exists() else -1)
        found = found or committed(Path(f"{journal}"[: -len("-wal")] + "-shm"))
    if found is not None and found.frames and max(sizes) <= _JOURNAL_HEAD and min(sizes) >= 0:
        raise StoreCorruptError(f"the journal {journal} is cut short, and had records; stored records would be lost")
    return found


def _look_at_journal(journal: Path, found: Callable[[str, str], object], *, alone: bool) -> bool:
    """Tells of damage in a journal. Others may be writing to it: what they have not finished is none. What its index says
    is known only where this process is `alone` in having it open. Returns whether there is none."""
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
    """Gives a file the first page of a new store: its tables begin where those of every store do."""
    new = copy.with_name("new.tsdb")
    _create(new)
    first = bytearray(new.read_bytes()[:_PAGE_SIZE])
    first[28:32] = (copy.stat().st_size // _PAGE_SIZE).to_bytes(4, "big")  # how many pages there are
    with copy.open("r+b") as file:
        file.write(first)


def sync_directory(path: Path) -> None:
    """Makes names in a directory durable, on systems that can.

    Raises:
        OSError: when that fails.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # as on Windows, where nobody opens directories
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _check_header(path: Path) -> None:
    """Makes sure that a file is a store of this format."""
    header, name = _read_header(path), str(path)
    if not header.data:
        raise StoreCorruptError(
            f"{name} is empty, which a store never is: restore a copy, or remove the file to begin a new store", path=name
        )
    if header.magic != _SQLITE_MAGIC:
        if _alike(header.magic, _SQLITE_MAGIC) and header.application == APPLICATION_ID:
            raise StoreCorruptError(f"{name} is damaged: its first bytes are {header.magic!r}; restore a copy", path=name)
        raise StoreFormatError(
            f"{name} is not a tsmodel store: it begins with {header.magic!r}; choose another path", path=name
        )
    if header.application != APPLICATION_ID:
        if header.version == FORMAT_VERSION and _alike(header.data[68:72], APPLICATION_ID.to_bytes(4, "big")):
            raise StoreCorruptError(
                f"{name} is damaged: its application id is not that of a store; restore a copy", path=name
            )
        raise StoreFormatError(f"{name} is a SQLite database of another application; choose another path", path=name)
    if header.version == 1:
        raise StoreFormatError(
            f"{name} has format 1, which this version no longer reads; `python -m tsmodel.store.convert {name} NEW` copies "
            "it to a file of the present format",
            path=name,
        )
    if header.version != FORMAT_VERSION:
        raise StoreFormatError(
            f"{name} has format {header.version}, written by a newer tsmodel; this one reads format {FORMAT_VERSION}: "
            "upgrade tsmodel",
            path=name,
        )


def _alike(found: bytes, wanted: bytes) -> bool:
    """Whether what was found is what is wanted but for a byte."""
    return sum(a != b for a, b in zip(found, wanted, strict=False)) <= 1 and len(found) == len(wanted)


_engines: weakref.WeakSet[SQLiteEngine] = weakref.WeakSet()
_reachable: dict[int, set[sqlite3.Connection]] = {}
"""The connections of each open engine. The collector takes weak references to what it collects first, so that Python 3.10
could not close the statements of a connection that was found in a cycle, and with them the connection."""
_lost_files: set[tuple[int, int]] = set()
"""Files that this process has copies of connections to, which must not be touched."""


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
    """Keeps a connection for ever: closing it could wait for ever, or undo what somebody else is writing."""
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
