"""Copying ranges between backends: every record once, with its key, acq and payload, also after failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from support.postgres import database, on_postgres, sharded
from support.sessions import OPENERS

from tsmodel import Int32, Key, KeyRange, Text, TSModel, connect
from tsmodel.errors import CheckpointError, QueryError, SessionError, StoreError
from tsmodel.server import serve_in_thread
from tsmodel.store import EmbeddedStore


class Reading(TSModel, moid=1):
    counter: Int32


class Note(TSModel, moid=9):
    text: Text


Made = Callable[[str], str]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    numbers = count()
    with ExitStack() as stack:

        def make(kind: str) -> str:
            if kind == "tcp":
                return "tstorage://{}:{}".format(*stack.enter_context(serve_in_thread()))
            if kind == "postgres":
                return stack.enter_context(database())
            if kind == "shards":
                return stack.enter_context(sharded())
            return "memory:" if kind == "memory" else str(tmp_path / f"{next(numbers)}.tsdb")

        yield make


def stored(session: Any) -> list[TSModel]:
    rows: list[TSModel] = [Reading(cid=n % 3, mid=n % 7, cap=n, counter=n) for n in range(3000)]
    rows += [Note(cid=n % 3, mid=n, cap=n, text="x" * (n % 11)) for n in range(500)]
    session.add_all(rows)
    session.flush()
    return content(session)


def content(session: Any) -> list[Any]:
    return sorted((session.query(Reading | Note)).all(), key=repr)


class Blocking:
    """Returns the blocking or asynchronous session behind the wrapper."""

    @staticmethod
    def of(session: Any) -> Any:
        return getattr(session, "_what", session)


def copied(session: Any, what: Any, to: Any, **options: Any) -> Any:
    """Copies between two sessions in the event loop of the first."""
    return session.copy(Blocking.of(what), Blocking.of(to), **options)


@pytest.mark.parametrize(
    "kinds",
    [
        ("memory", "file"),
        ("file", "tcp"),
        ("tcp", "file"),
        ("tcp", "memory"),
        on_postgres("file", "postgres"),
        on_postgres("postgres", "file"),
        on_postgres("postgres", "shards"),
        on_postgres("shards", "postgres"),
    ],
    ids="-".join,
)
def test_copy_keeps_keys_acqs_and_payloads(
    made: Made, kinds: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tsmodel.session.copying.WINDOW_BYTES", 20_000)
    with connect(made(kinds[0])) as source, connect(made(kinds[1])) as target:
        rows = stored(source)
        seen: list[Any] = []
        result = source.copy(KeyRange(), target, checkpoint=tmp_path / "copy", progress=seen.append)
        assert content(target) == rows
        assert result.records == len(rows) == seen[-1].records
        assert len(seen) > 5
        assert [each.acq for each in seen] == sorted(each.acq for each in seen)
        source.add(Reading(cid=5, mid=1, cap=1, counter=1))
        source.flush()
        assert source.copy(KeyRange(), target, checkpoint=tmp_path / "copy").records == 1
        assert content(target) == content(source)


@pytest.mark.parametrize("kind", OPENERS)
def test_copy_of_a_query(made: Made, kind: str, tmp_path: Path) -> None:
    one, other = made("file"), made("file")
    with connect(one) as source:
        rows = stored(source)
        edge = source.query(Reading).last_acq()
        source.add(Reading(cid=1, mid=3, cap=1, counter=1))
        source.flush()
    wanted = [row for row in rows if row.cid == 1 and row.mid in (3, 5) and row.moid == 1]
    assert wanted
    with OPENERS[kind](one) as source, OPENERS[kind](other) as target:
        query = source.query(Reading).cid(1).mid(3, 5).moid(1).max_boxes(1).acq_before(edge)
        assert copied(source, query, target).records == len(wanted)
        none = source.query(Reading).cid(1).cid(2)
        assert copied(source, none, target).records == 0
    with connect(other) as target:
        assert content(target) == wanted


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("answered", [True, False])
def test_copy_continues_after_a_failure(
    made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, answered: bool
) -> None:
    """A put fails before it is stored, or its answer is lost. Continuing copies the rest and nothing twice."""
    monkeypatch.setattr("tsmodel.session.copying.WINDOW_BYTES", 20_000)
    opener = OPENERS[kind]
    one, other = made("file"), made("file")
    with connect(one) as source:
        rows = stored(source)
    numbers = count()
    plain = EmbeddedStore.append

    def failing(self: EmbeddedStore, batches: Any, **options: Any) -> Any:
        fails = next(numbers) % 3 == 0
        if fails and answered:
            raise StoreError("the disk is full")
        result = plain(self, batches, **options)
        if fails:
            raise StoreError("the answer was lost")
        return result

    monkeypatch.setattr(EmbeddedStore, "append", failing)
    failures = 0
    while True:
        with opener(one) as source, opener(other) as target:
            try:
                copied(source, KeyRange(), target, checkpoint=tmp_path / "copy")
                break
            except StoreError:
                failures += 1
                assert failures < 50
    assert failures > 3
    with connect(other) as target:
        assert content(target) == rows


def test_invalid_copies(made: Made, tmp_path: Path) -> None:
    with connect(made("memory")) as source, connect(made("file")) as target, connect(made("file")) as other:
        stored(source)
        query = source.query(Reading)
        for refused in (query.limit(3), query.where(Reading.counter > 3)):
            with pytest.raises(QueryError, match="does not decode payloads"):
                source.copy(refused, target)
        source.copy(query.moid(1), target, checkpoint=tmp_path / "copy")
        with pytest.raises(CheckpointError, match="another copy to"):
            source.copy(query.moid(1), other, checkpoint=tmp_path / "copy")
        with pytest.raises(CheckpointError, match="another query"):
            source.copy(query.moid(2), target, checkpoint=tmp_path / "copy")
        assert source.copy(KeyRange(Key(0, 0, 0, 0, 0), Key(0, 0, 0, 0, 0)), other).records == 0


def test_copy_to_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "itself.tsdb"
    with connect(path) as session, connect(f"file:{path}?create=0") as other, connect("memory:") as memory:
        session.add(Reading(cid=1, mid=1, moid=1, cap=1, counter=1))
        session.flush()
        for target in (session, other):
            with pytest.raises(SessionError, match="would hold every record twice"):
                session.copy(KeyRange(), to=target)
        with pytest.raises(SessionError, match="twice"):
            memory.copy(KeyRange(), to=memory)
        assert session.copy(KeyRange(), to=memory).records == 1
        assert session.query(Reading).count() == 1
