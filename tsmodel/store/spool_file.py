"""The spool file: a durable queue of puts that wait to be sent.

Rules kept here:

* A put is durable when `append` returns. The file is SQLite with a rollback journal and synchronous=FULL. The journal keeps
  its space, so marking and removing puts works even on a full disk.
* A put is stored as the batches that will be sent. Sending it needs no model.
* No connection outlives an operation, and forking waits while one is open: a child process inherits none.
* Every put has a checksum over its id and contents. A damaged put is never sent.
* After a failed commit, the file is read again to find out whether it holds the put. If that fails too, the put is in
  doubt.
* Only the holder of a lock on a second file, named with `-drainer` appended, sends. The system releases the lock when the
  process dies.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeVar

import attrs
import cramjam
import msgspec
import xxhash

from tsmodel.backend import Batch
from tsmodel.errors import SessionError, SpoolFullError, StoreCorruptError, StoreError, StoreFormatError, StoreInDoubtError
from tsmodel.forking import in_child
from tsmodel.store.sqlite import APPLICATION_ID as STORE_ID
from tsmodel.store.sqlite import CANNOT, connected, identity, sync_directory, undo
from tsmodel.timestamps import now_ns

__all__ = ["DEFAULT_SPOOL_BYTES", "DrainerLock", "Queued", "SetAside", "SpoolFile", "Totals", "WhenFull"]

R = TypeVar("R")
WhenFull = Literal["refuse", "drop_oldest"]
Reason = Literal["refused", "undecided", "damaged"]

DEFAULT_SPOOL_BYTES: Final = 2**30
"""Size limit of a spool, in stored bytes."""

APPLICATION_ID: Final = 0x74737370
"""`tssp`: marks a SQLite file as a spool."""
FORMAT_VERSION: Final = 1

WAITING, IN_DOUBT, ASIDE = 0, 1, 2
WITH_ACQ, UNLESS_STORED = 1, 2

_JOURNAL_BYTES: Final = 2**20
_RAW, _ZSTD = b"\0", b"\1"

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
    """The size of a spool.

    Attributes:
        puts: number of puts that wait to be sent or are in doubt.
        records: number of their records.
        bytes: size of these records in a put.
        in_doubt: number of puts that were sent but never acknowledged.
        oldest: when the oldest put was spooled, ns since 2001; None if there are none.
        aside: number of puts set aside.
        aside_records: number of their records.
        size: bytes that all puts take in the file.
        dropped: total number of records dropped because the spool was full.
        drained: total number of records sent.
        acked: greatest acq that the database assigned to a sent record; None if nothing was sent.
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
    """A put that a spool keeps until you resend or discard it.

    Attributes:
        number: its number in the spool.
        reason: "refused": the database refused it and stored nothing of it. "undecided": it was sent but never
            acknowledged, and the contents of the database do not show whether it is stored. "damaged": its checksum does
            not match.
        detail: the reason in words.
        records: number of its records.
        bytes: their size in a put.
        time: when it was spooled, ns since 2001.
    """

    number: int
    reason: Reason
    detail: str
    records: int
    bytes: int
    time: int


@attrs.frozen(eq=False)
class Queued:
    """A put in a spool.

    Attributes:
        number: its number.
        batches: the records; None if they are damaged.
        with_acq: whether the records carry their acq.
        unless_stored: whether records that the database already holds are skipped.
        bound: the bound of an in-doubt put: none of its records is stored below this acq. None if it was not sent.
        count: number of records.
    """

    number: int
    batches: list[Batch] | None
    with_acq: bool
    unless_stored: bool
    bound: int | None
    count: int


