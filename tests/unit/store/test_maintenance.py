"""`verify`, `info`, `backup`, `recover` and `compact` on intact and damaged files."""

from __future__ import annotations

import random
import sqlite3
import threading
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.batches import Row, batches, scanned
from support.budget import is_long

from tsmodel.errors import StoreCorruptError, StoreError, StoreFormatError, UnsupportedError
from tsmodel.keys import LIMITS, KeyRange
from tsmodel.store import EmbeddedStore, info, maintenance, open_store, recover, verify
from tsmodel.store import blocks as blocks_module
from tsmodel.store.maintenance import backup, compact
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import SQLiteEngine, read_state, write_state
from tsmodel.timestamps import now_ns
from tsmodel.wire.chunk import Batch
from tsmodel.wire.records import PUT_FORM

PAGE = 8192


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Row]]:
    """The bytes and records of a closed file of several cids, some of whose blocks are stored as rows and some as parts."""
    path = tmp_path_factory.mktemp("whole") / "store.tsdb"
    with closing(EmbeddedStore(SQLiteEngine(str(path)), policy=MergePolicy(fan_in=4))) as store:
        for number in range(6):
            store.append(batches([(1, n % 7, 0, n * n % 50, b"%06d" % (n % 10)) for n in range(300 + number)]))
            store.append(batches([(2, n, 0, n, b"x" * (n % 3)) for n in range(3)]))
        store.append(batches([(3, n, 1, n, random.Random(n).randbytes(4000)) for n in range(30)]))
        rows = scanned(store)
    return path.read_bytes(), rows


@pytest.fixture
def path(tmp_path: Path, whole: tuple[bytes, list[Row]]) -> Path:
    path = tmp_path / "store.tsdb"
    path.write_bytes(whole[0])
    return path


def changed(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def column(path: Path, statement: str) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute(statement)]


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


def contents(path: Path) -> list[Row]:
    with closing(open_store(path, read_only=True)) as store:
        return scanned(store)


