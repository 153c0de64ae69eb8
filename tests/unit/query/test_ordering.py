"""Ordering, newest versions and series: results, memory limits, refusals and explanations; quarantine, days, select."""

from __future__ import annotations

import datetime as dt
import struct
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from tsmodel import Array, Float32, Int16, Int32, Text, TSModel, connect, field, to_ns
from tsmodel.errors import DecodeError, QueryError
from tsmodel.query.sinks import Series


class Reading(TSModel):
    volts: Float32
    xs: Array[int] = field(item=Int16, length=2, default_factory=lambda: [0, 0])


class Event(TSModel, moid=8):
    code: Int32


class Meter(TSModel, moid=7):
    volts: Float32


class Note(TSModel):
    text: Text


def readings(count: int, **key: Any) -> list[Reading]:
    return [Reading(**{"cid": 1, "mid": 1, "moid": 7, "cap": n, "volts": n % 7, **key}) for n in range(count)]


def test_column_names_and_minus_signs() -> None:
    assert (
        Reading.query.order_by("cap", -Reading.volts).spec == Reading.query.order_by(Reading.cap, Reading.volts.desc()).spec
    )


def test_refused_orders() -> None:
    query = Reading.query
    with pytest.raises(QueryError, match="order_by takes columns, such as"):
        query.order_by()
    with pytest.raises(QueryError, match="order_by takes columns or their names, such as Reading.cap, not 5"):
        query.order_by(5)  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="'volt' is not a column of Reading, which has "):
        query.order_by("volt")
    with pytest.raises(QueryError, match="Event.code is not a column of Reading"):
        query.order_by(Event.code)
    with pytest.raises(QueryError, match=r"Reading.xs .* has no order"):
        query.order_by(Reading.xs)
    with pytest.raises(QueryError, match="max_rows_in_memory takes an int from 1, not 0"):
        query.max_rows_in_memory(0)


def test_order_with_limit_uses_bounded_memory() -> None:
    with connect("memory:", batch_size=10**6) as session:
        session.add_all(readings(200_000))
        session.flush()
        query = session.query(Reading).max_rows_in_memory(70_000)
        assert [row.cap for row in query.order_by(Reading.cap.desc()).limit(3)] == [199_999, 199_998, 199_997]
        assert query.latest().limit(0).all() == []
        with pytest.raises(
            QueryError,
            match=r"sorted in memory by cap: \d+,\d+ records are held in memory, more than the 70,000 allowed: narrow",
        ):
            query.order_by(Reading.cap).all()
        with pytest.raises(QueryError, match="newest versions: .* allow more by max_rows_in_memory"):
            query.latest().count()


def test_latest_holds_only_newest_versions() -> None:
    with connect("memory:", batch_size=10**6) as session:
        for _ in range(4):
            session.add_all(readings(60_000))
            session.flush()
        assert session.query(Reading).max_rows_in_memory(65_536).latest().count() == 60_000


def test_as_of_and_revisions() -> None:
    with connect("memory:") as session:
        session.add_all(readings(2))
        first = session.flush()
        session.correct(session.query(Reading).order_by(Reading.cap).all()[1], volts=99.0)
        second = session.flush()
        query = session.query(Reading).order_by(Reading.cap)
        assert [row.volts for row in query.latest()] == [0.0, 99.0]
        assert [row.volts for row in query.as_of(first.acq_max)] == [0.0, 1.0]
        assert [row.volts for row in query.as_of(second.acq_max)] == [0.0, 99.0]
        assert query.as_of(first.acq_min - 1).all() == []
        assert [row.volts for row in session.query(Reading).revisions()] == [0.0, 1.0, 99.0]
        # An old version must not reappear when the new one fails the condition.
        assert query.latest().where(Reading.volts < 50).count() == 1


def test_explain_describes_order_and_limit() -> None:
    with connect("memory:") as session:
        session.add_all(readings(10))
        session.flush()
        query = session.query(Reading).latest().order_by(Reading.volts.desc(), Reading.cap).limit(4)
        query.all()
        text = str(query.explain())
        assert "then: newest versions; sorted in memory by volts descending, cap" in text
        assert text.splitlines()[-2] == "  limit: the first 4 records"
        sort = session.query(Reading).order_by("cap").limit(1)
        assert "limit: the first 1 record; others are dropped while reading" in str(sort.explain())
        assert "limit: the first 4 records\n" in str(session.query(Reading).last_per_series().limit(4).explain())
        assert "read 10 records" in text
        assert "returned 4" in text
        html = session.query(Reading).where(Reading.volts > 1).cid(1, 3).explain()._repr_html_()
        assert html.startswith(
            "<table><caption>query of Reading</caption><tr><th style='text-align: left'>key ranges</th><td>2</td>"
        )
        assert "<code>1. cid 1</code>" in html
        assert "(volts &gt; 1)" in html


