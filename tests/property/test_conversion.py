"""Any model round-trips through dicts, JSON and CSV; bulk conversion agrees with conversion one by one."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
from decimal import Context, Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.budget import examples
from support.fields import State as Level
from support.fields import fixed, models, nullables, rows, texts, variable_models
from support.json_schema import fault

from tsmodel import (
    Array,
    Bool,
    DateTime,
    Duration,
    Enumerated,
    Float16,
    Float32,
    Float64,
    Int16,
    Nullable,
    Packed,
    Scaled,
    Text,
    TSModel,
    TSStruct,
    UInt64,
    field,
)
from tsmodel.errors import ConversionError, EncodeError, TimestampError
from tsmodel.timestamps import to_iso, to_ns
from tsmodel.types.numbers import shortest, shortest_of
from tsmodel.types.times import iso_texts, ns_of_texts

tables = st.one_of(models(), models(fixed | nullables()), variable_models()).flatmap(
    lambda made: rows(*made).map(lambda objects: (made[0], objects))
)
spellings = st.fixed_dictionaries({"times": st.sampled_from(["iso", "ns"]), "binary": st.sampled_from(["hex", "base64"])})


def are_close(one: Any, other: Any) -> bool:
    """Whether plain data is equal, floats up to the precision of a Float16."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(are_close(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(are_close, one, other))
    return one == other or (isinstance(one, float) and math.isclose(one, other, rel_tol=2**-11, abs_tol=2**-25))


def are_stored_alike(one: Any, other: Any) -> bool:
    return one.key == other.key and one.payload_type.to_bytes(one) == other.payload_type.to_bytes(other)


@settings(deadline=None, max_examples=examples(300))
@given(tables, spellings)
def test_dicts_and_json_round_trip(table: tuple[Any, list[Any]], spelling: dict[str, Any]) -> None:
    model, objects = table
    binary = spelling["binary"]
    for each in objects:
        data = each.to_dict(**spelling)
        assert model.from_dict(data, binary=binary) == each
        assert are_close(json.loads(each.to_json(**spelling)), data)
        assert are_stored_alike(model.from_json(each.to_json(**spelling), binary=binary), each)
        assert model.from_dict({name: getattr(each, name) for name in data}) == each, "from_dict also accepts field values"


@settings(deadline=None, max_examples=examples(200))
@given(tables, spellings)
def test_output_conforms_to_json_schema(table: tuple[Any, list[Any]], spelling: dict[str, Any]) -> None:
    model, objects = table
    schema = model.json_schema(**spelling)
    json.dumps(schema, allow_nan=False)
    for each in objects:
        assert fault(each.to_dict(**spelling), schema, schema.get("$defs", {})) is None


@settings(deadline=None, max_examples=examples(300))
@given(tables, spellings, st.sampled_from([",", ";", "\t"]), st.sampled_from([".", ","]))
def test_files_round_trip(table: tuple[Any, list[Any]], spelling: dict[str, Any], delimiter: str, decimal: Any) -> None:
    model, objects = table
    objects = objects * 3
    jsonl = io.BytesIO()
    assert model.dump_jsonl(objects, jsonl, **spelling) == len(objects)
    jsonl.seek(0)
    assert all(map(are_stored_alike, model.load_jsonl(jsonl, binary=spelling["binary"]), objects))
    form: dict[str, Any] = {"delimiter": delimiter, "decimal": decimal, "null": "<null>", "binary": spelling["binary"]}
    csv = io.StringIO(newline="")
    assert model.dump_csv(objects, csv, times=spelling["times"], **form) == len(objects)
    csv.seek(0)
    assert all(map(are_stored_alike, model.load_csv(csv, **form), objects))


class Phase(TSStruct):
    volts: Float32
    level: Enumerated[Level] = field(default=Level.OFF)


