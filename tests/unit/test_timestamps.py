from __future__ import annotations

import datetime as dt
import time

import numpy as np
import pytest

from tsmodel.errors import TimestampError
from tsmodel.timestamps import (
    EPOCH_UNIX_NS,
    duration_ns,
    from_unix_ns,
    now_ns,
    to_datetime,
    to_datetime64,
    to_iso,
    to_ns,
    to_unix_ns,
)

LEAST, GREATEST = -(2**63), 2**63 - 1
UTC = dt.timezone.utc


def test_now_is_between_two_readings_of_the_clock() -> None:
    before = time.time_ns()
    now = now_ns()
    assert before <= to_unix_ns(now) <= time.time_ns()


@pytest.mark.parametrize(
    ("value", "ns"),
    [
        (0, 0),
        (LEAST, LEAST),
        (GREATEST, GREATEST),
        (np.int64(-5), -5),
        (np.uint8(5), 5),
        ("2001-01-01T00:00:00Z", 0),
        ("2001-01-01 00:00Z", 0),
        ("2001-01-01T01:00+01:00", 0),
        ("2001-01-01T01:00+01", 0),
        ("2000-12-31T18:30:00-0530", 0),
        ("2001-01-01T00:00:00.000000001Z", 1),
        ("2001-01-01T00:00:00,5Z", 500_000_000),
        ("2000-12-31T23:59:59.999999999Z", -1),
        ("1970-01-01T00:00:00Z", -EPOCH_UNIX_NS),
        ("2016-08-09T12:34:00Z", 492_438_840_000_000_000),
        ("1708-09-22T00:12:43.145224192Z", LEAST),
        ("2293-04-11T23:47:16.854775807Z", GREATEST),
        (dt.datetime(2001, 1, 1, tzinfo=UTC), 0),
        (dt.datetime(2001, 1, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))), 0),
        (dt.datetime(2000, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1000),
        (np.datetime64("2001-01-01"), 0),
        (np.datetime64("2001", "Y"), 0),
        (np.datetime64("1999-11", "M"), -(31 + 366) * 86_400 * 10**9 - 30 * 86_400 * 10**9),
        (np.datetime64("2001-01-04", "W"), 3 * 86_400 * 10**9),
        (np.datetime64(10**7 + 3, "25s"), (25 * (10**7 + 3) * 10**9) - EPOCH_UNIX_NS),
        (np.datetime64("2001-01-01T00:00:00.000000001"), 1),
        (np.datetime64(-7000, "ps"), -7 - EPOCH_UNIX_NS),
        (np.datetime64(3 * 10**6, "fs"), 3 - EPOCH_UNIX_NS),
        (np.datetime64(10**9, "as"), 1 - EPOCH_UNIX_NS),
    ],
)
def test_to_ns_is_exact(value: int | str | dt.datetime | np.datetime64, ns: int) -> None:
    result = to_ns(value)
    assert result == ns
    assert type(result) is int


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "not True"),
        (1.0, "not 1.0"),
        (None, "not None"),
        (b"2001-01-01T00:00:00Z", "bytes"),
        (np.bool_(True), "bool"),
        (np.timedelta64(1, "s"), "timedelta64"),
        (dt.timedelta(1), "timedelta"),
        (dt.date(2001, 1, 1), "give a date a time of day"),
        (dt.datetime(2001, 1, 1), r"naive.*replace\(tzinfo=datetime.timezone.utc\).*astimezone"),
        ("", "is not ISO 8601"),
        ("yesterday", "is not ISO 8601"),
        ("20010101T000000Z", "is not ISO 8601"),
        ("2001-1-1T00:00Z", "is not ISO 8601"),
        ("2001-01-01T00:00:00ZZ", "is not ISO 8601"),
        (" 2001-01-01T00:00:00Z", "is not ISO 8601"),
        ("2001-01-01T00:00:00Z\n", "is not ISO 8601"),
        ("2001-01-01T00:00.5Z", "is not ISO 8601"),
        ("٢٠٠١-01-01T00:00:00Z", "is not ISO 8601"),
        ("2001-01-01", '"2001-01-01T00:00:00Z"'),
        ("2001-01-01Z", "is a date"),
        ("2001-01-01T00:00:00", r'end it with Z for UTC, or with an offset such as "\+01:00"'),
        ("2016-12-31T23:59:60Z", "leap second"),
        ("2001-01-01T00:00:00.1234567890Z", "10 fractional digits; at most 9"),
        ("2001-02-29T00:00:00Z", "is not a time: day"),
        ("2001-01-01T24:00:00Z", "is not a time: hour"),
        ("2001-01-01T00:00:61Z", "is not a time: second"),
        ("0000-01-01T00:00:00Z", "is not a time: year"),
        ("2001-01-01T00:00:00+24:00", "offset of more than 23:59"),
        ("2001-01-01T00:00:00+01:60", "offset of more than 23:59"),
        (GREATEST + 1, "outside int64 nanoseconds since 2001, which span 1708-09-22T.* to 2293-04-11T"),
        (LEAST - 1, "outside int64"),
        ("2293-04-11T23:47:16.854775808Z", "outside int64"),
        ("1708-09-22T00:12:43.145224191Z", "outside int64"),
        ("9999-12-31T23:59:59-23:59", "outside int64"),
        ("0001-01-01T00:00:00+23:59", "outside int64"),
        (dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-23))), "outside int64"),
        (dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=23))), "outside int64"),
        (np.datetime64("NaT", "ns"), "NaT"),
        (np.datetime64(1, "ps"), "not a whole number of nanoseconds"),
        (np.datetime64("2294", "Y"), "outside int64"),
        (np.datetime64(2**62, "Y"), "outside int64"),
        (np.datetime64(-(2**62), "M"), "outside int64"),
        (np.datetime64(2**62, "s"), "outside int64"),
    ],
)
def test_to_ns_refuses(value: object, message: str) -> None:
    with pytest.raises(TimestampError, match=message):
        to_ns(value)  # type: ignore[arg-type]


