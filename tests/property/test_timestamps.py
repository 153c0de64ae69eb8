"""Conversions of times and durations are exact or refused."""

from __future__ import annotations

import datetime as dt
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsmodel.errors import TimestampError
from tsmodel.timestamps import (
    EPOCH,
    EPOCH_UNIX_NS,
    duration_ns,
    from_unix_ns,
    to_datetime,
    to_datetime64,
    to_iso,
    to_ns,
    to_unix_ns,
)

LEAST, GREATEST = -(2**63), 2**63 - 1
int64s = st.integers(LEAST, GREATEST)
offsets = st.timedeltas(dt.timedelta(hours=-23, minutes=-59), dt.timedelta(hours=23, minutes=59)).map(dt.timezone)
datetimes = st.datetimes(dt.datetime(1709, 1, 1), dt.datetime(2293, 1, 1), timezones=offsets)


@given(int64s)
def test_iso_text_round_trips(ns: int) -> None:
    assert to_ns(to_iso(ns)) == ns


@given(int64s, st.integers(-1439, 1439))
def test_iso_text_with_any_offset_is_the_same_time(ns: int, minutes: int) -> None:
    seconds, fraction = divmod(ns, 10**9)
    east = dt.timezone(dt.timedelta(minutes=minutes))
    wall = (EPOCH + dt.timedelta(seconds=seconds)).astimezone(east).isoformat()
    assert to_ns(f"{wall[:19]}.{fraction:09d}{wall[19:]}") == ns


@given(st.integers(LEAST, GREATEST - EPOCH_UNIX_NS))
def test_datetime64_round_trips(ns: int) -> None:
    assert to_ns(to_datetime64(ns)) == ns


@given(datetimes)
def test_datetimes_round_trip(when: dt.datetime) -> None:
    assert to_datetime(to_ns(when)) == when


@given(st.integers(-(2**63) + 999, 2**63 - 1))
def test_to_datetime_rounds_down_to_microseconds(ns: int) -> None:
    assert 0 <= ns - to_ns(to_datetime(ns)) < 1000


@given(int64s, int64s)
def test_datetimes_keep_order(a: int, b: int) -> None:
    earlier, later = sorted((a, b))
    assert to_datetime(earlier) <= to_datetime(later)


@given(int64s)
def test_unix_time_round_trips(ns: int) -> None:
    assert from_unix_ns(to_unix_ns(ns)) == ns


UNIT_SECONDS = {
    "W": Fraction(604_800),
    "D": Fraction(86_400),
    "h": Fraction(3600),
    "m": Fraction(60),
    **{unit: Fraction(1, 10 ** (3 * n)) for n, unit in enumerate(("s", "ms", "us", "ns", "ps", "fs", "as"))},
}


@given(st.integers(LEAST + 1, GREATEST), st.sampled_from(sorted(UNIT_SECONDS)), st.integers(1, 1000))
def test_numpy_times_and_durations_are_exact_or_refused(count: int, unit: str, multiple: int) -> None:
    length = count * multiple * UNIT_SECONDS[unit] * 10**9
    code = f"{multiple}{unit}"
    for exact, convert in (
        (length, lambda: duration_ns(np.timedelta64(count, code))),
        (length - EPOCH_UNIX_NS, lambda: to_ns(np.datetime64(count, code))),
    ):
        if exact.denominator == 1 and LEAST <= exact <= GREATEST:
            assert convert() == exact
        else:
            with pytest.raises(TimestampError):
                convert()


@given(st.integers(-3000, 3000), st.integers(1, 7))
def test_numpy_years_and_months_are_calendar_months(count: int, multiple: int) -> None:
    for unit in ("Y", "M"):
        value = np.datetime64(count // multiple, f"{multiple}{unit}")
        seconds = int(value.astype("datetime64[s]").astype(np.int64))
        exact = seconds * 10**9 - EPOCH_UNIX_NS
        if LEAST <= exact <= GREATEST:
            assert to_ns(value) == exact
        else:
            with pytest.raises(TimestampError, match="outside int64"):
                to_ns(value)


@given(st.timedeltas())
def test_timedeltas_are_exact_or_refused(length: dt.timedelta) -> None:
    exact = length // dt.timedelta(microseconds=1) * 1000
    if LEAST <= exact <= GREATEST:
        assert duration_ns(length) == exact
    else:
        with pytest.raises(TimestampError, match="292 years"):
            duration_ns(length)


@given(st.dictionaries(st.sampled_from(["w", "d", "h", "m", "s", "ms", "us", "ns"]), st.integers(0, 99), min_size=1))
def test_duration_text_sums_its_parts(parts: dict[str, int]) -> None:
    units = {"w": 604_800 * 10**9, "d": 86_400 * 10**9, "h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9}
    units |= {"ms": 10**6, "us": 10**3, "ns": 1}
    text = "".join(f"{parts[unit]}{unit}" for unit in units if unit in parts)
    assert duration_ns(text) == sum(count * units[unit] for unit, count in parts.items())


@given(st.text(max_size=40))
def test_any_text_parses_or_raises_timestamp_error(text: str) -> None:
    for convert in (to_ns, duration_ns):
        try:
            result = convert(text)
        except TimestampError:
            continue
        assert LEAST <= result <= GREATEST
