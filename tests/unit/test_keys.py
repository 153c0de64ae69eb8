"""Keys and key ranges: wire form, order, storable values, and validation."""

from __future__ import annotations

import dataclasses
import pickle
import struct
from itertools import pairwise

import pytest

from tsmodel.errors import KeyRangeError
from tsmodel.keys import KEY_DTYPE, KEY_FIELDS, KEY_SIZE, LIMITS, Key, KeyRange, unpack_key

LEAST = Key(0, -(2**63), -(2**31), -(2**63), -(2**63))
GREATEST = Key(2**31 - 1, 2**63 - 1, 2**31 - 1, 2**63 - 1, 2**63 - 1)


def test_unset_component_is_minus_one() -> None:
    assert Key().astuple() == (-1, -1, -1, -1, -1)
    assert Key(mid=5) == Key(-1, 5, -1, -1, -1)


def test_min_and_max() -> None:
    assert Key.min() == LEAST
    assert Key.max() == GREATEST


def test_keys_are_values() -> None:
    key = Key(1, 2, 3, 4, 5)
    assert len({key, Key(1, 2, 3, 4, 5)}) == 1
    assert pickle.loads(pickle.dumps(key)) == key
    with pytest.raises(AttributeError):
        key.cid = 2  # type: ignore[misc]


def test_keys_are_ordered_by_component() -> None:
    keys = [Key(0, 9, 9, 9, 9), Key(1, 0, 9, 9, 9), Key(1, 1, 0, 9, 9), Key(1, 1, 1, 0, 9), Key(1, 1, 1, 1, 0)]
    assert max(keys) == keys[-1]
    assert all(one < other for one, other in pairwise(keys))


@pytest.mark.parametrize(
    ("with_cid", "with_acq", "packed"),
    [(True, True, "<iqiqq"), (True, False, "<iqiq"), (False, True, "<qiqq"), (False, False, "<qiq")],
)
def test_wire_form(with_cid: bool, with_acq: bool, packed: str) -> None:
    values = (1, -2, 3, -4, 5)[0 if with_cid else 1 : 5 if with_acq else 4]
    assert Key(1, -2, 3, -4, 5).to_bytes(with_cid=with_cid, with_acq=with_acq) == struct.pack(packed, *values)


@pytest.mark.parametrize("key", [Key(), LEAST, GREATEST, Key(1, -2, 3, -4, 5)])
def test_from_bytes(key: Key) -> None:
    expected = key if key.cid >= 0 else None
    assert Key.from_bytes(key.to_bytes()) == expected
    assert Key.from_bytes(memoryview(b"some" + key.to_bytes() + b"more"), 4) == expected
    assert unpack_key(b"some" + key.to_bytes(), 4) == key


def test_invalid_key_bytes() -> None:
    assert Key.from_bytes(bytes(31)) is None
    assert Key.from_bytes(bytes(32), 1) is None
    assert Key.bytes_count() == 32
    with pytest.raises(KeyRangeError, match="32 bytes, not 31"):
        unpack_key(bytes(32), 1)


def test_component_out_of_wire_range() -> None:
    with pytest.raises(KeyRangeError, match="does not fit the wire"):
        Key(2**31).to_bytes()


def test_dtype_has_the_wire_form() -> None:
    assert KEY_DTYPE.itemsize == KEY_SIZE == 32
    assert KEY_DTYPE.names == ("cid", "mid", "moid", "cap", "acq")


@pytest.mark.parametrize("name", LIMITS)
def test_is_storable(name: str) -> None:
    limits = LIMITS[name]
    good = {"cid": 1, "mid": 1, "moid": 1, "cap": 1, "acq": 1}
    for value in (limits.least, limits.bound - 1):
        assert Key(**{**good, name: value}).is_storable()
    for value in (limits.least - 1, limits.bound):
        assert not Key(**{**good, name: value}).is_storable()
        assert Key(**{**good, name: value}).is_storable(with_acq=False) is (name == "acq")


@pytest.mark.parametrize(("key", "valid"), [(Key(), False), (Key(-1, 0), False), (Key(0), True), (Key(cid=1), True)])
def test_key_is_valid_if_its_cid_is_not_negative(key: Key, valid: bool) -> None:
    assert key.valid() is valid


def test_range_bounds_are_valid_and_the_upper_one_is_not_storable() -> None:
    assert (LEAST.valid(), LEAST.is_storable()) == (True, True)
    assert (GREATEST.valid(), GREATEST.is_storable()) == (True, False)


