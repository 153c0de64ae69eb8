"""Any two layouts: a mixed chunk is split correctly, or the class is refused because records cannot be distinguished."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.budget import examples

from tsmodel import Bool, Float64, Int16, Int32, Text, TSModel, UInt8, connect
from tsmodel.errors import SchemaError
from tsmodel.keys import Key
from tsmodel.layout.row_codecs import Discriminator, split_by
from tsmodel.model.model import codec_of
from tsmodel.wire.chunk import parsed

KINDS: dict[Any, st.SearchStrategy[Any]] = {
    Int16: st.integers(-3, 3),
    Int32: st.integers(-3, 3),
    UInt8: st.integers(0, 3),
    Bool: st.booleans(),
    Float64: st.integers(-3, 3).map(lambda n: n / 2),
    Text: st.text(max_size=2),
}

kinds = st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=4)
orders = st.sampled_from(["little", "big"])


def model(name: str, fields: list[Any], **keywords: Any) -> Any:
    annotations = {f"f{at}": kind for at, kind in enumerate(fields)}
    return type(TSModel)(name, (TSModel,), {"__annotations__": annotations, "__module__": __name__}, **keywords)


@st.composite
def rows_of(draw: st.DrawFn, model: Any, fields: list[Any], caps: st.SearchStrategy[int]) -> Any:
    values = {f"f{at}": draw(KINDS[kind]) for at, kind in enumerate(fields)}
    return model(cid=draw(st.integers(0, 1)), mid=draw(st.integers(-1, 1)), moid=0, cap=draw(caps), **values)


def shown(row: Any) -> str:
    return f"{[getattr(row, name) for name in row.__struct_fields__ if name != 'acq']}"


@settings(max_examples=examples(150), deadline=None)
@given(data=st.data())
def test_any_two_versions(data: st.DataObject) -> None:
    old_fields, new_fields = data.draw(kinds), data.draw(kinds)
    versioned = data.draw(st.booleans()), data.draw(st.booleans())
    since = data.draw(st.sampled_from([None, 10]))
    old = model("Old", old_fields, versioned=versioned[0], byte_order=data.draw(orders))
    sizes = [fields_size(fields) + flag for fields, flag in zip((old_fields, new_fields), versioned, strict=True)]
    varies = [Text in fields for fields in (old_fields, new_fields)]
    apart = since is not None or all(versioned) or differ_in_size(sizes, varies)
    declared = {"replaces": old, "versioned": versioned[1], "since": since, "byte_order": data.draw(orders)}
    if not apart:
        with pytest.raises(SchemaError, match="cannot be distinguished"):
            model("New", new_fields, **declared)
        return
    new = model("New", new_fields, **declared)
    made = {f"f{at}": KINDS_DEFAULT[kind] for at, kind in enumerate(new_fields)}

    @new.upgrade_from(old)
    def upgrade(row: Any) -> Any:
        return new(cid=0, mid=0, moid=0, cap=0, **made)

    before = st.integers(5, 9) if since else st.integers(5, 14)
    after = st.integers(10, 14) if since else st.integers(5, 14)
    olds = data.draw(st.lists(rows_of(old, old_fields, before), max_size=6))
    news = data.draw(st.lists(rows_of(new, new_fields, after), max_size=6))
    mixed = data.draw(st.permutations([*olds, *news]))
    expected = [*(new(cid=row.cid, mid=row.mid, moid=0, cap=row.cap, **made) for row in olds), *news]
    with connect("memory:") as session:
        session.add_all(mixed)
        session.flush()
        query = session.query(new)
        assert sorted(map(shown, query.all())) == sorted(map(shown, expected))
        first = new_fields[0]
        value = data.draw(KINDS[first])
        chosen = query.where(new.f0 == value, new.mid >= 0)
        assert chosen.count() == sum(row.f0 == value and row.mid >= 0 for row in expected)
        assert sorted(map(shown, chosen)) == sorted(shown(row) for row in expected if row.f0 == value and row.mid >= 0)
        assert query.where(new.mid >= 0).count() == sum(row.mid >= 0 for row in expected)


KINDS_DEFAULT: dict[Any, Any] = {Int16: 1, Int32: 2, UInt8: 3, Bool: True, Float64: 0.5, Text: "ab"}
SIZES: dict[Any, int] = {Int16: 2, Int32: 4, UInt8: 1, Bool: 1, Float64: 8, Text: 2}


def fields_size(fields: list[Any]) -> int:
    return sum(SIZES[kind] for kind in fields)


def differ_in_size(sizes: list[int], varies: list[bool]) -> bool:
    if not any(varies):
        return sizes[0] != sizes[1]
    if all(varies):
        return False
    fixed, least = (sizes[1], sizes[0]) if varies[0] else (sizes[0], sizes[1])
    return fixed < least


discriminators = st.builds(
    lambda least, more, version, keys, since, until: Discriminator(
        "A", least, None if more is None else least + more, version, keys, since, until
    ),
    st.integers(0, 3),
    st.sampled_from([None, 0, 0, 2]),
    st.sampled_from([None, None, 1, 2]),
    st.dictionaries(st.sampled_from(["cid", "mid", "moid"]), st.integers(0, 1), max_size=2),
    st.sampled_from([None, None, 0, 1]),
    st.sampled_from([None, None, 1, 2]),
)
records = st.tuples(st.builds(Key, *[st.integers(0, 1)] * 3, st.integers(0, 2), st.just(0)), st.binary(max_size=4))


def meets(discriminator: Discriminator, key: Key, payload: bytes, *, keys: bool) -> bool:
    """The meaning of a discriminator, spelled out."""
    return (
        discriminator.least <= len(payload)
        and (discriminator.most is None or len(payload) <= discriminator.most)
        and (discriminator.version is None or payload[:1] == bytes([discriminator.version]))
        and (discriminator.since is None or key.cap >= discriminator.since)
        and (discriminator.until is None or key.cap < discriminator.until)
        and (not keys or all(getattr(key, name) == value for name, value in discriminator.keys.items()))
    )


@settings(max_examples=examples(400), deadline=None)
@given(discriminators, discriminators, st.lists(records, max_size=8), st.booleans())
def test_split_follows_discriminators(
    one: Discriminator, other: Discriminator, rows: list[tuple[Key, bytes]], same_size: bool
) -> None:
    if same_size:
        rows = [(key, (payload + bytes(2))[:2]) for key, payload in rows]
    both = [row for row in rows if meets(one, *row, keys=True) and meets(other, *row, keys=True)]
    if one.is_disjoint(other):
        assert both == []
    chunk = b"".join(struct.pack("<i", 32 + len(payload)) + key.to_bytes() + payload for key, payload in rows)
    for keys in (False, True):
        (first, second), mismatches = split_by(parsed(memoryview(chunk)), [[one], [other]], "A", keys=keys)
        for part, discriminator in ((first, one), (second, other)):
            assert bytes(part.rows()) == b"".join(
                struct.pack("<i", 32 + len(payload)) + key.to_bytes() + payload
                for key, payload in rows
                if meets(discriminator, key, payload, keys=keys)
            )
        assert [(each.key, each.payload) for each in mismatches] == [
            row for row in rows if not meets(one, *row, keys=keys) and not meets(other, *row, keys=keys)
        ]


def test_overlapping_discriminators_share_a_record() -> None:
    """`is_disjoint` is exact for discriminators on size and version alone, the common case."""
    some = [
        Discriminator("A", least, most, version) for least in (1, 2) for most in (least, None) for version in (None, 1, 2)
    ]
    payloads = [bytes([first]) + bytes(more) for first in (0, 1, 2) for more in range(4)]
    key = Key(0, 0, 0, 0, 0)
    for one in some:
        for other in some:
            common = any(meets(one, key, each, keys=True) and meets(other, key, each, keys=True) for each in payloads)
            assert one.is_disjoint(other) != common, (one, other)


@settings(max_examples=examples(100), deadline=None)
@given(data=st.data())
def test_version_byte_is_the_only_difference(data: st.DataObject) -> None:
    fields = data.draw(kinds)
    order = data.draw(orders)
    plain, versioned = model("Plain", fields, byte_order=order), model("Plain", fields, byte_order=order, version=77)
    row = data.draw(rows_of(plain, fields, st.integers(0, 5)))
    same = versioned(**{name: getattr(row, name) for name in row.__struct_fields__})
    payload = codec_of(plain).payload_of(row)
    assert codec_of(versioned).payload_of(same) == b"\x4d" + payload
    with connect("memory:") as session:
        session.add_all([same, same])
        session.flush()
        assert [shown(each) for each in session.query(versioned)] == [shown(row)] * 2
        assert codec_of(versioned).values_of(b"\x4d" + payload) == codec_of(plain).values_of(payload)
