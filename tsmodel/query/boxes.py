"""Compiles conditions on the key to boxes: disjoint key ranges that a backend reads.

Rules kept here:

* The intervals of a set are sorted, not empty, and neither overlap nor touch, so equal sets are equal tuples. A set lies
  within its domain, so complements are exact.
* A *product* has an interval set for each key component. A condition compiles to products that contain every key for which
  it can be true. If they contain no other key, they are *exact*, and the condition needs no filter.
* Negation is pushed down to the leaves, where complements of key conditions are exact. A condition on the payload does not
  restrict the key.
* No key is in two boxes, so no record is returned twice.
* If there would be more than `most` boxes, neighbours are merged. The boxes then contain surplus keys, and the caller must
  filter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import chain as chained
from itertools import combinations, pairwise
from itertools import product as crossed
from math import prod
from typing import Final, TypeAlias

import msgspec

from tsmodel.keys import KEY_FIELDS, LIMITS, Key, KeyRange
from tsmodel.model.expressions import Between, Chain, Comparison, Expression, IsIn, chain_of, folded, leaves

__all__ = [
    "EVERYTHING",
    "Boxes",
    "Domain",
    "Intervals",
    "KeyBounds",
    "Product",
    "all_of",
    "bounds_of",
    "boxes_of",
    "complement",
    "domain_of",
    "intersect",
    "intersection",
    "is_key_condition",
    "narrow",
    "of_condition",
    "union",
]

Intervals: TypeAlias = tuple[tuple[int, int], ...]
"""A set of integers: disjoint half-open intervals, ascending."""

Domain: TypeAlias = tuple[int, int]
"""The half-open interval of all values of a column."""


def union(intervals: Iterable[tuple[int, int]]) -> Intervals:
    """The union of intervals in any order; empty and reversed ones are ignored."""
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
    """The intersection of two sets."""
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
    """The values of the domain that are not in the set."""
    edges = [domain[0], *(edge for interval in intervals for edge in interval), domain[1]]
    return tuple((low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if low < high)


def intersection(sets: Sequence[Intervals], domain: Domain) -> Intervals:
    """The intersection of many sets within a domain."""
    if len(sets) == 1:
        return sets[0]
    outside = union(interval for intervals in sets for interval in complement(intervals, domain))
    return complement(outside, domain)


def narrow(intervals: Intervals, most: int) -> Intervals:
    """A superset with at most `most` intervals; the smallest gaps are closed."""
    if len(intervals) <= most:
        return intervals
    gaps = sorted(range(1, len(intervals)), key=lambda i: intervals[i][0] - intervals[i - 1][1], reverse=True)
    starts = [0, *sorted(gaps[: most - 1]), len(intervals)]
    return tuple((intervals[start][0], intervals[end - 1][1]) for start, end in pairwise(starts))


def domain_of(condition: Comparison | Between | IsIn) -> Domain | None:
    """The domain of the condition's column if it holds integers or times, otherwise None."""
    number = condition.column.codec.number
    limits = number.limits if number is not None else None
    if limits is None:
        return None
    # The greatest value of a key component is never stored: as the end of a range it means "no limit".
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
    """The least integer of the domain that is not below `value`, or the domain's end."""
    return max(math.ceil(_clamped(value, domain)), domain[0])


def _above(value: float, domain: Domain) -> int:
    """The least integer of the domain that is above `value`, or the domain's end."""
    return min(math.floor(_clamped(value, domain)) + 1, domain[1])


def _equal(value: float, domain: Domain) -> Intervals:
    if domain[0] <= value < domain[1] and value == math.floor(value):
        return ((math.floor(value), math.floor(value) + 1),)
    return ()


Product: TypeAlias = tuple[Intervals, ...]
"""An interval set for each key component, in wire order; none is empty."""

EVERYTHING: Final[Product] = tuple(((limits.least, limits.bound),) for limits in LIMITS.values())

_MOST_PRODUCTS: Final = 4096
"""Above this many products, alternatives are covered by one product and filtered."""
_MOST_INTERVALS: Final = 300_000
"""About how many intervals may be intersected for a condition before its remaining alternatives are covered."""
_MOST_WORK: Final = 2_000_000
"""Divided by the square of a chain's depth: most products, and intervals in a set, before they are covered by fewer."""


class KeyBounds(msgspec.Struct, frozen=True):
    """The keys for which a condition can be true.

    Attributes:
        products: contain every such key.
        exact: whether they contain no other key.
        relaxed: whether they are wider than necessary, because there would have been too many.
    """

    products: tuple[Product, ...]
    exact: bool
    relaxed: bool = False


_ANY_PAYLOAD: Final = KeyBounds((EVERYTHING,), exact=False)


