"""Columns and the conditions made from them: what may be compared, and what conditions refuse."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from tsmodel import Bool, Column, Expression, Float32, Int16, Timestamp, TSModel, UInt64
from tsmodel.errors import QueryError


class Reading(TSModel):
    counter: Int16
    total: UInt64
    volts: Float32
    valid: Bool
    until: Timestamp


MILLENNIUM = dt.datetime(2001, 1, 1, tzinfo=dt.timezone.utc)


@pytest.mark.parametrize("name", ["cid", "mid", "moid", "cap", "acq", "counter", "total", "volts", "valid", "until"])
def test_a_field_seen_from_its_class_is_a_column(name: str) -> None:
    column = getattr(Reading, name)
    assert isinstance(column, Column)
    assert column.name == name
    assert repr(column).startswith(f"<Column Reading.{name}: ")
    assert hash(column) is not None


def test_what_is_not_a_column() -> None:
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
def test_conditions_read_as_they_were_written(expression: Expression, text: str) -> None:
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
def test_values_of_another_kind(column: Column[object], value: object) -> None:
    for compare in (lambda: column == value, lambda: column < value, lambda: column.is_in([value])):
        with pytest.raises(QueryError, match=rf"Reading\.{column.name} \(\w+\) cannot be compared with"):
            compare()


def test_a_naive_datetime_is_refused_with_a_hint() -> None:
    with pytest.raises(QueryError, match=r"Reading.cap: .* is naive.*replace\(tzinfo=") as caught:
        _ = Reading.cap > dt.datetime(2020, 1, 1)
    assert caught.value.__cause__ is not None


def test_a_condition_has_no_truth_value() -> None:
    with pytest.raises(QueryError, match=r"\(volts > 1\) is a condition, not a truth value: combine .* with & \| ~"):
        bool(Reading.volts > 1)
    with pytest.raises(QueryError, match="between"):
        _ = 1 < Reading.volts < 5
    with pytest.raises(QueryError):
        _ = Reading.volts > 1 and Reading.volts < 5
    with pytest.raises(QueryError):
        _ = not (Reading.volts > 1)


def test_only_conditions_are_combined() -> None:
    with pytest.raises(QueryError, match="mind the parentheses"):
        _ = (Reading.volts > 1) & True  # type: ignore[operator]
    with pytest.raises(QueryError, match="mind the parentheses"):
        _ = (Reading.volts > 1) | 5  # type: ignore[operator]


def test_a_reflected_comparison() -> None:
    assert str(5 < Reading.mid) == "mid > 5"  # noqa: SIM300
    assert str(5 == Reading.mid) == "mid == 5"  # noqa: SIM300
