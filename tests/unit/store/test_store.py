"""The embedded store over each engine: what puts promise, what scans see, and how acqs advance."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.batches import Row, batch, batches, rows_in, scanned

from tsmodel.backend import AcqInterval, Batch, PutInterval
from tsmodel.errors import LocalProtocolError, RemoteProtocolError, StoreError, StoreInDoubtError
from tsmodel.keys import LIMITS, Key, KeyRange
from tsmodel.store import EmbeddedStore, open_store
from tsmodel.store.capabilities import Outline, Outliner
from tsmodel.store.intake import arrived, give_acqs
from tsmodel.store.interface import Engine, Writing
from tsmodel.store.memory import MemoryEngine
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import SQLiteEngine

EAGER = MergePolicy(fan_in=2, final=4000)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, time: int = 1000) -> None:
        self.time = time

    def __call__(self) -> int:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    return MemoryEngine() if request.param == "memory" else SQLiteEngine(str(tmp_path / "store.tsdb"))


@pytest.fixture
def store(engine: Engine, clock: Clock) -> Iterator[EmbeddedStore]:
    store = EmbeddedStore(engine, clock=clock, policy=EAGER)
    yield store
    store.close()


def test_put_assigns_acqs_in_order(store: EmbeddedStore) -> None:
    given = store.append(batches([(1, 5, 0, 9, b"a"), (1, 4, 0, 8, b"b"), (0, 3, 0, 7, b"c")]))
    assert given == (1000, 1002)
    assert scanned(store) == [(0, 3, 0, 7, 1002, b"c"), (1, 4, 0, 8, 1001, b"b"), (1, 5, 0, 9, 1000, b"a")]


def test_several_batches_of_one_cid(store: EmbeddedStore) -> None:
    store.append(batches([(1, 1, 0, 0, b"a"), (2, 1, 0, 0, b"b"), (1, 2, 0, 0, b"c"), (1, 3, 0, 0, b"longer")]))
    assert scanned(store) == [
        (1, 1, 0, 0, 1000, b"a"),
        (1, 2, 0, 0, 1002, b"c"),
        (1, 3, 0, 0, 1003, b"longer"),
        (2, 1, 0, 0, 1001, b"b"),
    ]


def test_puta_keeps_its_acqs(store: EmbeddedStore) -> None:
    given = store.append(batches([(1, 1, 0, 0, 77, b"a"), (1, 1, 0, 0, -5, b"b")], with_acq=True), with_acq=True)
    assert given == (-5, 77)
    assert scanned(store) == [(1, 1, 0, 0, -5, b"b"), (1, 1, 0, 0, 77, b"a")]


@pytest.mark.parametrize("nothing", [[], [batch(1, [])], [batch(LIMITS["cid"].bound, [(1, 1, 1, b"")])]])
def test_empty_put(store: EmbeddedStore, nothing: list[Batch]) -> None:
    assert store.append(nothing) == (-1, -1)
    assert scanned(store) == []
    assert store.append(batches([(1, 1, 0, 0, b"")])) == (1000, 1000)


@pytest.mark.parametrize("payloads", [(b"x", b"y", b"z"), (b"x", b"", b"yes")], ids=["one size", "mixed sizes"])
def test_records_with_a_reserved_greatest_value_are_skipped(store: EmbeddedStore, payloads: tuple[bytes, ...]) -> None:
    for at, name in enumerate(("cid", "mid", "moid", "cap", "acq")):
        bad = [1, 1, 1, 1, 1]
        bad[at] = LIMITS[name].bound
        rows = [(1, at, 0, 0, 5, payloads[0]), (*bad, payloads[1]), (1, at, 1, 0, 6, payloads[2])]
        with_acq = name == "acq"
        store.append(
            batches(rows if with_acq else [(*row[:4], row[5]) for row in rows], with_acq=with_acq), with_acq=with_acq
        )
    assert [row[1:3] for row in scanned(store)] == [(at, moid) for at in range(5) for moid in (0, 1)]
    assert {row[-1] for row in scanned(store)} == {payloads[0], payloads[2]}


def test_greatest_storable_values_are_stored_and_read(store: EmbeddedStore) -> None:
    key = tuple(limits.bound - 1 for limits in LIMITS.values())
    least = tuple(limits.least for limits in LIMITS.values())
    store.append(batches([(*key, b"greatest"), (*least, b"least")], with_acq=True), with_acq=True)
    assert scanned(store) == [(*least, b"least"), (*key, b"greatest")]


@pytest.mark.parametrize("cid", [-1, -2, 2**31])
def test_cid_out_of_range_is_refused(store: EmbeddedStore, cid: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"cid {cid}"):
        store.append([batch(1, [(1, 1, 1, b"")]), batch(cid, [(1, 1, 1, b"")])])
    assert scanned(store) == []


def test_malformed_batch_is_refused(store: EmbeddedStore) -> None:
    with pytest.raises(RemoteProtocolError):
        store.append([batch(1, [(1, 1, 1, b"")]), Batch(1, memoryview(b"\5\0\0\0"), 1)])
    assert scanned(store) == []


@pytest.mark.parametrize("sizes", [[0], [0, 1, 0], [32 * 2**20], [32 * 2**20, 0, 3, 2**20, 2**20 + 1]])
def test_payloads_of_any_size(store: EmbeddedStore, sizes: list[int]) -> None:
    rows = [(1, at, 0, 0, bytes([at]) * size) for at, size in enumerate(sizes)]
    store.append(batches(rows))
    store.append(batches(rows))
    assert [(row[1], row[5]) for row in scanned(store)] == sorted((row[1], row[4]) for row in rows * 2)


def test_acqs_ascend_when_the_clock_steps_back(store: EmbeddedStore, clock: Clock) -> None:
    assert store.append(batches([(1, 1, 1, n, b"") for n in range(10)])) == (1000, 1009)
    clock.time = 5
    assert store.append(batches([(1, 1, 1, 1, b"")])) == (1010, 1010)
    clock.time = 2000
    assert store.append(batches([(1, 1, 1, 1, b"")])) == (2000, 2000)


def test_last_acq(store: EmbeddedStore, clock: Clock) -> None:
    everything = KeyRange()
    assert store.last_acq(everything) == 0
    assert store.last_acq(KeyRange.of(acq=(-9, -5))) == -5
    store.append(batches([(1, 1, 1, n, b"") for n in range(10)]))
    assert store.last_acq(everything) == 1010
    assert store.last_acq(KeyRange.of(acq=(0, 1004))) == 1004
    with store.scan(KeyRange.of(cap=(0, 5))) as scan:
        list(scan)
        assert scan.acq == 1010


def test_last_acq_of_an_empty_store_holds_with_a_clock_before_2001(store: EmbeddedStore, clock: Clock) -> None:
    clock.time = -(10**18)
    assert store.last_acq(KeyRange()) == 0
    assert store.append(batches([(1, 1, 1, 1, b"")])) == (0, 0)
    assert store.last_acq(KeyRange()) == 1


def test_acq_before_2001_leaves_last_acq_at_0(store: EmbeddedStore) -> None:
    store.append(batches([(1, 1, 1, 1, -700, b"")], with_acq=True), with_acq=True)
    assert store.last_acq(KeyRange()) == 0
    assert scanned(store) == [(1, 1, 1, 1, -700, b"")]


def test_puta_advances_last_acq_but_not_beyond_the_clock(store: EmbeddedStore) -> None:
    store.append(batches([(1, 1, 1, 1, 700, b"")], with_acq=True), with_acq=True)
    assert store.last_acq(KeyRange()) == 701
    store.append(batches([(1, 1, 1, 1, 10**15, b"")], with_acq=True), with_acq=True)
    assert store.last_acq(KeyRange()) == 1001
    assert store.append(batches([(1, 1, 1, 1, b"")])) == (1001, 1001)


def test_no_acq_falls_below_advance(store: EmbeddedStore) -> None:
    store.advance(5000)
    assert store.last_acq(KeyRange()) == 5000
    assert store.append(batches([(1, 1, 1, 1, b"")])) == (5000, 5000)
    store.advance(10)
    assert store.last_acq(KeyRange()) == 5001
    with pytest.raises(StoreError, match="out of range"):
        store.advance(2**63)


def test_put_fails_when_no_acq_is_left(store: EmbeddedStore) -> None:
    store.advance(LIMITS["acq"].bound - 1)
    assert store.append(batches([(1, 1, 1, 1, b"")])) == (LIMITS["acq"].bound - 1, LIMITS["acq"].bound - 1)
    with pytest.raises(StoreError, match="no acquisition time is left"):
        store.append(batches([(1, 1, 1, 1, b"")]))
    assert len(scanned(store)) == 1


def test_scan_sees_a_snapshot(store: EmbeddedStore) -> None:
    store.append(batches([(1, n, 0, 0, b"%05d" % n) for n in range(5000)]))
    with store.scan(KeyRange()) as scan:
        first = bytes(next(scan).rows())
        for n in range(20):
            store.append(batches([(1, n, 1, n, bytes(n))]))
        rest = b"".join(chunk.rows() for chunk in scan)
    assert len(first + rest) == 5000 * 41
    assert len(scanned(store)) == 5020


def test_abandoned_scans_do_not_block_puts(store: EmbeddedStore) -> None:
    store.append(batches([(1, n, 0, 0, b"") for n in range(10_000)]))
    for _ in range(50):
        with store.scan(KeyRange()) as scan:
            next(scan)
    store.append(batches([(2, 0, 0, 0, b"")]))
    assert len(scanned(store)) == 10_001


@pytest.mark.parametrize(
    "box",
    [
        KeyRange.of(cid=(2, 2)),
        KeyRange.of(cap=(5, 1)),
        KeyRange(Key(0, 0, 0, 0, 0), Key(0, 9, 9, 9, 9)),
    ],
)
def test_empty_box(store: EmbeddedStore, box: KeyRange) -> None:
    store.append(batches([(2, 0, 0, 0, b"")]))
    assert scanned(store, box) == []


def test_boxes_are_half_open_in_each_component(store: EmbeddedStore) -> None:
    keys = [(c, m, o, t, a) for c in (1, 2) for m in (1, 2) for o in (1, 2) for t in (1, 2) for a in (1, 2)]
    store.append(batches([(*key, b"") for key in keys], with_acq=True), with_acq=True)
    for name in LIMITS:
        at = list(LIMITS).index(name)
        assert {row[at] for row in scanned(store, KeyRange.of(**{name: (1, 2)}))} == {1}
        assert len(scanned(store, KeyRange.of(**{name: (1, 2)}))) == 16
    assert len(scanned(store, KeyRange(Key(1, 1, 1, 1, 1), Key(2, 2, 2, 2, 2)))) == 1


def test_concurrent_readers_and_writers(store: EmbeddedStore) -> None:
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - checked by the main thread
                failures.append(error)

        return threading.Thread(target=run)

    def write(cid: int) -> None:
        for n in range(20):
            store.append(batches([(cid, n, 0, m, b"12345") for m in range(50)]))

    def read() -> None:
        for _ in range(30):
            rows = scanned(store)
            assert len(rows) % 50 == 0
            assert len({row[4] for row in rows}) == len(rows)

    threads = [guarded(lambda cid=cid: write(cid)) for cid in range(3)] + [guarded(read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(scanned(store)) == 3 * 20 * 50


def test_closed_store_refuses_calls(store: EmbeddedStore) -> None:
    store.close()
    store.close()
    for call in (
        lambda: store.append(batches([(1, 1, 1, 1, b"")])),
        lambda: scanned(store),
        lambda: store.last_acq(KeyRange()),
    ):
        with pytest.raises(StoreError, match="closed"):
            call()


def test_put_that_fails_midway_stores_nothing(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append(batches([(1, 1, 1, 1, b"")]))
    monkeypatch.setattr(store, "_add", lambda *_: (_ for _ in ()).throw(MemoryError("full")))
    with pytest.raises(MemoryError):
        store.append(batches([(1, 2, 1, 1, b""), (2, 2, 1, 1, b"")]))
    monkeypatch.undo()
    assert len(scanned(store)) == 1
    assert store.append(batches([(1, 1, 1, 1, b"")])) == (1001, 1001)


class Together:
    """Puts that arrive while another one is being written, so that they share a commit."""

    def __init__(self, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self._store, self._begun, self._goes_on = store, threading.Event(), threading.Event()
        self.groups: list[int] = []
        self._written = store._write
        monkeypatch.setattr(store, "_write", self._write)

    def _write(self, transaction: Writing, puts: Sequence[Any]) -> list[AcqInterval]:
        given = self._written(transaction, puts)
        self.groups.append(len(puts))
        if len(self.groups) == 1:
            self._begun.set()
            assert self._goes_on.wait(20)
        return given

    def store(self, puts: Sequence[tuple[list[Batch], bool]]) -> list[Any]:
        """Returns each put's acqs or its error."""
        outcomes: list[Any] = [None] * len(puts)

        def put(at: int) -> None:
            try:
                outcomes[at] = self._store.append(puts[at][0], with_acq=puts[at][1])
            except BaseException as error:  # noqa: BLE001 - returned to the test
                outcomes[at] = error

        threads = []
        for at in range(len(puts)):
            before = len(self._store._group._queue)
            threads.append(threading.Thread(target=put, args=(at,)))
            threads[-1].start()
            if at == 0:
                assert self._begun.wait(20)
            while at and len(self._store._group._queue) == before and threads[-1].is_alive():
                time.sleep(0.002)
        self._goes_on.set()
        for thread in threads:
            thread.join(20)
        return outcomes


