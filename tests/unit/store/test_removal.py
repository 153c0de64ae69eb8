"""What removals cost: the blocks they write, memory, reused space, and merges afterwards."""

from __future__ import annotations

import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support.batches import batches, scanned

from tsmodel.errors import StoreError, StoreFormatError
from tsmodel.keys import KeyRange
from tsmodel.store import EmbeddedStore, blocks, info, maintenance, open_store, recover, verify
from tsmodel.store.convert import convert
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import SQLiteEngine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.tsdb"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(blocks, "BLOCK_RECORDS", 100)
    return


def stored(path: Path) -> dict[int, bytes]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT id, data FROM blocks").fetchall())


@pytest.mark.usefixtures("small_blocks")
def test_blocks_without_removed_records_are_not_rewritten(path: Path) -> None:
    with closing(open_store(path)) as store:
        store.append(batches([(1, n // 100, 0, n, b"%08d" % n) for n in range(1000)]))
        store.append(batches([(2, n // 100, 0, n, b"%08d" % n) for n in range(1000)]))
    before = stored(path)
    read: list[int] = []
    with closing(open_store(path)) as store:
        # One block is removed completely, another one in part.
        assert (
            store.remove([KeyRange.of(cid=(1, 2), mid=(3, 5), cap=(0, 450))], lambda chunk: read.append(len(chunk))) == 150
        )
    after = stored(path)
    assert sum(read) == 150
    assert before.keys() - after.keys() == {4}
    assert [number for number in after if after[number] != before[number]] == [5]
    assert verify(path).is_whole
    with closing(open_store(path)) as store:
        assert len(scanned(store)) == 1850
        assert len(scanned(store, KeyRange.of(cid=(1, 2), mid=(4, 5)))) == 50
        store.append(batches([(1, 3, 0, 350, b"12345678")]))
        maintenance.compact(store)
        assert len(scanned(store)) == 1851
    assert verify(path).is_whole


def test_removal_without_matches_writes_nothing(path: Path) -> None:
    with closing(open_store(path)) as store:
        store.append(batches([(1, n, 0, n, b"x") for n in range(100)]))
        assert store.remove([KeyRange.of(mid=(500, 600)), KeyRange.of(cid=(7, 8))]) == 0
        assert store.remove([KeyRange()], lambda chunk: np.zeros(len(chunk), np.bool_)) == 0
        assert store.remove([]) == 0
        assert store.removals() == []
    assert (info(path).puts, info(path).removals) == (1, 0)


def test_failed_removal_removes_nothing(path: Path) -> None:
    with closing(open_store(path)) as store:
        store.append(batches([(cid, n, 0, n, b"x") for cid in (1, 2) for n in range(100)]))
        before = scanned(store)

        def fail_later(chunk: object) -> None:
            if fails.pop():
                raise RuntimeError("no")

        fails = [True, False]
        with pytest.raises(RuntimeError):
            store.remove([KeyRange()], fail_later)
        assert scanned(store) == before
        assert store.removals() == []
        assert store.remove([KeyRange()]) == 200


def test_freed_space_is_reused(path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [(1, n % 50, 0, n, rng.bytes(100)) for n in range(20_000)]
    with closing(open_store(path)) as store:
        store.append(batches(rows))
    size = path.stat().st_size
    for _ in range(4):
        with closing(open_store(path)) as store:
            assert store.remove([KeyRange()]) == 20_000
            store.append(batches(rows))
    assert path.stat().st_size < 1.2 * size


@pytest.mark.usefixtures("small_blocks")
def test_removal_holds_one_block_at_a_time(path: Path) -> None:
    with closing(open_store(path, 0)) as store:
        store.append(batches([(1, n, 0, n, bytes(1000)) for n in range(20_000)]))
        tracemalloc.start()
        try:
            assert store.remove([KeyRange()], lambda chunk: chunk.key("cap") % 2 == 0) == 10_000
            assert tracemalloc.get_traced_memory()[1] < 5_000_000  # of 20 MB
        finally:
            tracemalloc.stop()


def test_small_removal_does_not_merge_all_runs() -> None:
    """A final run stays final until half of it is removed."""
    with closing(open_store(None)) as store:
        store = EmbeddedStore(store.engine, policy=MergePolicy(fan_in=4, final=5000))
        for first in range(0, 4000, 200):
            store.append(batches([(1, n, 0, n, bytes(20)) for n in range(first, first + 200)]))
        runs = len(info_of(store))
        assert runs >= 10
        store.remove([KeyRange()], lambda chunk: chunk.key("mid") % 100 == 0)
        store.append(batches([(1, 1, 0, n, bytes(20)) for n in range(100)]))
        assert len(info_of(store)) == runs + 1
        store.remove([KeyRange()], lambda chunk: chunk.key("mid") % 4 > 0)
        for n in range(40):
            store.append(batches([(1, 1, 0, n, bytes(20))]))
        assert len(info_of(store)) < runs


def info_of(store: EmbeddedStore) -> list[object]:
    with store.engine.writing() as transaction:
        return list(transaction.runs(1))


@pytest.mark.parametrize("sizes", [[100] * 100, [700] * 50 + [1], [1] * 9 + [900] * 30])
def test_merges_stay_bounded_when_many_runs_shrink(sizes: list[int]) -> None:
    policy = MergePolicy(fan_in=4, final=1000)
    for _ in range(1000):
        chosen = policy.choose(sizes)
        total = sum(sizes[at] for at in chosen)
        assert total <= 4000 + 1000
        if not chosen:
            break
        assert len(sizes) - 1 in chosen
        sizes = [size for at, size in enumerate(sizes) if at not in chosen] + [total, 1]
    assert not chosen


@pytest.mark.parametrize("statement", ["UPDATE state SET data = zeroblob(104)", "SELECT 1"])
def test_recovered_puts_can_be_undone(path: Path, tmp_path: Path, statement: str) -> None:
    with closing(open_store(path)) as store:
        plain = store.append(batches([(1, n, 0, n, b"x") for n in range(50)]))
        own = store.append(
            batches([(1, n, 0, n, plain.acq_min + n, b"x") for n in range(30)], with_acq=True), with_acq=True
        )
        store.remove([KeyRange.of(mid=(0, 10))])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement).fetchall()
        connection.execute("UPDATE puts SET data = zeroblob(9) WHERE number = 1")
    found = recover(path, tmp_path / "saved.tsdb")
    assert "put 1" in [fault.where for fault in found.faults]
    assert verify(tmp_path / "saved.tsdb").is_whole
    with closing(EmbeddedStore(SQLiteEngine(str(tmp_path / "saved.tsdb")), clock=lambda: 0)) as store:
        assert store.last_acq(KeyRange()) > plain.acq_max
        assert [put.number for put in store.puts()] == [2]
        assert len(store.removals()) == 1
        assert store.undo([own.put]) == 20  # type: ignore[attr-defined]
        with pytest.raises(StoreError, match="this store has no put"):
            store.undo([plain.put])  # type: ignore[attr-defined]
        assert store.append(batches([(1, 1, 0, 1, b"x")])).put.number == 3  # type: ignore[attr-defined]


def test_file_without_a_list_of_puts_is_copied(path: Path, tmp_path: Path) -> None:
    with closing(open_store(path)) as store:
        store.append(batches([(1, n, 0, n, b"x") for n in range(50)]))
        rows = scanned(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TABLE puts")
        connection.execute("DROP TABLE removals")
    with pytest.raises(StoreFormatError, match=r"tsmodel\.store\.convert .*store\.tsdb NEW"):
        open_store(path)
    assert convert(path, tmp_path / "new.tsdb") == 50
    with closing(open_store(tmp_path / "new.tsdb")) as store:
        assert scanned(store) == rows
        assert [put.keeps_acq for put in store.puts()] == [True]
