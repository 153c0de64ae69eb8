"""`QuerySpec`: a query as a value."""

from __future__ import annotations

import asyncio
import pickle
import re
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from tsmodel import (
    Array,
    Encoded,
    Float32,
    Int32,
    Nested,
    Nullable,
    Packed,
    Query,
    Scaled,
    Text,
    TSModel,
    TSStruct,
    connect,
    connect_async,
    field,
)
from tsmodel.errors import QueryError
from tsmodel.model.expressions import Expression
from tsmodel.query import QuerySpec
from tsmodel.query.plan import plan_of


class Reading(TSModel):
    counter: Int32
    volts: Float32


class Event(TSModel, moid=9):
    code: Int32
    cost: Scaled = field(digits=2)


class Note(TSModel, moid=8):
    text: Text


class Tank(TSModel, moid=10):
    level: Float32


class TankInMetres(TSModel, moid=10, replaces=Tank):
    level: Int32
    place: Int32


FULL = Query(Reading).cid(1).mid(1, 2, 5).where((Reading.volts > 1.5) | ~(Reading.counter == 3)).limit(7).on_error("skip")

BUILT: dict[str, Callable[[], Query[Any]]] = {
    "no conditions": lambda: Query(Reading),
    "conditions": lambda: Query(Reading).cid(1).where((Reading.volts > 1.5) | ~Reading.counter.is_in([1, 2])),
    "order": lambda: Query(Reading).order_by(Reading.volts.desc(), Reading.cap),
    "limit": lambda: Query(Reading).limit(3),
    "latest": lambda: Query(Reading).latest(),
    "as of": lambda: Query(Reading).as_of("2026-01-01T00:00:00Z"),
    "per series": lambda: Query(Reading).last_per_series(),
    "options": lambda: Query(Reading).on_error("quarantine").max_boxes(3).max_rows_in_memory(10),
    "fixed": lambda: Query(Event).where(Event.cost > 5),
    "text": lambda: Query(Note).where(Note.text == "a"),
    "older version": lambda: Query(TankInMetres).where(Tank.level > 2.5),
    "union": lambda: Query(Event | Note).where(Event.code == 1),
}


def test_builder_makes_equal_spec() -> None:
    made = QuerySpec(
        Reading,
        (Reading.cid.is_in([1]), Reading.mid.is_in([1, 2, 5]), (Reading.volts > 1.5) | ~(Reading.counter == 3)),
        limit=7,
        on_error="skip",
    )
    assert FULL.spec == made
    assert hash(FULL.spec) == hash(made)
    assert plan_of(made).boxes == tuple(FULL.key_ranges())


@pytest.mark.parametrize("name", BUILT)
def test_equality(name: str) -> None:
    spec = BUILT[name]().spec
    assert spec == BUILT[name]().spec
    assert [other for other in BUILT if BUILT[other]().spec == spec] == [name]
    assert BUILT[name]().cid(3).spec != spec


@pytest.mark.parametrize("name", BUILT)
def test_pickles(name: str) -> None:
    spec = BUILT[name]().spec
    again = pickle.loads(pickle.dumps(spec))
    assert again == spec
    assert repr(again) == repr(spec)
    assert plan_of(again).boxes == plan_of(spec).boxes


class Phase(TSStruct):
    volts: Float32
    note: Text = field(size=4)


class Label(TSStruct):
    text: Text


class Mac(Encoded[str], size=6):
    @staticmethod
    def load(stored: bytes) -> str:
        return stored.hex(":")

    @staticmethod
    def dump(value: str) -> bytes:
        return bytes.fromhex(value.replace(":", ""))


class Device(TSModel):
    phase: Nested[Phase]
    phases: Array[Phase] = field(item=Phase)
    maybe: Nullable[Phase] = field(item=Phase, default=None)
    label: Nested[Label]
    mac: Mac


@pytest.mark.parametrize(
    "condition",
    [
        Device.phase == Phase(volts=230, note="l1"),
        Device.phases != [],
        Device.maybe == None,  # noqa: E711
        Device.label.is_in([Label(text="roof"), Label(text="cellar")]),
        Device.mac > "00:1b",
    ],
    ids=str,
)
def test_conditions_on_structures_and_custom_types_pickle(condition: Expression) -> None:
    spec = Query(Device).where(condition).spec
    again = pickle.loads(pickle.dumps(spec))
    assert again == spec
    device = Device(
        cid=1, mid=1, moid=1, cap=1, phase=Phase(volts=230, note="l1"), phases=[Phase(volts=1, note="")],
        label=Label(text="roof"), mac="00:1b:63:84:45:e6",
    )  # fmt: skip
    with connect("memory:") as session:
        session.add(device)
        session.flush()
        assert session.query(again).count() == 1


