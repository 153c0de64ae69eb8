"""Windows in a time zone, compared with a simulated wall clock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.budget import examples

from tsmodel.errors import QueryError
from tsmodel.query.grids import grid_of
from tsmodel.timestamps import EPOCH, to_iso, to_ns

ZONES = [
    "Europe/Warsaw",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Asia/Beirut",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "UTC",
]
MINUTE = 60 * 10**9
STEP = 15 * MINUTE
START = dt.datetime(2012, 1, 1, tzinfo=dt.timezone.utc)


def shown(time: int, zone: ZoneInfo) -> int:
    """Local time in ns since 2001."""
    moment = EPOCH + dt.timedelta(microseconds=time // 1000)
    return (moment.astimezone(zone).replace(tzinfo=dt.timezone.utc) - EPOCH) // dt.timedelta(microseconds=1) * 1000


def simulated(begin: int, end: int, every: int, zone: ZoneInfo) -> Iterator[int]:
    """Window starts: a window starts when the clock first shows or passes another multiple. A clock set back by a
    whole number of windows starts them again."""
    last = greatest = shown(begin, zone)
    for time in range(begin + STEP, end, STEP):
        now = shown(time, zone)
        if now < last and (last + STEP - now) % every == 0:
            greatest = now - STEP
        if now // every > greatest // every:
            yield time
        greatest, last = max(greatest, now), now


@settings(max_examples=examples(150), deadline=None)
@given(st.sampled_from(ZONES), st.integers(0, 365 * 12), st.integers(1, 300), st.data())
def test_windows_start_with_the_clock(name: str, day: int, quarters: int, data: st.DataObject) -> None:
    zone = ZoneInfo(name)
    every = data.draw(st.sampled_from([quarters * STEP, 4 * STEP, 8 * STEP, 24 * 4 * STEP, 7 * 24 * 4 * STEP]))
    begin = to_ns(START + dt.timedelta(days=day))
    end = begin + 20 * every if every > 24 * 4 * STEP else begin + 10 * 24 * 4 * STEP
    edges = list(simulated(begin, end, every, zone))
    assume(len(edges) > 1)
    grid = grid_of(every, None, name)
    first, last = edges[0], edges[-1]
    assert grid.edges(first, last).tolist() == edges
    times = np.array(data.draw(st.lists(st.integers(first, last - 1), min_size=1, max_size=50)), np.int64)
    places = np.searchsorted(edges, times, "right")
    assert grid_of(every, None, name).starts(times).tolist() == [edges[at - 1] for at in places]
    assert grid.ends(grid.starts(times)).tolist() == [edges[at] for at in places]


@settings(max_examples=examples(100), deadline=None)
@given(
    st.sampled_from(ZONES),
    st.sampled_from(["1mo", "2mo", "3mo", "1y", "5y", "1d", "1w", "7h", "90m", 7 * MINUTE]),
    st.lists(st.integers(-(2**62), 2**62) | st.integers(0, 10**18), min_size=1, max_size=20),
)
def test_times_are_inside_their_windows(name: str, every: str | int, times: list[int]) -> None:
    caps = np.array(times[: 3 if abs(times[0]) > 10**18 else None], np.int64)
    grid = grid_of(every, None, name)
    starts = grid.starts(caps)
    ends = grid.ends(starts)
    assert ((starts <= caps) & (caps < ends)).all()
    assert (grid.starts(ends - 1) == starts).all()
    assert (grid.starts(ends) == ends).all()
    assert grid.most(int(starts.min()), int(starts.max())) >= 1


@pytest.mark.parametrize("name", ["Europe/Warsaw", "America/Sao_Paulo", "UTC"])
@pytest.mark.parametrize(("every", "months"), [("1mo", 1), ("3mo", 3), ("2y", 24)])
def test_months_start_at_local_midnight(name: str, every: str, months: int) -> None:
    zone = ZoneInfo(name)
    grid = grid_of(every, None, name)
    low, high = (to_ns(f"{year}-07-15T12:00:00Z") for year in (1995, 2031))
    first, last = grid.starts(np.array([low, high], np.int64)).tolist()
    expected = []
    for month in range(-20 * 12, 40 * 12, months):
        begin = dt.datetime(2001 + month // 12, month % 12 + 1, 1, tzinfo=zone)
        expected.append(to_ns(begin.astimezone(dt.timezone.utc)))
    assert grid.edges(first, last).tolist() == [each for each in expected if first <= each <= last]


def test_days_with_clock_changes() -> None:
    grid = grid_of("1d", None, "Europe/Warsaw")
    noon = np.array([to_ns(f"2026-10-{day}T12:00:00Z") for day in (24, 25, 26)], np.int64)
    assert [to_iso(each) for each in grid.starts(noon).tolist()] == [
        "2026-10-23T22:00:00Z",
        "2026-10-24T22:00:00Z",
        "2026-10-25T23:00:00Z",
    ]


def test_origin_in_local_time() -> None:
    grid = grid_of("1d", "2020-01-01T06:00:00+01:00", "Europe/Warsaw")
    (start,) = grid.starts(np.array([to_ns("2026-07-01T12:00:00Z")], np.int64)).tolist()
    assert to_iso(start) == "2026-07-01T04:00:00Z"


@pytest.mark.parametrize("every", ["1d", "1y", 10**15])
@pytest.mark.parametrize("cap", [-(2**63), 2**63 - 2])
def test_times_at_the_limits_of_int64(every: str | int, cap: int) -> None:
    times = np.array([cap], np.int64)
    with pytest.raises(QueryError, match="int64 ns"):
        grid_of(every, None, "Europe/Warsaw").starts(times)
    if every != "1y" and cap > 0:
        assert grid_of(every, None, None).starts(times)[0] <= cap
    elif every != "1y":
        with pytest.raises(QueryError, match="before the range of int64 ns"):
            grid_of(every, None, None).starts(times)
