"""The engine behind `memory:`: blocks in immutable tuples, replaced whole when a transaction ends."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import attrs

from tsmodel.errors import StoreError
from tsmodel.keys import LIMITS, KeyRange
from tsmodel.store.blocks import Block
from tsmodel.store.engine import Run

__all__ = ["MemoryEngine"]


@attrs.frozen
class _State:
    last_acq: int = LIMITS["acq"].least
    next_run: int = 0
    runs: Mapping[int, tuple[tuple[Run, tuple[Block, ...]], ...]] = attrs.field(factory=dict)


class _Snapshot:
    def __init__(self, state: _State) -> None:
        self.state = state

    def last_acq(self) -> int:
        return self.state.last_acq

    def blocks(self, box: KeyRange) -> Iterator[Block]:
        (first, end), *intervals = box.intervals()
        for cid, runs in self.state.runs.items():
            if not first <= cid < end:
                continue
            for _, blocks in runs:
                for block in blocks:
                    pairs = block.bounds[1:]
                    if all(low <= pairs[2 * at + 1] and pairs[2 * at] < high for at, (low, high) in enumerate(intervals)):
                        yield block


class _Transaction(_Snapshot):
    def set_last_acq(self, acq: int) -> None:
        self.state = attrs.evolve(self.state, last_acq=acq)

    def runs(self, cid: int) -> list[Run]:
        return [run for run, _ in self.state.runs.get(cid, ())]

    def load(self, run: Run) -> list[Block]:
        return [block for runs in self.state.runs.values() for each, blocks in runs if each is run for block in blocks]

    def remove(self, run: Run) -> None:
        runs = {cid: tuple(each for each in runs if each[0] is not run) for cid, runs in self.state.runs.items()}
        self.state = attrs.evolve(self.state, runs=runs)

    def insert(self, cid: int, blocks: Iterable[Block]) -> None:
        kept = tuple(blocks)
        run = Run(self.state.next_run, sum(len(block.data) for block in kept))
        runs = {**self.state.runs, cid: (*self.state.runs.get(cid, ()), (run, kept))}
        self.state = attrs.evolve(self.state, runs=runs, next_run=run.number + 1)


class MemoryEngine:
    """Keeps blocks in memory, for as long as it is open."""

    path = None

    def __init__(self) -> None:
        self._state: _State | None = _State()
        self._lock = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[_Snapshot]:
        """A snapshot."""
        yield _Snapshot(self._opened())

    @contextmanager
    def writing(self) -> Iterator[_Transaction]:
        """A transaction."""
        with self._lock:
            transaction = _Transaction(self._opened())
            yield transaction
            self._state = transaction.state

    def close(self) -> None:
        """Forgets everything."""
        self._state = None

    def _opened(self) -> _State:
        if self._state is None:
            raise StoreError("the store in memory is closed")
        return self._state
