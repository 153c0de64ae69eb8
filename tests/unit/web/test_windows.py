"""Windows and slices compared with plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsmodel import Float64, Int64, TSModel, connect, to_ns
from tsmodel.model.meta import schema_of
from tsmodel.web import source as source_module
from tsmodel.web.refusals import Refused
from tsmodel.web.slices import Curve, Points, TooManyError, Work, slices
from tsmodel.web.source import Source
from tsmodel.web.summaries import LADDER, Windows, fitting, joined, nice, windows_of

START = to_ns("2026-11-01T00:00:00Z")


class Sample(TSModel):
    volts: Float64
    total: Int64


INFO = {name: schema_of(Sample).columns[name].info for name in ("volts", "total")}


def points_of(rows: list[tuple[int, float]]) -> Points:
    rows = sorted(rows)
    values = np.array([value for _, value in rows])
    valid = ~np.isnan(values)
    cap = np.array([cap for cap, _ in rows], np.int64)
    return Points(cap, None, values, None if valid.all() else valid)


def expected(rows: list[tuple[int, float]], every: int) -> list[Any]:
    """Returns the windows of rows, in order."""
    found: dict[int, list[float]] = {}
    for cap, value in sorted(rows):
        found.setdefault(cap // every, []).append(value)
    made = []
    for number, values in sorted(found.items()):
        there = [value for value in values if value == value]
        edges = (min(there), max(there), there[0], there[-1]) if there else None
        made.append((number, len(values), len(there), edges))
    return made


def plain(windows: Windows) -> list[Any]:
    edges = zip(windows.min, windows.max, windows.first, windows.last, strict=True)  # type: ignore[arg-type]
    return [
        (number, points, count, edge if count else None)
        for number, points, count, edge in zip(windows.number, windows.points, windows.count, edges, strict=True)
    ]


caps = st.integers(-200, 200)
rows = st.dictionaries(caps, st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1).map(lambda each: list(each.items()))


@given(rows, st.integers(1, 60), st.integers(1, 5), st.integers(-200, 200))
def test_windows_equal_plain_python(rows: list[tuple[int, float]], every: int, factor: int, cut: int) -> None:
    whole = windows_of(points_of(rows), every)
    assert plain(whole) == expected(rows, every)
    counted = windows_of(points_of(rows)._replace(versions=np.ones(len(rows), np.int64)), every)
    assert plain(counted) == plain(whole)
    assert counted.total == pytest.approx(whole.total)
    assert [each.tolist() for each in (counted.records, counted.first_time, counted.last_time)] == [
        each.tolist() for each in (whole.records, whole.first_time, whole.last_time)
    ]
    # Windows of parts join to the same result, and windows join to longer ones.
    parts = [[row for row in rows if row[0] < cut], [row for row in rows if row[0] >= cut]]
    together = joined((windows_of(points_of(part), every) for part in parts if part), every)
    assert plain(together) == plain(whole)
    assert plain(whole.longer(every * factor)) == expected(rows, every * factor)
    total = sum(value for _, value in rows if value == value)
    assert whole.total.sum() == pytest.approx(total, abs=1e-3)
    # Windows that overlap a range can be removed and added again.
    inside = whole.between(cut, cut + 50)
    assert plain(whole.replaced(cut, cut + 50, inside)) == plain(whole)


@given(st.integers(1, 10**18), st.integers(1, 10_000))
def test_window_lengths_fit_the_range(span: int, most: int) -> None:
    every = fitting(0, span, most)
    assert span / every <= most
    assert every in LADDER or every % LADDER[-1] == 0 or every % (24 * 3600 * 10**9) == 0
    assert fitting(0, span, most, base=7) % 7 == 0
    assert nice(every) == every


@pytest.mark.parametrize("backwards", [False, True])
def test_slices_cover_a_range_once(backwards: bool) -> None:
    held = {17: 3, 500: 40, 501: 2}

    def read(low: int, high: int) -> list[int]:
        found = [at for at, count in held.items() for _ in range(count) if low <= at < high]
        if len(found) > 40:
            raise TooManyError
        return found

    found = []
    for part, widen in slices(0, 1000, 300, read, backwards=backwards):
        found += sorted(part, reverse=backwards)
        widen(2)
    assert found == sorted((at for at, count in held.items() for _ in range(count)), reverse=backwards)
    held[500] = 41
    with pytest.raises(Refused, match="the same capture time"):
        list(slices(0, 1000, 300, read, backwards=backwards))


def test_cached_windows_equal_the_stored_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cached windows of a long series are repaired where records are added, corrected and removed."""
    monkeypatch.setattr(source_module, "MOST_POINTS", 1000)
    monkeypatch.setattr(source_module, "LOOK", 0.0)
    second = 10**9
    with connect("memory:") as session:
        session.add_columns(
            Sample, cid=1, mid=1, moid=1, cap=START + second * np.arange(5000), volts=np.sin(np.arange(5000)), total=1
        )
        session.flush()
        source = Source(session, [Sample])

        def compare() -> Windows:
            curve, work = Curve(Sample, (1, 1, 1), INFO["volts"]), Work()
            start, end = source.span_of([curve.key], work)
            every = source.every([curve.key], start, end, 20, work)
            kept = source.windows(curve, start, end, every, work)
            latest = Sample.query.using(session).latest().all()
            found = windows_of(points_of([(row.cap, row.volts) for row in latest]), every)
            assert plain(kept) == plain(found)
            assert kept.total == pytest.approx(found.total)
            return kept

        assert compare().points.sum() == 5000
        assert len(source._kept) == 1
        reads: list[int] = []
        whole = source._read_windows
        monkeypatch.setattr(source, "_read_windows", lambda *given: (reads.append(1), whole(*given))[1])
        compare()
        assert reads == []
        session.add_all(
            Sample(cid=1, mid=1, moid=1, cap=START + second * (5000 + n), volts=50.0, total=1) for n in range(10)
        )
        session.flush()
        assert compare().points.sum() == 5010
        assert len(reads) == 1
        row = session.query(Sample).cap_between(START + 70 * second, START + 71 * second).one()
        session.correct(row, volts=-9.0)
        session.flush()
        assert compare().records.sum() == 5011
        session.add(Sample(cid=1, mid=1, moid=1, cap=START - 7 * second, volts=99.0, total=1))
        session.flush()
        assert compare().points.sum() == 5011
        session.query(Sample).cap_before(START + 100 * second).delete()
        assert compare().points.sum() == 4910
