"""The block cache: bounded, consistent with the file, and not emptied by a large scan."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batches import batches, scanned

from tsmodel.keys import KeyRange
from tsmodel.store import EmbeddedStore, tables
from tsmodel.store.blocks import Block
from tsmodel.store.cache import BlockCache
from tsmodel.store.directory import checked_block
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import SQLiteEngine
from tsmodel.wire.chunk import RowChunk


def block(name: int, size: int) -> Block:
    return Block.of_rows((name,) * 9, RowChunk(memoryview(bytes(size)), 1, size), ())


uses = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(1, 60)), max_size=80)


@given(uses=uses, most=st.integers(0, 150))
def test_cache_evicts_the_least_recently_used(uses: list[tuple[int, int, int]], most: int) -> None:
    cache = BlockCache(most, 0)
    scans = [cache.scan() for _ in range(3)]
    held: dict[int, tuple[int, int]] = {}  # size and last user, least recently used first
    for at, name, size in uses:
        found = cache.get(name, scans[at])
        assert (found is not None) == (name in held)
        if found is not None:
            assert found.bounds[0] == name
            held[name] = (held.pop(name)[0], at)
            continue
        cache.keep(name, block(name, size), scans[at])
        if size <= most:
            while sum(each for each, _ in held.values()) + size > most and held[next(iter(held))][1] != at:
                del held[next(iter(held))]
            if sum(each for each, _ in held.values()) + size <= most:
                held[name] = (size, at)
        assert cache.size == sum(each for each, _ in held.values()) <= most


def test_scan_larger_than_the_cache_keeps_its_first_blocks() -> None:
    cache = BlockCache(100, 0)
    for _ in range(2):
        scan = cache.scan()
        found = [cache.get(name, scan) is not None or cache.keep(name, block(name, 10), scan) for name in range(50)]
    assert found == [True] * 10 + [False] * 40


def test_small_blocks_count_with_their_overhead() -> None:
    cache = BlockCache(100_000)
    for name in range(1000):
        cache.keep(name, block(name, 45), cache.scan())
    assert 20 <= sum(cache.get(name, cache.scan()) is not None for name in range(1000)) <= 40
    assert cache.size <= 100_000


def test_threads_share_the_cache() -> None:
    cache = BlockCache(1000, 0)
    wrong: list[object] = []

    def use(seed: int) -> None:
        for turn in range(3000):
            scan, name = cache.scan(), (turn * 7 + seed) % 50
            found = cache.get(name, scan)
            if found is None:
                cache.keep(name, block(name, 20 + name), scan)
            elif found.bounds[0] != name:
                wrong.append(found)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    held = [found for name in range(50) if (found := cache.get(name, cache.scan()))]
    assert cache.size == sum(each.size for each in held) <= 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.tsdb"


@pytest.fixture
def store(path: Path) -> Iterator[EmbeddedStore]:
    store = EmbeddedStore(SQLiteEngine(str(path)), policy=MergePolicy(fan_in=2, final=10_000))
    yield store
    store.close()


def put(store: EmbeddedStore, first: int, count: int = 10) -> None:
    store.append(batches([(1, n, 0, n, b"%06d" % n) for n in range(first, first + count)]))


def test_second_read_comes_from_memory(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, 0)
    before = scanned(store)
    monkeypatch.setattr(tables, "checked_block", lambda *_: pytest.fail("a block was read from the file"))
    assert scanned(store) == before
    assert len(scanned(store, KeyRange.of(mid=(3, 5)))) == 2


def test_cache_of_size_0_keeps_nothing(path: Path) -> None:
    store = EmbeddedStore(SQLiteEngine(str(path), cache_bytes=0))
    put(store, 0)
    verified: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "checked_block", lambda *given: (verified.append(given[1]), checked_block(*given))[1])
        assert len(scanned(store)) == len(scanned(store)) == 10
    assert len(verified) == 2
    store.close()


def test_puts_and_merges_are_visible(store: EmbeddedStore, path: Path) -> None:
    with closing(EmbeddedStore(SQLiteEngine(str(path)))) as other:  # from another process's point of view
        for first in range(0, 200, 10):
            put(store if first % 20 else other, first)
            for each in (store, other):
                assert [row[1] for row in scanned(each)] == list(range(first + 10))


def test_undone_put_leaves_nothing_cached(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, 0)
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(EmbeddedStore, "_add", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        put(store, 10)
    assert len(scanned(store)) == 10
    put(store, 20)
    assert [row[1] for row in scanned(store)] == [*range(10), *range(20, 30)]


def test_copy_restored_over_an_open_file(tmp_path: Path) -> None:
    """Both files have the same ids and runs, but different contents."""
    paths = [tmp_path / name for name in ("a.tsdb", "b.tsdb")]
    for at, each in enumerate(paths):
        with closing(EmbeddedStore(SQLiteEngine(str(each)), clock=lambda at=at: 1000 + at)) as filled:  # type: ignore[misc]
            put(filled, 10 * at)
    with closing(EmbeddedStore(SQLiteEngine(str(paths[0])))) as store:
        assert [row[1] for row in scanned(store)] == list(range(10))
        with closing(sqlite3.connect(paths[1])) as source, closing(sqlite3.connect(paths[0])) as target:
            source.backup(target)
        assert [row[1] for row in scanned(store)] == list(range(10, 20))
