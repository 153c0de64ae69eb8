"""Planning against brute force: boxes are disjoint, and boxes plus residual filter select the matching records."""

from __future__ import annotations

from itertools import combinations

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.budget import examples
from support.conditions import Condition, conditions, key_conditions
from support.models import Sample, samples

from tsmodel.model.model import codec_of
from tsmodel.query.plan import Plan, plan

acquired = st.builds(lambda row, acq: msgspec.structs.replace(row, acq=acq), samples, st.integers(-2, 8))
rows_of = st.lists(acquired, max_size=12)


def selected(planned: Plan, rows: list[Sample]) -> list[int]:
    """Indices of the rows that are in a box and pass the residual filter."""
    codec = codec_of(Sample)
    wire = np.empty(len(rows), codec.dtype)
    for at, row in enumerate(rows):
        wire[at] = (codec.dtype.itemsize - 4, *(getattr(row, name) for name in codec.dtype.names[1:]))
    mask = planned.mask(wire)
    return [
        at for at, row in enumerate(rows) if any(row.key in box for box in planned.boxes) and (mask is None or mask[at])
    ]


@settings(max_examples=examples(400), deadline=None)
@given(st.lists(conditions, max_size=3), rows_of, st.sampled_from([1, 2, 3, 4, 64]))
def test_boxes_and_filter_select_the_matching_records(asked: list[Condition], rows: list[Sample], most: int) -> None:
    planned = plan([each.expression for each in asked], most)
    assert len(planned.boxes) <= most
    assert not any(box.is_empty for box in planned.boxes)
    for one, other in combinations(planned.boxes, 2):
        assert one.intersect(other).is_empty
    assert selected(planned, rows) == [at for at, row in enumerate(rows) if all(each.meaning(row) for each in asked)]


@settings(max_examples=examples(200), deadline=None)
@given(key_conditions, rows_of)
def test_key_condition_needs_no_filter_unless_widened(asked: Condition, rows: list[Sample]) -> None:
    planned = plan([asked.expression], 10_000)
    assert not planned.widened
    assert not planned.filters
    inside = [any(row.key in box for box in planned.boxes) for row in rows]
    assert inside == [asked.meaning(row) for row in rows]


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(conditions, min_size=1, max_size=3), rows_of)
def test_key_residual_is_a_superset(asked: list[Condition], rows: list[Sample]) -> None:
    planned = plan([each.expression for each in asked], 1)
    narrower = Plan(planned.boxes, planned.key_residual, (), planned.widened)
    assert set(selected(planned, rows)) <= set(selected(narrower, rows))
