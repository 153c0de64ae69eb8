"""The engine behind `memory:`: blocks in dictionaries that are replaced when a transaction ends.

A forked process has a copy of its own, without what was being written.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import attrs

from tsmodel.errors import StoreError
from tsmodel.forking import in_child
from tsmodel.keys import LIMITS, KeyRange
from tsmodel.store.blocks import Block, EncodedBlock
from tsmodel.store.engine import Run, held

__all__ = ["MemoryEngine"]


_Runs: TypeAlias = dict[int, dict[Run, tuple[Block, ...]]]


@attrs.frozen
class _State:
    last_acq: int = LIMITS["acq"].least
    next_run: int = 0
    runs: _Runs = attrs.field(factory=dict)


class _Snapshot:
    def __init__(self, state: _State) -> None:
        self._state = state

    def last_acq(self) -> int:
        return self._state.last_acq

    def blocks(self, box: KeyRange) -> Iterator[Block]:
        for cid, runs in self._state.runs.items():
            if box.min.cid <= cid < box.max.cid:
                for blocks in runs.values():
                    yield from (block for block in blocks if block.meets(box))


class _Transaction:
    """Changes a copy; the runs of a cid are copied when they are changed, so that snapshots keep theirs."""

    def __init__(self, state: _State) -> None:
        self._snapshot = _Snapshot(state)
        self._last_acq, self._next_run, self._runs = state.last_acq, state.next_run, dict(state.runs)

    def blocks(self, box: KeyRange) -> Iterator[Block]:
        return self._snapshot.blocks(box)

    def last_acq(self) -> int:
        return self._last_acq

    def set_last_acq(self, acq: int) -> None:
        self._last_acq = acq

    def runs(self, cid: int) -> list[Run]:
        return list(self._runs.get(cid, ()))

    def load(self, run: Run) -> list[Block]:
        return list(self._runs[run.cid][run])

    def remove(self, run: Run) -> None:
        self._runs[run.cid] = {each: blocks for each, blocks in self._runs[run.cid].items() if each != run}

    def insert(self, cid: int, blocks: Sequence[Block], *, is_merged: bool = False) -> None:  # noqa: ARG002
        # Rows: what is asked for most often, and columns are views of them.
        kept = tuple(Block.of_rows(each.bounds, each.rows(), each.count, each.record_size, each.layout) for each in blocks)
        run = Run(cid, self._next_run, sum(block.size for block in kept))
        self._runs[cid] = {**self._runs.get(cid, {}), run: kept}
        self._next_run += 1

    def insert_encoded(self, cid: int, blocks: Sequence[EncodedBlock]) -> None:
        kept = [
            Block.decoded(memoryview(each.data), each.bounds, each.count, each.record_size, each.size) for each in blocks
        ]
        self.insert(cid, kept)

    def state(self) -> _State:
        return _State(self._last_acq, self._next_run, self._runs)


class MemoryEngine:
    """Keeps blocks in memory, for as long as it is open."""

    path = None

    def __init__(self) -> None:
        self._state: _State | None = _State()
        self._begin()
        in_child(self._begin)

    @contextmanager
    def reading(self) -> Iterator[_Snapshot]:
        """A snapshot."""
        yield _Snapshot(self._opened())

    @contextmanager
    def writing(self, *, wait: bool = True) -> Iterator[_Transaction]:
        """A transaction."""
        with held(self._lock, wait=wait):
            transaction = _Transaction(self._opened())
            yield transaction
            self._state = transaction.state()

    def close(self) -> None:
        """Forgets everything."""
        self._state = None

    def _begin(self) -> None:
        self._lock = threading.Lock()

    def _opened(self) -> _State:
        if self._state is None:
            raise StoreError("the store in memory is closed")
        return self._state
