"""The engine behind a file: SQLite, one row a block.

Rules kept here:

* WAL and synchronous=FULL: a commit is on the disk when it returns, and readers never wait for the writer.
* Blocks are picked by an index that holds all their bounds, run by run; only blocks that are read touch data pages, and
  those that were read lately need not be.
* The file says what it is (application id) and how it is laid out (user version); nothing else is opened or changed.
* Every error of SQLite leaves this module as a `StoreError` that names the file.
* SQLite's connections do not survive a fork, and while copies of them are open in the child, connections that it opens
  to the same file take no locks. So a child closes the copies at once, and opens its own. It cannot when SQLite was at work
  in another thread: its mutexes may be held for ever. Then the child may not open these files at all.
"""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from tsmodel.errors import StoreCorruptError, StoreError, StoreFormatError
from tsmodel.keys import LIMITS, KeyRange
from tsmodel.store.blocks import Block
from tsmodel.store.cache import BlockCache
from tsmodel.store.engine import EngineBusyError, Run, held

__all__ = ["APPLICATION_ID", "DEFAULT_CACHE", "FORMAT_VERSION", "SQLiteEngine"]

APPLICATION_ID: Final = 0x74736D64
"""`tsmd`: what marks a SQLite file as a store of tsmodel."""

FORMAT_VERSION: Final = 1

DEFAULT_CACHE: Final = 64 * 2**20
"""Bytes of blocks that are kept in memory when they were read."""

_PAGE_SIZE: Final = 32768
_LOCK_TIMEOUT: Final = 60.0
_SQLITE_MAGIC: Final = b"SQLite format 3\0"

_BOUNDS: Final = "cid, mid_min, mid_max, moid_min, moid_max, cap_min, cap_max, acq_min, acq_max"
_BLOCK: Final = f"{_BOUNDS}, count, record_size, checksum, offsets, data"
_SCHEMA: Final = (
    "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), last_acq INTEGER NOT NULL)",
    "CREATE TABLE runs (number INTEGER PRIMARY KEY AUTOINCREMENT, cid INTEGER NOT NULL, size INTEGER NOT NULL)",
    "CREATE INDEX runs_of_cid ON runs (cid, size)",
    f"CREATE TABLE blocks (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, {_BLOCK.replace(',', ' NOT NULL,')} NOT NULL)",
    f"CREATE INDEX blocks_by_bounds ON blocks ({_BOUNDS.replace('cid,', 'cid, run,')})",
    f"INSERT INTO state VALUES (1, {LIMITS['acq'].least})",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT_VERSION}",
)
# The blocks of a run ascend and do not overlap: the first that can hold a mid is the last one that begins below it. A
# unary + tells SQLite not to look at a term when it chooses how to enter an index; without them it scans all of it.
_PICK: Final = (
    f"SELECT b.id, b.run, b.{_BOUNDS.replace(' ', ' b.')} FROM runs AS r CROSS JOIN blocks AS b INDEXED BY blocks_by_bounds"
    " WHERE r.cid >= :cid AND r.cid < :cid_end AND b.cid = +r.cid AND b.run = +r.number AND b.mid_min < :mid_end"
    " AND b.mid_min >= coalesce((SELECT max(c.mid_min) FROM blocks AS c INDEXED BY blocks_by_bounds"
    " WHERE c.cid = +r.cid AND c.run = +r.number AND c.mid_min < :mid), :mid)"
    " AND +b.mid_max >= :mid AND +b.moid_min < :moid_end AND +b.moid_max >= :moid"
    " AND +b.cap_min < :cap_end AND +b.cap_max >= :cap AND +b.acq_min < :acq_end AND +b.acq_max >= :acq"
)
_READ: Final = f"SELECT {_BLOCK} FROM blocks WHERE id = ?"
_INSERT: Final = f"INSERT INTO blocks (run, {_BLOCK}) VALUES ({', '.join('?' * 15)})"


