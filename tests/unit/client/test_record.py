"""Records behave as in the official client: they can be sorted, hashed, replaced and matched."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from tsmodel.client.record import Key, Record
from tsmodel.client.records_set import GetCallback, RecordsSet
from tsmodel.keys import Key as OtherKey


def test_key_is_shared_with_tsmodel() -> None:
    assert Key is OtherKey


def test_records_are_ordered_by_key_and_then_by_value() -> None:
    ordered = [Record(Key(0, 0, 0, 0, 0), 1), Record(Key(0, 0, 0, 0, 0), 2), Record(Key(0, 0, 1), 0), Record(Key(1), -5)]
    assert sorted([ordered[at] for at in (2, 0, 3, 1)]) == ordered


def test_records_are_hashable_when_their_values_are() -> None:
    assert {Record(Key(1), b"x"), Record(Key(1), b"x"), Record(Key(1), b"y")} == {
        Record(Key(1), b"y"),
        Record(Key(1), b"x"),
    }
    with pytest.raises(TypeError, match="unhashable"):
        hash(Record(Key(1), [1]))


def test_records_are_frozen() -> None:
    record = Record(Key(1), 5)
    with pytest.raises(AttributeError):
        record.value = 6  # type: ignore[misc]
    assert not hasattr(record, "__dict__")


def test_record_is_a_dataclass() -> None:
    record = Record(Key(1, 2, 3, 4, 5), 7.5)
    assert dataclasses.replace(record, value=8.5) == Record(Key(1, 2, 3, 4, 5), 8.5)
    assert dataclasses.asdict(record) == {"key": {"cid": 1, "mid": 2, "moid": 3, "cap": 4, "acq": 5}, "value": 7.5}
    assert dataclasses.astuple(record) == ((1, 2, 3, 4, 5), 7.5)
    assert [each.name for each in dataclasses.fields(Record)] == ["key", "value"]


def test_record_matches_patterns() -> None:
    found: object = Record(Key(1, 2), "text")
    match found:
        case Record(key=Key(cid=1), value=str(value)):
            assert value == "text"
        case _:
            raise AssertionError


def test_copies() -> None:
    record = Record(Key(1), [1, 2])
    for other in (pickle.loads(pickle.dumps(record)), copy.copy(record), copy.deepcopy(record)):
        assert other == record
        assert type(other) is Record


def test_record_is_generic_in_its_value() -> None:
    assert Record[int](Key(1), 5) == Record(Key(1), 5)


def test_list_is_a_record_set() -> None:
    records: RecordsSet[int] = []
    callback: GetCallback[int] = lambda batch: [records.append(each) for each in batch] and None  # noqa: E731
    callback([Record(Key(1), 1), Record(Key(2), 2)])
    assert [each.value for each in records] == [1, 2]
    assert len(records) == 2


def test_empty_key_is_refused() -> None:
    broken: Any = Record
    with pytest.raises(TypeError):
        broken(Key(1))
