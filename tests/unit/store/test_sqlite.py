"""SQLite store files: reopening, several processes, forks, foreign files and damage."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.batches import batches, scanned
from support.budget import is_long
from support.forks import forks, in_child

from tsmodel.errors import StoreCorruptError, StoreError, StoreFormatError
from tsmodel.keys import KeyRange
from tsmodel.store import EmbeddedStore, open_store, verify
from tsmodel.store import blocks as blocks_module
from tsmodel.store.directory import Level
from tsmodel.store.interface import Writing
from tsmodel.store.maintenance import compact
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import APPLICATION_ID, FORMAT_VERSION, SQLiteEngine

PYTHONPATH = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.tsdb"


def fill(path: Path, records: int = 5000, size: int = 20) -> None:
    store = open_store(path)
    store.append(batches([(1, n, 0, n, b"%0*d" % (size, n)) for n in range(records)]))
    store.close()


def child(code: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, str(path)], env=PYTHONPATH, stdout=subprocess.PIPE, text=True)


def test_records_survive_reopening(path: Path) -> None:
    fill(path)
    store = open_store(path)
    assert len(scanned(store)) == 5000
    assert store.path == str(path)
    store.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["store.tsdb"]


def test_acqs_ascend_across_restarts_when_the_clock_steps_back(path: Path) -> None:
    given = []
    for time in (1000, 10, 500, 2000, 0):
        store = EmbeddedStore(SQLiteEngine(str(path)), clock=lambda time=time: time)
        given.append(store.append(batches([(1, 1, 1, n, b"") for n in range(3)])))
        store.close()
    assert given == [(1000, 1002), (1003, 1005), (1006, 1008), (2000, 2002), (2003, 2005)]


def test_advance_survives_restarts(path: Path) -> None:
    store = EmbeddedStore(SQLiteEngine(str(path)), clock=lambda: 5)
    store.advance(1000)
    store.close()
    store = EmbeddedStore(SQLiteEngine(str(path)), clock=lambda: 5)
    assert store.last_acq(KeyRange()) == 1000
    assert store.append(batches([(1, 1, 1, 1, b"")])).acq_min == 1000
    store.close()


READ = """
import sys
from support.batches import scanned
from tsmodel.store import open_store
store = open_store(sys.argv[1])
last = 0
for _ in range(40):
    count = len(scanned(store))
    assert count % 100 == 0 and count >= last, (count, last)
    last = count
print(last)
store.close()
"""

WRITE = """
import sys
from support.batches import batches
from tsmodel.store import open_store
store = open_store(sys.argv[1])
for n in range(40):
    interval = store.append(batches([(1, n, 0, m, b"payload") for m in range(100)]))
    print(*interval)