@pytest.mark.parametrize(
    "box",
    [
        KeyRange(),
        KeyRange.of(cid=(1, 2)),
        KeyRange.of(mid=(4, 6)),
        KeyRange.of(cap=(50, 120)),
        KeyRange.of(acq=(1000, 1100)),
        KeyRange.of(cid=(7, 9)),
        KeyRange.of(cap=(5, 5)),
    ],
)
def test_outline_counts_each_record_once(store: EmbeddedStore, box: KeyRange) -> None:
    for mid in (4, 5, 6):
        store.append(batches([(1, mid, 0, cap, b"x") for cap in range(mid, 100 + mid)]))
    store.append(batches([(2, mid, 1, cap, b"y") for mid in (4, 5) for cap in range(3)]))
    counted: Counter[tuple[int, int, int]] = Counter()
    caps: dict[tuple[int, int, int], set[int]] = {}
    for part in store.outline(box):
        if isinstance(part, Outline):
            assert part.records > 0
            counted[part[:3]] += part.records
            caps.setdefault(part[:3], set()).update((part.cap_min, part.cap_max))
        else:
            for cid, mid, moid, cap, *_ in rows_in(part):
                counted[cid, mid, moid] += 1
                caps.setdefault((cid, mid, moid), set()).add(cap)
    found = scanned(store, box)
    assert counted == Counter(row[:3] for row in found)
    for series, seen in caps.items():
        stored = [row[3] for row in found if row[:3] == series]
        assert (min(seen), max(seen)) == (min(stored), max(stored))