class DrainerLock:
    """The lock that makes one drainer, among all processes, the sender of a spool.

    Args:
        path: the spool.
    """

    def __init__(self, path: str) -> None:
        self._path = f"{path}-drainer"
        self._file: IO[str] | None = None
        in_child(self._forsake)

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def take(self) -> bool:
        """Takes the lock if it is free; returns whether it is held now.

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
        """Releases the lock."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                _unlock(file)
            file.close()

    def _forsake(self) -> None:
        """Closes the descriptor that a forked process inherited. The parent keeps the lock."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


class SpoolFile:
    """A spool.

    Args:
        path: its file; created by `prepare`.
        most: size limit, in stored bytes.
        when_full: "refuse" raises; "drop_oldest" drops the oldest waiting puts and counts their records.
    """

    def __init__(self, path: str, *, most: int = DEFAULT_SPOOL_BYTES, when_full: WhenFull = "refuse") -> None:
        self.path = os.path.realpath(path)
        self._most = most
        self._when_full = when_full
        self._id: bytes | None = None

    def prepare(self, target: Sequence[str] | None) -> None:
        """Opens or creates the file, and checks that it is writable and belongs to a target.

        Args:
            target: the connectors of the database, as `host:port`; None accepts any target of an existing file.

        Raises:
            SessionError: when it holds puts for another database.
            StoreFormatError: when the file is not a spool, or has a newer format.
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
                        f"{','.join(target)}: drain it there, or send them here with `tsmodel spool {self.path} "
                        f"--retarget tstorage://{','.join(target)}`"
                    )
            _set(connection, target=",".join(sorted(target)))

    @property
    def target(self) -> list[str]:
        """The connectors of the target database, as `host:port`."""
        with self._connected() as connection:
            return str(_state(connection).get("target") or "").split(",")

    def retarget(self, target: Sequence[str]) -> None:
        """Changes the target database."""
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
            batches: the records.
            with_acq: whether the records carry their acq.
            unless_stored: whether records that the database already holds are skipped.
            bound: the bound of a put that was already sent and is in doubt; None for a put that was not sent.
            uid: id of the put, for `has`; generated if empty.
            acked: greatest acq that the database assigned to records this process sent directly.

        Raises:
            SpoolFullError: when the spool has no room. Nothing was added.
            StoreError: when the file cannot be written. Nothing was added.
            StoreInDoubtError: when the put may or may not have been added.
        """
        uid = uid or os.urandom(16)
        data, records, size = _packed(batches)
        kind = WITH_ACQ * with_acq + UNLESS_STORED * unless_stored
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
                raise StoreInDoubtError(f"{error}; the put may or may not be in the spool", path=self.path) from error
            raise StoreError(str(error), path=self.path) from error

    def has(self, uid: bytes) -> bool:
        """Whether the file holds the put with the id `uid`."""
        with self._connected() as connection:
            return connection.execute("SELECT 1 FROM puts WHERE uid = ?", (uid,)).fetchone() is not None

    def head(self, most_bytes: int, most_puts: int) -> list[Queued]:
        """The puts to handle next: all in-doubt puts of one kind; if there are none, the oldest waiting puts of one kind.

        Args:
            most_bytes: limit of their size, for waiting puts; at least one is returned.
            most_puts: limit of their number, for waiting puts.
        """
        with self._connected() as connection:
            sql = "SELECT number, kind, bytes FROM puts WHERE state = ? ORDER BY number LIMIT ?"
            rows = connection.execute(sql, (IN_DOUBT, -1)).fetchall()
            taken = [number for number, kind, _ in rows if kind == rows[0][1]]
            if not taken:
                rows = connection.execute(sql, (WAITING, most_puts)).fetchall()
                totals = accumulate(size for _, _, size in rows)
                for (number, kind, _), total in zip(rows, totals, strict=True):
                    if taken and (kind != rows[0][1] or total > most_bytes):
                        break
                    taken.append(number)
            return [self._read(connection, number) for number in taken]

    def mark(self, numbers: Sequence[int], bound: int) -> bool:
        """Marks waiting puts as in doubt, durably, before they are sent.

        Args:
            numbers: the puts.
            bound: their bound: none of their records is stored below this acq.

        Returns:
            True; or False if some of them were dropped to make room, and then none is marked.
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
        """Records the outcome of puts, in one transaction.

        Args:
            stored: numbers of the stored puts, which are removed.
            acked: greatest acq that the database assigned to them.
            missing: puts of which nothing is stored; they wait again.
            parts: puts that are stored in part, with their missing records, which replace them.
            aside: puts to set aside, with the reason and the detail.
            ahead: how far the database's clock is ahead of this machine's, in ns; None if unknown.
        """
        with self._connected(writes=True) as connection:
            query = "SELECT uid, kind, records FROM puts WHERE number = ?"
            sent = sum(row[2] for number in stored for row in connection.execute(query, (number,)))
            for number, batches in parts:
                data, records, size = _packed(batches)
                uid, kind, before = connection.execute(query, (number,)).fetchone()
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
        puts, records, size, _ = map(sum, zip(rows[WAITING], rows[IN_DOUBT], strict=True))
        return Totals(
            puts=puts,
            records=records,
            bytes=size,
            in_doubt=rows[IN_DOUBT][0],
            oldest=oldest,
            aside=rows[ASIDE][0],
            aside_records=rows[ASIDE][1],
            size=sum(row[3] for row in rows.values()),
            dropped=state["dropped"],
            drained=state["drained"],
            acked=state.get("acked"),
        )

    def ahead(self) -> int:
        """How far the database's clock was ahead of this machine's when it last answered, in ns; 0 if it never did."""
        with self._connected() as connection:
            return int(_state(connection).get("ahead", 0))

    def set_aside(self) -> list[SetAside]:
        """The puts set aside, in order."""
        with self._connected() as connection:
            sql = "SELECT number, reason, detail, records, bytes, time FROM puts WHERE state = ? ORDER BY number"
            return [SetAside(*row) for row in connection.execute(sql, (ASIDE,))]

    def take_back(self, numbers: Sequence[int] | None = None, *, unchecked: bool = False) -> int:
        """Returns puts that were set aside to the queue; returns how many.

        Args:
            numbers: their numbers; None for all that are not damaged.
            unchecked: resends undecided puts without reconciling them, which may store records twice.

        Raises:
            SessionError: when one of them is not set aside, or is damaged.
        """
        with self._connected(writes=True) as connection:
            rows = _aside(connection, numbers, self.path)
            damaged = [number for number, reason, _ in rows if reason == "damaged"]
            if numbers is not None and damaged:
                raise SessionError(f"put {damaged[0]} of {self.path} is damaged and cannot be sent; discard it")
            rows = [row for row in rows if row[0] not in damaged]
            for number, reason, bound in rows:
                again = reason == "undecided" and bound is not None and not unchecked
                sql = "UPDATE puts SET state = ?, bound = ?, reason = NULL, detail = NULL WHERE number = ?"
                connection.execute(sql, (IN_DOUBT if again else WAITING, bound if again else None, number))
            return len(rows)

    def discard(self, numbers: Sequence[int] | None = None) -> int:
        """Removes some or all of the puts set aside; returns how many.

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
            f"the spool {self.path} is full: it holds {held:,} of {self._most:,} bytes (spool_bytes=), and this put needs "
            f"{size:,} more. It drains once the server can be reached; `tsmodel spool {self.path}` shows its contents",
            path=self.path,
            size=held,
            most=self._most,
        )

    def _may_hold(self, uid: bytes) -> bool:
        """Whether a put may be in the file after a failed commit. If it is there, it is removed."""
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
        """Shortens the file once it is empty."""
        with suppress(StoreError), self._connected() as connection:
            (held,) = connection.execute("SELECT sum(puts) FROM totals").fetchone()
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            if not held and free > 64:
                connection.executescript("PRAGMA incremental_vacuum")  # `execute` takes one step of it

    def _create(self) -> None:
        """Creates the file if it does not exist."""
        path = Path(self.path)
        if path.is_dir():
            raise StoreError(f"{path} is a directory; a spool is a file", path=self.path)
        if not path.parent.is_dir():
            raise StoreError(f"{path}: there is no directory {path.parent}; create it first", path=self.path)
        if path.exists() and path.stat().st_size:
            return
        with self._errors(), _AT_WORK, closing(_opened(self.path, "rwc")) as connection:
            connection.execute("BEGIN IMMEDIATE")
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in _SCHEMA.split("\n\n"):  # `executescript` would commit
                    connection.execute(statement)
                _set(connection, id=os.urandom(16), target="", dropped=0, drained=0)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
            connection.execute("COMMIT")
        sync_directory(path.parent)

    @contextmanager
    def _connected(self, *, writes: bool = False) -> Iterator[sqlite3.Connection]:
        """Opens a connection; if it `writes`, in a transaction that commits at the end of the block."""
        with self._errors(), _AT_WORK:
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
                raise StoreInDoubtError(f"the spool {self.path} was replaced or deleted during the write", path=self.path)

    def _commit(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            undo(connection)
            why = "the disk is full" if "full" in str(error) else str(error)
            raise StoreInDoubtError(f"the spool {self.path}: {why}", path=self.path) from error

    def _check(self, connection: sqlite3.Connection) -> None:
        (kind,) = connection.execute("PRAGMA application_id").fetchone()
        if kind != APPLICATION_ID:
            what = "an embedded store" if kind == STORE_ID else "another SQLite file"
            raise StoreFormatError(f"{self.path} is {what}, not a spool; give the spool a path of its own", path=self.path)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > FORMAT_VERSION:
            raise StoreFormatError(
                f"the spool {self.path} has format {version}, but this tsmodel knows only {FORMAT_VERSION}: update tsmodel",
                path=self.path,
            )
        found = connection.execute("SELECT value FROM state WHERE name = 'id'").fetchone()[0]
        self._id = self._id or found
        if found != self._id:
            raise StoreError(f"the spool {self.path} was replaced since it was opened; open a new session", path=self.path)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Translates errors of SQLite to store errors."""
        try:
            yield
        except sqlite3.OperationalError as error:
            said = str(error)
            if not any(text in said for text in CANNOT):
                raise self._damaged(error) from error
            if "full" in said:
                said = "the disk is full"
            elif "readonly" in said or "unable to open" in said:
                said += "; a spool needs a writable file in a writable directory"
            raise StoreError(f"the spool {self.path}: {said}", path=self.path) from error
        except (sqlite3.Error, OverflowError, UnicodeDecodeError, KeyError, TypeError) as error:
            if "not a database" in str(error):
                raise StoreFormatError(
                    f"{self.path} is not a spool; give the spool a path of its own", path=self.path
                ) from error
            raise self._damaged(error) from error
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"the spool {self.path}: {error.strerror or error}", path=self.path) from error

    def _damaged(self, error: Exception) -> StoreCorruptError:
        return StoreCorruptError(
            f"the spool {self.path} is damaged: {error}. Move it and the files beside it away; a new one is created. "
            "`tsmodel spool MOVED --drain` then sends the puts that are intact",
            path=self.path,
        )