class Steps:
    """A progress callback. Checks that progress ascends and reaches its total."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.told.append((done, total))

    def check(self) -> None:
        assert len({total for _, total in self.told}) == 1
        assert self.told == sorted(set(self.told))
        assert self.told[-1][0] == self.told[-1][1] > 0


# verify


def test_intact_file_has_no_faults(path: Path, whole: tuple[bytes, list[Row]]) -> None:
    steps = Steps()
    report = verify(path, steps)
    steps.check()
    assert report.faults == ()
    assert report.is_whole
    assert report.records == len(whole[1])
    assert report.blocks == len(column(path, "SELECT id FROM blocks"))
    assert report.runs == len(column(path, "SELECT number FROM runs"))
    assert report.bytes == sum(36 + len(row[-1]) for row in whole[1])
    assert report.ahead == 0
    assert str(report).endswith("  no faults")
    assert path.read_bytes() == whole[0]
    assert names(path.parent) == ["store.tsdb"]


def test_empty_store_has_no_faults(tmp_path: Path) -> None:
    open_store(tmp_path / "a").close()
    assert verify(tmp_path / "a").is_whole


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        ("DELETE FROM blocks WHERE id = (SELECT max(id) FROM blocks)", "block "),
        ("DELETE FROM runs WHERE number = (SELECT max(number) FROM runs)", "runs"),
        ("DELETE FROM state", "state"),
        ("UPDATE state SET data = zeroblob(72)", "state"),
        ("UPDATE blocks SET data = 'text' WHERE id = (SELECT min(id) FROM blocks)", "block "),
        ("UPDATE runs SET cid = cid + 1 WHERE number = (SELECT max(number) FROM runs)", "run "),
        ("UPDATE runs SET digest = zeroblob(16)", "run "),
        ("UPDATE runs SET digest = 5", "run "),
        ("INSERT INTO blocks VALUES (100000, x'00')", "block 100000"),
        ("ALTER TABLE runs RENAME COLUMN digest TO other", "schema"),
        ("CREATE TABLE more (x)", "schema"),
    ],
)
def test_each_fault_is_reported(path: Path, statement: str, where: str) -> None:
    changed(path, statement)
    report = verify(path)
    assert not report.is_whole
    assert any(fault.where.startswith(where) for fault in report.faults), report


def test_all_faults_are_reported(path: Path, whole: tuple[bytes, list[Row]]) -> None:
    first, second = column(path, "SELECT id FROM blocks ORDER BY id")[:2]
    changed(path, f"UPDATE blocks SET data = zeroblob(9) WHERE id IN ({first}, {second})", "UPDATE state SET data = 7")
    report = verify(path)
    assert {"state", f"block {first}", f"block {second}"} <= {fault.where for fault in report.faults}
    assert report.records + sum(fault.records for fault in report.faults) == len(whole[1])


def test_records_ahead_of_the_clock_are_counted(tmp_path: Path) -> None:
    future = now_ns() + 10**12
    with closing(open_store(tmp_path / "a")) as store:
        store.append(batches([(1, 1, 1, 1, 5, b""), (1, 1, 1, 2, future, b"")], with_acq=True), with_acq=True)
    report = verify(tmp_path / "a")
    assert report.is_whole
    assert report.ahead == 1


def test_verify_finds_every_byte_that_makes_a_read_fail(path: Path, whole: tuple[bytes, list[Row]]) -> None:
    content, rows = whole
    chosen = random.Random(3)
    told = 0
    for at in [*range(0, 100, 9), *chosen.sample(range(100, len(content)), 60)]:
        damaged = bytearray(content)
        damaged[at] ^= 1 << chosen.randrange(8)
        path.write_bytes(damaged)
        try:
            found = contents(path)
        except StoreFormatError:
            with pytest.raises(StoreFormatError):
                verify(path)
            continue
        except StoreCorruptError:
            told += 1
            assert not verify(path).is_whole
            continue
        assert found == rows
    assert told > 20


def test_verify_beside_a_writer(path: Path) -> None:
    with closing(open_store(path)) as store:
        store.append(batches([(1, 1, 1, 1, b"new")]))
        report = verify(path)
        assert report.is_whole
        store.append(batches([(1, 1, 1, 2, b"new")]))  # the store still holds its locks
        with closing(sqlite3.connect(path, timeout=0)) as other, pytest.raises(sqlite3.OperationalError):
            other.execute("PRAGMA journal_mode = DELETE")
        assert verify(path).records == report.records + 1


def left_behind(path: Path, to: Path, *, shared: bool) -> list[Row]:
    """Copies the file and journal of a killed process, optionally with SQLite's journal index."""
    to.mkdir()
    with closing(open_store(path)) as store:
        for n in range(5):
            store.append(batches([(9, n, 1, 1, b"payload")]))
        for end in ("", "-wal", *(["-shm"] if shared else [])):
            (to / f"store.tsdb{end}").write_bytes(Path(f"{path}{end}").read_bytes())
        return scanned(store)


@pytest.mark.parametrize("shared", [True, False])
def test_verify_reads_a_leftover_journal(tmp_path: Path, path: Path, shared: bool) -> None:
    rows = left_behind(path, tmp_path / "left", shared=shared)
    left = tmp_path / "left" / "store.tsdb"
    before = names(left.parent)
    report = verify(left)
    assert report.is_whole, report
    assert report.records == len(rows)
    assert names(left.parent) == before


def test_damaged_journal_is_reported(tmp_path: Path, path: Path) -> None:
    left_behind(path, tmp_path / "left", shared=False)
    journal = tmp_path / "left" / "store.tsdb-wal"
    data = bytearray(journal.read_bytes())
    data[32 + 24 + 100] ^= 1
    journal.write_bytes(data)
    assert "journal" in {fault.where for fault in verify(tmp_path / "left" / "store.tsdb").faults}


def test_copy_without_its_journal_is_reported(tmp_path: Path, path: Path) -> None:
    left_behind(path, tmp_path / "left", shared=False)
    (tmp_path / "left" / "store.tsdb-wal").unlink()
    (fault,) = verify(tmp_path / "left" / "store.tsdb").faults
    assert fault.where == "journal"
    assert "latest records are missing" in fault.what