def test_outline_uses_the_directory_instead_of_blocks(store: EmbeddedStore) -> None:
    store.append(batches([(1, 4, 0, cap, b"x") for cap in range(100)]))
    assert list(store.outline(KeyRange())) == [Outline(1, 4, 0, 100, 0, 99)]
    assert isinstance(store, Outliner)
    before = store.position()
    store.append(batches([(1, 4, 0, 7, b"x")]))
    after = store.position()
    assert (after.puts, after.removals) == (before.puts + 1, before.removals)
    assert after.acq > before.acq


@pytest.fixture
def together(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> Together:
    return Together(store, monkeypatch)


def one(cid: int, mid: int, payload: bytes = b"") -> tuple[list[Batch], bool]:
    return batches([(cid, mid, 0, 0, payload)]), False


def test_concurrent_puts_share_a_transaction(store: EmbeddedStore, together: Together) -> None:
    puts = [one(1, 0), one(1, 1), (batches([(2, 2, 0, n, b"long") for n in range(100)]), False), ([], False)]
    puts += [(batches([(1, 3, 0, 0, 500, b""), (1, 3, 0, 0, 9, b"")], with_acq=True), True), one(1, 4, b"odd")]
    assert together.store(puts) == [(1000, 1000), (1001, 1001), (1002, 1101), (-1, -1), (9, 500), (1102, 1102)]
    assert together.groups == [1, 5]
    rows = scanned(store)
    assert [row[1] for row in rows] == [0, 1, 3, 3, 4] + [2] * 100
    assert [row[4] for row in rows] == [1000, 1001, 9, 500, 1102, *range(1002, 1102)]
    assert store.last_acq(KeyRange()) == 1103


def test_future_puta_does_not_move_the_acqs_of_concurrent_puts_beyond_the_clock(
    store: EmbeddedStore, together: Together, clock: Clock
) -> None:
    future = batches([(1, 3, 0, 0, 10**15, b"")], with_acq=True), True
    clock.time = 5000
    assert together.store([one(1, 0), future, one(1, 1)]) == [(5000, 5000), (10**15, 10**15), (5001, 5001)]
    assert store.last_acq(KeyRange()) == 5002


def test_concurrent_puts_respect_advance(store: EmbeddedStore, together: Together) -> None:
    store.advance(7000)
    assert together.store([one(1, 0), one(1, 1), one(2, 2)]) == [(7000, 7000), (7001, 7001), (7002, 7002)]


def test_bad_put_fails_alone(store: EmbeddedStore, together: Together, monkeypatch: pytest.MonkeyPatch) -> None:
    add = store._add

    def failing(transaction: Writing, cid: int, *more: Any) -> None:
        if cid == 3:
            raise StoreError("the block is damaged")
        add(transaction, cid, *more)

    monkeypatch.setattr(store, "_add", failing)
    outcomes = together.store([one(1, 0), one(2, 1), one(3, 2), (batches([(-4, 1, 1, 1, b"")]), False), one(4, 3)])
    assert [outcome for at, outcome in enumerate(outcomes) if at not in (2, 3)] == [(n, n) for n in (1000, 1001, 1002)]
    assert [str(outcomes[at]).partition(":")[0].partition(";")[0] for at in (2, 3)] == [
        "the block is damaged",
        "a batch has cid -4",
    ]
    assert [row[0] for row in scanned(store)] == [1, 2, 4]
    monkeypatch.undo()
    assert store.append(batches([(1, 1, 1, 1, b"")])) == (1003, 1003)


def test_last_free_acq_goes_to_the_first_put(store: EmbeddedStore, together: Together) -> None:
    store.advance(LIMITS["acq"].bound - 2)
    first, second, third, puta = together.store(
        [one(1, 0), one(1, 1), one(1, 2), (batches([(1, 3, 0, 0, 8, b"")], with_acq=True), True)]
    )
    assert (first.acq_max, second.acq_max, puta) == (LIMITS["acq"].bound - 2, LIMITS["acq"].bound - 1, (8, 8))
    assert "no acquisition time is left" in str(third)
    assert len(scanned(store)) == 3


@pytest.mark.parametrize("has_begun", [True, False])
def test_shared_commit_that_fails_leaves_all_its_puts_in_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_begun: bool
) -> None:
    engine = SQLiteEngine(str(tmp_path / "store.tsdb"))
    store = EmbeddedStore(engine)
    together = Together(store, monkeypatch)
    done: list[object] = []
    name = "_commit" if has_begun else "_begin"
    original = getattr(engine, name)

    def failing(*arguments: Any) -> None:
        done.append(None)
        if len(done) == 1:
            original(*arguments)
        elif has_begun:
            engine._fail("disk I/O error", None)
        else:
            raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(engine, name, failing)
    first, *outcomes = together.store([one(1, 0), one(1, 1), one(2, 2), one(2, 3)])
    assert isinstance(first, AcqInterval)
    assert [type(outcome) for outcome in outcomes] == [StoreInDoubtError if has_begun else StoreError] * 3
    assert len({id(outcome) for outcome in outcomes}) == 3
    assert {outcome.path for outcome in outcomes} == {str(tmp_path / "store.tsdb")}
    assert all(("open it again to find out" if has_begun else "nothing was stored") in str(o) for o in outcomes)
    assert len(done) == 2  # no retry: the transaction cannot begin, or the puts may be stored
    store.close()


