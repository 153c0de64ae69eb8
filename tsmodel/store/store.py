"""The embedded store: a backend on top of a block engine.

Rules kept here:

* A put is atomic, and durable when `append` returns.
* Group commit: puts that arrive while another is being written share the next transaction. If one of them cannot be
  stored, each is retried in a transaction of its own, so it does not fail the others. If the commit fails, all of them are
  in doubt.
* The acqs of PUTs increase strictly, even when the clock steps back and across restarts: the last acq is part of the
  transaction.
* `last_acq` returns the last assigned acq plus one, and at least 0; no later PUT gets a smaller acq. A PUTA raises it to
  the acqs it carries, but never beyond the clock. A PUTA below a value that readers have already seen breaks the promise;
  the store does not prevent it.
* A removal is one transaction: atomic, logged, and durable when it returns. It never changes `last_acq`.
* An undo removes the records of a put and no others. The records of a PUT are identified by their acqs, which no other PUT
  gets. Several PUTAs may carry the same acqs, so each of their records is marked with the number of its put.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from copy import copy
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.backend import (
    AcqInterval,
    Batch,
    Predicate,
    PutId,
    PutInfo,
    PutInterval,
    Removal,
    RemovalKind,
    Scan,
    ScanBudget,
)
from tsmodel.errors import StoreError, StoreInDoubtError
from tsmodel.forking import in_child
from tsmodel.keys import KEY_FIELDS, LIMITS, KeyRange
from tsmodel.store.blocks import Block, Bounds, chunks_of, merged_runs
from tsmodel.store.capabilities import Outline, Position
from tsmodel.store.directory import Level
from tsmodel.store.intake import SLICE_BYTES, Arrived, Put, by_cid, runs_of
from tsmodel.store.interface import Engine, EngineBusyError, Run, Writing
from tsmodel.store.memory import MemoryEngine
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import DEFAULT_CACHE, SQLiteEngine
from tsmodel.timestamps import now_ns, to_iso
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.stored import Unstored

if TYPE_CHECKING:
    from tsmodel.store.maintenance import Compacted, Info, OnProgress, Verified

__all__ = ["EmbeddedStore", "GroupCommit", "answer_of", "check_puts", "open_store"]

T = TypeVar("T")

_Chooses: TypeAlias = "Callable[[Block, KeyRange], npt.NDArray[np.bool_]]"
"""Selects records of a block inside a key range: a mask over all records of the block, shape (n,)."""
_INTERRUPTED: Final = "the thread that was storing these records was interrupted"
FIRST_ACQ: Final = 0
"""No PUT gets an acq below it, and `last_acq` returns at least this."""
_TOGETHER: Final = 32 * 2**20
"""Most bytes of records in one group commit."""


def open_store(
    path: str | os.PathLike[str] | None,
    cache_bytes: int = DEFAULT_CACHE,
    *,
    read_only: bool = False,
    create: bool = True,
) -> EmbeddedStore:
    """Opens the store in a file, and creates it if it does not exist. With None, creates a store in memory.

    Args:
        path: the file, or None.
        cache_bytes: size limit of the block cache, in bytes.
        read_only: opens the file without writing to it or creating any file.
        create: whether to create a file that does not exist.

    Raises:
        StoreFormatError: if the file is not a store, or has another format.
        StoreCorruptError: if it is damaged, or was copied while it was open.
        StoreError: if it cannot be opened.
    """
    if path is None:
        return EmbeddedStore(MemoryEngine())
    return EmbeddedStore(SQLiteEngine(os.fspath(path), cache_bytes, read_only=read_only, create=create))


class EmbeddedStore:
    """A backend that stores records in this process. Thread-safe.

    Args:
        engine: stores the blocks; the store closes it.
        clock: returns the time, ns since 2001.
        policy: decides when runs are merged.
        slice_bytes: how many bytes of a put are sorted and compressed at once.
    """

    settles_puts = True
    """Nothing of a put is stored after `append` has ended."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], int] = now_ns,
        policy: MergePolicy | None = None,
        slice_bytes: int = SLICE_BYTES,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._policy = policy or MergePolicy()
        self._slice_bytes = slice_bytes
        self._group = GroupCommit(self._store, _TOGETHER)
        self._begin()
        in_child(self._begin)
        self.scan_budget = ScanBudget(0)  # blocks are decoded in this process: concurrent scans are no faster

    @property
    def engine(self) -> Engine:
        """The engine that stores the blocks."""
        return self._engine

    @property
    def path(self) -> str | None:
        """The file, or None in memory."""
        return self._engine.path

    def scan(self, box: KeyRange) -> Scan:
        """Scans the records inside `box`, in a snapshot taken with the first chunk. See `Backend.scan`."""
        return Scan(self._chunks(box))

    def append(
        self,
        batches: Sequence[Batch],
        *,
        with_acq: bool = False,
        unless_stored: Unstored | None = None,
        is_gone: Callable[[], bool] | None = None,
    ) -> AcqInterval:
        """Stores records atomically and durably. See `Backend.append`.

        Args:
            batches, with_acq, unless_stored: see `Backend.append`.
            is_gone: returns whether the sender has given up; called once before the records are written.

        Returns:
            Least and greatest acq of the stored records; (-1, -1) if nothing was stored.

        Raises:
            StoreInDoubtError: if the commit fails; the records may or may not be stored.
            StoreError: if the records cannot be stored; nothing was stored.
        """
        if unless_stored is not None:  # must see everything that is committed, so it gets a transaction of its own
            return self._append_new(batches, with_acq, unless_stored)
        put = self.begin_put(with_acq=with_acq)
        put.is_gone = is_gone
        put.add(batches)
        return self.store(put)

    def begin_put(self, *, with_acq: bool) -> Put:
        """Begins a put whose records arrive in pieces. `store` stores it; a put that is dropped stores nothing."""
        return Put(with_acq=with_acq, whole=self._policy.final, slice_bytes=self._slice_bytes, encoding=self._encoding)

    def store(self, put: Put) -> AcqInterval:
        """Stores a put from `begin_put`, with the results and errors of `append`."""
        put.prepare()
        self._group.run(put, put.held)
        outcome, put.outcome = put.outcome, None
        if isinstance(outcome, AcqInterval):
            return outcome
        if outcome is None:
            outcome = StoreError(f"{_INTERRUPTED}; nothing was stored by this call", path=self.path)
        try:
            raise outcome
        finally:
            del outcome  # breaks the cycle: the traceback of the error holds this frame

    def remove(
        self,
        boxes: Sequence[KeyRange],
        predicate: Predicate | None = None,
        *,
        kind: RemovalKind = "delete",
        what: str = "",
        note: str | None = None,
        dry_run: bool = False,
    ) -> int:
        """Removes records atomically and durably. See `Remover.remove`.

        Reads and rewrites only blocks that may hold such records, one at a time. Later puts reuse the space.

        Raises:
            StoreError: if the removal fails; nothing was removed.
        """
        boxes = [box for box in boxes if not box.is_empty]
        chooses = partial(_chosen, predicate)
        if dry_run:
            with self._engine.reading() as snapshot:
                found = (chooses(block, box) for box in boxes for block in snapshot.blocks(box))
                return sum(map(np.count_nonzero, found))

        def work(transaction: Writing) -> int:
            removed = _Removed(chooses)
            transaction.rewrite(boxes, removed.change)
            self._log(transaction, removed, kind, what, note)
            return removed.count

        return self._removing(work)

    def undo(self, puts: Sequence[PutId], note: str | None = None) -> int:
        """Removes the remaining records of some puts. See `Remover.undo`."""

        def work(transaction: Writing) -> int:
            found = self._undoable(transaction, puts)
            removed = _Removed(_of_puts(found.values()))
            transaction.rewrite(_boxes_of(found.values()), removed.change)
            found = self._still_undoable(transaction, puts, found)
            names = ", ".join(str(put) for put in sorted(found))
            self._log(transaction, removed, "undo", f"{'put' if len(found) == 1 else 'puts'} {names}", note)
            now = self._clock()
            for put in found.values():
                transaction.keep_put(msgspec.structs.replace(put, undone=now), put)
            return removed.count

        return self._removing(work)

    def annotate(self, puts: Sequence[PutId], note: str) -> None:
        """Sets the note of some puts. See `Remover.annotate`."""
        wanted = dict(puts)
        with self._engine.writing() as transaction:
            for put in [put for put in transaction.puts() if wanted.get(put.number) == put.time]:
                transaction.keep_put(msgspec.structs.replace(put, note=note), put)

    def puts(self) -> list[PutInfo]:
        """All puts, oldest first."""
        with self._engine.reading() as snapshot:
            return list(snapshot.puts())

    def removals(self, since: int = 0) -> list[Removal]:
        """The removals with a number above `since`, oldest first."""
        with self._engine.reading() as snapshot:
            if snapshot.next_removal <= since + 1:  # a reader that polls seldom finds a new one
                return []
            return [removal for removal in snapshot.removals() if removal.number > since]

    def last_acq(self, box: KeyRange) -> int:
        """See `Backend.last_acq`. Returns 0 if the store has never held a record, as a TStorage server does."""
        with self._engine.reading() as snapshot:
            return answer_of(box, snapshot.last_acq())

    def advance(self, acq: int, *, wait: bool = True) -> bool:
        """Promises durably that no later PUT gets an acq below `acq`, so that `last_acq` advances in an idle store.

        Args:
            acq: the promised bound.
            wait: whether to wait for another writer.

        Returns:
            True once the promise is stored; False if another writer holds the store and `wait` is false.

        Raises:
            StoreError: if `acq` is out of range, or the promise cannot be stored.
        """
        if acq > LIMITS["acq"].bound:
            raise StoreError(f"acq {acq} is out of range: the largest is {LIMITS['acq'].bound}", path=self.path)
        try:
            with self._engine.writing(wait=wait) as transaction:
                if acq - 1 > transaction.last_acq():
                    transaction.set_last_acq(acq - 1)
        except EngineBusyError:
            return False
        return True

    def backup(self, path: str | os.PathLike[str], progress: OnProgress | None = None) -> Verified:
        """Copies the current contents to a new file. See `tsmodel.store.maintenance.backup`."""
        from tsmodel.store.maintenance import backup

        return backup(self, path, progress)

    def compact(self, progress: OnProgress | None = None) -> Compacted:
        """Merges runs, and frees unused space. See `tsmodel.store.maintenance.compact`."""
        from tsmodel.store.maintenance import compact

        return compact(self, progress)

    def verify(self, progress: OnProgress | None = None) -> Verified:
        """Reads everything and reports every fault. See `tsmodel.store.maintenance.verify_store`."""
        from tsmodel.store.maintenance import verify_store

        return verify_store(self, progress)

    def info(self) -> Info:
        """Describes the contents, without decoding records. See `tsmodel.store.maintenance.info_of`."""
        from tsmodel.store.maintenance import info_of

        return info_of(self)

    def outline(self, box: KeyRange) -> Generator[Outline | Chunk, None, None]:
        """See `Outliner`."""
        low, high = box.min, box.max
        outlines: list[Outline] = []

        def is_outlined(bounds: Bounds, count: int) -> bool:
            cid, mid_min, mid_max, moid_min, moid_max, cap_min, cap_max, acq_min, acq_max = bounds
            # The mid and moid of a block of one series lie in the box, or the block would not be there.
            is_inside = low.cap <= cap_min and cap_max < high.cap and low.acq <= acq_min and acq_max < high.acq
            if not is_inside or mid_min != mid_max or moid_min != moid_max:
                return False
            outlines.append(Outline(cid, mid_min, moid_min, count, cap_min, cap_max))
            return True

        if box.is_empty:
            return
        with self._engine.reading() as snapshot:
            for block in snapshot.blocks(box, is_outlined):
                yield from outlines
                outlines.clear()
                if len(selected := block.select(box)):
                    yield selected
            yield from outlines

    def position(self) -> Position:
        """See `Outliner`."""
        with self._engine.reading() as snapshot:
            return Position(snapshot.last_acq() + 1, snapshot.next_put, snapshot.next_removal)

    def close(self) -> None:
        """Closes the file; a store in memory loses its records."""
        self._engine.close()

    def _chunks(self, box: KeyRange) -> Generator[Chunk, None, int]:
        with self._engine.reading() as snapshot:
            answer = answer_of(box, snapshot.last_acq())
            if not box.is_empty:
                yield from chunks_of(snapshot.blocks(box), box)
        return answer

    def _removing(self, work: Callable[[Writing], int]) -> int:
        """Does the work of a removal in a transaction; returns what it returns."""
        with self._engine.writing() as transaction:
            return work(transaction)

    def _undoable(self, transaction: Writing, puts: Sequence[PutId]) -> dict[int, PutInfo]:
        """The puts to undo, by number.

        Raises:
            StoreError: if one cannot be undone.
        """
        wanted = dict(puts)
        found = {put.number: put for put in transaction.puts() if put.number in wanted}
        check_puts(puts, found, self.path)
        return found

    def _still_undoable(
        self,
        transaction: Writing,  # noqa: ARG002 - for stores that read before they lock
        puts: Sequence[PutId],  # noqa: ARG002
        found: dict[int, PutInfo],
    ) -> dict[int, PutInfo]:
        """The same puts, after `rewrite` has locked the store."""
        return found

    def _log(self, transaction: Writing, removed: _Removed, kind: RemovalKind, what: str, note: str | None) -> None:
        if removed.count:
            ends = removed.least, removed.greatest
            number, now = transaction.next_removal, self._clock()
            transaction.keep_removal(Removal(number, now, kind, removed.count, *ends, what, note))

    def _append_new(self, batches: Sequence[Batch], with_acq: bool, unless_stored: Unstored) -> AcqInterval:
        with self._engine.writing() as transaction:
            for box in unless_stored.boxes():
                for block in transaction.blocks(box):
                    unless_stored.feed(block.select(box))
            put = self.begin_put(with_acq=with_acq)
            put.add(unless_stored.left_of(batches))
            put.prepare()
            return self._write(transaction, [put])[0]

    def _transaction(self) -> AbstractContextManager[Writing]:
        """The transaction that stores puts."""
        return self._engine.writing()

    def _begin(self) -> None:
        self._encoding = threading.Lock()

    def _store(self, puts: list[Put]) -> None:
        """Stores puts in one transaction and sets the outcome of each."""
        for put in puts:
            if put.is_gone is not None and put.is_gone():
                put.outcome = StoreError(
                    "the sender disconnected before its records were written; nothing was stored", path=self.path
                )
        puts = [put for put in puts if put.outcome is None]
        if not puts:
            return
        has_begun, is_written = False, False
        given: list[AcqInterval] = []
        try:
            with self._transaction() as transaction:
                has_begun = True
                given = self._write(transaction, puts)
                is_written = True
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits for the put
            if has_begun and len(puts) > 1 and not isinstance(error, StoreInDoubtError):
                for put in puts:
                    self._store([put])
                return
            for put in puts:
                put.outcome = error if len(puts) == 1 else _copied(error)
        except BaseException:
            if is_written:
                for put in puts:
                    put.outcome = StoreInDoubtError(f"{_INTERRUPTED}; they may or may not be stored", path=self.path)
            raise
        else:
            for put, interval in zip(puts, given, strict=True):
                put.outcome = interval

    def _write(self, transaction: Writing, puts: Sequence[Put]) -> list[AcqInterval]:
        """Writes the records of puts; returns the acqs of each."""
        given: list[AcqInterval] = []
        before, now = transaction.last_acq(), self._clock()
        last = before
        for put in puts:
            if not put.count:
                given.append(AcqInterval(-1, -1))
                continue
            number = transaction.next_put
            if put.with_acq:
                interval = put.acqs
                last = max(last, min(interval.acq_max, now))
            else:
                try:
                    interval = put.give_acqs(max(now, last + 1, FIRST_ACQ))
                except OverflowError as error:
                    raise StoreError(f"{error}; use PUTA to set acqs yourself", path=self.path) from error
                last = interval.acq_max
            put.number = number
            given.append(PutInterval.of(interval, PutId(number, now)))
            transaction.keep_put(PutInfo(number, now, put.cids, *interval, put.count, put.with_acq))
        encoded: Counter[int] = Counter()
        for put in puts:
            for cid, blocks, level in put.encoded():
                transaction.insert(cid, blocks, level=level)
                encoded[cid] += sum(block.size for block in blocks)
        for cid, records in by_cid(puts).items():
            self._add(transaction, cid, records, encoded.pop(cid, 0))
        for cid, size in encoded.items():
            self._spread(transaction, transaction.runs(cid), size)
        if last > before:
            transaction.set_last_acq(last)
        return given

    def _add(self, transaction: Writing, cid: int, records: list[tuple[Arrived, int]], more: int) -> None:
        """Stores records of one cid as runs, merged with older runs where the policy says so. The put has already stored
        `more` bytes of the cid."""
        runs, old = runs_of(records), transaction.runs(cid)
        size = more + sum(block.size for blocks in runs for block in blocks)
        # Several runs were split by time on purpose: leave them.
        together = self._merging(old, runs[0]) if len(runs) == 1 else []
        if together:
            blocks = [block for run in together for block in transaction.load(run)]
            runs = merged_runs([*blocks, *runs[0]])
            for run in together:
                transaction.remove(run)
        level = Level.PUT if len(runs) == 1 else Level.FINAL
        for each in runs:
            transaction.insert(cid, each, level=level)
        self._spread(transaction, [run for run in old if run not in together], size)

    def _spread(self, transaction: Writing, runs: Sequence[Run], size: int) -> None:
        """Takes a step in merging the large runs of a cid. The step grows with `size`, the bytes that the put adds."""
        if spread := self._policy.to_spread(runs):
            transaction.spread(spread, self._policy.step + min(size, _TOGETHER))

    def _merging(self, old: Sequence[Run], blocks: Sequence[Block]) -> list[Run]:
        """The older runs to merge a new run with."""
        if len(old) + 1 < self._policy.fan_in:
            return []
        size, count, series = (sum(map(attrgetter(name), blocks)) for name in ("size", "count", "series"))
        new = Run(blocks[0].bounds[0], -1, size, count, series)
        chosen = self._policy.to_merge([*old, new])
        return chosen[:-1] if chosen[-1:] == [new] else []


