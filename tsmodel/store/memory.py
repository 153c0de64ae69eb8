"""The engine behind `memory:`: blocks in dictionaries, replaced when a transaction commits.

A forked process has its own copy, without uncommitted changes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from operator import attrgetter
from typing import Generic, TypeVar

import msgspec

from tsmodel.backend import PutInfo, Removal
from tsmodel.errors import StoreError
from tsmodel.forking import in_child
from tsmodel.keys import LIMITS, KeyRange
from tsmodel.store.blocks import Block
from tsmodel.store.interface import Change, Run, Skip, held

__all__ = ["MemoryEngine"]


T = TypeVar("T")


class _Log(Generic[T]):
    """The first entries of a list that later versions of the log share and append to."""

    def __init__(self, entries: list[T]) -> None:
        self._entries, self._count = entries, len(entries)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        return islice(self._entries, self._count)

    def changed(self, added: list[T], replaced: dict[int, T]) -> _Log[T]:
        """The log with entries appended and replaced."""
        if not added and not replaced:
            return self
        entries = list(self) if replaced or len(self._entries) != self._count else self._entries
        for at, entry in replaced.items():
            entries[at] = entry
        entries += added
        return _Log(entries)


class _State(msgspec.Struct, frozen=True):
    last_acq: int = LIMITS["acq"].least
    next_run: int = 0
    runs: dict[int, dict[Run, tuple[Block, ...]]] = msgspec.field(default_factory=dict)
    puts: _Log[PutInfo] = msgspec.field(default_factory=lambda: _Log([]))
    removals: _Log[Removal] = msgspec.field(default_factory=lambda: _Log([]))


class _Snapshot:
    def __init__(self, state: _State) -> None:
        self._state = state

    def last_acq(self) -> int:
        return self._state.last_acq

    def blocks(self, box: KeyRange, skip: Skip | None = None) -> Iterator[Block]:
        for cid, runs in self._state.runs.items():
            if box.min.cid <= cid < box.max.cid:
                for blocks in runs.values():
                    for block in blocks:
                        if block.meets(box) and (skip is None or not skip(block.bounds, block.count)):
                            yield block

    @property
    def next_put(self) -> int:
        return len(self._state.puts) + 1

    @property
    def next_removal(self) -> int:
        return len(self._state.removals) + 1

    def puts(self) -> Iterator[PutInfo]:
        return iter(self._state.puts)

    def removals(self) -> Iterator[Removal]:
        return iter(self._state.removals)


class _Transaction(_Snapshot):
    """Changes a copy. Copies the runs of a cid on the first change, so that snapshots stay intact."""

    def __init__(self, state: _State) -> None:
        super().__init__(state)
        self._puts: list[PutInfo] = []
        self._replaced: dict[int, PutInfo] = {}
        self._removals: list[Removal] = []
        self._last_acq, self._next_run, self._runs = state.last_acq, state.next_run, dict(state.runs)

    def last_acq(self) -> int:
        return self._last_acq

    def set_last_acq(self, acq: int) -> None:
        self._last_acq = acq

    @property
    def next_put(self) -> int:
        return super().next_put + len(self._puts)

    @property
    def next_removal(self) -> int:
        return super().next_removal + len(self._removals)

    def keep_put(self, put: PutInfo, replaced: PutInfo | None = None) -> None:
        if replaced is None:
            self._puts.append(put)
        else:
            self._replaced[put.number - 1] = put

    def keep_removal(self, removal: Removal) -> None:
        self._removals.append(removal)

    def rewrite(self, boxes: Sequence[KeyRange], change: Change) -> None:
        for cid, runs in list(self._runs.items()):
            within = [box for box in boxes if box.min.cid <= cid < box.max.cid]
            if not within:
                continue
            changed: dict[Run, tuple[Block, ...]] = {}
            for run, blocks in runs.items():
                met = [(block, [box for box in within if block.meets(box)]) for block in blocks]
                found = [(block, change(block, some) if some else block) for block, some in met]
                if all(new is block for block, new in found):
                    changed[run] = blocks
                    continue
                kept = tuple(block if new is block else _as_rows(new) for block, new in found if new is not None)
                if kept:
                    new = _run(cid, run.number, kept, run.level)
                    changed[new if 2 * new.size < run.size else msgspec.structs.replace(new, size=run.size)] = kept
            self._runs[cid] = changed

    def runs(self, cid: int) -> list[Run]:
        return list(self._runs.get(cid, ()))

    def load(self, run: Run) -> list[Block]:
        return list(self._runs[run.cid][run])

    def remove(self, run: Run) -> None:
        self._runs[run.cid] = {each: blocks for each, blocks in self._runs[run.cid].items() if each != run}

    def insert(self, cid: int, blocks: Sequence[Block], *, level: int = 0) -> None:
        # As rows: the most frequent form, and columns can be views of them.
        kept = tuple(map(_as_rows, blocks))
        run = _run(cid, self._next_run, kept, level)
        self._runs[cid] = {**self._runs.get(cid, {}), run: kept}
        self._next_run += 1

    def spread(self, runs: Sequence[Run], most: int) -> None:
        """Does nothing: blocks in memory need no fetching or decoding."""

    def state(self) -> _State:
        puts = self._state.puts.changed(self._puts, self._replaced)
        removals = self._state.removals.changed(self._removals, {})
        return _State(self._last_acq, self._next_run, self._runs, puts, removals)


def _run(cid: int, number: int, blocks: Sequence[Block], level: int) -> Run:
    size, count, series = (sum(map(attrgetter(name), blocks)) for name in ("size", "count", "series"))
    return Run(cid, number, size, count, series, level)


def _as_rows(block: Block) -> Block:
    return Block.of_rows(block.bounds, block.row_chunk(), block.layout, block.marks)


class MemoryEngine:
    """Stores blocks in memory while it is open."""

    path = None

    def __init__(self) -> None:
        self._state: _State | None = _State()
        self._begin()
        in_child(self._begin)

    @contextmanager
    def reading(self) -> Iterator[_Snapshot]:
        """Opens a snapshot."""
        yield _Snapshot(self._opened())

    @contextmanager
    def writing(self, *, wait: bool = True) -> Iterator[_Transaction]:
        """Opens a write transaction."""
        with held(self._lock, wait=wait):
            transaction = _Transaction(self._opened())
            yield transaction
            self._state = transaction.state()

    def close(self) -> None:
        """Drops all records."""
        self._state = None

    def _begin(self) -> None:
        self._lock = threading.Lock()

    def _opened(self) -> _State:
        if self._state is None:
            raise StoreError("the store in memory is closed")
        return self._state
