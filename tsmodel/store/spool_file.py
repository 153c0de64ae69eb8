"""The file of a spool: puts that wait to be sent, in the order in which they came.

Rules kept here:

* A put is durable when `append` returns. The file is SQLite with a rollback journal and synchronous=FULL. The journal keeps
  its space, so that marking and removing puts works on a disk that is full.
* A put is kept as it will be sent: batch by batch, record by record. No model is needed to send it.
* No connection outlives an operation, and the process does not fork while one is open: a child has none to close.
* Every put has a checksum over what identifies it and what it holds. A put that does not match is never sent.
* A commit that failed is looked for in the file: the put is there, or it is not, or that cannot be told.
* Whoever sends holds the lock of a second file, whose name ends in `-drainer`. The system takes it back when a process
  dies.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeVar
from urllib.parse import quote

import attrs
import cramjam
import msgspec
import xxhash

from tsmodel.backend import Batch
from tsmodel.errors import SessionError, SpoolFullError, StoreCorruptError, StoreError, StoreFormatError, StoreInDoubtError
from tsmodel.forking import in_child
from tsmodel.store.sqlite import APPLICATION_ID as STORE_ID
from tsmodel.store.sqlite import sync_directory
from tsmodel.timestamps import now_ns

__all__ = ["DEFAULT_SPOOL_BYTES", "DrainerLock", "Queued", "SetAside", "SpoolFile", "Totals", "WhenFull"]

R = TypeVar("R")
WhenFull = Literal["refuse", "drop_oldest"]
Reason = Literal["refused", "undecided", "damaged"]

DEFAULT_SPOOL_BYTES: Final = 2**30
"""Bytes that a spool holds at most, as they are stored."""

APPLICATION_ID: Final = 0x74737370
"""`tssp`: what marks a SQLite file as a spool."""
FORMAT_VERSION: Final = 1

WAITING, IN_DOUBT, ASIDE = 0, 1, 2
WITH_ACQ, UNLESS_STORED = 1, 2

_BUSY_SECONDS: Final = 60.0
_JOURNAL_BYTES: Final = 2**20
_CANNOT: Final = ("locked", "disk I/O", "full", "readonly", "unable to open", "interrupted", "too big", "busy")
_RAW, _ZSTD = b"\0", b"\1"

_TOTALS: Final = ("puts", "records", "bytes", "size")
_SCHEMA: Final = """
CREATE TABLE state (name TEXT PRIMARY KEY, value);
CREATE TABLE puts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, uid BLOB NOT NULL, time INTEGER NOT NULL, state INTEGER NOT NULL,
    kind INTEGER NOT NULL, records INTEGER NOT NULL, bytes INTEGER NOT NULL, size INTEGER NOT NULL,
    bound INTEGER, reason TEXT, detail TEXT, digest BLOB NOT NULL
);
CREATE INDEX puts_by_state ON puts (state, number);
CREATE TABLE bodies (number INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE totals (
    state INTEGER PRIMARY KEY, puts INTEGER NOT NULL, records INTEGER NOT NULL, bytes INTEGER NOT NULL,
    size INTEGER NOT NULL
);
INSERT INTO totals VALUES (0, 0, 0, 0, 0), (1, 0, 0, 0, 0), (2, 0, 0, 0, 0);
CREATE TRIGGER added AFTER INSERT ON puts BEGIN
    UPDATE totals SET puts = puts + 1, records = records + new.records, bytes = bytes + new.bytes, size = size + new.size
        WHERE state = new.state;
END;
CREATE TRIGGER removed AFTER DELETE ON puts BEGIN
    UPDATE totals SET puts = puts - 1, records = records - old.records, bytes = bytes - old.bytes, size = size - old.size
        WHERE state = old.state;
END;
CREATE TRIGGER changed AFTER UPDATE ON puts BEGIN
    UPDATE totals SET puts = puts - 1, records = records - old.records, bytes = bytes - old.bytes, size = size - old.size
        WHERE state = old.state;
    UPDATE totals SET puts = puts + 1, records = records + new.records, bytes = bytes + new.bytes, size = size + new.size
        WHERE state = new.state;
END;
"""

_AT_WORK = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_AT_WORK.acquire, after_in_parent=_AT_WORK.release, after_in_child=_AT_WORK.release)


@attrs.frozen
class Totals:
    """How much a spool holds.

    Attributes:
        puts: puts that wait to be sent, or whose outcome is being found out.
        records: their records.
        bytes: bytes of these records in a put.
        in_doubt: how many of the puts were sent and not answered for.
        oldest: when the oldest of them came, ns since 2001; None when there is none.
        aside: puts that were set aside.
        aside_records: their records.
        size: bytes that all puts take in the spool.
        dropped: records that were dropped because the spool was full, ever.
        drained: records that were sent, ever.
        acked: greatest acq that the database gave to what was sent; None when nothing was.
    """

    puts: int
    records: int
    bytes: int
    in_doubt: int
    oldest: int | None
    aside: int
    aside_records: int
    size: int
    dropped: int
    drained: int
    acked: int | None


@attrs.frozen
class SetAside:
    """A put that a spool does not send until somebody says what to do with it.

    Attributes:
        number: its number in the spool.
        reason: "refused": the database refused it, and has surely stored nothing of it. "undecided": it was sent and never
            answered for, and what the database holds does not tell whether it is stored. "damaged": its bytes are not what
            they were.
        detail: the same in words.
        records: how many records it has.
        bytes: their bytes in a put.
        time: when it came, ns since 2001.
    """

    number: int
    reason: Reason
    detail: str
    records: int
    bytes: int
    time: int


@attrs.frozen(eq=False)
class Queued:
    """A put of a spool.

    Attributes:
        number: its number.
        batches: what is sent; None when it is damaged.
        with_acq: whether its records carry their acq.
        unless_stored: whether only what is not stored yet is to be stored.
        bound: when it is in doubt, an acq below which nothing of it is stored; else None.
        count: how many records it has.
    """

    number: int
    batches: list[Batch] | None
    with_acq: bool
    unless_stored: bool
    bound: int | None
    count: int


class DrainerLock:
    """The right to send what a spool holds; one process has it, and in it one drainer.

    Args:
        path: of the spool.
    """

    def __init__(self, path: str) -> None:
        self._path = f"{path}-drainer"
        self._file: IO[str] | None = None
        in_child(self._forsake)

    @property
    def is_held(self) -> bool:
        """Whether it is held here."""
        return self._file is not None

    def take(self) -> bool:
        """Takes it unless somebody else has it; returns whether it is held now.

        Raises:
            StoreError: when the file cannot be opened.
        """
        if self._file is not None:
            return True
        try:
            file = Path(self._path).open("a+", encoding="ascii")  # noqa: SIM115 - closed by give_back
        except OSError as error:
            raise StoreError(f"{self._path} cannot be opened: {error.strerror}", path=self._path) from error
        try:
            _lock(file)
        except OSError as error:
            file.close()
            if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                return False
            raise StoreError(f"{self._path} cannot be locked: {error.strerror}", path=self._path) from error
        with suppress(OSError):
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
        self._file = file
        return True

    def give_back(self) -> None:
        """Lets others take it."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                _unlock(file)
            file.close()

    def _forsake(self) -> None:
        """Closes the copy of a forked process. The lock stays with the parent, for closing a copy does not give it back."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


class SpoolFile:
    """A spool.

    Args:
        path: its file; created by `prepare`.
        most: bytes that it holds at most, as they are stored.
        when_full: "refuse" raises; "drop_oldest" removes the oldest puts that wait, and counts their records.
    """

    def __init__(self, path: str, *, most: int = DEFAULT_SPOOL_BYTES, when_full: WhenFull = "refuse") -> None:
        self.path = os.path.realpath(path)
        self._most = most
        self._when_full = when_full
        self._id: bytes | None = None

    def prepare(self, target: Sequence[str] | None) -> None:
        """Opens the file, or creates it, and makes sure that it can be written and is for this target.

        Args:
            target: the connectors of the database, as `host:port`; None takes what the file says, which must exist.

        Raises:
            SessionError: when it holds puts for another database.
            StoreFormatError: when it is no spool, or of a newer version.
            StoreCorruptError: when it is damaged.
            StoreError: when it cannot be created or written.
        """
        if target is not None:
            self._create()
        with self._connected(writes=True) as connection:
            state = _state(connection)
            self._id = state["id"]
            known = str(state.get("target") or "").split(",")
            if target is None:
                return
            if not set(known) & set(target):
                held = connection.execute("SELECT sum(puts) FROM totals").fetchone()[0]
                if held:
                    raise SessionError(
                        f"the spool {self.path} holds {held} put{'s' if held > 1 else ''} for {','.join(known)}, not for "
                        f"{','.join(target)}: drain it there, or say that they go here by `tsmodel spool {self.path} "
                        f"--retarget tstorage://{','.join(target)}`"
                    )
            _set(connection, target=",".join(sorted(target)))

    @property
    def target(self) -> list[str]:
        """The connectors of the database that it is for, as `host:port`."""
        with self._connected() as connection:
            return str(_state(connection).get("target") or "").split(",")

    def retarget(self, target: Sequence[str]) -> None:
        """Says that what it holds goes to another database."""
        with self._connected(writes=True) as connection:
            _set(connection, target=",".join(sorted(target)))

    def append(
        self,
        batches: Sequence[Batch],
        *,
        with_acq: bool,
        unless_stored: bool,
        bound: int | None = None,
        uid: bytes = b"",
        acked: int | None = None,
    ) -> None:
        """Adds a put. It is durable when this returns.

        Args:
            batches: what will be sent.
            with_acq: whether the records carry their acq.
            unless_stored: whether only what is not stored yet is to be stored.
            bound: of a put that was sent already and is in doubt: an acq below which nothing of it is stored.
            uid: what `has` asks for; made when empty.
            acked: greatest acq that the database gave to what this process has sent by another way.

        Raises:
            SpoolFullError: when it has no room for it. Nothing was added.
            StoreError: when it cannot be written. Nothing was added.
            StoreInDoubtError: when it cannot be told whether it was added.
        """
        uid = uid or os.urandom(16)
        data = _packed(batches)
        kind = WITH_ACQ * with_acq + UNLESS_STORED * unless_stored
        records, size = sum(batch.count for batch in batches), sum(len(batch.records) for batch in batches)
        state = WAITING if bound is None else IN_DOUBT
        row = (uid, now_ns(), state, kind, records, size, len(data), bound, _digest(uid, kind, records, data))
        try:
            with self._connected(writes=True) as connection:
                if bound is None:
                    self._make_room(connection, len(data))
                sql = (
                    "INSERT INTO puts (uid, time, state, kind, records, bytes, size, bound, digest) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                )
                number = connection.execute(sql, row).lastrowid
                connection.execute("INSERT INTO bodies VALUES (?, ?)", (number, data))
                if acked is not None:
                    _set(connection, acked=max(acked, _state(connection).get("acked", acked)))
        except StoreInDoubtError as error:
            if self._may_hold(uid):
                raise StoreInDoubtError(f"{error}; whether it holds the put cannot be told", path=self.path) from error
            raise StoreError(str(error), path=self.path) from error

    def has(self, uid: bytes) -> bool:
        """Whether it holds the put that was added as `uid`."""
        with self._connected() as connection:
            return connection.execute("SELECT 1 FROM puts WHERE uid = ?", (uid,)).fetchone() is not None

    def head(self, most_bytes: int, most_puts: int) -> list[Queued]:
        """What is to be dealt with next: all puts in doubt that are of one kind; else the oldest that wait, neighbours
        of one kind, up to so many bytes and puts. Empty when there is nothing.
        """
        with self._connected() as connection:
            sql = "SELECT number, kind, bytes FROM puts WHERE state = ? ORDER BY number LIMIT ?"
            rows = connection.execute(sql, (IN_DOUBT, -1)).fetchall()
            if rows:
                kind = rows[0][1]
                return [self._read(connection, number) for number, each, _ in rows if each == kind]
            taken: list[int] = []
            total = 0
            kind = None
            for number, each, size in connection.execute(sql, (WAITING, most_puts)):
                total += size
                if taken and (each != kind or total > most_bytes):
                    break
                kind = each
                taken.append(number)
            return [self._read(connection, number) for number in taken]

    def mark(self, numbers: Sequence[int], bound: int) -> bool:
        """Says, durably, that puts that wait are about to be sent, and an acq below which nothing of them is stored.

        Returns:
            Whether all of them still waited. If not, nothing is said of any: some were dropped for others.
        """
        with self._connected(writes=True) as connection:
            sql = "UPDATE puts SET state = ?, bound = ? WHERE number = ? AND state = ?"
            rows = [(IN_DOUBT, bound, number, WAITING) for number in numbers]
            if connection.executemany(sql, rows).rowcount == len(numbers):
                return True
            connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            return False

    def settle(
        self,
        *,
        stored: Sequence[int] = (),
        acked: int | None = None,
        missing: Sequence[int] = (),
        parts: Sequence[tuple[int, Sequence[Batch]]] = (),
        aside: Sequence[tuple[int, Reason, str]] = (),
        ahead: int | None = None,
    ) -> None:
        """Notes what became of puts, in one transaction.

        Args:
            stored: numbers of those that are stored; they are removed.
            acked: greatest acq that the database gave them.
            missing: those of which nothing is stored; they wait again.
            parts: those of which a part is stored, and what is missing of them; that waits in their place.
            aside: those that are set aside, why, and in words.
            ahead: ns by which the database's clock is ahead of this machine's, where that is known.
        """
        with self._connected(writes=True) as connection:
            sent = _sum(connection, "records", stored)
            for number, batches in parts:
                data = _packed(batches)
                uid, kind, before = connection.execute(
                    "SELECT uid, kind, records FROM puts WHERE number = ?", (number,)
                ).fetchone()
                records, size = sum(batch.count for batch in batches), sum(len(batch.records) for batch in batches)
                sent += before - records
                connection.execute(
                    "UPDATE puts SET state = ?, bound = NULL, records = ?, bytes = ?, size = ?, digest = ? "
                    "WHERE number = ?",
                    (WAITING, records, size, len(data), _digest(uid, kind, records, data), number),
                )
                connection.execute("UPDATE bodies SET data = ? WHERE number = ?", (data, number))
            _remove(connection, stored)
            waiting = [(WAITING, number) for number in missing]
            connection.executemany("UPDATE puts SET state = ?, bound = NULL WHERE number = ?", waiting)
            sql = "UPDATE puts SET state = ?, reason = ?, detail = ? WHERE number = ?"
            connection.executemany(sql, [(ASIDE, reason, detail, number) for number, reason, detail in aside])
            state = _state(connection)
            given = {"drained": state["drained"] + sent}
            if acked is not None:
                given["acked"] = max(acked, state.get("acked", acked))
            if ahead is not None:
                given["ahead"] = ahead
            _set(connection, **given)
        self._give_space_back()

    def totals(self) -> Totals:
        """How much it holds."""
        with self._connected() as connection:
            rows = {row[0]: row[1:] for row in connection.execute("SELECT state, puts, records, bytes, size FROM totals")}
            state = _state(connection)
            oldest = connection.execute(
                "SELECT min(time) FROM (SELECT time FROM (SELECT time FROM puts WHERE state = 0 ORDER BY number LIMIT 1) "
                "UNION ALL SELECT time FROM (SELECT time FROM puts WHERE state = 1 ORDER BY number LIMIT 1))"
            ).fetchone()[0]
        waiting, doubtful, aside = (dict(zip(_TOTALS, rows[key], strict=True)) for key in (WAITING, IN_DOUBT, ASIDE))
        return Totals(
            puts=waiting["puts"] + doubtful["puts"],
            records=waiting["records"] + doubtful["records"],
            bytes=waiting["bytes"] + doubtful["bytes"],
            in_doubt=doubtful["puts"],
            oldest=oldest,
            aside=aside["puts"],
            aside_records=aside["records"],
            size=waiting["size"] + doubtful["size"] + aside["size"],
            dropped=state["dropped"],
            drained=state["drained"],
            acked=state.get("acked"),
        )

    def ahead(self) -> int:
        """Ns by which the database's clock was ahead of this machine's when it was last seen; 0 when it never was."""
        with self._connected() as connection:
            return int(_state(connection).get("ahead", 0))

    def set_aside(self) -> list[SetAside]:
        """The puts that were set aside, in their order."""
        with self._connected() as connection:
            sql = "SELECT number, reason, detail, records, bytes, time FROM puts WHERE state = ? ORDER BY number"
            return [SetAside(*row) for row in connection.execute(sql, (ASIDE,))]

    def take_back(self, numbers: Sequence[int] | None = None, *, unchecked: bool = False) -> int:
        """Has puts that were set aside sent after all; returns how many.

        Args:
            numbers: which; None for all that are not damaged.
            unchecked: sends what is undecided as if it had not been sent before, so that it may be stored twice. Otherwise
                the database is asked again.

        Raises:
            SessionError: when one of them is not set aside, or is damaged.
        """
        with self._connected(writes=True) as connection:
            rows = _aside(connection, numbers, self.path)
            if numbers is not None and (damaged := [number for number, reason, _ in rows if reason == "damaged"]):
                raise SessionError(f"put {damaged[0]} of {self.path} is damaged and cannot be sent; it can be discarded")
            rows = [row for row in rows if row[1] != "damaged"]
            for number, reason, bound in rows:
                again = reason == "undecided" and bound is not None and not unchecked
                sql = "UPDATE puts SET state = ?, bound = ?, reason = NULL, detail = NULL WHERE number = ?"
                connection.execute(sql, (IN_DOUBT if again else WAITING, bound if again else None, number))
            return len(rows)

    def discard(self, numbers: Sequence[int] | None = None) -> int:
        """Removes puts that were set aside, or all of them; returns how many.

        Raises:
            SessionError: when one of them is not set aside.
        """
        with self._connected(writes=True) as connection:
            rows = _aside(connection, numbers, self.path)
            _remove(connection, [number for number, *_ in rows])
            return len(rows)

    def _make_room(self, connection: sqlite3.Connection, size: int) -> None:
        held = connection.execute("SELECT sum(size) FROM totals").fetchone()[0]
        if held + size <= self._most:
            return
        if self._when_full == "drop_oldest" and size <= self._most:
            dropped: list[int] = []
            records = 0
            sql = "SELECT number, records, size FROM puts WHERE state = ? ORDER BY number"
            for number, count, each in connection.execute(sql, (WAITING,)):
                if held + size <= self._most:
                    break
                dropped.append(number)
                records += count
                held -= each
            if held + size <= self._most:
                _remove(connection, dropped)
                _set(connection, dropped=_state(connection)["dropped"] + records)
                return
        raise SpoolFullError(
            f"the spool {self.path} is full: it holds {held:,} bytes, may hold {self._most:,} (spool_bytes=), and this put "
            f"takes {size:,} more. It empties when the database can be reached; `tsmodel spool {self.path}` shows what it "
            "holds",
            path=self.path,
            size=held,
            most=self._most,
        )

    def _may_hold(self, uid: bytes) -> bool:
        """Whether a put may be in the file, after a commit that failed; one that is there is taken out again."""
        try:
            with self._connected(writes=True) as connection:
                rows = connection.execute("SELECT number FROM puts WHERE uid = ?", (uid,)).fetchall()
                _remove(connection, [number for (number,) in rows])
        except StoreError:
            try:
                return self.has(uid)
            except StoreError:
                return True
        return False

    def _read(self, connection: sqlite3.Connection, number: int) -> Queued:
        sql = "SELECT uid, kind, records, bound, digest FROM puts WHERE number = ?"
        uid, kind, records, bound, digest = connection.execute(sql, (number,)).fetchone()
        batches = None
        try:
            row = connection.execute("SELECT data FROM bodies WHERE number = ?", (number,)).fetchone()
            if row is not None and _digest(uid, kind, records, row[0]) == digest:
                batches = _unpacked(row[0])
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
        return Queued(number, batches, bool(kind & WITH_ACQ), bool(kind & UNLESS_STORED), bound, records)

    def _give_space_back(self) -> None:
        """Shortens the file once nothing is in it."""
        with suppress(StoreError), self._connected() as connection:
            (held,) = connection.execute("SELECT sum(puts) FROM totals").fetchone()
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            if not held and free > 64:
                connection.executescript("PRAGMA incremental_vacuum")  # `execute` takes one step of it

    def _create(self) -> None:
        """Creates the file unless it is there."""
        path = Path(self.path)
        if path.is_dir():
            raise StoreError(f"{path} is a directory; a spool is a file", path=self.path)
        if not path.parent.is_dir():
            raise StoreError(f"{path}: there is no directory {path.parent}; create it first", path=self.path)
        if path.exists() and path.stat().st_size:
            return
        with self._told(), _AT_WORK, closing(_opened(self.path, "rwc")) as connection:
            connection.execute("BEGIN IMMEDIATE")
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in _statements(_SCHEMA):
                    connection.execute(statement)
                _set(connection, id=os.urandom(16), target="", dropped=0, drained=0)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
            connection.execute("COMMIT")
        sync_directory(path.parent)

    @contextmanager
    def _connected(self, *, writes: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection; with a transaction that commits at the end of the block when it `writes`."""
        with self._told(), _AT_WORK:
            before = _inode(self.path)
            with closing(_opened(self.path, "rw")) as connection:
                if writes:
                    connection.execute("BEGIN IMMEDIATE")
                try:
                    self._check(connection)
                    yield connection
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
                if writes:
                    self._commit(connection)
            if writes and _inode(self.path) != before:
                raise StoreInDoubtError(f"the spool {self.path} was replaced or deleted meanwhile", path=self.path)

    def _commit(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            why = "the disk is full" if "full" in str(error) else str(error)
            raise StoreInDoubtError(f"the spool {self.path}: {why}", path=self.path) from error

    def _check(self, connection: sqlite3.Connection) -> None:
        (kind,) = connection.execute("PRAGMA application_id").fetchone()
        if kind != APPLICATION_ID:
            what = "an embedded store" if kind == STORE_ID else "another SQLite file"
            raise StoreFormatError(f"{self.path} is no spool but {what}; give the spool a path of its own", path=self.path)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > FORMAT_VERSION:
            raise StoreFormatError(
                f"the spool {self.path} has format {version}, and this tsmodel knows {FORMAT_VERSION}: update tsmodel",
                path=self.path,
            )
        found = connection.execute("SELECT value FROM state WHERE name = 'id'").fetchone()[0]
        self._id = self._id or found
        if found != self._id:
            raise StoreError(f"the spool {self.path} is not the one that was opened: it was replaced", path=self.path)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Makes errors of SQLite those of a store."""
        try:
            yield
        except sqlite3.OperationalError as error:
            said = str(error)
            if not any(text in said for text in _CANNOT):
                raise self._damaged(error) from error
            if "full" in said:
                said = "the disk is full"
            elif "readonly" in said or "unable to open" in said:
                said += "; a spool needs a file and a directory that can be written"
            raise StoreError(f"the spool {self.path}: {said}", path=self.path) from error
        except (sqlite3.Error, OverflowError, UnicodeDecodeError, KeyError, TypeError) as error:
            if "not a database" in str(error):
                raise StoreFormatError(
                    f"{self.path} is no spool; give the spool a path of its own", path=self.path
                ) from error
            raise self._damaged(error) from error
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"the spool {self.path}: {error.strerror or error}", path=self.path) from error

    def _damaged(self, error: Exception) -> StoreCorruptError:
        return StoreCorruptError(
            f"the spool {self.path} is damaged: {error}. Move it and the files beside it away, and a new one is begun; "
            "`tsmodel spool MOVED --drain` sends what of it can be read",
            path=self.path,
        )


def _opened(path: str, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(path.replace(os.sep, '/'))}?mode={mode}"
    connection = sqlite3.connect(uri, timeout=_BUSY_SECONDS, isolation_level=None, uri=True, check_same_thread=False)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new file; so nothing may come before it
        connection.execute("PRAGMA journal_mode = PERSIST").fetchone()
        connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = 1")
    except BaseException:
        connection.close()
        raise
    return connection


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: `executescript` would commit."""
    part = ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            yield part
            part = ""


def _state(connection: sqlite3.Connection) -> dict[str, Any]:
    return dict(connection.execute("SELECT name, value FROM state"))


def _set(connection: sqlite3.Connection, **values: object) -> None:
    connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", list(values.items()))


def _sum(connection: sqlite3.Connection, column: str, numbers: Sequence[int]) -> int:
    sql = f"SELECT {column} FROM puts WHERE number = ?"  # noqa: S608 - a constant
    return sum(row[0] for number in numbers for row in connection.execute(sql, (number,)))


def _remove(connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
    rows = [(number,) for number in numbers]
    connection.executemany("DELETE FROM puts WHERE number = ?", rows)
    connection.executemany("DELETE FROM bodies WHERE number = ?", rows)


def _aside(connection: sqlite3.Connection, numbers: Sequence[int] | None, path: str) -> list[tuple[int, str, int | None]]:
    """Number, reason and bound of puts that were set aside."""
    rows = {row[0]: row for row in connection.execute("SELECT number, reason, bound FROM puts WHERE state = ?", (ASIDE,))}
    for number in numbers or ():
        if number not in rows:
            raise SessionError(f"no put {number} is set aside in {path}; there are {', '.join(map(str, rows)) or 'none'}")
    return list(rows.values()) if numbers is None else [rows[number] for number in dict.fromkeys(numbers)]


def _packed(batches: Sequence[Batch]) -> bytes:
    """Batches as they are stored: compressed where that makes them smaller."""
    raw = msgspec.msgpack.encode(
        [(int(each.cid), int(each.count), int(each.record_size), each.records) for each in batches]
    )
    small = bytes(cramjam.zstd.compress(raw, 1))
    return _ZSTD + small if len(small) < len(raw) else _RAW + raw


def _unpacked(data: bytes) -> list[Batch]:
    raw = data[1:] if data[:1] == _RAW else bytes(cramjam.zstd.decompress(data[1:]))
    return [Batch(cid, memoryview(records), count, size) for cid, count, size, records in msgspec.msgpack.decode(raw)]


def _digest(uid: bytes, kind: int, records: int, data: bytes) -> bytes:
    digest = xxhash.xxh3_128(uid)
    digest.update(kind.to_bytes(1, "little") + records.to_bytes(8, "little"))
    digest.update(data)
    return digest.digest()


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - asked twice for each put
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def _unlock(file: IO[str]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: IO[str]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_UN)
