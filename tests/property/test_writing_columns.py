"""Columns and frames of any model, stored without creating objects, read back as equal objects."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.budget import examples
from support.fields import models, rows, variable_models

from tsmodel import Enumerated, Int16, Nullable, Text, TSModel, connect, field
from tsmodel.errors import DecodeError, EncodeError
from tsmodel.model.meta import schema_of


def of_objects(model: type[TSModel], objects: list[TSModel], names: Any) -> dict[str, list[Any]]:
    return {name: [getattr(row, name) for row in objects] for name in names}


def keyed(objects: list[TSModel]) -> list[str]:
    """Objects in a fixed order, without acq, which the database assigns."""
    return sorted(repr([getattr(row, name) for name in row.__struct_fields__ if name != "acq"]) for row in objects)


@settings(deadline=None, max_examples=examples(60), suppress_health_check=list(HealthCheck))
@given(models(most=3) | variable_models(), st.data())
def test_columns_and_frames_are_stored_like_objects(made: Any, data: st.DataObject) -> None:
    model, kinds = made
    written = data.draw(rows(model, kinds, most=4))
    with connect("memory:") as session:
        session.add_all(written)
        session.flush()
        query = session.query(model)
        columns, expected = query.columns(), keyed(written)
        names = ("cid", "mid", "moid", "cap", *schema_of(model).layout.names)
        sources: list[Any] = [columns, of_objects(model, written, names)]
        for source in sources:
            with connect("memory:") as other:
                assert other.add_columns(model, source) == len(written)
                assert keyed(list(other.pending)) == expected  # type: ignore[arg-type]
                other.flush()
                assert keyed(other.query(model).all()) == expected
        try:
            table = query.to_arrow()
        except (DecodeError, pa.ArrowInvalid, OverflowError):
            return  # a time outside Arrow's range
        with connect("memory:") as other:
            try:
                assert other.add_frame(model, table.slice(0, 1)) == min(1, len(written))
                assert other.add_frame(model, table.slice(1)) == len(written) - 1
            except EncodeError as error:
                if "NaT is not a time" not in str(error):
                    raise
                other.discard()  # the least int64, which is NaT in NumPy
                return
            other.flush()
            assert keyed(other.query(model).all()) == expected
            if schema_of(model).layout.size is not None:
                with pytest.raises(ValueError):
                    other.add_columns(model, {**columns, "mid": [2**63] * len(written)})


def test_masked_value_may_be_invalid() -> None:
    class Mode(enum.IntEnum):
        LEFT = 5

    class Switched(TSModel):
        name: Text
        mode: Nullable[Mode] = field(item=Enumerated[Mode], storage=Int16)

    with connect("memory:") as session:
        modes = np.ma.MaskedArray([5, 0], [False, True])
        session.add_columns(Switched, cid=1, mid=1, moid=1, cap=[1, 2], name=["a", "b"], mode=modes)
        session.flush()
        assert sorted((row.cap, row.mode) for row in session.query(Switched)) == [(1, Mode.LEFT), (2, None)]
