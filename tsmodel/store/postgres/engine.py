"""The engine behind `postgresql://`: blocks in the tables of a schema, for many writers on many machines.

Rules kept here:

* Who writes holds the row of the state from the moment in which acqs are given until its commit is durable, so commits come
  in the order of their acqs: whoever sees one sees all before it. Blocks are made and sent before that.
* Who reads has one snapshot for as long as it reads, and waits for nobody.
* A connection that is lost is replaced. When it is lost during a commit, another one finds out by the transaction's token
  whether it was committed, once the lost transaction has ended. Only where that is not possible is the commit in doubt.
* A commit is durable where the server keeps its promises: `synchronous_commit=off` is not accepted from its settings.
* Every error of psycopg leaves this module as a `StoreError` that names the database, without its password.
* Connections are not used in a forked process, which opens its own.
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
from tsmodel.store.engine import EngineBusyError, SupersededError
from tsmodel.store.postgres.options import Database
from tsmodel.store.postgres.statements import FORMAT_VERSION, Connection, PostgresTables, Schema
from tsmodel.store.tables import READ_AHEAD, Snapshot, Transaction, completed, known_blocks, missing_ids

__all__ = ["PostgresEngine", "PostgresTransaction"]

_CONNECTING: Final = 10
"""Seconds to wait for a connection, unless the URL says something else."""
_FINDING_OUT: Final = 5.0
"""Seconds in which the outcome of a commit without an answer is looked for."""
_PAUSE: Final = 0.1
_NUMBERS: Final = 32
"""Numbers of runs that are fetched at once."""
_IDS: Final = 20
"""Bits of a block's id that count within its run."""
_KEEPALIVE: Final = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
"""What finds out that the other machine is gone. The server is told the same: it may hold our lock."""
_SETTINGS: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off' UNION ALL "
    "SELECT set_config('lock_timeout', '60s', false) UNION ALL "
    "SELECT set_config('tcp_keepalives_idle', '10', false) UNION ALL "
    "SELECT set_config('tcp_keepalives_interval', '5', false) UNION ALL "
    "SELECT set_config('tcp_keepalives_count', '3', false)"
)
_GONE: Final = ("57P", "08", "53300", "25006")
"""Beginnings of the codes of errors after which another connection may do: the server ends or begins, has no connection to
spare, or has become a standby."""


class PostgresTransaction(Transaction):
    """A transaction that takes the lock when it needs it. Until then it only stages runs."""

    _tables: PostgresTables
    _keeper: PostgresEngine

    def __init__(self, engine: PostgresEngine, tables: PostgresTables, stack: ExitStack) -> None:
        super().__init__(engine, tables)
        self._stack = stack
        self._view: Snapshot | None = None
        self.is_locked = False

    @property
    def view(self) -> Snapshot:
        """A snapshot by another connection; where the lock is held, what this transaction sees."""
        if self.is_locked:
            return self
        if self._view is None:
            self._view = self._stack.enter_context(self._keeper.reading())
        return self._view

    @property
    def now(self) -> int:
        """The server's time when the lock was taken, ns since 2001."""
        return self._tables.now

    def lock(self, *, wait: bool = True) -> None:
        """Takes the lock, if this transaction does not hold it: from then on nobody else writes."""
        if not self.is_locked:
            self._state = self._tables.lock_state(wait=wait)
            self._known = None
            self._begin()
            self.is_locked = True

    def confirm(self, runs: Sequence[Directory]) -> None:
        """Takes the lock.

        Raises:
            SupersededError: when one of the runs is not what it was.
        """
        self.lock()
        present = self.table.runs
        if any(run.number not in present or present[run.number].digest != run.digest for run in runs):
            raise SupersededError

    def alone(self) -> bool:
        """Whether nobody else merges, until this transaction ends."""
        return self._tables.try_lock_merging()

    def _new_run(self, count: int) -> tuple[int, int]:  # noqa: ARG002 - there is room for any number of blocks
        number = self._keeper.next_number(self._tables)
        return number, number << _IDS

    def _add(self, directory: Directory) -> None:
        super()._add(directory)
        self._next_run = max(self._next_run, directory.number + 1)
        self._next_block = max(self._next_block, int(directory.ids[-1]) + 1)