def test_verify_refuses_foreign_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"nothing that is a store, and long enough to be none" * 9)
    with pytest.raises(StoreFormatError, match="is not a tsmodel store"):
        verify(tmp_path / "a")
    with pytest.raises(StoreError, match="cannot be read"):
        verify(tmp_path / "none")


# info


def test_info(path: Path, whole: tuple[bytes, list[Row]]) -> None:
    rows = whole[1]
    found = info(path)
    assert found.records == len(rows)
    assert found.series == len({row[:3] for row in rows})
    assert found.cap == (min(row[3] for row in rows), max(row[3] for row in rows))
    assert found.acq == (min(row[4] for row in rows), max(row[4] for row in rows))
    assert found.last_acq == max(row[4] for row in rows)
    assert found.bytes == sum(36 + len(row[-1]) for row in rows)
    assert found.file_bytes == len(whole[0])
    assert found.free_bytes % PAGE == 0
    assert found.bytes_per_record == found.stored / len(rows)
    assert found.blocks == len(column(path, "SELECT id FROM blocks"))
    assert found.stored == sum(column(path, "SELECT length(data) FROM blocks"))
    for cid in (1, 2, 3):
        mine = [row for row in rows if row[0] == cid]
        each = found.cids[cid]
        assert (each.records, each.series) == (len(mine), len({row[:3] for row in mine}))
        assert each.cap == (min(row[3] for row in mine), max(row[3] for row in mine))
    assert sum(each.runs for each in found.cids.values()) == found.runs


def test_info_of_empty_and_damaged_stores(tmp_path: Path, path: Path) -> None:
    open_store(tmp_path / "a").close()
    found = info(tmp_path / "a")
    assert (found.records, found.cap, found.bytes_per_record, found.cids) == (0, None, 0.0, {})
    changed(path, "UPDATE state SET data = 7")
    with pytest.raises(StoreCorruptError):
        info(path)


# backup


def test_backup_holds_the_same_records(tmp_path: Path, path: Path, whole: tuple[bytes, list[Row]]) -> None:
    steps = Steps()
    with closing(open_store(path)) as store:
        report = backup(store, tmp_path / "copy", steps)
        last = store.last_acq(KeyRange())
    steps.check()
    assert report.is_whole
    assert report.path == str(tmp_path / "copy")
    assert names(tmp_path) == ["copy", "store.tsdb"]
    with closing(open_store(tmp_path / "copy")) as copy:
        assert scanned(copy) == whole[1]
        assert copy.last_acq(KeyRange()) == last
        copy.append(batches([(1, 1, 1, 1, b"goes on")]))
    assert verify(tmp_path / "copy").records == len(whole[1]) + 1


def test_backup_of_a_read_only_store(tmp_path: Path, path: Path, whole: tuple[bytes, list[Row]]) -> None:
    with closing(open_store(path, read_only=True)) as store:
        backup(store, tmp_path / "copy")
    assert contents(tmp_path / "copy") == whole[1]


def test_backup_during_writes_is_a_snapshot(tmp_path: Path) -> None:
    stop = threading.Event()

    def writing(store: EmbeddedStore) -> None:
        number = 0
        while not stop.is_set():
            store.append(batches([(cid, number, 0, n, b"12345678") for cid in (1, 2) for n in range(40)]))
            number += 1

    with closing(open_store(tmp_path / "a")) as store:
        writer = threading.Thread(target=writing, args=(store,))
        writer.start()
        try:
            for number in range(10):
                before = len(scanned(store))
                report = backup(store, tmp_path / f"copy{number}")
                assert report.is_whole
                assert report.records % 80 == 0
                assert before <= report.records <= len(scanned(store))
        finally:
            stop.set()
            writer.join()


