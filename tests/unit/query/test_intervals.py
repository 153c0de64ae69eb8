"""Interval sets, compared with sets of integers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsmodel.query.boxes import Intervals, complement, intersect, narrow, union

DOMAIN = (-3, 12)
pairs = st.lists(st.tuples(st.integers(-3, 12), st.integers(-3, 12)), max_size=6)


def members(intervals: Intervals) -> set[int]:
    return {value for low, high in intervals for value in range(low, high)}


def is_normal(intervals: Intervals) -> bool:
    edges = [edge for interval in intervals for edge in interval]
    return all(one < other for one, other in pairwise(edges))


@given(pairs, pairs)
def test_union_intersection_and_complement(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    a, b = union(one), union(other)
    both, common, rest = union([*a, *b]), intersect(a, b), complement(a, DOMAIN)
    assert members(a) == {value for low, high in one for value in range(low, high)}
    assert members(both) == members(a) | members(b)
    assert members(common) == members(a) & members(b)
    assert members(rest) == set(range(*DOMAIN)) - members(a)
    assert all(map(is_normal, (a, b, both, common, rest)))


@given(pairs, st.integers(1, 4))
def test_narrow_closes_the_smallest_gaps(intervals: list[tuple[int, int]], most: int) -> None:
    whole = union(intervals)
    fewer = narrow(whole, most)
    assert len(fewer) == min(most, len(whole))
    assert members(fewer) >= members(whole)
    assert is_normal(fewer)
    if len(whole) > most:
        gaps = sorted(start - end for (_, end), (start, _) in pairwise(whole))
        assert len(members(fewer)) - len(members(whole)) == sum(gaps[: len(whole) - most])


@pytest.mark.parametrize("intervals", [[], [(3, 3)], [(5, 1)]])
def test_empty_sets(intervals: list[tuple[int, int]]) -> None:
    assert union(intervals) == ()
