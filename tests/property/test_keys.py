"""Key ranges against brute force over three values per component, which stand for all keys."""

from __future__ import annotations

from itertools import combinations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from tsmodel.keys import LIMITS, Key, KeyRange

# Range bounds come from these values, so each of the first three stands for all values up to the next.
VALUES = [[limits.least, 1, 2, limits.bound] for limits in LIMITS.values()]

ends = st.builds(Key, *map(st.sampled_from, VALUES))
boxes = st.builds(KeyRange, ends, ends)
SPACE = [Key(*components) for components in product(*(values[:-1] for values in VALUES))]


def keys_in(box: KeyRange) -> set[Key]:
    return {
        key
        for key in SPACE
        if all(low <= x < high for low, x, high in zip(box.min.astuple(), key.astuple(), box.max.astuple(), strict=True))
    }


def smallest_box_around(keys: set[Key]) -> set[Key]:
    """All keys of the space whose components lie between the least and the greatest among `keys`."""
    if not keys:
        return set()
    sides = [(min(values), max(values)) for values in zip(*(key.astuple() for key in keys), strict=True)]
    return {key for key in SPACE if all(low <= x <= high for x, (low, high) in zip(key.astuple(), sides, strict=True))}


@settings(deadline=None)
@given(boxes)
def test_contains_and_is_empty(box: KeyRange) -> None:
    assert {key for key in SPACE if box.contains(key)} == keys_in(box)
    assert box.is_empty == (not keys_in(box))


@settings(deadline=None)
@given(boxes, boxes)
def test_intersect_hull_and_covers(one: KeyRange, other: KeyRange) -> None:
    assert keys_in(one.intersect(other)) == keys_in(one) & keys_in(other)
    assert keys_in(one) | keys_in(other) <= keys_in(one.hull(other))
    assert one.covers(other) == (keys_in(one) >= keys_in(other))


full_boxes = st.tuples(*[st.sampled_from([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])] * 5).map(
    lambda sides: KeyRange(
        Key(*(values[low] for values, (low, _) in zip(VALUES, sides, strict=True))),
        Key(*(values[high] for values, (_, high) in zip(VALUES, sides, strict=True))),
    )
)


@settings(deadline=None)
@given(full_boxes, full_boxes)
def test_hull_is_the_smallest_box(one: KeyRange, other: KeyRange) -> None:
    assert keys_in(one.hull(other)) == smallest_box_around(keys_in(one) | keys_in(other))


@settings(deadline=None)
@given(boxes | full_boxes, boxes | full_boxes)
def test_subtract(one: KeyRange, other: KeyRange) -> None:
    pieces = one.subtract(other)
    assert set().union(*map(keys_in, pieces)) == keys_in(one) - keys_in(other)
    assert len(pieces) <= 10
    assert not any(piece.is_empty for piece in pieces)
    assert all(a.intersect(b).is_empty for a, b in combinations(pieces, 2))