def test_interrupted_leader_reports_that_the_other_puts_were_not_stored(store: EmbeddedStore, together: Together) -> None:
    written = together._written

    def interrupted(transaction: Writing, puts: Sequence[Any]) -> list[AcqInterval]:
        if len(puts) > 1:
            raise SystemExit
        return written(transaction, puts)

    together._written = interrupted
    _, *outcomes = together.store([one(1, 0), one(1, 1), one(1, 2), one(1, 3)])
    assert isinstance(outcomes[0], SystemExit)  # its thread led the group
    assert all("interrupted; nothing was stored" in str(outcome) for outcome in outcomes[1:])
    assert [row[1] for row in scanned(store)] == [0]


def test_open_store_without_a_path_is_in_memory() -> None:
    store = open_store(None)
    assert store.path is None
    store.close()


@pytest.mark.parametrize("payload_sizes", [(4,), (2, 5)])
def test_large_put_is_stored_in_slices_and_undone_exactly(engine: Engine, payload_sizes: tuple[int, ...]) -> None:
    clock = Clock()
    large = [
        (n % 3, -(n * 7919 % 40), n % 2, n * 31 % 997, b"%02d" % (n % 90) * payload_sizes[n % len(payload_sizes)])
        for n in range(12_000)
    ]
    beside = [(*row[:4], 10**6 + n % 50, row[4]) for n, row in enumerate(large)]  # acqs that other puts use, too
    sent: list[tuple[list[Row], bool]] = [
        ([(1, 1, 1, 1, b"first")], False),
        (large, False),
        (beside, True),
        (beside[:100], True),
        (large[5000:], False),
    ]
    with closing(EmbeddedStore(engine, clock=clock, slice_bytes=150_000)) as store:
        ids = []
        for rows, with_acq in sent:
            given = store.append(batches(rows, with_acq=with_acq), with_acq=with_acq)
            assert isinstance(given, PutInterval)
            ids.append(given.put)
        infos = [(put.cids, put.count, put.keeps_acq) for put in store.puts()]
        assert infos == [
            ((1,), 1, False),
            ((0, 1, 2), 12_000, False),
            ((0, 1, 2), 12_000, True),
            ((0, 1, 2), 100, True),
            ((0, 1, 2), 7000, False),
        ]
        first = store.puts()[1]
        assert (first.acq_min, first.acq_max) == (1001, 13_000)
        by_acq = sorted((row for row in scanned(store) if first.acq_min <= row[4] <= first.acq_max), key=lambda row: row[4])
        for cid in range(3):  # in order of arrival
            assert [(*row[:4], row[5]) for row in by_acq if row[0] == cid] == [row for row in large if row[0] == cid]
        assert store.undo([ids[2]]) == 12_000
        assert sum(row[4] >= 10**6 for row in scanned(store)) == 100
        assert store.undo([ids[1]]) == 12_000
        assert not [row for row in scanned(store) if first.acq_min <= row[4] <= first.acq_max]
        assert store.undo([ids[3], ids[4]]) == 7100
        assert [row[5] for row in scanned(store)] == [b"first"]


