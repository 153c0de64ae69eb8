"""Any layout of scalars, in both byte orders: rows go through batches and chunks unchanged, as `struct` says."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import scanned

from tsmodel.codec import SCALARS, Layout, RowCodec, Scalar
from tsmodel.keys import KeyRange
from tsmodel.store import open_store
from tsmodel.store.store import EmbeddedStore


def values(scalar: Scalar) -> st.SearchStrategy[object]:
    if scalar.limits:
        least, greatest = scalar.limits
        return st.integers(least, greatest) | st.sampled_from([least, greatest])
    if scalar.kind == "bool":
        return st.booleans()
    return st.floats(width=32 if scalar.size == 4 else 64, allow_nan=False)


class Row:
    """Anything with attributes is a row."""

    def __init__(self, names: list[str], values: tuple[object, ...]) -> None:
        for name, value in zip(names, values, strict=True):
            setattr(self, name, value)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Layout, list[tuple[object, ...]]]:
    scalars = draw(st.lists(st.sampled_from(list(SCALARS.values())), max_size=6))
    fields = [(f"field{at}", scalar) for at, scalar in enumerate(scalars)]
    key = [st.integers(0, 3), st.integers(-5, 5), st.integers(-5, 5), st.integers(-(2**63), 2**63 - 2)]
    rows = draw(st.lists(st.tuples(*key, *map(values, scalars)), min_size=1, max_size=8))
    return Layout.packed(fields, draw(st.sampled_from(["little", "big"]))), rows


def stored(rows: list[tuple[object, ...]], codec: RowCodec[Row], store: EmbeddedStore) -> None:
    names = ["cid", "mid", "moid", "cap", "acq", *(field.name for field in codec.layout.fields)]
    store.append(codec.encode([Row(names, (*row[:4], -1, *row[4:])) for row in rows]))


@settings(deadline=None, max_examples=150)
@given(tables())
def test_rows_go_through_unchanged(table: tuple[Layout, list[tuple[object, ...]]]) -> None:
    layout, rows = table
    codec: RowCodec[tuple[object, ...]] = RowCodec(layout, lambda *values: values)
    store = open_store(None)
    stored(rows, codec, store)  # type: ignore[arg-type]
    got = scanned(store)
    assert sorted((*row[:4], row[5]) for row in got) == sorted(
        (*row[:4], struct.pack(layout.struct_format, *row[4:])) for row in rows
    )
    with store.scan(KeyRange()) as scan:
        back = [row[:4] + row[5:] for chunk in scan for row in codec.rows(codec.fit(chunk).records)]
    assert sorted(map(repr, back)) == sorted(map(repr, rows))