class Reading(TSModel, cid=1):
    count: Int16 = field(ge=-5, default=3)
    volts: Float32
    valid: Bool
    total: UInt64 = field(multiple_of=2)
    level: Enumerated[Level]
    price: Scaled = field(digits=2)
    note: Text = field(size=4)
    temp: Nullable[float] = field(item=Float32)
    when: DateTime
    took: Duration
    xs: Array[int] = field(item=Int16)
    phase: Nullable[Phase] = field(item=Phase)


def cells(*usual: str) -> st.SearchStrategy[str]:
    """Mostly valid cells, so that some slices are valid as a whole."""
    odd = [
        "",
        " 1",
        "1_0",
        "0x1f",
        "-1",
        "nan",
        "inf",
        "1e999",
        "x",
        "1.5",
        "true",
        "ON",
        "99999999999999999999",
        "\u0661",
        '"',
        "é",
    ]
    return st.sampled_from([*usual, *usual, *usual, *usual, *usual, *odd])


NAMES = ["mid", "moid", "cap", "count", "volts", "valid", "total", "level", "price", "note", "temp", "when", "took", "xs"]
LINES = st.tuples(
    cells("1", "2"),
    cells("7"),
    cells("5", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00.5+01:00", "2026-02-30T00:00:00Z"),
    cells("4", "5", "-6"),
    cells("1.5", "3"),
    cells("true", "no"),
    cells("2", "4"),
    cells("ON", "0"),
    cells("1.25", "3", "1.255"),
    cells("abc", "äö", "äöü"),
    cells("", "2.5"),
    cells("2026-01-01T00:00:00Z", "1970-01-01T00:00:00.000001Z", "2026-01-01"),
    cells("15m", "PT1.5S", "1000"),
    cells("[1, 2]", "[]", '["a"]'),
    cells("1.5", ""),
    cells("ON", ""),
)
HEADER = [*NAMES, "phase.volts", "phase.level"]


@settings(deadline=None, max_examples=examples(200))
@given(st.lists(LINES, min_size=1, max_size=6), st.booleans(), st.integers(1, 40))
def test_csv_in_bulk_matches_line_by_line(lines: list[tuple[str, ...]], quoted: bool, size: int) -> None:
    import csv
    from unittest import mock

    from tsmodel.interop import csv_reading

    want: list[Any] = []
    for line in lines:
        try:
            want.append(Reading.from_row(line, names=HEADER))
        except ConversionError as error:
            want.append([(fault.path, fault.why) for fault in error.faults])
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL).writerows([HEADER, *lines])
    text.seek(0)
    errors: list[ConversionError] = []
    with mock.patch.object(csv_reading, "_BLOCK", size * 7), mock.patch.object(csv_reading, "_LINES", size):
        got = list(Reading.load_csv(text, errors=errors.append))
    assert got == [each for each in want if isinstance(each, Reading)]
    assert [error.line for error in errors] == [at for at, each in enumerate(want, 2) if isinstance(each, list)]
    assert [[(fault.path, fault.why) for fault in error.faults] for error in errors] == [
        each for each in want if isinstance(each, list)
    ]


DATA = st.fixed_dictionaries(
    {
        "mid": st.sampled_from([1, "2", 1.5, None]),
        "moid": st.sampled_from([7, 7, 7, True]),
        "cap": st.sampled_from([5, "2026-01-01T00:00:00Z", 5.0]),
        "volts": st.sampled_from([1.5, 3, "NaN", "x", 10**400]),
        "valid": st.sampled_from([True, 1, "yes", 2]),
        "total": st.sampled_from([2, 4, 5, 2**64 - 2, 2**64]),
        "level": st.sampled_from(["ON", 0, "x", [], 7]),
        "price": st.sampled_from(["1.25", 1.25, 3, 1.255, 1e300, True]),
        "note": st.sampled_from(["abc", "äö", "äöü", 3, "a\0"]),
        "temp": st.sampled_from([None, 2.5, "x"]),
        "when": st.sampled_from(["2026-01-01T00:00:00Z", 1000, 1]),
        "took": st.sampled_from(["15m", 1000, 1, 1.5, "PT"]),
        "xs": st.sampled_from([[1, 2], [], ["3"], [40000], 3, None]),
        "phase": st.sampled_from([None, {"volts": 1}, {"volts": 1, "level": 9}, {"level": "ON"}, {"volts": 1, "x": 1}, 3]),
    },
    optional={"count": st.sampled_from([4, -5, -6]), "cid": st.sampled_from([1, 2]), "other": st.just(3)},
)


