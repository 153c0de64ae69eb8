"""A store in PostgreSQL: opening it, refusals, lost connections and concurrent writers."""

from __future__ import annotations

import importlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.batches import batches, scanned
from support.forks import in_child
from support.postgres import Server, database, needed, server
from support.proxy import Cut, proxied

from tsmodel import Int32, Retry, TSModel, connect
from tsmodel.cli import main
from tsmodel.errors import (
    CheckpointError,
    MissingLibraryError,
    PoolTimeoutError,
    SessionError,
    StoreCorruptError,
    StoreError,
    StoreFormatError,
    StoreUnansweredError,
    StoreUnreachableError,
    WriteError,
)
from tsmodel.keys import KeyRange
from tsmodel.server import serve_in_thread
from tsmodel.session.connecting import open_backend
from tsmodel.store.blocks import NO_BASE
from tsmodel.store.maintenance import compact, info_of, verify_store
from tsmodel.store.merging import MergePolicy
from tsmodel.store.postgres import PostgresStore, engine
from tsmodel.store.postgres.database import database_of
from tsmodel.store.postgres.engine import PostgresEngine
from tsmodel.store.postgres.statements import PostgresTables

pytestmark = list(needed)


class Reading(TSModel, moid=1):
    counter: Int32


@pytest.fixture
def url() -> Iterator[str]:
    with database() as found:
        yield found


def schema_in(url: str) -> str:
    return url.partition("schema=")[2].partition("&")[0]


def opened(url: str, **policy: int) -> PostgresStore:
    return PostgresStore(PostgresEngine(database_of(url), 2**20), policy=MergePolicy(**policy))


def put(store: Any, number: int, count: int = 3) -> Any:
    return store.append(batches([(1, number, 0, n, b"%d" % number) for n in range(count)]))


def mids(store: Any) -> list[int]:
    return sorted({row[1] for row in scanned(store)})


def test_tables_are_created_once(url: str) -> None:
    with closing(open_backend(url)) as store:
        given = put(store, 1)
    with closing(open_backend(url)) as store:
        assert mids(store) == [1]
        assert put(store, 2).acq_min > given.acq_max


def test_tables_are_created_concurrently(url: str) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with closing(open_backend(url)) as store:
                put(store, number)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with closing(open_backend(url)) as store:
        assert mids(store) == [0, 1, 2, 3]


def test_missing_tables_are_not_created(url: str) -> None:
    for options in ({"create": False}, {"read_only": True}):
        with pytest.raises(StoreError, match="has no tables of tsmodel.*`tsmodel init`"):
            connect(url, **options)  # type: ignore[arg-type]


def test_read_only_store(url: str) -> None:
    with connect(url) as session:
        session.add(Reading(cid=1, mid=1, cap=1, counter=1))
    with connect(f"{url}&read_only=1") as session:
        assert session.query(Reading).count() == 1
        session.add(Reading(cid=1, mid=1, cap=2, counter=1))
        with pytest.raises(WriteError, match="opened read-only"):
            session.flush()
        session.discard()


def test_foreign_tables_are_refused(url: str) -> None:
    schema = schema_in(url)
    server().execute(f"CREATE SCHEMA {schema}", f"CREATE TABLE {schema}.state (name text)")
    with pytest.raises(StoreFormatError, match="another application"):
        connect(url)


@pytest.mark.parametrize(("version", "hint"), [(99, "upgrade tsmodel"), (0, "copy its records")])
def test_other_versions_are_refused(url: str, version: int, hint: str) -> None:
    connect(url).close()
    server().execute(f"UPDATE {schema_in(url)}.state SET format = {version}")
    with pytest.raises(StoreFormatError, match=f"version {version}.*{hint}"):
        connect(url)


def test_user_without_privileges(url: str) -> None:
    schema = schema_in(url)
    role = f"r{schema}"
    server().execute(f"CREATE ROLE {role} LOGIN")
    theirs = url.replace("postgres@", f"{role}@")
    try:
        with pytest.raises(StoreError, match="may not create them.*`tsmodel init` once"):
            connect(theirs)
        connect(url).close()
        with pytest.raises(StoreError, match="permission denied.*privileges"):
            connect(theirs)
        server().execute(
            f"GRANT USAGE ON SCHEMA {schema} TO {role}", f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}"
        )
        with connect(theirs) as session:
            assert session.query(Reading).count() == 0
            session.add(Reading(cid=1, mid=1, cap=1, counter=1))
            with pytest.raises(WriteError, match="permission denied"):
                session.flush()
            assert len(session.pending) == 1
            server().execute(
                f"GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
                f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
            )
            assert session.flush().count == 1
    finally:
        server().execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_missing_database(url: str) -> None:
    with pytest.raises(StoreUnreachableError, match="database .* does not exist"):
        connect(url.replace("/postgres?", "/elsewhere?"))
    with pytest.raises(StoreUnreachableError, match="refused"):
        connect("postgresql://postgres:secret@127.0.0.1:1/postgres")


