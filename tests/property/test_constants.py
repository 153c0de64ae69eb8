"""Constants in conditions compared with Python's exact comparison, on every backend, sync and async."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.budget import examples
from support.sessions import EVERYWHERE, opened_at

from tsmodel import (
    Array,
    Bits,
    Bool,
    Float16,
    Float32,
    Float64,
    Int16,
    Int64,
    Nested,
    Nullable,
    Scaled,
    Text,
    TSModel,
    TSStruct,
    UInt16,
    UInt64,
    connect,
    field,
)
from tsmodel.errors import QueryError


class Fixed(TSModel):
    half: Float16
    single: Float32
    double: Float64
    swapped: Float32 = field(byte_order="big")
    maybe: Nullable[float] = field(item=Float32)
    marked: Nullable[float] = field(item=Float16, null=-1.0)


class Varying(TSModel):
    half: Float16
    single: Float32
    double: Float64
    maybe: Nullable[float] = field(item=Float32)
    name: Text = field(default="ab")


class Message(TSModel, encoding="msgpack"):
    half: Float16
    single: Float32
    double: Float64
    maybe: Nullable[float] = field(item=Float32)


class Old(TSModel, moid=3):
    single: Float64


class New(TSModel, moid=3, replaces=Old, versioned=False):
    single: Float32
    half: Float16


@New.upgrade_from(Old)
def _(old: Old) -> New:
    return New(cid=old.cid, mid=old.mid, cap=old.cap, single=old.single, half=0.5)


WIDTHS: dict[str, Any] = {
    "half": np.float16,
    "single": np.float32,
    "double": np.float64,
    "swapped": np.float32,
    "maybe": np.float32,
    "marked": np.float16,
}
COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
CIDS = itertools.count()


@pytest.fixture(scope="module", params=EVERYWHERE, ids="-".join)
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with opened_at(*request.param, tmp_path_factory.mktemp("constants")) as session:
        yield session


def rounded(constant: Any, width: Any) -> Any:
    """Floats round to the column's width unless they would overflow; other constants do not."""
    if not isinstance(constant, (float, np.floating)):
        return constant
    with np.errstate(over="ignore"):
        narrow = float(width(constant))
    return float(constant) if math.isinf(narrow) else narrow


def meets(value: float | None, compare: str, constant: Any) -> bool:
    """Python compares floats with ints, Fractions and Decimals exactly. Null meets only "!="."""
    if value is None or constant is None:
        return (value is constant) == (compare == "==") if constant is None else compare == "!="
    if value != value or constant != constant:  # Python refuses to order Decimal NaNs
        return compare == "!="
    return bool(COMPARE[compare](value, constant))


edges = st.sampled_from(
    [
        0.1,
        231.7,
        1e-50,
        1e39,
        65519.9,
        65520.0,
        3.4028235677973366e38,
        3.4028235e38,
        2.0**24 + 1,
        2.0**53,
        -0.0,
        0.0,
        math.inf,
        -math.inf,
        math.nan,
        5e-324,
        1.7976931348623157e308,
        2.0**24,
        2049.0,
        16777217.0,
    ]
)
floats = edges | edges.map(lambda value: -value) | st.floats() | st.floats(width=16) | st.floats(width=32)
exact = (
    st.sampled_from([2**24 + 1, 2**53 + 1, 10**400, -(10**400), 0, 2049, 2**1024, 2**1024 - 2**970])
    | floats.filter(math.isfinite).map(Fraction)
    | floats.filter(math.isfinite).map(lambda value: Fraction(value) + Fraction(1, 10**30))
    | floats.map(Decimal)
    | floats.filter(math.isfinite).map(lambda value: Decimal(repr(value)))
    | floats.filter(math.isfinite).map(int)
    | st.sampled_from(
        [Decimal("1e400"), Decimal("-1e999999999"), Decimal("1e-400"), Decimal("-1e-999999999"), Fraction(1, 3)]
    )
)
typed = floats.map(np.float64) | st.floats(width=32).map(np.float32) | st.floats(width=16).map(np.float16)
constants = floats | exact | typed


def stored(value: Any, width: Any) -> float:
    """The constant as a float of this width."""
    with np.errstate(over="ignore"):
        try:
            return float(width(float(value)))
        except OverflowError:
            return math.inf


