"""Sorting: orders equal Python's stable sort, and runs start where rows change."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsmodel.wire.sorting import is_sorted, order_of, run_lasts, run_lengths, run_starts

rows = st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 2) | st.sampled_from([-(2**31), 2**31 - 1])), max_size=80)


@pytest.mark.parametrize("kinds", [("<i4", "<i8"), (">i4", ">i8"), ("u1", "<i4"), ("<u8", ">i4"), ("<f4", "<f8")])
@settings(deadline=None)
@given(rows, st.sampled_from([lambda given: given, sorted]))
def test_orders_and_runs(kinds: tuple[str, str], given_rows: list[tuple[int, int]], first: type) -> None:
    table = [(a, float(np.float32(b)) if kinds[0] == "<f4" else b) for a, b in first(given_rows)]
    columns = [np.array([row[at] for row in table], kind) for at, kind in enumerate(kinds)]
    order = order_of(columns)
    expected = sorted(range(len(table)), key=table.__getitem__)
    assert is_sorted(columns) == (table == sorted(table))
    assert (list(range(len(table))) if order is None else order.tolist()) == expected
    starts = run_starts(columns)
    groups = [len(list(group)) for _, group in groupby(table)]
    assert run_lengths(starts, len(table)).tolist() == groups
    assert starts.tolist() == [sum(groups[:at]) for at in range(len(groups))]
    assert run_lasts(starts, len(table)).tolist() == [sum(groups[: at + 1]) - 1 for at in range(len(groups))]