def _copied(error: Exception) -> Exception:
    """A copy of the error for another thread, so that each thread gets its own traceback."""
    made = copy(error)
    made.__cause__ = error.__cause__
    return made


def answer_of(box: KeyRange, last: int) -> int:
    """What `last_acq` and a scan of `box` return when `last` is the greatest acq that was assigned or promised."""
    return min(box.max.acq, max(last + 1, FIRST_ACQ))


class _Removed:
    """Removes the records that `chooses` selects from blocks. Counts them, and keeps the least and the greatest value of
    each key component among them."""

    def __init__(self, chooses: _Chooses) -> None:
        self._chooses = chooses
        self.least: tuple[int, ...] = ()
        self.greatest: tuple[int, ...] = ()
        self.count = 0

    def change(self, block: Block, boxes: Sequence[KeyRange]) -> Block | None:
        """See `Writing.rewrite`."""
        mask = np.zeros(block.count, np.bool_)
        for box in boxes:
            mask |= self._chooses(block, box)
        if not mask.any():
            return block
        keys = [block.key(name)[mask] for name in KEY_FIELDS]
        least, greatest = (tuple(int(end(key)) for key in keys) for end in (np.min, np.max))
        self.least = tuple(map(min, self.least or least, least))
        self.greatest = tuple(map(max, self.greatest or greatest, greatest))
        self.count += len(keys[0])
        return None if mask.all() else block.without(mask)


