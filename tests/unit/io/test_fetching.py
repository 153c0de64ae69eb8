"""Key ranges are fetched concurrently, and their share of the scan budget is returned, however the query ends."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
import time
from collections.abc import AsyncGenerator, Generator
from types import FrameType
from typing import Any

import pytest

from tsmodel import AsyncSession, Int32, Session, TSModel
from tsmodel.backend import AcqInterval, Scan, ScanBudget
from tsmodel.errors import TransportError
from tsmodel.io.fetching import AsyncScan
from tsmodel.keys import KeyRange
from tsmodel.store import open_store
from tsmodel.wire.chunk import Chunk, RowChunk


class Reading(TSModel):
    n: Int32


class Meeting:
    """A store whose scans start only when the expected number of them is under way."""

    def __init__(self, budget: int, meet: int) -> None:
        self.store = open_store(None)
        self.scan_budget = ScanBudget(budget)
        self.barrier = threading.Barrier(meet)
        self.arrived = 0
        self.fails_at: int | None = None
        self.under_way: set[KeyRange] = set()  # its changes are atomic

    def scan(self, box: KeyRange) -> Scan:
        return Scan(self._chunks(box))

    def _chunks(self, box: KeyRange) -> Generator[Chunk, None, int]:
        self.under_way.add(box)
        try:
            if self.barrier.parties > 1:
                self.barrier.wait(timeout=20)
            if box.min.mid == self.fails_at:
                raise TransportError("lost")
            with self.store.scan(box) as scan:
                yield from scan
                return scan.acq
        finally:
            self.under_way.discard(box)

    def append(self, batches: object, *, with_acq: bool = False) -> AcqInterval:
        return self.store.append(batches, with_acq=with_acq)  # type: ignore[arg-type]

    def last_acq(self, box: KeyRange) -> int:
        return self.store.last_acq(box)

    def close(self) -> None:
        self.store.close()


class Reusing(Meeting):
    """Its chunks lie in memory that the next one overwrites, as those of a connection."""

    def _chunks(self, box: KeyRange) -> Generator[Chunk, None, int]:
        chunks = super()._chunks(box)
        acq = 0

        def noted() -> Generator[Chunk, None, None]:
            nonlocal acq
            acq = yield from chunks

        room = bytearray(2**16)
        for chunk in noted():
            for at in range(len(chunk)):
                record = chunk.take(slice(at, at + 1))
                rows = memoryview(room)[: record.nbytes]
                rows[:] = record.rows()
                yield RowChunk(rows, 1, record.record_size)
        return acq


class AwaitedMeeting(Meeting):
    def scan(self, box: KeyRange) -> AsyncScan:  # type: ignore[override]
        return AsyncScan(self._awaited(box))

    async def _awaited(self, box: KeyRange) -> AsyncGenerator[Chunk | int, None]:
        self.under_way.add(box)
        try:
            self.arrived += 1
            while self.arrived < self.barrier.parties:
                await asyncio.sleep(0.001)
            if box.min.mid == self.fails_at:
                raise TransportError("lost")
            with self.store.scan(box) as scan:
                for chunk in scan:
                    yield chunk
                yield scan.acq
        finally:
            self.under_way.discard(box)

    async def append(self, batches: object, *, with_acq: bool = False) -> AcqInterval:  # type: ignore[override]
        return self.store.append(batches, with_acq=with_acq)  # type: ignore[arg-type]

    async def close(self) -> None:  # type: ignore[override]
        self.store.close()


def rows() -> list[Reading]:
    return [Reading(cid=1, mid=mid, moid=1, cap=cap, n=cap) for mid in range(0, 16, 2) for cap in range(500)]


def settled(backend: Meeting, spare: int) -> bool:
    for _ in range(2000):
        free = backend.scan_budget.take(100)
        backend.scan_budget.give_back(free)
        if free == spare and not backend.under_way:
            return True
        time.sleep(0.005)
    return False


def test_as_many_scans_as_the_budget_allows() -> None:
    backend = Meeting(budget=3, meet=4)
    with Session(backend) as session:
        session.add_all(rows())
        session.flush()
        query = session.query(Reading).mid(0, 2, 4, 6, 8, 10, 12, 14)
        assert sorted(row.n for row in query.all()) == sorted(row.n for row in rows())
        assert query.stats.ranges == 8
        assert query.stats.records_read == 4000
        assert query.where(Reading.n == 3).count() == 8
        assert settled(backend, 3)


def test_stopping_early_returns_the_budget() -> None:
    backend = Meeting(budget=3, meet=1)
    with Session(backend) as session:
        session.add_all(rows())
        session.flush()
        query = session.query(Reading).mid(0, 2, 4, 6)
        assert query.first() is not None
        assert query.exists()
        for _ in query:
            break
        assert query.limit(3).all()
        assert settled(backend, 3)


def test_a_failure_of_any_scan_is_raised() -> None:
    backend = Meeting(budget=3, meet=4)
    with Session(backend) as session:
        session.add_all(rows())
        session.flush()
        backend.fails_at = 4
        with pytest.raises(TransportError, match="lost"):
            session.query(Reading).mid(0, 2, 4, 6).all()
        assert settled(backend, 3)


def test_without_a_budget_ranges_are_fetched_in_turn() -> None:
    backend = Meeting(budget=0, meet=1)
    with Session(backend) as session:
        session.add_all(rows())
        session.flush()
        assert session.query(Reading).mid(0, 2, 4, 6).count() == 2000
        assert threading.active_count() < 20


def test_tasks_fetch_concurrently_too() -> None:
    async def check() -> None:
        backend = AwaitedMeeting(budget=3, meet=4)

        async def opened() -> AwaitedMeeting:
            return backend

        async with AsyncSession(opened) as session:  # type: ignore[arg-type]
            await session.add_all(rows())
            await session.flush()
            query = session.query(Reading).mid(0, 2, 4, 6)
            assert await query.count() == 2000
            assert query.stats.ranges == 4
            assert await query.first() is not None
            assert not backend.under_way
            backend.fails_at = 2
            with pytest.raises(TransportError, match="lost"):
                await query.all()
            assert not backend.under_way
            assert backend.scan_budget.take(100) == 3

    asyncio.run(check())


def test_an_asynchronous_session_calls_a_blocking_backend_in_threads() -> None:
    async def check() -> None:
        backend = Reusing(budget=3, meet=4)

        async def opened() -> Meeting:
            return backend

        async with AsyncSession(opened) as session:  # type: ignore[arg-type]
            await session.add_all(rows())
            await session.flush()
            found = await session.query(Reading).mid(0, 2, 4, 6).all()
            assert sorted((row.mid, row.n) for row in found) == [(mid, n) for mid in range(0, 8, 2) for n in range(500)]
            assert settled(backend, 3)

    asyncio.run(check())


def test_a_thread_may_collect_the_abandoned_query_while_it_hands_over_a_chunk() -> None:
    is_abandoned = threading.Event()

    class Slow(Meeting):
        def _chunks(self, box: KeyRange) -> Generator[Chunk, None, int]:
            if box.min.mid > 0:
                is_abandoned.wait(20)
            return (yield from super()._chunks(box))

    def collect(frame: FrameType, event: str, function: Any) -> None:
        in_queue = event == "call" and frame.f_code in (queue.Queue._put.__code__, queue.Queue._get.__code__)
        if is_abandoned.is_set() and (in_queue or (event == "c_call" and function.__name__ == "put")):
            gc.collect()

    backend = Slow(budget=3, meet=1)
    with Session(backend) as session:
        session.add_all(rows())
        session.flush()
        query = iter(session.query(Reading).mid(0, 2, 4, 6))
        threading.setprofile(collect)
        gc.disable()
        try:
            assert next(query).mid == 0
            cycle: list[Any] = [query]
            cycle.append(cycle)
            del cycle, query
            is_abandoned.set()
            assert settled(backend, 3)
        finally:
            gc.enable()
            threading.setprofile(None)  # type: ignore[arg-type]


def test_the_store_has_no_budget() -> None:
    assert open_store(None).scan_budget.take(5) == 0
