"""What a condition says about the key, as a union of regions.

Rules kept here:

* A region is a product of interval sets, one for each key component. A condition compiles to regions that hold every
  key for which it may be true; when they hold no other, the compilation is *exact* and needs no filter.
* Negation is pushed down to the leaves, where complements of key conditions are exact. What a condition says about the
  payload says nothing about the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain as chained
from itertools import product
from typing import Final, TypeAlias

import attrs

from tsmodel.keys import KEY_FIELDS, LIMITS
from tsmodel.model.expressions import Chain, Expression, chain_of, folded, leaves
from tsmodel.query.intervals import (
    Domain,
    Intervals,
    complement,
    domain_of,
    intersect,
    intersection,
    narrow,
    of_condition,
    union,
)

__all__ = ["EVERYTHING", "KeyRegions", "Region", "all_of", "is_key_condition", "regions_of"]

Region: TypeAlias = tuple[Intervals, ...]
"""An interval set for each key component, in wire order; none is empty."""

EVERYTHING: Final[Region] = tuple(((limits.least, limits.bound),) for limits in LIMITS.values())

_MOST_REGIONS: Final = 4096
"""Past this many, a product of alternatives is covered by one region and filtered."""
_MOST_PRODUCTS: Final = 300_000
"""About how many intervals are gone through for all such products of one condition, before the rest is covered."""
_MOST_WORK: Final = 2_000_000
"""About how many regions, and intervals of one, are kept of a condition of one chain, before they are covered by fewer."""


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


_ANY_PAYLOAD: Final = KeyRegions((EVERYTHING,), exact=False)


def regions_of(condition: Expression) -> KeyRegions:
    """The regions of a condition."""
    chain = chain_of(condition)
    # Regions of a chain are gone through for each chain that it lies in: the deeper, the fewer.
    most = max(1, _MOST_WORK // chain.depth**2)
    return folded(chain, lambda _, held, part: held.append(part), lambda each, parts: _compile(each, parts, most))


def is_key_condition(condition: Expression) -> bool:
    """Whether the condition asks for nothing but key components."""
    return all(leaf.column.is_key for leaf in leaves(condition))


def _compile(chain: Chain, parts: list[KeyRegions], most: int) -> KeyRegions:
    """The regions of a chain, given those of the chains within it."""
    sets: dict[int, tuple[Domain, list[Intervals]]] = {}
    parts = list(parts)
    for leaf, negated in chain.leaves:
        if leaf.column.is_key:
            domain = domain_of(leaf)
            assert domain is not None
            intervals = of_condition(leaf, domain)
            at = KEY_FIELDS.index(leaf.column.name)
            sets.setdefault(at, (domain, []))[1].append(complement(intervals, domain) if negated else intervals)
        elif not parts or parts[-1] is not _ANY_PAYLOAD:
            parts.append(_ANY_PAYLOAD)
    for at, (domain, each) in sets.items():
        within = intersection(each, domain) if chain.is_all else union(chained.from_iterable(each))
        within = intersect(within, EVERYTHING[at])
        region = (*EVERYTHING[:at], within, *EVERYTHING[at + 1 :])
        parts.append(KeyRegions((region,) if within else (), exact=True))
    made = all_of(parts, min(most, _MOST_REGIONS)) if chain.is_all else _any(parts)
    if len(made.regions) <= most and all(len(intervals) <= most for region in made.regions for intervals in region):
        return made
    regions = made.regions if len(made.regions) <= most else (_cover(made.regions),)
    regions = tuple(tuple(narrow(intervals, most) for intervals in region) for region in regions)
    return KeyRegions(regions, exact=False, relaxed=True)


def all_of(parts: Sequence[KeyRegions], most: int = _MOST_REGIONS) -> KeyRegions:
    """The regions where all of several conditions may be true."""
    relaxed = any(part.relaxed for part in parts)
    single = [part.regions[0] for part in parts if len(part.regions) == 1]
    several = [part.regions for part in parts if len(part.regions) != 1]
    regions = _common(single) if single and not several else (EVERYTHING,)
    work = 0
    for alternatives in several:
        work += len(alternatives) * sum(len(intervals) for region in regions for intervals in region)
        if len(regions) * len(alternatives) > most or work > _MOST_PRODUCTS:
            relaxed = True
            single.append(_cover(alternatives))
            continue
        pairs = (tuple(map(intersect, a, b)) for a, b in product(regions, alternatives))
        regions = _coalesced(pair for pair in pairs if all(pair))
    if single and several:
        pairs = (tuple(map(intersect, a, b)) for a, b in product(regions, _common(single)))
        regions = tuple(pair for pair in pairs if all(pair))
    return KeyRegions(regions, not relaxed and all(part.exact for part in parts), relaxed)


def _common(regions: Sequence[Region]) -> tuple[Region, ...]:
    """What is in all of many regions, as one or none."""
    common = []
    for at, everything in enumerate(EVERYTHING):
        sets = [region[at] for region in regions if region[at] != everything]
        common.append(everything if not sets else sets[0] if len(sets) == 1 else intersection(sets, everything[0]))
    return (tuple(common),) if all(common) else ()


def _any(parts: Sequence[KeyRegions]) -> KeyRegions:
    regions = _coalesced(region for part in parts for region in part.regions)
    if EVERYTHING in regions:
        regions = (EVERYTHING,)
    return KeyRegions(regions, all(part.exact for part in parts), any(part.relaxed for part in parts))


def _cover(regions: Iterable[Region]) -> Region:
    return tuple(union(chained.from_iterable(column)) for column in zip(*regions, strict=True))


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
            (*rest[:at], column[0] if len(column) == 1 else union(chained.from_iterable(column)), *rest[at:])
            for rest, column in groups.items()
        )
    return current
