"""From regions to the disjoint key ranges that a backend reads.

Rules kept here:

* No key lies in two boxes, so no record is ever returned twice.
* When there would be more than `most` boxes, neighbours are widened into one: the boxes then hold more than was asked
  for, which the caller must filter.
"""

from __future__ import annotations

from itertools import combinations, product
from math import prod

import attrs

from tsmodel.keys import Key, KeyRange
from tsmodel.query.intervals import narrow
from tsmodel.query.regions import Region

__all__ = ["Boxes", "boxes_of"]


@attrs.frozen
class Boxes:
    """Disjoint key ranges in key order, and whether they were widened beyond the regions they cover."""

    boxes: tuple[KeyRange, ...]
    widened: bool


def boxes_of(regions: tuple[Region, ...], most: int) -> Boxes:
    """At most `most` disjoint boxes that cover the regions."""
    share = max(1, most // max(1, len(regions)))
    narrowed = [_narrowed(region, share) for region in regions]
    widened = narrowed != list(regions)
    boxes = [box for region in narrowed for box in _expanded(region)]
    if len(regions) > 1:
        boxes = _disjoint(boxes, 4 * most)
    if len(boxes) > most:
        boxes, widened = _joined(boxes, most), True
    return Boxes(tuple(sorted(boxes, key=lambda box: box.min)), widened)


def _narrowed(region: Region, most: int) -> Region:
    """The region with so few intervals that it makes at most `most` boxes."""
    counts = list(map(len, region))
    while prod(counts) > most:
        longest = counts.index(max(counts))
        others = prod(counts) // counts[longest]
        counts[longest] = max(most // others, counts[longest] // 2)
    return tuple(narrow(intervals, count) for intervals, count in zip(region, counts, strict=True))


def _expanded(region: Region) -> list[KeyRange]:
    return [
        KeyRange(Key(*(low for low, _ in intervals)), Key(*(high for _, high in intervals)))
        for intervals in product(*region)
    ]


def _disjoint(boxes: list[KeyRange], most: int) -> list[KeyRange]:
    """The same keys in boxes that do not overlap, or, given up, more than `most` boxes that cover these keys."""
    kept: list[KeyRange] = []
    for box in boxes:
        pieces = [box]
        for other in kept:
            if _meet(box, other):
                pieces = [piece for rest in pieces for piece in rest.subtract(other)]
        kept += pieces
        if len(kept) > most:
            return kept + boxes
    return kept


def _meet(first: KeyRange, second: KeyRange) -> bool:
    """Whether two boxes, neither empty, have a key in common."""
    return all(
        low < other_high and other_low < high
        for (low, high), (other_low, other_high) in zip(first.intervals(), second.intervals(), strict=True)
    )


def _joined(boxes: list[KeyRange], most: int) -> list[KeyRange]:
    """At most `most` disjoint boxes that cover these: neighbours in key order are joined, then what overlaps."""
    ordered = sorted(boxes, key=lambda box: box.min)
    length = -(-len(ordered) // most)
    joined = [_hull(ordered[start : start + length]) for start in range(0, len(ordered), length)]
    while pair := next(((a, b) for a, b in combinations(joined, 2) if _meet(a, b)), None):
        joined = [box for box in joined if box not in pair] + [pair[0].hull(pair[1])]
    return joined


def _hull(boxes: list[KeyRange]) -> KeyRange:
    hull = boxes[0]
    for box in boxes[1:]:
        hull = hull.hull(box)
    return hull