@settings(deadline=None, max_examples=examples(200))
@given(st.lists(DATA, min_size=1, max_size=5))
def test_jsonl_in_bulk_matches_one_by_one(data: list[dict[str, Any]]) -> None:
    want: list[Any] = []
    for each in data:
        try:
            want.append(Reading.from_json(json.dumps(each)))
        except ConversionError as error:
            want.append(error.faults)
    errors: list[ConversionError] = []
    got = list(Reading.load_jsonl(map(json.dumps, data), errors=errors.append))
    assert repr(got) == repr([each for each in want if isinstance(each, Reading)])  # repr: NaN does not equal itself
    assert [tuple(fault._replace(line=None) for fault in error.faults) for error in errors] == [
        each for each in want if isinstance(each, tuple)
    ]
    assert [error.line for error in errors] == [at for at, each in enumerate(want, 1) if isinstance(each, tuple)]


int64 = st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**10), 10**10).map(lambda n: n * 10**8)
offsets = st.sampled_from(["Z", "+00:00", "-00:30", "+05:45", "-23:59"])
days = st.datetimes(dt.datetime(1709, 1, 1), dt.datetime(2291, 12, 30)).map(lambda moment: moment.isoformat()[:19])
fractions = st.integers(0, 9).flatmap(lambda n: st.text("0123456789", min_size=n, max_size=n)).map(lambda f: f and "." + f)


@given(st.lists(int64, min_size=1))
def test_iso_texts_match_to_iso(ns: list[int]) -> None:
    assert iso_texts(ns) == list(map(to_iso, ns))


