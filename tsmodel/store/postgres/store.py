"""The store in PostgreSQL: sorts, compresses, and sends the records of a put before it takes the lock.

Rules kept here:

* Under the lock, only acqs and numbers are assigned. Until then, the acqs of a PUT count from 0; the directory of a run
  holds the offset to add.
* acqs come from the server's clock, which all writers share.
* A removal reads and rewrites blocks before it takes the lock. If runs were changed meanwhile, it is tried again.
* A client that has just stored records also merges runs, in transactions of their own: one client at a time, while others
  read and write. A merge whose runs were changed meanwhile is abandoned.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Final

from tsmodel.backend import AcqInterval, PutId, PutInfo, PutInterval
from tsmodel.errors import StoreError, TransportError
from tsmodel.keys import LIMITS, KeyRange
from tsmodel.store.blocks import Base, chunks_of, merged_runs
from tsmodel.store.directory import Directory, Level
from tsmodel.store.intake import Put, by_cid, runs_of
from tsmodel.store.interface import Run, SupersededError, Writing
from tsmodel.store.merging import MergePolicy
from tsmodel.store.postgres.engine import PostgresEngine, PostgresTransaction
from tsmodel.store.store import FIRST_ACQ, EmbeddedStore, answer_of
from tsmodel.wire.chunk import Chunk

__all__ = ["PostgresStore"]

_log = logging.getLogger("tsmodel.store")

_EVERY: Final = 8
"""A client looks for runs to merge once per this many new runs."""
_ATTEMPTS: Final = 3
"""How often a removal is tried that takes the lock last. The next attempt takes it first."""
_AT_ONCE: Final = 64 * 2**20
"""Maximum size of the records merged after one put, in bytes."""


class PostgresStore(EmbeddedStore):
    """A backend that stores records in PostgreSQL. Thread-safe.

    Args:
        engine: stores the blocks; the store closes it.
        policy: decides when runs are merged.
    """

    _engine: PostgresEngine

    def __init__(self, engine: PostgresEngine, *, policy: MergePolicy | None = None) -> None:
        super().__init__(engine, policy=policy)
        self._is_due = False

    def store(self, put: Put) -> AcqInterval:
        """See `EmbeddedStore.store`."""
        interval = super().store(put)
        if self._is_due:
            self._is_due = False
            self.tend()
        return interval

    def tend(self) -> None:
        """Merges runs that are due, unless another client is merging. A later put retries a merge that failed."""
        try:
            left = _AT_ONCE
            while left > 0 and (size := self._merge_one()):
                left -= size
        except SupersededError:
            _log.debug("runs of %s changed during a merge", self.path)
        except (StoreError, TransportError) as error:
            _log.warning("runs of %s could not be merged: %s", self.path, error)

    def last_acq(self, box: KeyRange) -> int:
        """See `EmbeddedStore.last_acq`."""
        return answer_of(box, self._engine.last_acq())

    def _chunks(self, box: KeyRange) -> Generator[Chunk, None, int]:
        found = None if box.is_empty else self._engine.glimpse(box)
        if found is None:
            return (yield from super()._chunks(box))
        last, blocks = found
        yield from chunks_of(blocks, box)
        return answer_of(box, last)

    def _transaction(self) -> AbstractContextManager[Writing]:
        return self._engine.preparing()

    def _removing(self, work: Callable[[Writing], int]) -> int:
        for _ in range(_ATTEMPTS):
            try:
                with self._engine.preparing() as transaction:
                    return work(transaction)
            except SupersededError:
                _log.debug("runs of %s changed during a removal", self.path)
        return super()._removing(work)

    def _still_undoable(self, transaction: Writing, puts: Sequence[PutId], found: dict[int, PutInfo]) -> dict[int, PutInfo]:
        assert isinstance(transaction, PostgresTransaction)
        return self._undoable(transaction, puts) if transaction.puts_changed else found

    def _write(self, transaction: Writing, puts: Sequence[Put]) -> list[AcqInterval]:
        assert isinstance(transaction, PostgresTransaction)
        kept = [put for put in puts if put.count]
        count = 0
        for number, put in enumerate(kept, 1):  # provisional: as if these were the first puts
            put.number = number
            if not put.with_acq:
                put.give_acqs(count)
                count += put.count
        staged = [(with_acq, run) for with_acq in (False, True) for run in _staged(transaction, kept, with_acq=with_acq)]
        transaction.lock()
        before, now, numbered = transaction.last_acq(), transaction.now, transaction.next_put - 1
        first = max(now, before + 1, FIRST_ACQ)
        if first + count > LIMITS["acq"].bound:
            raise StoreError(f"no acquisition time is left after {before}; use PUTA to set acqs yourself", path=self.path)
        given: list[AcqInterval] = []
        last = before
        for put in puts:
            if not put.count:
                given.append(AcqInterval(-1, -1))
                continue
            put.number += numbered
            interval = put.acqs
            if put.with_acq:
                last = max(last, min(interval.acq_max, now))
            else:
                interval = AcqInterval(interval.acq_min + first, interval.acq_max + first)
                last = max(last, interval.acq_max)
            given.append(PutInterval.of(interval, PutId(put.number, now)))
            transaction.keep_put(PutInfo(put.number, now, put.cids, *interval, put.count, put.with_acq))
        for with_acq, run in staged:
            transaction.keep(run, Base(mark=numbered) if with_acq else Base(first))
        if last > before:
            transaction.set_last_acq(last)
        self._is_due |= any(run.number % _EVERY == 0 for _, run in staged)
        return given

    def _merge_one(self) -> int:
        """Merges some runs of one cid. Returns the size of their records in bytes, or 0 if there is nothing to do."""
        with self._engine.preparing() as transaction:
            if not transaction.alone():
                return 0
            view = transaction.view
            for cid in view.table.cids:
                if len(view.table.of_cid(cid)) < self._policy.fan_in:
                    continue
                runs = view.runs(cid)
                if together := self._policy.to_merge(runs):
                    return _merge(transaction, cid, together)
                if spread := self._policy.to_spread(runs):
                    transaction.spread(spread, self._policy.step)
                    return self._policy.step
        return 0


def _staged(transaction: PostgresTransaction, puts: Sequence[Put], *, with_acq: bool) -> Iterator[Directory]:
    """Stages the runs of the puts that carry acqs, or of those that do not."""
    some = [put for put in puts if put.with_acq is with_acq]
    for put in some:
        for cid, blocks, level in put.encoded():
            yield transaction.stage(cid, blocks, level=level)
    for cid, marked in by_cid(some).items():
        runs = runs_of(marked)
        for run in runs:
            yield transaction.stage(cid, run, level=Level.PUT if len(runs) == 1 else Level.FINAL)


def _merge(transaction: PostgresTransaction, cid: int, together: Sequence[Run]) -> int:
    view = transaction.view
    directories = [view.table.runs[run.number] for run in together]
    blocks = [block for run in together for block in view.load(run)]
    size = sum(block.size for block in blocks)
    runs = merged_runs(blocks)
    blocks.clear()
    level = Level.PUT if len(runs) == 1 else Level.FINAL
    staged = [transaction.stage(cid, run, level=level) for run in runs]
    transaction.confirm(directories)
    for directory in directories:
        transaction.drop(directory, len(directory.entries))
    for run in staged:
        transaction.keep(run)
    return size