def test_large_put_that_is_dropped_or_fails_stores_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(n // 1000, n % 1000 // 25, 0, n, b"payload") for n in range(3000)]
    with closing(EmbeddedStore(engine, slice_bytes=20_000)) as store:
        dropped = store.begin_put(with_acq=False)
        dropped.add(batches(rows))
        assert 0 < dropped.held < 30_000
        bad = store.begin_put(with_acq=False)
        bad.add(batches(rows))
        with pytest.raises(LocalProtocolError, match="cid -4"):
            bad.add(batches([(-4, 1, 1, n, b"") for n in range(3000)]))
        monkeypatch.setattr(store, "_add", lambda *_: (_ for _ in ()).throw(StoreError("the disk is full")))
        with pytest.raises(StoreError, match="the disk is full"):
            store.append(batches(rows))
        assert scanned(store) == []
        assert store.puts() == []
        monkeypatch.undo()
        store.append(batches(rows))
        assert len(scanned(store)) == 3000


def test_large_puts_share_a_commit(store: EmbeddedStore, together: Together) -> None:
    large = batches([(n % 2, n, 0, 0, b"12345678") for n in range(600)])
    puta = batches([(n % 2, n, 0, 0, 5000 + n, b"12345678") for n in range(600)], with_acq=True)
    puts = [one(1, 0), (large, False), one(1, 1), (puta, True), (large, False)]
    given = together.store(puts)
    assert given == [(1000, 1000), (1001, 1600), (1601, 1601), (5000, 5599), (1602, 2201)]
    assert together.groups == [1, 4]
    assert store.undo([given[3].put]) == 600
    assert store.undo([given[1].put]) == 600
    assert sorted(row[4] for row in scanned(store)) == [1000, *range(1601, 2202)]


def test_small_batches_are_joined_by_cid() -> None:
    rows = [(n % 7, n, 1, n, b"x" * (n % 3)) for n in range(1000)]
    came = arrived(batches(rows), with_acq=False)
    give_acqs(came, 100)
    assert [each.first for each in came] == [0, 143, 286, 429, 572, 715, 858]
    assert [row[4] for each in came for row in rows_in(each.chunk)] == list(range(100, 1100))
    assert len(came) == 7
    assert sum(len(each.chunk) for each in came) == 1000
    store = open_store(None)
    store.append(batches(rows))
    by_arrival = sorted(scanned(store), key=lambda row: (row[0], row[4]))
    assert [(*row[:4], row[5]) for row in by_arrival] == sorted(rows, key=lambda row: row[0])
