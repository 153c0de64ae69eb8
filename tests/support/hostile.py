"""Models whose names, members, units and docs clash with languages, headers or generated code."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Any

from hypothesis import strategies as st
from support.fields import Kind, fixed, plain

import tsmodel as ts
from tsmodel import TSModel, TSStruct, field

FIELDS = [
    "UINT8_MAX",
    "EOF",
    "isnan",
    "offsetof",
    "errno",
    "NULL",
    "INFINITY",
    "NAN",
    "assert",
    "stdin",
    "I",
    "complex",
    "bool",
    "true",
    "linux",
    "unix",
    "signbit",
    "va_start",
    "PRId64",
    "st_atime",
    "si_pid",
    "s6_addr",
    "in",
    "out",
    "value",
    "at",
    "size",
    "buffer",
    "val",
    "record",
    "payload",
    "present0",
    "stored1",
    "count1",
    "i1",
    "unit1",
    "refused1",
    "has_x",
    "x",
    "x_",
    "has_x_",
    "class_",
    "int",
    "double",
    "std",
    "tstorage",
    "String",
    "Object",
    "Out",
    "In",
    "PayloadType",
    "java",
    "industries",
    "System",
    "TStorage",
    "number",
    "of",
    "values",
    "ordinal",
    "struct",
    "input_",
    "output",
    "tsmodel_in",
    "TSCLIENT_Key",
    "TSMODEL_REFUSED",
    "E2BIG",
    "SIGINT",
    "M_PI",
    "DOMAIN",
    "min",
    "max",
    "log",
    "index",
    "time",
    "toBytes",
    "fromBytes",
    "read",
    "write",
    "alignas",
    "concept",
    "co_await",
    "var",
    "yield",
    "sealed",
    "Equals",
    "GetType",
    "None",
    "dataclass",
    "float",
    "len",
    "RAND_MAX",
    "CHAR_BIT",
    "BUFSIZ",
    "octets",
    "each",
    "default",
    "new",
    "this",
    "typename",
    "restrict",
    "inline",
    "math_errhandling",
    "d_fileno",
    "volts",
    "L1",
    "T",
]
TYPES = [
    "PayloadType",
    "Record",
    "Key",
    "Channel",
    "String",
    "Object",
    "Integer",
    "In",
    "Out",
    "Override",
    "Exception",
    "Input",
    "Output",
    "Utf8",
    "EOF",
    "FILE",
    "errno",
    "size_t",
    "int",
    "std",
    "index",
    "tstorage",
    "TSCLIENT_Key",
    "TSCLIENT_Record",
    "TSMODEL",
    "_Private",
    "__Dunder",
    "I",
    "A",
    "ARecord",
    "A_read",
    "A_toBytes",
    "APayloadType",
    "PayloadTypeValue",
    "State",
    "System",
    "Half",
    "bytes",
    "str",
    "_In",
    "_Out",
    "value",
    "java",
    "record",
    "var",
    "UINT8",
    "P1",
    "PRId64",
    "Enum",
    "Flags",
    "Array",
    "Long",
    "Boolean",
    "tsmodel_in",
    "tsmodel_runtime",
    "TStorage",
    "struct",
    "dataclass",
    "ValueError",
    "object",
    "IllegalArgumentException",
    "Meter",
    "class",
]
MEMBERS = [
    "EOF",
    "NULL",
    "class",
    "x",
    "x_",
    "_a",
    "__b",
    "a",
    "values",
    "valueOf",
    "of",
    "number",
    "OFF",
    "ON",
    "ON_",
    "INT_MAX",
    "true",
    "in",
    "State",
    "E2BIG",
    "SIGINT",
    "Record",
    "read",
    "toBytes",
    "MAX",
    "_1",
    "errno",
    "isnan",
    "int",
    "new",
    "null",
    "name",
    "value",
    "Record_",
    "self",
    "R0",
    "Out",
    "double",
    "NAN",
]
TEXTS = [
    None,
    "V",
    "\u00b0C",
    "*/ int pwned; /*",
    "ends in a backslash \\",
    "a trigraph ??/",
    "two lines\n int pwned = 1;",
    "\\u002a/ int pwned; /*",
    "\\u000a int pwned;",
    "\\\\u000a int pwned;",
    "a\u2028b\u0085c\x0bd\x0ce\rf",
    "\u202e turned \u2066",
    '""" """ #',
    "// /* <b> &amp; %d {} {0}",
    "nul \0 \ud800",
]


def made(base: type, name: str, kinds: dict[str, Kind], said: list[Any], **options: Any) -> Any:
    namespace: dict[str, Any] = {"__annotations__": {}, "__module__": __name__}
    for at, (each, kind) in enumerate(kinds.items()):
        namespace["__annotations__"][each] = kind.annotation
        unit, doc = said[2 * at], said[2 * at + 1]
        namespace[each] = field(**kind.options, unit=unit, doc=doc)
    return type(base)(name, (base,), namespace, **options)


texts = st.sampled_from(TEXTS)


@st.composite
def enumerations(draw: st.DrawFn) -> Kind:
    names = draw(st.lists(st.sampled_from(MEMBERS), min_size=1, max_size=6, unique=True))
    name = draw(st.sampled_from(TYPES))
    options = {"storage": draw(st.sampled_from([ts.UInt8, ts.Int16, ts.UInt32, ts.Int64, ts.UInt64]))}
    kind: Any
    if draw(st.booleans()):
        kind = IntFlag(name, {each: 1 << at for at, each in enumerate(names)})  # type: ignore[misc]
        annotation = ts.Flags[kind]
    else:
        kind = IntEnum(name, {each: at // 2 for at, each in enumerate(names)})  # type: ignore[misc]
        annotation = ts.Enumerated[kind]
    if draw(st.booleans()):
        options["unknown"] = "keep"
    return Kind(annotation, options, st.sampled_from(list(kind)))


@st.composite
def kinds(draw: st.DrawFn, any_kind: Any, most: int) -> dict[str, Kind]:
    names = draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=most, unique=True))
    return {name: draw(any_kind) for name in names}


@st.composite
def structures(draw: st.DrawFn) -> Kind:
    inner = draw(kinds(plain | enumerations(), 3))
    kind = made(TSStruct, draw(st.sampled_from(TYPES)), inner, [draw(texts) for _ in range(2 * len(inner))])
    values = st.tuples(*(each.values for each in inner.values())).map(lambda given: kind(*given))
    if draw(st.booleans()):
        return Kind(ts.Nested[kind], {}, values)
    return Kind(ts.Array[Any], {"item": kind, "length": 2}, st.lists(values, min_size=2, max_size=2))


@st.composite
def nullables(draw: st.DrawFn) -> Kind:
    item = draw(enumerations())
    return Kind(ts.Nullable[Any], {"item": item.annotation, **item.options}, st.none() | item.values)


@st.composite
def hostile_models(draw: st.DrawFn) -> tuple[type[TSModel], list[TSModel]]:
    """A model and objects of it."""
    found = draw(kinds(fixed | enumerations() | structures() | nullables(), 6))
    said = [draw(texts) for _ in range(2 * len(found))]
    model = made(TSModel, draw(st.sampled_from(TYPES)), found, said, byte_order=draw(st.sampled_from(["little", "big"])))
    rows = st.tuples(*(each.values for each in found.values())).map(
        lambda given: model(cid=1, mid=2, moid=3, cap=4, **dict(zip(found, given, strict=True)))
    )
    return model, draw(st.lists(rows, min_size=1, max_size=2))
