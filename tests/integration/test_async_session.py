"""Asynchronous sessions over every backend, and over TLS: behaviour shared with blocking sessions, and their own."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from support.channels import server_tls
from support.peer import playing, silent
from support.postgres import on_postgres
from support.sessions import target_on

from tsmodel import AsyncSession, Bool, Float32, Int16, TSModel, connect, connect_async
from tsmodel.client.channel_async import AsyncChannel
from tsmodel.client.payload_type import BytesPayloadType, UnitPayloadType
from tsmodel.client.record import Key, Record
from tsmodel.client.response import ResponseStatus
from tsmodel.errors import (
    DecodeError,
    EncodeError,
    MultipleResultsError,
    NoResultError,
    NoSessionError,
    SessionError,
    StoreError,
    TransportError,
    UnflushedWarning,
)
from tsmodel.server import serve_in_thread


class Reading(TSModel):
    counter: Int16
    volts: Float32


class Other(TSModel):
    on: Bool


@pytest.fixture(params=["memory", "file", "tcp", "tls", on_postgres("postgres"), on_postgres("shards")])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with target_on(request.param, tmp_path) as target:
        yield target


def readings(count: int, cid: int = 1) -> list[Reading]:
    return [Reading(cid=cid, mid=n % 5, moid=7, cap=n, counter=n % 1000, volts=n / 2) for n in range(count)]


def in_session(target: str, work: Callable[[AsyncSession], Awaitable[None]]) -> None:
    async def main() -> None:
        async with connect_async(target) as session:
            await work(session)

    asyncio.run(main())


def test_store_and_query(target: str) -> None:
    async def work(session: AsyncSession) -> None:
        await session.add_all(readings(20_000))
        await session.add(readings(1, cid=2)[0])
        receipt = await session.flush()
        assert receipt.count == 20_001
        query = session.query(Reading).cid(1)
        assert sorted(row.cap for row in await query.all()) == list(range(20_000))
        assert sorted([row.cap async for row in query]) == list(range(20_000))
        assert [len(batch) async for batch in query.batches(7_000)] == [7_000, 7_000, 6_000]
        assert await query.count() == 20_000
        assert await query.mid(3).cap_between(0, 50).count() == 10
        assert await query.where(Reading.volts > 9_999).count() == 1
        assert await query.exists()
        assert not await query.cap_before(0).exists()
        assert await query.cap_before(0).first() is None
        assert (await query.cap_between(5, 6).one()).counter == 5
        assert await query.cap_before(0).one_or_none() is None
        assert len(await query.limit(3).all()) == 3
        assert await query.last_acq() > receipt.acq_max
        assert "returned 20,000" in str(query.explain()) or query.stats.records_returned
        with pytest.raises(NoResultError):
            await query.cap_before(0).one()
        with pytest.raises(MultipleResultsError):
            await query.one()

    in_session(target, work)


def test_async_session_raises_the_same_errors(target: str) -> None:
    async def work(session: AsyncSession) -> None:
        rows = readings(5)
        rows[3].counter = 2**15
        await session.add_all(rows)
        with pytest.raises(EncodeError, match="record 3: Reading.counter"):
            await session.flush()
        assert session.pending == tuple(rows)
        assert await session.query(Reading).count() == 0
        rows[3].counter = 3
        assert (await session.flush()).count == 5
        with pytest.raises(DecodeError, match="Other takes 1"):
            await session.query(Other).all()
        assert await session.query(Other).on_error("skip").count() == 0
        with pytest.raises(SessionError, match="objects of models"):
            await session.add(5)  # type: ignore[arg-type]

    in_session(target, work)


def test_leaving_an_iteration_early(target: str) -> None:
    async def work(session: AsyncSession) -> None:
        await session.add_all(readings(20_000))
        await session.flush()
        for _ in range(3):
            rows = aiter(session.query(Reading))
            assert (await anext(rows)).cid == 1
            await rows.aclose()  # type: ignore[attr-defined]
        assert await session.query(Reading).count() == 20_000

    in_session(target, work)


def test_tasks_share_a_session(target: str) -> None:
    async def work(session: AsyncSession) -> None:
        async def collect(cid: int) -> None:
            for row in readings(50, cid):
                await session.add(row)
                if row.cap % 10 == 9:
                    await session.flush()
                if row.cap % 25 == 0:
                    await session.query(Reading).cid(cid).count()

        await asyncio.gather(*(collect(cid) for cid in range(8)))
        assert session.pending == ()
        rows = await session.query(Reading).all()
        assert len(rows) == len({row.key for row in rows}) == 400

    in_session(target, work)


def test_blocking_session_reads_records_of_an_async_session(target: str) -> None:
    if target == "memory:":
        pytest.skip("memory is gone with its session")

    async def work(session: AsyncSession) -> None:
        await session.add_all(readings(10))

    in_session(target, work)
    with connect(target):
        assert Reading.query.count() == 10


def test_cancelled_read_leaves_the_session_usable(target: str) -> None:
    async def work(session: AsyncSession) -> None:
        await session.add_all(readings(50_000))
        await session.flush()
        for delay in (0, 0.0005, 0.002, 0.01):
            reading = asyncio.ensure_future(session.query(Reading).all())
            await asyncio.sleep(delay)
            reading.cancel()
            await asyncio.wait([reading])
        assert await session.query(Reading).count() == 50_000

    in_session(target, work)


def test_cancelled_flush_of_an_embedded_store_stores_records_once(tmp_path: Path) -> None:
    async def work(session: AsyncSession) -> None:
        for delay in (0, 0.001, 0.005, 0.02):
            await session.add_all(readings(5_000))
            flushing = asyncio.ensure_future(session.flush())
            await asyncio.sleep(delay)
            flushing.cancel()
            await asyncio.wait([flushing])
        await session.flush()
        assert await session.query(Reading).count() == 20_000

    in_session(str(tmp_path / "a.tsdb"), work)


def test_event_loop_runs_while_a_store_is_busy(tmp_path: Path) -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        async with connect_async(tmp_path / "a.tsdb") as session:
            await session.add_all(readings(1000))
            ticking = asyncio.ensure_future(tick())
            await session.flush()
            ticking.cancel()
        assert ticks > 3

    asyncio.run(main())


def test_full_batches_are_stored_automatically() -> None:
    async def main() -> None:
        async with connect_async("memory:", batch_size=10) as session:
            await session.add_all(readings(25))
            assert len(session.pending) == 5
            assert await session.query(Reading).count() == 20
            assert session.discard()[0].cap == 20
            assert (await session.flush()).count == 20

    asyncio.run(main())


def test_leaving_the_block_by_an_exception_warns() -> None:
    async def main() -> None:
        async with connect_async("memory:") as session:
            await session.add(readings(1)[0])
            raise KeyError

    with pytest.warns(UnflushedWarning, match="ended with 1 record added"), pytest.raises(KeyError):
        asyncio.run(main())


def test_garbage_collected_session_with_records_warns() -> None:
    async def main() -> None:
        session = await connect_async("memory:").open()
        await session.add(readings(1)[0])
        del session
        gc.collect()

    with pytest.warns(UnflushedWarning):
        asyncio.run(main())


def test_sessions_that_are_not_open() -> None:
    async def main() -> None:
        session = connect_async("memory:")
        with pytest.raises(SessionError, match="not open: use it inside `async with"):
            await session.flush()
        with pytest.raises(SessionError, match="not open"):
            await session.query(Reading).all()
        await session.open()
        await session.add(readings(1)[0])
        await session.close()
        await session.close()
        with pytest.raises(SessionError, match="not open"):
            await session.add(readings(1)[0])
        assert "not open" in repr(session)

    asyncio.run(main())


def test_model_query_ignores_async_sessions() -> None:
    async def main() -> None:
        async with connect_async("memory:"):
            with pytest.raises(NoSessionError):
                Reading.query.all()

    asyncio.run(main())


def test_targets_that_cannot_be_opened(tmp_path: Path) -> None:
    async def opened(target: str | os.PathLike[str]) -> None:
        async with connect_async(target):
            pass

    with playing() as (host, port):
        pass
    with pytest.raises(TransportError, match="connecting to") as caught:
        asyncio.run(opened(f"tstorage://{host}:{port}?timeout=5"))
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(StoreError, match="create it first"):
        asyncio.run(opened(tmp_path / "none" / "a.tsdb"))
    with pytest.raises(SessionError, match="unknown target"):
        connect_async("http://host")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_tls_is_verified(kind: str, tmp_path: Path) -> None:
    async def opened(target: str) -> None:
        async with connect_async(target):
            pass

    with serve_in_thread(ssl_context=server_tls()) as (host, port):
        target = f"tstorage://{host}:{port}?timeout=10&tls=1"
        with pytest.raises(TransportError, match="certificate verify failed"):
            connect(target) if kind == "sync" else asyncio.run(opened(target))


def test_tls_options() -> None:
    for suffix, wording in (
        ("tls=yes", "it is 1 for yes"),
        ("ca=a.pem", "ca are for TLS: add tls=1"),
        ("tls=1&ca=none.pem", "TLS cannot use none.pem"),
    ):
        with pytest.raises((SessionError, TransportError), match=wording):
            connect(f"tstorage://host?{suffix}")


def test_callback_may_be_a_coroutine_function() -> None:
    batches: list[int] = []

    async def take(records: list[Record[bytes]]) -> None:
        await asyncio.sleep(0)
        batches.append(len(records))

    async def main(host: str, port: int) -> None:
        async with AsyncChannel(host, port, BytesPayloadType(), timeout=20) as channel:
            await channel.put([Record(Key(1, 1, 1, cap), bytes(100)) for cap in range(1000)])
            assert (await channel.get_stream(Key.min(), Key.max(), take, recv_buffer_size=4096)).is_ok()

    with serve_in_thread() as address:
        asyncio.run(main(*address))
    assert sum(batches) == 1000
    assert len(batches) > 5


def test_cancelling_a_call_leaves_a_closed_connection() -> None:
    async def main(host: str, port: int) -> None:
        async with AsyncChannel(host, port, UnitPayloadType()) as channel:
            waiting = asyncio.ensure_future(channel.get(Key.min(), Key.max()))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert (await channel.get(Key.min(), Key.max())).status is ResponseStatus.DISCONNECTED

    with playing(silent) as address:
        asyncio.run(main(*address))


def test_large_answer_lets_other_tasks_run() -> None:
    async def main(host: str, port: int) -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        async with AsyncChannel(host, port, BytesPayloadType(), timeout=60) as channel:
            await channel.put([Record(Key(1, n, 1, 1), bytes(2**20)) for n in range(64)])
            ticking = asyncio.ensure_future(tick())
            got = await channel.get(Key.min(), Key.max())
            ticking.cancel()
        assert len(got.data) == 64
        assert ticks > 5

    with serve_in_thread() as address:
        asyncio.run(main(*address))


def test_server_thread_ends() -> None:
    before = threading.active_count()
    with serve_in_thread() as address, connect("tstorage://{}:{}".format(*address)):
        assert threading.active_count() > before
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
