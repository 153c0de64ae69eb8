"""Delete, undo and prune in both kinds of sessions, in memory and in a file, and how `follow` and `copy` report them."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.sessions import ON_POSTGRES, OPENERS, abandoned, opened_at

from tsmodel import Int32, KeyRange, Nullable, Session, TSModel, connect, connect_async, field, now_ns
from tsmodel.errors import QueryError, RemovedWarning, SchemaError, SessionError, StoreError, UnsupportedError, UpgradeError
from tsmodel.session import Receipt
from tsmodel.store import info

DAY = 86_400 * 10**9


class Reading(TSModel, moid=7, retention="400d"):
    counter: Int32


class Wide(TSModel, moid=7):
    counter: Int32
    more: Int32


class Event(TSModel, moid=8):
    code: Int32
    note: Nullable[int] = field(item=Int32, default=None)


class Anywhere(TSModel, retention="1d"):
    counter: Int32


@pytest.fixture(
    params=[*((backend, kind) for backend in ("memory", "file") for kind in OPENERS), ON_POSTGRES[0]], ids="-".join
)
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with opened_at(*request.param, tmp_path) as opened:
        yield opened


def readings(first: int, last: int, **key: Any) -> list[Reading]:
    return [Reading(**{"cid": 1, "mid": n % 3, "cap": n, "counter": n, **key}) for n in range(first, last)]


def counters(session: Any, model: Any = Reading) -> list[int]:
    return sorted(row.counter for row in session.query(model).all())


def flushed(session: Any, rows: list[Any], **options: Any) -> Receipt:
    session.add_all(rows, **options)
    receipt: Receipt = session.flush()
    return receipt


def test_delete_removes_what_the_query_counts(session: Any) -> None:
    flushed(session, readings(0, 100))
    query = session.query(Reading).cid(1).where(Reading.counter >= 90)
    assert query.delete(dry_run=True) == query.count() == 10
    assert query.delete(note="too high") == 10
    assert query.delete() == 0
    assert counters(session) == list(range(90))
    by_key = session.query(Reading).mid(0).cap_between(10, 50)
    assert by_key.delete() == 13
    assert counters(session) == [n for n in range(90) if n % 3 or not 10 <= n < 50]
    first, second = session.removals()
    assert (first.number, first.kind, first.count, first.note) == (1, "delete", 10, "too high")
    assert "counter >= 90" in first.what
    assert (first.least[:4], first.greatest[:4]) == ((1, 0, 7, 90), (1, 2, 7, 99))
    assert (second.box.min.cap, second.box.max.cap) == (12, 49)
    assert abs(second.time - now_ns()) < DAY


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (lambda session: session.query(Reading).cid(1).limit(3), "limit 3"),
        (lambda session: session.query(Reading).cid(1).order_by(Reading.cap), "sorted in memory"),
        (lambda session: session.query(Reading).cid(1).latest(), "newest versions"),
        (lambda session: session.query(Reading).cid(1).as_of(5), "newest versions"),
        (lambda session: session.query(Reading).cid(1).last_per_series(), "last of each series"),
        (lambda session: session.query(Reading), "allow_full_scan=True"),
        (lambda session: session.query(Anywhere).where(Anywhere.cap >= -(2**63)), "allow_full_scan=True"),
    ],
)
def test_queries_that_delete_refuses(session: Any, query: Any, message: str) -> None:
    flushed(session, readings(0, 3))
    with pytest.raises(QueryError, match=message):
        query(session).delete()
    assert counters(session) == [0, 1, 2]


def test_allow_full_scan_deletes_all_records_of_a_model(session: Any) -> None:
    flushed(session, [*readings(0, 9), Event(cid=1, mid=1, cap=0, code=1)])
    last = session.query(Reading).last_acq()
    assert session.query(Reading).delete(allow_full_scan=True) == 9
    assert counters(session) == []
    assert session.query(Event).count() == 1
    assert session.query(Reading).last_acq() == last


def test_session_without_full_scans_refuses_a_full_delete() -> None:
    with connect("memory:", allow_full_scan=False) as session, pytest.raises(QueryError, match="does not allow"):
        session.query(Reading).delete(allow_full_scan=True)


def test_pending_records_must_be_stored_before_a_removal(session: Any) -> None:
    receipt = flushed(session, readings(0, 3))
    with abandoned(session):
        session.add(readings(3, 4)[0])
        for work in (
            lambda: session.query(Reading).cid(1).delete(),
            lambda: session.query(Reading).cid(1).delete(dry_run=True),
            lambda: session.undo(receipt),
            lambda: session.prune(Reading),
        ):
            with pytest.raises(SessionError, match=r"1 records .* flush\(\) or discard\(\)"):
                work()
        assert counters(session) == [0, 1, 2]


def test_undecodable_records_stay_unless_requested(session: Any) -> None:
    flushed(session, [*readings(0, 5), *(Wide(cid=1, mid=n, cap=n, counter=n, more=0) for n in range(4))])
    query = session.query(Reading).cid(1)
    with pytest.raises(QueryError, match="undecodable"):
        query.where(Reading.counter > 1).delete(undecodable=True)
    with pytest.raises(QueryError, match="undecodable"):
        session.query(Reading | Event).cid(1).delete(undecodable=True)
    assert query.where(Reading.counter >= 3).delete() == 2
    assert query.where(Reading.cap < 1).delete() == 1
    assert session.query(Reading).on_error("skip").count() == 2
    assert session.query(Wide).on_error("skip").count() == 4
    assert query.delete(undecodable=True) == 6
    assert session.query(Wide).on_error("skip").count() == 0


def test_delete_with_several_models_and_equal_keys(session: Any) -> None:
    """Both models have records under one full key. Only those that meet the condition are deleted, whatever their order."""
    key = {"cid": 1, "mid": 1, "cap": 5, "acq": 9}
    rows = [Reading(**key, counter=1), Wide(**key, counter=2, more=2), Reading(**key, counter=3), Reading(**key, counter=1)]
    flushed(session, rows, keep_acq=True)
    flushed(session, [Event(**key, code=5), Event(**key, code=6)], keep_acq=True)
    both = session.query(Reading | Event).cid(1)
    assert both.where(Reading.counter == 3).delete() == 1
    assert both.where(Event.code == 5).delete() == 1
    assert sorted(row.counter for row in session.query(Reading).on_error("skip").all()) == [1, 1]
    assert session.query(Event).one().code == 6
    assert both.delete() == 3
    assert session.query(Wide).one().counter == 2


def test_older_versions_are_deleted_by_their_upgraded_values(session: Any) -> None:
    class Old(TSModel, moid=9):
        value: Int32

    class New(TSModel, moid=9, replaces=Old):
        value: Int32
        doubled: Int32

    @New.upgrade_from(Old)
    def upgrade(old: Any) -> Any:
        if old.value == 7:
            raise ValueError("no")
        return New(cid=old.cid, mid=old.mid, cap=old.cap, value=old.value, doubled=2 * old.value)

    flushed(session, [Old(cid=1, mid=1, cap=n, value=n) for n in range(7)])
    flushed(session, [New(cid=1, mid=1, cap=n, value=n, doubled=0) for n in range(7)])
    assert session.query(New).cid(1).where(New.doubled >= 6).delete() == 4
    assert session.query(New).count() == 10
    flushed(session, [Old(cid=1, mid=1, cap=7, value=7)])
    with pytest.raises(UpgradeError):
        session.query(New).cid(1).where(New.doubled >= 2).delete()
    assert session.query(New).cid(1).delete() == 11


def test_undo_removes_exactly_one_receipt(session: Any) -> None:
    first = flushed(session, readings(0, 10))
    wrong = flushed(session, readings(5, 15))
    later = flushed(session, readings(10, 12))
    assert session.undo(wrong, note="the wrong file") == 10
    assert counters(session) == [*range(10), 10, 11]
    with pytest.raises(StoreError, match="put 2 was already undone at .*; nothing was removed"):
        session.undo(wrong)
    with pytest.raises(StoreError, match="put 2 was already undone"):
        session.undo([first, wrong])
    assert counters(session) == [*range(10), 10, 11]
    assert session.undo([first, later]) == 12
    assert counters(session) == []
    assert [(put.number, put.undone is not None) for put in session.puts()] == [(1, True), (2, True), (3, True)]
    assert [(each.kind, each.what, each.note) for each in session.removals()] == [
        ("undo", "put 2", "the wrong file"),
        ("undo", "puts 1, 3", None),
    ]


def test_undo_of_puta_records(session: Any) -> None:
    """Other records have the same keys and acqs: from a PUT, from another PUTA, and within the interval of acqs."""
    flushed(session, readings(0, 10))
    same = session.query(Reading).all()
    one = flushed(session, same, keep_acq=True)
    two = flushed(session, [*same, *readings(20, 22, acq=same[3].acq)], keep_acq=True)
    assert len(counters(session)) == 32
    assert session.undo(one) == 10
    assert counters(session) == sorted([*range(10), *range(10), 20, 21])
    assert session.undo(two) == 12
    assert counters(session) == list(range(10))


def test_undo_of_partly_deleted_puts(session: Any) -> None:
    receipt = flushed(session, readings(0, 10))
    session.query(Reading).cid(1).where(Reading.counter < 4).delete()
    assert session.undo(receipt) == 6
    other = flushed(session, readings(0, 3))
    session.query(Reading).cid(1).delete()
    assert session.undo(other) == 0
    assert session.puts()[-1].undone is not None


def test_receipt_of_many_puts(tmp_path: Path) -> None:
    with connect(tmp_path / "readings.tsdb", batch_size=10) as session:
        session.add_all(readings(0, 25))
        session.add_all(readings(0, 5, acq=3), keep_acq=True)
        receipt = session.flush(note="25 and 5")
        assert [(put.count, put.keeps_acq, put.note) for put in session.puts()] == [
            (10, False, "25 and 5"),
            (10, False, "25 and 5"),
            (5, False, "25 and 5"),
            (5, True, "25 and 5"),
        ]
        assert len(receipt.puts) == 4
        kept = flushed(session, readings(30, 33))
        assert session.undo(receipt) == 30
        assert counters(session) == [30, 31, 32]
        assert session.undo(kept) == 3


def test_list_of_puts(session: Any) -> None:
    flushed(session, [*readings(0, 3), *readings(3, 5, cid=4)])
    receipt = flushed(session, readings(0, 2, acq=77), keep_acq=True)
    first, second = session.puts()
    assert (first.number, first.cids, first.count, first.keeps_acq, first.note) == (1, (1, 4), 5, False, None)
    assert (second.acq_min, second.acq_max, second.count, second.keeps_acq) == (77, 77, 2, True)
    assert receipt.puts == (second.id,)
    session.add(readings(9, 10)[0])
    with pytest.raises(SessionError, match="note must be text"):
        session.flush(note=5)
    session.flush(note="one")
    assert session.puts()[-1].note == "one"


def test_unless_stored_receipt_names_the_put_of_new_records(session: Any) -> None:
    flushed(session, readings(0, 5))
    receipt = flushed(session, readings(0, 8), unless_stored=True)
    nothing = flushed(session, readings(0, 8), unless_stored=True)
    assert (receipt.count, nothing.count, nothing.puts) == (3, 0, ())
    assert session.undo(receipt) == 3
    assert counters(session) == [0, 1, 2, 3, 4]
    with pytest.raises(SessionError, match="nothing was stored"):
        session.undo(nothing)


def test_invalid_undo_arguments(session: Any) -> None:
    for what, message in (([], "none"), (["x"], "not 'x'"), (Receipt(), "nothing was stored")):
        with pytest.raises(SessionError, match=message):
            session.undo(what)
    with connect("memory:") as other:
        receipt = flushed(other, readings(0, 3))
    with pytest.raises(StoreError, match="this store has no put"):
        session.undo(receipt)
    flushed(session, readings(0, 3))
    with pytest.raises(StoreError, match="this store has no put"):
        session.undo(receipt)
    assert counters(session) == [0, 1, 2]


def test_undo_after_merging_compacting_and_reopening(tmp_path: Path) -> None:
    path = tmp_path / "readings.tsdb"
    with connect(path) as session:
        for n in range(40):
            receipt = flushed(session, readings(n, n + 3, acq=n % 5), keep_acq=bool(n % 2))
        session.compact()
        expected = counters(session)
    with connect(path) as session:
        assert info(path).runs == 1
        put = session.puts()[21]
        assert session.undo(put) == 3
        for counter in (21, 22, 23):
            expected.remove(counter)
        assert counters(session) == expected
        assert session.undo(receipt) == 3


def test_prune_removes_records_older_than_the_retention(session: Any) -> None:
    now = now_ns()
    flushed(session, readings(0, 1000, cap=now - 500 * DAY) + readings(0, 10, cap=now - 399 * DAY))
    flushed(session, [Event(cid=1, mid=1, cap=0, code=1), Wide(cid=1, mid=1, cap=0, counter=1, more=1)])
    assert session.prune(Reading, dry_run=True) == 1000
    assert session.query(Reading).on_error("skip").count() == 1010
    assert session.prune(Reading, note="yearly") == 1000
    assert session.prune(Reading) == 0
    assert session.query(Event).count() == 1
    assert session.query(Reading).on_error("skip").count() == 10
    (removal,) = session.removals()
    assert (removal.kind, removal.count, removal.note) == ("prune", 1000, "yearly")


def test_models_that_cannot_be_pruned(session: Any) -> None:
    class Versioned(TSModel, versioned=True, retention="1d"):
        counter: Int32

    flushed(session, [Versioned(cid=1, mid=1, moid=1, cap=0, counter=1), *readings(0, 1)])
    with pytest.raises(QueryError, match="cannot be told apart from those of other models"):
        session.prune(Anywhere)
    with pytest.raises(QueryError, match=r'retention="400d"'):
        session.prune(Event)
    with pytest.raises(QueryError, match="one model"):
        session.prune(Reading | Event)
    assert session.prune(Versioned) == 1
    assert counters(session) == [0]


@pytest.mark.parametrize("retention", ["4 parsecs", "0d", "-1d", 1.5, "300000d"])
def test_invalid_retentions(retention: Any) -> None:
    with pytest.raises(SchemaError, match="retention"):

        class Bad(TSModel, moid=1, retention=retention):
            counter: Int32


def test_retention_is_inherited() -> None:
    class Base(TSModel, abstract=True, retention="2d"):
        counter: Int32

    class Own(Base, moid=1):
        pass

    class Other(Base, moid=2, retention="3d"):
        pass

    with connect("memory:") as session:
        for model in (Own, Other):
            session.add(model(cid=1, mid=1, cap=now_ns() - 5 * DAY // 2, counter=1))
        session.flush()
        assert (session.prune(Own), session.prune(Other)) == (1, 0)


@pytest.mark.parametrize("kind", OPENERS)
def test_server_refuses_removals_and_says_what_to_do(kind: str, tmp_path: Path) -> None:
    with opened_at("tcp", kind, tmp_path) as session:
        receipt = flushed(session, readings(0, 3))
        assert receipt.puts == ()
        for work in (
            lambda: session.query(Reading).cid(1).delete(),
            lambda: session.prune(Reading),
            lambda: session.puts(),
            lambda: session.removals(),
            lambda: session.flush(note="x"),
        ):
            with pytest.raises(
                UnsupportedError, match=r"session\.copy\(query, to=other\) .*Reading\.acq < receipt\.acq_min"
            ):
                work()
        for wrong in (5, [5]):
            with pytest.raises(SessionError, match=r"not 5; for put 5: \[put for put in session.puts\(\)"):
                session.undo(wrong)  # type: ignore[arg-type, list-item]
        with pytest.raises(SessionError, match="names no puts"):
            session.undo(receipt)
        # The remedy that the message names.
        with OPENERS[kind](tmp_path / "clean.tsdb") as clean:
            later = flushed(session, readings(3, 5))
            query = session.query(Reading).where((Reading.acq < receipt.acq_min) | (Reading.acq > receipt.acq_max))
            session.copy(query.spec, clean if kind == "sync" else clean._what)
            assert later.count == 2
            assert counters(clean) == [3, 4]


def test_read_only_file_refuses_removals(tmp_path: Path) -> None:
    path = tmp_path / "readings.tsdb"
    with connect(path) as session:
        receipt = flushed(session, readings(0, 3))
    with connect(path, read_only=True) as session:
        assert session.query(Reading).cid(1).delete(dry_run=True) == 3
        for work in (lambda: session.query(Reading).cid(1).delete(), lambda: session.undo(receipt)):
            with pytest.raises(StoreError, match="read-only"):
                work()
        assert [put.count for put in session.puts()] == [3]


class TestFollow:
    """`follow` reports removals of records it has returned."""

    def test_removal_is_reported_once_across_restarts(self, tmp_path: Path) -> None:
        checkpoint = tmp_path / "checkpoint"
        with connect(tmp_path / "readings.tsdb") as session:
            flushed(session, readings(0, 10))
            session.query(Reading).cid(1).where(Reading.counter == 0).delete()  # before anyone has read it

            def taken() -> list[int]:
                with session.query(Reading).cid(1).follow(checkpoint=checkpoint, wait=False) as rows:
                    return [row.counter for row in rows]

            assert taken() == list(range(1, 10))
            assert taken() == []
            session.query(Reading).cid(1).where(Reading.counter >= 8).delete()
            flushed(session, readings(20, 22))
            with pytest.warns(RemovedWarning, match=r"up to 2 records that follow\(\) has returned .*removal 2") as caught:
                assert taken() == [20, 21]
            assert [each.number for each in caught[0].message.removals] == [2]  # type: ignore[union-attr]
            assert taken() == []

    def test_warning_raised_as_an_error_is_repeated(self, tmp_path: Path) -> None:
        checkpoint = tmp_path / "checkpoint"
        with connect("memory:") as session:
            receipt = flushed(session, readings(0, 3))
            query = session.query(Reading).cid(1)
            with query.follow(checkpoint=checkpoint, wait=False) as rows:
                assert len(list(rows)) == 3
            session.undo(receipt)
            flushed(session, readings(5, 6))
            for _ in range(2):
                with warnings.catch_warnings():
                    warnings.simplefilter("error", RemovedWarning)
                    with pytest.raises(RemovedWarning), query.follow(checkpoint=checkpoint, wait=False) as rows:
                        next(rows)
            with pytest.warns(RemovedWarning), query.follow(checkpoint=checkpoint, wait=False) as rows:
                assert [row.counter for row in rows] == [5]

    def test_removals_of_other_or_unread_records_are_not_reported(self, tmp_path: Path) -> None:
        checkpoint = tmp_path / "checkpoint"
        with connect("memory:") as session:
            flushed(session, readings(0, 3) + readings(0, 3, cid=2))
            query = session.query(Reading).cid(1)
            with query.follow(checkpoint=checkpoint, wait=False) as rows:
                assert len(list(rows)) == 3
            session.query(Reading).cid(2).delete()
            later = flushed(session, readings(5, 9))
            session.undo(later)
            flushed(session, readings(9, 10))
            with query.follow(checkpoint=checkpoint, wait=False) as rows:
                assert [row.counter for row in rows] == [9]

    def test_removal_while_waiting(self) -> None:
        async def follow() -> None:
            async with connect_async("memory:") as session:
                await session.add_all(readings(0, 2))
                await session.flush()
                async with session.query(Reading).cid(1).follow(poll="1ms") as rows:
                    assert [(await anext(rows)).counter for _ in range(2)] == [0, 1]
                    waiting = asyncio.ensure_future(anext(rows))
                    await asyncio.sleep(0.05)
                    assert await session.query(Reading).cid(1).delete() == 2
                    with pytest.warns(RemovedWarning):
                        await asyncio.sleep(0.05)
                        await session.add_all(readings(2, 3))
                        await session.flush()
                        assert (await waiting).counter == 2

        asyncio.run(follow())


class TestCopy:
    def test_removal_of_copied_records_is_reported(self, tmp_path: Path) -> None:
        checkpoint = tmp_path / "checkpoint"
        with connect("memory:") as source, connect("memory:") as target:
            flushed(source, readings(0, 5))
            source.copy(KeyRange(), target, checkpoint=checkpoint)
            source.query(Reading).cid(1).where(Reading.counter < 2).delete()
            flushed(source, readings(5, 7))
            with pytest.warns(RemovedWarning, match="up to 2 records that are copied"):
                assert source.copy(KeyRange(), target, checkpoint=checkpoint).records == 2
            source.copy(KeyRange(), target, checkpoint=checkpoint)
            assert counters(target) == list(range(7))

    def test_new_copy_reports_no_earlier_removals(self, tmp_path: Path) -> None:
        with connect("memory:") as source, connect("memory:") as target:
            flushed(source, readings(0, 5))
            source.query(Reading).cid(1).where(Reading.counter < 2).delete()
            source.copy(KeyRange(), target, checkpoint=tmp_path / "checkpoint")
            source.copy(KeyRange(), target, checkpoint=tmp_path / "checkpoint")
            assert counters(target) == [2, 3, 4]

    def test_removal_during_the_copy_is_reported(self) -> None:
        with connect("memory:") as source, connect("memory:") as target:
            flushed(source, readings(0, 5))

            def remove(_: object) -> None:
                source.query(Reading).cid(1).where(Reading.counter < 2).delete()

            with pytest.warns(RemovedWarning, match="are copied"):
                source.copy(KeyRange(), target, progress=remove)


def test_removals_work_with_hooks(tmp_path: Path) -> None:
    with connect("memory:", on_request=lambda request: None) as session:
        assert isinstance(session, Session)
        receipt = flushed(session, readings(0, 3))
        with session.query(Reading).cid(1).follow(checkpoint=tmp_path / "checkpoint", wait=False) as rows:
            assert len(list(rows)) == 3
        assert session.undo(receipt) == 3
        with (
            pytest.warns(RemovedWarning),
            session.query(Reading).cid(1).follow(checkpoint=tmp_path / "checkpoint", wait=False) as rows,
        ):
            assert list(rows) == []