store.close()
"""


def test_processes_read_and_write_concurrently(path: Path) -> None:
    fill(path, 100)
    readers = [child(READ, path) for _ in range(2)]
    writers = [child(WRITE, path) for _ in range(2)]
    intervals = []
    for process in (*readers, *writers):
        out, _ = process.communicate(timeout=100)
        assert process.returncode == 0
        if process in writers:
            intervals += [tuple(map(int, line.split())) for line in out.splitlines()]
    store = open_store(path)
    assert len(scanned(store)) == 100 + 2 * 40 * 100
    store.close()
    intervals.sort()
    assert len(intervals) == 80
    for (_, last), (first, _) in pairwise(intervals):
        assert last < first


def test_journal_of_a_crashed_process_is_recovered(path: Path) -> None:
    leave = "import os, sys; from support.batches import batches; from tsmodel.store import open_store\n"
    leave += "store = open_store(sys.argv[1]); store.append(batches([(1, 1, 1, 1, b'left')])); os._exit(0)"
    subprocess.run([sys.executable, "-c", leave, str(path)], env=PYTHONPATH, timeout=60, check=True)
    assert path.with_name("store.tsdb-wal").exists()
    store = open_store(path)
    assert [row[-1] for row in scanned(store)] == [b"left"]
    store.close()


@pytest.mark.usefixtures("path")
class TestForked:
    pytestmark = forks

    def test_child_reopens_the_file(self, path: Path) -> None:
        fill(path, 10)
        store = open_store(path)
        scanned(store)

        def work() -> tuple[int, int]:
            store.append(batches([(1, 1, 1, 1, b"")]))
            found = len(scanned(store))
            store.close()
            return found, len(_locks(path))

        assert in_child(work) == "(11, 0)"
        assert path.with_name("store.tsdb-wal").exists()  # closing in the child does not touch the parent's journal
        assert len(scanned(store)) == 11
        store.append(batches([(1, 1, 1, 2, b"")]))
        store.close()

    @pytest.mark.skipif(not Path("/proc/locks").exists(), reason="/proc/locks does not exist")
    def test_child_locks_the_file(self, path: Path) -> None:
        fill(path, 10)
        store = open_store(path)

        def work() -> list[int]:
            held = []
            for opened in (store, open_store(path)):
                with opened.scan(KeyRange()) as scan:
                    next(scan)
                    held.append(len(_locks(path)))
            return held

        # SQLite takes no locks if the process has, or seems to have, other connections to the file.
        assert in_child(work) == "[1, 1]"
        store.close()

    @pytest.mark.parametrize("is_writing", [False, True])
    def test_child_forked_during_a_transaction_is_refused(self, path: Path, is_writing: bool) -> None:
        fill(path, 10)
        store, idle = open_store(path), open_store(path.with_name("idle.tsdb"))

        def work() -> list[str]:
            said = []
            for use in (lambda: scanned(store), lambda: open_store(path), lambda: scanned(idle)):
                with pytest.raises(StoreError) as caught:
                    use()
                said.append(str(caught.value).partition("cannot be used in this process: ")[2][:20])
            store.close()
            return said

        with store._engine.writing() if is_writing else store._engine.reading():
            said = in_child(work)
        assert said == str(["when it was forked, "] * 3)
        assert len(scanned(store)) == 10
        store.close()
        idle.close()

    def test_fork_does_not_roll_back_another_threads_transaction(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = open_store(path)
        begun, goes_on = threading.Event(), threading.Event()

        def write(transaction: Writing, puts: Sequence[Any]) -> Any:
            given = written(transaction, puts)
            begun.set()
            goes_on.wait(20)
            return given

        written = store._write
        monkeypatch.setattr(store, "_write", write)
        rows = batches([(1, 1, 1, n, b"") for n in range(100)])
        thread = threading.Thread(target=store.append, args=(rows,))
        thread.start()
        assert begun.wait(20)
        said = in_child(lambda: store.append([]), 20)
        goes_on.set()
        thread.join(20)
        assert "cannot be used in this process" in said
        assert len(scanned(store)) == 100
        store.close()


def _locks(path: Path) -> list[str]:
    """Returns this process's locks on a file."""
    number = f":{path.stat().st_ino} "
    return [line for line in Path("/proc/locks").read_text().splitlines() if f" {os.getpid()} " in line and number in line]


def test_foreign_file_is_refused(path: Path) -> None:
    path.write_bytes(b"cid,mid,moid,cap\n" * 100)
    with pytest.raises(StoreFormatError, match=r"store.tsdb is not a tsmodel store: it starts with b'cid,mid"):
        open_store(path)
    assert path.read_bytes() == b"cid,mid,moid,cap\n" * 100


def test_foreign_sqlite_database_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreFormatError, match="another application"):
        open_store(path)
    assert path.read_bytes() == before


def test_newer_format_is_refused(path: Path) -> None:
    fill(path, 10)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION + 1}")
    connection.close()
    with pytest.raises(StoreFormatError, match=rf"format {FORMAT_VERSION + 1}.*upgrade tsmodel"):
        open_store(path)


def test_file_has_our_application_id(path: Path) -> None:
    fill(path, 1)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_empty_file_is_refused(path: Path) -> None:
    fill(path, 10)
    path.write_bytes(b"")
    with pytest.raises(StoreCorruptError, match="is empty, which a store never is: restore a copy, or remove the file"):
        open_store(path)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_truncated_file_is_refused(path: Path, share: float) -> None:
    fill(path)
    with closing(open_store(path)) as store:
        store.append(batches([(2, n, 0, n, random.Random(n).randbytes(50)) for n in range(5000)]))
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share))
    with pytest.raises(StoreError, match=r"store\.tsdb"), closing(open_store(path)) as store:
        scanned(store)