@st.composite
def cases(draw: st.DrawFn) -> tuple[type[TSModel], str, list[Any], list[Any], str, list[float]]:
    """A model, a field, constants, values to store, an operator, and the values the field then has."""
    model = draw(st.sampled_from([Fixed, Varying, Message, New]))
    name = draw(st.sampled_from([name for name in WIDTHS if name in model.__struct_fields__]))
    width = WIDTHS[name]
    wanted = draw(st.lists(constants, min_size=2, max_size=4))
    with np.errstate(over="ignore"):
        near = [stored(value, width) for value in wanted]
        near += [float(np.nextafter(width(value), width(math.inf * sign))) for value in near for sign in (1, -1)]
        near += [stored(value, width) for value in draw(st.lists(floats, max_size=3))]
    near = [value for value in near if name != "marked" or value != -1.0]
    compare = draw(st.sampled_from([*COMPARE, "between", "is_in"]))
    return model, name, wanted, near, compare, near


@settings(deadline=None, max_examples=examples(40), suppress_health_check=list(HealthCheck))
@given(cases(), st.booleans())
def test_float_constants_are_rounded_and_others_are_exact(session: Any, case: Any, negated: bool) -> None:
    model, name, wanted, values, compare, _ = case
    cid = next(CIDS)
    is_nullable = name in ("maybe", "marked")
    if is_nullable:
        values = [*values, None]
        if compare in ("==", "!=", "is_in"):
            wanted = [*wanted[1:], None, wanted[0]]
    blank: dict[str, Any] = {each: 0.5 for each in WIDTHS if each in model.__struct_fields__ and each != name}
    fixed = {} if model is New else {"moid": 1}
    rows = [model(cid=cid, mid=n, cap=n, **fixed, **blank, **{name: value}) for n, value in enumerate(values)]
    if model is New and name == "single":
        rows = [Old(cid=cid, mid=n, cap=n, single=value) for n, value in enumerate(values)]
    session.add_all(rows)
    session.flush()
    column: Any = getattr(model, name)
    meant = [rounded(each, WIDTHS[name]) for each in wanted]
    if compare == "between":
        condition = column.between(wanted[0], wanted[1])
        expected = [meets(value, ">=", meant[0]) and meets(value, "<", meant[1]) for value in values]
    elif compare == "is_in":
        condition = column.is_in(wanted)
        expected = [any(meets(value, "==", each) for each in meant) for value in values]
    else:
        condition = COMPARE[compare](column, wanted[-1])
        expected = [meets(value, compare, meant[-1]) for value in values]
    if negated:
        condition, expected = ~condition, [not each for each in expected]
    mids = [n for n, each in enumerate(expected) if each]
    query = session.query(model).cid(cid).where(condition)
    assert sorted(row.mid for row in query.all()) == mids
    assert query.count() == len(mids)
    assert sorted(mid for (mid,) in query.select(model.mid).all()) == mids
    assert sorted(row.mid for row in query.latest().all()) == mids
    assert str(condition) in str(query.explain()) or not query.explain().plan.filters
    if model is Fixed:
        assert sorted(query.columns("mid")["mid"].tolist()) == mids


class Pos(TSStruct):
    x: Float32
    y: Float64


class Listed(TSModel):
    three: Array[float] = field(item=Float32, length=3)
    any: Array[float] = field(item=Float16)
    pos: Nested[Pos]
    maybe: Nullable[Pos] = field(item=Nested[Pos])


class ListedMessage(TSModel, encoding="json"):
    three: Array[float] = field(item=Float32, length=3)
    any: Array[float] = field(item=Float16)
    pos: Nested[Pos]