def test_passwords_are_hidden(url: str) -> None:
    with pytest.raises(StoreUnreachableError) as caught:
        connect("postgresql://postgres:geheim@127.0.0.1:1/postgres?sslpassword=geheim")
    assert "geheim" not in f"{caught.value} {caught.value.path}"
    secret = url.replace("postgres@", "postgres:geheim@")
    with connect(secret) as session:
        assert "geheim" not in repr(session) + session.name
    assert "geheim" not in repr(database_of(secret))
    with pytest.raises(SessionError) as refused:
        connect(f"{secret}&pool=none")
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ("schema=", "schema=''"),
        ("schema=pg_x", "pg_x"),
        ('schema=a"b', "letters, digits"),
        ("pool=0", "number of connections"),
        ("pool_timeout=-1", "number of seconds"),
        ("read_only=yes", "1 for yes"),
        ("create=0&create=1", "repeated"),
        ("colour=red", "libpq"),
    ],
)
def test_invalid_options(options: str, what: str) -> None:
    with pytest.raises(SessionError, match=what):
        connect(f"postgresql://postgres@127.0.0.1:1/postgres?{options}")


def test_without_psycopg(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingLibraryError, match=r"tstorage-model\[postgres\]"):
        connect(url)


def test_pool_limits_connections(url: str) -> None:
    with closing(open_backend(f"{url}&pool=1&pool_timeout=0.05")) as store:
        put(store, 1)
        put(store, 2)
        with (
            store.engine.reading(),
            pytest.raises(PoolTimeoutError, match="all 1 connections are in use"),
        ):
            put(store, 3)
        assert mids(store) == [1, 2]
        with store.scan(KeyRange()) as scan:
            next(scan)
            put(store, 4)
        assert mids(store) == [1, 2, 4]


def test_small_read_takes_one_statement_if_nothing_changed(url: str) -> None:
    with closing(opened(url, fan_in=1000)) as store, closing(opened(url)) as other:
        put(store, 1)
        everything = KeyRange()
        assert mids(store) == [1]
        found = store.engine.glimpse(everything)
        assert found is not None
        acq, blocks = found
        assert [set(block.key("mid").tolist()) for block in blocks] == [{1}]
        assert acq + 1 == store.last_acq(everything)
        put(other, 2)
        assert store.engine.glimpse(everything) is None
        assert mids(store) == [1, 2]
        assert mids(store) == [1, 2]
        assert store.engine.glimpse(everything) is not None
        for number in range(3, 3 + PostgresTables.at_once):
            put(store, number)
        assert store.engine.glimpse(everything) is None
        assert len(mids(store)) == 2 + PostgresTables.at_once


def test_small_puts_are_merged_into_large_runs(url: str) -> None:
    with closing(opened(url, fan_in=4)) as store:
        for number in range(64):
            put(store, number)
        with store.engine.reading() as snapshot:
            runs = list(snapshot.table.runs.values())
        assert len(runs) < 16
        assert mids(store) == list(range(64))
        assert {run.base == NO_BASE for run in runs} >= {True}
    with closing(opened(url)) as store:
        assert mids(store) == list(range(64))


def test_reader_sees_a_snapshot(url: str) -> None:
    with closing(opened(url, fan_in=2)) as store:
        put(store, 0)
        with store.scan(KeyRange()) as scan:
            first = next(scan)
            for number in range(1, 40):
                put(store, number)
            store.remove([KeyRange()])
            assert len(first) + sum(map(len, scan)) == 3
        assert mids(store) == []