def test_failed_backup_leaves_no_file(tmp_path: Path, path: Path) -> None:
    def fails(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with closing(open_store(path)) as store:
        with pytest.raises(KeyboardInterrupt):
            backup(store, tmp_path / "copy", fails)
        with pytest.raises(StoreError, match=r"exists; give the path of a new file"):
            backup(store, path)
        with pytest.raises(StoreError, match="there is no directory"):
            backup(store, tmp_path / "none" / "copy")
    changed(path, "UPDATE blocks SET data = zeroblob(9) WHERE id = (SELECT max(id) FROM blocks)")
    with closing(open_store(path)) as store, pytest.raises(StoreCorruptError, match="has a wrong checksum"):
        backup(store, tmp_path / "copy")
    assert names(tmp_path) == ["store.tsdb"]


def test_backup_keeps_a_file_created_meanwhile(tmp_path: Path, path: Path) -> None:
    def appears(done: int, total: int) -> None:
        (tmp_path / "copy").write_bytes(b"mine")

    with closing(open_store(path)) as store, pytest.raises(StoreError, match="exists"):
        backup(store, tmp_path / "copy", appears)
    assert (tmp_path / "copy").read_bytes() == b"mine"
    assert names(tmp_path) == ["copy", "store.tsdb"]


def test_store_in_memory_has_no_backup() -> None:
    with closing(open_store(None)) as store, pytest.raises(UnsupportedError, match=r"in memory: copy its records"):
        backup(store, "copy")


# recover


def test_recovering_an_intact_file_copies_it(tmp_path: Path, path: Path, whole: tuple[bytes, list[Row]]) -> None:
    steps = Steps()
    report = recover(path, tmp_path / "new", steps)
    steps.check()
    assert (report.records, report.lost, report.faults) == (len(whole[1]), 0, ())
    assert contents(tmp_path / "new") == whole[1]
    assert path.read_bytes() == whole[0]
    assert names(tmp_path) == ["new", "store.tsdb"]
    with closing(open_store(path)) as old, closing(open_store(tmp_path / "new")) as new:
        assert old.last_acq(KeyRange()) == new.last_acq(KeyRange())


def test_intact_blocks_are_recovered(tmp_path: Path, path: Path, whole: tuple[bytes, list[Row]]) -> None:
    lost = column(path, "SELECT id FROM blocks ORDER BY id")[-1]  # the last block of cid 3
    changed(path, f"UPDATE blocks SET data = zeroblob(length(data)) WHERE id = {lost}")
    report = recover(path, tmp_path / "new")
    assert [fault.where for fault in report.faults] == [f"block {lost}"]
    assert report.lost > 0
    assert report.records == len(whole[1]) - report.lost
    assert set(contents(tmp_path / "new")) <= set(whole[1])


def test_lost_state_costs_no_records(tmp_path: Path, path: Path, whole: tuple[bytes, list[Row]]) -> None:
    changed(path, "DELETE FROM state")
    before = now_ns()
    report = recover(path, tmp_path / "new")
    assert [fault.where for fault in report.faults] == ["state"]
    with closing(open_store(tmp_path / "new")) as store:
        assert scanned(store) == whole[1]
        assert store.last_acq(KeyRange()) > before


def without_acq(path: Path) -> None:
    """Sets the state to "no acq was ever assigned"."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        write_state(connection, msgspec.structs.replace(read_state(connection), last_acq=LIMITS["acq"].least))


def test_state_without_an_acq_gets_the_records_highest(tmp_path: Path, path: Path, whole: tuple[bytes, list[Row]]) -> None:
    without_acq(path)
    report = recover(path, tmp_path / "new")
    assert [fault.where for fault in report.faults] == ["state"]
    assert [fault.where for fault in verify(path).faults] == ["state"]
    assert verify(tmp_path / "new").is_whole
    with closing(open_store(tmp_path / "new")) as store:
        assert scanned(store) == whole[1]
        assert store.last_acq(KeyRange()) == max(row[4] for row in whole[1]) + 1


def test_state_without_an_acq_ignores_future_acqs(tmp_path: Path) -> None:
    path, ahead = tmp_path / "store.tsdb", now_ns() + 10**15
    with closing(open_store(path)) as store:
        store.append(batches([(1, 1, 0, 0, 5, b""), (1, 1, 0, 0, ahead, b"")], with_acq=True), with_acq=True)
    without_acq(path)
    before = now_ns()
    recover(path, tmp_path / "new")
    assert verify(tmp_path / "new").is_whole
    with closing(open_store(tmp_path / "new")) as store:
        assert before <= store.last_acq(KeyRange()) <= now_ns()
        assert [row[4] for row in scanned(store)] == [5, ahead]


def test_records_with_the_lowest_acq_are_no_fault(tmp_path: Path) -> None:
    path, least = tmp_path / "store.tsdb", LIMITS["acq"].least
    with closing(open_store(path)) as store:
        store.append(batches([(1, 1, 0, 0, least, b"")], with_acq=True), with_acq=True)
    assert verify(path).is_whole
    assert recover(path, tmp_path / "new").records == 1


def damage_directory(path: Path, at: int) -> None:
    """Flips a bit in the directory of the last run."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        number, data = connection.execute("SELECT number, directory FROM runs ORDER BY number DESC LIMIT 1").fetchone()
        damaged = bytearray(data)
        damaged[at] ^= 1
        connection.execute("UPDATE runs SET directory = ? WHERE number = ?", (bytes(damaged), number))


def test_blocks_are_recovered_despite_a_damaged_directory(
    tmp_path: Path, path: Path, whole: tuple[bytes, list[Row]]
) -> None:
    content, rows = whole
    everything = 0
    for at in range(0, 32 + 96, 1 if is_long() else 5):
        path.write_bytes(content)
        damage_directory(path, at)
        new = tmp_path / f"new{at}"
        report = recover(path, new)
        assert any(fault.where.startswith("run ") for fault in report.faults)
        found = contents(new)
        assert set(found) <= set(rows)
        assert len(found) == len(set(found)) == report.records
        everything += found == rows
    assert everything > (45 if is_long() else 9)


def test_lost_directory_loses_its_blocks_and_says_so(tmp_path: Path, path: Path, whole: tuple[bytes, list[Row]]) -> None:
    changed(path, "DELETE FROM runs WHERE number = (SELECT max(number) FROM runs)")
    report = recover(path, tmp_path / "new")
    assert any("no intact directory refers to it" in fault.what for fault in report.faults)
    assert contents(tmp_path / "new") == [row for row in whole[1] if row[0] != 3]


@pytest.mark.parametrize("page", range(16))
def test_overwritten_page(tmp_path: Path, path: Path, whole: tuple[bytes, list[Row]], page: int) -> None:
    content, rows = whole
    assert page * PAGE < len(content)
    path.write_bytes(content[: page * PAGE] + b"\xa5" * PAGE + content[(page + 1) * PAGE :])
    if page == 0:  # nothing identifies the file as a store any more
        with pytest.raises(StoreFormatError):
            recover(path, tmp_path / "new")
        return
    report = recover(path, tmp_path / "new")
    assert report.faults or contents(tmp_path / "new") == rows
    found = contents(tmp_path / "new")
    assert set(found) <= set(rows)
    assert len(found) == len(set(found))
    assert verify(tmp_path / "new").is_whole


@pytest.mark.parametrize("at", [3, 18, 28, 45, 70, 103, 5000, 8000])
def test_damaged_first_page_costs_no_records(tmp_path: Path, path: Path, whole: tuple[bytes, list[Row]], at: int) -> None:
    damaged = bytearray(whole[0])
    damaged[at] ^= 4
    path.write_bytes(damaged)
    recover(path, tmp_path / "new")
    assert contents(tmp_path / "new") == whole[1]
    assert names(tmp_path) == ["new", "store.tsdb"]


def test_damage_to_any_byte_loses_little_and_invents_nothing(
    tmp_path: Path, path: Path, whole: tuple[bytes, list[Row]]
) -> None:
    content, rows = whole
    chosen = random.Random(4)
    known = set(rows)
    for number, at in enumerate(chosen.sample(range(100, len(content)), 30)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << chosen.randrange(8)
        path.write_bytes(damaged)
        report = recover(path, tmp_path / f"new{number}")
        found = contents(tmp_path / f"new{number}")
        assert set(found) <= known
        assert len(found) == len(set(found)) == report.records
        assert len(found) == len(rows) or report.faults
    assert verify(tmp_path / "new0").is_whole


def test_recovering_never_overwrites(tmp_path: Path, path: Path) -> None:
    (tmp_path / "new").write_bytes(b"mine")
    with pytest.raises(StoreError, match="exists"):
        recover(path, tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == b"mine"


# compact


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes blocks and merge steps small, so that few records fill many of them."""
    monkeypatch.setattr(blocks_module, "BLOCK_RECORDS", 16)
    monkeypatch.setattr(maintenance, "_STEP", 4000)
    monkeypatch.setattr(maintenance, "_FAN", 3)


def overlapping(chains: list[list[tuple[int, ...]]]) -> bool:
    return any(a[-1] > b[0] for a, b in pairwise(chains))


def runs_of(path: Path, cid: int) -> list[list[tuple[int, ...]]]:
    """Returns the keys of each run, ordered by first key."""
    found = []
    with closing(SQLiteEngine(str(path), read_only=True)) as engine, engine.reading() as snapshot:
        for run in snapshot.table.of_cid(cid):
            blocks = [snapshot.read(run, at) for at in range(len(run.entries))]
            keys = [list(zip(*(block.key(name).tolist() for name in ("mid", "moid", "cap", "acq")))) for block in blocks]  # noqa: B905
            found.append([key for each in keys for key in each])
    return sorted(found)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("seed", range(16 if is_long() else 4))
def test_compacting_keeps_every_record(tmp_path: Path, seed: int) -> None:
    chosen = random.Random(seed)
    path = tmp_path / "a"
    with closing(EmbeddedStore(SQLiteEngine(str(path)), policy=MergePolicy(fan_in=1000))) as store:
        for number in range(chosen.choice([1, 2, 9, 25])):
            sizes = chosen.choice([[8], [8], [0], [3, 90]])
            mids = chosen.choice([[1], range(5), range(number, number + 3)])
            puta = chosen.random() < 0.3
            rows = [
                (cid, chosen.choice(mids), 0, chosen.randrange(40), *([5] if puta else []), bytes(chosen.choice(sizes)))
                for cid in (1, 2)
                for _ in range(chosen.randrange(1, 120))
            ]
            store.append(batches(rows, with_acq=puta), with_acq=puta)
        rows, last = scanned(store), store.last_acq(KeyRange())
        steps = Steps()
        report = compact(store, steps)
        steps.check()
        assert scanned(store) == rows
        assert store.last_acq(KeyRange()) == last
        assert verify(path).is_whole, verify(path)
        again = compact(store)
        assert again.runs_before == again.runs_after == report.runs_after
        assert scanned(store) == rows
    for cid in (1, 2):
        runs = runs_of(path, cid)
        assert all(keys == sorted(keys) for keys in runs)
        assert not overlapping(runs)
    report = verify(path)
    assert report.is_whole, report
    assert report.records == len(rows)


@pytest.mark.parametrize("puts", [pytest.param(1, marks=pytest.mark.long), 3])
def test_large_puts_are_not_merged_until_compacting(tmp_path: Path, puts: int) -> None:
    path, count = tmp_path / "a", 150_000
    at = np.arange(count)
    known: set[int] = set()
    with closing(open_store(path)) as store:
        for number in range(puts):
            records = np.zeros(count, PUT_FORM.dtype(4))
            records["n"], records["moid"] = records.dtype.itemsize - 4, 7
            records["mid"], records["cap"] = at % 100, at // 100 + number * count // 100
            records["payload"] = at.astype("<u4").view("V4")
            store.append([Batch(1, memoryview(records.tobytes()), count, records.dtype.itemsize)])
            with store.engine.reading() as snapshot:  # type: ignore[union-attr]
                numbers = set(snapshot.table.runs)  # type: ignore[attr-defined]
            assert known < numbers, "runs that cover a whole time span must not be merged"
            known = numbers
        assert info(path).runs > puts
        rows = sorted(scanned(store))
        assert verify(path).is_whole, verify(path)
        assert backup(store, tmp_path / "b").records == puts * count
        compact(store)
        assert verify(path).is_whole, verify(path)
        assert sorted(scanned(store)) == rows
        again = compact(store)
        assert again.bytes_before == again.bytes_after
        # One hour of all series reads few blocks.
        with store.engine.reading() as snapshot:  # type: ignore[union-attr]
            entries = np.concatenate([run.entries for run in snapshot.table.of_cid(1)])  # type: ignore[attr-defined]
        inside = (entries["cap_min"] <= 700) & (entries["cap_max"] >= 700)
        assert inside.sum() <= len(entries) // 2 or puts == 1


@pytest.mark.usefixtures("small_steps")
def test_compacting_while_others_write_and_read(tmp_path: Path) -> None:
    stop = threading.Event()

    def writing(store: EmbeddedStore) -> None:
        number = 100
        while not stop.is_set():
            store.append(batches([(1, number % 5, 0, n, b"12345678") for n in range(20)]))
            number += 1

    with closing(open_store(tmp_path / "a")) as store:
        for number in range(30):
            store.append(batches([(1, number % 5, 0, n, b"12345678") for n in range(90)]))
        scan = store.scan(KeyRange())
        first = len(next(scan))
        writer = threading.Thread(target=writing, args=(store,))
        writer.start()
        try:
            for _ in range(3):
                compact(store)
        finally:
            stop.set()
            writer.join()
        assert first + sum(len(chunk) for chunk in scan) == 30 * 90
        rows = scanned(store)
        assert len({row[4] for row in rows}) == len(rows)
        assert (len(rows) - 30 * 90) % 20 == 0
        assert verify(tmp_path / "a").is_whole


def test_compacting_frees_space(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with closing(EmbeddedStore(SQLiteEngine(str(path)), policy=MergePolicy(fan_in=1000))) as store:
        for number in range(300):
            store.append(batches([(1, n, 0, number, b"%08d" % (n % 10)) for n in range(100)]))
        report = compact(store)
        assert (report.runs_before, report.runs_after) == (300, 1)
        assert report.bytes_after < report.bytes_before / 2
        assert compact(store) == maintenance.Compacted(report.bytes_after, report.bytes_after, 1, 1)
        assert report.bytes_after == path.stat().st_size


def test_small_cids_are_compacted_in_common_transactions(tmp_path: Path) -> None:
    """A commit waits for the disk, so one for each cid would take far longer than merging."""
    engine = SQLiteEngine(str(tmp_path / "a"))
    with closing(EmbeddedStore(engine, policy=MergePolicy(fan_in=1000))) as store:
        for number in range(3):
            store.append(batches([(cid, 1, 0, number, b"12345678") for cid in range(200)]))
        rows = scanned(store)
        with engine.reading() as snapshot:
            before = snapshot.state.generation
        steps = Steps()
        report = compact(store, steps)
        steps.check()
        with engine.reading() as snapshot:
            assert snapshot.state.generation - before < 10
        assert (report.runs_before, report.runs_after) == (600, 200)
        assert scanned(store) == rows
        again = compact(store)
        assert (again.runs_before, again.bytes_after) == (200, report.bytes_after)
    assert verify(tmp_path / "a").is_whole


def test_compacting_refuses_unsuitable_stores(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(open_store(path, read_only=True)) as store, pytest.raises(StoreError, match="read-only"):
        compact(store)
    with closing(open_store(None)) as memory, pytest.raises(UnsupportedError, match="in memory"):
        compact(memory)
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 1000}))
    with (
        closing(open_store(path)) as store,
        pytest.raises(StoreError, match=r"needs [\d,]+ bytes of free space in .*, which has 1,000"),
    ):
        compact(store)


@pytest.mark.usefixtures("small_steps")
def test_interrupted_compacting_keeps_every_record(tmp_path: Path) -> None:
    def stops(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with closing(EmbeddedStore(SQLiteEngine(str(tmp_path / "a")), policy=MergePolicy(fan_in=1000))) as store:
        for number in range(9):
            store.append(batches([(1, number % 5, 0, n, b"12345678") for n in range(90)]))
        rows = scanned(store)
        with pytest.raises(KeyboardInterrupt):
            compact(store, stops)
        assert scanned(store) == rows
        compact(store)
        assert scanned(store) == rows


def test_compacting_a_damaged_file_raises(path: Path) -> None:
    changed(path, "UPDATE blocks SET data = zeroblob(9) WHERE id = (SELECT max(id) FROM blocks)")
    with closing(open_store(path)) as store, pytest.raises(StoreCorruptError, match="has a wrong checksum"):
        compact(store)
