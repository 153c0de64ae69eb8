"""`select` returns the values of the objects, for any model."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.budget import examples
from support.fields import models, nullables, rows, variable_models

from tsmodel import Float32, TSModel, connect
from tsmodel.errors import QueryError
from tsmodel.model.meta import schema_of


@settings(deadline=None, max_examples=examples(80), suppress_health_check=list(HealthCheck))
@given(models() | models(nullables()) | variable_models(), st.data())
def test_any_column_of_any_model(made: Any, data: st.DataObject) -> None:
    model, kinds = made
    names = list(schema_of(model).columns)
    chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=6))
    with connect("memory:") as session:
        session.add_all(data.draw(rows(model, kinds)))
        session.flush()
        query = session.query(model)
        expected = [tuple(getattr(row, name) for name in chosen) for row in query.all()]
        selected = query.select(*(getattr(model, name) for name in chosen))
        assert repr(selected.all()) == repr(expected) == repr(list(selected))
        assert repr(selected.first()) == repr(expected[0])
        assert [each for batch in selected.batches(2) for each in batch].__repr__() == repr(expected)
        named = {f"n{at}": getattr(model, name) for at, name in enumerate(chosen)}
        structs = query.select(**named)
        assert repr([msgspec.structs.astuple(row) for row in structs]) == repr(expected)
        first = structs.first()
        assert [getattr(first, name) for name in named].__repr__() == repr(list(expected[0]))


def test_named_columns() -> None:
    class Reading(TSModel):
        volts: Float32

    with connect("memory:") as session:
        session.add_all(Reading(cid=1, mid=n, moid=1, cap=0, volts=n / 2) for n in range(3))
        session.flush()
        query = session.query(Reading).order_by(Reading.mid)
        assert [(row.meter, row.volts) for row in query.select(meter=Reading.mid, volts=Reading.volts)] == [
            (0, 0.0),
            (1, 0.5),
            (2, 1.0),
        ]
        with pytest.raises(AttributeError, match="immutable"):
            query.select(meter=Reading.mid).all()[0].meter = 3
        with pytest.raises(QueryError, match="not both"):
            query.select(Reading.mid, volts=Reading.volts)  # type: ignore[call-overload]
        with pytest.raises(QueryError, match="select takes columns"):
            query.select(volts="volts")  # type: ignore[call-overload]