class _Snapshot:
    def __init__(self, connection: sqlite3.Connection, cache: BlockCache) -> None:
        self._connection = connection
        self._cache = cache

    def last_acq(self) -> int:
        row = self._connection.execute("SELECT last_acq FROM state").fetchone()
        if row is None:
            raise sqlite3.DatabaseError("the table state is empty")
        return int(row[0])

    def blocks(self, box: KeyRange) -> Iterator[Block]:
        limits: dict[str, int] = {}
        for name, (low, high) in zip(LIMITS, box.intervals(), strict=True):
            limits[name], limits[f"{name}_end"] = low, high
        cached = self._cache.scan()
        with closing(self._connection.execute(_PICK, limits)) as picked:
            # A block never changes, and this names it: ids are given again, but not with the same acqs.
            for name in picked:
                block = cached.get(name)
                if block is None:
                    block = self._read(name)
                    cached.keep(name, block)
                yield block

    def _read(self, name: tuple[int, ...]) -> Block:
        row = self._connection.execute(_READ, name[:1]).fetchone()
        if row is None or row[:9] != name[2:]:
            raise StoreCorruptError(f"the index of blocks is not that of block {name[0]}")
        return _block(row)


class _Transaction(_Snapshot):
    def set_last_acq(self, acq: int) -> None:
        self._connection.execute("UPDATE state SET last_acq = ?", (acq,))

    def runs(self, cid: int) -> list[Run]:
        return [Run(*row) for row in self._connection.execute("SELECT cid, number, size FROM runs WHERE cid = ?", (cid,))]

    def load(self, run: Run) -> list[Block]:
        rows = self._connection.execute(
            f"SELECT {_BLOCK} FROM blocks WHERE cid = ? AND run = ? ORDER BY id", (run.cid, run.number)
        )
        return [_block(row) for row in rows]

    def remove(self, run: Run) -> None:
        self._connection.execute("DELETE FROM blocks WHERE cid = ? AND run = ?", (run.cid, run.number))
        self._connection.execute("DELETE FROM runs WHERE number = ?", (run.number,))

    def insert(self, cid: int, blocks: Iterable[Block]) -> None:
        number = self._connection.execute("INSERT INTO runs (cid, size) VALUES (?, 0)", (cid,)).lastrowid
        size = 0
        for block in blocks:
            size += len(block.data)
            fixed = (block.count, block.record_size, block.checksum, block.offsets, block.data)
            self._connection.execute(_INSERT, (number, *block.bounds, *fixed))
        self._connection.execute("UPDATE runs SET size = ? WHERE number = ?", (size, number))


def _block(row: tuple[object, ...]) -> Block:
    count, record_size, total, offsets, data = row[9:]
    block = Block(row[:9], count, record_size, memoryview(data), offsets, total)  # type: ignore[arg-type]
    block.verify()
    return block