@pytest.mark.parametrize("model", [Listed, ListedMessage])
def test_constants_in_arrays_and_structures(model: Any) -> None:
    with connect("memory:") as session:
        more = {"maybe": Pos(231.7, 0.1)} if model is Listed else {}
        pos = Pos(231.7, 0.1)
        session.add(model(cid=1, mid=1, moid=1, cap=1, three=[231.7, 16777216, 0.0], any=[0.1, 1e-50], pos=pos, **more))
        session.flush()
        query = session.query(model)
        for three in ([231.7, 16777216, -0.0], (231.7, 2.0**24 + 1, 0), np.array([231.7, 2**24, 0], np.float32)):
            assert query.where(model.three == three).count() == 1
            assert query.where(model.three != three).count() == 0
            assert query.where(model.three.is_in([[1.0, 2.0, 3.0], three])).count() == 1
        for three in ([231.7, 2**24 + 1, 0.0], [Decimal("231.7"), 2**24, 0], [1e39, 2**24, 0], [math.nan, 2**24, 0]):
            assert query.where(model.three == three).count() == 0
            assert query.where(~(model.three == three)).count() == 1
        assert query.where(model.any == [0.1, 0.0]).count() == 1
        assert query.where(model.any == [0.1]).count() == 0
        assert query.where(model.pos == Pos(231.7, 0.1)).count() == 1
        assert query.where(model.pos == Pos(231.7, 0.10000000001)).count() == 0
        if model is Listed:
            assert query.where(model.maybe == Pos(231.7, 0.1)).count() == 1
            assert query.where(model.maybe.is_in([None, Pos(231.7, 0.1)])).count() == 1
        for wrong, why in (
            (["a", 1, 2], r"item 0 cannot be compared with 'a'"),
            ([1.0], "1 items are given"),
            (5, "not a list"),
        ):
            with pytest.raises(QueryError, match=rf"{model.__name__}.three .*cannot be compared with .*{why}"):
                _ = model.three == wrong


class Whole(TSModel):
    small: Int16
    signed: Int64
    unsigned: UInt64
    low: Bits = field(bits=4, storage=UInt16)
    high: Bits = field(bits=12, storage=UInt16)
    price: Scaled = field(digits=2)
    rough: Scaled[float] = field(digits=2)
    maybe: Nullable[int] = field(item=Int64)


whole = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, 2**53, 2**53 + 1, -(2**53) - 1, 4, 15])
numbers = (
    whole
    | whole.map(lambda n: Fraction(n) + Fraction(1, 3))
    | whole.map(Decimal)
    | whole.map(lambda n: Decimal(n) / 100)
    | whole.map(float)
    | whole.map(lambda n: n / 100)
    | whole.map(np.int64)
    | st.floats(width=32).filter(lambda value: value == value).map(np.float32)
    | st.sampled_from(
        [
            math.inf,
            -math.inf,
            Decimal("inf"),
            Decimal("1e999999999"),
            Decimal("-1e-999999999"),
            10**400,
            Fraction(-(10**400)),
            np.longdouble(2**63) + 1,
            Decimal("0e999999999"),
            0.005,
            Decimal(9007199254740993),
            Decimal("9007199254740992.5"),
        ]
    )
)


@settings(deadline=None, max_examples=examples(80), suppress_health_check=list(HealthCheck))
@given(st.lists(numbers, min_size=1, max_size=3), st.sampled_from(list(COMPARE)), st.data())
def test_integer_decimal_and_bit_columns_compare_exactly(wanted: list[Any], compare: str, data: st.DataObject) -> None:
    def near(least: int, most: int) -> list[int]:
        found = [0, least, most]
        for each in wanted:
            if -(2**64) < each < 2**64:
                found += [int(each) + step for step in (-1, 0, 1)]
        return [min(max(each, least), most) for each in found]

    pick = data.draw
    rows = [
        Whole(
            cid=1,
            mid=n,
            moid=1,
            cap=n,
            small=pick(st.sampled_from(near(-(2**15), 2**15 - 1))),
            signed=pick(st.sampled_from(near(-(2**63), 2**63 - 1))),
            unsigned=pick(st.sampled_from(near(0, 2**64 - 1))),
            low=pick(st.sampled_from(near(0, 15))),
            high=pick(st.sampled_from(near(0, 4095))),
            price=Decimal(pick(st.sampled_from(near(-(2**63), 2**63 - 1)))).scaleb(-2),
            rough=pick(st.sampled_from(near(-(10**15), 10**15))) / 100,
            maybe=pick(st.sampled_from([None, *near(-(2**63), 2**63 - 1)])),
        )
        for n in range(4)
    ]
    with connect("memory:") as session:
        session.add_all(rows)
        session.flush()
        for name in ("small", "signed", "unsigned", "low", "high", "price", "rough", "maybe"):
            column: Any = getattr(Whole, name)
            meant = [constant_of(each, is_decimal=name in ("price", "rough")) for each in wanted]
            values = [getattr(row, name) for row in rows]
            if name == "rough":
                values = [Fraction(repr(value)) for value in values]
            query = session.query(Whole)
            expected = [n for n, value in enumerate(values) if meets(value, compare, meant[0])]
            assert sorted(row.mid for row in query.where(COMPARE[compare](column, wanted[0]))) == expected
            assert query.where(~COMPARE[compare](column, wanted[0])).count() == 4 - len(expected)
            among = [n for n, value in enumerate(values) if any(meets(value, "==", each) for each in meant)]
            assert sorted(row.mid for row in query.where(column.is_in(wanted))) == among


