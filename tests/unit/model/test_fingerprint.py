"""Fingerprints: stable across processes; different whenever stored bytes or names differ."""

from __future__ import annotations

import os
import subprocess
import sys
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tsmodel import (
    Array,
    Bits,
    Blob,
    Char,
    Date,
    DateTime,
    Duration,
    Enumerated,
    Flags,
    Float32,
    Int16,
    Int32,
    IpAddress,
    Nested,
    Nullable,
    Packed,
    Padding,
    Scaled,
    Text,
    TSModel,
    TSStruct,
    UInt8,
    UInt32,
    UnixTime,
    Uuid,
    field,
    padding,
)
from tsmodel.types import FIELD_TYPES
from tsmodel.types.codec import FieldCodec


class State(IntEnum):
    ON = 1
    OFF = 0


class Lamp(IntFlag):
    RED = 1
    GREEN = 2
    BOTH = 3


class Tag(msgspec.Struct, tag="t"):
    name: str
    above: "Tag | None" = None  # noqa: UP037 - resolved by msgspec
    state: State = State.OFF


class Phase(TSStruct):
    volts: Float32
    amps: Float32


class Everything(TSModel, moid=7, version=3):
    state: Enumerated[State] = field(storage=UInt8)
    lamp: Flags[Lamp] = field(storage=UInt8)
    price: Scaled = field(digits=2, storage=Int32)
    low: Bits = field(bits=4, storage=UInt8)
    high: Bits = field(bits=4, storage=UInt8)
    _gap: Padding = padding(3)
    seen: UnixTime = field(resolution="ms")
    at: DateTime
    took: Duration
    day: Date
    letter: Char
    who: Uuid
    where: IpAddress
    name: Text = field(size=8)
    blob: Blob = field(size=4)
    samples: Array[float] = field(item=Float32, length=3, byte_order="big")
    phase: Nested[Phase]
    maybe: Nullable[int] = field(item=Int16)
    sentinel: Nullable[float] = field(item=Float32, null=-999.0)
    text: Text
    more: Array[int] = field(item=Int16, prefix=UInt8)
    tag: Packed[Tag]
    rest: Blob = field(rest=True)


GOLDEN = "491ffe37ea80abf5"
"""Pinned: if the fingerprint changes, existing files and other programs no longer match the model."""


def test_fingerprint_is_stable() -> None:
    assert Everything.fingerprint == GOLDEN
    assert First.fingerprint == "84117423b6993554"


class First(TSModel):
    counter: Int32
    volts: Float32


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_fingerprint_does_not_depend_on_process(seed: str) -> None:
    code = "from test_fingerprint import Everything; print(Everything.fingerprint)"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == GOLDEN


def model(**keywords: Any) -> type[Any]:
    """A model with a volts field; accepts `annotation`, `field()` options and class keywords."""
    annotation = keywords.pop("annotation", Float32)
    name = keywords.pop("name", "volts")
    options = {
        key: keywords.pop(key) for key in list(keywords) if key in ("unit", "doc", "ge", "default", "item", "byte_order_of")
    }
    namespace: dict[str, Any] = {"__annotations__": {"counter": Int32, name: annotation}, name: field(**options)}
    return type(TSModel)("Reading", (TSModel,), namespace, **keywords)


def test_options_that_keep_the_fingerprint() -> None:
    same = [
        model(unit="V"),
        model(doc="mains voltage"),
        model(ge=0),
        model(default=1.0),
        model(frozen=True),
        model(strict_read=True),
        model(post_init_on_read=True),
        First,
    ]
    assert {each.fingerprint for each in same} == {model().fingerprint}


def test_options_that_change_the_fingerprint() -> None:
    other = [
        model(),
        model(name="amps"),
        model(annotation=Int32),
        model(annotation=UInt32),
        model(annotation=Nullable[float], item=Float32),
        model(byte_order="big"),
        model(moid=7),
        model(moid=8),
        model(cid=7),
        model(versioned=True),
        model(version=2),
        model(encoding="msgpack"),
        model(encoding="json"),
    ]
    assert len({each.fingerprint for each in other}) == len(other)


def test_enum_members_change_the_fingerprint() -> None:
    class Named(IntEnum):
        NO = 0
        ON = 1

    class Renumbered(IntEnum):
        OFF = 0
        ON = 2

    class Reordered(IntEnum):
        OFF = 0
        ON = 1

    prints = [model(annotation=Enumerated[kind]).fingerprint for kind in (State, Named, Renumbered, Reordered)]
    assert len(set(prints)) == 3
    assert prints[0] == prints[3]


def test_padding_changes_the_fingerprint() -> None:
    class Padded(TSModel):
        counter: Int32
        _gap: Padding = padding(1)
        volts: Float32

    class Longer(TSModel):
        counter: Int32
        volts: Float32
        _gap: Padding = padding(1)

    assert len({First.fingerprint, Padded.fingerprint, Longer.fingerprint}) == 3


def test_structures_and_abstract_models_have_fingerprints() -> None:
    assert Phase.fingerprint != First.fingerprint

    class Base(TSModel, abstract=True):
        counter: Int32
        volts: Float32

    assert Base.fingerprint == First.fingerprint


def test_packed_types_change_the_fingerprint() -> None:
    class Other(msgspec.Struct):
        name: str

    kinds: list[Any] = [Tag, Other, dict[str, str], dict[str, int], list[str], list[int] | None, str | int]
    assert len({model(annotation=Packed[kind]).fingerprint for kind in kinds}) == len(kinds)
    assert model(annotation=Packed[int | str]).fingerprint == model(annotation=Packed[str | int]).fingerprint


def test_description_covers_every_field_type() -> None:
    kinds = {each["type"] for each in Everything.layout.description()["fields"]}
    plain = {"Acq", "Cap", "Cid", "Mid", "Moid", "Padding"}
    for name, kind in FIELD_TYPES.items():
        if hasattr(kind, "scalar"):
            assert model(annotation=kind).layout.description()["fields"][1]["type"] == name
            plain.add(name)
    assert kinds | plain == set(FIELD_TYPES)


def test_every_codec_implements_all_methods() -> None:
    def leaves(kind: type) -> set[type]:
        below = kind.__subclasses__()
        return {kind} if not below else set().union(*map(leaves, below))

    ours = {each for each in leaves(FieldCodec) if each.__module__.startswith("tsmodel.")}
    assert len(ours) > 20
    missing = {
        f"{each.__name__}.{name}"
        for each in ours
        for name in dir(each)
        if getattr(getattr(each, name), "__isabstractmethod__", False)
    }
    assert missing == set()
