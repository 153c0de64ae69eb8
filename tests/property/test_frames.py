"""Columns of any model equal the values of its objects."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.budget import examples
from support.fields import models, rows, variable_models

from tsmodel import TSModel, connect
from tsmodel.errors import DecodeError
from tsmodel.model.meta import schema_of
from tsmodel.timestamps import to_ns

GREATEST_TIME = 2**63 - 1 - 978_307_200 * 10**9


def by_value(model: type[TSModel], name: str, objects: list[TSModel]) -> Any:
    """A column made from the objects' values one by one."""
    codec = schema_of(model).columns[name].info.codec
    return pa.array([codec.arrow_value(getattr(row, name)) for row in objects], codec.arrow_type(pa))


def are_equal(one: Any, other: Any) -> bool:
    """Dictionary arrays may have different dictionaries, so they are compared value by value."""
    assert one.type == other.type
    return one.to_pylist() == other.to_pylist() if "dictionary" in str(one.type) else bool(one.equals(other))


def has_time_beyond_arrow(objects: list[TSModel]) -> bool:
    return any(
        (type(value) is int and value > GREATEST_TIME) or (isinstance(value, dt.datetime) and to_ns(value) > GREATEST_TIME)
        for row in objects
        for name in row.__struct_fields__
        for value in (getattr(row, name) if isinstance(getattr(row, name), list) else [getattr(row, name)])
    )


@settings(deadline=None, max_examples=examples(50), suppress_health_check=list(HealthCheck))
@given(models(most=3) | variable_models(), st.data())
def test_frames_of_any_model(made: Any, data: st.DataObject) -> None:
    model, kinds = made
    written = data.draw(rows(model, kinds, most=4))
    with connect("memory:") as session:
        session.add_all(written)
        receipt = session.flush()
        query = model.query.acq_between(receipt.acq_min, receipt.acq_max + 1)
        objects = query.all()
        try:
            table = query.to_arrow()
        except (DecodeError, pa.ArrowInvalid, OverflowError):
            assert has_time_beyond_arrow(objects)
            return
        assert table.num_rows == len(objects)
        for name in table.column_names:
            assert are_equal(table[name].combine_chunks(), by_value(model, name, objects)), name
        columns = query.columns()
        assert list(columns) == table.column_names
        for name, column in columns.items():
            info = schema_of(model).columns[name].info
            assert len(column) == len(objects)
            absent = np.ma.getmaskarray(column).tolist()
            assert absent == [getattr(row, name) is None for row in objects] or info.codec.number is None
        if schema_of(model).layout.size is not None:
            array = query.to_numpy()
            assert array["cap"].tolist() == [row.cap for row in objects]
            assert len(array) == len(objects)