def _chosen(predicate: Predicate | None, block: Block, box: KeyRange) -> npt.NDArray[np.bool_]:
    mask = np.zeros(block.count, np.bool_)
    places = block.places(box)
    if predicate is not None:
        chunk = block.chunk() if block.inside(box) else block.chunk().take(places)
        meets = predicate(chunk) if len(chunk) else None
        if meets is not None:
            mask[places] = meets
            return mask
    mask[places] = True
    return mask


def _of_puts(puts: Iterable[PutInfo]) -> _Chooses:
    """Selects the records of some puts."""
    listed = list(puts)
    numbers = np.array(sorted(put.number for put in listed if put.keeps_acq), np.int64)
    given = sorted((put.acq_min, put.acq_max) for put in listed if not put.keeps_acq)
    least, greatest = (np.array(ends, np.int64) for ends in (zip(*given, strict=True) if given else ((), ())))

    def chooses(block: Block, box: KeyRange) -> npt.NDArray[np.bool_]:  # noqa: ARG001 - marks and acqs identify the records
        marks = block.marks
        if not len(least):
            return np.zeros(block.count, np.bool_) if marks is None else np.isin(marks, numbers)
        acqs = block.key("acq")
        at = np.searchsorted(least, acqs, side="right") - 1
        mask: npt.NDArray[np.bool_] = (at >= 0) & (acqs <= greatest[at])
        return mask if marks is None else (mask & (marks == 0)) | np.isin(marks, numbers)

    return chooses