class PostgresEngine:
    """Keeps blocks in a schema of a PostgreSQL database. May be used from several threads.

    Args:
        database: where they are.
        cache_bytes: most bytes of blocks that are kept in memory when they were read; 0 for none.

    Raises:
        MissingLibraryError: when psycopg is not installed.
        SessionError: when libpq does not understand the URL.
        StoreFormatError: when the schema holds something else, or tables of another version.
        StoreUnreachableError: when the database cannot be reached.
        StoreError: when there are no tables and they are not to be created, or there is no right to.
    """

    def __init__(self, database: Database, cache_bytes: int) -> None:
        self._psycopg = _library()
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
    def reading(self) -> Iterator[Snapshot]:
        """A snapshot, on a connection of its own."""
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        query = f"SELECT data FROM {self._schema.of('state')} WHERE one"
        with self._errors(), self._leased(f"{begin}; {query}") as (connection, cursor):
            cursor.nextset()
            row = cursor.fetchone()
            if row is None:
                raise StoreCorruptError("it has no state")
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
        cached = self.cache.scan()
        found = known_blocks(places, cached)
        with self._errors():
            state, stored = self._state_and_blocks(missing_ids(places, found))
            self._is_quiet = table.matches(state)
            if not self._is_quiet:
                return None
            return state.last_acq, list(completed(places, found, stored, cached, self))

    def _state_and_blocks(self, ids: Sequence[int]) -> tuple[State, dict[int, bytes]]:
        query = f"SELECT NULL::bigint, data FROM {self._schema.of('state')} WHERE one"
        if ids:
            query += f" UNION ALL SELECT id, data FROM {self._schema.of('blocks')} WHERE id = ANY(%b)"
        with self._leased(query, (list(ids),) if ids else None) as (_, cursor):
            stored: dict[int | None, bytes] = dict(cursor)
        state = stored.pop(None, None)
        if state is None:
            raise StoreCorruptError("it has no state")
        return State.from_bytes(state), cast("dict[int, bytes]", stored)

    @contextmanager
    def writing(self, *, wait: bool = True) -> Iterator[PostgresTransaction]:
        """A transaction that is alone in writing from the beginning."""
        with self.preparing(wait=wait) as transaction:
            transaction.lock(wait=wait)
            yield transaction

    @contextmanager
    def preparing(self, *, wait: bool = True) -> Iterator[PostgresTransaction]:
        """A transaction that may stage runs before it is alone in writing. One that never takes the lock stores nothing."""
        if self._database.read_only:
            raise StoreError(f"{self.path} was opened to be read only; nothing was stored", path=self.path)
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
        """A number for a run. Those that are fetched and not used are lost, which does no harm.

        Only the connection that fetched them may use them: a server that dies may give them again, as long as no
        transaction since was committed, and then the connection is dead, too.
        """
        numbers = self._numbers.setdefault(tables.connection, deque())
        if not numbers:
            numbers.extend(tables.numbers(_NUMBERS))
        return numbers.popleft()

    def table_of(self, tables: PostgresTables, state: State) -> Table:
        """The directories of a state: those in memory, or what changed since, or all; read and checked."""
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
        rows = tables.all_runs()
        runs = {
            number: table.runs[number]
            for number, cid, digest in rows
            if number in table.runs and table.runs[number].digest == int.from_bytes(digest, "little")
        }
        stored = tables.directories([number for number, *_ in rows if number not in runs])
        for number, cid, digest in rows:
            if number not in runs:
                runs[number] = _directory(number, cid, digest, stored.get(number, b""))
        found = Table(runs)
        if not found.matches(state):
            raise StoreCorruptError(f"found {len(runs)} runs, but the state of the store says {state.runs}")
        return self._kept(found, state)

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
        self._lock = threading.RLock()  # a store that is collected meanwhile is closed
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
            raise SessionError(f"{self.path} is not a URL that libpq takes: {_said(error)}") from error
        defaults = {"connect_timeout": _CONNECTING, **_KEEPALIVE, "fallback_application_name": "tsmodel"}
        return {name: value for name, value in defaults.items() if name not in given}

    @contextmanager
    def _leased(self, first: str, values: Sequence[Any] | None = None) -> Iterator[tuple[Connection, Any]]:
        """Leases a connection, and executes a first statement on it. It is given back if it can be used again.

        Args:
            first: the statement. It is executed again on another connection if an idle one turns out to be lost.
            values: its parameters, if any.
        """
        if self._closed:
            raise StoreError(f"the store {self.path} is closed", path=self.path)
        free = self._free
        if not free.acquire(timeout=self._database.wait):
            size = self._database.pool
            raise PoolTimeoutError(
                f"{self.path}: all {size} connections are in use, and none became free within {self._database.wait:g} s; "
                "pool=... in the URL says how many there may be",
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
                idle.close()  # the server was restarted meanwhile, or the network forgot the connection
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
                raise  # the server said so: nothing is stored
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
        """Returns when the transaction with this token was committed after all.

        Raises:
            StoreUnreachableError: when it was not.
            StoreUnansweredError: when that cannot be known yet.
        """
        until = time.monotonic() + _FINDING_OUT
        while True:
            try:
                is_committed = self._settle(token)
            except (self._psycopg.Error, StoreError) as error:
                if time.monotonic() > until:
                    raise StoreUnansweredError(
                        f"{self.path}: the connection was lost while records were committed ({_said(cause)}), and it could "
                        f"not be asked since ({_said(error)}): whether they are stored is not known",
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
        """Waits until a transaction whose commit was not answered has ended: it holds the lock until then. Returns whether
        the one with this token was committed."""
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
        """Keeps what is known of the runs after a transaction, where all are known."""
        table = None if transaction.knows_table else self._table
        if table is None or table.matches(transaction.state):
            self._kept(transaction.changed_table(table), transaction.changed_state())

    def _open(self) -> None:
        """Makes sure that there are tables of this version, or creates them."""
        with self._leased("BEGIN") as (connection, _):
            found = self._format_of(connection)
            if found is None and self._database.create and not self._database.read_only:
                self._create(connection)
                return
        if found is None:
            raise StoreError(
                f"{self.path} has no tables of tsmodel; without read_only and create=0 they would be created, and "
                "`tsmodel init` creates them",
                path=self.path,
            )
        if found != FORMAT_VERSION:
            hint = "upgrade tsmodel" if found > FORMAT_VERSION else "copy its records by a tsmodel that reads them"
            raise StoreFormatError(
                f"{self.path} has tables of version {found}, and this tsmodel reads version {FORMAT_VERSION}: {hint}",
                path=self.path,
            )

    def _format_of(self, connection: Connection) -> int | None:
        """The version of the tables; None where there are none."""
        state = self._schema.of("state")
        # Not to_regclass(): within a transaction it goes on to say that there is nothing.
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
                f"{self.path}: the schema has a table `state` of another application; choose another one with ?schema=...",
                path=self.path,
            ) from error
        if row is None:
            raise StoreCorruptError("it has no state")
        return int(row[0])

    def _create(self, connection: Connection) -> None:
        """Creates the tables, and the schema where there is none. Others may do the same at the same time."""
        name = self._schema.name
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"tsmodel init {name}",))
        if self._format_of(connection) is None:
            try:
                if connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (name,)).fetchone() is None:
                    connection.execute(f"CREATE SCHEMA {self._schema.quoted}")
                connection.execute("; ".join(self._schema.creating()))
            except self._psycopg.errors.InsufficientPrivilege as error:
                raise StoreError(
                    f"{self.path} has no tables of tsmodel, and this user may not create them ({_said(error)}): have "
                    "somebody who may run `tsmodel init` once",
                    path=self.path,
                ) from error
            row = (FORMAT_VERSION, State().to_bytes())
            connection.execute(f"INSERT INTO {self._schema.of('state')} (one, format, data) VALUES (true, %s, %b)", row)
        connection.execute("COMMIT")

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
                f"{self.path}: somebody else is writing, and did not end within 60 s{consequence}", path=self.path
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
    """What an error of psycopg says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _library() -> Any:
    try:
        importlib.import_module("psycopg.conninfo")
        return importlib.import_module("psycopg")
    except ImportError as error:
        raise MissingLibraryError(
            f"a store in PostgreSQL needs psycopg: pip install 'tstorage-model[postgres]' ({error})", library="psycopg"
        ) from error