def test_time_zone_without_an_offset_is_naive() -> None:
    class Nowhere(dt.tzinfo):
        def utcoffset(self, when: dt.datetime | None) -> None:
            return None

    with pytest.raises(TimestampError, match="naive"):
        to_ns(dt.datetime(2001, 1, 1, tzinfo=Nowhere()))


def test_repeated_wall_time_is_an_hour_later() -> None:
    class Autumn(dt.tzinfo):
        def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
            return dt.timedelta(hours=1 if when is not None and when.fold else 2)

        def dst(self, when: dt.datetime | None) -> dt.timedelta:
            return dt.timedelta(0)

    wall = dt.datetime(2025, 10, 26, 2, 30, tzinfo=Autumn())
    assert to_ns(wall.replace(fold=1)) - to_ns(wall) == 3600 * 10**9


def test_pandas_timestamps_and_timedeltas_keep_their_nanoseconds() -> None:
    pandas = pytest.importorskip("pandas")
    assert to_ns(pandas.Timestamp("2001-01-01T00:00:00.123456789Z")) == 123_456_789
    assert to_ns(pandas.Timestamp("2000-12-31T23:59:59.999999999Z")) == -1
    assert duration_ns(pandas.Timedelta(-1, "ns")) == -1


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "2001-01-01T00:00:00Z"),
        (500_000_000, "2001-01-01T00:00:00.500Z"),
        (-1, "2000-12-31T23:59:59.999999999Z"),
        (1000, "2001-01-01T00:00:00.000001Z"),
        (120, "2001-01-01T00:00:00.000000120Z"),
        (LEAST, "1708-09-22T00:12:43.145224192Z"),
        (GREATEST, "2293-04-11T23:47:16.854775807Z"),
    ],
)
def test_to_iso(ns: int, text: str) -> None:
    assert to_iso(ns) == text