def shaped(offset: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    """Times in one format, with any number of digits."""
    return st.lists(st.builds("{}{}{}".format, days, fractions, offset), min_size=1)


@given(shaped(st.just("Z")) | shaped(offsets.filter(lambda offset: offset != "Z")))
def test_ns_of_texts_match_to_ns(written: list[str]) -> None:
    assert ns_of_texts(written) == list(map(to_ns, written))


@settings(max_examples=examples(300))
@given(st.builds("{}{}{}".format, days, fractions, offsets), st.integers(0, 40), st.sampled_from("0369:-+.Z T1,_é"))
def test_time_with_typo_is_refused_or_correct(text: str, at: int, typo: str) -> None:
    text = text[:at] + typo + text[at + 1 :]
    try:
        want = to_ns(text)
    except TimestampError:
        want = None
    try:
        got = ns_of_texts(["2026-01-01T00:00:00Z", text])[1]
    except ValueError:
        return  # the caller falls back to to_ns
    assert got == want


@given(st.floats(), texts)
def test_any_float_and_text_round_trip(value: float, text: str) -> None:
    class Point(TSModel):
        x: Float32
        note: Text

    if math.isfinite(value) and abs(value) > 1e38:
        return
    point = Point(cid=1, mid=1, moid=1, cap=1, x=value, note=text)
    file = io.StringIO(newline="")
    Point.dump_csv([point] * 2, file)
    file.seek(0)
    for back in (Point.from_json(point.to_json()), *Point.load_csv(file)):
        assert repr(back) == repr(point)
        assert are_stored_alike(back, point) or math.isnan(value)


class Widths(TSModel, cid=1, mid=1, moid=1):
    half: Float16
    single: Float32
    double: Float64
    items: Array[float] = field(item=Float32)
    maybe: Nullable[float] = field(item=Float32)
    marked: Nullable[float] = field(item=Float16, null=-999.0)


def same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


@settings(deadline=None, max_examples=examples(400))
@given(st.lists(st.tuples(st.floats(width=16), st.floats(width=32), st.floats()), min_size=1, max_size=5))
def test_floats_print_with_the_digits_of_their_width(numbers: list[tuple[float, float, float]]) -> None:
    import csv

    rows = [
        Widths(cap=1, half=half, single=single, double=double, items=[single, half], maybe=single, marked=half)
        for half, single, double in numbers
        if half != -999
    ]
    cells, lines = io.StringIO(newline=""), io.StringIO()
    Widths.dump_csv(rows, cells)
    Widths.dump_jsonl(rows, lines)
    cells.seek(0)
    table = list(csv.DictReader(cells))
    frame = pd.DataFrame({"single": [row.single for row in rows]}, dtype="float32")
    of_pandas = [text for (text,) in csv.reader(io.StringIO(frame.to_csv(index=False, na_rep="nan"))) if text != "single"]
    for row, line, written, by_pandas in zip(rows, lines.getvalue().splitlines(), table, of_pandas, strict=True):
        want = {
            "half": float(str(np.float16(row.half))),
            "single": float(str(np.float32(row.single))),
            "double": float(str(row.double)),
        }
        want |= {"maybe": want["single"], "marked": want["half"]}
        assert same(want["single"], float(by_pandas))
        for data in (json.loads(line), json.loads(row.to_json())):
            assert all(same(float(data[name]), number) for name, number in want.items())
            assert all(map(same, map(float, data["items"]), (want["single"], float(str(np.float32(row.half))))))
        assert all(same(float(written[name]), number) for name, number in want.items())
        assert f"half={want['half']!r}, single={want['single']!r}, double={want['double']!r}, items=[" in repr(row)
        assert repr(row.to_dict()["single"]) == repr(row.single) or not math.isfinite(row.single), (
            "a dict holds the value unrounded"
        )


def test_shortest_text_of_every_float16() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    expected = [float(str(half)) for half in halves]
    assert shortest(halves.tolist(), "f2") == expected
    assert [shortest_of(half, "f2") for half in halves.tolist()] == expected


def test_shortest_text_of_float32() -> None:
    bits = np.random.default_rng(7).integers(0, 2**32, 20_000, np.uint32)
    powers = np.arange(0, 255, dtype=np.uint32) << 23
    tens = np.array([10.0**power for power in range(-44, 39)], np.float32).view(np.uint32)
    around = np.concatenate([powers, powers + 1, powers[1:] - 1, tens, tens + 1, tens - 1])
    singles = np.concatenate([bits, around]).view(np.float32)
    singles = singles[np.isfinite(singles)]
    expected = [float(str(single)) for single in singles]
    assert shortest(singles.tolist(), "f4") == expected
    assert [shortest_of(single, "f4") for single in singles.tolist()] == expected


@settings(deadline=None, max_examples=examples(200))
@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_values_not_rounded_to_float32_keep_their_digits(number: float, single: float) -> None:
    class Loose(TSModel, cid=1, mid=1, moid=1, encoding="msgpack"):
        x: Float32
        y: Float32

    if abs(number) < 3e38:
        point = Loose(cap=1, x=number, y=single)
        assert Loose.from_json(point.to_json()) == point, "messages do not round floats"
    with np.errstate(over="ignore"):
        is_single = float(np.float32(number)) == number
    assert shortest([number], "f4")[0] == shortest_of(number, "f4")
    assert shortest([number], "f4")[0] == number or is_single
    assert f"single={number!r}" in repr(Widths(cap=1, half=1, single=number, double=1, items=[], maybe=1, marked=1)) or (
        is_single
    )


class Money(TSStruct):
    amount: Scaled = field(digits=3)
    rate: Float64 = field(default=0.0)


class Priced(TSModel, cid=1, mid=1, moid=1):
    price: Scaled = field(digits=2)
    maybe: Nullable[Decimal] = field(item=Scaled, digits=2, default=None)
    rounded: Scaled[float] = field(digits=2, default=0.0)
    few: Array[Decimal] = field(item=Scaled, digits=2, default_factory=list)
    money: Nullable[Money] = field(item=Money, default=None)
    moneys: Array[Money] = field(item=Money, default_factory=list)
    packed: Packed[dict[str, Decimal]] = field(default_factory=dict)
    loose: Packed[Any] = field(default_factory=dict)


NUMBERS = st.one_of(
    st.decimals(-(10**18), 10**18, places=2).map(str),
    st.decimals(-(10**3), 10**3, places=25).map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        [
            "0.1000000000000000055",
            "90071992547409931.23",
            "1e2",
            "1.5E-1",
            "0e999999",
            "1e999999999",
            "1e-999999999",
            "-0.0",
        ]
    ),
)


