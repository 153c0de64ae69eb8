"""Key ranges against brute force over all keys of a small space."""

from __future__ import annotations

from itertools import combinations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from tsmodel.keys import Key, KeyRange

ends = st.builds(Key, *[st.integers(0, 3)] * 5)
boxes = st.builds(KeyRange, ends, ends)
SPACE = [Key(*components) for components in product(range(3), repeat=5)]


def keys_in(box: KeyRange) -> set[Key]:
    return {
        key
        for key in SPACE
        if all(low <= x < high for low, x, high in zip(box.min.astuple(), key.astuple(), box.max.astuple(), strict=True))
    }


@settings(deadline=None)
@given(boxes)
def test_contains_and_is_empty(box: KeyRange) -> None:
    assert {key for key in SPACE if box.contains(key)} == keys_in(box)
    assert box.is_empty == (not keys_in(box))


@settings(deadline=None)
@given(boxes, boxes)
def test_pairs_of_boxes(one: KeyRange, other: KeyRange) -> None:
    assert keys_in(one.intersect(other)) == keys_in(one) & keys_in(other)
    assert keys_in(one) | keys_in(other) <= keys_in(one.hull(other)) or one.is_empty or other.is_empty
    assert one.covers(other) == (keys_in(one) >= keys_in(other))


@settings(deadline=None)
@given(boxes, boxes)
def test_subtract(one: KeyRange, other: KeyRange) -> None:
    pieces = one.subtract(other)
    assert set().union(*map(keys_in, pieces)) == keys_in(one) - keys_in(other)
    assert len(pieces) <= 10
    assert not any(piece.is_empty for piece in pieces)
    assert all(a.intersect(b).is_empty for a, b in combinations(pieces, 2))