def _opened(path: str, mode: str) -> sqlite3.Connection:
    connection = connected(path, f"mode={mode}")
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect only as the first statement on a new file
        connection.execute("PRAGMA journal_mode = PERSIST").fetchone()
        connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = 1")
    except BaseException:
        connection.close()
        raise
    return connection


def _state(connection: sqlite3.Connection) -> dict[str, Any]:
    return dict(connection.execute("SELECT name, value FROM state"))


def _set(connection: sqlite3.Connection, **values: object) -> None:
    connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", list(values.items()))


def _remove(connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
    rows = [(number,) for number in numbers]
    connection.executemany("DELETE FROM puts WHERE number = ?", rows)
    connection.executemany("DELETE FROM bodies WHERE number = ?", rows)


def _aside(connection: sqlite3.Connection, numbers: Sequence[int] | None, path: str) -> list[tuple[int, str, int | None]]:
    """Number, reason and bound of puts set aside."""
    rows = {row[0]: row for row in connection.execute("SELECT number, reason, bound FROM puts WHERE state = ?", (ASIDE,))}
    for number in numbers or ():
        if number not in rows:
            raise SessionError(f"no put {number} is set aside in {path}; there are {', '.join(map(str, rows)) or 'none'}")
    return list(rows.values()) if numbers is None else [rows[number] for number in dict.fromkeys(numbers)]


def _packed(batches: Sequence[Batch]) -> tuple[bytes, int, int]:
    """Encodes batches, compressed if that is smaller; also returns the number of records and their size in a put."""
    raw = msgspec.msgpack.encode(
        [(int(each.cid), int(each.count), int(each.record_size), each.records) for each in batches]
    )
    small = bytes(cramjam.zstd.compress(raw, 1))
    data = _ZSTD + small if len(small) < len(raw) else _RAW + raw
    return data, sum(each.count for each in batches), sum(len(each.records) for each in batches)


def _unpacked(data: bytes) -> list[Batch]:
    raw = data[1:] if data[:1] == _RAW else bytes(cramjam.zstd.decompress(data[1:]))
    return [Batch(cid, memoryview(records), count, size) for cid, count, size, records in msgspec.msgpack.decode(raw)]


def _digest(uid: bytes, kind: int, records: int, data: bytes) -> bytes:
    digest = xxhash.xxh3_128(uid)
    digest.update(kind.to_bytes(1, "little") + records.to_bytes(8, "little"))
    digest.update(data)
    return digest.digest()


def _inode(path: str) -> tuple[int, int] | None:
    with suppress(FileNotFoundError):
        return identity(path)
    return None


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
