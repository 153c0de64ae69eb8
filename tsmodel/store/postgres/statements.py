"""The tables of a store in PostgreSQL, and the statements on them.

Rules kept here:

* A row of `blocks` holds the same bytes as a block in a file. They are already compressed, so PostgreSQL stores them out of
  line and does not compress them again.
* `runs` and `gone` record the generation of the state in which a run was added or removed. A client that knows an earlier
  generation reads only the changes.
* All changes made under the lock are sent together with the commit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias
from uuid import UUID

from tsmodel.errors import StoreCorruptError
from tsmodel.store.directory import Directory, State
from tsmodel.store.tables import Kind

__all__ = ["FORMAT_VERSION", "Connection", "PostgresTables", "Schema"]

Connection: TypeAlias = Any
"""A psycopg connection. Its own type accepts only literals as queries."""

FORMAT_VERSION: Final = 1

_LOCKED: Final = "60s"
"""How long a transaction that holds the lock may be idle, so that a suspended client does not block all others forever."""
_AT_ONCE: Final = 32
_FORGOTTEN: Final = 10_000
"""After this many generations, removed runs are forgotten. A client that was idle for longer reads all runs."""
_TIDIED: Final = 500
"""How often removed runs are purged, in generations."""


class Schema:
    """The names of the tables.

    Args:
        name: name of the schema; `options` allows only names that need no escaping.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.quoted = f'"{name}"'

    def of(self, table: str) -> str:
        """The qualified name of a table."""
        return f"{self.quoted}.{table}"

    def creating(self, *, is_shard: bool = False) -> list[str]:
        """The statements that create the tables; a shard has one more, for its place in the set."""
        shard = f"CREATE TABLE {self.of('shard')} (set_id text, number integer, count integer, set_name text)"
        return [
            # Each transaction updates its row: leave room on the page for new versions.
            (
                f"CREATE TABLE {self.of('state')} (one boolean PRIMARY KEY CHECK (one), format integer NOT NULL, "
                "data bytea NOT NULL) WITH (fillfactor = 10)"
            ),
            (
                f"CREATE TABLE {self.of('runs')} (number bigint PRIMARY KEY, cid integer NOT NULL, digest bytea NOT NULL, "
                "directory bytea NOT NULL, since bigint NOT NULL)"
            ),
            f"CREATE INDEX runs_since ON {self.of('runs')} (since)",
            f"CREATE TABLE {self.of('gone')} (since bigint NOT NULL, number bigint NOT NULL, PRIMARY KEY (since, number))",
            f"CREATE TABLE {self.of('blocks')} (id bigint PRIMARY KEY, data bytea NOT NULL)",
            f"ALTER TABLE {self.of('blocks')} ALTER COLUMN data SET STORAGE EXTERNAL",
            f"CREATE TABLE {self.of('puts')} (number bigint PRIMARY KEY, data bytea NOT NULL, token uuid)",
            f"CREATE TABLE {self.of('removals')} (number bigint PRIMARY KEY, data bytea NOT NULL, token uuid)",
            f"CREATE SEQUENCE {self.of('numbers')}",
            *([shard] if is_shard else []),
        ]


