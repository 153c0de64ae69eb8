"""Columns and their conditions: which comparisons are allowed and which are refused."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tsmodel import Bool, Column, Expression, Float32, Int16, Timestamp, TSModel, UInt64, connect, to_ns
from tsmodel.errors import QueryError, TimestampError


class Reading(TSModel):
    counter: Int16
    total: UInt64
    volts: Float32
    valid: Bool
    until: Timestamp


MILLENNIUM = dt.datetime(2001, 1, 1, tzinfo=dt.timezone.utc)


@pytest.mark.parametrize("name", ["cid", "mid", "moid", "cap", "acq", "counter", "total", "volts", "valid", "until"])
def test_class_attribute_is_a_column(name: str) -> None:
    column = getattr(Reading, name)
    assert isinstance(column, Column)
    assert column.name == name
    assert repr(column).startswith(f"<Column Reading.{name}: ")
    assert hash(column) is not None


def test_unknown_attribute_lists_the_fields() -> None:
    with pytest.raises(AttributeError, match=r"Reading has no field or attribute 'wolts'; its fields are cid, .*until"):
        _ = Reading.wolts  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (Reading.volts > 240, "volts > 240"),
        (Reading.volts >= np.float32(0.5), "volts >= 0.5"),
        (Reading.counter < 1.5, "counter < 1.5"),
        (Reading.counter <= np.int64(3), "counter <= 3"),
        (Reading.mid == 7, "mid == 7"),
        (Reading.mid != 7, "mid != 7"),
        (Reading.valid == True, "valid == 1"),  # noqa: E712
        (Reading.mid.between(1, 9), "1 <= mid < 9"),
        (Reading.mid.is_in([1, 4]), "mid in {1, 4}"),
        (Reading.mid.is_in(range(100)), "mid in {0, 1, 2, 3, 4, … 100 values}"),
        (Reading.cap >= MILLENNIUM, "cap >= 0"),
        (Reading.cap < "2001-01-01T00:00:01Z", "cap < 1000000000"),
        (Reading.until > np.datetime64("2001-01-01T00:00:00.000000005"), "until > 5"),
        (Reading.until == 5, "until == 5"),
        ((Reading.mid > 1) & (Reading.mid < 5), "(mid > 1) & (mid < 5)"),
        ((Reading.mid > 1) | ~(Reading.mid < 5), "(mid > 1) | (~(mid < 5))"),
    ],
)
def test_conditions_print_as_source(expression: Expression, text: str) -> None:
    assert isinstance(expression, Expression)
    assert str(expression) == text


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (Reading.volts, "high"),
        (Reading.volts, None),
        (Reading.volts, True),
        (Reading.counter, "1"),
        (Reading.counter, float("nan")),
        (Reading.counter, 1j),
        (Reading.valid, 1),
        (Reading.valid, "yes"),
        (Reading.cap, 1.5),
        (Reading.cap, dt.date(2020, 1, 1)),
    ],
)
def test_comparing_with_wrong_type_is_refused(column: Column[object], value: object) -> None:
    for compare in (lambda: column == value, lambda: column < value, lambda: column.is_in([value])):
        with pytest.raises(QueryError, match=rf"Reading\.{column.name} \(\w+\) cannot be compared with"):
            compare()


def test_naive_datetime_is_refused_with_hint() -> None:
    with pytest.raises(QueryError, match=r"Reading.cap: .* is naive.*replace\(tzinfo=") as caught:
        _ = Reading.cap > dt.datetime(2020, 1, 1)
    assert caught.value.__cause__ is not None


def test_condition_has_no_truth_value() -> None:
    with pytest.raises(QueryError, match=r"\(volts > 1\) is a condition, not a truth value: combine .* with & \| ~"):
        bool(Reading.volts > 1)
    with pytest.raises(QueryError, match="between"):
        _ = 1 < Reading.volts < 5
    with pytest.raises(QueryError):
        _ = Reading.volts > 1 and Reading.volts < 5
    with pytest.raises(QueryError):
        _ = not (Reading.volts > 1)


def test_combining_with_non_condition_is_refused() -> None:
    with pytest.raises(QueryError, match="mind the parentheses"):
        _ = (Reading.volts > 1) & True  # type: ignore[operator]
    with pytest.raises(QueryError, match="mind the parentheses"):
        _ = (Reading.volts > 1) | 5  # type: ignore[operator]


def test_reflected_comparison() -> None:
    assert str(5 < Reading.mid) == "mid > 5"  # noqa: SIM300
    assert str(5 == Reading.mid) == "mid == 5"  # noqa: SIM300


def test_column_has_no_truth_value() -> None:
    """Otherwise `Reading.valid and Reading.volts > 1` silently drops its first half."""
    with pytest.raises(QueryError, match="Reading.valid"):
        bool(Reading.valid)
    with pytest.raises(QueryError):
        _ = Reading.valid and Reading.volts > 1


@pytest.mark.parametrize(
    "value",
    [
        5,
        np.int64(5),
        MILLENNIUM + dt.timedelta(hours=1),
        MILLENNIUM.astimezone(dt.timezone(dt.timedelta(hours=5, minutes=30))),
        "2001-01-01T00:00:00.000000005Z",
        "2001-01-01T05:30+05:30",
        np.datetime64("2020-01-01"),
        np.datetime64("2020-01-01T00:00:00"),
        np.datetime64("2020-01-01T00:00:00.000000005"),
    ],
    ids=repr,
)
def test_times_compare_on_either_side(value: Any) -> None:
    assert str(Reading.cap == value) == f"cap == {to_ns(value)}"
    assert str(Reading.cap > value) == f"cap > {to_ns(value)}"
    assert str(value < Reading.cap) == f"cap > {to_ns(value)}"
    assert str(value == Reading.cap) == f"cap == {to_ns(value)}"
    assert str(Reading.until.between(value, value)) == f"{to_ns(value)} <= until < {to_ns(value)}"
    assert str(Reading.acq.is_in([value])) == f"acq in {{{to_ns(value)}}}"


@pytest.mark.parametrize("value", [np.int8(5), np.uint64(5), np.float64(5), np.float32(5)], ids=repr)
def test_numpy_number_on_the_left(value: Any) -> None:
    assert str(value < Reading.volts) == str(Reading.volts > value)
    assert str(value >= Reading.mid) == str(Reading.mid <= value)
    assert str(value != Reading.mid) == str(Reading.mid != value)


@pytest.mark.parametrize(
    "value", ["2400-01-01T00:00:00Z", dt.datetime.max.replace(tzinfo=dt.timezone.utc), "yesterday", ""]
)
def test_invalid_time_is_refused(value: object) -> None:
    with pytest.raises(QueryError, match=r"^Reading\.cap: ") as caught:
        _ = Reading.cap == value
    assert isinstance(caught.value.__cause__, TimestampError)


def test_numbers_outside_column_range_are_allowed() -> None:
    assert str(Reading.counter < 10**6) == "counter < 1000000"
    assert str(Reading.total >= -1) == "total >= -1"
    assert str(Reading.mid < float("inf")) == "mid < inf"
    assert str(Reading.volts < Fraction(1, 2)) == "volts < 0.5"


@pytest.mark.parametrize(
    "value",
    [np.array([1, 2]), [1], (1, 2), {1}, b"1", Reading.counter, Reading],
    ids=lambda each: repr(each)[:9],
)
@pytest.mark.parametrize("column", [Reading.counter, Reading.volts, Reading.valid, Reading.cap], ids=lambda each: each.name)
def test_values_no_column_can_compare_with(column: Column[Any], value: object) -> None:
    for compare in (lambda: column == value, lambda: column != value, lambda: column.between(value, 1)):
        with pytest.raises(QueryError, match=rf"Reading\.{column.name} \(\w+\) cannot be compared with"):
            compare()


def test_array_on_the_left_is_refused() -> None:
    with pytest.raises(QueryError, match="cannot be compared with array"):
        _ = np.array([1, 2]) < Reading.mid


@pytest.mark.parametrize("value", [Fraction(10**400), -Fraction(10**400)], ids=["great", "small"])
@pytest.mark.parametrize("column", [Reading.volts, Reading.mid], ids=lambda each: each.name)
def test_fraction_beyond_float64(column: Column[Any], value: Fraction) -> None:
    with contextlib.suppress(QueryError):  # both outcomes are fine; an OverflowError is not
        assert str(column > value).startswith(f"{column.name} > ")


def test_int_beyond_float64_compares_exactly() -> None:
    row = Reading(cid=1, mid=2, moid=3, cap=4, counter=5, total=6, volts=7.5, valid=True, until=8)
    with connect("memory:") as session:
        session.add(row)
        session.flush()
        for great in (10**400, 10**6):
            assert Reading.query.where(Reading.volts < great).count() == 1
            assert Reading.query.where(Reading.volts > great).count() == 0
            assert Reading.query.where(Reading.counter < great).count() == 1
            assert Reading.query.where(Reading.volts.is_in([great])).count() == 0


def test_is_in_accepts_any_iterable() -> None:
    for values in ([1, 4], (1, 4), iter([1, 4]), np.array([1, 4]), {1: "a", 4: "b"}):
        assert str(Reading.mid.is_in(values)) == "mid in {1, 4}"
    assert str(Reading.mid.is_in([])) == "mid in {}"
    assert str(Reading.mid.is_in(range(5))) == "mid in {0, 1, 2, 3, 4}"
    assert str(Reading.mid.is_in(range(6))) == "mid in {0, 1, 2, 3, 4, … 6 values}"


def test_is_in_refuses_single_values() -> None:
    with pytest.raises(QueryError, match="Reading.mid"):
        Reading.mid.is_in(5)  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="Reading.cap"):
        Reading.cap.is_in("2020-01-01T00:00:00Z")


def test_chained_comparison_suggests_between() -> None:
    for chained in (lambda: 1 <= Reading.mid <= 5, lambda: 1 < Reading.cap < 5, lambda: Reading.mid == 1 == 1):
        with pytest.raises(QueryError, match=r"use between\(\) instead of a < x < b"):
            chained()


@pytest.mark.parametrize("use", [list.__contains__, list.index, list.count], ids=lambda each: each.__name__)
def test_list_search_does_not_compare_columns(use: Any) -> None:
    assert use([Reading.mid], Reading.mid) in (True, 0, 1)
    with pytest.raises(QueryError, match="cannot be compared with <Column Reading.volts: Float32>"):
        use([Reading.mid], Reading.volts)


def test_columns_are_hashable() -> None:
    assert {Reading.mid: 1, Reading.volts: 2}[Reading.volts] == 2
    assert Reading.volts is Reading.volts


def test_conditions_are_immutable_and_copyable() -> None:
    condition = (Reading.mid > 1) & ~(Reading.volts.between(1, 2) | Reading.valid.is_in([True]))
    text = "(mid > 1) & (~((1 <= volts < 2) | (valid in {1})))"
    assert str(condition) == text
    assert str(pickle.loads(pickle.dumps(condition))) == text
    assert str(copy.deepcopy(condition)) == text
    with pytest.raises(AttributeError):
        condition.terms = ()  # type: ignore[attr-defined]


def test_combining_does_not_change_operands() -> None:
    first, second = Reading.mid > 1, Reading.volts > 2
    _ = first & second, first | second, ~first
    assert (str(first), str(second)) == ("mid > 1", "volts > 2")


def test_columns_of_abstract_model() -> None:
    class Metered(TSModel, abstract=True):
        counter: Int16

    class Heat(Metered):
        watts: Float32

    assert repr(Metered.counter) == "<Column Metered.counter: Int16>"
    assert repr(Heat.counter) == "<Column Heat.counter: Int16>"
    with pytest.raises(AttributeError, match="Metered has no field or attribute 'watts'"):
        _ = Metered.watts  # type: ignore[attr-defined]


def test_instance_attribute_is_the_value() -> None:
    row = Reading(cid=1, mid=2, moid=3, cap=4, counter=5, total=6, volts=7.5, valid=True, until=8)
    assert (row.cap, row.volts, row.valid) == (4, 7.5, True)
    assert isinstance(type(row).volts, Column)
