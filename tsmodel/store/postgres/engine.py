"""The engine behind `postgresql://`: blocks in the tables of a schema, for many writers on many machines.

Rules kept here:

* A writer locks the row of the state before it assigns acqs, and holds it until its commit is durable. So commits happen in
  acq order: a reader that sees one sees all earlier ones. Blocks are encoded and sent before the lock is taken.
* A reader has one snapshot for a whole scan, and never waits for others.
* A lost connection is replaced. If it is lost during a commit, another connection waits until the lost transaction has
  ended, and finds out by its token whether it was committed. The commit is in doubt only if that fails.
* A commit is durable if the server keeps its promises: `synchronous_commit=off` in its settings is overridden.
* Every psycopg error leaves this module as a `StoreError` that names the database, without its password.
* A forked process does not use the connections of its parent; it opens its own.
"""

from __future__ import annotations

import importlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import msgspec
import numpy.typing as npt

from tsmodel.backend import PutInfo
from tsmodel.errors import (
    MissingLibraryError,
    PoolTimeoutError,
    SessionError,
    StoreCorruptError,
    StoreError,
    StoreFormatError,
    StoreUnansweredError,
    StoreUnreachableError,
)
from tsmodel.forking import in_child
from tsmodel.keys import KeyRange
from tsmodel.store.blocks import Block
from tsmodel.store.cache import BlockCache
from tsmodel.store.directory import Directory, State, Table
from tsmodel.store.interface import Change, EngineBusyError, SupersededError
from tsmodel.store.postgres.database import Database
from tsmodel.store.postgres.sets import CONTENTS, Member, SetFoundError, ShardSet, format_of, kind_of
from tsmodel.store.postgres.statements import FORMAT_VERSION, Connection, PostgresTables, Schema
from tsmodel.store.tables import READ_AHEAD, Snapshot, Transaction, cached_blocks, completed, picked_by_run

__all__ = ["PostgresEngine", "PostgresTransaction", "library"]

_CONNECTING: Final = 10
"""Seconds to wait for a connection, unless the URL sets `connect_timeout`."""
_FINDING_OUT: Final = 5.0
"""Seconds to spend on finding out the outcome of a commit without an answer."""
_PAUSE: Final = 0.1
_SECOND: Final = 1.0
"""Seconds to wait for a second connection while holding one: all who hold one may be waiting."""
_STAGED: Final = 4 * 2**20
"""Bytes of staged blocks to send together."""
_NUMBERS: Final = 32
"""How many run numbers to fetch at once."""
_IDS: Final = 20
"""Low bits of a block id that number the blocks of a run."""
_KEEPALIVE: Final = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
"""Detects that the other machine is gone. The server gets the same settings, because a lost client may hold the lock."""
_SETTINGS: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off' UNION ALL "
    "SELECT set_config('lock_timeout', '60s', false) UNION ALL "
    "SELECT set_config('tcp_keepalives_idle', '10', false) UNION ALL "
    "SELECT set_config('tcp_keepalives_interval', '5', false) UNION ALL "
    "SELECT set_config('tcp_keepalives_count', '3', false)"
)
_GONE: Final = ("57P", "08", "53300", "25006")
"""Prefixes of error codes after which another connection may work: the server shuts down or starts, has no free connection,
or has become a standby."""


