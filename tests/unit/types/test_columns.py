"""Columns of field types, out and back in."""

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


def test_arrays_of_characters_are_texts() -> None:
    """They were the codes of the characters, which could not be given back."""
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
def test_times_are_no_lengths_of_time(column: str, kind: Any) -> None:
    """A column in the field's own unit was taken by its numbers, whatever they counted."""
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