class PostgresTables:
    """The tables of a store, within one transaction."""

    at_once = _AT_ONCE

    def __init__(self, connection: Connection, schema: Schema, state: State, token: UUID | None = None) -> None:
        self.connection = connection
        self.schema = schema
        self.now = 0
        self._state = state
        self._token = token
        self._deferred: list[tuple[str, Sequence[Any]]] = []

    def read_state(self) -> State:
        return self._state

    def lock_state(self, *, wait: bool = True) -> State:
        """Locks the state until this transaction ends, and reads it. Sets `now` by the server's clock, which all writers
        share."""
        row = self._one(
            "SELECT data, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, "
            f"set_config('idle_in_transaction_session_timeout', '{_LOCKED}', true) "
            f"FROM {self.schema.of('state')} WHERE one FOR UPDATE{'' if wait else ' NOWAIT'}"
        )
        self._state = _state(row)
        self.now = (row[1] - 978_307_200_000_000) * 1000
        return self._state

    def write_state(self, state: State) -> None:
        self._defer(f"UPDATE {self.schema.of('state')} SET data = %b WHERE one", state.to_bytes())
        if state.generation % _TIDIED == 0:
            self._defer(f"DELETE FROM {self.schema.of('gone')} WHERE since < %b", state.generation - _FORGOTTEN)

    def fetch_blocks(self, ids: Sequence[int]) -> dict[int, bytes]:
        self.flush()
        with self.connection.cursor(binary=True) as cursor:
            cursor.execute(f"SELECT id, data FROM {self.schema.of('blocks')} WHERE id = ANY(%b)", (list(ids),))
            return dict(cursor.fetchall())

    def add_blocks(self, first: int, stored: Sequence[bytes]) -> None:
        if len(stored) == 1:
            self._defer(f"INSERT INTO {self.schema.of('blocks')} (id, data) VALUES (%b, %b)", first, stored[0])
            return
        self.flush()
        with (
            self.connection.cursor() as cursor,
            cursor.copy(f"COPY {self.schema.of('blocks')} (id, data) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(["int8", "bytea"])
            for row in enumerate(stored, first):
                copy.write_row(row)

    def put_block(self, number: int, data: bytes) -> None:
        self._defer(f"UPDATE {self.schema.of('blocks')} SET data = %b WHERE id = %b", data, number)
        self.flush()

    def drop_blocks(self, first: int, last: int) -> None:
        self._defer(f"DELETE FROM {self.schema.of('blocks')} WHERE id BETWEEN %b AND %b", first, last)

    def move_blocks(self, staged: Sequence[int], numbers: Sequence[int]) -> None:
        """Replaces blocks by staged ones: changes ids, without moving the bytes."""
        blocks = self.schema.of("blocks")
        self._defer(f"DELETE FROM {blocks} WHERE id = ANY(%b)", list(numbers))
        self._defer(
            f"UPDATE {blocks} SET id = moved.number FROM unnest(%b::bigint[], %b::bigint[]) AS moved (staged, number) "
            f"WHERE id = moved.staged",
            list(staged),
            list(numbers),
        )

    def drop_some(self, numbers: Sequence[int]) -> None:
        """Deletes blocks."""
        self._defer(f"DELETE FROM {self.schema.of('blocks')} WHERE id = ANY(%b)", list(numbers))

    def add_run(self, directory: Directory, generation: int) -> None:
        self._defer(
            f"INSERT INTO {self.schema.of('runs')} (number, cid, digest, directory, since) VALUES (%b, %b, %b, %b, %b)",
            directory.number,
            directory.cid,
            directory.digest.to_bytes(16, "little"),
            directory.to_bytes(),
            generation,
        )

    def put_run(self, directory: Directory, generation: int) -> None:
        self._defer(
            f"UPDATE {self.schema.of('runs')} SET digest = %b, directory = %b, since = %b WHERE number = %b",
            directory.digest.to_bytes(16, "little"),
            directory.to_bytes(),
            generation,
            directory.number,
        )

    def drop_run(self, number: int, generation: int) -> None:
        self._defer(f"DELETE FROM {self.schema.of('runs')} WHERE number = %b", number)
        self._defer(f"INSERT INTO {self.schema.of('gone')} (since, number) VALUES (%b, %b)", generation, number)

    def entries(self, kind: Kind[Any]) -> Iterator[tuple[Any, Any]]:
        """See `Tables.entries`. Reads 10,000 at a time."""
        self.flush()
        last = -1
        query = f"SELECT number, data FROM {self.schema.of(kind.table)} WHERE number > %b ORDER BY number LIMIT 10000"
        while rows := self._all(query, last):
            yield from rows
            last = rows[-1][0]

    def add_entry(self, kind: Kind[Any], number: int, data: bytes) -> None:
        insert = f"INSERT INTO {self.schema.of(kind.table)} (number, data, token) VALUES (%b, %b, %b)"
        self._defer(insert, number, data, self._token)

    def put_entry(self, kind: Kind[Any], number: int, data: bytes) -> None:
        self._defer(f"UPDATE {self.schema.of(kind.table)} SET data = %b WHERE number = %b", data, number)

    def has_token(self, token: UUID) -> bool:
        """Whether the transaction with this token was committed."""
        tables = " UNION ALL ".join(
            f"SELECT 1 FROM {self.schema.of(name)} WHERE token = %b" for name in ("puts", "removals")
        )
        return bool(self._all(tables, token, token))

    def sizes(self) -> tuple[int, int]:
        """Size of all tables and their indexes. Free space is reported as 0: only tools of PostgreSQL can find it."""
        names = ("state", "runs", "gone", "blocks", "puts", "removals")
        row = self._one("SELECT " + " + ".join(f"pg_total_relation_size('{self.schema.of(name)}')" for name in names))
        return int(row[0]), 0

    def changes(self, since: int) -> tuple[list[int], list[tuple[int, int, bytes, bytes]]]:
        """The changes since a generation: numbers of removed runs, and rows of added ones."""
        gone = self._all(f"SELECT number FROM {self.schema.of('gone')} WHERE since > %b", since)
        query = f"SELECT number, cid, digest, directory FROM {self.schema.of('runs')} WHERE since > %b"
        return [number for (number,) in gone], self._all(query, since)

    def all_runs(self) -> list[tuple[int, int, bytes]]:
        """Number, cid, and digest of each run."""
        return self._all(f"SELECT number, cid, digest FROM {self.schema.of('runs')}")

    def run_rows(self) -> dict[int, tuple[int, bytes, bytes]]:
        """cid, digest, and directory of each run, by its number."""
        query = f"SELECT number, cid, digest, directory FROM {self.schema.of('runs')}"
        return {number: (cid, digest, directory) for number, cid, digest, directory in self._all(query)}

    def block_ids(self) -> list[int]:
        """The ids of all blocks."""
        return [number for (number,) in self._all(f"SELECT id FROM {self.schema.of('blocks')} ORDER BY id")]

    def directories(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """The directories of some runs."""
        query = f"SELECT number, directory FROM {self.schema.of('runs')} WHERE number = ANY(%b)"
        found: dict[int, bytes] = {}
        for at in range(0, len(numbers), 1000):
            found |= dict(self._all(query, list(numbers[at : at + 1000])))
        return found

    def numbers(self, count: int) -> list[int]:
        """New run numbers, never given to anyone else."""
        query = f"SELECT nextval('{self.schema.of('numbers')}') FROM generate_series(1, %b)"
        return [number for (number,) in self._all(query, count)]

    def try_lock_merging(self) -> bool:
        """Takes the merge lock until this transaction ends. Returns False if another client holds it."""
        query = "SELECT pg_try_advisory_xact_lock(hashtextextended(%b, 0))"
        return bool(self._one(query, f"tsmodel merging {self.schema.quoted}")[0])

    def flush(self) -> None:
        """Sends deferred statements."""
        deferred, self._deferred = self._deferred, []
        if len(deferred) == 1:
            self.connection.execute(*deferred[0])
        elif deferred:
            with self.connection.pipeline():
                for statement, values in deferred:
                    self.connection.execute(statement, values)

    def commit(self) -> str:
        """Sends deferred statements and commits. Returns the status message of the commit."""
        deferred, self._deferred = self._deferred, []
        with self.connection.pipeline():
            for statement, values in deferred:
                self.connection.execute(statement, values)
            cursor = self.connection.execute("COMMIT")
        return cursor.statusmessage or ""

    def _defer(self, statement: str, *values: Any) -> None:
        self._deferred.append((statement, values))

    def _one(self, query: str, *values: Any) -> Any:
        rows = self._all(query, *values)
        if not rows:
            raise StoreCorruptError("the store has no state")
        return rows[0]

    def _all(self, query: str, *values: Any) -> list[Any]:
        self.flush()
        with self.connection.cursor(binary=True) as cursor:
            cursor.execute(query, values or None)
            rows: list[Any] = cursor.fetchall()
        return rows


def _state(row: Any) -> State:
    return State.from_bytes(row[0])
