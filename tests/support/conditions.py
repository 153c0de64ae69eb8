"""Random conditions on `Sample`, each with an equivalent plain Python function."""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable
from typing import NamedTuple

from hypothesis import strategies as st
from support.models import Sample, near, singles

from tsmodel import Column, Expression
from tsmodel.keys import KEY_FIELDS

Meaning = Callable[[Sample], bool]

OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class Condition(NamedTuple):
    expression: Expression
    meaning: Meaning


integers = near(0, 5, 100) | st.sampled_from([-(2**63), 2**63 - 1, 2**64 - 1, 2**64, -(2**70), 2**31 - 1, 2**15, -1])
numbers = integers | st.floats(allow_nan=False) | st.sampled_from([0.5, -0.5, 4.999, float(2**63), 2.0**53 + 1])

OPERANDS: dict[str, st.SearchStrategy[object]] = {
    **dict.fromkeys(KEY_FIELDS, integers),
    "level": numbers,
    "volts": singles | numbers,
    "valid": st.booleans(),
    "total": numbers,
}


@st.composite
def leaves(draw: st.DrawFn, columns: tuple[str, ...] = tuple(OPERANDS)) -> Condition:
    """A comparison, a between or an is_in."""
    name = draw(st.sampled_from(columns))
    column: Column[object] = getattr(Sample, name)
    operands = OPERANDS[name]
    kind = draw(st.sampled_from(["compare", "between", "is_in"]))
    meant = single if name == "volts" else lambda value: value
    if kind == "compare":
        symbol = draw(st.sampled_from(sorted(OPERATORS)))
        compare, value = OPERATORS[symbol], draw(operands)
        return Condition(compare(column, value), lambda row: compare(getattr(row, name), meant(value)))
    if kind == "between":
        low, high = draw(operands), draw(operands)
        return Condition(column.between(low, high), lambda row: meant(low) <= getattr(row, name) < meant(high))
    values = draw(st.lists(operands, max_size=7))
    return Condition(column.is_in(values), lambda row: any(getattr(row, name) == meant(value) for value in values))


def single(value: object) -> object:
    """A constant in the form compared with a Float32: a float is rounded to that width unless it would become infinite."""
    if not isinstance(value, float):
        return value
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return value


def _combined(parts: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    return st.one_of(
        st.builds(
            lambda a, b: Condition(a.expression & b.expression, lambda r: a.meaning(r) and b.meaning(r)), parts, parts
        ),
        st.builds(
            lambda a, b: Condition(a.expression | b.expression, lambda r: a.meaning(r) or b.meaning(r)), parts, parts
        ),
        st.builds(lambda a: Condition(~a.expression, lambda r: not a.meaning(r)), parts),
    )


conditions = st.recursive(leaves(), _combined, max_leaves=6)
"""Trees of conditions."""

key_conditions = st.recursive(leaves(KEY_FIELDS), _combined, max_leaves=6)
"""Trees of conditions on the key alone."""
