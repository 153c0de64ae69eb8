"""Pools and retried reads over real connections, blocking and asynchronous."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.peer import playing
from support.proxy import Cut, Proxy, proxied
from support.sessions import Opener

from tsmodel import Int16, Retry, TSModel, connect, connect_async
from tsmodel.errors import PoolTimeoutError, RemoteProtocolError, SessionError, TransportError
from tsmodel.server import serve_in_thread


class Reading(TSModel):
    counter: Int16


COUNT = 30_000
POLICY = Retry(first="1ms", most="10ms", attempts=6)


def rows(count: int, **values: int) -> list[Reading]:
    return [Reading(**{"cid": 1, "mid": 1, "moid": 1, "cap": n, "counter": 1, **values}) for n in range(count)]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    with serve_in_thread() as address:
        with connect("tstorage://{}:{}".format(*address)) as session:
            session.add_all(rows(COUNT))
        yield address


@pytest.fixture
def proxies(server: tuple[str, int]) -> Iterator[tuple[Proxy, Proxy]]:
    with proxied(*server) as one, proxied(*server) as other:
        yield one, other


def url(*proxies: Proxy, **options: object) -> str:
    hosts = ",".join("{}:{}".format(*proxy.address) for proxy in proxies)
    return f"tstorage://{hosts}?" + "&".join(f"{name}={value}" for name, value in {"timeout": 20, **options}.items())


def cut_off(session: Any, proxy: Proxy) -> None:
    """Cuts the idle connections of a session."""
    session.query(Reading).last_acq()  # so that they are accepted
    proxy.cut_all()
    time.sleep(0.05)


def test_operations_use_all_connectors(opened: Opener, proxies: tuple[Proxy, Proxy]) -> None:
    with opened(url(*proxies)) as session:
        for _ in range(6):
            assert session.query(Reading).limit(1).all()
        assert session.query(Reading).cid(1).count() == COUNT
    assert all(proxy.connections >= 1 for proxy in proxies)


def test_session_survives_the_loss_of_a_connector(opened: Opener, proxies: tuple[Proxy, Proxy]) -> None:
    with opened(url(*proxies)) as session:
        for _ in range(4):
            assert session.query(Reading).last_acq()
        proxies[0].close()
        time.sleep(0.05)
        for _ in range(4):
            assert session.query(Reading).last_acq()
        session.add_all(rows(1, cid=2))
        assert session.flush().count == 1


def test_broken_idle_connections_are_replaced(opened: Opener, proxies: tuple[Proxy, Proxy]) -> None:
    proxy, _ = proxies
    with opened(url(proxy)) as session:
        for cid in range(3, 6):
            assert session.query(Reading).cid(1).count() == COUNT
            proxy.cut_all()
            time.sleep(0.05)
            session.add_all(rows(2, cid=cid))
            assert session.flush().count == 2
            proxy.cut_all()
            time.sleep(0.05)


def test_several_unreachable_connectors(opened: Opener) -> None:
    with playing() as one, playing() as other:
        pass
    hosts = "{}:{},{}:{}".format(*one, *other)
    with pytest.raises(TransportError, match=f"none of the 2 connectors {hosts} can be reached: connecting to"):
        opened(f"tstorage://{hosts}")


def test_connecting_is_retried(opened: Opener, server: tuple[str, int]) -> None:
    with playing() as address:
        pass
    began = time.monotonic()
    with pytest.raises(TransportError):
        opened("tstorage://{}:{}".format(*address), retry=Retry(attempts=3, first="40ms"))
    assert time.monotonic() - began >= 0.02 + 0.04


def test_wait_for_a_connection_times_out(proxies: tuple[Proxy, Proxy]) -> None:
    with connect(url(proxies[0], pool=1, pool_timeout=0.1)) as session:
        iteration = iter(session.query(Reading))
        next(iteration)
        with pytest.raises(PoolTimeoutError, match="became free in 0.1 s: 1 of 1 are in use"):
            session.query(Reading).count()
        iteration.close()  # type: ignore[attr-defined]
        assert session.query(Reading).cid(1).count() == COUNT


def test_tasks_wait_for_a_connection(proxies: tuple[Proxy, Proxy]) -> None:
    async def main() -> None:
        async with connect_async(url(proxies[0], pool=2)) as session:
            counts = await asyncio.gather(*(session.query(Reading).cid(1).count() for _ in range(20)))
            assert counts == [COUNT] * 20
            held = aiter(session.query(Reading))
            other = aiter(session.query(Reading))
            await anext(held)
            await anext(other)
            waiting = asyncio.ensure_future(session.query(Reading).last_acq())
            await asyncio.sleep(0.02)
            assert not waiting.done()
            waiting.cancel()
            await asyncio.wait([waiting])
            waiting = asyncio.ensure_future(session.query(Reading).last_acq())
            await held.aclose()  # type: ignore[attr-defined]
            assert await waiting
            await other.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())
    assert proxies[0].connections <= 5


def test_tasks_time_out_waiting_for_a_connection(proxies: tuple[Proxy, Proxy]) -> None:
    async def main() -> None:
        async with connect_async(url(proxies[0], pool=1, pool_timeout=0.1)) as session:
            held = aiter(session.query(Reading))
            await anext(held)
            with pytest.raises(PoolTimeoutError, match="1 of 1 are in use"):
                await session.query(Reading).count()
            await held.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())


def test_threads_share_a_session(proxies: tuple[Proxy, Proxy]) -> None:
    failures: list[BaseException] = []
    with connect(url(*proxies, pool=3)) as session:

        def work(cid: int) -> None:
            try:
                for n in range(10):
                    session.add_all(rows(5, cid=cid, mid=n))
                    session.flush()
                    assert session.query(Reading).cid(cid).count() == 5 * (n + 1)
            except BaseException as error:  # noqa: BLE001 - checked by the main thread
                failures.append(error)

        threads = [threading.Thread(target=work, args=(100 + number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert sum(proxy.connections for proxy in proxies) == 3


def test_closing_a_backend_wakes_waiting_threads(proxies: tuple[Proxy, Proxy]) -> None:
    session = connect(url(proxies[0], pool=1))
    backend = session.backend
    iteration = iter(session.query(Reading))
    next(iteration)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            session.query(Reading).count()
        except SessionError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    backend.close()
    thread.join(10)
    assert "is closed" in str(errors[0])
    iteration.close()  # type: ignore[attr-defined]
    session.close()


@pytest.mark.parametrize("at", [1, 11, 12, 13, 500])
def test_read_without_results_yet_is_retried(opened: Opener, proxies: tuple[Proxy, Proxy], at: int) -> None:
    proxy, _ = proxies
    with opened(url(proxy), retry=POLICY) as session:
        cut_off(session, proxy)
        # The pool detects the dead idle connection. New connections are cut at the given byte or slightly after it.
        proxy.cuts = [Cut(from_server=at if at < 100 else 12 + 20), Cut(to_server=at % 76), Cut(from_server=at % 12 + 1)]
        assert session.query(Reading).cid(1).count() == COUNT
        assert proxy.cuts == []
        cut_off(session, proxy)
        proxy.cuts = [Cut(from_server=at % 20), Cut(from_server=0)]
        assert session.query(Reading).last_acq()


def test_read_that_returned_results_is_not_retried(opened: Opener, proxies: tuple[Proxy, Proxy]) -> None:
    proxy, _ = proxies
    with opened(url(proxy), retry=POLICY) as session:
        cut_off(session, proxy)
        proxy.cuts = [Cut(from_server=1_000_000)]
        with pytest.raises((TransportError, RemoteProtocolError)):
            session.query(Reading).cid(1).count()


def test_without_a_policy_nothing_is_retried(opened: Opener, proxies: tuple[Proxy, Proxy]) -> None:
    proxy, _ = proxies
    with opened(url(proxy)) as session:
        cut_off(session, proxy)
        proxy.cuts = [Cut(from_server=3)]
        with pytest.raises((TransportError, RemoteProtocolError)):
            session.query(Reading).cid(1).count()
        assert session.query(Reading).cid(1).count() == COUNT
