"""Ranges in command arguments."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from tsmodel import now_ns, to_ns
from tsmodel.cli.failures import UsageError
from tsmodel.cli.ranges import ids, span

UTC = dt.timezone.utc
VIENNA = ZoneInfo("Europe/Vienna")


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2026-11-01..2026-11-02", "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"),
        ("2026-11-01", "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"),
        ("2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("2026-11-01T08:00..", "2026-11-01T08:00:00Z", None),
        ("2026-11-01 08:00:00.5..", "2026-11-01T08:00:00.5Z", None),
        ("2026-11-01T08..", "2026-11-01T08:00:00Z", None),
        ("..2026-11-01T08:00:00+02:00", None, "2026-11-01T06:00:00Z"),
        ("0..10000", "2001-01-01T00:00:00Z", "2001-01-01T00:00:00.00001Z"),
        ("2026", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("2026..2026-03", "2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"),
    ],
)
def test_spans(text: str, start: str | None, end: str | None) -> None:
    assert span(text, UTC) == tuple(None if each is None else to_ns(each) for each in (start, end))


def test_days_follow_the_time_zone() -> None:
    assert span("2026-10-25", VIENNA) == (to_ns("2026-10-24T22:00:00Z"), to_ns("2026-10-25T23:00:00Z"))
    assert span("2026-07-01T12:00..", VIENNA) == (to_ns("2026-07-01T10:00:00Z"), None)


def test_relative_spans() -> None:
    before = now_ns()
    start, end = span("-1h30m", UTC)
    assert end is None
    assert start is not None
    assert before - 5_400 * 10**9 <= start <= now_ns() - 5_400 * 10**9
    start, end = span("-2h..-1h", UTC)
    assert start is not None
    assert end is not None
    assert 0 <= end - start - 3600 * 10**9 < 10**9
    assert span("yesterday..today", UTC)[1] == span("today", UTC)[0]


@pytest.mark.parametrize(
    ("text", "wording"),
    [
        ("..", "has no end"),
        ("2026-11-02..2026-11-01", "is empty"),
        ("2026-11-01..2026-11-01", "is empty"),
        ("2026-13-01", "is not a time"),
        ("2026-13", "is not a time"),
        ("2026-11-01T25:00..", "is not a time"),
        ("2026-11-01T08:00", "is a point in time"),
        ("now", "is a point in time"),
        ("tomorrow..", "is not a time"),
        ("-15", "is a point in time"),
        ("-15 minutes", "is not a time"),
        ("2026-11-01T08:00:00+25:00..", "offset"),
        ("99999999999999999999..", "is not a time"),
        ("0000-01-01", "is not a time"),
        ("9999-12-31", "is not a time"),
    ],
)
def test_invalid_spans(text: str, wording: str) -> None:
    with pytest.raises(UsageError, match=wording):
        span(text, UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-3", "2026-03"),
        ("2026-3-1..2026-04", "2026-03-01"),
        ("2026/03/01", "2026-03-01"),
        ("2026.3.1", "2026-03-01"),
        ("2026-3-1 8:05..", "2026-03-01T08:05"),
        ("2026-03-01T8:05:30+01:00..", "2026-03-01T08:05:30+01:00"),
    ],
)
def test_error_suggests_a_valid_form(text: str, meant: str) -> None:
    with pytest.raises(UsageError, match="is not a time") as raised:
        span(text, UTC)
    assert str(raised.value).endswith(f"did you mean {meant}?")
    assert span(f"{meant}..", UTC)


@pytest.mark.parametrize("text", ["2026-10-25T02:30..", "2026-03-29T02:30.."])
def test_ambiguous_and_missing_local_times(text: str) -> None:
    with pytest.raises(UsageError, match="twice or never"):
        span(text, VIENNA)


def test_ids() -> None:
    assert ids("4711", "mid") == ([4711], [])
    assert ids("1,2, 5..7 ,-3", "mid") == ([1, 2, -3], [(5, 7)])
    assert ids("5..", "cid") == ([], [(5, 2**31 - 1)])
    assert ids("..5", "cid") == ([], [(0, 5)])


@pytest.mark.parametrize("text", ["", "x", "1,,2", "1.5", "..", "5..5", "9..1", "-1", "4294967296", "0x1f", "٣"])
def test_invalid_ids(text: str) -> None:
    with pytest.raises(UsageError, match="cid"):
        ids(text, "cid")
