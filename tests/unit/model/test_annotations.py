"""Models declared without `from __future__ import annotations`, as most users do.

Python 3.14 and later evaluate the annotations of such a class lazily; earlier versions, while the class body runs.
"""

import sys
import typing
from enum import IntEnum
from typing import Annotated, ClassVar

import pytest

from tsmodel import (
    Array,
    Bool,
    Enumerated,
    Float32,
    Int32,
    Mid,
    Nested,
    Nullable,
    Text,
    TSModel,
    TSStruct,
    connect,
    field,
)
from tsmodel.errors import SchemaError

LAZY = sys.version_info >= (3, 14)


class State(IntEnum):
    OFF = 0
    ON = 1


class Place(TSStruct):
    floor: Int32
    room: Int32 = field(default=1)


class Reading(TSModel, moid=7):
    counter: Int32
    volts: Float32 = field(ge=0)
    valid: Bool = field(default=True)
    kinds: ClassVar[int] = 3


class Base(TSModel, abstract=True):
    meter: Mid
    state: Enumerated[State]


class Derived(Base):
    place: Nested[Place]
    curve: Array[float] = field(item=Float32, length=2)
    note: Nullable[str] = field(item=Text, default=None)


def test_fields_are_declared_and_stored() -> None:
    assert [each.name for each in Reading.layout.fields] == ["counter", "volts", "valid"]
    with connect("memory:") as session:
        session.add(Reading(cid=1, mid=2, cap=3, counter=4, volts=5.0))
        session.flush()
        found = Reading.query.where(Reading.volts > 4).one()
    assert (found.counter, found.volts, found.valid, found.moid) == (4, 5.0, True, 7)
    assert Reading.kinds == 3


def test_abstract_bases_and_composites() -> None:
    assert [each.name for each in Derived.layout.fields] == ["state", "place", "curve", "note"]
    made = Derived(cid=1, meter=2, moid=3, cap=4, state=State.ON, place=Place(floor=2), curve=[1.0, 2.0])
    with connect("memory:") as session:
        session.add(made)
        session.flush()
        found = Derived.query.one()
    assert (found.meter, found.state, found.place, found.curve, found.note) == (
        2,
        State.ON,
        Place(floor=2),
        [1.0, 2.0],
        None,
    )


def test_type_hints_resolve_to_value_types() -> None:
    hints = typing.get_type_hints(Reading)
    assert {name: hints[name] for name in ("cid", "cap", "counter", "volts", "valid")} == {
        "cid": int,
        "cap": int,
        "counter": int,
        "volts": float,
        "valid": bool,
    }
    assert typing.get_type_hints(Derived)["state"] is State


def test_model_in_function_resolves_local_names() -> None:
    class Mode(IntEnum):
        A = 0

    def inner() -> type[TSModel]:
        class Inner(TSModel):
            mode: Enumerated[Mode]
            later: "Enumerated[Local]"

        return Inner

    class Local(IntEnum):
        B = 1

    with pytest.raises(SchemaError, match="name 'Local' is not defined"):
        inner()  # a string resolves where the class statement runs, and Local is not captured there

    class Outer(TSModel):
        mode: Enumerated[Mode]
        later: "Enumerated[Local]"

    assert [each.name for each in Outer.layout.fields] == ["mode", "later"]


def test_quoted_annotations() -> None:
    class Quoted(TSModel):
        a: "Int32"
        b: Nullable["float"] = field(item=Float32, default=None)
        c: Enumerated["State"]
        d: ClassVar["Missing"]  # type: ignore[name-defined]  # noqa: F821
        e: "ClassVar[Missing]"  # type: ignore[name-defined]  # noqa: F821

    assert [each.name for each in Quoted.layout.fields] == ["a", "b", "c"]
    assert [each.codec.python for each in Quoted.layout.fields] == [int, float | None, State]


def test_annotations_in_namespace_take_precedence() -> None:
    made = type(TSModel)("Made", (TSModel,), {"__annotations__": {"x": Int32}, "__module__": __name__})
    assert [each.name for each in made.layout.fields] == ["x"]
    assert [each.name for each in type(TSModel)("None_", (TSModel,), {"__annotations__": {}}).layout.fields] == []


@pytest.mark.skipif(not LAZY, reason="before Python 3.14 the class body itself raises NameError")
@pytest.mark.parametrize("annotation", ["Absent", "Enumerated[Absent]", "Nullable[Absent | int]", "Absent.Int32"])
def test_undefined_name_error_says_what_to_import(annotation: str) -> None:
    with pytest.raises(SchemaError, match=r"Broken\.x: .*name 'Absent' is not defined\); import its names") as caught:
        exec(f"class Broken(TSModel):\n    x: {annotation}", globals())
    assert (caught.value.model, caught.value.field) == ("Broken", "x")


@pytest.mark.skipif(not LAZY, reason="before Python 3.14 the class body itself raises TypeError")
def test_annotation_that_raises_is_refused() -> None:
    with pytest.raises(SchemaError, match="Broken"):

        class Broken(TSModel):
            x: Nullable[int][3]  # type: ignore[misc]


def test_class_body_with_ignored_annotations_is_refused() -> None:
    with pytest.raises(SchemaError, match="class Empty: its annotations take no effect"):

        class Empty(TSModel):
            if typing.TYPE_CHECKING:
                x: Int32

    class Full(Base):
        if typing.TYPE_CHECKING:
            hint: Annotated[int, "for checkers"]

    class Bare(TSModel):
        """Declares no fields."""

    assert [each.name for each in Full.layout.fields] == ["state"]
    assert Bare.layout.size == 0