@settings(deadline=None, max_examples=examples(300))
@given(NUMBERS)
def test_decimals_in_json_are_exact(text: str) -> None:
    number = Decimal(text)
    units = number.scaleb(2, Context(prec=500, Emax=10**9 + 9, Emin=-(10**9) - 9)) if number else Decimal(0)
    is_held = units.adjusted() <= 20 and units == int(units) and -(2**63) <= units < 2**63
    for name, template in {
        "price": '{"cap":1,"price":%s}',
        "maybe": '{"cap":1,"price":0,"maybe":%s}',
        "few": '{"cap":1,"price":0,"few":[0,%s]}',
    }.items():
        line = template % text
        cells = {"cap": "1", "price": "0", name: f"[0,{text}]" if name == "few" else text}
        for read in (
            lambda line=line: Priced.from_json(line),
            lambda line=line: next(iter(Priced.load_jsonl([line, line]))),
            lambda line=line: next(iter(Priced.load_jsonl([line, '{"price":1,"cap":1}']))),
            lambda cells=cells: Priced.from_row(cells),
        ):
            try:
                value = getattr(read(), name)
            except ConversionError:
                assert not is_held
            else:
                value = value[1] if name == "few" else value
                assert is_held
                assert (value, value.as_tuple().exponent) == (number, -2)


@settings(deadline=None, max_examples=examples(200))
@given(st.decimals(-(10**15), 10**15, places=3), st.floats(allow_nan=False, allow_infinity=False))
def test_other_numbers_beside_decimals_are_floats(amount: Decimal, rate: float) -> None:
    money = f'{{"amount":{amount},"rate":{rate!r}}}'
    more = f'"packed":{{"a":{amount}}},"loose":[{rate!r},{{"b":{rate!r}}}]'
    text = f'{{"cap":1,"price":0,"money":{money},"moneys":[{money}],{more}}}'
    for read in (Priced.from_json(text), *Priced.load_jsonl([text] * 2)):
        assert read.money == Money(amount=amount, rate=rate)
        assert read.moneys == [read.money]
        assert read.packed == {"a": amount}
        assert repr(read.loose) == repr([rate, {"b": rate}])
    cells = {"cap": "1", "price": "0", "money.amount": str(amount), "money.rate": repr(rate), "moneys": f"[{money}]"}
    assert Priced.from_row(cells).moneys == [Money(amount=amount, rate=rate)]


def test_number_too_large_for_float_beside_decimals_is_refused() -> None:
    for number in ("1e400", "1e99999999999999999999"):
        text = f'{{"cap":1,"price":0,"money":{{"amount":1,"rate":{number}}}}}'
        with pytest.raises(ConversionError):
            Priced.from_json(text)
        with pytest.raises(ConversionError, match="line 2"):
            list(Priced.load_jsonl([text.replace(number, "1.5"), text]))


@pytest.mark.parametrize("exponent", [999_999_999, -999_999_999])
def test_decimal_with_huge_exponent_is_refused_quickly(exponent: int) -> None:
    price = Decimal(f"1e{exponent}")
    with pytest.raises(ConversionError, match="price"):
        Priced.from_dict({"cap": 1, "price": price})
    with pytest.raises(EncodeError, match="price"):
        Priced.payload_type.to_bytes(Priced(cap=1, price=price))
