"""Columns of field types round-trip."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

import tsmodel as ts
from tsmodel import TSModel, connect, field
from tsmodel.errors import EncodeError


class Letters(TSModel):
    letters: ts.Array[str] = field(item=ts.Char, length=2)


class Spans(TSModel):
    lasts: ts.Duration
    at: ts.UnixTime = field(resolution="ns")


def test_char_array_columns_are_strings() -> None:
    """Character codes would not be accepted back as a column."""
    rows = [Letters(cid=1, mid=1, moid=1, cap=at, letters=["a", letter]) for at, letter in enumerate("bü")]
    with connect("memory:") as session:
        session.add_all(rows)
        session.flush()
        columns = Letters.query.cid(1).columns()
        assert columns["letters"].tolist() == [["a", "b"], ["a", "ü"]]
        session.add_columns(Letters, **{**columns, "cid": 2})
        session.flush()
        assert [row.letters for row in Letters.query.cid(2)] == [["a", "b"], ["a", "ü"]]


@pytest.mark.parametrize(("column", "kind"), [("lasts", pa.timestamp("ns", "UTC")), ("at", pa.duration("ns"))])
def test_timestamp_and_duration_columns_are_not_interchangeable(column: str, kind: Any) -> None:
    """Even in the field's own unit, numbers of the other kind are refused."""
    columns = {
        "cid": pa.array([1]),
        "mid": pa.array([1]),
        "moid": pa.array([1]),
        "cap": pa.array([0]),
        "lasts": pa.array([5000], pa.duration("ns")),
        "at": pa.array([5000], pa.timestamp("ns", "UTC")),
    }
    with connect("memory:") as session:
        session.add_frame(Spans, pa.table(columns))
        session.flush()
        (row,) = Spans.query.cid(1)
        assert (row.lasts, row.at) == (dt.timedelta(microseconds=5), ts.to_ns("1970-01-01T00:00:00Z") + 5000)
        with pytest.raises(EncodeError, match="cannot be stored as"):
            session.add_frame(Spans, pa.table({**columns, column: pa.array([5000], kind)}))
