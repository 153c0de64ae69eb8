"""Forks with open sessions, pools and channels: parent and child never share a connection."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.channels import BlockingChannel, client_tls, server_tls
from support.forks import forked, forks, in_child
from support.proxy import Proxy, proxied

from tsmodel import Int32, Session, TSModel, connect, connect_async
from tsmodel.client.channel import Channel
from tsmodel.client.payload_type import BytesPayloadType
from tsmodel.client.record import Key
from tsmodel.client.tstorage import TStorageBackend
from tsmodel.errors import SessionError
from tsmodel.io.pool import Address, PoolOptions
from tsmodel.io.runners import perform_async, stream_async
from tsmodel.keys import KeyRange
from tsmodel.server import serve_in_thread
from tsmodel.wire.chunk import Chunk

pytestmark = forks


class Reading(TSModel):
    n: Int32


def row(mid: int, n: int = 0) -> Reading:
    return Reading(cid=1, mid=mid, moid=1, cap=n, n=n)


@pytest.fixture
def server() -> Iterator[tuple[str, int]]:
    with serve_in_thread() as address:
        with connect("tstorage://{}:{}".format(*address)) as session:
            session.add_all(row(mid, n) for mid in range(8) for n in range(100))
        yield address


@pytest.fixture
def proxy(server: tuple[str, int]) -> Iterator[Proxy]:
    with proxied(*server) as proxy:
        yield proxy


def mids(session: Session, mid: int) -> set[int]:
    return {found.mid for _ in range(50) for found in session.query(Reading).mid(mid).all()}


def test_child_session_reconnects(proxy: Proxy) -> None:
    with connect("tstorage://{}:{}?timeout=20".format(*proxy.address)) as session:
        assert mids(session, 0) == {0}
        assert proxy.connections == 1
        with forked(lambda: mids(session, 1)) as one, forked(lambda: mids(session, 2)) as other:
            assert mids(session, 0) == {0}
            assert (one(), other()) == ("{1}", "{2}")
        assert proxy.connections == 3
        assert mids(session, 0) == {0}
        assert proxy.connections == 3  # the parent's connection is unchanged


def test_running_query_ends_in_the_child_and_continues_in_the_parent(proxy: Proxy) -> None:
    with connect("tstorage://{}:{}?timeout=20&pool=1".format(*proxy.address)) as session:
        rows = iter(session.query(Reading).cid(1))
        assert next(rows) is not None

        def work() -> tuple[set[int], int]:
            rows.close()  # type: ignore[attr-defined]
            return mids(session, 1), session.query(Reading).count()

        assert in_child(work) == "({1}, 800)"
        assert sum(1 for _ in rows) == 799


def test_child_pool_starts_without_the_parents_leases(proxy: Proxy) -> None:
    with connect("tstorage://{}:{}?timeout=20&pool=1&pool_timeout=0.1".format(*proxy.address)) as session:
        rows = iter(session.query(Reading).cid(1))
        assert next(rows) is not None
        assert in_child(lambda: mids(session, 3)) == "{3}"
        assert sum(1 for _ in rows) == 799


def test_async_backend_reconnects_in_the_child(proxy: Proxy) -> None:
    options = PoolOptions(addresses=(Address(*proxy.address),), timeout=20)

    async def count(backend: TStorageBackend) -> int:
        chunks = stream_async(backend.scanning(KeyRange()), perform_async)
        return sum([len(chunk) async for chunk in chunks if isinstance(chunk, Chunk)])

    async def check() -> None:
        backend = TStorageBackend(options, reached=False)
        assert await count(backend) == 800
        with forked(lambda: asyncio.run(count(backend))) as answer:
            assert answer() == str(800)
        assert proxy.connections == 2
        assert await count(backend) == 800
        assert proxy.connections == 2
        backend.close()

    asyncio.run(check())


def test_async_session_is_not_open_in_the_child(server: tuple[str, int]) -> None:
    async def read(target: str) -> int:
        async with connect_async(target) as session:
            return await session.query(Reading).count()

    async def check() -> None:
        target = "tstorage://{}:{}?timeout=20".format(*server)
        async with connect_async(target, flush_every="1h") as session:
            await session.add(row(9))

            def work() -> object:
                with pytest.raises(SessionError, match="opened before the fork: open another in this process"):
                    asyncio.run(session.query(Reading).count())
                asyncio.run(session.close())
                return session.pending, asyncio.run(read(target))

            with forked(work) as answer:
                assert answer() == "((), 800)"
            await session.flush()
            assert await session.query(Reading).count() == 801

    asyncio.run(check())


@pytest.mark.parametrize("kind", [Channel, BlockingChannel])
@pytest.mark.parametrize("tls", [False, True])
def test_channel_is_disconnected_in_the_child(kind: Callable[..., Channel[bytes]], tls: bool) -> None:
    with serve_in_thread(ssl_context=server_tls() if tls else None) as (host, port):
        options = {"timeout": 20, "ssl_context": client_tls() if tls else None}
        with kind(host, port, BytesPayloadType(), **options) as channel:
            assert channel.get_acq(Key.min(), Key.max()).is_ok()

            def work() -> tuple[str, bool]:
                before = channel.get_acq(Key.min(), Key.max()).status.name
                with Channel(host, port, BytesPayloadType(), **options) as own:  # type: ignore[arg-type]
                    return before, own.get_acq(Key.min(), Key.max()).is_ok()

            if kind is Channel:
                assert in_child(work) == "('DISCONNECTED', True)"
            else:
                assert in_child(lambda: channel._channel._connection.open) == "False"  # type: ignore[attr-defined]
            assert channel.get_acq(Key.min(), Key.max()).is_ok()


@pytest.mark.parametrize("kind", [Channel, BlockingChannel])
@pytest.mark.parametrize("tls", [False, True])
def test_child_closes_the_parents_descriptors(kind: Callable[..., Channel[bytes]], tls: bool) -> None:
    served = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        if tls:
            connection = server_tls().wrap_socket(connection, server_side=True)
        connection.settimeout(20)
        try:
            while connection.recv(100):
                pass
        except OSError as error:
            if isinstance(error, TimeoutError):
                return
        served.set()
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        options = {"timeout": 20, "ssl_context": client_tls() if tls else None}
        channel = kind(*listener.getsockname(), BytesPayloadType(), **options)
        channel.__enter__()
        reading, writing = os.pipe()
        with forked(lambda: os.read(reading, 1)) as answer:
            time.sleep(0.05)
            assert not served.is_set()  # the child has sent the server nothing
            channel.__exit__(None, None, None)
            assert served.wait(20)
            os.write(writing, b"x")
            assert answer() == "b'x'"
        os.close(reading)
        os.close(writing)
        thread.join(20)


@pytest.mark.parametrize("target", ["memory:", "file", "server"])
def test_records_added_before_the_fork_belong_to_the_parent(target: str, server: tuple[str, int], tmp_path: Path) -> None:
    where = {"file": str(tmp_path / "readings.tsdb"), "server": "tstorage://{}:{}".format(*server)}.get(target, target)
    with connect(where) as session:
        before = session.query(Reading).count()
        session.add(row(20))

        def work() -> object:
            held = session.pending
            session.add(row(21))
            stored = session.flush().count
            session.add(row(22))
            session.close()
            return held, stored

        assert in_child(work) == "((), 1)"
        assert [held.mid for held in session.pending] == [20]
        session.flush()
        stored_by_child = 0 if target == "memory:" else 2
        assert session.query(Reading).count() == before + 1 + stored_by_child
        assert session.query(Reading).mid(20).count() == 1


def test_child_has_its_own_background_flush(server: tuple[str, int]) -> None:
    with connect("tstorage://{}:{}".format(*server), flush_every="10ms") as session:

        def work() -> int:
            session.add(row(30))
            while session.pending:
                time.sleep(0.01)
            return session.query(Reading).mid(30).count()

        assert in_child(work) == "1"


def test_locks_held_in_the_parent_do_not_block_the_child(server: tuple[str, int]) -> None:
    asked, goes_on = threading.Event(), threading.Event()
    parent = os.getpid()

    def on_request(request: object) -> None:
        if os.getpid() == parent:
            asked.set()
            goes_on.wait(60)

    with connect("tstorage://{}:{}".format(*server), on_request=on_request) as session:
        session.add(row(40))
        thread = threading.Thread(target=session.flush)
        thread.start()
        assert asked.wait(20)

        def work() -> object:
            session.add(row(41))
            return session.flush().count

        assert in_child(work, 20) == "1"
        goes_on.set()
        thread.join(20)
        assert session.query(Reading).mid(40).count() == 1
        assert session.query(Reading).mid(41).count() == 1


def test_session_open_at_exit_prints_nothing() -> None:
    program = """
from tsmodel import Int32, TSModel, connect

class Reading(TSModel):
    n: Int32

session = connect("memory:")
session.add(Reading(cid=1, mid=1, moid=1, cap=1, n=1))
session.flush()
assert Reading.query.cid(1).one().n == 1
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
