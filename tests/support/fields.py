"""Random models of all field types, and values for them."""

from __future__ import annotations

import datetime as dt
import string
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag
from typing import Any

import attrs
from hypothesis import strategies as st

import tsmodel as ts
from tsmodel import TSModel, TSStruct, field, padding
from tsmodel.model.meta import schema_of
from tsmodel.timestamps import EPOCH


class State(IntEnum):
    OFF = 0
    ON = 1
    BROKEN = 200


class Mode(Enum):
    LEFT = -1
    RIGHT = 1


class Alarm(IntFlag):
    HOT = 1
    COLD = 2
    WET = 64


@attrs.frozen
class Kind:
    """A field type with options, and a strategy for its values."""

    annotation: Any
    options: dict[str, Any]
    values: st.SearchStrategy[Any]


UNSIGNED = (ts.UInt8, ts.UInt16, ts.UInt32, ts.UInt64)
INTEGERS = (*UNSIGNED, ts.Int8, ts.Int16, ts.Int32, ts.Int64)
FLOATS = {ts.Float16: 16, ts.Float32: 32, ts.Float64: 64}


def limits(kind: Any) -> tuple[int, int]:
    least, greatest = kind.scalar.limits
    return least, greatest


def orders(draw: st.DrawFn) -> dict[str, Any]:
    order = draw(st.sampled_from([None, None, "little", "big"]))
    return {} if order is None else {"byte_order": order}


@st.composite
def integers(draw: st.DrawFn) -> Kind:
    kind = draw(st.sampled_from(INTEGERS))
    return Kind(kind, orders(draw), st.integers(*limits(kind)) | st.sampled_from(limits(kind)))


@st.composite
def floats(draw: st.DrawFn) -> Kind:
    kind = draw(st.sampled_from(list(FLOATS)))
    return Kind(kind, orders(draw), st.floats(width=FLOATS[kind], allow_nan=False))


@st.composite
def enums(draw: st.DrawFn) -> Kind:
    kind: Any = draw(st.sampled_from([State, Mode, Alarm]))
    keep = draw(st.booleans())
    storage = draw(st.sampled_from([ts.Int16, ts.Int32] if kind is Mode else [ts.UInt8, ts.Int16, ts.UInt64]))
    values = st.sampled_from(list(kind))
    if kind is Alarm:
        values = st.builds(Alarm, st.sampled_from([0, 1, 2, 3, 64, 67]))
    unknown: st.SearchStrategy[Any] = st.integers(100, 127).filter(lambda number: number & ~67)
    options = {"storage": storage, **({"unknown": "keep"} if keep else {}), **orders(draw)}
    annotation = ts.Flags[kind] if kind is Alarm else ts.Enumerated[kind]
    return Kind(annotation, options, values | unknown if keep else values)


