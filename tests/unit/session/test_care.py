"""Backups and compaction by sessions, and what sessions on servers and memory say instead."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tsmodel import Int16, TSModel, connect, connect_async
from tsmodel.errors import SessionError, UnsupportedError
from tsmodel.server import serve_in_thread
from tsmodel.store import verify


class Reading(TSModel):
    counter: Int16


def rows(count: int) -> list[Reading]:
    return [Reading(cid=1, mid=1, moid=1, cap=n, counter=n) for n in range(count)]


def test_what_was_flushed_is_in_the_backup(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with connect(tmp_path / "a.tsdb", on_request=lambda request: None) as session:
        session.add_all(rows(5))
        session.flush()
        session.add_all(rows(3))
        report = session.backup(tmp_path / "b.tsdb", progress=lambda done, total: told.append((done, total)))
        assert report.records == 5
        assert session.compact().runs_after == 1
        assert session.query(Reading).count() == 5
    assert told[-1][0] == told[-1][1] > 0
    with connect(tmp_path / "b.tsdb", read_only=True) as session:
        assert session.query(Reading).count() == 5
    with pytest.raises(SessionError, match="is closed"):
        session.backup(tmp_path / "c.tsdb")


@pytest.mark.parametrize("hooks", [{}, {"on_request": print}])
def test_the_same_awaited(tmp_path: Path, hooks: dict[str, object]) -> None:
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


def test_servers_and_memory_say_what_to_do_instead(tmp_path: Path) -> None:
    async def main(target: str) -> None:
        async with connect_async(target) as session:
            with pytest.raises(UnsupportedError, match="compact is for embedded files"):
                await session.compact()
            with pytest.raises(UnsupportedError, match=r"session\.copy\(KeyRange\(\), to=other\)"):
                await session.backup(tmp_path / "b.tsdb")

    with serve_in_thread() as (host, port):
        for target in (f"tstorage://{host}:{port}", "memory:"):
            with connect(target) as session:
                with pytest.raises(UnsupportedError, match="compact is for embedded files"):
                    session.compact()
                with pytest.raises(UnsupportedError, match=r"session\.copy\(KeyRange\(\), to=other\)"):
                    session.backup(tmp_path / "b.tsdb")
            asyncio.run(main(target))
    assert list(tmp_path.iterdir()) == []
