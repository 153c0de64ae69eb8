"""Model versions and unions over every backend, blocking and asynchronous, compared with brute force."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.budget import examples
from support.sessions import target_on

from tsmodel import Float64, Int16, Int32, Session, Text, TSModel, connect, connect_async
from tsmodel.errors import DecodeError, QueryError, UpgradeError


class First(TSModel):
    """Distinguished from the second version by its size, and from the third by size and discriminator byte."""

    millivolts: Int32


class Second(TSModel, replaces=First, versioned=True):
    volts: Float64


class Third(TSModel, replaces=Second):
    volts: Float64
    note: Text


@Second.upgrade_from(First)
def second(old: First) -> Second:
    return Second(cid=0, mid=0, moid=0, cap=0, volts=old.millivolts / 1000)


@Third.upgrade_from(Second)
def third(old: Second) -> Third:
    return Third(cid=0, mid=0, moid=0, cap=0, volts=old.volts, note=f"{old.mid}")


BOUNDARY = 100


class Celsius(TSModel):
    degrees: Int16


class Kelvin(TSModel, replaces=Celsius, since=BOUNDARY):
    degrees: Int16


@Kelvin.upgrade_from(Celsius)
def kelvin(old: Celsius) -> Kelvin:
    return Kelvin(cid=old.cid, mid=old.mid, moid=old.moid, cap=old.cap, degrees=old.degrees + 273)


class Alarm(TSModel, moid=90):
    code: Int32


class Note(TSModel, moid=91):
    text: Text


class Volts(TSModel, moid=92, replaces=None, version=7):
    volts: Float64


UNION = Alarm | Note | Volts


@pytest.fixture(params=["memory", "file", "tcp"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with target_on(request.param, tmp_path) as target:
        yield target


@pytest.fixture
def session(target: str) -> Iterator[Session]:
    with connect(target) as session:
        yield session


def stored(session: Session, rows: Sequence[TSModel]) -> Any:
    """Stores rows and returns a condition that selects only them."""
    session.add_all(rows)
    receipt = session.flush()
    return First.acq.between(receipt.acq_min, receipt.acq_max + 1) if rows else First.acq.is_in([])


def comparable(rows: Sequence[Any]) -> list[str]:
    return sorted(
        f"{type(row).__name__}{[getattr(row, name) for name in row.__struct_fields__ if name != 'acq']}" for row in rows
    )


keys: dict[str, Any] = {"cid": st.integers(0, 2), "mid": st.integers(-2, 2), "cap": st.integers(95, 105)}
moids = {"moid": st.integers(0, 1)}
volts = st.integers(-3, 3).map(lambda n: n / 2)
versions = st.one_of(
    st.builds(First, **keys, **moids, millivolts=st.integers(-3, 3).map(lambda n: n * 500)),
    st.builds(Second, **keys, **moids, volts=volts),
    st.builds(Third, **keys, **moids, volts=volts, note=st.text(max_size=3)),
)
degrees = st.integers(-2, 2)
temperatures = st.one_of(
    st.builds(Celsius, **{**keys, "cap": st.integers(95, 99)}, **moids, degrees=degrees),
    st.builds(Kelvin, **{**keys, "cap": st.integers(100, 105)}, **moids, degrees=degrees.map(lambda n: n + 273)),
)
several = st.one_of(
    st.builds(Alarm, **keys, code=degrees),
    st.builds(Note, **keys, text=st.sampled_from(["", "a", "b"])),
    st.builds(Volts, **keys, volts=volts),
)


def upgraded(row: Any) -> Any:
    """Returns the row that brute force expects."""
    key = {"cid": row.cid, "mid": row.mid, "moid": row.moid, "cap": row.cap}
    if isinstance(row, First):
        return Third(**key, volts=row.millivolts / 1000, note=str(row.mid))
    if isinstance(row, Second):
        return Third(**key, volts=row.volts, note=str(row.mid))
    if isinstance(row, Celsius):
        return Kelvin(**key, degrees=row.degrees + 273)
    return row


Asked = tuple[Any, Callable[[Any], bool]]
"""A condition and the equivalent plain function."""

ON_KEYS: list[Asked] = [
    (First.mid > 0, lambda row: row.mid > 0),
    (First.cap < 100, lambda row: row.cap < 100),
    (~(First.cid == 1), lambda row: row.cid != 1),
    ((First.mid == 0) | (First.cap == 101), lambda row: row.mid == 0 or row.cap == 101),
]
ON_THIRD: list[Asked] = [
    (Third.volts >= 0.5, lambda row: row.volts >= 0.5),
    (Third.volts != 0, lambda row: row.volts != 0),
    (Third.note == "1", lambda row: row.note == "1"),
    ((Third.volts < 0) | (Third.mid == 1), lambda row: row.volts < 0 or row.mid == 1),
    (~(Third.note.is_in(["0", "1", ""])), lambda row: row.note not in ("0", "1", "")),
]
ON_KELVIN: list[Asked] = [
    (Kelvin.degrees >= 273, lambda row: row.degrees >= 273),
    (Kelvin.degrees.between(272, 274), lambda row: 272 <= row.degrees < 274),
]
ON_UNION: list[Asked] = [
    (Alarm.code > 0, lambda row: isinstance(row, Alarm) and row.code > 0),
    (Alarm.code != 0, lambda row: not (isinstance(row, Alarm) and row.code == 0)),
    (~(Note.text == "a"), lambda row: not (isinstance(row, Note) and row.text == "a")),
    (
        (Alarm.code == 1) | (Volts.volts > 0) | (Note.text == "b"),
        lambda row: (
            row.code == 1 if isinstance(row, Alarm) else row.volts > 0 if isinstance(row, Volts) else row.text == "b"
        ),
    ),
    ((Alarm.moid == 90) & (Alarm.cap > 99), lambda row: isinstance(row, Alarm) and row.cap > 99),
    ((Volts.volts > 0) | (Volts.cap == 100), lambda row: (isinstance(row, Volts) and row.volts > 0) or row.cap == 100),
]

CASES = {
    "versions": (Third, versions, ON_KEYS + ON_THIRD),
    "boundary": (Kelvin, temperatures, ON_KEYS + ON_KELVIN),
    "union": (UNION, several, ON_KEYS + ON_UNION),
}


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mixed_ranges_agree_with_brute_force(session: Session, case: str, data: st.DataObject) -> None:
    model, rows_of, conditions = CASES[case]
    rows = data.draw(st.lists(rows_of, max_size=14))
    asked = data.draw(st.lists(st.sampled_from(conditions), max_size=2))
    most = data.draw(st.sampled_from([1, 2, 64]))
    query = session.query(model).where(stored(session, rows), *(condition for condition, _ in asked)).max_boxes(most)
    expected = [row for row in map(upgraded, rows) if all(meaning(row) for _, meaning in asked)]
    assert comparable(query.all()) == comparable(expected)
    assert comparable(list(query)) == comparable(expected)
    assert query.count() == len(expected)
    assert query.exists() == bool(expected)
    assert len(query.limit(2).all()) == min(2, len(expected))
    assert query.limit(3).count() == min(3, len(expected))
    assert [len(batch) for batch in query.batches(4)] == [
        4 if at + 4 <= len(expected) else len(expected) - at for at in range(0, len(expected), 4)
    ]
    assert (query.first() is None) == (not expected)


@pytest.mark.parametrize("case", CASES)
def test_async_queries_agree_with_brute_force(target: str, case: str) -> None:
    model, rows_of, conditions = CASES[case]

    @settings(max_examples=examples(5), deadline=None)
    @given(st.lists(rows_of, max_size=14), st.sampled_from(conditions))
    def run(rows: list[Any], asked: Asked) -> None:
        async def ask() -> None:
            async with connect_async(target) as session:
                await session.add_all(rows)
                receipt = await session.flush()
                ours = First.acq.between(receipt.acq_min, receipt.acq_max + 1) if rows else First.acq.is_in([])
                query = session.query(model).where(ours, asked[0])
                expected = [row for row in map(upgraded, rows) if asked[1](row)]
                assert comparable(await query.all()) == comparable(expected)
                assert comparable([row async for row in query]) == comparable(expected)
                assert await query.count() == len(expected)
                assert await query.exists() == bool(expected)

        asyncio.run(ask())

    run()


def test_many_records_of_two_versions(session: Session) -> None:
    rows: list[TSModel] = [First(cid=1, mid=n % 5, moid=0, cap=n, millivolts=n) for n in range(7000)]
    rows += [Third(cid=1, mid=n % 5, moid=0, cap=n, volts=n / 1000, note="") for n in range(7000, 9000)]
    stored(session, rows)
    query = session.query(Third).cid(1)
    assert query.count() == 9000
    assert query.where(Third.volts >= 6.9).count() == 2100
    assert sorted(row.cap for row in query.mid(3)) == list(range(3, 9000, 5))
    assert {row.acq for row in query} >= {row.acq for row in query.limit(10)}
    assert min(row.acq for row in query) > 0
    assert len(query.limit(7001).all()) == 7001


def test_failing_upgrade_names_the_record_and_versions(session: Session) -> None:
    class Old(TSModel):
        code: Int16

    class New(TSModel, replaces=Old):
        share: Float64

    @New.upgrade_from(Old)
    def upgrade(old: Old) -> New:
        return New(cid=old.cid, mid=old.mid, moid=old.moid, cap=old.cap, share=1 / old.code)

    stored(session, [Old(cid=1, mid=2, moid=3, cap=n, code=n - 5) for n in range(10)])
    query = session.query(New)
    with pytest.raises(UpgradeError, match=r"mid 2, moid 3, cap 5, .* from Old to New failed: ZeroDivisionError") as caught:
        query.all()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert (caught.value.old, caught.value.new) == ("Old", "New")
    assert caught.value.key is not None
    assert (caught.value.key.cap, caught.value.payload) == (5, b"\0\0")
    with pytest.raises(UpgradeError):  # the record is not at fault
        query.on_error("skip").all()
    assert query.count() == 10
    assert query.where(New.cap > 5).where(New.share > 0).count() == 4
    assert (
        query.max_boxes(1).where(New.cap.is_in([1, 9])).where(New.share > 0).count() == 1
    )  # cap 5 is read but not selected


def test_records_that_match_no_version(session: Session) -> None:
    stored(session, [*(Alarm(cid=1, mid=1, cap=n, code=n) for n in range(3)), Note(cid=1, mid=1, cap=4, text="abc")])
    ours = session.query(Second)
    with pytest.raises(
        DecodeError, match=r"no layout of Second matches: First takes 4 bytes; Second takes 9 bytes, the first"
    ) as caught:
        ours.all()
    assert caught.value.key is not None
    assert caught.value.key.moid == 91
    lenient = ours.on_error("skip")
    assert len(lenient.all()) == lenient.count() == 3
    assert lenient.stats.skipped == 1

    class Bare(TSModel, moid=92):
        code: Int32

    stored(session, [Bare(cid=1, mid=1, cap=1, code=7)])
    with pytest.raises(
        DecodeError, match=r"no layout of Alarm \| Volts matches: Alarm takes .*; Volts takes 9 bytes, the first"
    ):
        session.query(Alarm | Volts).all()
    assert len(session.query(Alarm | Note).all()) == 4


def test_payload_that_does_not_decode_as_its_version(session: Session) -> None:
    class Plain(TSModel, moid=90):
        code: Int32

    class Other(TSModel, moid=91):
        octets: Int16

    stored(session, [Other(cid=1, mid=1, cap=1, octets=99), Plain(cid=1, mid=1, cap=2, code=1)])
    with pytest.raises(DecodeError, match=r"Note\.text, at byte 0: ") as caught:
        session.query(Alarm | Note).all()
    assert caught.value.field == "text"
    assert session.query(Alarm | Note).on_error("skip").one() == session.query(Alarm).one()


def test_key_ranges_of_a_union(session: Session) -> None:
    query = session.query(Alarm | Volts)
    assert [str(box) for box in query.cid(1).key_ranges()] == ["cid 1, moid 90", "cid 1, moid 92"]
    assert [str(box) for box in query.where(Volts.volts > 1).key_ranges()] == ["moid 92"]
    assert query.moid(5).key_ranges() == []
    assert "query of Alarm | Volts" in str(query.explain())
    with pytest.raises(QueryError, match=r"First.millivolts is not a column of Alarm \| Volts, which has cid"):
        query.where(First.millivolts > 1)
