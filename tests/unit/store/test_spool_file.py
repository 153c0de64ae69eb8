"""Spool files: order, kinds, limits, damage, full disks and concurrent use."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.batches import batches
from support.forks import forks, in_child

from tsmodel.backend import Batch
from tsmodel.errors import SessionError, SpoolFullError, StoreCorruptError, StoreError, StoreFormatError, StoreInDoubtError
from tsmodel.store import spool_file
from tsmodel.store.spool_file import DrainerLock, Queued, SpoolFile

pytestmark = forks
PLAIN: dict[str, Any] = {"with_acq": False, "unless_stored": False}
ROWS = [(1, 2, 3, 4, b"payload"), (5, 6, 7, 8, b"longer payload"), (1, 2, 3, 4, b"")]


@pytest.fixture
def file(tmp_path: Path) -> SpoolFile:
    made = SpoolFile(str(tmp_path / "edge.spool"))
    made.prepare(["a:1", "b:1"])
    return made


def contents(found: Iterable[Batch] | None) -> list[tuple[int, bytes, int, int]]:
    return [(each.cid, bytes(each.records), each.count, each.record_size) for each in found or ()]


def put(file: SpoolFile, number: int, **how: Any) -> None:
    file.append(batches([(1, number, 0, 0, b"x" * 20)]), **{**PLAIN, **how})


def numbers(file: SpoolFile, most_bytes: int = 2**20, most_puts: int = 100) -> list[int]:
    return [each.number for each in file.head(most_bytes, most_puts)]


def test_puts_keep_their_order(file: SpoolFile) -> None:
    file.append(batches(ROWS), **PLAIN)
    (found,) = file.head(1, 1)
    assert contents(found.batches) == contents(batches(ROWS))
    assert (found.count, found.bound, found.with_acq, found.unless_stored) == (3, None, False, False)
    totals = file.totals()
    assert (totals.puts, totals.records) == (1, 3)
    assert totals.bytes == sum(len(each.records) for each in batches(ROWS))


def test_adjacent_puts_of_one_kind_are_joined_up_to_a_limit(file: SpoolFile) -> None:
    for n in range(3):
        put(file, n)
    put(file, 3, with_acq=True)
    put(file, 4, unless_stored=True)
    put(file, 5)
    assert numbers(file) == [1, 2, 3]
    assert numbers(file, most_puts=2) == [1, 2]
    assert numbers(file, most_bytes=60) == [1]
    assert numbers(file, most_bytes=1) == [1]
    file.settle(stored=[1, 2, 3])
    assert numbers(file) == [4]
    file.settle(stored=[4])
    assert numbers(file) == [5]


def test_in_doubt_puts_come_first(file: SpoolFile) -> None:
    for n in range(3):
        put(file, n)
    put(file, 3, bound=77)
    assert [(each.number, each.bound) for each in file.head(2**20, 1)] == [(4, 77)]
    assert file.mark([1, 2], 99)
    assert [(each.number, each.bound) for each in file.head(2**20, 1)] == [(1, 99), (2, 99), (4, 77)]
    assert file.totals().in_doubt == 3
    assert not file.mark([2, 3], 100)  # put 2 does not wait
    file.settle(stored=[1, 4], missing=[2], acked=123)
    assert numbers(file) == [2, 3]
    totals = file.totals()
    assert (totals.puts, totals.in_doubt, totals.drained, totals.acked) == (2, 0, 2, 123)


def test_unsent_part_keeps_its_place(file: SpoolFile) -> None:
    file.append(batches(ROWS), **PLAIN)
    put(file, 2)
    file.mark([1, 2], 5)
    file.settle(missing=[2], parts=[(1, batches(ROWS[1:2]))])
    first, second = file.head(2**20, 10)
    assert (contents(first.batches), first.count, second.number) == (contents(batches(ROWS[1:2])), 1, 2)
    totals = file.totals()
    assert (totals.records, totals.drained) == (2, 2)


def test_set_aside_and_restored(file: SpoolFile) -> None:
    for n in range(4):
        put(file, n)
    file.mark([1, 2], 44)
    file.settle(aside=[(1, "undecided", "who knows"), (2, "undecided", "who knows"), (3, "refused", "INVARG")])
    assert [(each.number, each.reason) for each in file.set_aside()] == [(1, "undecided"), (2, "undecided"), (3, "refused")]
    assert (file.totals().puts, file.totals().aside, file.totals().aside_records) == (1, 3, 3)
    assert file.take_back([1, 3]) == 2
    assert [(each.number, each.bound) for each in file.head(2**20, 9)] == [(1, 44)]  # the database is asked again
    assert file.take_back(unchecked=True) == 1
    file.settle(stored=[1])
    assert numbers(file) == [2, 3, 4]
    with pytest.raises(SessionError, match="no put 2 is set aside"):
        file.discard([2])
    file.settle(aside=[(2, "damaged", "")])
    with pytest.raises(SessionError, match="cannot be sent; discard it"):
        file.take_back([2])
    assert file.take_back() == 0
    assert file.discard() == 1
    assert numbers(file) == [3, 4]


def test_full_spool_refuses_puts(tmp_path: Path) -> None:
    file = SpoolFile(str(tmp_path / "edge.spool"), most=200)
    file.prepare(["a:1"])
    with pytest.raises(SpoolFullError) as caught:
        for n in range(100):
            file.append(batches([(1, n, 0, 0, os.urandom(20))]), **PLAIN)
    assert caught.value.size is not None
    assert 100 < caught.value.size <= 200
    held = file.totals()
    put(file, 1, bound=5)  # puts that were already sent must be kept
    assert file.totals().puts == held.puts + 1
    dropping = SpoolFile(file.path, most=200, when_full="drop_oldest")
    for n in range(9):
        dropping.append(batches([(1, n, 0, 0, os.urandom(20))]), **PLAIN)
        assert dropping.totals().size <= 200
    assert dropping.totals().dropped == held.puts + 10 - dropping.totals().puts
    assert dropping.totals().in_doubt == 1
    with pytest.raises(SpoolFullError):
        dropping.append(batches([(1, 1, 0, 0, os.urandom(300))]), **PLAIN)


def test_space_is_freed(file: SpoolFile) -> None:
    for n in range(50):
        file.append(batches([(1, n, 0, 0, os.urandom(20_000))]), **PLAIN)
    full = Path(file.path).stat().st_size
    file.settle(stored=numbers(file, most_bytes=2**30))
    assert full > 10**6
    assert Path(file.path).stat().st_size < 10**5


@pytest.fixture
def short_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with room for only a few more pages."""
    opened = spool_file._opened

    def short(path: str, mode: str) -> sqlite3.Connection:
        connection = opened(path, mode)
        connection.execute("PRAGMA max_page_count = 24")
        return connection

    monkeypatch.setattr(spool_file, "_opened", short)


