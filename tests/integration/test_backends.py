"""One suite over every backend: memory, file, TCP server and PostgreSQL behave alike and agree with brute force."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.budget import examples
from support.conditions import Condition, conditions
from support.models import Sample, samples
from support.postgres import on_postgres
from support.sessions import target_on

from tsmodel import Bool, Float32, Int32, Session, TSModel, connect, now_ns
from tsmodel.errors import (
    DecodeError,
    EncodeError,
    MultipleResultsError,
    NoResultError,
    SessionError,
)


class Reading(TSModel):
    counter: Int32
    volts: Float32
    valid: Bool


class Event(TSModel, moid=9):
    code: Int32


@pytest.fixture(params=["memory", "file", "tcp", on_postgres("postgres"), on_postgres("shards")])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with target_on(request.param, tmp_path) as target:
        yield target


@pytest.fixture
def session(target: str) -> Iterator[Session]:
    with connect(target) as session:
        yield session


def readings(count: int, **key: int) -> list[Reading]:
    return [
        Reading(**{"cid": 1, "mid": n % 7, "moid": 3, "cap": n, **key}, counter=n, volts=n / 2, valid=n % 3 == 0)
        for n in range(count)
    ]


def stored(session: Session, rows: list[Reading]) -> list[Reading]:
    session.add_all(rows)
    session.flush()
    return rows


def caps(rows: list[Reading]) -> list[int]:
    return sorted(row.cap for row in rows)


def test_records_round_trip(session: Session) -> None:
    before = now_ns()
    session.add_all(readings(10_000))
    receipt = session.flush()
    assert receipt.count == 10_000
    assert receipt.bytes == 10_000 * (24 + 9)
    assert before <= receipt.acq_min
    assert receipt.acq_max - receipt.acq_min == 9_999
    got = sorted(Reading.query.all(), key=lambda row: row.cap)
    assert {row.acq for row in got} == set(range(receipt.acq_min, receipt.acq_max + 1))
    for row in got:
        row.acq = -1
    assert got == readings(10_000)


def test_records_are_invisible_before_the_flush(session: Session) -> None:
    session.add(readings(1)[0])
    assert Reading.query.count() == 0
    session.flush()
    assert Reading.query.count() == 1


def test_keys_and_times(session: Session) -> None:
    stored(session, readings(700))
    stored(session, readings(5, cid=2))
    query = Reading.query
    assert query.cid(1).count() == 700
    assert query.cid(1, 2).count() == 705
    assert query.cid(range(2, 4)).count() == 5
    assert query.cid(1).mid(3).count() == 100
    assert query.cid(1).mid(1, 5).count() == 200
    assert query.cid(1).mid([1, 5]).count() == 200
    assert query.cid(1).mid_between(2, 4).count() == 200
    assert query.moid(4).count() == 0
    assert caps(query.cid(1).cap_between(10, 14).all()) == [10, 11, 12, 13]
    assert caps(query.cid(1).cap_since(698).all()) == [698, 699]
    assert caps(query.cid(1).cap_before(2).all()) == [0, 1]
    assert query.cap_between(14, 14).all() == []
    assert query.cap_between("2001-01-01T00:00:00.000000010Z", "2001-01-01T00:00:00.000000012Z").count() == 2


def test_acq_range_selects_a_flush(session: Session) -> None:
    receipts = []
    for cid in (1, 2, 3):
        session.add_all(readings(10, cid=cid))
        receipts.append(session.flush())
    found = Reading.query.acq_between(receipts[1].acq_min, receipts[1].acq_max + 1)
    assert {row.cid for row in found.all()} == {2}
    assert Reading.query.acq_since(receipts[2].acq_min).count() == 10
    assert Reading.query.acq_before(receipts[0].acq_max).count() == 9


def test_result_methods(session: Session) -> None:
    rows = stored(session, readings(5000))
    query = Reading.query.cid(1)
    assert caps(list(query)) == caps(rows)
    batches = list(query.batches(1999))
    assert [len(batch) for batch in batches] == [1999, 1999, 1002]
    assert caps(list(chain.from_iterable(batches))) == caps(rows)
    assert len(query.limit(17).all()) == 17
    assert query.limit(17).count() == 17
    assert query.limit(0).all() == []
    assert query.exists()
    assert not query.mid(100).exists()
    assert isinstance(query.first(), Reading)
    assert query.mid(100).first() is None
    assert query.where(Reading.counter == 77).one().cap == 77
    assert query.where(Reading.counter == -1).one_or_none() is None
    with pytest.raises(NoResultError):
        query.where(Reading.counter == -1).one()
    with pytest.raises(MultipleResultsError):
        query.one()
    with pytest.raises(MultipleResultsError):
        query.one_or_none()


def test_leaving_an_iteration_early_leaves_the_session_usable(session: Session) -> None:
    stored(session, readings(20_000))
    for _ in range(5):
        for _row in Reading.query:
            break
        assert Reading.query.first() is not None
    iterator = iter(Reading.query)
    next(iterator)
    session.add_all(readings(3, cid=9))
    session.flush()
    assert Reading.query.cid(9).count() == 3
    assert len(list(iterator)) in (19_999, 20_002)


def test_several_models_in_one_flush(session: Session) -> None:
    session.add_all([*readings(3), Event(cid=1, mid=1, cap=1, code=5), *readings(2, cid=2)])
    assert session.flush().count == 6
    assert Event.query.one().code == 5
    assert Reading.query.moid(3).count() == 5


def test_records_of_another_model(session: Session) -> None:
    session.add_all([*readings(3), Event(cid=1, mid=1, cap=1, code=5)])
    session.flush()
    with pytest.raises(DecodeError, match="has 4 bytes; Reading takes 9") as caught:
        Reading.query.all()
    assert caught.value.key is not None
    assert caught.value.key.moid == 9
    assert caught.value.payload == struct.pack("<i", 5)
    assert "0000  05 00 00 00" in str(caught.value)
    lenient = Reading.query.on_error("skip")
    assert len(lenient.all()) == 3
    assert lenient.stats.skipped == 1
    assert Reading.query.on_error("skip").count() == 3


def test_invalid_record_stops_its_flush(session: Session) -> None:
    rows = readings(10)
    rows[7].counter = 2**31
    session.add_all(rows)
    with pytest.raises(EncodeError, match=r"record 7: Reading.counter: 2147483648 .* -2147483648 to 2147483647") as caught:
        session.flush()
    assert (caught.value.record, caught.value.field, caught.value.value) == (7, "counter", 2**31)
    assert Reading.query.count() == 0
    assert session.pending == tuple(rows)
    rows[7].counter = 7
    assert session.flush().count == 10
    assert Reading.query.count() == 10


def test_reader_continues_from_last_acq(session: Session) -> None:
    stored(session, readings(10))
    first = Reading.query.last_acq()
    assert len(Reading.query.acq_before(first).all()) == 10
    stored(session, readings(5, cid=2))
    second = Reading.query.last_acq()
    assert {row.cid for row in Reading.query.acq_between(first, second)} == {2}


def test_queries_of_a_closed_session(target: str) -> None:
    with connect(target) as session:
        query = session.query(Reading)
        assert query.all() == []
    with pytest.raises(SessionError, match="closed"):
        query.all()


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(samples, max_size=12), st.lists(conditions, max_size=2), st.sampled_from([1, 2, 64]))
def test_any_query_of_any_records(session: Session, rows: list[Sample], asked: list[Condition], most: int) -> None:
    session.add_all(rows)
    receipt = session.flush()
    ours = Sample.acq.between(receipt.acq_min, receipt.acq_max + 1) if rows else Sample.acq.is_in([])
    query = Sample.query.where(ours, *(each.expression for each in asked if "acq" not in str(each.expression)))
    query = query.max_boxes(most)
    meanings = [each.meaning for each in asked if "acq" not in str(each.expression)]
    expected = [row for row in rows if all(meaning(row) for meaning in meanings)]
    got = query.all()

    def comparable(found: list[Sample]) -> list[str]:
        return sorted(str({name: getattr(row, name) for name in row.__struct_fields__ if name != "acq"}) for row in found)

    assert comparable(got) == comparable(expected)
    assert query.count() == len(expected)
    assert query.exists() == bool(expected)
    assert len(query.limit(2).all()) == min(2, len(expected))
