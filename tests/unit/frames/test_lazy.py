"""Lazy frames read less, and return what polars would compute from all records."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import reduce
from operator import and_, or_
from typing import Any

import duckdb
import polars as pl
import pytest

from tsmodel import Float32, Mid, Nullable, Text, TSModel, connect, field, to_ns
from tsmodel.errors import MissingLibraryError, NoSessionError
from tsmodel.frames.lazy import pushed
from tsmodel.query import Query

START = to_ns("2026-03-01T00:00:00Z")
HOUR = 3600 * 10**9
NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.timezone.utc)


class Reading(TSModel, moid=7):
    meter: Mid
    volts: Float32
    name: Nullable[str] = field(item=Text, size=6)


@pytest.mark.parametrize("operation", [or_, and_])
def test_very_deep_predicate_is_left_to_polars(operation: Any) -> None:
    """Its tree can only be walked recursively."""
    predicate = reduce(operation, [pl.col("meter") != 2 * n for n in range(3000)])
    assert pushed(Reading, predicate) is None
    assert pushed(Reading, predicate & (pl.col("cid") == 1)) is None
    assert str(pushed(Reading, pl.col("cid") == 1)) == "cid == 1"


@pytest.fixture
def query() -> Iterator[Query[Reading]]:
    with connect("memory:") as session:
        session.add_all(
            Reading(cid=cid, meter=meter, cap=START + at * HOUR, volts=meter + at, name=None if at % 3 else f"n{at}")
            for cid in (1, 2)
            for meter in range(5)
            for at in range(24)
        )
        session.flush()
        yield Reading.query


CONDITIONS = {
    "equal": (pl.col("meter") == 3, 48, True),
    "mirrored": (pl.col("meter") < 2, 96, True),
    "is_in": (pl.col("meter").is_in([1, 4]), 96, True),
    "is_between": (pl.col("meter").is_between(1, 3, closed="right"), 96, True),
    "since": (pl.col("cap") >= NOON, 120, True),
    "between times": (pl.col("cap").is_between(NOON, NOON + dt.timedelta(hours=2)), 30, True),
    "both": ((pl.col("cid") == 1) & (pl.col("meter") <= 1) & (pl.col("volts") > 5), 48, True),
    "either": ((pl.col("meter") == 1) | ((pl.col("cid") == 2) & (pl.col("meter") == 4)), 72, True),
    "nothing": ((pl.col("meter") == 1) & (pl.col("meter") == 2), 0, True),
    "far away": (pl.col("cap") > dt.datetime(9999, 1, 1, tzinfo=dt.timezone.utc), 0, True),
    "payload": (pl.col("volts") > 5, None, False),
    "either, half of it": ((pl.col("meter") == 1) | (pl.col("volts") > 20), None, False),
    "not": (~pl.col("meter").is_in([1, 4]), None, False),
    "a fraction": (pl.col("meter") > 2.5, None, False),
    "two columns": (pl.col("meter") == pl.col("cid"), None, False),
    "a function": (pl.col("meter") % 2 == 0, None, False),
    "null": (pl.col("name").is_null(), None, False),
}


@pytest.mark.parametrize(("condition", "read", "is_pushed"), CONDITIONS.values(), ids=CONDITIONS)
def test_conditions(query: Query[Reading], condition: Any, read: int | None, is_pushed: bool) -> None:
    whole = query.to_polars()
    found = query.lazy().filter(condition).collect()
    order = ["cid", "meter", "cap"]
    assert found.sort(order).equals(whole.filter(condition).sort(order))
    narrowed = query.pushed_down(condition)
    assert (narrowed is not query) is is_pushed
    if is_pushed:
        assert narrowed.count() == read  # read before polars filters


def test_explain_shows_what_was_pushed_down(query: Query[Reading]) -> None:
    explained = str(query.pushed_down((pl.col("meter") == 3) & (pl.col("volts") > 1)).explain())
    assert "key ranges: 1" in explained
    assert "mid 3" in explained
    assert "volts" not in explained


def test_projection_and_slices(query: Query[Reading]) -> None:
    lazy = query.lazy()
    assert lazy.collect_schema().names() == ["cid", "meter", "moid", "cap", "acq", "volts", "name"]
    assert lazy.select("volts").collect().columns == ["volts"]
    assert lazy.head(5).collect().height == 5
    assert lazy.filter(pl.col("meter") == 3).head(5).collect()["meter"].to_list() == [3] * 5
    assert lazy.filter(pl.col("volts") > 20).select("name").head(3).collect().shape == (3, 1)
    assert lazy.select(pl.len()).collect().item() == 240
    assert lazy.filter(pl.col("meter") == 77).select("volts", "name").collect().shape == (0, 2)
    assert query.limit(7).lazy().filter(pl.col("meter") >= 0).collect().height == 7
    grouped = lazy.group_by("meter").agg(pl.col("volts").max()).sort("meter").collect()
    assert grouped["volts"].to_list() == [23.0, 24.0, 25.0, 26.0, 27.0]


def test_only_the_columns_needed_are_read(query: Query[Reading], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    own = Query.iter_arrow

    def spied(self: Any, *columns: Any, **options: Any) -> Any:
        asked.append((columns, [list(box.intervals())[1] for box in self.key_ranges()], self.spec.limit))
        return own(self, *columns, **options)

    monkeypatch.setattr(Query, "iter_arrow", spied)
    query.lazy().filter(pl.col("meter").is_in([1, 3])).select("volts").collect()
    query.lazy().select("name").head(2).collect()
    assert asked[0][0] in (("volts", "meter"), ("meter", "volts"))
    assert asked[0][1] == [(1, 2), (3, 4)]
    assert asked[1][0] == ("name",)
    assert asked[1][2] == 2


def test_sql(query: Query[Reading]) -> None:
    with pl.SQLContext(readings=query.lazy()) as context:
        frame = context.execute(
            "SELECT meter, max(volts) AS most FROM readings WHERE meter >= 3 GROUP BY meter ORDER BY meter"
        )
        assert frame.collect().rows() == [(3, 26.0), (4, 27.0)]
    readings = query.to_reader()
    found = duckdb.sql("SELECT meter, max(volts) FROM readings WHERE meter >= 3 GROUP BY meter ORDER BY meter").fetchall()
    assert found == [(3, 26.0), (4, 27.0)]
    del readings


def test_old_versions_of_polars_are_refused(query: Query[Reading], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsmodel.frames.lazy.library", without_plugins)
    with pytest.raises(MissingLibraryError, match=r"lazy\(\) needs polars 1.24 or newer, and this is"):
        query.lazy()
    monkeypatch.undo()
    monkeypatch.setattr(pl, "__version__", "1.20.0")
    with pytest.raises(MissingLibraryError, match=r"lazy\(\) needs polars 1.24 or newer, and this is 1.20.0"):
        query.lazy()


def without_plugins(name: str, what: str) -> Any:
    if name != "polars":
        raise MissingLibraryError("not there", library="polars")
    return pl


def test_no_session() -> None:
    with pytest.raises(NoSessionError):
        Reading.query.lazy()
