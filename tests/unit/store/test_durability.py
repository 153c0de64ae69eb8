"""Durability: failed commits, replaced or deleted files, copies, closing, read-only access and journals."""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.batches import batches, scanned

from tsmodel import Int16, TSModel, connect
from tsmodel.errors import SessionError, StoreCorruptError, StoreError, StoreInDoubtError, WriteError
from tsmodel.keys import KeyRange
from tsmodel.store import EmbeddedStore, info, open_store, recover, verify
from tsmodel.store import sqlite as engine
from tsmodel.store.convert import convert
from tsmodel.store.sqlite import SQLiteEngine


class Reading(TSModel):
    counter: Int16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.tsdb"


def put(store: EmbeddedStore, first: int, count: int = 10) -> None:
    store.append(batches([(1, n, 0, n, b"%06d" % n) for n in range(first, first + count)]))


def mids(store: EmbeddedStore) -> list[int]:
    return [row[1] for row in scanned(store)]


class FailingCommit:
    """A connection whose next commit fails, either after committing or instead of it."""

    def __init__(self, connection: sqlite3.Connection, *, commits: bool) -> None:
        self._connection = connection
        self._commits = commits
        self.armed = True

    def execute(self, statement: str, *given: Any) -> sqlite3.Cursor:
        if statement == "COMMIT" and self.armed:
            self.armed = False
            if self._commits:
                self._connection.execute("COMMIT")
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(statement, *given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def fail_next_commit(store: EmbeddedStore, *, commits: bool) -> None:
    store._engine._writer = FailingCommit(store._engine._writer, commits=commits)


@pytest.mark.parametrize("commits", [True, False])
def test_failed_commit_is_in_doubt(path: Path, commits: bool) -> None:
    store = open_store(path)
    put(store, 0)
    fail_next_commit(store, commits=commits)
    with pytest.raises(StoreInDoubtError, match=r"disk I/O error.*open it again") as caught:
        put(store, 10)
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    for refused in (lambda: put(store, 20), lambda: scanned(store), lambda: store.last_acq(KeyRange())):
        with pytest.raises(StoreError, match="close the store and open it again"):
            refused()
    store.close()
    with closing(open_store(path)) as store:
        assert mids(store) == list(range(20 if commits else 10))
        put(store, 20)
        assert len(mids(store)) == (30 if commits else 20)


@pytest.mark.parametrize("commits", [True, False])
def test_session_keeps_in_doubt_records_apart(path: Path, commits: bool) -> None:
    session = connect(path)
    session.add(Reading(cid=1, mid=1, moid=1, cap=1, counter=1))
    fail_next_commit(session.backend, commits=commits)
    with pytest.raises(WriteError) as caught:
        session.flush()
    assert (caught.value.stored, len(caught.value.not_stored), len(caught.value.unknown)) == (0, 0, 1)
    with pytest.raises(WriteError) as again:
        session.flush()
    assert len(again.value.unknown) == 1
    assert session.discard(in_doubt_only=True)
    session.close()
    with connect(path) as session:
        assert session.query(Reading).count() == commits


def deleted(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    copy = path.with_name("other")
    shutil.copy(path, copy)
    copy.replace(path)


def without_journal(path: Path) -> None:
    Path(f"{path}-wal").unlink()


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot remove an open file")
@pytest.mark.parametrize("change", [deleted, replaced, without_journal])
def test_no_put_is_acknowledged_after_the_file_is_replaced(path: Path, change: Callable[[Path], None]) -> None:
    store = open_store(path)
    put(store, 0)
    change(path)
    with pytest.raises(StoreError, match=r"(deleted|replaced).*while it was open; nothing was stored by this call"):
        put(store, 10)
    store.close()
    if change is without_journal:  # this process still has the journal's contents in memory
        with closing(open_store(path)) as store:
            assert mids(store) == list(range(10))


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot remove an open file")
@pytest.mark.parametrize("change", [deleted, replaced, without_journal])
def test_put_is_in_doubt_if_the_file_disappears_during_it(
    path: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(path)
    put(store, 0)
    add = EmbeddedStore._add
    monkeypatch.setattr(EmbeddedStore, "_add", lambda *given: (change(path), add(*given))[1])
    with pytest.raises(StoreInDoubtError, match="while it was open"):
        put(store, 10)
    monkeypatch.undo()
    with pytest.raises(StoreError, match="open it again"):
        put(store, 20)
    store.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot remove an open file")
def test_reading_does_not_recreate_a_deleted_file(path: Path) -> None:
    store = open_store(path)
    put(store, 0)
    path.unlink()
    with pytest.raises(StoreError):
        scanned(store)
    assert not path.exists()
    store.close()


def test_copy_of_an_open_store_is_refused(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.tsdb"
    with closing(open_store(path)) as store:
        put(store, 0)
        shutil.copy(path, copy)
        for options in ({}, {"read_only": True}):
            with pytest.raises(StoreCorruptError, match=r"copied while it was open.*backup.*convert"):
                open_store(copy, **options)
        assert sorted(each.name for each in tmp_path.glob("copy*")) == ["copy.tsdb"]
        for end in ("", "-wal"):
            shutil.copy(f"{path}{end}", f"{copy}{end}")
        with closing(open_store(copy)) as copied:
            assert mids(copied) == list(range(10))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["copy.tsdb", "store.tsdb"]
    shutil.copy(path, copy)
    with closing(open_store(copy)) as copied:
        assert mids(copied) == list(range(10))


def test_convert_rescues_a_copy_of_an_open_store(path: Path, tmp_path: Path) -> None:
    copy, new = tmp_path / "copy.tsdb", tmp_path / "new.tsdb"
    with closing(open_store(path)) as store:
        put(store, 0)
    with closing(open_store(path)) as store:
        put(store, 10)
        shutil.copy(path, copy)
    assert convert(copy, new) == 10
    with closing(open_store(new)) as store:
        assert mids(store) == list(range(10))
    with pytest.raises(StoreError, match="exists"):
        convert(copy, new)


def test_last_store_to_close_marks_the_file_closed(path: Path) -> None:
    first, second = open_store(path), open_store(path)
    put(first, 0)
    first.close()
    assert path.read_bytes()[18] == 2
    assert Path(f"{path}-wal").exists()
    put(second, 10)
    second.close()
    assert path.read_bytes()[18] == 1
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("refusals", [1, 2, 100])
def test_two_stores_close_a_file_at_the_same_time(path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int) -> None:
    said, calls = engine._said_closed, []

    def refused(connection: sqlite3.Connection) -> bool:
        calls.append(1)
        return said(connection) if len(calls) > refusals else False

    store = open_store(path)
    put(store, 0)
    monkeypatch.setattr(engine, "_said_closed", refused)
    store.close()
    monkeypatch.undo()
    assert not Path(f"{path}-wal").exists()
    for options in ({"read_only": True}, {}):
        with closing(open_store(path, **options)) as store:
            assert mids(store) == list(range(10))
    assert [each.name for each in path.parent.iterdir()] == [path.name]


UNCLOSED = """
import sys
from support.batches import batches, scanned
from tsmodel.keys import KeyRange
from tsmodel.store import open_store

store = open_store(sys.argv[1])
store.append(batches([(1, 1, 0, 0, b"one")]))
if sys.argv[2] == "reading":
    scan = iter(store.scan(KeyRange()))
    next(scan)
elif sys.argv[2] == "thread":
    import threading
    writing = store.engine.writing()
    threading.Thread(target=writing.__enter__).start()
elif sys.argv[2] == "error":
    raise SystemExit(3)
"""


@pytest.mark.parametrize("how", ["plain", "reading", "thread", "error"])
def test_program_exits_without_closing_its_store(path: Path, how: str) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [Path(__file__).parents[3], Path(__file__).parents[2]])),
    }
    for count in (1, 2):
        subprocess.run([sys.executable, "-c", UNCLOSED, str(path), how], timeout=60, check=how != "error", env=environment)
        if how in ("plain", "error"):
            assert [each.name for each in path.parent.iterdir()] == [path.name]
        if count == 2:
            with closing(open_store(path)) as store:
                assert len(scanned(store)) == 2


def test_garbage_collected_store_is_closed(path: Path) -> None:
    store = open_store(path)
    put(store, 0)
    del store
    gc.collect()
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    with closing(open_store(path)) as store:
        assert mids(store) == list(range(10))


def test_store_closes_during_a_read(path: Path) -> None:
    store = open_store(path)
    put(store, 0)
    with store.engine.reading() as snapshot:
        store.close()
        assert snapshot.last_acq() > 0
    with closing(open_store(path)) as store:
        assert mids(store) == list(range(10))


def test_process_killed_while_closing_a_file(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kill comes after the state says "closed", before or after the checkpoint, and before the header changes."""
    said = engine._said_closed
    for number, ends in enumerate([("", "-wal"), ("",)]):
        kept = tmp_path / f"{number}.tsdb"

        def closed(connection: sqlite3.Connection, kept: Path = kept, ends: tuple[str, ...] = ends) -> bool:
            done = said(connection)
            if ends == ("",):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            for end in ends:
                shutil.copy(f"{path}{end}", f"{kept}{end}")
            return done

        store = open_store(path)
        put(store, 10 * number)
        monkeypatch.setattr(engine, "_said_closed", closed)
        store.close()
        monkeypatch.undo()
        assert kept.read_bytes()[18] == 2
        with closing(open_store(kept, read_only=ends == ("",))) as store:
            assert mids(store) == list(range(10 * number + 10))


@pytest.mark.skipif(os.name == "nt", reason="Windows locks belong to handles, not to processes")
def test_opening_a_file_twice_keeps_its_locks(path: Path) -> None:
    """Opening and closing the file outside SQLite would release every lock that this process holds on it."""
    code = "import sys; from tsmodel.store import open_store; open_store(sys.argv[1]).close()"
    with closing(open_store(path)) as store:
        put(store, 0)
        open_store(path).close()
        open_store(path, read_only=True).close()
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        subprocess.run([sys.executable, "-c", code, str(path)], timeout=60, check=True, env=environment)
        assert Path(f"{path}-wal").exists()
        put(store, 10)
    with closing(open_store(path)) as store:
        assert mids(store) == list(range(20))


@pytest.mark.parametrize("is_reading", [False, True])
def test_writer_closing_before_a_reader_leaves_a_complete_file(path: Path, tmp_path: Path, is_reading: bool) -> None:
    copy = tmp_path / "copy.tsdb"
    writer = open_store(path)
    put(writer, 0)
    with closing(open_store(path, read_only=True)) as reader, ExitStack() as stack:
        assert mids(reader) == list(range(10))
        put(writer, 10)
        if is_reading:
            stack.enter_context(reader.scan(KeyRange()))
        writer.close()
        shutil.copy(path, copy)
    shutil.copy(path, tmp_path / "later.tsdb")
    if is_reading:  # the reader may keep the last page out of the file: a copy is complete or refused
        with suppress(StoreCorruptError), closing(open_store(copy)) as store:
            assert mids(store) == list(range(20))
    else:
        for each in (copy, tmp_path / "later.tsdb"):
            with closing(open_store(each)) as store:
                assert mids(store) == list(range(20))
    with closing(open_store(path)) as store:
        assert mids(store) == list(range(20))


def test_copy_is_refused_while_a_second_writer_is_open(path: Path, tmp_path: Path) -> None:
    first, second = open_store(path), open_store(path)
    put(first, 0)
    first.close()
    shutil.copy(path, tmp_path / "before.tsdb")
    with closing(open_store(tmp_path / "before.tsdb")) as store:
        assert mids(store) == list(range(10))
    put(second, 10)
    shutil.copy(path, tmp_path / "after.tsdb")
    with pytest.raises(StoreCorruptError, match="copied while it was open"):
        open_store(tmp_path / "after.tsdb")
    second.close()
    assert not Path(f"{path}-wal").exists()
    with closing(open_store(path)) as store:
        assert mids(store) == list(range(20))


def test_last_store_to_close_does_not_write_stale_pages(path: Path) -> None:
    first = open_store(path)
    put(first, 0)
    with closing(open_store(path)) as second:
        for n in range(1, 40):
            put(second, 10 * n)
    first.close()
    with closing(open_store(path)) as store:
        assert mids(store) == list(range(400))


def test_journal_is_truncated(path: Path) -> None:
    with closing(open_store(path)) as store:
        store.append(batches([(1, n, 0, 0, os.urandom(10**6)) for n in range(30)]))
        for n in range(3):
            put(store, n)
        assert Path(f"{path}-wal").stat().st_size <= engine._JOURNAL_LIMIT


def test_journal_is_truncated_without_another_put(path: Path) -> None:
    journal = Path(f"{path}-wal")
    with closing(open_store(path)) as store, closing(open_store(path)) as other:
        store.append(batches([(1, n, 0, 0, os.urandom(10**6)) for n in range(20)]))
        assert journal.stat().st_size == 0
        with store.scan(KeyRange()) as scan, other.scan(KeyRange()) as theirs:
            next(iter(scan))
            next(iter(theirs))
            other.append(batches([(2, n, 0, 0, os.urandom(10**6)) for n in range(20)]))
            put(store, 0)
            assert journal.stat().st_size > engine._JOURNAL_LIMIT
        assert journal.stat().st_size == 0
        assert len(scanned(store)) == len(scanned(other)) == 50


def test_journal_that_cannot_be_truncated_does_not_block_puts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_JOURNAL_LIMIT", 50_000)
    journal = Path(f"{path}-wal")
    with closing(open_store(path)) as store, closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT one FROM state").fetchone()
        for n in range(20):  # with a timeout, each put would take a minute
            put(store, n)
        assert journal.stat().st_size > 50_000
        assert len(scanned(store)) == 200
        reader.execute("ROLLBACK")
        assert len(scanned(store)) == 200
        assert journal.stat().st_size == 0


def test_read_only_changes_no_file(path: Path) -> None:
    with closing(open_store(path)) as store:
        put(store, 0)
    before = path.read_bytes()
    path.chmod(0o400)
    with closing(open_store(path, read_only=True)) as store:
        assert mids(store) == list(range(10))
        assert store.last_acq(KeyRange()) > 0
        assert [each.name for each in path.parent.iterdir()] == [path.name]
        with pytest.raises(StoreError, match="read-only; nothing was stored"):
            put(store, 10)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_read_only_beside_a_writer(path: Path) -> None:
    with closing(open_store(path)) as store:
        put(store, 0)
        with closing(open_store(path, read_only=True)) as reader:
            assert mids(reader) == list(range(10))
            put(store, 10)
            assert mids(reader) == list(range(20))
    assert path.read_bytes()[18] == 2 or not Path(f"{path}-wal").exists()
    with closing(open_store(path)) as store:
        assert mids(store) == list(range(20))


def test_reader_opened_before_the_writer(path: Path) -> None:
    with closing(open_store(path)) as store:
        put(store, 0)
    with closing(open_store(path, read_only=True)) as reader:
        assert mids(reader) == list(range(10))
        with closing(open_store(path)) as store:
            put(store, 10)
            assert mids(reader) == list(range(20))
        assert mids(reader) == list(range(20))
    with closing(open_store(path)) as store:
        assert mids(store) == list(range(20))


def test_read_only_refuses_a_journal_that_needs_recovery(path: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with closing(open_store(path)) as store:
        put(store, 0)
        for end in ("", "-wal"):
            shutil.copy(f"{path}{end}", tmp_path / "kept")
    kept = tmp_path / "kept" / path.name
    with pytest.raises(StoreError, match="journal that needs recovery"):
        open_store(kept, read_only=True)
    assert sorted(each.name for each in kept.parent.iterdir()) == ["store.tsdb", "store.tsdb-wal"]
    open_store(kept).close()
    with closing(open_store(kept, read_only=True)) as store:
        assert mids(store) == list(range(10))


def test_kill_during_close_damages_nothing(path: Path, tmp_path: Path) -> None:
    """SQLite has changed the file and keeps the previous pages in a rollback journal."""
    with closing(open_store(path)) as store:
        for first in range(0, 40, 10):
            put(store, first)
    (tmp_path / "kept").mkdir()
    kept, whole = tmp_path / "kept" / path.name, path.read_bytes()
    with closing(sqlite3.connect(path, isolation_level=None)) as closer:
        closer.execute("PRAGMA cache_size = 1")  # forces SQLite to write to the file before the commit
        closer.execute("BEGIN")
        closer.execute("UPDATE blocks SET data = zeroblob(length(data))")
        closer.execute("CREATE TABLE more AS SELECT randomblob(1000000)")
        for end in ("", "-journal"):
            shutil.copy(f"{path}{end}", f"{kept}{end}")
    assert not kept.read_bytes().startswith(whole)
    before = {each.name: each.read_bytes() for each in kept.parent.iterdir()}
    assert verify(kept).faults == ()
    assert recover(kept, tmp_path / "saved.tsdb").records == 40
    for read in (partial(open_store, read_only=True), info):
        with pytest.raises(StoreError, match="journal that needs recovery"):
            read(kept)
    assert {each.name: each.read_bytes() for each in kept.parent.iterdir()} == before
    with closing(open_store(kept)) as store:
        assert mids(store) == list(range(40))
    assert (info(kept).records, verify(kept).faults) == (40, ())


def test_kill_during_open_damages_nothing(path: Path) -> None:
    """The process has created a journal but not its index."""
    store = open_store(path)
    put(store, 0)
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    journal = Path(f"{path}-wal")
    journal.touch()
    assert verify(path).faults == ()
    assert (journal.read_bytes(), Path(f"{path}-shm").exists()) == (b"", False)
    with closing(open_store(path)) as store:
        assert mids(store) == list(range(10))


@pytest.mark.parametrize("options", [{"read_only": True}, {"create": False}])
def test_missing_file_is_not_created(path: Path, options: dict[str, bool]) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        open_store(path, **options)
    with pytest.raises(StoreError, match="does not exist"):
        connect(path, **options)
    assert list(path.parent.iterdir()) == []


def test_journal_without_its_file_is_refused(path: Path) -> None:
    Path(f"{path}-wal").write_bytes(b"something")
    with pytest.raises(StoreCorruptError, match="does not exist, but its journal"):
        open_store(path)


def test_url_options(path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        connect(f"file:{path}?create=0")
    with connect(f"file://{path}") as session:
        session.add(Reading(cid=1, mid=1, moid=1, cap=1, counter=1))
    with connect(f"file:{path}?read_only=1") as session:
        assert session.query(Reading).count() == 1
        session.add(Reading(cid=1, mid=1, moid=1, cap=1, counter=1))
        with pytest.raises(WriteError, match="read-only"):
            session.flush()
        session.discard()
    with connect(":memory:") as session:
        session.add(Reading(cid=1, mid=1, moid=1, cap=1, counter=1))
        session.flush()
    assert not Path(":memory:").exists()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("file:", "names no file"),
        ("file://host/a.tsdb", "names a host"),
        ("file:a.tsdb?mode=ro", "unknown or repeated option 'mode'; known are read_only, create"),
        ("file:a.tsdb?create=yes", "it is 1 for yes, 0 for no"),
        ("file:a.tsdb?create", "not a URL such as"),
    ],
)
def test_invalid_file_urls(target: str, message: str) -> None:
    with pytest.raises(SessionError, match=message):
        connect(target)


@pytest.mark.parametrize("target", ["memory:", "tstorage://localhost:1"])
def test_file_options_are_refused_for_other_targets(target: str) -> None:
    for options in ({"read_only": True}, {"create": False}):
        with pytest.raises(SessionError, match="is for embedded files"):
            connect(target, **options)
    with pytest.raises(SessionError, match="takes a bool"):
        connect("a.tsdb", read_only=1)


@pytest.mark.parametrize("name", ["with space", "per%cent", "que?stion", "ha#sh", "été"])
def test_paths_with_special_characters(tmp_path: Path, name: str) -> None:
    if os.name == "nt" and "?" in name:
        pytest.skip("Windows has no such file names")
    with closing(open_store(tmp_path / name)) as store:
        put(store, 0)
    with closing(open_store(tmp_path / name, read_only=True)) as store:
        assert mids(store) == list(range(10))
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(open_store("store.tsdb")) as store:
        put(store, 0)
        assert mids(store) == list(range(10))
    assert [each.name for each in tmp_path.iterdir()] == ["store.tsdb"]


def test_failed_creation_leaves_no_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_SCHEMA", (*engine._SCHEMA, "CREATE NONSENSE"))
    with pytest.raises(StoreError):
        open_store(path)
    assert list(path.parent.iterdir()) == []


def test_second_creation_keeps_the_first_file(path: Path) -> None:
    made = path.with_name("made")
    SQLiteEngine(str(made)).close()
    engine._create(path)
    before = path.read_bytes()
    engine._create(path)
    assert path.read_bytes() == before
    assert sorted(each.name for each in path.parent.iterdir()) == ["made", "store.tsdb"]