def bounds_of(condition: Expression) -> KeyBounds:
    """Compiles a condition to products."""
    chain = chain_of(condition)
    # The products of a chain are processed again for each chain that contains it, so deeper chains may have fewer.
    most = max(1, _MOST_WORK // chain.depth**2)
    return folded(chain, lambda _, held, part: held.append(part), lambda each, parts: _compile(each, parts, most))


def is_key_condition(condition: Expression) -> bool:
    """Whether a condition names only key components."""
    return all(leaf.column.is_key for leaf in leaves(condition))


def _compile(chain: Chain, parts: list[KeyBounds], most: int) -> KeyBounds:
    """Compiles a chain, given the results for the chains within it."""
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
        product = (*EVERYTHING[:at], within, *EVERYTHING[at + 1 :])
        parts.append(KeyBounds((product,) if within else (), exact=True))
    made = all_of(parts, min(most, _MOST_PRODUCTS)) if chain.is_all else _any(parts)
    if len(made.products) <= most and all(len(intervals) <= most for product in made.products for intervals in product):
        return made
    products = made.products if len(made.products) <= most else (_cover(made.products),)
    products = tuple(tuple(narrow(intervals, most) for intervals in product) for product in products)
    return KeyBounds(products, exact=False, relaxed=True)


def all_of(parts: Sequence[KeyBounds], most: int = _MOST_PRODUCTS) -> KeyBounds:
    """The keys for which all of several conditions can be true."""
    relaxed = any(part.relaxed for part in parts)
    single = [part.products[0] for part in parts if len(part.products) == 1]
    several = [part.products for part in parts if len(part.products) != 1]
    products = _common(single) if single and not several else (EVERYTHING,)
    work = 0
    for alternatives in several:
        work += len(alternatives) * sum(len(intervals) for product in products for intervals in product)
        if len(products) * len(alternatives) > most or work > _MOST_INTERVALS:
            relaxed = True
            single.append(_cover(alternatives))
            continue
        pairs = (tuple(map(intersect, a, b)) for a, b in crossed(products, alternatives))
        products = _coalesced(pair for pair in pairs if all(pair))
    if single and several:
        pairs = (tuple(map(intersect, a, b)) for a, b in crossed(products, _common(single)))
        products = tuple(pair for pair in pairs if all(pair))
    return KeyBounds(products, not relaxed and all(part.exact for part in parts), relaxed)


def _common(products: Sequence[Product]) -> tuple[Product, ...]:
    """The intersection of many products: one product or none."""
    common = []
    for at, everything in enumerate(EVERYTHING):
        sets = [product[at] for product in products if product[at] != everything]
        common.append(everything if not sets else sets[0] if len(sets) == 1 else intersection(sets, everything[0]))
    return (tuple(common),) if all(common) else ()


def _any(parts: Sequence[KeyBounds]) -> KeyBounds:
    products = _coalesced(product for part in parts for product in part.products)
    if EVERYTHING in products:
        products = (EVERYTHING,)
    return KeyBounds(products, all(part.exact for part in parts), any(part.relaxed for part in parts))


def _cover(products: Iterable[Product]) -> Product:
    return tuple(union(chained.from_iterable(column)) for column in zip(*products, strict=True))


def _coalesced(products: Iterable[Product]) -> tuple[Product, ...]:
    """The same keys in fewer products: products that differ in only one component are united."""
    current = tuple(dict.fromkeys(products))
    if len(current) < 2:
        return current
    for at in range(len(KEY_FIELDS)):
        groups: dict[Product, list[Intervals]] = {}
        for product in current:
            groups.setdefault((*product[:at], *product[at + 1 :]), []).append(product[at])
        current = tuple(
            (*rest[:at], column[0] if len(column) == 1 else union(chained.from_iterable(column)), *rest[at:])
            for rest, column in groups.items()
        )
    return current


class Boxes(msgspec.Struct, frozen=True):
    """Disjoint key ranges in key order, and whether they contain keys outside of the products."""

    boxes: tuple[KeyRange, ...]
    widened: bool


def boxes_of(products: tuple[Product, ...], most: int) -> Boxes:
    """At most `most` disjoint boxes that cover the products."""
    share = max(1, most // max(1, len(products)))
    narrowed = [_narrowed(product, share) for product in products]
    widened = narrowed != list(products)
    boxes = [box for product in narrowed for box in _expanded(product)]
    if len(products) > 1:
        boxes = _disjoint(boxes, 4 * most)
    if len(boxes) > most:
        boxes, widened = _joined(boxes, most), True
    return Boxes(tuple(sorted(boxes, key=lambda box: box.min)), widened)


def _narrowed(product: Product, most: int) -> Product:
    """A superset of a product that expands to at most `most` boxes."""
    counts = list(map(len, product))
    while prod(counts) > most:
        longest = counts.index(max(counts))
        others = prod(counts) // counts[longest]
        counts[longest] = max(most // others, counts[longest] // 2)
    return tuple(narrow(intervals, count) for intervals, count in zip(product, counts, strict=True))


def _expanded(product: Product) -> list[KeyRange]:
    return [
        KeyRange(Key(*(low for low, _ in intervals)), Key(*(high for _, high in intervals)))
        for intervals in crossed(*product)
    ]


def _disjoint(boxes: list[KeyRange], most: int) -> list[KeyRange]:
    """The same keys in boxes that do not overlap. Past `most` boxes it gives up, and returns overlapping ones."""
    kept: list[KeyRange] = []
    for box in boxes:
        pieces = [box]
        for other in kept:
            if _overlap(box, other):
                pieces = [piece for rest in pieces for piece in rest.subtract(other)]
        kept += pieces
        if len(kept) > most:
            return kept + boxes
    return kept


def _overlap(first: KeyRange, second: KeyRange) -> bool:
    """Whether two non-empty boxes have a key in common."""
    return all(
        low < other_high and other_low < high
        for (low, high), (other_low, other_high) in zip(first.intervals(), second.intervals(), strict=True)
    )


def _joined(boxes: list[KeyRange], most: int) -> list[KeyRange]:
    """At most `most` disjoint boxes that cover these: neighbours in key order are merged, then boxes that overlap."""
    ordered = sorted(boxes, key=lambda box: box.min)
    length = -(-len(ordered) // most)
    joined = [reduce(KeyRange.hull, ordered[start : start + length]) for start in range(0, len(ordered), length)]
    while pair := next(((a, b) for a, b in combinations(joined, 2) if _overlap(a, b)), None):
        joined = [box for box in joined if box not in pair] + [pair[0].hull(pair[1])]
    return joined
