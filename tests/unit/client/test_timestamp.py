"""The official client's time functions, exact before and after 1970 and 2001."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsmodel.client import timestamp
from tsmodel.client.timestamp import Tstoragedatetime
from tsmodel.timestamps import to_ns

DAY = 86_400 * 10**9


def test_epochs_are_2001_and_1970() -> None:
    assert timestamp.to_unix(0) == 978_307_200
    assert timestamp.to_unix_ns(1) == 978_307_200_000_000_001
    assert timestamp.from_unix(978_307_200.5) == 0.5
    assert timestamp.from_unix_ns(978_307_199_999_999_999) == -1


def test_now_is_between_two_clock_readings() -> None:
    before = dt.datetime.now(dt.timezone.utc)
    now = Tstoragedatetime.from_tstorage_ns(timestamp.now_ns())
    assert before <= now.datetime <= dt.datetime.now(dt.timezone.utc)


def test_naive_datetime_is_local_time() -> None:
    local = dt.datetime.fromisoformat("2016-08-09 12:34:00")
    assert Tstoragedatetime(datetime=local, nanoseconds=0).to_tstorage_ns() == to_ns(local.astimezone())


def test_aware_datetime_keeps_its_offset() -> None:
    east = dt.datetime(2001, 1, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    assert Tstoragedatetime(east).to_tstorage_ns() == 0


@pytest.mark.parametrize("ns", [-1, -999_999_999, -500_000_000, -1_500_000_001, 0, 1, 1_999_999_999])
def test_fractions_around_1970(ns: int) -> None:
    time = Tstoragedatetime.from_unix_ns(ns)
    assert time.to_unix_ns() == ns
    assert time.nanoseconds == ns % 1000
    assert time.datetime.microsecond == ns % 10**9 // 1000


@given(st.integers(-(2**63), 2**63 - 1))
def test_nanoseconds_are_unchanged(ns: int) -> None:
    assert Tstoragedatetime.from_tstorage_ns(ns).to_tstorage_ns() == ns


@given(st.integers(-(10**9), 10**9), st.integers(0, 2**20 - 1))
def test_float_seconds_are_exact_where_possible(whole: int, fraction: int) -> None:
    seconds = whole + fraction / 2**20
    assert Tstoragedatetime.from_unix(seconds).to_unix() == pytest.approx(seconds, abs=1e-9)
    assert Tstoragedatetime.from_tstorage(seconds).to_tstorage() == pytest.approx(seconds, abs=1e-9)


def test_largest_float_fraction_carries() -> None:
    assert Tstoragedatetime.from_unix(1 - 2**-53).to_unix_ns() == 10**9


def test_datetime_keeps_its_microseconds() -> None:
    half = dt.datetime(2001, 1, 1, 0, 0, 0, 500_000, tzinfo=dt.timezone.utc)
    assert Tstoragedatetime(datetime=half, nanoseconds=0).to_tstorage_ns() == 500_000_000
    assert Tstoragedatetime(half, 999).to_tstorage_ns() == 500_000_999
    assert Tstoragedatetime(half, 999).datetime == half
    assert Tstoragedatetime(half.astimezone().replace(tzinfo=None), 1).to_tstorage() == 0.500000001


def test_time_is_mutable_and_ordered() -> None:
    early, late = (Tstoragedatetime.from_tstorage_ns(ns) for ns in (1_999, 2_000))
    assert early < late
    late.nanoseconds = 7
    late.datetime -= dt.timedelta(microseconds=1)
    assert late < early
    assert late.to_tstorage_ns() == 1_007
    assert dataclasses.replace(late, nanoseconds=8) == Tstoragedatetime.from_tstorage_ns(1_008)


@pytest.mark.parametrize(
    ("make", "unit"), [("unix", 1.5), ("unix_ns", 1_500_000_000), ("tstorage", 1.5), ("tstorage_ns", 1_500_000_000)]
)
def test_times_in_another_zone(make: str, unit: float) -> None:
    zone = dt.timezone(dt.timedelta(hours=5, minutes=30))
    there = getattr(Tstoragedatetime, f"from_{make}")(unit, tzinfo=zone)
    here = getattr(Tstoragedatetime, f"from_{make}")(unit)
    assert there == here
    assert (there.datetime.tzinfo, here.datetime.tzinfo) == (zone, dt.timezone.utc)
    assert (there.datetime.hour, here.datetime.hour, there.datetime.microsecond) == (5, 0, 500_000)
    assert getattr(there, f"to_{make}")() == unit


def test_times_without_a_zone_are_local() -> None:
    naive = Tstoragedatetime.from_tstorage_ns(123_456_789_012, tzinfo=None)
    assert naive.datetime.tzinfo is None
    assert naive.to_tstorage_ns() == 123_456_789_012


def test_microsecond_as_a_float() -> None:
    time = Tstoragedatetime.from_unix(0.000001)
    assert (time.datetime.microsecond, time.nanoseconds) == (1, 0)


def test_now_in_seconds() -> None:
    before = timestamp.now_ns()
    now = timestamp.now()
    assert isinstance(now, float)
    assert before / 1e9 - 1e-3 <= now <= timestamp.now_ns() / 1e9 + 1e-3


def test_time_out_of_datetime_range() -> None:
    with pytest.raises(OverflowError):
        Tstoragedatetime.from_unix_ns(DAY * 10**7)