class PostgresTransaction(Transaction):
    """A transaction that takes the lock late. Until then, it only stages blocks."""

    _tables: PostgresTables
    _engine: PostgresEngine

    def __init__(self, engine: PostgresEngine, tables: PostgresTables, stack: ExitStack) -> None:
        super().__init__(engine, tables)
        self._stack = stack
        self._view: Snapshot | None = None
        self.is_locked = False

    @property
    def view(self) -> Snapshot:
        """A snapshot on another connection; this transaction itself once it holds the lock."""
        if self.is_locked:
            return self
        if self._view is None:
            self._view = self._stack.enter_context(self._engine.reading(wait=_SECOND))
        return self._view

    @property
    def now(self) -> int:
        """The server's time when the lock was taken, in ns since 2001."""
        return self._tables.now

    def lock(self, *, wait: bool = True) -> None:
        """Takes the lock, unless this transaction already holds it. From then on, nobody else can write."""
        if not self.is_locked:
            self._state = self._tables.lock_state(wait=wait)
            self._known = None
            self._begin()
            self.is_locked = True

    def confirm(self, runs: Sequence[Directory]) -> None:
        """Takes the lock, and checks that runs are unchanged since they were read.

        Raises:
            SupersededError: if another writer changed one.
        """
        self.lock()
        present = self.table.runs
        if any(run.number not in present or present[run.number].digest != run.digest for run in runs):
            raise SupersededError

    def puts(self) -> Iterator[PutInfo]:
        return super().puts() if self.is_locked else self.view.puts()

    @property
    def puts_changed(self) -> bool:
        """Whether the log of puts has changed since the snapshot that this transaction read before it took the lock."""
        return self._view is not None and self._view.state.puts_digest != self._state.puts_digest

    def rewrite(self, boxes: Sequence[KeyRange], change: Change) -> None:
        """See `Writing.rewrite`. Reads and stages blocks first, and takes the lock to put them in their places. Blocks that
        others have added meanwhile are rewritten under the lock.

        Raises:
            SupersededError: if another writer changed one of the runs meanwhile.
        """
        if not self.is_locked:
            try:
                view = self.view
            except PoolTimeoutError:  # others wait for a second connection, too
                self.lock()
        if self.is_locked:
            super().rewrite(boxes, change)
            return
        staged = [
            (run, blocks)
            for run, places in picked_by_run(view.table, boxes)
            if (blocks := self._stage_changed(view, run, places, change))
        ]
        self._tables.flush()
        self.confirm([run for run, _ in staged])
        for run, blocks in staged:
            moved = {number: run.id_of(at) for at, (number, entry) in blocks.items() if entry is not None}
            gone = [run.id_of(at) for at, (_, entry) in blocks.items() if entry is None]
            if moved:
                self._tables.move_blocks(list(moved), list(moved.values()))
            if gone:
                self._tables.drop_some(gone)
            self._replace(run, {at: entry for at, (_, entry) in blocks.items()})
        for run, places in list(picked_by_run(self.table, boxes)):
            if run.number not in view.table.runs:
                self._rewrite_run(run, places, change)
            elif view.table.runs[run.number].digest != run.digest:
                raise SupersededError

    def _stage_changed(
        self, view: Snapshot, run: Directory, places: dict[int, list[KeyRange]], change: Change
    ) -> dict[int, tuple[int, npt.NDArray[Any] | None]]:
        """Writes changed blocks under other ids. Returns the id and the directory entry of each, by position; the entry is
        None for a block to delete."""
        blocks: dict[int, tuple[int, npt.NDArray[Any] | None]] = {}
        _, first = self._new_run(len(places))
        waiting = 0
        for place, (at, within) in enumerate(places.items()):
            if (new := view.changed_block(run, at, within, change)) is None:
                continue
            stored, entry = new
            blocks[at] = (first + place, entry)
            if stored is not None:
                self._tables.add_blocks(first + place, [stored])
                waiting += len(stored)
                if waiting > _STAGED:
                    self._tables.flush()
                    waiting = 0
        return blocks

    def alone(self) -> bool:
        """Takes the merge lock until this transaction ends. Returns False if another client holds it."""
        return self._tables.try_lock_merging()

    def _new_run(self, count: int) -> tuple[int, int]:  # noqa: ARG002 - the number leaves room for any count
        number = self._engine.next_number(self._tables)
        return number, number << _IDS

    def _add(self, directory: Directory) -> None:
        super()._add(directory)
        after, last = self._after, int(directory.ids[-1])
        self._change(next_run=max(after.next_run, directory.number + 1), next_block=max(after.next_block, last + 1))


