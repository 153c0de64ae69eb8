"""Pictures of columns: what is drawn of many points, and what cannot be drawn."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.dates import date2num

from tsmodel import Array, Float32, Nullable, Scaled, Text, TSModel, UInt8, connect, field, to_ns
from tsmodel.errors import QueryError
from tsmodel.frames.plotting import thinned


class Reading(TSModel, cid=1, moid=1):
    volts: Float32 = field(unit="V")
    price: Scaled = field(digits=2)
    temp: Nullable[float] = field(item=Float32, default=None)
    small: UInt8 = field(default=0)
    text: Text = field(default="")
    samples: Array[float] = field(item=Float32, length=2, default_factory=lambda: [0.0, 0.0])


START = to_ns("2026-11-01T00:00:00Z")
HOUR = 3600 * 10**9


def lines(axes: Any) -> dict[str, tuple[list[float], list[float]]]:
    return {line.get_label(): tuple(map(list, line.get_data(orig=False))) for line in axes.get_lines()}


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.floats(-1e6, 1e6) | st.just(np.nan)), min_size=1, max_size=400),
    st.integers(1, 20),
)
def test_what_stands_out_is_kept(points: list[tuple[int, float]], slices: int) -> None:
    x = np.array(sorted(each for each, _ in points))
    y = np.array([each for _, each in points])
    kept = thinned(x, y, slices)
    assert kept[0] == 0
    assert kept[-1] == len(x) - 1
    assert (np.diff(kept) > 0).all()
    assert len(kept) <= max(4 * slices, 5 * slices)
    if not np.isnan(y).all():
        assert np.nanmax(y[kept]) == np.nanmax(y)
        assert np.nanmin(y[kept]) == np.nanmin(y)
    assert np.isnan(y[kept]).any() == np.isnan(y).any()


def test_each_slice_keeps_its_own_spikes() -> None:
    x = np.arange(100_000)
    y = np.zeros(100_000)
    spikes = np.arange(500, 100_000, 1000)
    y[spikes] = np.where(np.arange(100) % 2, 1.0, -1.0)
    kept = thinned(x, y, 100)
    assert set(spikes) <= set(kept.tolist())
    assert len(kept) < 500


def test_lines() -> None:
    with connect("memory:") as session:
        session.add_all(
            Reading(mid=mid, cap=START + n * HOUR, volts=n, price=Decimal("1.25"), temp=None if n == 1 else n)
            for mid in (2, 1)
            for n in (2, 0, 1)
        )
        session.flush()
        query = session.query(Reading)
        axes = query.plot(y="volts")
        drawn = lines(axes)
        assert list(drawn) == ["mid 1", "mid 2"]
        hours = [date2num(dt.datetime(2026, 11, 1, n)) for n in range(3)]
        assert drawn["mid 1"] == (pytest.approx(hours), [0.0, 1.0, 2.0])
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("cap (UTC)", "volts [V]")
        assert lines(query.plot(y=["volts", Reading.price], by=None, axes=axes))["price"][1] == [1.25] * 6
        (temp,) = lines(query.mid(1).plot(y=Reading.temp)).values()
        assert np.isnan(temp[1]).tolist() == [False, True, False]
        assert lines(query.plot(x="small", y="volts", by="price"))["price 1.25"][0] == [0] * 6
        assert lines(query.mid(9).plot(y="volts")) == {}


@pytest.mark.parametrize(
    ("options", "wording"),
    [
        ({}, "takes the columns to draw"),
        ({"y": "volt"}, "is not a column"),
        ({"y": "text"}, "Reading.text .* has no numbers"),
        ({"y": "samples"}, "has no numbers"),
        ({"y": "volts", "x": "text"}, "a picture cannot go along it"),
        ({"y": "volts", "by": "x"}, "is not a column"),
    ],
)
def test_what_cannot_be_drawn(options: dict[str, Any], wording: str) -> None:
    with connect("memory:") as session:
        session.add(Reading(mid=1, cap=0, volts=1, price=Decimal(1)))
        session.flush()
        with pytest.raises(QueryError, match=wording):
            session.query(Reading).plot(**options)