def _boxes_of(puts: Iterable[PutInfo]) -> list[KeyRange]:
    """Key ranges that hold the records of some puts: for each cid, one of PUTs and one of PUTAs."""
    acqs: dict[tuple[int, bool], list[int]] = {}
    for put in puts:
        for cid in put.cids:
            acqs.setdefault((cid, put.keeps_acq), []).extend((put.acq_min, put.acq_max))
    return [KeyRange.of(cid=(cid, cid + 1), acq=(min(some), max(some) + 1)) for (cid, _), some in acqs.items()]


def check_puts(puts: Sequence[PutId], found: dict[int, PutInfo], path: str | None) -> None:
    """Checks that puts can be undone.

    Raises:
        StoreError: if one cannot.
    """
    for number, time in puts:
        put = found.get(number)
        if put is None or put.time != time:
            raise StoreError(f"this store has no put {number} of {to_iso(time)}; nothing was removed", path=path)
        if put.undone is not None:
            raise StoreError(
                f"put {number} was already undone at {to_iso(put.undone)}; nothing was removed by this call", path=path
            )


class _Waiting(msgspec.Struct, Generic[T], eq=False):
    """An item, and the lock its thread waits on. Released when the item is done, or when its thread becomes the leader."""

    item: T
    size: int
    ready: threading.Lock = msgspec.field(default_factory=threading.Lock)