def test_key_is_a_dataclass() -> None:
    assert dataclasses.is_dataclass(Key)
    assert dataclasses.replace(Key.max(), cid=0, acq=7) == Key(0, 2**63 - 1, 2**31 - 1, 2**63 - 1, 7)
    assert dataclasses.asdict(Key(1, 2, 3, 4, 5)) == {"cid": 1, "mid": 2, "moid": 3, "cap": 4, "acq": 5}
    assert dataclasses.astuple(Key(1, 2, 3, 4, 5)) == (1, 2, 3, 4, 5)
    assert [(each.name, each.type, each.default) for each in dataclasses.fields(Key)] == [
        (name, int, -1) for name in KEY_FIELDS
    ]
    with pytest.raises(TypeError, match="cip"):
        dataclasses.replace(Key(), cip=1)  # type: ignore[call-arg]


def test_keys_match_patterns() -> None:
    match Key(1, 2, 3):
        case Key(cid=1, mid=mid):
            assert mid == 2
        case _:
            raise AssertionError
    match Key(1, 2, 3):
        case Key(1, 2, moid):
            assert moid == 3
        case _:
            raise AssertionError


def test_default_range_holds_everything() -> None:
    assert KeyRange() == KeyRange(LEAST, GREATEST)
    assert str(KeyRange()) == "all keys"


@pytest.mark.parametrize("name", LIMITS)
def test_range_accepts_all_component_values(name: str) -> None:
    limits = LIMITS[name]
    assert KeyRange.of(**{name: (limits.least, limits.bound)}) == KeyRange()
    for interval, end in (((limits.least - 1, 5), "min"), ((0, limits.bound + 1), "max")):
        with pytest.raises(KeyRangeError, match=rf"{end}\.{name} is .* a range takes") as caught:
            KeyRange.of(**{name: interval})
        assert caught.value.field == name


@pytest.mark.parametrize("value", [1.0, "1", None, True])
def test_range_refuses_non_ints(value: object) -> None:
    with pytest.raises(KeyRangeError, match="must be an int"):
        KeyRange(Key(value, 0, 0, 0, 0))  # type: ignore[arg-type]


def test_unset_cid_is_explained() -> None:
    with pytest.raises(KeyRangeError, match="-1 stands for a component that is not set"):
        KeyRange(Key(), Key.max())


def test_unknown_component() -> None:
    with pytest.raises(KeyRangeError, match="'cip' is not a key component"):
        KeyRange.of(cip=(1, 2))


@pytest.mark.parametrize("interval", ["abc", 5, (1, 2, 3), None])
def test_invalid_intervals(interval: object) -> None:
    with pytest.raises(KeyRangeError, match=r"^cid takes a half-open interval, \(least, end\), not ") as caught:
        KeyRange.of(cid=interval)  # type: ignore[arg-type]
    assert caught.value.field == "cid"


def test_range_is_a_box_not_lexicographic() -> None:
    box = KeyRange(Key(1, 10, 0, 0, 0), Key(3, 20, 9, 9, 9))
    assert Key(2, 15, 1, 1, 1) in box
    assert Key(2, 5, 1, 1, 1) not in box
    assert Key(2, 20, 1, 1, 1) not in box


def test_ranges_are_values() -> None:
    box = KeyRange.of(cid=(1, 2))
    assert len({box, KeyRange.of(cid=(1, 2))}) == 1
    assert pickle.loads(pickle.dumps(box)) == box


def test_repr_of_a_range_shows_its_limits() -> None:
    box = KeyRange.of(cid=(1, 2), mid=(5, 9), moid=(-(2**31), 3), cap=(0, 2**63 - 1))
    assert str(box) == "cid 1, mid [5, 9), moid [min, 3), cap [0, max)"


def test_hull_of_ranges() -> None:
    assert KeyRange.of(cid=(1, 2)).hull(KeyRange.of(cid=(5, 9))) == KeyRange.of(cid=(1, 9))
    assert KeyRange.of(cid=(1, 2)).hull(KeyRange.of(mid=(5, 9))) == KeyRange()


@pytest.mark.parametrize("empty", [(9, 9), (9, 4), (0, 0)])
def test_empty_range_does_not_extend_a_hull(empty: tuple[int, int]) -> None:
    box, nothing = KeyRange.of(cid=(1, 2)), KeyRange.of(cid=empty)
    assert box.hull(nothing) == nothing.hull(box) == box


def test_every_range_covers_an_empty_one() -> None:
    nothing = KeyRange.of(cap=(9, 9))
    assert KeyRange.of(cid=(1, 2)).covers(nothing)
    assert nothing.covers(KeyRange.of(mid=(4, 1)))
    assert not nothing.covers(KeyRange.of(cid=(1, 2)))


def test_subtracting_a_covering_range_leaves_nothing() -> None:
    box = KeyRange.of(cid=(1, 5))
    assert box.subtract(KeyRange()) == []
    assert box.subtract(KeyRange.of(cid=(5, 9))) == [box]
    assert box.subtract(KeyRange.of(cid=(2, 3))) == [KeyRange.of(cid=(1, 2)), KeyRange.of(cid=(3, 5))]
    assert KeyRange.of(cid=(5, 1)).subtract(KeyRange()) == []
