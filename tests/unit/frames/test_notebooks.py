"""Tables and charts in notebooks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tsmodel import Float32, Int32, Nullable, Scaled, Text, TSModel, connect, connect_async, count, field, to_ns
from tsmodel.errors import QueryError

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
pytest.importorskip("pyarrow")

START = to_ns("2026-03-01T00:00:00Z")
MINUTE = 60 * 10**9


class Reading(TSModel):
    volts: Float32 = field(unit="V")
    total: Scaled = field(digits=2)
    temp: Nullable[int] = field(item=Int32, default=None)
    note: Text = field(default="<b>&</b>")


def reading(mid: int, n: int, volts: float) -> Reading:
    return Reading(cid=1, mid=mid, moid=7, cap=START + n * MINUTE, volts=volts, total=n, temp=n if n % 2 else None)


@pytest.fixture
def session() -> Iterator[Any]:
    from matplotlib import pyplot as plt

    with connect("memory:") as session:
        session.add_all(reading(mid, n, 230 + n % 5 + mid) for mid in (1, 2) for n in range(100))
        session.flush()
        yield session
    plt.close("all")


def test_lists_of_records_are_tables(session: Any) -> None:
    rows = session.query(Reading).order_by(Reading.mid, Reading.cap).all()
    assert isinstance(rows, list)
    assert rows == [*rows]
    shown = rows._repr_html_()
    assert "Reading: 200 rows, the first 20 shown" in shown
    assert shown.count("<tr>") == 21
    assert "2026-03-01T00:19:00Z" in shown
    assert "2026-03-01T00:20:00Z" not in shown
    assert "&lt;b&gt;&amp;&lt;/b&gt;" in shown
    assert "<b>&" not in shown
    assert "0 rows" in session.query(Reading).mid(5).all()._repr_html_()


def test_other_objects_are_tables(session: Any) -> None:
    query = session.query(Reading)
    assert "key ranges" in query._repr_html_()
    assert "little-endian" in Reading.layout._repr_html_()
    assert "<td>Float32</td>" in Reading.layout._repr_html_()
    series = query.series()._repr_html_()
    assert "Series: 2 rows<" in series
    assert "2026-03-01T01:39:00Z" in series
    assert "cap_max=2026-03-01T01:39:00Z" in repr(query.series())
    windows = query.resample("15m", tz="Europe/Warsaw").agg(n=count())
    assert "2026-03-01 01:00:00+01:00" in windows._repr_html_()
    session.add(reading(3, 0, 1.0))
    receipt = session.flush()
    assert "<td>1</td>" in receipt._repr_html_()
    assert "<td>0</td>" in session.flush()._repr_html_()


def test_plot_draws_one_line_per_series(session: Any) -> None:
    axes = session.query(Reading).plot("volts")
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert set(lines) == {"mid 1", "mid 2"}
    assert lines["mid 2"].get_ydata().tolist() == [232 + n % 5 for n in range(100)]
    assert lines["mid 2"].get_xdata()[1] == np.datetime64("2026-03-01T00:01")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("cap", "volts [V]")


def test_plot_several_columns_of_one_series(session: Any) -> None:
    axes = session.query(Reading).mid(1).plot([Reading.total, "temp"], by="mid")
    total, temp = axes.get_lines()
    assert (total.get_label(), temp.get_label()) == ("total", "temp")
    assert total.get_ydata()[7] == 7.0
    assert temp.get_ydata().tolist() == list(range(1, 100, 2))


def test_lines_beyond_the_limit_are_counted(session: Any) -> None:
    axes = session.query(Reading).plot("volts", max_lines=1)
    assert len(axes.get_lines()) == 1
    assert axes.get_title(loc="right") == "1 of 2 lines"
    axes = session.query(Reading).plot(["volts", "temp"], max_lines=2)
    assert (len(axes.get_lines()), axes.get_title(loc="right")) == (2, "2 of 4 lines")


def test_spikes_survive() -> None:
    with connect("memory:") as session:
        values = np.zeros(200_000, np.float32)
        values[123_457], values[77] = 1000, -1000
        session.add_columns(Reading, cid=1, mid=1, moid=7, cap=START + np.arange(200_000), volts=values, total=0)
        session.flush()
        (line,) = session.query(Reading).plot(y="volts", by=None).get_lines()
    drawn = line.get_ydata()
    assert len(drawn) < 5000
    assert (drawn.max(), drawn.min()) == (1000, -1000)
    assert line.get_xdata()[int(drawn.argmax())] == np.datetime64("2026-03-01") + np.timedelta64(123_457, "ns")


def test_windows(session: Any) -> None:
    windows = session.query(Reading).resample("15m").agg(n=count(), top=Reading.total.max())
    first, second = windows.plot("top").get_lines()
    assert first.get_ydata().tolist() == [14, 29, 44, 59, 74, 89, 99]
    assert second.get_xdata()[1] == np.datetime64("2026-03-01T00:15")
    assert len(windows.plot().get_lines()) == 4
    with pytest.raises(QueryError, match="'down' is not an aggregate of these windows, which have n, top"):
        windows.plot("down")


@pytest.mark.parametrize(
    ("y", "message"), [("note", "plot.. draws numbers; note is"), ("amps", "'amps' is not a column of Reading")]
)
def test_invalid_columns_are_refused(session: Any, y: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        session.query(Reading).plot(y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": 5}, r"plot\(y=...\) takes a column or several, not 5 \(int\)"),
        ({"y": None}, r"plot\(y=...\) takes a column or several"),
        ({"y": [5]}, "columns are given by name"),
        ({"y": "volts", "x": ["cap"]}, "columns are given by name"),
        ({"y": "volts", "by": 5}, r"plot\(by=...\) takes a column or several"),
        ({"y": "volts", "ax": 5}, r"plot\(ax=...\) takes axes of matplotlib, not 5 \(int\)"),
        ({"y": "volts", "tz": 5}, r"plot\(tz=...\): there is no time zone 5 here"),
        ({"y": "volts", "tz": "Nowhere/Land"}, r"plot\(tz=...\): there is no time zone 'Nowhere/Land' here"),
        ({"y": "volts", "max_lines": "x"}, r"plot\(max_lines=...\) takes an int"),
    ],
)
def test_invalid_options_of_charts_are_refused_by_name(session: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        session.query(Reading).plot(**options)


def test_chart_without_records(session: Any) -> None:
    assert len(session.query(Reading).mid(9).plot("volts").get_lines()) == 1


def test_asynchronous_queries() -> None:
    async def drawn() -> Any:
        async with connect_async("memory:") as session:
            await session.add_all([reading(1, n, n) for n in range(5)])
            await session.flush()
            assert "Reading: 5 rows" in (await session.query(Reading).all())._repr_html_()
            return await session.query(Reading).plot("volts")

    (line,) = asyncio.run(drawn()).get_lines()
    assert line.get_ydata().tolist() == [0, 1, 2, 3, 4]