class PostgresEngine:
    """Stores blocks in a schema of a PostgreSQL database. Thread-safe.

    Args:
        database: the schema.
        cache_bytes: size limit of the block cache, in bytes; 0 disables it.
        member: the shard that the schema must hold; None for a store of its own.

    Raises:
        MissingLibraryError: if psycopg is not installed.
        SessionError: if libpq does not accept the URL.
        SetFoundError: if the schema holds a list of shards.
        StoreFormatError: if the schema holds tables of another application or of another version, or another shard.
        StoreUnreachableError: if the database cannot be reached.
        StoreError: if the tables do not exist and must not, or may not, be created.
    """

    def __init__(self, database: Database, cache_bytes: int, member: Member | None = None) -> None:
        self._psycopg = library()
        self._member = member
        self.path = database.name
        self.cache = BlockCache(cache_bytes)
        self._database = database
        self._schema = Schema(database.schema)
        self._parameters = self._checked_parameters()
        self._table = Table({})
        self._generation = 0
        self._closed = self._unsettled = self._is_quiet = False
        self._inherited: list[Any] = []
        self._idle: list[Connection] = []
        self._start()
        in_child(self._forked)
        with self._errors():
            self._open()

    @contextmanager
    def reading(self, *, wait: float | None = None) -> Iterator[Snapshot]:
        """A snapshot, on a connection of its own.

        Args:
            wait: seconds to wait for a connection; None for the time that the URL sets.
        """
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        query = f"SELECT data FROM {self._schema.of('state')} WHERE one"
        with self._errors(), self._leased(f"{begin}; {query}", wait=wait) as (connection, cursor):
            cursor.nextset()
            row = cursor.fetchone()
            if row is None:
                raise StoreCorruptError("the table of the state is empty")
            yield Snapshot(self, PostgresTables(connection, self._schema, State.from_bytes(row[0])))

    def last_acq(self) -> int:
        """The greatest acq that was assigned or promised."""
        with self._errors():
            return self._state_and_blocks([])[0].last_acq

    def glimpse(self, box: KeyRange) -> tuple[int, list[Block]] | None:
        """Reads the blocks that may hold records inside `box`, by a single statement: its snapshot covers the state, too.

        The blocks are those of the directories in memory, which the state must confirm.

        Returns:
            The greatest acq that was assigned or promised, and the blocks. None if there are too many blocks, or if the
            directories in memory are out of date, or were when the store was last read. Then use `reading`.
        """
        table = self._table
        if not self._is_quiet:
            return None
        most = PostgresTables.at_once
        places = list(islice(table.picked(box), most + 1))
        if not table.runs or len(places) > most or sum(int(run.entries["length"][at]) for run, at in places) > READ_AHEAD:
            return None
        scan = self.cache.scan()
        found, missing = cached_blocks(places, self.cache, scan)
        with self._errors():
            state, stored = self._state_and_blocks(missing)
            self._is_quiet = table.matches(state)
            if not self._is_quiet:
                return None
            return state.last_acq, list(completed(places, found, stored, self, scan))

    def _state_and_blocks(self, ids: Sequence[int]) -> tuple[State, dict[int, bytes]]:
        query = f"SELECT NULL::bigint, data FROM {self._schema.of('state')} WHERE one"
        if ids:
            query += f" UNION ALL SELECT id, data FROM {self._schema.of('blocks')} WHERE id = ANY(%b)"
        with self._leased(query, (list(ids),) if ids else None) as (_, cursor):
            stored: dict[int | None, bytes] = dict(cursor)
        state = stored.pop(None, None)
        if state is None:
            raise StoreCorruptError("the table of the state is empty")
        return State.from_bytes(state), cast("dict[int, bytes]", stored)

    @contextmanager
    def writing(self, *, wait: bool = True) -> Iterator[PostgresTransaction]:
        """A transaction that holds the lock from the start."""
        with self.preparing(wait=wait) as transaction:
            transaction.lock(wait=wait)
            yield transaction

    @contextmanager
    def preparing(self, *, wait: bool = True) -> Iterator[PostgresTransaction]:
        """A transaction that may stage blocks before it takes the lock. If it never takes the lock, it stores nothing."""
        if self._database.read_only:
            raise StoreError(f"{self.path} was opened read-only; nothing was stored", path=self.path)
        token = uuid.uuid4()
        begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
        with (
            ExitStack() as stack,
            self._errors("; nothing was stored by this call", wait=wait),
            self._leased(begin) as (connection, _),
        ):
            tables = PostgresTables(connection, self._schema, State(), token)
            transaction = PostgresTransaction(self, tables, stack)
            yield transaction
            if not transaction.is_locked:
                return
            transaction.finish()
            self._commit(connection, tables, token)
        self._keep_table(transaction)

    def next_number(self, tables: PostgresTables) -> int:
        """A new run number. Numbers that are fetched but not used are skipped, which does no harm.

        Only the connection that fetched a number may use it: if the server crashes before another commit, it may give the
        number again, but then the connection is lost, too.
        """
        numbers = self._numbers.setdefault(tables.connection, deque())
        if not numbers:
            numbers.extend(tables.numbers(_NUMBERS))
        return numbers.popleft()

    def table_of(self, tables: PostgresTables, state: State) -> Table:
        """The directories of a state: from memory, plus the changes since, or all of them read and checked."""
        table, generation = self._table, self._generation
        self._is_quiet = table.matches(state)
        if self._is_quiet:
            return table
        if 0 < generation <= state.generation:
            gone, come = tables.changes(generation)
            removed = {number for number in (*gone, *(row[0] for row in come)) if number in table.runs}
            found = table.changed(removed, [_directory(*row) for row in come])
            if found.matches(state):
                return self._kept(found, state)
        return self._kept(table.renewed(tables.all_runs(), state, tables.directories, "store"), state)

    def close(self) -> None:
        """Closes all connections."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self.cache.clear()
        self._table = Table({})

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()

    def _start(self) -> None:
        self._lock = threading.RLock()  # closing may happen in a garbage collection while it is held
        self._free = threading.Semaphore(self._database.pool)
        self._numbers: WeakKeyDictionary[Connection, deque[int]] = WeakKeyDictionary()

    def _forked(self) -> None:
        self._inherited += self._idle  # closing them would end the parent's
        self._idle = []
        self._start()

    def _checked_parameters(self) -> dict[str, Any]:
        psycopg = self._psycopg
        try:
            given = psycopg.conninfo.conninfo_to_dict(self._database.conninfo)
        except psycopg.Error as error:
            raise SessionError(f"libpq does not accept the URL {self.path}: {_said(error)}") from error
        defaults = {"connect_timeout": _CONNECTING, **_KEEPALIVE, "fallback_application_name": "tsmodel"}
        return {name: value for name, value in defaults.items() if name not in given}

    @contextmanager
    def _leased(
        self, first: str, values: Sequence[Any] | None = None, *, wait: float | None = None
    ) -> Iterator[tuple[Connection, Any]]:
        """Leases a connection, and executes a first statement on it. It is given back if it can be used again.

        Args:
            first: the statement. It is executed again on another connection if an idle one turns out to be lost.
            values: its parameters, if any.
            wait: seconds to wait for a connection; None for the time that the URL sets.
        """
        wait = self._database.wait if wait is None else min(wait, self._database.wait)
        if self._closed:
            raise StoreError(f"the store {self.path} is closed", path=self.path)
        free = self._free
        if not free.acquire(timeout=wait):
            size = self._database.pool
            raise PoolTimeoutError(
                f"{self.path}: all {size} connections are in use, and none became free within {wait:g} s; "
                "pool=... in the URL sets how many there may be",
                busy=size,
                size=size,
            )
        connection = None
        try:
            if self._unsettled:
                self._settle()
            connection, cursor = self._begun(first, values)
            yield connection, cursor
        finally:
            if connection is not None:
                self._give_back(connection)
            free.release()

    def _begun(self, first: str, values: Sequence[Any] | None) -> tuple[Connection, Any]:
        # Text that ends in several statements cannot be sent in binary form.
        is_binary = not first.startswith("BEGIN")
        while (idle := self._idle_one()) is not None:
            try:
                return idle, idle.execute(first, values, binary=is_binary)
            except self._psycopg.OperationalError:
                idle.close()  # the server was restarted, or the network dropped the connection
            except BaseException:
                idle.close()
                raise
        connection = self._connect()
        try:
            return connection, connection.execute(first, values, binary=is_binary)
        except BaseException:
            connection.close()
            raise

    def _connect(self) -> Connection:
        connection: Connection = self._psycopg.connect(self._database.conninfo, autocommit=True, **self._parameters)
        try:
            connection.execute(_SETTINGS)
        except BaseException:
            connection.close()
            raise
        return connection

    def _idle_one(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _give_back(self, connection: Connection) -> None:
        status = self._psycopg.pq.TransactionStatus
        with suppress(self._psycopg.Error):
            if connection.info.transaction_status in (status.INTRANS, status.INERROR):
                connection.execute("ROLLBACK")
        with self._lock:
            if not self._closed and not connection.closed and connection.info.transaction_status == status.IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _commit(self, connection: Connection, tables: PostgresTables, token: uuid.UUID) -> None:
        try:
            said = tables.commit()
        except self._psycopg.Error as error:
            if not connection.closed and not connection.broken:
                raise  # the server refused: nothing is stored
            self._unsettled = True
            self._find_out(token, error)
        except BaseException:
            self._unsettled = True
            connection.close()
            raise
        else:
            if said != "COMMIT":
                raise StoreError(f"{self.path} answered COMMIT by {said}; nothing was stored by this call", path=self.path)

    def _find_out(self, token: uuid.UUID, cause: Exception) -> None:
        """Returns if the transaction with this token was committed after all.

        Raises:
            StoreUnreachableError: if it was not.
            StoreUnansweredError: if that cannot be found out yet.
        """
        until = time.monotonic() + _FINDING_OUT
        while True:
            try:
                is_committed = self._settle(token)
            except (self._psycopg.Error, StoreError) as error:
                if time.monotonic() > until:
                    raise StoreUnansweredError(
                        f"{self.path}: the connection was lost during the commit ({_said(cause)}), and the outcome could "
                        f"not be found out ({_said(error)}): the records may or may not be stored",
                        path=self.path,
                    ) from cause
                time.sleep(_PAUSE)
                continue
            if is_committed:
                return
            raise StoreUnreachableError(
                f"{self.path}: the connection was lost before the commit ({_said(cause)}); nothing was stored by this call",
                path=self.path,
            ) from cause

    def _settle(self, token: uuid.UUID | None = None) -> bool:
        """Waits until a transaction whose commit was not answered has ended, by waiting for the lock that it holds. Returns
        whether the transaction with this token was committed."""
        connection = self._connect()
        try:
            connection.execute("BEGIN")
            tables = PostgresTables(connection, self._schema, State())
            tables.lock_state()
            found = token is not None and tables.has_token(token)
            connection.execute("ROLLBACK")
        finally:
            connection.close()
        self._unsettled = False
        return found

    def _kept(self, table: Table, state: State) -> Table:
        with self._lock:
            if state.generation >= self._generation:
                self._table, self._generation = table, state.generation
        return table

    def _keep_table(self, transaction: PostgresTransaction) -> None:
        """Updates the directories in memory after a transaction, if they are complete."""
        table = None if transaction.knows_table else self._table
        if table is None or table.matches(transaction.state):
            self._kept(transaction.changed_table(table), transaction.changed_state())

    def _open(self) -> None:
        """Checks the version of the tables, or creates them."""
        with self._leased("BEGIN") as (connection, _):
            found = self._format_of(connection)
            if found is None and self._database.create and not self._database.read_only:
                self._create(connection)
                return
            if found is not None:
                self._check(connection, found)
        if found is None:
            hint = (
                "remove read_only or create=0 from the URL to create them, or run `tsmodel init`"
                if self._member is None
                else f"run `tsmodel init` on {self._member.of} again, or restore a backup of the shard"
            )
            raise StoreError(f"{self.path} has no tables of tsmodel; {hint}", path=self.path)

    def _check(self, connection: Connection, found: int) -> None:
        """Makes sure that tables are of this version, and those of the right store.

        Raises:
            SetFoundError: when a store of its own was expected, and there is a list of shards.
            StoreFormatError: when they are not.
        """
        kind, version = kind_of(found)
        if version != FORMAT_VERSION:
            hint = "upgrade tsmodel" if version > FORMAT_VERSION else "copy its records by a tsmodel that reads them"
            raise StoreFormatError(
                f"{self.path} has tables of version {version}, and this tsmodel reads version {FORMAT_VERSION}: {hint}",
                path=self.path,
            )
        wanted = self._member
        if kind == "shard":
            is_member = self._membership(connection)
            if wanted is None:
                raise StoreFormatError(
                    f"{self.path} is {is_member} of a set, and holds a part of its records: connect to {is_member.of}",
                    path=self.path,
                )
            if not is_member.is_place_of(wanted):
                raise StoreFormatError(
                    f"{self.path} holds {is_member} of another set ({is_member.of}): the list of shards is wrong"
                    if is_member.set_id != wanted.set_id
                    else f"{self.path} holds {is_member}: the list of shards is wrong",
                    path=self.path,
                )
        elif wanted is not None:
            raise StoreFormatError(
                f"{self.path} holds {CONTENTS[kind]}, and is no shard; name another schema with ?schema=...", path=self.path
            )
        elif kind == "set":
            self.close()
            raise SetFoundError(self._shard_set(connection))

    def _shard_set(self, connection: Connection) -> ShardSet:
        """The list of shards that this schema holds."""
        row = connection.execute(f"SELECT data FROM {self._schema.of('state')} WHERE one").fetchone()
        return ShardSet.from_bytes(row[0])

    def _membership(self, connection: Connection) -> Member:
        """The place of this shard in its set."""
        row = connection.execute(f"SELECT set_id, number, count, set_name FROM {self._schema.of('shard')}").fetchone()
        if row is None:
            raise StoreCorruptError("it does not say which shard it is")
        return Member(*row)

    def _format_of(self, connection: Connection) -> int | None:
        """The version of the tables; None if they do not exist."""
        state = self._schema.of("state")
        # Not to_regclass(): within a transaction, it may miss tables that others have just created.
        there = (
            "SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relname = 'state'"
        )
        if connection.execute(there, (self._schema.name,)).fetchone() is None:
            return None
        try:
            row = connection.execute(f"SELECT format FROM {state} WHERE one").fetchone()
        except (self._psycopg.errors.UndefinedColumn, self._psycopg.errors.WrongObjectType) as error:
            raise StoreFormatError(
                f"{self.path}: the schema has a table `state` of another application; choose another with ?schema=...",
                path=self.path,
            ) from error
        if row is None:
            raise StoreCorruptError("the table of the state is empty")
        return int(row[0])

    def _create(self, connection: Connection) -> None:
        """Creates the tables, and the schema if it does not exist. Other clients may do the same at the same time."""
        name = self._schema.name
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"tsmodel init {name}",))
        found = self._format_of(connection)
        if found is not None:
            self._check(connection, found)
        else:
            try:
                self._create_tables(connection, self._schema.creating(is_shard=self._member is not None))
            except self._psycopg.errors.InsufficientPrivilege as error:
                raise StoreError(
                    f"{self.path} has no tables of tsmodel, and this user may not create them ({_said(error)}): ask "
                    "someone with the privilege to run `tsmodel init` once",
                    path=self.path,
                ) from error
            row = (format_of("store" if self._member is None else "shard", FORMAT_VERSION), State().to_bytes())
            connection.execute(f"INSERT INTO {self._schema.of('state')} (one, format, data) VALUES (true, %s, %b)", row)
            if self._member is not None:
                insert = f"INSERT INTO {self._schema.of('shard')} (set_id, number, count, set_name) VALUES (%s, %s, %s, %s)"
                connection.execute(insert, msgspec.structs.astuple(self._member))
        connection.execute("COMMIT")

    def _create_tables(self, connection: Connection, statements: Sequence[str]) -> None:
        there = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
        if connection.execute(there, (self._schema.name,)).fetchone() is None:
            connection.execute(f"CREATE SCHEMA {self._schema.quoted}")
        connection.execute("; ".join(statements))

    @contextmanager
    def _errors(self, consequence: str = "", *, wait: bool = True) -> Iterator[None]:
        psycopg = self._psycopg
        try:
            yield
        except StoreCorruptError as error:
            if error.path is not None:
                raise
            raise StoreCorruptError(f"{self.path} is damaged: {error}; restore a backup", path=self.path) from error
        except psycopg.errors.LockNotAvailable as error:
            if not wait:
                raise EngineBusyError from error
            raise StoreError(
                f"{self.path}: another writer held the lock for more than 60 s{consequence}", path=self.path
            ) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise StoreError(
                f"{self.path}: {_said(error)}{consequence}; the guide `From one file to a cluster` lists the privileges",
                path=self.path,
            ) from error
        except psycopg.OperationalError as error:
            code = error.sqlstate or ""
            if code and not code.startswith(_GONE):
                raise StoreError(f"{self.path}: {_said(error)}{consequence}", path=self.path) from error
            self._drop_idle()
            raise StoreUnreachableError(f"{self.path}: {_said(error)}{consequence}", path=self.path) from error
        except psycopg.errors.ReadOnlySqlTransaction as error:
            self._drop_idle()
            raise StoreUnreachableError(
                f"{self.path}: {_said(error)}{consequence}; if it is a standby, target_session_attrs=read-write in the URL "
                "finds the server to write to",
                path=self.path,
            ) from error
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise StoreFormatError(f"{self.path}: {_said(error)}{consequence}", path=self.path) from error
        except psycopg.Error as error:
            raise StoreError(f"{self.path}: {_said(error)}{consequence}", path=self.path) from error

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def _directory(number: int, cid: int, digest: bytes, data: bytes) -> Directory:
    return Directory.from_bytes(data, number, cid, int.from_bytes(digest, "little"))


def _said(error: Exception) -> str:
    """The message of a psycopg error, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def library() -> Any:
    """psycopg.

    Raises:
        MissingLibraryError: when it is not installed.
    """
    try:
        importlib.import_module("psycopg.conninfo")
        return importlib.import_module("psycopg")
    except ImportError as error:
        raise MissingLibraryError(
            f"a store in PostgreSQL needs psycopg: pip install 'tstorage-model[postgres]' ({error})", library="psycopg"
        ) from error
