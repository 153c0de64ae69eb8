"""Declaring models: what a class body may say, what objects are then like, and what is refused, with the mend."""

from __future__ import annotations

import copy
import pickle
from typing import Any, ClassVar

import pytest

from tsmodel import (
    Bool,
    Float32,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    Timestamp,
    TSModel,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    field,
    now_ns,
)
from tsmodel.errors import SchemaError, TSModelError
from tsmodel.keys import Key


class Reading(TSModel):
    counter: Int32
    volts: Float32
    valid: Bool = field(default=True)


class Everything(TSModel):
    a: Int8
    b: Int16
    c: Int32
    d: Int64
    e: UInt8
    f: UInt16
    g: UInt32
    h: UInt64
    i: Float32
    j: Float64
    k: Bool
    l: Timestamp  # noqa: E741


def reading(**values: Any) -> Reading:
    return Reading(**{"cid": 1, "mid": 2, "moid": 3, "cap": 4, "counter": 5, "volts": 1.5, **values})


def test_objects_have_the_key_and_the_fields() -> None:
    row = reading()
    assert (row.cid, row.mid, row.moid, row.cap, row.acq) == (1, 2, 3, 4, -1)
    assert (row.counter, row.volts, row.valid) == (5, 1.5, True)
    assert row.key == Key(1, 2, 3, 4, -1)


def test_objects_are_plain_values() -> None:
    row = reading()
    assert row == reading()
    assert row != reading(counter=6)
    assert copy.copy(row) == row
    assert pickle.loads(pickle.dumps(row)) == row
    row.counter = 9
    assert row.counter == 9
    assert repr(row) == "Reading(cid=1, mid=2, moid=3, cap=4, acq=-1, counter=9, volts=1.5, valid=True)"
    with pytest.raises(AttributeError):
        row.wolts = 1  # type: ignore[attr-defined]


def test_every_scalar() -> None:
    assert Everything.struct_format == "<bhiqBHIQfd?q"
    assert Everything.layout.size == 51
    assert Everything.dtype.names == tuple("abcdefghijkl")


@pytest.mark.parametrize("name", ["cid", "mid", "moid", "cap", "counter", "volts"])
def test_a_missing_argument(name: str) -> None:
    values = {"cid": 1, "mid": 2, "moid": 3, "cap": 4, "counter": 5, "volts": 1.5}
    del values[name]
    with pytest.raises(TypeError, match=f"[Mm]issing required argument '{name}'"):
        Reading(**values)  # type: ignore[arg-type]


def test_arguments_that_are_not_taken() -> None:
    with pytest.raises(TypeError, match="wolts"):
        reading(wolts=1)


def test_defaults_and_factories() -> None:
    class Event(TSModel):
        code: Int16 = field(default=7)
        level: Float64 = 0.5  # type: ignore[assignment]
        at: Timestamp = field(default_factory=now_ns)

    before = now_ns()
    event = Event(cid=1, mid=1, moid=1, cap=1)
    assert (event.code, event.level) == (7, 0.5)
    assert before <= event.at <= now_ns()


def test_a_required_field_may_follow_one_with_a_default() -> None:
    class Event(TSModel):
        code: Int16 = field(default=7)
        level: Float64

    assert Event(cid=1, mid=1, moid=1, cap=1, level=2.0).code == 7
    assert Event.struct_format == "<hd"


def test_a_model_without_fields() -> None:
    class Mark(TSModel):
        pass

    assert Mark.layout.size == 0
    assert Mark.struct_format == "<"
    assert Mark(cid=1, mid=2, moid=3, cap=4).key == Key(1, 2, 3, 4)


def test_what_is_not_a_field() -> None:
    class Meter(TSModel):
        counter: Int32
        scale: ClassVar[float] = 0.1
        UNITS = "kWh"

        @property
        def energy(self) -> float:
            return self.counter * self.scale

        def doubled(self) -> int:
            return 2 * self.counter

        @classmethod
        def at(cls, cap: int) -> Meter:
            return cls(cid=1, mid=1, moid=1, cap=cap, counter=0)

    assert Meter.struct_format == "<i"
    meter = Meter(cid=1, mid=1, moid=1, cap=1, counter=20)
    assert (meter.energy, meter.doubled(), Meter.at(5).cap, Meter.UNITS) == (2.0, 40, 5, "kWh")


def test_big_endian() -> None:
    class Big(TSModel, byte_order="big"):
        code: Int16

    assert Big.struct_format == ">h"
    assert Big.dtype["code"].str == ">i2"


class Base(TSModel, abstract=True):
    counter: Int32

    @property
    def doubled(self) -> int:
        return 2 * self.counter


def test_an_abstract_model_hands_its_fields_down() -> None:
    class First(Base):
        volts: Float32

    class Second(Base, byte_order="big"):
        valid: Bool = field(default=False)

    assert First.struct_format == "<if"
    assert Second.struct_format == ">i?"
    assert First(cid=1, mid=1, moid=1, cap=1, counter=4, volts=1.0).doubled == 8
    assert isinstance(Second(cid=1, mid=1, moid=1, cap=1, counter=4), Base)


