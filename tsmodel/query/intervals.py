"""Sets of integers as disjoint half-open intervals: what a condition says about one integer column.

Rules kept here:

* Intervals are sorted, not empty, and neither overlap nor touch: equal sets are equal tuples.
* Every set lies within the domain it was made for, so complements are exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TypeAlias

from tsmodel.model.expressions import Between, Comparison, IsIn

__all__ = ["Domain", "Intervals", "complement", "domain_of", "intersect", "intersection", "narrow", "of_condition", "union"]

Intervals: TypeAlias = tuple[tuple[int, int], ...]
"""Disjoint half-open intervals, ascending."""

Domain: TypeAlias = tuple[int, int]
"""The half-open interval of all values that a column can have."""


def union(intervals: Iterable[tuple[int, int]]) -> Intervals:
    """The set that any intervals cover together; empty and reversed ones count for nothing."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(intervals):
        if low >= high:
            continue
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def intersect(first: Intervals, second: Intervals) -> Intervals:
    """What is in both sets."""
    common = []
    i = j = 0
    while i < len(first) and j < len(second):
        low, high = max(first[i][0], second[j][0]), min(first[i][1], second[j][1])
        if low < high:
            common.append((low, high))
        if first[i][1] < second[j][1]:
            i += 1
        else:
            j += 1
    return tuple(common)


def complement(intervals: Intervals, domain: Domain) -> Intervals:
    """What is in the domain and not in the set."""
    edges = [domain[0], *(edge for interval in intervals for edge in interval), domain[1]]
    return tuple((low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if low < high)


def intersection(sets: Sequence[Intervals], domain: Domain) -> Intervals:
    """What is in all of many sets within a domain."""
    if len(sets) == 1:
        return sets[0]
    outside = union(interval for intervals in sets for interval in complement(intervals, domain))
    return complement(outside, domain)


def narrow(intervals: Intervals, most: int) -> Intervals:
    """A set of at most `most` intervals that covers this one: the smallest gaps are closed."""
    if len(intervals) <= most:
        return intervals
    gaps = sorted(range(1, len(intervals)), key=lambda i: intervals[i][0] - intervals[i - 1][1], reverse=True)
    starts = [0, *sorted(gaps[: most - 1]), len(intervals)]
    return tuple((intervals[start][0], intervals[end - 1][1]) for start, end in pairwise(starts))


def domain_of(condition: Comparison | Between | IsIn) -> Domain | None:
    """The domain of the condition's column when it holds integers or times, otherwise None."""
    number = condition.column.codec.number
    limits = number.limits if number is not None else None
    if limits is None:
        return None
    # The greatest value of a key component is never stored: as the end of a range it stands for "no limit".
    return limits if condition.column.is_key else (limits[0], limits[1] + 1)


def of_condition(condition: Comparison | Between | IsIn, domain: Domain) -> Intervals:
    """The values of an integer column for which the condition holds."""
    if isinstance(condition, Between):
        return union([(_at_least(condition.low, domain), _at_least(condition.high, domain))])
    if isinstance(condition, IsIn):
        return union(interval for value in condition.values for interval in _equal(value, domain))
    value = condition.value
    if condition.operator == "==":
        return _equal(value, domain)
    if condition.operator == "!=":
        return complement(_equal(value, domain), domain)
    if condition.operator in ("<", ">="):
        below = union([(domain[0], _at_least(value, domain))])
        return below if condition.operator == "<" else complement(below, domain)
    below = union([(domain[0], _above(value, domain))])
    return below if condition.operator == "<=" else complement(below, domain)


def _clamped(value: float, domain: Domain) -> float:
    return min(max(value, domain[0] - 1), domain[1])


def _at_least(value: float, domain: Domain) -> int:
    """The least integer of the domain, or its end, that is not below `value`."""
    return max(math.ceil(_clamped(value, domain)), domain[0])


def _above(value: float, domain: Domain) -> int:
    """The least integer of the domain, or its end, that is above `value`."""
    return min(math.floor(_clamped(value, domain)) + 1, domain[1])


def _equal(value: float, domain: Domain) -> Intervals:
    if domain[0] <= value < domain[1] and value == math.floor(value):
        return ((math.floor(value), math.floor(value) + 1),)
    return ()
