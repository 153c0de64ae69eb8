"""`follow`: each new record once, in order, however the reader is stopped and restarted."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from support.postgres import database, on_postgres, sharded
from support.proxy import Cut, proxied

from tsmodel import Float32, Int32, Retry, Session, TSModel, connect, connect_async
from tsmodel.errors import CheckpointError, QueryError, RemoteProtocolError, SessionError, TransportError
from tsmodel.server import serve_in_thread


class Reading(TSModel):
    counter: Int32
    volts: Float32


class Other(TSModel):
    counter: Int32
    watts: Float32


@pytest.fixture(params=["memory", "file", "tcp", on_postgres("postgres"), on_postgres("shards")])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "memory":
        yield "memory:"
    elif request.param == "file":
        yield str(tmp_path / "readings.tsdb")
    elif request.param == "postgres":
        with database() as url:
            yield url
    elif request.param == "shards":
        with sharded() as url:
            yield url
    else:
        with serve_in_thread() as (host, port):
            yield f"tstorage://{host}:{port}?timeout=20"


def readings(first: int, count: int, cid: int = 1) -> list[Reading]:
    return [Reading(cid=cid, mid=n % 5, moid=1, cap=1000 - n, counter=n, volts=n / 2) for n in range(first, first + count)]


def stored(session: Session, rows: list[Reading]) -> None:
    session.add_all(rows)
    session.flush()


def counters(rows: Any) -> list[int]:
    return [row.counter for row in rows]


@pytest.mark.parametrize("seed", range(6))
def test_records_of_one_full_key_are_always_in_the_same_order(seed: int) -> None:
    """A position counts records: with another order after a restart, one would be returned twice and another never."""
    same = [Reading(cid=1, mid=1, moid=1, cap=1, acq=9, counter=n, volts=0.0) for n in range(5)]
    random.Random(seed).shuffle(same)
    with connect("memory:") as session:
        session.add_all(same, keep_acq=True)
        session.flush()
        assert counters(session.query(Reading).follow(wait=False)) == [0, 1, 2, 3, 4]


def test_each_record_once_through_restarts(target: str, tmp_path: Path) -> None:
    chance = random.Random(5)
    path = tmp_path / "seen"
    total = 300
    cids = [1] if target == "memory:" else [1, 2]  # memory has one session

    with connect(target) as session:

        def write(cid: int) -> None:
            with nullcontext(session) if target == "memory:" else connect(target) as writing:
                for first in range(0, total, 20):
                    stored(writing, readings(first, 20, cid))

        writers = [threading.Thread(target=write, args=(cid,)) for cid in cids]
        for writer in writers:
            writer.start()
        got: list[tuple[int, int]] = []
        restarts = 0
        while len(got) < total * len(cids) or restarts < 100:
            with session.query(Reading).follow(poll="1ms", checkpoint=path, wait=False) as new:
                got += [(row.cid, row.counter) for row in islice(new, chance.randrange(20))]
            restarts += 1
        for writer in writers:
            writer.join()
        with session.query(Reading).follow(checkpoint=path, wait=False) as new:
            assert list(new) == []
            assert new.lag() < 10**10
    assert sorted(got) == [(cid, n) for cid in cids for n in range(total)]


def test_the_record_in_hand_is_returned_again(target: str, tmp_path: Path) -> None:
    path = tmp_path / "seen"
    with connect(target) as session:
        stored(session, readings(0, 10))
        query = session.query(Reading)
        killed = query.follow(checkpoint=path)
        first = [next(killed) for _ in range(4)]  # never closed: as if the process had died
        with query.follow(checkpoint=path) as new:
            again = next(new)
            assert again == first[3]
            assert next(new).counter not in counters(first)
        with pytest.raises(ZeroDivisionError), query.follow(checkpoint=path) as new:
            failed = next(new)
            raise ZeroDivisionError
        with query.follow(checkpoint=path, wait=False) as new:
            assert next(new) == failed
            new.commit()
            assert new.position.taken == 1
        rest = list(query.follow(checkpoint=path, wait=False))
        assert len(rest) == 4


def test_a_checkpoint_every_n_records_repeats_at_most_n(target: str, tmp_path: Path) -> None:
    path = tmp_path / "seen"
    with connect(target) as session:
        stored(session, readings(0, 20))
        killed = session.query(Reading).follow(checkpoint=path, checkpoint_every=7)
        order = [next(killed) for _ in range(20)]
        rest = list(session.query(Reading).follow(checkpoint=path, wait=False))
        assert rest == order[14:]


def test_large_windows_are_cut(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsmodel.query.following.MOST", 10)
    with connect(target) as session:
        stored(session, readings(0, 500))
        session.add_all(
            (Reading(cid=2, mid=n, moid=1, cap=n, acq=77, counter=1000 + n, volts=0) for n in range(30)), keep_acq=True
        )
        session.flush()
        with session.query(Reading).follow(wait=False) as new:
            got = list(new)
    assert sorted(counters(got)) == [*range(500), *range(1000, 1030)]
    assert [row.acq for row in got] == sorted(row.acq for row in got)
    assert counters(got[:30]) == list(range(1000, 1030))


def test_since_filter_and_lag(target: str) -> None:
    with connect(target) as session:
        stored(session, readings(0, 10))
        edge = session.query(Reading).last_acq()
        query = session.query(Reading).where(Reading.counter >= 12)
        stored(session, readings(10, 10))
        with query.follow(since=edge, wait=False) as new:
            assert 0 < new.lag() <= session.query(Reading).last_acq() - edge
            assert sorted(counters(new)) == list(range(12, 20))
        assert query.stats.ranges == 1
        assert query.stats.seconds > 0
        assert f"from {query.stats.chunks} chunk" in str(query.explain())
        assert "of 1 key range;" in str(query.explain())
        assert list(session.query(Reading).cid_between(5, 5).follow(wait=False)) == []


def test_async(target: str, tmp_path: Path) -> None:
    path = tmp_path / "seen"

    async def work() -> None:
        async with connect_async(target) as session:
            query = session.query(Reading)
            await session.add_all(readings(0, 30))
            await session.flush()
            got = []
            async with query.follow(poll="1ms", checkpoint=path) as new:
                async for row in new:
                    got.append(row)
                    if len(got) == 30:
                        break
            async with query.follow(poll="1ms", checkpoint=path) as new:
                waiting = asyncio.ensure_future(anext(new))
                await asyncio.sleep(0.01)
                waiting.cancel()
                await asyncio.wait([waiting])
                await session.add_all(readings(30, 30))
                await session.flush()
                assert await new.lag() > 0
                async for row in new:
                    got.append(row)
                    if len(got) == 60:
                        break
            assert [row async for row in query.follow(checkpoint=path, wait=False)] == []
            assert sorted(counters(got)) == list(range(60))

    asyncio.run(work())


def test_checkpoints_of_another_query_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "seen"
    with connect("memory:") as session, connect(tmp_path / "a.tsdb") as other:
        stored(session, readings(0, 3))
        with session.query(Reading).follow(checkpoint=path, wait=False) as new:
            next(new)
        for query, what in (
            (session.query(Reading).cid(1), "query"),
            (session.query(Other), "model"),
            (other.query(Reading), "target"),
        ):
            with pytest.raises(CheckpointError, match=f"belongs to another {what}"):
                query.follow(checkpoint=path)
        for damaged in (b"", b"{}", b'{"tsmodel_checkpoint": 2, "of": {}, "acq": 1, "taken": 0}'):
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError, match=r"not a checkpoint|version 2"):
                session.query(Reading).follow(checkpoint=path)
        with (
            pytest.raises(CheckpointError, match="cannot be written"),
            session.query(Reading).follow(checkpoint=tmp_path / "none" / "seen") as new,
        ):
            next(new)


def test_refusals() -> None:
    with connect("memory:") as session:
        query = session.query(Reading)
        with pytest.raises(QueryError, match="limit"):
            query.limit(3).follow()
        with pytest.raises(QueryError, match="since="):
            query.acq_since(5).follow()
        with pytest.raises(QueryError, match="checkpoint_every"):
            query.follow(checkpoint_every=0)
        with pytest.raises(SessionError, match="poll"):
            query.follow(poll=0)


def test_a_lost_connection(tmp_path: Path) -> None:
    with serve_in_thread() as address, proxied(*address) as proxy, connect("tstorage://{}:{}".format(*address)) as writer:
        stored(writer, readings(0, 2000))
        url = "tstorage://{}:{}?timeout=5".format(*proxy.address)
        with (
            connect(url, retry=Retry(first="1ms", most="2ms")) as session,
            session.query(Reading).follow(poll="1ms") as new,
        ):
            proxy.cuts = [Cut(from_server=size) for size in (0, 30, 20_000)]
            assert counters(next(new) for _ in range(2000)) == list(range(2000))
            proxy.cut_all()
            stored(writer, readings(2000, 5))
            assert sorted(counters(next(new) for _ in range(5))) == list(range(2000, 2005))
        proxy.cuts = [Cut(from_server=20_000)] * 2
        with connect(url) as session, session.query(Reading).follow(wait=False) as new:
            failures = 0
            got = []
            while len(got) < 2005:
                try:
                    got.append(next(new).counter)
                except (TransportError, RemoteProtocolError):
                    failures += 1
                    assert failures < 5
            assert failures
            assert sorted(got) == list(range(2005))
