"""Random puts, corrections, deletions, undos, prunes, follows and copies through sessions, compared with a plain list."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from tsmodel import Int32, KeyRange, Session, TSModel, connect, now_ns
from tsmodel.errors import RemovedWarning, StoreError
from tsmodel.session import Receipt

DAY = 86_400 * 10**9


class Reading(TSModel, moid=7, retention="10d"):
    counter: Int32


class Backfilled(TSModel, moid=8):
    counter: Int32


class Case:
    """A store, its expected contents, and the records a follower and a copy have received."""

    def __init__(self, seed: int, path: Path, in_memory: bool) -> None:
        self.rng = random.Random(seed)
        self.path, self.in_memory = path, in_memory
        self.session, self.target = self.opened(), connect("memory:")
        self.now = now_ns()
        self.rows: list[tuple[int, TSModel]] = []  # number of the flush, object
        self.receipts: list[Receipt] = []
        self.undone: set[int] = set()
        self.given: dict[str, list[int]] = {"follow": [], "copy": []}
        self.removed: dict[str, set[int]] = {"follow": set(), "copy": set()}
        self.next = 0

    def opened(self) -> Session:
        return connect("memory:") if self.in_memory else connect(self.path / "readings.tsdb", cache_bytes=1000)

    def made(self, model: type[Reading | Backfilled], count: int) -> list[TSModel]:
        numbers = range(self.next, self.next + count)
        self.next += count
        cap = self.now - self.rng.choice([1, 20]) * DAY
        return [model(cid=n % 2, mid=n % 3, cap=cap - n % 4, counter=n) for n in numbers]

    def flush(self, rows: list[TSModel]) -> None:
        receipt = self.session.flush()
        assert receipt.count == len(rows)
        self.rows += [(len(self.receipts), row) for row in rows]
        self.receipts.append(receipt)

    def put(self) -> None:
        rows = self.made(Reading, self.rng.choice([1, 5, 60]))
        if self.rng.random() < 0.4:
            rows += self.made(Backfilled, 3)
        self.session.add_all(rows)
        self.flush(rows)

    def correct(self) -> None:
        stored = self.session.query(Reading).limit(3).all()
        corrections: list[TSModel] = []
        for row in stored:
            corrections.append(self.session.correct(row, counter=self.next))
            self.next += 1
        if corrections:
            self.flush(corrections)

    def backfill(self) -> None:
        """Stores records that reuse keys and acqs."""
        rows = self.made(Backfilled, 4)
        for row, other in zip(rows, self.session.query(Reading | Backfilled).limit(4).all(), strict=False):
            row.cid, row.mid, row.cap, row.acq = other.cid, other.mid, other.cap, other.acq
        for row in rows:
            row.acq = self.rng.randrange(100) if row.acq == -1 else row.acq
        self.session.add_all(rows, keep_acq=True)
        self.flush(rows)

    def remove(self, meant: Callable[[int, TSModel], bool]) -> int:
        gone = [(number, row) for number, row in self.rows if meant(number, row)]
        self.rows = [each for each in self.rows if each not in gone]
        for name, given in self.given.items():
            self.removed[name] |= {row.counter for _, row in gone} & set(given)  # type: ignore[attr-defined]
        return len(gone)

    def delete(self) -> None:
        model, cid, least = self.rng.choice([Reading, Backfilled]), self.rng.randrange(2), self.rng.randrange(self.next + 1)
        query = self.session.query(model).cid(cid).where(model.counter >= least)
        would = query.delete(dry_run=True)
        assert query.delete() == would
        assert would == self.remove(lambda _, row: type(row) is model and row.cid == cid and row.counter >= least)

    def undo(self) -> None:
        if not self.receipts:
            return
        number = self.rng.randrange(len(self.receipts))
        if number in self.undone:
            with pytest.raises(StoreError, match="was already undone at"):
                self.session.undo(self.receipts[number])
            return
        assert self.session.undo(self.receipts[number]) == self.remove(lambda each, _: each == number)
        self.undone.add(number)

    def prune(self) -> None:
        pruned = self.session.prune(Reading)
        assert pruned == self.remove(lambda _, row: type(row) is Reading and row.cap < self.now - 10 * DAY)

    def reopen(self) -> None:
        if not self.in_memory:
            self.session.close()
            self.session = self.opened()

    def compact(self) -> None:
        if not self.in_memory:
            self.session.compact()

    def follow(self) -> None:
        new: list[int] = []

        def work() -> None:
            with self.session.query(Reading).follow(checkpoint=self.path / "follow", wait=False) as rows:
                new.extend(row.counter for row in rows)

        self.warned("follow", work)
        present = {row.counter for _, row in self.rows if type(row) is Reading}
        assert sorted(new) == sorted(present - set(self.given["follow"]))
        self.given["follow"] += new

    def copy(self) -> None:
        self.warned("copy", lambda: self.session.copy(KeyRange.of(moid=(7, 8)), self.target, checkpoint=self.path / "copy"))
        copied = [row.counter for row in self.target.query(Reading).all()]
        present = {row.counter for _, row in self.rows if type(row) is Reading}
        assert sorted(copied) == sorted(present | set(self.given["copy"]))
        self.given["copy"] = copied

    def warned(self, name: str, work: Callable[[], object]) -> None:
        """Runs work that must warn, once, if records it delivered earlier were removed."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
        messages = [each.message for each in caught]
        assert all(isinstance(message, RemovedWarning) for message in messages)
        if self.removed[name]:
            assert messages
        self.removed[name].clear()
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # once
            work()

    def check(self) -> None:
        for model in (Reading, Backfilled):
            found = sorted(row.counter for row in self.session.query(model).all())
            assert found == sorted(row.counter for _, row in self.rows if type(row) is model)

    def run(self, steps: int) -> None:
        actions = [self.put] * 4 + [self.correct, self.backfill, self.delete, self.undo, self.undo, self.prune]
        actions += [self.reopen, self.compact, self.follow, self.follow, self.copy, self.copy]
        for _ in range(steps):
            self.rng.choice(actions)()
            self.check()
        assert len(self.session.puts()) == len(self.receipts)
        self.session.close()
        self.target.close()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("in_memory", [True, False], ids=["memory", "file"])
def test_sessions_match_a_plain_list(seed: int, in_memory: bool, tmp_path: Path) -> None:
    Case(seed, tmp_path, in_memory).run(60)
