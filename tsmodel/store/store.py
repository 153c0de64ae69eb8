"""The embedded store: a backend over an engine that keeps blocks.

Rules kept here:

* A put is one transaction: durable when `append` returns, and there whole or not at all.
* acqs of PUTs ascend strictly, also when the clock steps back and across restarts: the last one is part of the
  transaction.
* `last_acq` answers the last acq given, plus one: no later PUT is given a smaller one. A PUTA moves it up to its own acqs,
  but never beyond the clock. Who writes by PUTA below an answer that readers already have, breaks the promise himself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence

from tsmodel.backend import AcqInterval, Batch, Scan, Spare
from tsmodel.errors import StoreError
from tsmodel.keys import LIMITS, KeyRange
from tsmodel.store.blocks import Block, merged, sorted_blocks
from tsmodel.store.engine import Engine, EngineBusyError, Writing
from tsmodel.store.intake import Arrived, arrived
from tsmodel.store.memory import MemoryEngine
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import DEFAULT_CACHE, SQLiteEngine
from tsmodel.timestamps import now_ns
from tsmodel.wire.chunk import Chunk, joined
from tsmodel.wire.unstored import Unstored

__all__ = ["EmbeddedStore", "open_store"]


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
            StoreError: when it could not be stored; nothing was.
        """
        with self._engine.writing() as transaction:
            last, now = transaction.last_acq(), self._clock()
            if unless_stored is not None:
                for box in unless_stored.boxes():
                    for block in transaction.blocks(box):
                        unless_stored.feed(block.select(box))
                batches = unless_stored.left_of(batches)
            try:
                came = arrived(batches, None if with_acq else max(now, last + 1))
            except OverflowError as error:
                raise StoreError(f"{error}; use PUTA to give acqs yourself", path=self.path) from error
            if not came:
                return AcqInterval(-1, -1)
            for cid, records in _by_cid(came).items():
                self._add(transaction, cid, records)
            given = AcqInterval(min(each.acqs.acq_min for each in came), max(each.acqs.acq_max for each in came))
            reached = min(given.acq_max, now) if with_acq else given.acq_max
            if reached > last:
                transaction.set_last_acq(reached)
        return given

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

    def _add(self, transaction: Writing, cid: int, records: list[Arrived]) -> None:
        """Stores records of one cid as a run, merged with such runs as it is time for."""
        blocks = _sorted(records)
        runs = transaction.runs(cid)
        sizes = [run.size for run in runs] + [sum(block.size for block in blocks)]
        chosen = self._policy.choose(sizes)
        old = [runs[at] for at in chosen[:-1]] if len(runs) in chosen else []
        if old:
            blocks = merged([*(block for run in old for block in transaction.load(run)), *blocks])
            for run in old:
                transaction.remove(run)
        transaction.insert(cid, blocks, is_merged=bool(old))


def _answer(box: KeyRange, last: int) -> int:
    return min(box.max.acq, last + 1 if last > LIMITS["acq"].least else last)


def _by_cid(came: Sequence[Arrived]) -> dict[int, list[Arrived]]:
    groups: dict[int, list[Arrived]] = {}
    for records in came:
        groups.setdefault(records.cid, []).append(records)
    return groups


def _sorted(records: list[Arrived]) -> list[Block]:
    whole = joined([each.chunk for each in records])
    layouts = {each.layout for each in records}
    return sorted_blocks(whole.rows(), whole.record_size, layouts.pop() if len(layouts) == 1 else None)
