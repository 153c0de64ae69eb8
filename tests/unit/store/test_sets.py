"""Sharded sets: which shard keeps a cid, and how puts of a set are numbered."""

from __future__ import annotations

import pytest

from tsmodel.errors import StoreCorruptError
from tsmodel.keys import KeyRange
from tsmodel.store.postgres.database import without_password
from tsmodel.store.postgres.sets import (
    ShardSet,
    format_of,
    kind_of,
    local_number,
    numbered,
    shard_in,
    shard_of,
    shards_in,
)


def test_shard_of_a_cid_never_changes() -> None:
    """Changing the mapping would hide records that earlier versions stored."""
    assert [shard_of(cid, 3) for cid in range(12)] == [2, 2, 1, 1, 0, 2, 0, 2, 0, 0, 2, 2]
    assert [shard_of(cid, 7) for cid in (0, 1, 1000, 2**31 - 2)] == [3, 0, 4, 6]


def test_cids_are_spread_evenly() -> None:
    counts = [0] * 5
    for cid in range(10_000):
        counts[shard_of(cid, 5)] += 1
    assert max(counts) - min(counts) < 300


def test_shards_of_key_ranges() -> None:
    for cid in range(50):
        assert shards_in([KeyRange.of(cid=(cid, cid + 1))], 3) == [shard_of(cid, 3)]
    assert shards_in([KeyRange()], 3) == [0, 1, 2]
    assert shards_in([KeyRange.of(cid=(2, 4)), KeyRange.of(cid=(8, 9))], 3) == [0, 1]
    assert shards_in([], 2) == shards_in([KeyRange.of(cid=(5, 5))], 2) == [0, 1]


def test_put_numbers_encode_the_shard() -> None:
    assert numbered(17, 1) == 17002
    for local in (1, 999, 10**9):
        for shard in (0, 998):
            number = numbered(local, shard)
            assert (local_number(number), shard_in(number)) == (local, shard)


def test_format_states_kind_and_number_of_shards() -> None:
    assert [kind_of(format_of(kind, 3)) for kind in ("store", "set", "shard")] == [("store", 3), ("set", 3), ("shard", 3)]


def test_list_of_shards_round_trips() -> None:
    found = ShardSet("ab", ("postgresql://a/x", "postgresql://b/y"), is_ready=True)
    assert ShardSet.from_bytes(found.to_bytes()) == found
    with pytest.raises(StoreCorruptError, match="list of shards"):
        ShardSet.from_bytes(found.to_bytes()[:-1])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:secret@h/d", "postgresql://u@h/d"),
        ("postgresql://h/d?password=secret&schema=x", "postgresql://h/d?schema=x"),
        ("postgresql://h/d?password=secret", "postgresql://h/d"),
        ("postgresql://u@h/d?sslpassword=secret&sslkey=k", "postgresql://u@h/d?sslkey=k"),
    ],
)
def test_passwords_are_removed(url: str, expected: str) -> None:
    assert without_password(url) == expected