def test_several_models() -> None:
    with connect("memory:") as session:
        session.add_all([Event(cid=1, mid=1, cap=2, code=5), Meter(cid=1, mid=1, cap=1, volts=1.0)])
        session.add_all([Event(cid=1, mid=2, cap=0, code=6), Meter(cid=1, mid=2, cap=3, volts=2.0)])
        session.flush()
        session.correct(session.query(Event).mid(1).one(), code=7)
        session.flush()
        query = session.query(Meter | Event)
        assert sorted(row.cap for row in query.latest()) == [0, 1, 2, 3]
        assert [row.code for row in query.latest() if isinstance(row, Event) and row.mid == 1] == [7]
        assert sorted(row.cap for row in query.last_per_series()) == [0, 1, 2, 3]
        with pytest.raises(QueryError, match="order_by and revisions take a query of one model:"):
            query.order_by(Meter.cap)
        with pytest.raises(QueryError, match="order_by and revisions take a query of one model:"):
            query.revisions()
        with pytest.raises(QueryError, match="takes conditions on the key only"):
            query.last_per_series().where(Meter.volts > 1).all()


def test_streaming_operations_refuse_an_order() -> None:
    with connect("memory:") as session, connect("memory:") as other:
        with pytest.raises(QueryError, match=r"follow\(\) streams records, and cannot be combined with: newest versions"):
            session.query(Reading).latest().follow()
        with pytest.raises(QueryError, match=r"copy\(\) streams records"):
            session.copy(session.query(Reading).latest(), to=other)


def test_series() -> None:
    with connect("memory:") as session:
        assert session.query(Reading).series() == []
        session.add_all([*readings(3), *readings(2, mid=0), *readings(1, moid=9)])
        session.flush()
        assert session.query(Reading).series() == [
            Series(1, 0, 7, 2, 0, 1),
            Series(1, 1, 7, 3, 0, 2),
            Series(1, 1, 9, 1, 0, 0),
        ]
        assert session.query(Reading).where(Reading.volts >= 1).mid(0).series() == [Series(1, 0, 7, 1, 1, 1)]


def test_quarantine() -> None:
    with connect("memory:") as session:
        session.add_all([Note(cid=1, mid=1, moid=1, cap=1, text="sound"), Reading(cid=1, mid=1, moid=1, cap=2, volts=1.0)])
        session.flush()
        query = session.query(Note).on_error("quarantine")
        with pytest.raises(QueryError, match="has not run"):
            _ = query.quarantined
        assert [row.text for row in query] == ["sound"]
        (found,) = query.quarantined
        assert (found.key.cap, found.payload) == (2, struct.pack("<f2h", 1.0, 0, 0))
        assert "cap 2" in found.reason
        assert query.stats.skipped == 1
        assert [row.text for row in query.order_by(Note.text)] == ["sound"]
        with pytest.raises(QueryError, match="quarantined is for queries with"):
            _ = session.query(Note).quarantined
        with pytest.raises(DecodeError):
            session.query(Note).all()
        with pytest.raises(QueryError, match='"raise", "skip" or "quarantine"'):
            session.query(Note).on_error("ignore")  # type: ignore[arg-type]


def test_full_scans_can_be_refused() -> None:
    with connect("memory:", allow_full_scan=False) as session:
        session.add_all(readings(3))
        session.flush()
        for query in (
            session.query(Reading),
            session.query(Reading).moid(7),
            session.query(Reading).where(Reading.volts > 1),
        ):
            with pytest.raises(QueryError, match="narrow it by cid, mid, cap or acq, or connect with allow_full_scan=True"):
                query.all()
        assert session.query(Reading).cid(1).count() == 3
        assert session.query(Reading).cap_since(1).count() == 2
        assert session.query(Reading).cid(1).to_numpy()["cap"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24), (dt.date(2026, 3, 29), 23)]
)
def test_days_have_23_to_25_hours(day: Any, hours: int) -> None:
    (box,) = Reading.query.on(day, "Europe/Warsaw").key_ranges()
    assert box.max.cap - box.min.cap == hours * 3600 * 10**9
    assert box.min.cap == to_ns(dt.datetime.fromisoformat(str(day)).replace(tzinfo=ZoneInfo("Europe/Warsaw")))
    assert Reading.query.on(day, dt.timezone.utc).key_ranges() == Reading.query.on(day).key_ranges()


