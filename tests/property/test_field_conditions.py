"""Conditions on fields of any type select the values that Python's comparison selects."""

from __future__ import annotations

import operator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.budget import examples
from support.fields import Kind, declared, models, rows, variable_models

import tsmodel as ts
from tsmodel import TSModel, connect
from tsmodel.model.meta import schema_of

COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def meets(value: Any, compare: str, operand: Any) -> bool:
    """None stands for null, which meets only "!="."""
    if operand is None or value is None:
        return (value is operand) == (compare == "==") if operand is None else compare == "!="
    if compare in ("==", "!="):
        return bool(COMPARE[compare](value, operand))
    return bool(COMPARE[compare](plain(value), plain(operand)))


def plain(value: Any) -> Any:
    """Enum members and addresses of mixed versions have no order in Python. Columns order them as stored."""
    if isinstance(value, (IPv4Address, IPv6Address)):
        return (bytes(10) + b"\xff\xff" if value.version == 4 else b"") + value.packed
    return getattr(value, "value", value)


@settings(deadline=None, max_examples=examples(200), suppress_health_check=list(HealthCheck))
@given(models() | variable_models(), st.data())
def test_any_condition_on_any_field(made: Any, data: st.DataObject) -> None:
    model, kinds = made
    names = schema_of(model).layout.names
    name = data.draw(st.sampled_from(names))
    written = data.draw(rows(model, kinds, most=5))
    others = data.draw(rows(model, kinds, most=3))
    operand = getattr(data.draw(st.sampled_from([*written, *others])), name)
    column: Any = getattr(model, name)
    ordered = operand is not None and column.info.codec.comparisons == "all"
    compare = data.draw(st.sampled_from(list(COMPARE) if ordered else ["==", "!="]))
    condition = COMPARE[compare](column, operand)
    values = [getattr(row, name) for row in written]
    expected = [meets(value, compare, operand) for value in values]
    with connect("memory:") as session:
        session.add_all(written)
        receipt = session.flush()
        ours = model.query.acq_between(receipt.acq_min, receipt.acq_max + 1)
        assert ours.count() == len(written)
        found = ours.where(condition).all()
        assert sorted(repr(getattr(row, name)) for row in found) == sorted(
            repr(value) for value, meant in zip(values, expected, strict=True) if meant
        )
        assert ours.where(~condition).count() == len(written) - sum(expected)
        operands = [getattr(row, name) for row in others if getattr(row, name) is not None]
        among = sum(value is not None and value in operands for value in values)
        assert ours.where(column.is_in(operands)).count() == among


def test_conditions_on_nullable_field() -> None:
    model = declared(TSModel, [Kind(ts.Nullable[Any], {"item": ts.Int16}, st.none())])
    with connect("memory:") as session:
        session.add_all(model(cid=1, mid=at, moid=1, cap=1, f0=value) for at, value in enumerate([None, 0, 5]))
        session.flush()
        column = model.f0
        for condition, mids in [
            (column == None, [0]),  # noqa: E711
            (column != None, [1, 2]),  # noqa: E711
            (column == 0, [1]),
            (column != 0, [0, 2]),
            (column < 9, [1, 2]),
            (column.between(0, 1), [1]),
            (column.is_in([0, 5]), [1, 2]),
        ]:
            assert sorted(row.mid for row in model.query.where(condition).all()) == mids