def test_idle_store_catches_up_by_changes_or_a_full_read(url: str) -> None:
    with closing(opened(url)) as one, closing(opened(url)) as other:
        assert mids(other) == []
        for number in range(20):
            put(one, number)
            if number % 6 == 0:
                assert mids(other) == list(range(number + 1))
        one.remove([KeyRange.of(mid=(0, 5))])
        assert mids(other) == list(range(5, 20))
        server().execute(f"DELETE FROM {schema_in(url)}.gone")  # as if the other store had been idle for very long
        put(one, 100)
        one.remove([KeyRange.of(mid=(0, 10))])
        server().execute(f"DELETE FROM {schema_in(url)}.gone")
        assert mids(other) == [*range(10, 20), 100]


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("DELETE FROM {}.blocks", "is missing"),
        ("UPDATE {}.blocks SET data = set_byte(data, 5, get_byte(data, 5) # 1)", "checksum"),
        ("DELETE FROM {}.runs WHERE number = (SELECT min(number) FROM {}.runs)", "runs, but the state"),
        ("UPDATE {}.runs SET directory = set_byte(directory, 50, get_byte(directory, 50) # 1)", "checksum"),
        ("UPDATE {}.state SET data = set_byte(data, 20, 1)", "state"),
    ],
)
def test_damage_is_detected(url: str, statement: str, what: str) -> None:
    with closing(open_backend(url)) as store:
        for number in range(3):
            put(store, number)
    server().execute(statement.replace("{}", schema_in(url)))
    with closing(open_backend(url)) as store:
        with pytest.raises(StoreCorruptError, match=what):
            scanned(store)
        assert isinstance(store, PostgresStore)
        if not statement.startswith("UPDATE {}.state"):
            assert not verify_store(store).is_whole


def test_lost_connections_are_replaced(url: str) -> None:
    with closing(open_backend(url)) as store:
        put(store, 1)
        name = "tsmodel"
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'"
        server().execute(end)
        put(store, 2)
        server().execute(end)
        assert mids(store) == [1, 2]


def test_sequence_numbers_repeated_after_a_crash_are_harmless(url: str) -> None:
    """After a crash, PostgreSQL remembers a sequence only up to the last committed transaction."""
    own = Server()
    try:
        with closing(open_backend(own.url)) as store, closing(open_backend(own.url)) as other:
            put(store, 1)
            with pytest.raises(RuntimeError), other.engine.preparing() as transaction:  # type: ignore[attr-defined]
                for _ in range(40):
                    other.engine.next_number(transaction.tables)  # type: ignore[attr-defined]
                raise RuntimeError
            own.kill()
            own.start()
            put(store, 2)
            for number in range(40):
                put(other, 100 + number)
            put(store, 3)
            assert len(scanned(store)) == 3 * 43
    finally:
        own.close()