def damage_block(path: Path, number: int = 1) -> None:
    """Changes a byte of a block, bypassing the store."""
    with sqlite3.connect(path) as connection:
        (data,) = connection.execute("SELECT data FROM blocks WHERE id = ?", (number,)).fetchone()
        changed = bytearray(data)
        changed[len(changed) // 2] ^= 4
        connection.execute("UPDATE blocks SET data = ? WHERE id = ?", (bytes(changed), number))
    connection.close()


def test_undamaged_blocks_remain_readable(path: Path) -> None:
    fill(path, 2000)
    damage_block(path)
    store = open_store(path)
    with pytest.raises(StoreCorruptError, match=r"store\.tsdb is damaged: block 1.*checksum.*restore a copy") as caught:
        scanned(store)
    assert caught.value.path == str(path)
    store.append(batches([(5, 1, 1, 1, b"")]))
    assert len(scanned(store, KeyRange.of(cid=(5, 6)))) == 1
    store.close()


def test_damage_stops_a_merge_without_losing_records(path: Path) -> None:
    fill(path, 100)
    damage_block(path)
    store = EmbeddedStore(SQLiteEngine(str(path)), policy=MergePolicy(fan_in=2, final=2**20))
    with pytest.raises(StoreCorruptError):
        store.append(batches([(1, n, 0, n, b"%020d" % n) for n in range(100)]))
    store.append(batches([(2, 1, 1, 1, b"")]))
    assert len(scanned(store, KeyRange.of(cid=(2, 3)))) == 1
    store.close()


def test_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a directory"):
        open_store(tmp_path)


def test_missing_parent_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="create it first"):
        open_store(tmp_path / "none" / "store.tsdb")


def test_locked_file_raises_and_recovers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsmodel.store.sqlite._LOCK_TIMEOUT", 0.1)
    store = open_store(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked") as caught:
        store.append(batches([(1, 1, 1, 1, b"")]))
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    other.execute("ROLLBACK")
    other.close()
    store.append(batches([(1, 1, 1, 1, b"")]))
    store.close()


@pytest.mark.parametrize("seed", range(4 if is_long() else 2))
def test_large_sparse_runs_are_spread_by_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(blocks_module, "BLOCK_RECORDS", 16)
    monkeypatch.setattr(blocks_module, "_SERIES", 1)
    path, chosen = tmp_path / "a.tsdb", random.Random(seed)
    policy = MergePolicy(fan_in=3, final=8_000, dense=20, whole=1_000, step=6_000)
    engine = SQLiteEngine(str(path))
    levels = set()
    given = []
    with closing(EmbeddedStore(engine, policy=policy)) as store:
        for time in range(60):
            rows = [(1, mid, mid % 3, time, b"%04d" % chosen.randrange(10)) for mid in range(200) if chosen.random() < 0.9]
            store.append(batches(rows))
            given += rows
            with engine.reading() as snapshot:
                levels |= {run.level for run in snapshot.table.of_cid(1)}
        found = [(cid, mid, moid, cap, payload) for cid, mid, moid, cap, _, payload in scanned(store)]
        assert sorted(found) == sorted(given)
        assert levels == {Level.PUT, Level.BEGUN, Level.FINAL}
        assert verify(path).is_whole, verify(path)
        with engine.reading() as snapshot:
            spread = [run for run in snapshot.table.of_cid(1) if run.level == Level.FINAL]
            assert max(run.count / run.series for run in spread) > 4
            blocks = list(snapshot.blocks(KeyRange.of(cid=(1, 2), mid=(77, 78))))
            assert len(blocks) < 60 // 2
        compact(store)
        found = [(cid, mid, moid, cap, payload) for cid, mid, moid, cap, _, payload in scanned(store)]
        assert sorted(found) == sorted(given)
        assert verify(path).is_whole, verify(path)


def test_threads_create_open_and_close_one_file(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def use(path: Path) -> None:
        try:
            with closing(open_store(path)) as store:
                store.append(batches([(1, 1, 1, 1, b"x")]))
        except BaseException as error:  # noqa: BLE001 - checked by the main thread
            errors.append(error)

    for number in range(40):
        path = tmp_path / f"{number}.tsdb"
        threads = [threading.Thread(target=use, args=(path,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        with closing(open_store(path)) as store:
            assert len(scanned(store)) == 4
        assert verify(path).is_whole
