"""`backup` and `compact` of sessions, and what sessions on servers and in memory say instead."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from tsmodel import Int16, Session, TSModel, connect, connect_async
from tsmodel.errors import SessionError, UnsupportedError
from tsmodel.server import serve_in_thread
from tsmodel.store import open_store, verify
from tsmodel.store.capabilities import Caretaker, PutTaker


class Reading(TSModel):
    counter: Int16


def rows(count: int) -> list[Reading]:
    return [Reading(cid=1, mid=1, moid=1, cap=n, counter=n) for n in range(count)]


def test_backup_holds_flushed_records(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    with connect(tmp_path / "a.tsdb", on_request=lambda request: None) as session:
        session.add_all(rows(5))
        session.flush()
        session.add_all(rows(3))
        report = session.backup(tmp_path / "b.tsdb", progress=lambda done, total: steps.append((done, total)))
        assert report.records == 5
        assert session.compact().runs_after == 1
        assert session.query(Reading).count() == 5
    assert steps[-1][0] == steps[-1][1] > 0
    with connect(tmp_path / "b.tsdb", read_only=True) as session:
        assert session.query(Reading).count() == 5
    with pytest.raises(SessionError, match="is closed"):
        session.backup(tmp_path / "c.tsdb")


@pytest.mark.parametrize("hooks", [{}, {"on_request": print}])
def test_async_backup_and_compact(tmp_path: Path, hooks: dict[str, object]) -> None:
    async def main() -> None:
        session = connect_async(tmp_path / "a.tsdb", **hooks)  # type: ignore[arg-type]
        with pytest.raises(SessionError, match="is not open"):
            await session.backup(tmp_path / "b.tsdb")
        async with session:
            await session.add_all(rows(5))
            await session.flush()
            assert (await session.backup(tmp_path / "b.tsdb")).records == 5
            assert (await session.compact()).runs_after == 1
            assert await session.query(Reading).count() == 5

    asyncio.run(main())
    assert verify(tmp_path / "b.tsdb").records == 5


def test_errors_on_servers_and_memory_say_what_to_do_instead(tmp_path: Path) -> None:
    async def main(target: str) -> None:
        async with connect_async(target) as session:
            with pytest.raises(UnsupportedError, match="compact works on embedded files"):
                await session.compact()
            with pytest.raises(UnsupportedError, match=r"session\.copy\(KeyRange\(\), to=other\)"):
                await session.backup(tmp_path / "b.tsdb")

    with serve_in_thread() as (host, port):
        for target in (f"tstorage://{host}:{port}", "memory:"):
            with connect(target) as session:
                with pytest.raises(UnsupportedError, match="compact works on embedded files"):
                    session.compact()
                with pytest.raises(UnsupportedError, match=r"session\.copy\(KeyRange\(\), to=other\)"):
                    session.backup(tmp_path / "b.tsdb")
            asyncio.run(main(target))
    assert list(tmp_path.iterdir()) == []


class ThirdParty:
    """A third-party backend that hides the store it wraps."""

    def __init__(self) -> None:
        store = open_store(None)
        self.scan, self.append, self.last_acq, self.close = store.scan, store.append, store.last_acq, store.close
        self.scan_budget = store.scan_budget


class Maintained(ThirdParty):
    """A backend that maintains its own storage."""

    def backup(self, path: str | os.PathLike[str], _: Any = None) -> Any:
        return f"copied to {path}"

    def compact(self, _: Any = None) -> Any:
        return "compacted"

    def verify(self, _: Any = None) -> Any:
        raise NotImplementedError

    def info(self) -> Any:
        raise NotImplementedError


def test_backend_with_its_own_maintenance_is_called() -> None:
    with Session(Maintained(), name="kept") as session:
        assert str(session.backup("there")) == "copied to there"
        assert str(session.compact()) == "compacted"
    with Session(ThirdParty(), name="others") as session:
        with pytest.raises(
            UnsupportedError, match="backup works on embedded files only, and others is a server: copy its records"
        ):
            session.backup("there")
        with pytest.raises(UnsupportedError, match="others is a server"):
            session.puts()


def test_store_implements_all_optional_interfaces() -> None:
    store = open_store(None)
    assert isinstance(store, Caretaker)
    assert isinstance(store, PutTaker)
    assert not isinstance(ThirdParty(), (Caretaker, PutTaker))


def test_server_buffers_puts_for_a_backend_without_begin_put() -> None:
    backend: Any = ThirdParty()
    with serve_in_thread(backend) as (host, port), connect(f"tstorage://{host}:{port}") as session:
        session.add_all(rows(5))
        session.flush()
        assert session.query(Reading).count() == 5