def test_invalid_days_are_refused() -> None:
    with pytest.raises(QueryError, match="there is no time zone 'Mars/Olympus'"):
        Reading.query.on("2026-01-01", "Mars/Olympus")
    for day in ("2026-02-30", "tomorrow", dt.datetime(2026, 1, 1), 5, dt.date(9999, 12, 31)):
        with pytest.raises(QueryError, match="on\\(\\) takes a day such as"):
            Reading.query.on(day)  # type: ignore[arg-type]


def test_select() -> None:
    with connect("memory:") as session:
        session.add_all([*readings(3), *readings(1, mid=2)])
        session.flush()
        query = session.query(Reading).where(Reading.cap >= 1).order_by(Reading.cap.desc())
        assert query.select(Reading.cap, Reading.volts).all() == [(2, 2.0), (1, 1.0)]
        assert query.stats.records_returned == 2
        assert query.limit(1).select(Reading.xs).all() == [([0, 0],)]
        assert session.query(Reading).mid(7).select(Reading.cap).first() is None
        with pytest.raises(QueryError, match=r"select takes columns, such as select\(Reading.mid"):
            query.select()
        with pytest.raises(QueryError, match="select takes columns, such as Reading.cap, not 'cap'"):
            query.select("cap")  # type: ignore[arg-type]
        with pytest.raises(QueryError, match="Event.code is not a column of Reading"):
            query.select(Event.code)
        both = session.query(Meter | Event)
        with pytest.raises(QueryError, match="select takes only key components of several models, not volts"):
            both.select(Meter.volts)


def test_last() -> None:
    (box,) = Reading.query.last("15m").key_ranges()
    assert abs(to_ns(dt.datetime.now(dt.timezone.utc)) - 15 * 60 * 10**9 - box.min.cap) < 60 * 10**9
    with pytest.raises(QueryError, match="last\\(\\) takes a duration of 0 or more"):
        Reading.query.last(-1)


@pytest.mark.parametrize("step", ["first_per_series", "last_per_series"])
def test_limit_of_series_applies_after_all_records(step: str) -> None:
    """There are enough records that some are dropped; then come records further from the edge, and nearer ones with
    other values."""
    count, sign = 200_000, 1 if step == "last_per_series" else -1
    mids = np.arange(count) % 10
    caps = sign * np.arange(count)
    volts = 100.0 - mids
    with connect("memory:") as session:
        session.add_columns(Reading, cid=1, mid=mids, moid=1, cap=caps, volts=volts)
        session.flush()
        session.add_columns(Reading, cid=1, mid=np.arange(10), moid=1, cap=0, volts=-1.0)
        session.flush()
        session.add(Reading(cid=1, mid=0, moid=1, cap=sign * count, volts=0.0))
        session.flush()
        query = getattr(session.query(Reading), step)()
        edges = {mid: (sign * (count - 10 + mid), 100.0 - mid) for mid in range(1, 10)} | {0: (sign * count, 0.0)}
        assert {row.mid: (row.cap, row.volts) for row in query.all()} == edges
        for limited in (query.limit(1), query.limit(7), query.order_by(Reading.volts).limit(7)):
            rows = limited.all()
            assert len({row.mid for row in rows}) == limited.explain().limit
            assert {row.mid: (row.cap, row.volts) for row in rows}.items() <= edges.items()
        assert query.order_by(Reading.volts.desc()).first().mid == 1
        assert [row.mid for row in query.order_by(Reading.volts.desc()).limit(3).all()] == [1, 2, 3]
        assert query.order_by(Reading.volts.desc()).limit(3).columns()["mid"].tolist() == [1, 2, 3]
        assert query.order_by(Reading.volts.desc()).limit(3).select(Reading.mid).all() == [(1,), (2,), (3,)]


@pytest.mark.parametrize("step", ["order_by", "latest", "last_per_series"])
def test_memory_limit_holds_from_the_first_record(step: str) -> None:
    with connect("memory:") as session:
        session.add_all(readings(1000))
        session.add_all(readings(1000, cid=2))
        session.add_columns(Reading, cid=1, mid=np.arange(1000), moid=8, cap=0, volts=0.0)
        session.flush()
        query = session.query(Reading).moid(8) if step == "last_per_series" else session.query(Reading).cid(1).moid(7)
        query = query.order_by(Reading.mid) if step == "order_by" else getattr(query, step)()
        assert query.max_rows_in_memory(1000).count() == 1000
        for most in (1, 500, 999):
            with pytest.raises(QueryError, match=rf"records are held in memory, more than the {most} allowed:"):
                query.max_rows_in_memory(most).all()
        assert len(session.query(Reading).order_by(Reading.mid).limit(3).max_rows_in_memory(10).all()) == 3
