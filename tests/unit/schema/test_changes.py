"""The lock file, and the severity of each kind of model change."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from enum import Enum, IntEnum, IntFlag
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta

from tsmodel import (
    Array,
    Enumerated,
    Flags,
    Float16,
    Float32,
    Float64,
    Int16,
    Int32,
    Nested,
    Nullable,
    Packed,
    Padding,
    Scaled,
    Text,
    TSModel,
    TSStruct,
    UInt8,
    UInt16,
    UInt32,
    field,
    padding,
    schema,
)
from tsmodel.errors import SchemaError


class Two(IntEnum):
    OFF = 0
    ON = 1


class Three(IntEnum):
    OFF = 0
    ON = 1
    FAULT = 2


class Swapped(IntEnum):
    OFF = 1
    ON = 0


class Renamed(IntEnum):
    OFF = 0
    RUNNING = 1


class Phase(TSStruct):
    volts: Float32
    amps: Float32


class PhaseRenamed(TSStruct):
    u: Float32
    amps: Float32


class PhaseOther(TSStruct):
    volts: Float32
    amps: Int32


class PhaseDefault(TSStruct):
    volts: Float32 = 1.0
    amps: Float32


class PhaseDefault2(TSStruct):
    volts: Float32 = 2.0
    amps: Float32


class PhaseVolts(TSStruct):
    volts: Float32 = field(unit="V")


class PhaseMillivolts(TSStruct):
    volts: Float32 = field(unit="mV")


class PhaseDecimal(TSStruct):
    volts: Nullable[Any] = field(item=Scaled, digits=1, storage=Int32)


class PhaseFloat(TSStruct):
    volts: Nullable[Any] = field(item=Scaled[float], digits=1, storage=Int32)


class Plain(Enum):
    A = 0
    B = 1


class Plainer(Enum):
    A = 0
    B = 1
    C = 2


Fields = dict[str, Any]
"""Annotations by name, each alone or with its `field()`."""


def model(fields: Fields, name: str = "Reading", **keywords: Any) -> type[TSModel]:
    namespace: dict[str, Any] = {"__annotations__": {}, "__module__": __name__}
    for each, declared in fields.items():
        annotation, options = declared if isinstance(declared, tuple) else (declared, None)
        namespace["__annotations__"][each] = annotation
        if options is not None:
            namespace[each] = options
    made: type[TSModel] = type(TSModel)(name, (TSModel,), namespace, **keywords)
    return made


def state(kind: Any) -> Any:
    return (Enumerated[kind], field(storage=UInt8))


def kept(kind: Any) -> Any:
    return (Enumerated[kind], field(storage=UInt8, unknown="keep"))


AT_LEAST_0 = (Int32, field(ge=0))
STRICT = {"strict_read": True}
SAME, UPGRADE, BREAKING = "compatible", "readable-with-upgrade", "breaking"
A, B = {"counter": Int32, "volts": Float32}, {"counter": Int32, "amps": Float32}
MSG = {"encoding": "msgpack"}
CASES: list[tuple[str, tuple[Fields, dict[str, Any]], tuple[Fields, dict[str, Any]], list[tuple[str, str | None, str]]]] = [
    ("no change", (A, {}), (A, {}), []),
    ("renamed field", (A, {}), (B, {}), [(SAME, "volts", "it was renamed to amps")]),
    ("type of same size", (A, {}), ({**A, "volts": Int32}, {}), [(BREAKING, "volts", "Float32 .* became Int32")]),
    ("sign", (A, {}), ({**A, "counter": UInt32}, {}), [(BREAKING, "counter", "Int32 .* became UInt32")]),
    ("wider", (A, {}), ({**A, "volts": Float64}, {}), [(UPGRADE, "volts", "Float32 .* became Float64")]),
    ("byte order", (A, {}), (A, {"byte_order": "big"}), [(BREAKING, "counter", "big"), (BREAKING, "volts", "big")]),
    (
        "appended",
        (A, {}),
        ({**A, "more": Int16}, {}),
        [(UPGRADE, "more", "new; .* Old payloads have 8 bytes, new ones 10")],
    ),
    ("removed", (A, {}), ({"counter": Int32}, {}), [(UPGRADE, "volts", "it was removed")]),
    (
        "order",
        (A, {}),
        ({"volts": Float32, "counter": Int32}, {}),
        [
            (BREAKING, "counter", "offset was 0"),
            (BREAKING, "volts", "offset was 4"),
            (BREAKING, "volts, counter", "order of fields changed"),
        ],
    ),
    (
        "order of variable fields",
        ({"a": Text, "b": Text}, {}),
        ({"b": Text, "a": Text}, {}),
        [
            (BREAKING, "a", "offset was 0 and is variable"),
            (BREAKING, "b", "offset was variable and is 0"),
            (BREAKING, "b, a", "order of fields changed"),
        ],
    ),
    ("text appended", ({"a": Text}, {}), ({"a": Text, "b": Text}, {}), [(BREAKING, "b", "versioned=True")]),
    (
        "unit",
        ({"v": (Int32, field(unit="V"))}, {}),
        ({"v": (Int32, field(unit="mV"))}, {}),
        [(BREAKING, "v", "was V and is mV")],
    ),
    ("unit added", ({"v": Int32}, {}), ({"v": (Int32, field(unit="mV"))}, {}), [(SAME, "v", "the unit mV was added")]),
    (
        "digits",
        ({"v": (Scaled, field(digits=1, storage=Int32))}, {}),
        ({"v": (Scaled, field(digits=2, storage=Int32))}, {}),
        [(BREAKING, "v", "digits 1")],
    ),
    ("member added", ({"s": state(Two)}, {}), ({"s": state(Three)}, {}), [(SAME, "s", r"FAULT \(2\) is new")]),
    (
        "member removed",
        ({"s": state(Three)}, {}),
        ({"s": state(Two)}, {}),
        [(BREAKING, "s", "FAULT .* was removed; .*keep")],
    ),
    (
        "members swapped",
        ({"s": state(Two)}, {}),
        ({"s": state(Swapped)}, {}),
        [(BREAKING, "s", "OFF was 0 and is 1"), (BREAKING, "s", "ON was 1")],
    ),
    (
        "member renamed",
        ({"s": state(Two)}, {}),
        ({"s": state(Renamed)}, {}),
        [(SAME, "s", r"ON \(1\) was renamed to RUNNING")],
    ),
    (
        "member storage",
        ({"s": state(Two)}, {}),
        ({"s": (Enumerated[Two], field(storage=UInt16))}, {}),
        [(UPGRADE, "s", "UInt8")],
    ),
    ("nested renamed", ({"p": Nested[Phase]}, {}), ({"p": Nested[PhaseRenamed]}, {}), [(SAME, "p.volts", "renamed to u")]),
    ("nested type", ({"p": Nested[Phase]}, {}), ({"p": Nested[PhaseOther]}, {}), [(BREAKING, "p.amps", "became Int32")]),
    (
        "longer array",
        ({"a": (Array[int], field(item=Int16, length=2))}, {}),
        ({"a": (Array[int], field(item=Int16, length=3))}, {}),
        [(UPGRADE, "a", "length 2")],
    ),
    (
        "members in an array",
        ({"a": (Array[Any], field(item=Enumerated[Two], length=2))}, {}),
        ({"a": (Array[Any], field(item=Enumerated[Three], length=2))}, {}),
        [(SAME, "a", "FAULT")],
    ),
    (
        "field in padding",
        ({"a": Int16, "_gap": (Padding, padding(2))}, {}),
        ({"a": Int16, "b": Int16}, {}),
        [(BREAKING, "b", "new; .* padding")],
    ),
    (
        "trailing padding",
        ({"a": Int16}, {}),
        ({"a": Int16, "_gap": (Padding, padding(2))}, {}),
        [(UPGRADE, None, "2 and 4 bytes")],
    ),
    (
        "nullable",
        (A, {}),
        ({**A, "volts": (Nullable[float], field(item=Float32))}, {}),
        [
            (UPGRADE, "counter", "offset was 0 and is 1"),
            (UPGRADE, "volts", "offset was 4 and is 5"),
            (UPGRADE, "volts", "Nullable"),
        ],
    ),
    (
        "sentinel",
        ({"a": (Nullable[int], field(item=Int16, null=-1))}, {}),
        ({"a": (Nullable[int], field(item=Int16, null=-2))}, {}),
        [(BREAKING, "a", "null ffff")],
    ),
    ("moid", (A, {"moid": 7}), (A, {"moid": 8}), [(BREAKING, "moid", "fixed as 7 and is now 8")]),
    ("moid fixed", (A, {}), (A, {"moid": 8}), [(BREAKING, "moid", "now fixed as 8")]),
    ("moid unfixed", (A, {"moid": 7}), (A, {}), [(SAME, "moid", "no longer is")]),
    ("version byte", (A, {}), (A, {"versioned": True}), [(UPGRADE, None, "begin with a version byte, 1")]),
    (
        "version",
        (A, {"version": 1}),
        ({**A, "volts": Int32}, {"version": 2}),
        [(UPGRADE, None, "was 1 and is 2"), (UPGRADE, "volts", "Int32")],
    ),
    ("version removed", (A, {"version": 1}), (A, {}), [(UPGRADE, None, "no version byte, which was 1")]),
    ("version kept", (A, {"version": 1}), ({**A, "volts": Int32}, {"version": 1}), [(BREAKING, "volts", "version=2")]),
    ("to a message", (A, {}), (A, MSG), [(BREAKING, None, "were struct and are msgpack")]),
    (
        "to another message",
        (A, {**MSG, "version": 1}),
        (A, {"encoding": "json", "version": 2}),
        [(UPGRADE, None, "msgpack")],
    ),
    (
        "message: added with a default",
        (A, MSG),
        ({**A, "b": (Int16, field(default=1))}, MSG),
        [(SAME, "b", "with a default")],
    ),
    (
        "message: added without a default",
        (A, MSG),
        ({**A, "b": Int16}, MSG),
        [(BREAKING, "b", "a default makes this compatible")],
    ),
    ("message: removed", (A, MSG), ({"counter": Int32}, MSG), [(SAME, "volts", "removed; .*older programs")]),
    ("message: renamed", (A, MSG), (B, MSG), [(BREAKING, "volts", "seems to be renamed to amps")]),
    (
        "message: order",
        (A, MSG),
        ({"volts": Float32, "counter": Int32}, MSG),
        [(SAME, "volts, counter", "order of fields changed")],
    ),
    ("message: wider", (A, MSG), ({"counter": Int32, "volts": Float64}, MSG), [(SAME, "volts", "Float64")]),
    ("message: wider int", ({"a": UInt8}, MSG), ({"a": Int16}, MSG), [(SAME, "a", "Int16")]),
    ("message: narrower", ({"a": Int16}, MSG), ({"a": UInt8}, MSG), [(BREAKING, "a", "UInt8")]),
    ("message: nullable", ({"a": Int16}, MSG), ({"a": (Nullable[int], field(item=Int32))}, MSG), [(SAME, "a", "Nullable")]),
    (
        "message: default removed",
        ({**A, "b": (Int16, field(default=1))}, MSG),
        ({**A, "b": Int16}, MSG),
        [(BREAKING, "b", "default was removed; stored messages may lack it")],
    ),
    (
        "message: default of a structure removed",
        ({"p": Nested[PhaseDefault]}, MSG),
        ({"p": Nested[Phase]}, MSG),
        [(BREAKING, "p.volts", "its default was removed")],
    ),
    (
        "message: default changed",
        ({**A, "b": (Int16, field(default=1))}, MSG),
        ({**A, "b": (Int16, field(default=2))}, MSG),
        [(BREAKING, "b", "its default was 1 and is 2; stored messages that lack the field were read with the old default")],
    ),
    (
        "message: default of None changed",
        ({"b": (Nullable[int], field(item=Int16, default=None))}, MSG),
        ({"b": (Nullable[int], field(item=Int16, default=0))}, MSG),
        [(BREAKING, "b", "was null and is 0")],
    ),
    (
        "message: default became a factory",
        ({"b": (Array[int], field(item=Int16, default=[1]))}, MSG),
        ({"b": (Array[int], field(item=Int16, default_factory=list))}, MSG),
        [(BREAKING, "b", "made by a function")],
    ),
    (
        "message: default in a structure changed",
        ({"p": Nested[PhaseDefault]}, MSG),
        ({"p": Nested[PhaseDefault2]}, MSG),
        [(BREAKING, "p.volts", "was 1.0 and is 2.0")],
    ),
    (
        "default changed, not in a message",
        ({"b": (Int16, field(default=1))}, {}),
        ({"b": (Int16, field(default=2))}, {}),
        [],
    ),
    ("keep dropped", ({"s": kept(Two)}, {}), ({"s": state(Two)}, {}), [(BREAKING, "s", "unknown=.keep")]),
    ("keep added", ({"s": state(Two)}, {}), ({"s": kept(Two)}, {}), [(SAME, "s", "unknown=.keep")]),
    (
        "keep dropped in an array",
        ({"s": (Array[Any], field(item=Enumerated[Two], length=2, unknown="keep"))}, {}),
        ({"s": (Array[Any], field(item=Enumerated[Two], length=2))}, {}),
        [(BREAKING, "s", "keep")],
    ),
    (
        "kept number became a member",
        ({"s": kept(Plain)}, {}),
        ({"s": kept(Plainer)}, {}),
        [(BREAKING, "s", "2 became"), (SAME, "s", "C .2. is new")],
    ),
    (
        "strict_read added",
        ({"v": AT_LEAST_0}, {}),
        ({"v": AT_LEAST_0}, STRICT),
        [(BREAKING, "v", "ge=0"), (SAME, None, "strict_read= is True")],
    ),
    ("strict_read added without effect", (A, {}), (A, STRICT), [(SAME, None, "strict_read= is True")]),
    (
        "strict_read removed",
        ({"v": AT_LEAST_0}, STRICT),
        ({"v": AT_LEAST_0}, {}),
        [(SAME, "v", "reading requires less"), (SAME, None, "strict_read= is False")],
    ),
    ("tightened", ({"v": AT_LEAST_0}, STRICT), ({"v": (Int32, field(gt=0))}, STRICT), [(BREAKING, "v", "gt=0")]),
    (
        "tightened at the other end",
        ({"v": AT_LEAST_0}, STRICT),
        ({"v": (Int32, field(ge=0, le=9))}, STRICT),
        [(BREAKING, "v", "le=9")],
    ),
    (
        "loosened",
        ({"v": (Int32, field(gt=0))}, STRICT),
        ({"v": AT_LEAST_0}, STRICT),
        [(SAME, "v", "reading requires less")],
    ),
    (
        "bound equal in the field's width",
        ({"v": (Float32, field(ge=231.6999969482422, lt=240))}, STRICT),
        ({"v": (Float32, field(ge=231.7, lt=240))}, STRICT),
        [(SAME, "v", "reading requires less")],
    ),
    (
        "tightened by one step of the field's width",
        ({"v": (Nullable[float], field(item=Float32, ge=231.7))}, STRICT),
        ({"v": (Nullable[float], field(item=Float32, ge=231.70001))}, STRICT),
        [(BREAKING, "v", "ge=231.70001")],
    ),
    (
        "message: bound unchanged, width changed",
        ({"v": (Float16, field(ge=231.7))}, {**MSG, **STRICT}),
        ({"v": (Float32, field(ge=231.7))}, {**MSG, **STRICT}),
        [(SAME, "v", "Float32"), (BREAKING, "v", "ge=231.7")],
    ),
    ("tightened, not checked on reading", ({"v": AT_LEAST_0}, {}), ({"v": (Int32, field(gt=0))}, {}), []),
    (
        "tightened multiple",
        ({"v": (Int32, field(multiple_of=6))}, STRICT),
        ({"v": (Int32, field(multiple_of=4))}, STRICT),
        [(BREAKING, "v", "multiple_of=4")],
    ),
    (
        "loosened multiple",
        ({"v": (Int32, field(multiple_of=6))}, STRICT),
        ({"v": (Int32, field(multiple_of=3))}, STRICT),
        [(SAME, "v", "less")],
    ),
    (
        "decimals to floats",
        ({"v": (Scaled, field(digits=1, storage=Int32))}, {}),
        ({"v": (Scaled[float], field(digits=1, storage=Int32))}, {}),
        [(BREAKING, "v", "Decimal and are float")],
    ),
    (
        "decimals to floats, nested and nullable",
        ({"p": Nested[PhaseDecimal]}, {}),
        ({"p": Nested[PhaseFloat]}, {}),
        [(BREAKING, "p.volts", "Decimal and are float")],
    ),
    (
        "unit and name",
        ({"v": (Int32, field(unit="V"))}, {}),
        ({"w": (Int32, field(unit="mV"))}, {}),
        [(BREAKING, "v", "was V and is mV"), (SAME, "v", "renamed to w")],
    ),
    (
        "unit in a structure",
        ({"p": Nested[PhaseVolts]}, {}),
        ({"p": Nested[PhaseMillivolts]}, {}),
        [(BREAKING, "p.volts", "was V and is mV")],
    ),
    (
        "unit in a structure in an array",
        ({"p": (Array[Any], field(item=PhaseVolts, length=2))}, {}),
        ({"p": (Array[Any], field(item=PhaseMillivolts, length=2))}, {}),
        [(BREAKING, "p.volts", "was V and is mV")],
    ),
    (
        "tightened message",
        ({"m": Packed[dict[str, Annotated[int, Meta(ge=0)]]]}, {}),
        ({"m": Packed[dict[str, Annotated[int, Meta(ge=1)]]]}, {}),
        [(BREAKING, "m/value_type", "ge=1")],
    ),
    (
        "constraint added to message",
        ({"m": Packed[list[int]]}, {}),
        ({"m": Packed[Annotated[list[int], Meta(max_length=3)]]}, {}),
        [(BREAKING, "m", "max_length=3")],
    ),
    (
        "loosened message",
        ({"m": Packed[Annotated[list[int], Meta(max_length=3)]]}, {}),
        ({"m": Packed[list[int]]}, {}),
        [(SAME, "m", "reading requires less")],
    ),
    (
        "message: nested renamed",
        ({"p": Nested[Phase]}, MSG),
        ({"p": Nested[PhaseRenamed]}, MSG),
        [(BREAKING, "p.volts", "seems")],
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_severity_of_change(tmp_path: Path, old: Any, new: Any, expected: Any) -> None:
    lock = tmp_path / "schema.lock"
    before, after = model(old[0], **old[1]), model(new[0], **new[1])
    schema.freeze([before], lock)
    assert not schema.check([before], lock)
    changes = schema.check([after], lock)
    assert sorted((change.severity, change.field or "") for change in changes) == sorted(
        (severity, field or "") for severity, field, _ in expected
    )
    for severity, name, text in expected:
        assert any(
            (change.severity, change.field) == (severity, name) and _found(text, f"{change.what}; {change.why}")
            for change in changes
        ), changes
    schema.freeze([after], lock)
    assert not schema.check([after], lock)


def _found(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


def test_upgrade_severity_means_replaces_is_accepted(tmp_path: Path) -> None:
    """A change is readable-with-upgrade exactly when the new class may replace the old one unchanged."""
    for name, old, new, expected in CASES:
        if any(field and field.startswith("moid") for _, field, _ in expected) or not expected:
            continue
        before = model(old[0], "Old", **old[1])
        severities = {severity for severity, _, _ in expected}
        if severities == {UPGRADE}:
            model(new[0], "New", replaces=before, **new[1])
        elif BREAKING in severities and "removed" not in name:
            keywords = {"versioned": False, **new[1]} if "version" not in new[1] else new[1]
            with pytest.raises(SchemaError, match="cannot be distinguished"):
                model(new[0], "New", replaces=before, **keywords)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "schema.lock"


def test_model_that_replaces_locked_version(lock: Path) -> None:
    schema.freeze([model(A)], lock)
    first = model(A, "ReadingV1")
    now = model({**A, "volts": Int32}, replaces=first, versioned=True)
    (change,) = schema.check([now], lock)
    assert (change.severity, change.field) == (SAME, None)
    assert "it replaces ReadingV1, which has the layout that is locked as Reading" in change.what
    third = model(
        {**A, "more": Int32},
        "Reading",
        replaces=model({**A, "volts": Int32}, "ReadingV2", replaces=first, versioned=True),
    )
    assert [each.severity for each in schema.check([third], lock)] == [SAME, SAME]
    schema.freeze([now], lock)
    assert list(json.loads(lock.read_text())["models"]) == ["Reading", "ReadingV1"]
    assert not schema.check([now], lock)
    (renumbered, missing) = sorted(schema.check([model({**A, "volts": Int32}, version=2)], lock), key=str)
    assert (renumbered.model, missing.model) == ("Reading", "ReadingV1")
    assert {renumbered.severity, missing.severity} == {BREAKING}


def test_since_allows_new_meaning_for_same_layout(lock: Path) -> None:
    schema.freeze([model({"v": (Int32, field(unit="V"))})], lock)
    old = model({"v": (Int32, field(unit="V"))}, "ReadingV1")
    assert [
        each.severity for each in schema.check([model({"v": (Int32, field(unit="mV"))}, replaces=old, since=5)], lock)
    ] == [SAME]
    schema.freeze([model({"v": (Int32, field(unit="mV"))}, replaces=old, since=5)], lock)
    (change,) = schema.check([model({"v": (Int32, field(unit="mV"))}, replaces=old, since=6)], lock)
    assert (change.severity, "since= was 2001-01-01T00:00:00.000000005Z" in change.what) == (BREAKING, True)


def test_removed_upgrade_is_breaking(lock: Path) -> None:
    def versions(upgraded: bool) -> Any:
        first = model(A, "ReadingV1")
        second: Any = model({**A, "volts": Int32}, replaces=first, versioned=True)
        if upgraded:
            second.upgrade_from(first)(lambda old: second(cid=1, mid=2, moid=3, cap=4, counter=old.counter, volts=0))
        return second

    schema.freeze([versions(True)], lock)
    assert not schema.check([versions(True)], lock)
    (change,) = schema.check([versions(False)], lock)
    assert (change.severity, change.what) == (BREAKING, "upgrade_from(ReadingV1) was removed")
    schema.freeze([versions(False)], lock)
    (change,) = schema.check([versions(True)], lock)
    assert change.severity == SAME


def test_members_named_like_lock_file_keys(lock: Path) -> None:
    """Member names are not confused with properties of the field."""
    old, new = (IntEnum("Named", {"keep": first, "unit": 1 - first}) for first in (0, 1))  # type: ignore[misc]
    schema.freeze([model({"a": (Array[Any], field(item=Enumerated[old], length=2))})], lock)
    changes = schema.check([model({"a": (Array[Any], field(item=Enumerated[new], length=2))})], lock)
    assert {change.severity for change in changes} == {BREAKING}


def test_added_removed_and_renamed_models(lock: Path) -> None:
    schema.freeze([model(A), model(B, "Other")], lock)
    changes = schema.check([model(A), model({"x": UInt8}, "Another")], lock)
    assert [(change.severity, change.model) for change in changes] == [(BREAKING, "Other"), (SAME, "Another")]
    (renamed,) = schema.check([model(A), model(B, "Another")], lock)
    assert (renamed.severity, renamed.what) == (SAME, "the class was renamed to Another")


def test_changes_are_sorted_and_filtered(lock: Path) -> None:
    schema.freeze([model({**A, "x": Int16, "y": Int16})], lock)
    changes = schema.check([model({**B, "x": UInt16, "y": Int16, "z": UInt8}, moid=3)], lock)
    assert [change.severity for change in changes] == [BREAKING, UPGRADE, UPGRADE, SAME]
    assert len(changes.breaking) == 1
    assert len(changes.above(SAME)) == 3
    assert [str(change).partition(":")[0] for change in changes[:2]] == [BREAKING, UPGRADE]
    assert len(str(changes).splitlines()) == 4
    assert str(schema.check([model(A)], lock).breaking[:0]) == "no changes"
    assert repr(changes).startswith("<Changes: breaking: Reading.moid: it is now fixed as 3; ")


def test_lock_file_format(lock: Path) -> None:
    schema.freeze([model(B, "Zulu"), model({"volts": (Float32, field(unit="V"))}, "Alpha", moid=3, version=4)], lock)
    text = lock.read_text()
    assert text.index('"Alpha"') < text.index('"Zulu"')
    assert (
        '        {"name": "volts", "type": "Float32", "byte_order": "little", "offset": 1, "size": 4, "unit": "V"}\n'
        in text
    )
    assert text.endswith("}\n")
    written = json.loads(text)["models"]["Alpha"]
    assert (written["key"], written["version"], written["size"]) == ({"moid": 3}, 4, 5)
    schema.freeze([model({"volts": (Float32, field(unit="V"))}, "Alpha", moid=3, version=4), model(B, "Zulu")], lock)
    assert lock.read_text() == text
    schema.freeze([model({}, "Empty")], lock)
    assert json.loads(lock.read_text())["models"]["Empty"]["fields"] == []
    schema.freeze([], lock)
    assert json.loads(lock.read_text())["models"] == {}


def test_lock_file_is_replaced_atomically(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema.freeze([model(A)], lock)
    before = lock.read_bytes()
    monkeypatch.setattr("os.fsync", _full)
    with pytest.raises(OSError, match="no space"):
        schema.freeze([model(B)], lock)
    assert lock.read_bytes() == before
    assert list(lock.parent.iterdir()) == [lock]


def _full(_: int) -> None:
    raise OSError("no space left")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no lock file"),
        ("{", "cannot be read as a lock file"),
        ("[]", "is not a lock file"),
        ('{"models": {}}', "is not a lock file"),
        ('{"tsmodel_schema": 2, "models": {}}', "form 2, and this tsmodel knows form 1: upgrade"),
        ('{"tsmodel_schema": 1}', "is damaged"),
        ('{"tsmodel_schema": 1, "models": {"Reading": {"fingerprint": "0"}}}', "is damaged"),
        (
            '{"tsmodel_schema": 1, "models": {"R": {"fingerprint": "0", "encoding": "struct", "key": {}, "fields": [{}]}}}',
            "damaged",
        ),
    ],
)
def test_invalid_lock_files_are_refused(lock: Path, text: str | None, message: str) -> None:
    if text is not None:
        lock.write_text(text)
    with pytest.raises(SchemaError, match=message):
        schema.check([model(A)], lock)


@pytest.mark.parametrize("call", [schema.freeze, schema.check])
def test_models_that_cannot_be_locked_are_refused(lock: Path, call: Callable[..., Any]) -> None:
    with pytest.raises(SchemaError, match="two models are named Reading"):
        call([model(A), model(B)], lock)
    with pytest.raises(SchemaError, match="TSModel is abstract"):
        call([TSModel], lock)


def test_default_missing_from_lock_file_is_not_compared(lock: Path) -> None:
    """Older files record only that a default exists."""
    made = model({**A, "b": (Text, field(default="ä"))}, **MSG)
    schema.freeze([made], lock)
    text = lock.read_text()
    assert '"default": true, "default_value": "\\u00e4"' in text
    lock.write_text(text.replace(', "default_value": "\\u00e4"', ""))
    assert not schema.check([model({**A, "b": (Text, field(default="b"))}, **MSG)], lock)


def test_flag_member_changes(lock: Path) -> None:
    def lamp(**members: int) -> Any:
        return (Flags[IntFlag("Lamp", members)], field(storage=UInt8))  # type: ignore[misc]

    schema.freeze([model({"s": lamp(RED=1, GREEN=2)})], lock)
    assert [each.severity for each in schema.check([model({"s": lamp(RED=1, GREEN=2, BLUE=4)})], lock)] == [SAME]
    assert [each.severity for each in schema.check([model({"s": lamp(RED=1, GREEN=4)})], lock)] == [BREAKING]


def _damage(entry: dict[str, Any], at: list[Any], value: Any) -> None:
    for step in at[:-1]:
        entry = entry[step]
    entry[at[-1]] = value


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (["fields", 0, "name"], ["a", "list"]),
        (["fields", 0, "name"], "s"),
        (["fields", 0, "type"], {}),
        (["fields", 0, "offset"], "far"),
        (["fields", 0, "unit"], ["V"]),
        (["fields", 1, "members"], ["OFF"]),
        (["fields", 1, "members", "OFF"], []),
        (["fields", 2, "layout"], []),
        (["fields", 2, "layout", "fields", 0, "name"], None),
        (["fields", 3, "item"], 3),
        (["fields", 0, "type"], "Array"),
        (["fields", 0, "constraints"], []),
        (["fields", 0, "constraints"], {"ge": None}),
        (["fields", 0, "constraints"], {"max_length": "3"}),
        (["key"], {"moid": []}),
        (["replaces"], []),
        (["version"], "1"),
        (["size"], []),
        (["encoding"], []),
    ],
)
def test_damaged_entries_are_refused(lock: Path, at: list[Any], value: Any) -> None:
    made = model(
        {"a": Int32, "s": state(Two), "p": Nested[Phase], "n": (Nullable[int], field(item=Int16))}, moid=3, version=1
    )
    schema.freeze([made], lock)
    content = json.loads(lock.read_text())
    _damage(content["models"]["Reading"], at, value)
    lock.write_text(json.dumps(content))
    with pytest.raises(SchemaError, match="is damaged"):
        schema.check([model({"b": Int16}, moid=3)], lock)


@pytest.mark.parametrize("depth", [150, 900, 100_000])
def test_deeply_nested_files_are_refused(lock: Path, depth: int) -> None:
    item = '{"type": "Array", "item": ' * depth + '{"type": "Int8"}' + "}" * depth
    lock.write_text(
        '{"tsmodel_schema": 1, "models": {"Reading": {"fingerprint": "0", "encoding": "struct", "key": {}, "fields": '
        f'[{{"name": "a", "type": "Array", "item": {item}}}]}}}}}}'
    )
    with pytest.raises(SchemaError, match=r"is damaged|cannot be read"):
        schema.check([model({"a": Int16})], lock)
    lock.write_text("[" * depth + "]" * depth)
    with pytest.raises(SchemaError, match="lock file"):
        schema.check([model({"a": Int16})], lock)