def constant_of(constant: Any, *, is_decimal: bool) -> Any:
    """A value that Python compares exactly. A float compared with decimals counts as its repr."""
    if isinstance(constant, np.longdouble):
        return Fraction(*constant.as_integer_ratio())
    if isinstance(constant, Decimal) and constant.is_finite() and abs(constant.adjusted()) > 1000:
        return 0 if not constant else Fraction(1 if constant > 0 else -1, 10**30) if constant.adjusted() < 0 else 10**400
    if isinstance(constant, (float, np.floating)) and math.isfinite(constant) and is_decimal:
        return Fraction(str(constant))
    return constant.item() if isinstance(constant, np.generic) else constant


@pytest.mark.parametrize("name", ["small", "signed", "low", "high", "price", "rough", "maybe"])
def test_nan_is_refused_and_infinity_exceeds_every_integer(name: str) -> None:
    column: Any = getattr(Whole, name)
    for nan in (math.nan, np.float32("nan"), Decimal("nan"), Decimal("snan")):
        for asked in (lambda: column == nan, lambda: column < nan, lambda: column.is_in([1, nan])):  # noqa: B023
            with pytest.raises(QueryError, match=rf"Whole.{name} .*cannot be compared with .*integers are never NaN"):
                asked()
    with connect("memory:") as session:
        session.add(Whole(1, 1, 1, 1, small=1, signed=1, unsigned=1, low=1, high=1, price=1, rough=1.0, maybe=1))
        session.flush()
        for above in (math.inf, np.float16("inf"), Decimal("inf"), 10**400):
            assert session.query(Whole).where(column < above, column != above, column.between(-above, above)).count() == 1
            assert (
                session.query(Whole).where((column == above) | (column > above) | column.is_in([above, -above])).count()
                == 0
            )


def test_none_in_is_in() -> None:
    class Sparse(TSModel):
        whole: Nullable[int] = field(item=Int16)
        single: Nullable[float] = field(item=Float32, null=-1.0)
        text: Nullable[str] = field(item=Text)
        is_on: Nullable[bool] = field(item=Bool)

    with connect("memory:") as session:
        session.add(Sparse(cid=1, mid=0, moid=1, cap=1, whole=None, single=None, text=None, is_on=None))
        session.add(Sparse(cid=1, mid=1, moid=1, cap=1, whole=5, single=5.5, text="5", is_on=True))
        session.add(Sparse(cid=1, mid=2, moid=1, cap=1, whole=0, single=0.0, text="", is_on=False))
        session.flush()
        columns: list[tuple[Any, Any]] = [
            (Sparse.whole, 5),
            (Sparse.single, 5.5),
            (Sparse.text, "5"),
            (Sparse.is_on, True),
        ]
        for column, value in columns:
            for values, mids in [([None], [0]), ([None, value], [0, 1]), ([value], [1]), ([], [])]:
                query = session.query(Sparse).where(column.is_in(values))
                assert sorted(row.mid for row in query) == mids
                assert session.query(Sparse).where(~column.is_in(values)).count() == 3 - len(mids)
            with pytest.raises(QueryError, match="cannot be ordered with None"):
                _ = column < None
        with pytest.raises(QueryError, match="cannot be compared with None"):
            Sparse.mid.is_in([None])  # type: ignore[list-item]
