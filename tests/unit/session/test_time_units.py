"""Warnings about capture times that look like Unix times."""

from __future__ import annotations

import time
import warnings

import pytest

from tsmodel import Int32, TSModel, connect, now_ns, to_iso
from tsmodel.errors import TimeUnitWarning
from tsmodel.timestamps import from_unix_ns


class Reading(TSModel):
    counter: Int32


NOW = 1_796_078_539_114_209_317
"""Unix time in ns."""


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOW)


def reading(cap: int) -> Reading:
    return Reading(cid=1, mid=1, moid=1, cap=cap, counter=1)


@pytest.mark.parametrize(
    ("unit", "ns"), [("seconds", 10**9), ("milliseconds", 10**6), ("microseconds", 10**3), ("nanoseconds", 1)]
)
def test_unix_time_is_stored_with_a_warning(unit: str, ns: int) -> None:
    cap = NOW // ns
    right = from_unix_ns(cap * ns)
    with connect("memory:") as session:
        session.add(reading(cap))
        with pytest.warns(TimeUnitWarning, match=f"would be {to_iso(right)} in {unit} since 1970") as warned:
            session.flush()
        remedy = str(warned[0].message).partition("tsmodel.timestamps.")[2].partition(" converts")[0]
        assert eval(remedy, {"from_unix_ns": from_unix_ns, "cap": cap}) == right
        assert [each.cap for each in session.query(Reading).all()] == [cap]
        session.add(reading(cap + 1))  # warns once per session
        session.flush()


def test_columns_of_unix_times_warn() -> None:
    with connect("memory:") as session, pytest.warns(TimeUnitWarning, match="Reading: cap=1796078539 is 2001-01-01T"):
        session.add_columns(Reading, cid=1, mid=1, moid=1, cap=[NOW // 10**9], counter=[1])
        session.flush()


def test_warning_raised_as_an_error_leaves_records_pending() -> None:
    with connect("memory:") as session:
        session.add(reading(NOW // 10**9))
        with warnings.catch_warnings():
            warnings.simplefilter("error", TimeUnitWarning)
            with pytest.raises(TimeUnitWarning):
                session.flush()
        assert session.query(Reading).count() == 0
        assert session.flush().count == 1


@pytest.mark.parametrize("cap", [0, 5, 2 * 10**9, 1_796 * 10**9, 10**18, -(10**18), 2**63 - 2, from_unix_ns(NOW)])
def test_other_times_do_not_warn(cap: int) -> None:
    with connect("memory:") as session:
        session.add(reading(cap))
        assert session.flush().count == 1
    assert now_ns() == from_unix_ns(NOW)