def test_to_datetime_rounds_down_on_both_sides_of_the_epoch() -> None:
    assert to_datetime(1999) == dt.datetime(2001, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
    assert to_datetime(-1) == dt.datetime(2000, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def test_to_datetime_uses_the_requested_time_zone() -> None:
    east = dt.timezone(dt.timedelta(hours=2))
    assert to_datetime(0).tzinfo is UTC
    assert to_datetime(0, east).isoformat() == "2001-01-01T02:00:00+02:00"


def test_to_datetime64() -> None:
    assert to_datetime64(1) == np.datetime64("2001-01-01T00:00:00.000000001")
    assert to_datetime64(LEAST) == np.datetime64("1708-09-22T00:12:43.145224192")
    last = GREATEST - EPOCH_UNIX_NS
    assert to_datetime64(last) == np.datetime64("2262-04-11T23:47:16.854775807")
    with pytest.raises(TimestampError, match=r"2262-04-11T23:47:16.854775808Z is after 2262-04-11.*use to_iso"):
        to_datetime64(last + 1)


@pytest.mark.parametrize("convert", [to_datetime, to_iso, to_datetime64])
@pytest.mark.parametrize("ns", [LEAST - 1, GREATEST + 1])
def test_non_int64_values_are_refused(convert: object, ns: int) -> None:
    assert callable(convert)
    with pytest.raises(TimestampError, match=f"^{ns} is outside int64"):
        convert(ns)


def test_unix_time_differs_by_978307200_seconds() -> None:
    assert to_unix_ns(0) == 978_307_200_000_000_000
    assert from_unix_ns(0) == -978_307_200_000_000_000
    assert to_unix_ns(GREATEST) == GREATEST + EPOCH_UNIX_NS
    assert from_unix_ns(GREATEST + EPOCH_UNIX_NS) == GREATEST
    with pytest.raises(TimestampError, match="ns since 1970 is outside int64"):
        from_unix_ns(LEAST)


@pytest.mark.parametrize(
    ("value", "ns"),
    [
        (7, 7),
        (-7, -7),
        (np.int32(7), 7),
        ("0s", 0),
        ("1ns", 1),
        ("2us", 2000),
        ("250ms", 250_000_000),
        ("1s", 10**9),
        ("15m", 900 * 10**9),
        ("2h30m", 9000 * 10**9),
        ("1m1ms", 60_001_000_000),
        ("1w2d3h4m5s6ms7us8ns", ((9 * 86_400) + 3 * 3600 + 245) * 10**9 + 6_007_008),
        (dt.timedelta(days=-1, microseconds=1), -86_400 * 10**9 + 1000),
        (np.timedelta64(3, "h"), 3 * 3600 * 10**9),
        (np.timedelta64(2, "W"), 14 * 86_400 * 10**9),
        (np.timedelta64(1, "15m"), 900 * 10**9),
        (np.timedelta64(-5000, "ps"), -5),
    ],
)
def test_duration_ns_is_exact(value: int | str | dt.timedelta | np.timedelta64, ns: int) -> None:
    result = duration_ns(value)
    assert result == ns
    assert type(result) is int


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "not True"),
        (1.5, "not 1.5"),
        (dt.datetime(2001, 1, 1, tzinfo=UTC), "datetime"),
        ("", "is not a duration"),
        ("15", "is not a duration"),
        ("m", "is not a duration"),
        ("1.5s", "whole numbers with units w d h m s ms us ns"),
        ("30m2h", "greatest unit first"),
        ("1h1h", "is not a duration"),
        ("-1h", "is not a duration"),
        ("1h ", "is not a duration"),
        ("1H", "is not a duration"),
        ("300000w", "longer than int64"),
        (2**63, "longer than int64"),
        (dt.timedelta.max, "longer than int64"),
        (np.timedelta64("NaT", "ns"), "NaT"),
        (np.timedelta64(1, "M"), "a unit whose length varies"),
        (np.timedelta64(1, "Y"), "a unit whose length varies"),
        (np.timedelta64(1, "fs"), "not a whole number of nanoseconds"),
        (np.timedelta64(2**62, "D"), "longer than int64"),
    ],
)
def test_duration_ns_refuses(value: object, message: str) -> None:
    with pytest.raises(TimestampError, match=message):
        duration_ns(value)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_timedelta64_without_a_unit() -> None:
    with pytest.raises(TimestampError, match="has no unit"):
        duration_ns(np.timedelta64(1))