@pytest.mark.parametrize("is_committed", [True, False])
def test_commit_without_an_answer(url: str, is_committed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another connection immediately finds out whether it succeeded."""
    with closing(open_backend(url)) as store:
        put(store, 1)
        cut_commit(monkeypatch, before=not is_committed)
        if is_committed:
            put(store, 2)
        else:
            with pytest.raises(StoreUnreachableError, match="lost before the commit.*nothing was stored"):
                put(store, 2)
        monkeypatch.undo()
        assert mids(store) == ([1, 2] if is_committed else [1])
        put(store, 3)


def cut_commit(monkeypatch: pytest.MonkeyPatch, *, before: bool) -> None:
    """Loses the connection before or after the server commits."""
    from tsmodel.store.postgres.statements import PostgresTables

    commit = PostgresTables.commit

    def cut(tables: PostgresTables) -> str:
        import psycopg

        if not before:
            commit(tables)
        tables.connection.close()
        raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(PostgresTables, "commit", cut)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("how", ["raise", "check"])
def test_commit_in_doubt(url: str, before: bool, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is also unreachable when the store checks the outcome."""
    monkeypatch.setattr(engine, "_FINDING_OUT", 0.0)
    with connect(url, retry=Retry(on_unknown=how, first="50ms")) as session:  # type: ignore[arg-type]
        session.query(Reading).all()
        with monkeypatch.context() as patch:
            cut_commit(patch, before=before)
            settle = PostgresEngine._settle
            tries = iter([True, True])

            def refused(self: PostgresEngine, token: Any = None) -> bool:
                if next(tries, False):
                    raise StoreUnreachableError("unreachable")
                patch.undo()
                return settle(self, token)

            patch.setattr(PostgresEngine, "_settle", refused)
            session.add_all([Reading(cid=1, mid=n, cap=1, counter=n) for n in range(3)])
            if how == "check":
                assert session.flush().count == 3
            else:
                with pytest.raises(WriteError) as caught:
                    session.flush()
                assert isinstance(caught.value.__cause__, StoreUnansweredError)
                assert len(caught.value.unknown) == 3
        assert session.query(Reading).count() == (0 if before and how == "raise" else 3)
        session.discard()


def test_connection_cut_at_any_byte(url: str) -> None:
    """No put is stored twice or in part, and acknowledged puts are stored."""
    found = server()
    with proxied("127.0.0.1", found.port) as proxy, closing(open_backend(url)) as direct:
        put(direct, 0)
        through = url.replace(str(found.port), str(proxy.address[1])).replace("?", "?connect_timeout=2&")
        said: dict[int, bool] = {}
        for number, cut in enumerate(range(200, 4000, 190), 1):
            proxy.cuts = [Cut(to_server=cut) if number % 2 else Cut(from_server=cut)]
            try:
                with closing(open_backend(through)) as store:
                    put(store, number)
                said[number] = True
            except StoreUnreachableError:
                said[number] = False
        assert {True, False} <= set(said.values())
        assert mids(direct) == [0, *(number for number, stored in said.items() if stored)]
        assert len(scanned(direct)) == 3 * len(mids(direct))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_forked_process_opens_its_own_connections(url: str) -> None:
    with closing(open_backend(url)) as store:
        put(store, 1)

        def child() -> None:
            put(store, 2)
            assert mids(store) == [1, 2]

        assert in_child(child) == "None"
        put(store, 3)
        assert mids(store) == [1, 2, 3]


def test_info_verify_and_compact(url: str) -> None:
    with closing(opened(url)) as store:
        for number in range(100):
            put(store, number)
        store.append(batches([(2, 5, 0, n, 7, b"a") for n in range(5)], with_acq=True), with_acq=True)
        store.remove([KeyRange.of(mid=(3, 5))])
        before = scanned(store)
        assert len(before) == 98 * 3 + 5
        stats = info_of(store)
        assert (stats.records, stats.series, stats.puts, stats.removals) == (len(before), 99, 101, 1)
        assert stats.file_bytes > stats.stored > 0
        seen: list[tuple[int, int]] = []
        found = verify_store(store, lambda done, total: seen.append((done, total)))
        assert found.is_whole, str(found)
        assert (found.records, found.ahead) == (len(before), 0)
        assert seen[-1][0] == seen[-1][1] > 0
        done = compact(store)
        assert done.runs_after == 2 < done.runs_before
        assert scanned(store) == before
        assert verify_store(store).is_whole
        assert store.undo([store.puts()[7].id, store.puts()[100].id]) == 8
        assert verify_store(store).is_whole


def test_changes_during_merging_and_compaction_are_kept(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that change while they are merged keep the changes."""
    with closing(opened(url, fan_in=1000)) as store, closing(opened(url, fan_in=4)) as other:
        for number in range(20):
            put(store, number)
        confirm = engine.PostgresTransaction.confirm
        gone = iter(range(20))
        removing: list[int] = []

        def late(transaction: Any, runs: Any) -> None:
            if not transaction.is_locked and not removing and (mid := next(gone, 20)) < 3:
                removing.append(mid)
                store.remove([KeyRange.of(mid=(mid, mid + 1))])
                removing.clear()
            confirm(transaction, runs)

        monkeypatch.setattr(engine.PostgresTransaction, "confirm", late)
        other.tend()
        assert mids(other) == list(range(1, 20))
        compact(other)
        assert next(gone, 20) > 3
        assert mids(store) == list(range(3, 20))
        with other.engine.reading() as snapshot:
            assert len(snapshot.table.runs) == 1
        assert verify_store(other).is_whole


def test_removal_does_not_block_writers_while_it_reads(url: str) -> None:
    with closing(opened(url)) as store, closing(opened(url)) as other:
        for number in range(4):
            put(store, number)
        written = iter([4, 5])

        def is_wanted(chunk: Any) -> Any:
            if (number := next(written, None)) is not None:
                put(other, number)
            return chunk.key("mid") % 2 == 1

        box = KeyRange.of(cid=(1, 2))
        assert store.remove([box], is_wanted) == 9  # 1, 3 and 5; 5 was put during the removal
        assert mids(store) == [0, 2, 4]
        assert [removal.count for removal in store.removals()] == [9]
        assert verify_store(store).is_whole


@pytest.mark.parametrize("times", [1, 9])
def test_removal_is_retried_if_its_runs_change(url: str, times: int) -> None:
    with closing(opened(url)) as store, closing(opened(url)) as other:
        for number in range(12):
            put(store, number)
        left = iter(range(times))
        waiting: list[threading.Thread] = []

        def is_wanted(chunk: Any) -> Any:
            if (number := next(left, None)) is not None:
                change = threading.Thread(target=other.remove, args=([KeyRange.of(mid=(number, number + 1))],))
                change.start()
                change.join(0.5)  # waits if the lock is held
                waiting.append(change)
            return chunk.key("mid") % 2 == 1

        removed = store.remove([KeyRange.of(cid=(1, 2))], is_wanted)
        for change in waiting:
            change.join()
        assert removed > 0
        assert sum(removal.count for removal in store.removals()) == 36 - len(scanned(store))
        assert mids(store) == [number for number in range(0, 12, 2) if number >= times]
        assert verify_store(store).is_whole


def test_removals_beside_many_writers(url: str) -> None:
    with closing(opened(url, fan_in=2)) as store, closing(opened(url, fan_in=2)) as other:
        failed: list[Exception] = []

        def attempt(work: Any, *arguments: Any) -> None:
            try:
                work(*arguments)
            except Exception as error:  # noqa: BLE001 - asserted on below
                failed.append(error)

        def write(first: int) -> None:
            for number in range(first, 60, 3):
                put(store if number % 2 else other, number)

        removed: list[int] = []

        def remove(by: Any, remainder: int) -> None:
            for _ in range(8):
                removed.append(by.remove([KeyRange.of(cid=(1, 2))], lambda chunk: chunk.key("mid") % 4 == remainder))

        threads = [threading.Thread(target=attempt, args=(write, first)) for first in range(3)]
        threads += [threading.Thread(target=attempt, args=(remove, by, at)) for at, by in enumerate((store, other))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        undone = [each.id for each in store.puts()[:5]]
        removed.append(store.undo(undone))
        for at in (0, 1):
            removed.append(other.remove([KeyRange.of(cid=(1, 2))], lambda chunk, at=at: chunk.key("mid") % 4 == at))  # type: ignore[misc]
        assert sum(removed) + len(scanned(store)) == 180
        assert all(mid % 4 > 1 for mid in mids(store))
        assert sum(removal.count for removal in store.removals()) == sum(removed)
        assert verify_store(other).is_whole


def test_server_on_postgres(url: str) -> None:
    with serve_in_thread(url) as (host, port), connect(f"tstorage://{host}:{port}?timeout=20") as session:
        session.add_all([Reading(cid=1, mid=n, cap=1, counter=n) for n in range(3)])
        assert session.flush().count == 3
        assert session.query(Reading).count() == 3
    with connect(url) as session:
        assert session.query(Reading).count() == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["info"], "records           0"),
        (["verify"], "0 records in 0 blocks of 0 runs"),
        (["compact"], "0 runs now"),
        (["doctor"], "has tables of tsmodel"),
    ],
)
def test_commands(url: str, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    secret = url.replace("postgres@", "postgres:geheim@")
    assert main([*arguments, secret]) == 1
    assert "`tsmodel init`" in "".join(capsys.readouterr())
    assert main(["init", secret]) == 0
    assert main(["init", secret]) == 0
    assert main([*arguments, secret]) == 0
    said = "".join(capsys.readouterr())
    assert expected in said
    assert "geheim" not in said


def test_undo_command(url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    secret = url.replace("postgres@", "postgres:geheim@")
    (tmp_path / "kept.py").write_text(
        "from tsmodel import Int32, TSModel\nclass Reading(TSModel, moid=1, retention='1s'):\n    counter: Int32\n"
    )
    with connect(secret) as session:
        session.add(Reading(cid=1, mid=1, cap=1, counter=1))
        session.flush("the first")
        session.add_all(Reading(cid=1, mid=2, cap=cap, counter=1) for cap in (1, 2))
    assert main(["undo", secret, "--list", "--json"]) == 0
    first, last = json.loads(capsys.readouterr().out)
    assert (first["note"], first["records"], last["records"]) == ("the first", 1, 2)
    assert main(["undo", secret, "99"]) == 2
    assert main(["undo", secret, str(first["put"])]) == 0
    said = capsys.readouterr()
    assert "has no put 99; `tsmodel undo" in said.err
    assert said.out == "removed 1 record\n"
    assert main(["prune", secret, "--model", str(tmp_path / "kept.py"), "--dry-run"]) == 0
    assert main(["prune", secret, "--model", str(tmp_path / "kept.py")]) == 0
    done = capsys.readouterr()
    assert done.out == "would remove 2 records\nremoved 2 records\n"
    assert "geheim" not in said.err + done.err
    with connect(url) as session:
        assert session.query(Reading).count() == 0


def test_checkpoints_are_bound_to_the_schema(url: str, tmp_path: Path) -> None:
    with database() as other, connect(url) as one, connect(other) as two, connect("memory:") as target:
        one.add(Reading(cid=1, mid=1, cap=1, counter=1))
        one.flush()
        assert one.copy(KeyRange(), to=target, checkpoint=tmp_path / "copy").records == 1
        with pytest.raises(CheckpointError, match="schema="):
            two.copy(KeyRange(), to=target, checkpoint=tmp_path / "copy")


def test_commands_for_files_only(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup", url, "copy.tsdb"]) == 2
    assert "pg_dump" in capsys.readouterr().err