class SQLiteEngine:
    """Keeps blocks in a file, which is created when there is none.

    Args:
        path: the file. Beside it SQLite keeps two more while it is open, with `-wal` and `-shm` behind its name.
        cache_bytes: most bytes of blocks that are kept in memory when they were read; 0 for none.

    Raises:
        StoreFormatError: when the file is something else, or of a newer format.
        StoreError: when it cannot be opened.
    """

    def __init__(self, path: str, cache_bytes: int = DEFAULT_CACHE) -> None:
        self.path = path
        self._cache = BlockCache(cache_bytes)
        self._closed = self._lost = False
        self._lock = threading.Lock()
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._writer: sqlite3.Connection | None = None
        self._connections: set[sqlite3.Connection] = set()
        self._readers: set[object] = set()
        _engines.add(self)
        self._check_file()
        with self._lock, self._errors():
            self._opened_writer()

    @contextmanager
    def reading(self) -> Iterator[_Snapshot]:
        """A snapshot, on a connection of its own."""
        self._check_open()
        with self._reader(), self._errors():
            try:
                connection = self._idle.get_nowait()
            except queue.Empty:
                connection = self._connect()
            healthy = False
            try:
                connection.execute("BEGIN")
                yield _Snapshot(connection, self._cache)
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
            self._check_open()
            writer = self._opened_writer()
            self._begin(writer, wait)
            try:
                yield _Transaction(writer, self._cache)
                writer.execute("COMMIT")
            except BaseException:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Closes the file."""
        if self._closed:
            return
        with self._lock, self._errors():
            self._closed = True
            while not self._idle.empty():
                self._disconnect(self._idle.get_nowait())
            if self._writer is not None:
                self._disconnect(self._writer)
            self._cache.clear()

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
        self._lock, self._readers, self._idle, self._writer = threading.Lock(), set(), queue.SimpleQueue(), None
        self._cache = BlockCache(self._cache.most)
        if not lost:
            for connection in inherited:
                connection.close()
        elif inherited:
            self._lost = True
            for connection in inherited:
                _leak(connection)
            with suppress(OSError):
                _lost_files.add(_identity_of(self.path))

    @contextmanager
    def _reader(self) -> Iterator[None]:
        reader, readers = object(), self._readers
        readers.add(reader)
        try:
            yield
        finally:
            readers.discard(reader)

    def _give_back(self, connection: sqlite3.Connection, healthy: bool) -> None:
        if connection not in self._connections:  # the parent's
            return
        if not healthy or self._closed:
            self._disconnect(connection)
            return
        connection.execute("ROLLBACK")
        self._idle.put(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_LOCK_TIMEOUT, isolation_level=None, check_same_thread=False)
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
        if self._writer is None:
            connection = self._connect()
            try:
                self._prepare(connection)
            except BaseException:
                self._disconnect(connection)
                raise
            self._writer = connection
        return self._writer

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Makes sure that the file is a store, or makes it one when it is empty."""
        if self._identity(connection) == (0, 0, 0):
            connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            if self._identity(connection) == (0, 0, 0):  # another process may have been faster
                for statement in _SCHEMA:
                    connection.execute(statement)
            connection.execute("COMMIT")
        application, version, _ = self._identity(connection)
        if application != APPLICATION_ID:
            raise StoreFormatError(
                f"{self.path} is a SQLite database of another application; choose another path", path=self.path
            )
        if version > FORMAT_VERSION:
            raise StoreFormatError(
                f"{self.path} has format {version}, written by a newer tsmodel; this one reads up to {FORMAT_VERSION}: "
                "upgrade tsmodel",
                path=self.path,
            )
        connection.execute("PRAGMA wal_autocheckpoint = 1024")

    def _identity(self, connection: sqlite3.Connection) -> tuple[int, int, int]:
        """Application id, format version, number of tables and indexes."""
        statements = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        application, version, entries = (int(connection.execute(text).fetchone()[0]) for text in statements)
        return application, version, entries

    def _check_file(self) -> None:
        path = Path(self.path)
        try:
            if path.is_dir():
                raise StoreError(f"{self.path} is a directory; give the path of a file in it", path=self.path)
            if not path.parent.is_dir():
                raise StoreError(f"{self.path}: there is no directory {path.parent}; create it first", path=self.path)
            if not path.exists():
                return
            if _lost_files and _identity_of(self.path) in _lost_files:
                raise _lost_error(self.path)
            with path.open("rb") as file:
                start = file.read(len(_SQLITE_MAGIC))
        except (OSError, ValueError) as error:  # the path may be none: too long, or with a NUL in it
            raise StoreError(f"{self.path!r} cannot be read: {error}", path=self.path) from error
        if start and start != _SQLITE_MAGIC:
            raise StoreFormatError(
                f"{self.path} is not a tsmodel store: it begins with {start!r}; choose another path", path=self.path
            )

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store {self.path} is closed", path=self.path)
        if self._lost:
            raise _lost_error(self.path)

    @contextmanager
    def _errors(self, consequence: str = "") -> Iterator[None]:
        try:
            yield
        except StoreCorruptError as error:
            if error.path is not None:
                raise
            raise StoreCorruptError(f"{self.path} is damaged: {error}; restore a copy", path=self.path) from error
        except sqlite3.OperationalError as error:
            raise StoreError(f"{self.path}: {error}{consequence}", path=self.path) from error
        except sqlite3.DatabaseError as error:
            raise StoreCorruptError(f"{self.path} is damaged: {error}; restore a copy", path=self.path) from error


_engines: weakref.WeakSet[SQLiteEngine] = weakref.WeakSet()
_lost_files: set[tuple[int, int]] = set()
"""Files that this process has copies of connections to, which must not be touched."""


def _forked() -> None:
    engines = list(_engines)
    lost = any(engine.is_at_work for engine in engines)
    for engine in engines:
        engine.carried_over(lost=lost)


def _identity_of(path: str) -> tuple[int, int]:
    found = Path(path).stat()
    return found.st_dev, found.st_ino


def _leak(connection: sqlite3.Connection) -> None:
    """Keeps a connection for ever: closing it could wait for ever, or undo what the parent is writing."""
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