def test_abstract_models_in_layers_and_side_by_side() -> None:
    class Timed(Base, abstract=True):
        until: Timestamp

    class Checked(TSModel, abstract=True, byte_order="big"):
        valid: Bool

    class Both(Timed, Checked):
        volts: Float32

    assert [each.name for each in Both.layout.fields] == ["counter", "until", "valid", "volts"]
    assert Both.struct_format == ">iq?f"


def test_an_abstract_model_has_no_objects_and_no_records() -> None:
    with pytest.raises(TypeError, match="Base is abstract: create objects of a class derived from it"):
        Base()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Base(cid=1, mid=1, moid=1, cap=1, counter=1)
    with pytest.raises(SchemaError, match="Base is abstract"):
        _ = Base.query
    with pytest.raises(SchemaError, match="Base is abstract"):
        _ = Base.payload_type


def test_fixed_key_components() -> None:
    class Event(TSModel, cid=5, moid=7):
        code: Int16

    event = Event(mid=1, cap=2, code=3)
    assert event.key == Key(5, 1, 7, 2, -1)
    with pytest.raises(TypeError, match="mid"):
        Event(cap=2, code=3)


def test_fixed_key_components_are_handed_down() -> None:
    class Site(TSModel, abstract=True, cid=5):
        pass

    class Event(Site, moid=7):
        code: Int16

    assert Event(mid=1, cap=2, code=3).key == Key(5, 1, 7, 2, -1)


def test_models_declared_inside_functions() -> None:
    Local = Int16

    class Inside(TSModel):
        code: Local  # type: ignore[valid-type]

    assert Inside.struct_format == "<h"


def test_quoted_annotations() -> None:
    class Quoted(TSModel):
        code: "Int16"  # noqa: UP037

    assert Quoted.struct_format == "<h"


def test_annotations_that_are_types_and_not_text() -> None:
    namespace = {"TSModel": TSModel, "Int16": Int16, "__name__": "elsewhere"}
    exec(compile("class Typed(TSModel):\n    code: Int16\n", "elsewhere", "exec", dont_inherit=True), namespace)
    assert namespace["Typed"].struct_format == "<h"  # type: ignore[attr-defined]


def declare(body: str, header: str = "TSModel") -> type[TSModel]:
    names: dict[str, Any] = {**globals()}
    exec(f"class Broken({header}):\n    {body}\n", names)
    made: type[TSModel] = names["Broken"]
    return made


@pytest.mark.parametrize(
    ("body", "wording"),
    [
        ("volts: float", "Broken.volts: float is not a field type; write Float64 (8 bytes) or Float32 (4 bytes)"),
        ("count: int", "Broken.count: int is not a field type; write Int32, Int64 or another integer type"),
        ("valid: bool", "Broken.valid: bool is not a field type; write Bool"),
        ("name: str", "Broken.name: str is not a field type; known are Int8"),
        ("name: 'Int23'", "Broken.name: the annotation 'Int23' cannot be resolved (name 'Int23' is not defined)"),
        ("cap: Int64", "Broken.cap: every model has this key component"),
        ("moid: Int32", "to fix its value write class Broken(TSModel, moid=…)"),
        ("query: Int32", "Broken.query: models use this name themselves; choose another name"),
        ("to_record: Int32", "Broken.to_record: models use this name themselves"),
        ("_hidden: Int32", "Broken._hidden: names with a leading underscore are not fields"),
        ("code: Int8 = 200", "Broken.code: the default 200 (int) is not an int from -128 to 127"),
        ("code: Int8 = field(default='x')", "Broken.code: the default 'x' (str) is not an int"),
        ("code = field(default=1)", "Broken.code = field(...) has no type: write code: Int32 = field(...)"),
    ],
)
def test_faults_in_a_class_body_name_class_field_and_mend(body: str, wording: str) -> None:
    with pytest.raises(SchemaError) as caught:
        declare(body)
    assert wording in str(caught.value)
    assert caught.value.model == "Broken"
    assert caught.value.field == body.split(":")[0].split(" ")[0]
    assert isinstance(caught.value, TSModelError)


@pytest.mark.parametrize(
    ("header", "wording"),
    [
        ("TSModel, moid='x'", "moid='x' fixes a key component, which takes an int from -2147483648 to 2147483646"),
        ("TSModel, cid=-1", "cid=-1 fixes a key component, which takes an int from 0 to 2147483646"),
        ("TSModel, cid=2**31 - 1", "takes an int from 0"),
        ("TSModel, cap=1", "unknown option cap=1; known are abstract, byte_order, cid, mid, moid"),
        ("TSModel, frozen=True", "unknown option frozen=True"),
        ("TSModel, byte_order='middle'", "byte_order='middle'; it is 'little' or 'big'"),
        ("Reading", "Reading is a model with records of its own"),
    ],
)
def test_faults_in_a_class_statement(header: str, wording: str) -> None:
    with pytest.raises(SchemaError) as caught:
        declare("pass", header)
    assert wording in str(caught.value)
    assert "class Broken" in str(caught.value)


def test_a_field_that_a_base_has_already() -> None:
    with pytest.raises(SchemaError, match="Broken.counter is already declared by a base class"):
        declare("counter: Int16", "Base")


def test_field_takes_a_default_or_a_factory() -> None:
    with pytest.raises(TypeError, match="not both"):
        field(default=1, default_factory=int)