class Point:
    """Compares, but has no hash."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.x == self.x

    __hash__ = None  # type: ignore[assignment]


class Place(Encoded[Point], size=1):
    @staticmethod
    def load(stored: bytes) -> Point:
        return Point(stored[0])

    @staticmethod
    def dump(value: Point) -> bytes:
        return bytes([value.x])


class Survey(TSModel):
    levels: Array[float] = field(item=Float32)
    phases: Array[Phase] = field(item=Phase)
    tags: Packed[dict[str, list[int]]]
    place: Place


@pytest.mark.parametrize(
    ("condition", "same", "other"),
    [
        (Survey.levels == [1.5, 2], Survey.levels == [1.5, 2], Survey.levels == [1.5]),
        (Survey.levels == [1.5, 2], Survey.levels == (1.5, 2), Survey.levels == (1.5, 3)),
        (Survey.levels.is_in([[1], [2]]), Survey.levels.is_in([[1], [2]]), Survey.levels.is_in([[2], [1]])),
        (Survey.levels == [float("nan")], Survey.levels == [float("nan")], Survey.levels == [0]),
        (Survey.phases == [Phase(1, "a")], Survey.phases == [Phase(1, "a")], Survey.phases == [Phase(1, "b")]),
        (Survey.tags == {"a": [1], "b": []}, Survey.tags == {"b": [], "a": [1]}, Survey.tags == {"a": [1]}),
        (Survey.place == Point(1), Survey.place == Point(1), Survey.place == Point(2)),
    ],
    ids=lambda _: "",
)
def test_specs_have_hashes_whatever_their_constants(condition: Expression, same: Expression, other: Expression) -> None:
    spec, again, different = (Query(Survey).where(each).spec for each in (condition, same, other))
    assert spec == again
    assert hash(spec) == hash(again)
    assert spec != different


def test_specs_with_nan_are_equal() -> None:
    spec = Query(Reading).where(Reading.volts.is_in([float("nan"), 1.5]), Reading.volts != float("nan")).spec
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_spec_is_frozen() -> None:
    spec = FULL.spec
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        spec.limit = 8  # type: ignore[misc]
    assert spec.replaced(limit=8) == FULL.limit(8).spec
    assert spec.limit == 7


def test_repr() -> None:
    assert repr(Query(Reading).spec) == "<QuerySpec of Reading: all records>"
    assert repr(Query(Reading).cid(1).spec) == "<QuerySpec of Reading: (cid in {1})>"
    assert repr(Query(Event).spec) == "<QuerySpec of Event: (moid == 9)>"
    query = Query(Reading).cap_since(0).latest().order_by(Reading.cap.desc()).limit(2).on_error("skip").max_boxes(5)
    assert repr(query.spec) == (
        "<QuerySpec of Reading: (cap >= 0); newest versions; sorted in memory by cap descending; limit 2; "
        "on_error skip; max_boxes 5>"
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QuerySpec(Reading, (3,)), "where() takes conditions such as Reading.cap > 0, not 3 (int)"),  # type: ignore
        (lambda: QuerySpec(Reading, (Event.code > 1,)), "Event.code is not a column of Reading"),
        (lambda: QuerySpec(Reading, order=(5,)), "order_by takes columns or their names, such as Reading.cap, not 5"),  # type: ignore
        (lambda: QuerySpec(Reading, order=(Event.code.desc(),)), "Event.code is not a column of Reading"),
        (lambda: QuerySpec(Reading, limit=-1), "limit takes an int from 0, not -1"),
        (lambda: QuerySpec(Reading, versions="newest"), """versions takes "all" or "latest", not 'newest'"""),  # type: ignore
        (lambda: QuerySpec(Reading, per_series=3), 'per_series takes "first", "last" or None, not 3'),  # type: ignore
        (lambda: QuerySpec(Reading, on_error="ignore"), 'on_error takes "raise", "skip" or "quarantine"'),  # type: ignore
        (lambda: QuerySpec(Reading, max_boxes=0), "max_boxes takes an int from 1, not 0"),
        (lambda: QuerySpec(Reading, max_rows_in_memory=True), "max_rows_in_memory takes an int from 1, not True"),
        (lambda: Query(Reading).limit(None), "limit takes an int from 0, not None"),  # type: ignore
    ],
)
def test_invalid_values_are_refused_at_once(make: Callable[[], object], message: str) -> None:
    with pytest.raises(QueryError, match=re.escape(message)):
        make()


def readings() -> list[Reading]:
    return [Reading(cid=1, mid=n % 3, moid=1, cap=n, counter=n, volts=n / 2) for n in range(30)]


def test_session_runs_a_spec() -> None:
    spec = pickle.loads(pickle.dumps(Query(Reading).mid(1).order_by(Reading.cap.desc()).limit(4).spec))
    with connect("memory:") as session, connect("memory:") as other:
        session.add_all(readings())
        session.flush()
        assert [row.cap for row in session.query(spec).all()] == [28, 25, 22, 19]
        assert session.query(spec).select(Reading.cap).all() == [(28,), (25,), (22,), (19,)]
        assert session.copy(Query(Reading).mid(1).spec, other).records == 10
        assert other.query(Reading).count() == 10
        with pytest.raises(QueryError, match="copy\\(\\) streams records, and cannot be combined with: sorted in"):
            session.copy(spec, other)


def test_async_session_runs_a_spec() -> None:
    async def main() -> list[int]:
        async with connect_async("memory:") as session:
            await session.add_all(readings())
            await session.flush()
            spec = session.query(Reading).mid(1).cap_before(8).spec
            assert spec == Query(Reading).mid(1).cap_before(8).spec
            return [row.cap async for row in session.query(spec)]

    assert sorted(asyncio.run(main())) == [1, 4, 7]


def test_spec_includes_fixed_key_components() -> None:
    with connect("memory:") as session:
        session.add(Event(cid=1, mid=1, cap=1, code=5, cost=1))
        session.add(Note(cid=1, mid=1, cap=1, text="eight bytes."))
        session.flush()
        assert [row.code for row in session.query(QuerySpec(Event)).all()] == [5]
