"""What a condition says about the key, as a union of regions.

Rules kept here:

* A region is a product of interval sets, one for each key component. A condition compiles to regions that hold every
  key for which it may be true; when they hold no other, the compilation is *exact* and needs no filter.
* Negation is pushed down to the leaves, where complements of key conditions are exact. What a condition says about the
  payload says nothing about the key.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Final, TypeAlias

import attrs

from tsmodel.keys import KEY_FIELDS, LIMITS
from tsmodel.model.expressions import And, Between, Comparison, Expression, IsIn, Not, Or
from tsmodel.query.intervals import Intervals, complement, domain_of, intersect, of_condition, union

__all__ = ["EVERYTHING", "KeyRegions", "Region", "all_of", "is_key_condition", "regions_of"]

Region: TypeAlias = tuple[Intervals, ...]
"""An interval set for each key component, in wire order; none is empty."""

EVERYTHING: Final[Region] = tuple(((limits.least, limits.bound),) for limits in LIMITS.values())

_MOST_REGIONS: Final = 4096
"""Past this many, a product of alternatives is covered by one region and filtered."""


@attrs.frozen
class KeyRegions:
    """What a condition says about the key.

    Attributes:
        regions: they hold every key for which the condition may be true.
        exact: whether they hold no other key.
        relaxed: whether they are wider than what the condition says, for there would have been too many.
    """

    regions: tuple[Region, ...]
    exact: bool
    relaxed: bool = False


def regions_of(condition: Expression) -> KeyRegions:
    """The regions of a condition."""
    return _compile(condition, negated=False)


def is_key_condition(condition: Expression) -> bool:
    """Whether the condition asks for nothing but key components."""
    if isinstance(condition, Not):
        return is_key_condition(condition.term)
    if isinstance(condition, (And, Or)):
        return all(map(is_key_condition, condition.terms))
    assert isinstance(condition, (Comparison, Between, IsIn))
    return condition.column.is_key


def _compile(condition: Expression, *, negated: bool) -> KeyRegions:
    if isinstance(condition, Not):
        return _compile(condition.term, negated=not negated)
    if isinstance(condition, (And, Or)):
        parts = [_compile(term, negated=negated) for term in condition.terms]
        return all_of(parts) if isinstance(condition, And) != negated else _any(parts)
    assert isinstance(condition, (Comparison, Between, IsIn))
    if not condition.column.is_key:
        return KeyRegions((EVERYTHING,), exact=False)
    domain = domain_of(condition)
    assert domain is not None
    intervals = of_condition(condition, domain)
    if negated:
        intervals = complement(intervals, domain)
    at = KEY_FIELDS.index(condition.column.name)
    region = (*EVERYTHING[:at], intervals, *EVERYTHING[at + 1 :])
    return KeyRegions((region,) if intervals else (), exact=True)


def all_of(parts: list[KeyRegions]) -> KeyRegions:
    """The regions where all of several conditions may be true."""
    regions: tuple[Region, ...] = (EVERYTHING,)
    relaxed = any(part.relaxed for part in parts)
    for part in parts:
        alternatives = part.regions
        if len(regions) * len(alternatives) > _MOST_REGIONS:
            alternatives, relaxed = (_cover(alternatives),), True
        pairs = (tuple(map(intersect, a, b)) for a, b in product(regions, alternatives))
        regions = _coalesced(pair for pair in pairs if all(pair))
    return KeyRegions(regions, not relaxed and all(part.exact for part in parts), relaxed)


def _any(parts: list[KeyRegions]) -> KeyRegions:
    regions = _coalesced(region for part in parts for region in part.regions)
    return KeyRegions(regions, all(part.exact for part in parts), any(part.relaxed for part in parts))


def _cover(regions: Iterable[Region]) -> Region:
    return tuple(union(interval for intervals in column for interval in intervals) for column in zip(*regions, strict=True))


def _coalesced(regions: Iterable[Region]) -> tuple[Region, ...]:
    """The same keys in fewer regions: those that differ in one component only are united."""
    current = tuple(dict.fromkeys(regions))
    if len(current) < 2:
        return current
    for at in range(len(KEY_FIELDS)):
        groups: dict[Region, list[Intervals]] = {}
        for region in current:
            groups.setdefault((*region[:at], *region[at + 1 :]), []).append(region[at])
        current = tuple(
            (*rest[:at], union(interval for intervals in column for interval in intervals), *rest[at:])
            for rest, column in groups.items()
        )
    return current
