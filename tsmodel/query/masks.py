"""Conditions evaluated on columns: which records of a structured array meet them.

A mask agrees with Python's comparison of the decoded values with the condition's constants, which is exact; constants were
rounded to the width of a column of floats when the condition was made. NaN meets nothing but `!=`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from itertools import chain as chained
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tsmodel.model.expressions import Between, Chain, ColumnInfo, Comparison, Expression, IsIn, Leaf, chain_of, folded
from tsmodel.query.boxes import Domain, Intervals, complement, domain_of, intersection, of_condition, union
from tsmodel.types.numbers import neighbours

__all__ = ["Mask", "mask_of"]

Mask = npt.NDArray[np.bool_]

_neighbours = lru_cache(maxsize=1024, typed=True)(neighbours)
"""Asked for again with each chunk; only for comparing, which 0.0 and -0.0 are the same for."""

_COMPARE: Final = {"<": lt, "<=": le, ">": gt, ">=": ge, "==": eq, "!=": ne}
_FEW: Final = 4
"""Up to this many intervals are compared one by one; more are looked up."""


def mask_of(condition: Expression, records: Any) -> Mask:
    """Which of some records, n of them as a codec's `fit` gives them, meet the condition; shape (n,)."""
    if isinstance(condition, (Comparison, Between, IsIn)):
        return _of_leaf(condition, records)
    return folded(chain_of(condition), _join, lambda chain, held: _of_chain(chain, held, records))


def _join(chain: Chain, held: list[Mask], mask: Mask) -> None:
    """Takes one more mask of a chain: they are held as one."""
    if not held:
        held.append(mask)
    elif chain.is_all:
        held[0] = held[0] & mask
    else:
        held[0] = held[0] | mask


def _of_chain(chain: Chain, held: list[Mask], records: Any) -> Mask:
    """The mask of a chain, of which that of the chains within it is held."""
    among: dict[str, tuple[Domain, ColumnInfo, list[Intervals]]] = {}
    for leaf, negated in chain.leaves:
        column = leaf.column
        domain = None if column.is_nullable else domain_of(leaf)
        if domain is None:
            mask = _of_leaf(leaf, records)
            _join(chain, held, ~mask if negated else mask)
        else:  # what many leaves say about integers is looked up at once
            intervals = of_condition(leaf, domain)
            among.setdefault(column.name, (domain, column, []))[2].append(
                complement(intervals, domain) if negated else intervals
            )
    for domain, column, sets in among.values():
        within = intersection(sets, domain) if chain.is_all else union(chained.from_iterable(sets))
        _join(chain, held, _inside(column.values(records), within, domain))
    return held[0]


def _of_leaf(condition: Leaf, records: Any) -> Mask:
    present = condition.column.present(records)
    if asks_for_none(condition):
        return _is_none(condition, present, len(records))
    if isinstance(condition, IsIn) and condition.column.is_nullable and any(each is None for each in condition.values):
        return _is_none_or_in(condition, present, records)
    mask = _of_values(condition, condition.column.values(records))
    if present is None:
        return mask
    # As with NaN, what is absent meets nothing but "!=".
    met: Mask = mask | ~present if isinstance(condition, Comparison) and condition.operator == "!=" else mask & present
    return met


def _of_values(condition: Comparison | Between | IsIn, column: npt.NDArray[Any]) -> Mask:
    """Which values of a column meet the condition, absent ones left aside."""
    number = condition.column.codec.number
    if number is None:
        return _of_objects(condition, column)
    domain = domain_of(condition)
    if domain is not None:
        return _inside(column, of_condition(condition, domain), domain)
    if number.kind == "bool":
        column = column.view(np.uint8) != 0
        if isinstance(condition, IsIn):
            return np.isin(column, np.array(condition.values, np.bool_))
        return _compared(condition, column, lambda value: (value, value))
    if isinstance(condition, IsIn):
        # A number that lies between two floats is none of them.
        among = [low for low, high in map(partial(_neighbours, numpy=number.numpy), condition.values) if low == high]
        return np.isin(column, np.array(among, number.numpy))
    return _compared(condition, column, partial(_neighbours, numpy=number.numpy))


def _compared(condition: Comparison | Between, column: npt.NDArray[Any], ends: Callable[[Any], tuple[Any, Any]]) -> Mask:
    """The same for numbers of a column, given what encloses a constant among the numbers that there are: the greatest that
    is not above it, and the least that is not below it."""
    mask: Mask
    if isinstance(condition, Between):
        mask = (column >= ends(condition.low)[1]) & (column < ends(condition.high)[1])
        return mask
    low, high = ends(condition.value)
    if condition.operator in ("==", "!="):
        is_equal = column == low if low == high else np.zeros(len(column), np.bool_)
        return is_equal if condition.operator == "==" else ~is_equal
    compare = _COMPARE[condition.operator]
    mask = compare(column, low if condition.operator in ("<=", ">") else high)
    return mask


def _of_objects(condition: Comparison | Between | IsIn, column: npt.NDArray[Any]) -> Mask:
    """The same for values that have no stored number: compared one by one, as Python does."""
    holds: Callable[[Any], bool]
    if isinstance(condition, IsIn):
        holds = condition.values.__contains__
    elif isinstance(condition, Between):
        holds = lambda value: condition.low <= value < condition.high  # noqa: E731
    else:
        compare, operand = _COMPARE[condition.operator], condition.value
        holds = lambda value: compare(value, operand)  # noqa: E731
    return np.fromiter((value is not None and holds(value) for value in column), np.bool_, len(column))


def asks_for_none(condition: Comparison | Between | IsIn) -> bool:
    """Whether the condition is about values that are absent."""
    return isinstance(condition, Comparison) and condition.value is None


def _is_none(condition: Comparison | Between | IsIn, present: Mask | None, count: int) -> Mask:
    assert isinstance(condition, Comparison)
    there: Mask = np.ones(count, np.bool_) if present is None else present
    return np.logical_not(there) if condition.operator == "==" else there


def _is_none_or_in(condition: IsIn, present: Mask | None, records: Any) -> Mask:
    """As `==` with each of the values, of which some are None."""
    others = IsIn(condition.column, tuple(given for given in condition.given if given is not None))
    mask = _of_leaf(others, records)
    return mask if present is None else mask | ~present


def _inside(column: npt.NDArray[Any], intervals: Intervals, domain: Domain) -> Mask:
    if len(intervals) > _FEW:
        return _looked_up(column, intervals)
    mask = np.zeros(len(column), np.bool_)
    for low, high in intervals:
        inside = np.ones(len(column), np.bool_)
        if low > domain[0]:
            inside &= column >= low
        if high < domain[1]:
            inside &= column < high
        mask |= inside
    return mask


def _looked_up(column: npt.NDArray[Any], intervals: Intervals) -> Mask:
    """By binary search for the last interval that begins at or below each value."""
    kind = column.dtype.newbyteorder("=")
    lows = np.array([low for low, _ in intervals], kind)
    lasts = np.array([high - 1 for _, high in intervals], kind)
    values = column.astype(kind)
    at = np.searchsorted(lows, values, side="right") - 1
    mask: Mask = (at >= 0) & (values <= lasts[at])
    return mask
