"""Tuples of columns are what the objects hold, for any model."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fields import models, nullables, rows, variable_models

from tsmodel import connect
from tsmodel.model.meta import schema_of


@settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
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