@st.composite
def times(draw: st.DrawFn) -> Kind:
    which = draw(st.sampled_from(["stamp", "datetime", "unix", "duration", "date"]))
    if which == "stamp":
        return Kind(ts.Timestamp, orders(draw), st.integers(-(2**63), 2**63 - 1))
    if which == "datetime":
        micros = st.integers(-(2**63) // 1000 + 1, (2**63 - 1) // 1000)
        return Kind(ts.DateTime, orders(draw), micros.map(lambda us: EPOCH + dt.timedelta(microseconds=us)))
    if which == "date":
        return Kind(ts.Date, orders(draw), st.dates())
    resolution = draw(st.sampled_from(["s", "ms", "us", "ns"]))
    unit = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[resolution]
    storage = draw(st.sampled_from([ts.Int16, ts.UInt32, ts.Int64]))
    options = {"resolution": resolution, "storage": storage, **orders(draw)}
    stored = st.integers(*limits(storage))
    if which == "unix":
        return Kind(ts.UnixTime, options, stored.map(lambda count: count * unit - 978_307_200 * 10**9))
    whole = stored.map(lambda count: count * unit).filter(
        lambda ns: ns % 1000 == 0 and -999_999_999 * 86_400 * 10**9 <= ns <= 999_999_999 * 86_400 * 10**9
    )
    return Kind(ts.Duration, options, whole.map(lambda ns: dt.timedelta(microseconds=ns // 1000)))


@st.composite
def decimals(draw: st.DrawFn) -> Kind:
    digits = draw(st.integers(0, 12))
    storage = draw(st.sampled_from([ts.Int16, ts.UInt32, ts.Int64, ts.UInt64]))
    options = {"digits": digits, "storage": storage, **orders(draw)}
    stored = st.integers(*limits(storage))
    if draw(st.booleans()):
        few = st.integers(max(limits(storage)[0], -(10**15)), min(limits(storage)[1], 10**15))
        return Kind(ts.Scaled[float], options, few.map(lambda units: units / 10**digits))
    return Kind(ts.Scaled, options, stored.map(lambda units: Decimal(units).scaleb(-digits)))


addresses = st.ip_addresses(v=4) | st.ip_addresses(v=6).filter(lambda ip: ip.ipv4_mapped is None)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@st.composite
def octets(draw: st.DrawFn) -> Kind:
    size = draw(st.integers(1, 9))
    fits = texts.filter(lambda text: len(text.encode()) <= size)
    return draw(
        st.sampled_from(
            [
                Kind(ts.Bool, {}, st.booleans()),
                Kind(ts.Char, {}, st.characters(max_codepoint=255)),
                Kind(ts.Text, {"size": size}, fits),
                Kind(ts.Blob, {"size": size}, st.binary(min_size=size, max_size=size)),
                Kind(ts.Uuid, {}, st.uuids()),
                Kind(ts.IpAddress, {}, addresses),
                Kind(ts.IpAddress, {"version": 4}, st.ip_addresses(v=4)),
                Kind(ts.IpAddress, {"version": 6}, st.ip_addresses(v=6)),
            ]
        )
    )


@st.composite
def bits(draw: st.DrawFn) -> Kind:
    width = draw(st.integers(1, 8))
    storage = draw(st.sampled_from(UNSIGNED[:2]))
    return Kind(ts.Bits, {"bits": width, "storage": storage}, st.integers(0, 2**width - 1))


plain = st.one_of(integers(), floats(), enums(), times(), decimals(), octets())


@st.composite
def arrays(draw: st.DrawFn) -> Kind:
    item = draw(plain)
    length = draw(st.integers(1, 4))
    values = st.lists(item.values, min_size=length, max_size=length)
    return Kind(ts.Array[Any], {"item": item.annotation, "length": length, **item.options}, values)


@st.composite
def nullables(draw: st.DrawFn) -> Kind:
    item = draw(plain)
    if item.annotation in INTEGERS and draw(st.booleans()):
        null = draw(item.values)
        values = item.values.filter(lambda value: value != null)
        return Kind(ts.Nullable[Any], {"item": item.annotation, "null": null, **item.options}, st.none() | values)
    return Kind(ts.Nullable[Any], {"item": item.annotation, **item.options}, st.none() | item.values)


@st.composite
def structures(draw: st.DrawFn) -> Kind:
    kinds = draw(st.lists(plain | nullables(), min_size=1, max_size=3))
    made = declared(TSStruct, kinds, byte_order=draw(st.sampled_from(["little", "big"])))
    values = st.builds(made, **{f"f{at}": kind.values for at, kind in enumerate(kinds)})
    return Kind(ts.Nested[made], {}, values)


fixed = st.one_of(plain, arrays(), nullables(), structures(), bits())
"""Field types of fixed width."""

json_values = st.dictionaries(st.text(string.ascii_letters, max_size=5), st.integers(-5, 5), max_size=3)


@st.composite
def variables(draw: st.DrawFn) -> Kind:
    options: dict[str, Any] = {"prefix": draw(st.sampled_from(UNSIGNED[:3]))} if draw(st.booleans()) else {}
    options |= orders(draw)
    which = draw(st.sampled_from(["text", "blob", "array", "packed", "nullable", "nested"]))
    if which == "text":
        return Kind(ts.Text, options, texts)
    if which == "blob":
        return Kind(ts.Blob, options, st.binary(max_size=12))
    if which == "packed":
        encoding = draw(st.sampled_from(["msgpack", "json"]))
        return Kind(ts.Packed[dict[str, int]], {**options, "encoding": encoding}, json_values)
    if which == "nullable":
        return Kind(ts.Nullable[Any], {**options, "item": ts.Text}, st.none() | texts)
    if which == "nested":
        made = declared(TSStruct, [Kind(ts.Text, options, texts), Kind(ts.Bool, {}, st.booleans())])
        return Kind(ts.Nested[made], {}, st.builds(made, f0=texts, f1=st.booleans()))
    item = draw(integers())
    options = {**{name: value for name, value in options.items() if name != "byte_order"}, **item.options}
    return Kind(ts.Array[Any], {**options, "item": item.annotation}, st.lists(item.values, max_size=4))


def declared(base: type, kinds: list[Kind], *, gaps: tuple[int, ...] = (), **options: Any) -> Any:
    """A model or structure with fields f0, f1, …, and padding before the fields listed in `gaps`."""
    annotations: dict[str, Any] = {}
    namespace: dict[str, Any] = {"__annotations__": annotations, "__module__": __name__}
    for at, kind in enumerate(kinds):
        if at in gaps:
            annotations[f"_gap{at}"], namespace[f"_gap{at}"] = ts.Padding, padding(at + 1)
        annotations[f"f{at}"], namespace[f"f{at}"] = kind.annotation, field(**kind.options)
    return type(base)("Made", (base,), namespace, **options)


@st.composite
def models(draw: st.DrawFn, kinds: Any = fixed, *, most: int = 5) -> tuple[type[TSModel], list[Kind]]:
    """A model with fields of fixed width, and their kinds."""
    chosen = draw(st.lists(kinds, min_size=1, max_size=most))
    gaps = tuple(draw(st.sets(st.integers(0, len(chosen) - 1), max_size=2)))
    order = draw(st.sampled_from(["little", "big"]))
    return declared(TSModel, chosen, gaps=gaps, byte_order=order), chosen


@st.composite
def variable_models(draw: st.DrawFn) -> tuple[type[TSModel], list[Kind]]:
    """A model with a field of variable length, and the kinds of its fields."""
    chosen = draw(st.lists(variables() | fixed, max_size=3))
    chosen.insert(draw(st.integers(0, len(chosen))), draw(variables()))
    return declared(TSModel, chosen, byte_order=draw(st.sampled_from(["little", "big"]))), chosen


@st.composite
def rows(draw: st.DrawFn, model: type[TSModel], kinds: list[Kind], *, most: int = 6) -> list[TSModel]:
    """Some objects of a model."""
    keys = {"cid": st.integers(0, 2), "mid": st.integers(-3, 3), "moid": st.integers(0, 2), "cap": st.integers(0, 9)}
    one = st.builds(model, **keys, **{f"f{at}": kind.values for at, kind in enumerate(kinds)})
    return draw(st.lists(one, min_size=1, max_size=most))


def payload_size(model: type[TSModel]) -> int | None:
    return schema_of(model).layout.size