def test_full_disk_stores_nothing_and_can_be_drained(file: SpoolFile, short_disk: None) -> None:
    put(file, 1)
    with pytest.raises(StoreError, match="the disk is full") as caught:
        file.append(batches([(1, 2, 0, 0, os.urandom(10**6))]), **PLAIN)
    assert not isinstance(caught.value, StoreInDoubtError)
    assert numbers(file) == [1]
    assert file.mark([1], 5)
    file.settle(stored=[1])
    assert file.totals().puts == 0


@pytest.mark.parametrize("is_stored", [True, False])
def test_failed_commit_is_reconciled(file: SpoolFile, monkeypatch: pytest.MonkeyPatch, is_stored: bool) -> None:
    class Failing(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" and failures:
                if failures.pop(0):
                    super().execute(sql)
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, *arguments)

    failures = [is_stored]
    connect = sqlite3.connect
    monkeypatch.setattr(spool_file.sqlite3, "connect", lambda *a, **o: connect(*a, **o, factory=Failing))
    with pytest.raises(StoreError, match="disk I/O error") as caught:
        put(file, 1)
    assert not isinstance(caught.value, StoreInDoubtError)
    assert file.totals().puts == 0  # surely not stored: the session may store it again
    failures += [is_stored, False]  # it cannot be removed again either
    with pytest.raises(StoreInDoubtError if is_stored else StoreError):
        put(file, 2)


def test_damaged_bytes_are_never_sent(file: SpoolFile) -> None:
    for n in range(3):
        put(file, n)
    with sqlite3.connect(file.path) as connection:
        (data,) = connection.execute("SELECT data FROM bodies WHERE number = 2").fetchone()
        connection.execute("UPDATE bodies SET data = ? WHERE number = 2", (data[:-1] + bytes([data[-1] ^ 1]),))
        connection.execute("DELETE FROM bodies WHERE number = 3")
    connection.close()
    assert [each.batches is None for each in file.head(2**20, 9)] == [False, True, True]


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9])
def test_damaged_file_is_reported(file: SpoolFile, at: float) -> None:
    for n in range(60):
        put(file, n)
    data = bytearray(Path(file.path).read_bytes())
    start = int(len(data) * at) // 4096 * 4096
    data[start : start + 4096] = b"\xa5" * 4096
    Path(file.path).write_bytes(data)
    found: list[Queued] = []
    with suppress(StoreCorruptError):
        found = file.head(2**20, 100)
    wanted = {n: contents(batches([(1, n - 1, 0, 0, b"x" * 20)])) for n in range(1, 61)}
    assert all(each.batches is None or contents(each.batches) == wanted[each.number] for each in found)


def test_foreign_files_are_refused(tmp_path: Path, file: SpoolFile) -> None:
    with sqlite3.connect(file.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreFormatError, match="has format 99"):
        file.totals()
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(StoreFormatError, match="is another SQLite file, not a spool"):
        SpoolFile(str(other)).prepare(["a:1"])


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root can write everywhere")
def test_read_only_directory_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="can be written"):
        SpoolFile(str(tmp_path / "edge.spool")).prepare(["a:1"])


def test_only_one_process_drains(file: SpoolFile) -> None:
    first, second = DrainerLock(file.path), DrainerLock(file.path)
    assert first.take()
    assert first.take()
    assert not second.take()
    assert in_child(lambda: (first.is_held, DrainerLock(file.path).take())) == "(False, False)"
    assert not second.take()  # an exiting child does not release the lock
    first.give_back()
    assert second.take()
    second.give_back()


def test_threads_and_processes_add_concurrently(file: SpoolFile) -> None:
    def add(first: int) -> str:
        for n in range(first, first + 10):
            put(file, n)
        return "done"

    threads = [threading.Thread(target=add, args=(n * 100,)) for n in range(3)]
    for thread in threads:
        thread.start()
    assert in_child(lambda: add(1000)) == "done"  # forked while others write
    for thread in threads:
        thread.join()
    assert file.totals().puts == 40