class GroupCommit(Generic[T]):
    """Does work for several threads at once.

    Args:
        work: processes some items and sets the outcome of each. An exception from it is raised only in the thread that
            called it.
        most: limit of the total size of a group.
    """

    _lock: threading.Lock
    _queue: deque[_Waiting[T]]
    _leader: _Waiting[T] | None

    def __init__(self, work: Callable[[list[T]], None], most: int) -> None:
        self._work = work
        self._most = most
        self._begin()
        in_child(self._begin)

    def run(self, item: T, size: int) -> None:
        """Returns once `work` was called with the item, in this thread or another, or once the thread that was to call it
        was interrupted."""
        waiting = _Waiting(item, size)
        waiting.ready.acquire()
        group: list[_Waiting[T]] = []
        try:
            with self._lock:
                self._queue.append(waiting)
                if self._leader is None:
                    self._leader = waiting
            if self._leader is not waiting:
                waiting.ready.acquire()
            if self._leader is waiting:
                self._take(group)
                self._work([each.item for each in group])
        finally:
            with self._lock:
                if waiting in self._queue:  # this thread was interrupted
                    self._queue.remove(waiting)
                if self._leader is waiting:
                    self._leader = self._queue[0] if self._queue else None
                    if self._leader is not None:
                        self._leader.ready.release()
            for each in group:
                if each is not waiting:
                    each.ready.release()

    def _take(self, group: list[_Waiting[T]]) -> None:
        left = self._most
        with self._lock:
            while self._queue and (not group or self._queue[0].size <= left):
                left -= self._queue[0].size
                group.append(self._queue[0])
                self._queue.popleft()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._queue = deque()
        self._leader = None
