"""Queries return their share of a backend's scan budget, wherever they are cancelled, fail or are abandoned."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import AsyncGenerator, Generator
from types import FrameType
from typing import Any

import pytest
from support.batches import batches, rows_in

from tsmodel.backend import Scan, ScanBudget
from tsmodel.io.effects import Work
from tsmodel.io.fetching import AsyncScan, OnAsyncBackend, OnBackend, fetched
from tsmodel.io.runners import stream, stream_async
from tsmodel.keys import KeyRange
from tsmodel.query.sinks import RunStats
from tsmodel.store import open_store
from tsmodel.wire.chunk import Chunk

BOXES = [KeyRange.of(mid=(mid, mid + 1)) for mid in range(6)]
SPARE = 3
WAITS = 12
"""More steps than a query of these boxes takes. The query may be cancelled at any of them."""


class Backend:
    """A backend whose scans wait briefly before, between and after their chunks."""

    def __init__(self) -> None:
        self.scan_budget = ScanBudget(SPARE)
        self.store = open_store(None)
        self.store.append(batches([(1, mid, 1, n, b"x" * 100) for mid in range(6) for n in range(10)]))

    def scan(self, box: KeyRange) -> Scan:
        return self.store.scan(box)

    @property
    def free(self) -> int:
        taken = self.scan_budget.take(100)
        self.scan_budget.give_back(taken)
        return taken


class AsyncBackend(Backend):
    def scan(self, box: KeyRange) -> AsyncScan:  # type: ignore[override]
        return AsyncScan(self._chunks(box))

    async def _chunks(self, box: KeyRange) -> AsyncGenerator[Chunk | int, None]:
        try:
            await asyncio.sleep(0)
            with self.store.scan(box) as scan:
                for chunk in scan:
                    yield chunk
                    await asyncio.sleep(0)
                yield scan.acq
        finally:
            await asyncio.sleep(0)

    async def append(self) -> None:
        """`append` marks the class as an asynchronous backend."""


def test_budget_is_safe_when_released_by_the_garbage_collector() -> None:
    """The garbage collector may close an abandoned scan at any point."""
    budget = ScanBudget(SPARE)
    left = budget.take(SPARE)

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code is ScanBudget.take.__code__ and event == "line" and left:
            left -= 1
            budget.give_back(1)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        taken = budget.take(SPARE)
    finally:
        sys.settrace(before)
    assert taken + budget.take(SPARE) == SPARE - left


def emitted(stats: RunStats) -> Work[None]:
    held: list[Chunk] = []
    return fetched(BOXES, stats, lambda chunk: bool(held.append(chunk)), held.pop)  # type: ignore[func-returns-value]


def fetched_async(backend: AsyncBackend) -> AsyncGenerator[Chunk, None]:
    return stream_async(emitted(RunStats()), OnAsyncBackend(backend))  # type: ignore[arg-type, return-value]


async def count(backend: AsyncBackend) -> int:
    found = 0
    async for chunk in fetched_async(backend):
        found += len(list(rows_in(chunk.rows())))
    return found


async def settled(backend: AsyncBackend) -> int:
    for _ in range(100):
        await asyncio.sleep(0)
    gc.collect()
    return backend.free


@pytest.mark.parametrize("again_after", [None, *range(WAITS)])
def test_query_cancelled_twice_at_any_step_returns_its_budget(again_after: int | None) -> None:
    async def check() -> None:
        backend = AsyncBackend()
        for after in range(WAITS):
            task = asyncio.create_task(count(backend))
            for _ in range(after):
                await asyncio.sleep(0)
            task.cancel()
            for _ in range(again_after or 0):
                await asyncio.sleep(0)
            if again_after is not None:
                task.cancel()
            await asyncio.wait([task])
            assert await settled(backend) == SPARE
        assert await count(backend) == 60

    gc.collect()
    gc.freeze()  # keeps existing objects out of the collections
    try:
        asyncio.run(check())
    finally:
        gc.unfreeze()


def test_generator_that_is_never_started_or_closed() -> None:
    async def check() -> None:
        backend = AsyncBackend()
        for steps in (0, 1, 2):
            chunks = fetched_async(backend)
            for _ in range(steps):
                await anext(chunks)
            del chunks
            assert await settled(backend) == SPARE

    asyncio.run(check())


def test_event_loop_that_ends_before_the_query() -> None:
    backend = AsyncBackend()
    loop = asyncio.new_event_loop()
    task = loop.create_task(count(backend))
    loop.run_until_complete(asyncio.sleep(0))
    assert backend.free == 0
    everything = asyncio.all_tasks(loop)
    for each in everything:
        each.cancel()
    loop.run_until_complete(asyncio.wait(everything))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert task.cancelled()
    assert backend.free == SPARE


def drained(chunks: Generator[Chunk, None, None]) -> int:
    return sum(len(list(rows_in(chunk.rows()))) for chunk in chunks)


@pytest.mark.parametrize("most", range(5))
def test_threads_that_cannot_start(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    started = 0
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        nonlocal started
        if started == most:
            raise RuntimeError("can't start new thread")
        started += 1
        start(thread)

    backend = Backend()
    monkeypatch.setattr(threading.Thread, "start", limited)
    stats = RunStats()
    assert drained(stream(emitted(stats), OnBackend(backend))) == 60  # type: ignore[arg-type]
    assert stats.ranges == len(BOXES)
    assert started == min(most, SPARE + 1)
    for thread in threading.enumerate():
        if thread.name.startswith("tsmodel-fetch"):
            thread.join(20)
    assert backend.free == SPARE


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("does_run", [False, True])
def test_interruption_while_threads_start(at: int, does_run: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if len(threads) == at:
            if does_run:  # Ctrl-C may arrive while start() waits for the running thread
                threads.append(thread)
                start(thread)
            raise KeyboardInterrupt
        threads.append(thread)
        start(thread)

    backend = Backend()
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        drained(stream(emitted(RunStats()), OnBackend(backend)))  # type: ignore[arg-type]
    for thread in threads:
        thread.join(20)
    assert backend.free == SPARE
