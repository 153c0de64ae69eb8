"""The embedded store: a backend over an engine that keeps blocks.

Rules kept here:

* A put is durable when `append` returns, and there whole or not at all.
* Puts that come while another is written are written together, in one transaction. One that cannot be stored does not fail
  the others: each is then tried by itself. When the commit fails, all of them are in doubt.
* acqs of PUTs ascend strictly, also when the clock steps back and across restarts: the last one is part of the
  transaction.
* `last_acq` answers the last acq given, plus one: no later PUT is given a smaller one. A PUTA moves it up to its own acqs,
  but never beyond the clock. Who writes by PUTA below an answer that readers already have, breaks the promise himself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Sequence
from copy import copy
from typing import Final

from tsmodel.backend import AcqInterval, Batch, Scan, Spare
from tsmodel.errors import StoreError, StoreInDoubtError
from tsmodel.forking import in_child
from tsmodel.keys import LIMITS, KeyRange
from tsmodel.store.blocks import merged
from tsmodel.store.engine import Engine, EngineBusyError, Writing
from tsmodel.store.group import GroupCommit
from tsmodel.store.intake import Arrived, Put, sorted_run
from tsmodel.store.memory import MemoryEngine
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import DEFAULT_CACHE, SQLiteEngine
from tsmodel.timestamps import now_ns
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.unstored import Unstored

__all__ = ["EmbeddedStore", "open_store"]

_INTERRUPTED: Final = "the thread that was storing these records was interrupted"
_TOGETHER: Final = 32 * 2**20
"""Bytes of records up to which puts are stored together."""


def open_store(
    path: str | os.PathLike[str] | None,
    cache_bytes: int = DEFAULT_CACHE,
    *,
    read_only: bool = False,
    create: bool = True,
) -> EmbeddedStore:
    """The store in a file, created when absent; in memory for None.

    Args:
        path: the file.
        cache_bytes: most bytes of what was read from the file that are kept in memory.
        read_only: neither writes nor creates any file.
        create: whether a file that does not exist is created.

    Raises:
        StoreFormatError: when the file is something else, or of another format.
        StoreCorruptError: when it is damaged, or was copied while it was open.
        StoreError: when it cannot be opened.
    """
    if path is None:
        return EmbeddedStore(MemoryEngine())
    return EmbeddedStore(SQLiteEngine(os.fspath(path), cache_bytes, read_only=read_only, create=create))


class EmbeddedStore:
    """A backend that keeps records in this process. May be used from several threads.

    Args:
        engine: where blocks are kept; closed with the store.
        clock: gives the time, ns since 2001.
        policy: when runs are merged.
    """

    def __init__(self, engine: Engine, *, clock: Callable[[], int] = now_ns, policy: MergePolicy | None = None) -> None:
        self._engine = engine
        self._clock = clock
        self._policy = policy or MergePolicy()
        self._group = GroupCommit[Put](_TOGETHER)
        self._begin()
        in_child(self._begin)
        self.spare = Spare(0)  # blocks are decoded in this process: several at once are no faster

    @property
    def engine(self) -> Engine:
        """Where blocks are kept."""
        return self._engine

    @property
    def path(self) -> str | None:
        """The file, or None for memory."""
        return self._engine.path

    def scan(self, box: KeyRange) -> Scan:
        """The records inside `box`, as they are when the first chunk is taken. See `Backend.scan`."""
        return Scan(self._chunks(box))

    def append(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> AcqInterval:
        """Stores records durably, whole or not at all. See `Backend.append`.

        Returns:
            Least and greatest acq of what was stored; (-1, -1) when there was nothing.

        Raises:
            StoreInDoubtError: when the commit failed.
            StoreError: when it could not be stored; nothing was.
        """
        if unless_stored is not None:  # it must see what all others have stored, so it goes alone
            return self._append_new(batches, with_acq, unless_stored)
        put = self.begin_put(with_acq=with_acq)
        put.add(batches)
        return self.store(put)

    def begin_put(self, *, with_acq: bool) -> Put:
        """A put whose records arrive in pieces. It is stored by `store`, or dropped."""
        return Put(self._policy.final, self._encoding, with_acq=with_acq)

    def store(self, put: Put) -> AcqInterval:
        """Stores a put, as `append` does."""
        put.prepare()
        self._group.run(put, put.held, self._store)
        outcome, put.outcome = put.outcome, None
        if isinstance(outcome, AcqInterval):
            return outcome
        if outcome is None:
            outcome = StoreError(f"{_INTERRUPTED}; nothing was stored by this call", path=self.path)
        try:
            raise outcome
        finally:
            del outcome  # the error knows this frame, which must not know the error

    def last_acq(self, box: KeyRange) -> int:
        """See `Backend.last_acq`. For a store in which nothing was ever put, the least acq there is."""
        with self._engine.reading() as snapshot:
            return _answer(box, snapshot.last_acq())

    def advance(self, acq: int, *, wait: bool = True) -> bool:
        """Promises, durably, that no later PUT is given an acq below `acq`: lets time pass in a store that rests.

        Args:
            acq: what is promised.
            wait: whether to wait for whoever is writing.

        Returns:
            Whether it is promised: False only when somebody is writing, and it was not to wait.
        """
        if acq > LIMITS["acq"].bound:
            raise StoreError(f"acq {acq} is beyond all acquisition times", path=self.path)
        try:
            with self._engine.writing(wait=wait) as transaction:
                if acq - 1 > transaction.last_acq():
                    transaction.set_last_acq(acq - 1)
        except EngineBusyError:
            return False
        return True

    def close(self) -> None:
        """Closes the file, or forgets what is in memory."""
        self._engine.close()

    def _chunks(self, box: KeyRange) -> Generator[Chunk, None, int]:
        with self._engine.reading() as snapshot:
            answer = _answer(box, snapshot.last_acq())
            if not box.is_empty:
                for block in snapshot.blocks(box):
                    if len(selected := block.select(box)):
                        yield selected
        return answer

    def _begin(self) -> None:
        self._encoding = threading.Lock()

    def _append_new(self, batches: Sequence[Batch], with_acq: bool, unless_stored: Unstored) -> AcqInterval:
        with self._engine.writing() as transaction:
            for box in unless_stored.boxes():
                for block in transaction.blocks(box):
                    unless_stored.feed(block.select(box))
            put = self.begin_put(with_acq=with_acq)
            put.add(unless_stored.left_of(batches))
            put.prepare()
            return self._write(transaction, [put])[0]

    def _store(self, puts: list[Put]) -> None:
        """Stores puts in one transaction, and notes what came of each."""
        for put in puts:
            if put.is_gone is not None and put.is_gone():
                put.outcome = StoreError("whoever sent the records has given up; nothing was stored", path=self.path)
        puts = [put for put in puts if put.outcome is None]
        if not puts:
            return
        has_begun, is_written = False, False
        given: list[AcqInterval] = []
        try:
            with self._engine.writing() as transaction:
                has_begun = True
                given = self._write(transaction, puts)
                is_written = True
        except Exception as error:  # noqa: BLE001 - told to whoever waits for it
            if has_begun and len(puts) > 1 and not isinstance(error, StoreInDoubtError):
                for put in puts:
                    self._store([put])
                return
            for put in puts:
                put.outcome = error if len(puts) == 1 else _copied(error)
        except BaseException:
            if is_written:
                for put in puts:
                    put.outcome = StoreInDoubtError(f"{_INTERRUPTED}; whether they are stored is not known", path=self.path)
            raise
        else:
            for put, interval in zip(puts, given, strict=True):
                put.outcome = interval

    def _write(self, transaction: Writing, puts: Sequence[Put]) -> list[AcqInterval]:
        """Writes the records of puts; gives the acqs of each."""
        given: list[AcqInterval] = []
        before, now = transaction.last_acq(), self._clock()
        last = before
        records: dict[int, list[Arrived]] = {}
        for put in puts:
            try:
                interval, arrived, runs = put.stored(max(now, last + 1))
            except OverflowError as error:
                raise StoreError(f"{error}; use PUTA to give acqs yourself", path=self.path) from error
            given.append(interval)
            if arrived or runs:
                last = max(last, min(interval.acq_max, now) if put.with_acq else interval.acq_max)
            for each in arrived:
                records.setdefault(each.cid, []).append(each)
            for cid, blocks in runs:
                transaction.insert_encoded(cid, blocks)
        for cid, found in records.items():
            self._add(transaction, cid, found)
        if last > before:
            transaction.set_last_acq(last)
        return given

    def _add(self, transaction: Writing, cid: int, records: list[Arrived]) -> None:
        """Stores records of one cid as a run, merged with such runs as it is time for."""
        blocks = sorted_run(records)
        runs = transaction.runs(cid)
        sizes = [run.size for run in runs] + [sum(block.size for block in blocks)]
        chosen = self._policy.choose(sizes)
        old = [runs[at] for at in chosen[:-1]] if len(runs) in chosen else []
        if old:
            blocks = merged([*(block for run in old for block in transaction.load(run)), *blocks])
            for run in old:
                transaction.remove(run)
        transaction.insert(cid, blocks, is_merged=bool(old))


def _copied(error: Exception) -> Exception:
    """The same error for another thread, which will give it a traceback of its own."""
    made = copy(error)
    made.__cause__ = error.__cause__
    return made


def _answer(box: KeyRange, last: int) -> int:
    return min(box.max.acq, last + 1 if last > LIMITS["acq"].least else last)
