"""Puts, PUTAs, removals, undos, compaction and reopening in random order, compared with a plain list."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import attrs
import numpy as np
import pytest
from support.batches import Row, batches, rows_in, scanned

from tsmodel.backend import PutId, PutInterval
from tsmodel.errors import StoreError
from tsmodel.keys import Key, KeyRange
from tsmodel.store import EmbeddedStore, blocks, info, maintenance, verify
from tsmodel.store.memory import MemoryEngine
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import SQLiteEngine
from tsmodel.wire.chunk import Chunk


@attrs.define
class Plain:
    """What a store should hold: records with the number of their put, puts, and removals."""

    rows: list[tuple[int, Row]] = attrs.field(factory=list)
    puts: dict[int, PutId] = attrs.field(factory=dict)
    undone: set[int] = attrs.field(factory=set)
    removals: list[tuple[str, int]] = attrs.field(factory=list)
    last: int = -(2**63)

    def remove(self, kind: str, gone: list[tuple[int, Row]]) -> int:
        for each in gone:
            self.rows.remove(each)
        if gone:
            self.removals.append((kind, len(gone)))
        return len(gone)


class Case:
    """A store and its expected contents."""

    def __init__(self, seed: int, path: Path | None) -> None:
        self.rng = random.Random(seed)
        self.path = path
        self.time = 0
        self.plain = Plain()
        self.store = self.opened()

    def opened(self) -> EmbeddedStore:
        engine = MemoryEngine() if self.path is None else SQLiteEngine(str(self.path), self.rng.choice([0, 2**20]))
        # The clock stands still, steps back, and lags behind the acqs of PUTAs.
        some = self.rng.choice
        policy = MergePolicy(
            2, some([200, 5000, 2**23]), dense=some([2, 64]), whole=some([100, 2**21]), step=some([300, 2**24])
        )
        return EmbeddedStore(engine, clock=self.clock, policy=policy, slice_bytes=some([200, 900, 2**25]))

    def clock(self) -> int:
        self.time += self.rng.choice([0, 1, 1, 5, -2])
        return self.time

    def row(self, acq: int | None) -> Row:
        rng = self.rng
        payload = rng.randbytes(4) if rng.random() < 0.8 else rng.randbytes(rng.randrange(6))
        key = (rng.randrange(2), rng.randrange(3), rng.randrange(2), rng.randrange(20))
        return (*key, payload) if acq is None else (*key, acq, payload)

    def box(self) -> KeyRange:
        ends = {"cid": 2, "mid": 3, "moid": 2, "cap": 20, "acq": self.time + 10}
        named = {}
        for name, end in ends.items():
            if self.rng.random() < 0.4:
                low = self.rng.randrange(end)
                named[name] = (low, self.rng.randrange(low, end) + 1)
        return KeyRange.of(**named)

    def put(self) -> None:
        rng = self.rng
        with_acq = rng.random() < 0.5
        sent = [self.row(rng.randrange(self.time + 10) if with_acq else None) for _ in range(rng.choice([1, 3, 30, 90]))]
        if with_acq and self.plain.rows and rng.random() < 0.5:  # reuse keys and acqs
            sent += [row for _, row in rng.sample(self.plain.rows, min(5, len(self.plain.rows)))]
        sent.sort(key=lambda row: row[0])
        found = self.store.append(batches(sent, with_acq=with_acq), with_acq=with_acq)
        assert isinstance(found, PutInterval)
        rows = sent if with_acq else [(*row[:4], found.acq_min + at, row[4]) for at, row in enumerate(sent)]
        self.plain.rows += [(found.put.number, row) for row in rows]
        self.plain.puts[found.put.number] = found.put

    def remove(self) -> None:
        box, first = self.box(), self.rng.random() < 0.5

        def predicate(chunk: Chunk) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
            return np.array([len(row[5]) > 0 and row[5][0] % 2 == 0 for row in rows_in(chunk)], np.bool_)

        def matches(row: Row) -> bool:
            return Key(*row[:5]) in box and (not first or (len(row[5]) > 0 and row[5][0] % 2 == 0))

        gone = [each for each in self.plain.rows if matches(each[1])]
        meant = predicate if first else None
        assert self.store.remove([box], meant, dry_run=True) == len(gone)
        assert self.store.remove([box], meant, note="a note") == self.plain.remove("delete", gone)

    def undo(self) -> None:
        numbers = self.rng.sample(sorted(self.plain.puts), min(len(self.plain.puts), self.rng.choice([1, 1, 3])))
        ids = [self.plain.puts[number] for number in numbers]
        if self.plain.undone & set(numbers):
            with pytest.raises(StoreError, match="was already undone at"):
                self.store.undo(ids)
            return
        gone = [each for each in self.plain.rows if each[0] in numbers]
        assert self.store.undo(ids) == self.plain.remove("undo", gone)
        self.plain.undone |= set(numbers)

    def reopen(self) -> None:
        if self.path is not None:
            self.store.close()
            self.store = self.opened()

    def compact(self) -> None:
        if self.path is not None:
            maintenance.compact(self.store)

    def restore(self) -> None:
        """Continues with a backup or with a recovered copy."""
        if self.path is None:
            return
        new = self.path.with_name(f"{self.rng.random()}.tsdb")
        if self.rng.random() < 0.5:
            maintenance.backup(self.store, new)
            self.store.close()
        else:
            self.store.close()
            assert maintenance.recover(self.path, new).faults == ()
        self.path = new
        self.store = self.opened()

    def check(self) -> None:
        assert scanned(self.store) == sorted(row for _, row in self.plain.rows)
        found = self.store.removals()
        assert [(removal.kind, removal.count) for removal in found] == self.plain.removals
        assert [removal.number for removal in found] == list(range(1, len(found) + 1))
        puts = self.store.puts()
        assert [put.id for put in puts] == [self.plain.puts[number] for number in sorted(self.plain.puts)]
        assert {put.number for put in puts if put.undone is not None} == self.plain.undone
        last = self.store.last_acq(KeyRange())
        assert last >= self.plain.last
        self.plain.last = last

    def run(self, steps: int) -> None:
        actions = [self.put] * 5 + [self.remove] * 2 + [self.undo] * 3 + [self.reopen, self.compact, self.restore]
        for _ in range(steps):
            self.rng.choice(actions)()
            self.check()
        self.store.close()
        if self.path is not None:
            report = verify(self.path)
            assert report.is_whole, report
            assert report.records == len(self.plain.rows)
            found = info(self.path)
            assert (found.puts, found.removals) == (len(self.plain.puts), len(self.plain.removals))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", ["memory", "file"])
def test_removals_match_a_plain_list(kind: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_RECORDS", 16)
    monkeypatch.setattr(maintenance, "_STEP", 2000)
    Case(seed, tmp_path / "store.tsdb" if kind == "file" else None).run(40)


def test_removing_everything_keeps_last_acq(tmp_path: Path) -> None:
    path = tmp_path / "store.tsdb"
    with closing(EmbeddedStore(SQLiteEngine(str(path)))) as store:
        store.append(batches([(1, 1, 1, n, b"x") for n in range(100)]))
        last = store.last_acq(KeyRange())
        assert store.remove([KeyRange()]) == 100
        maintenance.compact(store)
        assert scanned(store) == []
        assert store.last_acq(KeyRange()) == last
    with closing(EmbeddedStore(SQLiteEngine(str(path)), clock=lambda: 0)) as store:
        assert store.last_acq(KeyRange()) == last
        assert store.append(batches([(1, 1, 1, 1, b"x")])).acq_min == last
