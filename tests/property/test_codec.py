"""Layouts of scalars in both byte orders: rows round-trip through batches and chunks, with the bytes of `struct`."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import scanned
from support.budget import examples

from tsmodel.backend import Batch
from tsmodel.errors import EncodeError
from tsmodel.keys import KeyRange
from tsmodel.layout import Layout, RowCodec, packed, row_codec
from tsmodel.store import open_store
from tsmodel.store.store import EmbeddedStore
from tsmodel.types.scalars import KEY_SCALARS, SCALARS, Scalar
from tsmodel.wire.chunk import parsed


def values(scalar: Scalar) -> st.SearchStrategy[object]:
    if scalar.limits:
        least, greatest = scalar.limits
        return st.integers(least, greatest) | st.sampled_from([least, greatest])
    if scalar.kind == "bool":
        return st.booleans()
    return st.floats(width={2: 16, 4: 32, 8: 64}[scalar.size], allow_nan=False)


class Row:
    """Any object with attributes can be a row."""

    def __init__(self, names: list[str], values: tuple[object, ...]) -> None:
        for name, value in zip(names, values, strict=True):
            setattr(self, name, value)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Layout, list[tuple[object, ...]]]:
    scalars = draw(st.lists(st.sampled_from(list(SCALARS.values())), max_size=6))
    fields = [(f"field{at}", scalar) for at, scalar in enumerate(scalars)]
    key = [st.integers(0, 3), st.integers(-5, 5), st.integers(-5, 5), st.integers(-(2**63), 2**63 - 2)]
    rows = draw(st.lists(st.tuples(*key, *map(values, scalars)), min_size=1, max_size=8))
    return packed(fields, draw(st.sampled_from(["little", "big"]))), rows


def stored(rows: list[tuple[object, ...]], codec: RowCodec[Row], store: EmbeddedStore) -> None:
    names = ["cid", "mid", "moid", "cap", "acq", *(field.name for field in codec.layout.fields)]
    store.append(codec.encode([Row(names, (*row[:4], -1, *row[4:])) for row in rows]))


@settings(deadline=None, max_examples=examples(150))
@given(tables())
def test_rows_round_trip(table: tuple[Layout, list[tuple[object, ...]]]) -> None:
    layout, rows = table
    codec: RowCodec[tuple[object, ...]] = row_codec(layout, lambda *values: values)
    store = open_store(None)
    stored(rows, codec, store)  # type: ignore[arg-type]
    got = scanned(store)
    assert sorted((*row[:4], row[5]) for row in got) == sorted(
        (*row[:4], struct.pack(layout.struct_format, *row[4:])) for row in rows
    )
    with store.scan(KeyRange()) as scan:
        back = [row[:4] + row[5:] for chunk in scan for row in codec.rows(codec.fit(chunk).records)]
    assert sorted(map(repr, back)) == sorted(map(repr, rows))


def in_get_form(batches: list[Batch]) -> bytes:
    """The records as a scan would return them: with cid, and with acq 77."""
    answer = b""
    for batch in batches:
        for at in range(0, len(batch.records), batch.record_size):
            record = bytes(batch.records[at : at + batch.record_size])
            mid, moid, cap = struct.unpack_from("<qiq", record, 4)
            payload = record[24:]
            answer += struct.pack("<iiqiqq", 32 + len(payload), batch.cid, mid, moid, cap, 77) + payload
    return answer


@settings(deadline=None, max_examples=examples(150))
@given(tables())
def test_bytes_match_struct_and_dtype(table: tuple[Layout, list[tuple[object, ...]]]) -> None:
    layout, rows = table
    names = ["cid", "mid", "moid", "cap", "acq", *(field.name for field in layout.fields)]
    codec: RowCodec[tuple[object, ...]] = row_codec(layout, lambda *values: values)
    batches = codec.encode([Row(names, (*row[:4], -1, *row[4:])) for row in rows])  # type: ignore[misc]
    by_cid = sorted(rows, key=lambda row: int(row[0]))  # type: ignore[call-overload]
    assert [batch.cid for batch in batches] == sorted({row[0] for row in rows})  # type: ignore[type-var]
    assert sum(batch.count for batch in batches) == len(rows)

    chunk = in_get_form(batches)
    fit = codec.fit(parsed(memoryview(chunk)))
    assert fit.mismatches == ()
    assert list(codec.rows(fit.records)) == [(*row[:4], 77, *row[4:]) for row in by_cid]

    size = 36 + layout.size
    for at, row in enumerate(by_cid):
        payload = chunk[size * at + 36 : size * (at + 1)]
        assert payload == struct.pack(layout.struct_format, *row[4:])
        assert payload == codec.payload_of(Row(names, (*row[:4], -1, *row[4:])))  # type: ignore[arg-type]
        if layout.fields:
            assert np.frombuffer(payload, layout.dtype)[0].tolist() == row[4:]
    for place, field in enumerate(layout.fields, 4):
        assert fit.records[field.name].tolist() == [row[place] for row in by_cid]
        assert fit.records.dtype[field.name] == layout.dtype[field.name]


@settings(deadline=None, max_examples=examples(100))
@given(tables(), st.data())
def test_invalid_value_is_refused_and_located(table: tuple[Layout, list[tuple[object, ...]]], data: st.DataObject) -> None:
    layout, rows = table
    names = ["cid", "mid", "moid", "cap", "acq", *(field.name for field in layout.fields)]
    objects = [Row(names, (*row[:4], -1, *row[4:])) for row in rows]
    at = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(names))
    scalar = {**KEY_SCALARS, **{field.name: field.codec.number for field in layout.fields}}[name]
    wrong: st.SearchStrategy[object] = st.none() | st.text()
    if scalar.limits:
        least, greatest = scalar.limits
        wrong |= st.integers(max_value=least - 1) | st.integers(min_value=greatest + 1) | st.floats()
    value = data.draw(wrong)
    setattr(objects[at], name, value)
    codec: RowCodec[Row] = row_codec(layout, lambda *values: Row(names, values))
    with pytest.raises(EncodeError, match=f"^record {at}: Row.{name}: ") as caught:
        codec.encode(objects)
    assert (caught.value.record, caught.value.field, caught.value.value) == (at, name, value)
    accepts = "an int of ns since 2001; to_ns()" if scalar.kind == "time" and isinstance(value, str) else scalar.accepts
    assert f"is not {accepts}" in str(caught.value)
