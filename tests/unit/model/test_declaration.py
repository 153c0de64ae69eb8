"""Declaring models: valid class bodies, the resulting objects, and errors that say how to fix a declaration."""

from __future__ import annotations

import copy
import pickle
import struct
import typing
from typing import Any, ClassVar

import msgspec
import pytest

from tsmodel import (
    Bool,
    Float32,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    Mid,
    Moid,
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


def test_objects_have_key_and_fields() -> None:
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


def test_layout_of_every_scalar() -> None:
    assert Everything.struct_format == "<bhiqBHIQfd?q"
    assert Everything.layout.size == 51
    assert Everything.dtype.names == tuple("abcdefghijkl")


@pytest.mark.parametrize("name", ["cid", "mid", "moid", "cap", "counter", "volts"])
def test_missing_argument_is_named(name: str) -> None:
    values = {"cid": 1, "mid": 2, "moid": 3, "cap": 4, "counter": 5, "volts": 1.5}
    del values[name]
    with pytest.raises(TypeError, match=f"[Mm]issing required argument '{name}'"):
        Reading(**values)  # type: ignore[arg-type]


def test_unknown_argument_is_refused() -> None:
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


def test_required_field_after_default() -> None:
    class Event(TSModel):
        code: Int16 = field(default=7)
        level: Float64

    assert Event(cid=1, mid=1, moid=1, cap=1, level=2.0).code == 7
    assert Event.struct_format == "<hd"


def test_model_without_fields() -> None:
    class Mark(TSModel):
        pass

    assert Mark.layout.size == 0
    assert Mark.struct_format == "<"
    assert Mark(cid=1, mid=2, moid=3, cap=4).key == Key(1, 2, 3, 4)


def test_methods_and_class_variables_are_not_fields() -> None:
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


def test_abstract_model_passes_on_its_fields() -> None:
    class First(Base):
        volts: Float32

    class Second(Base, byte_order="big"):
        valid: Bool = field(default=False)

    assert First.struct_format == "<if"
    assert Second.struct_format == ">i?"
    assert First(cid=1, mid=1, moid=1, cap=1, counter=4, volts=1.0).doubled == 8
    assert isinstance(Second(cid=1, mid=1, moid=1, cap=1, counter=4), Base)


def test_multiple_inheritance_of_abstract_models() -> None:
    class Timed(Base, abstract=True):
        until: Timestamp

    class Checked(TSModel, abstract=True, byte_order="big"):
        valid: Bool

    class Both(Timed, Checked):
        volts: Float32

    assert [each.name for each in Both.layout.fields] == ["counter", "until", "valid", "volts"]
    assert Both.struct_format == ">iq?f"


def test_abstract_model_has_no_objects_or_records() -> None:
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


def test_annotations_that_are_types() -> None:
    namespace = {"TSModel": TSModel, "Int16": Int16, "__name__": "elsewhere"}
    exec(compile("class Typed(TSModel):\n    code: Int16\n", "elsewhere", "exec", dont_inherit=True), namespace)
    assert namespace["Typed"].struct_format == "<h"  # type: ignore[attr-defined]


def declare(body: str, header: str = "TSModel", **known: Any) -> type[TSModel]:
    names: dict[str, Any] = {**globals(), **known}
    exec(f"class Broken({header}):\n    {body}\n", names)
    made: type[TSModel] = names["Broken"]
    return made


@pytest.mark.parametrize(
    ("body", "wording"),
    [
        ("volts: float", "Broken.volts: float is not a field type; write Float64 (8 bytes) or Float32 (4 bytes)"),
        ("count: int", "Broken.count: int is not a field type; write Int32, Int64 or another integer type"),
        ("valid: bool", "Broken.valid: bool is not a field type; write Bool"),
        ("name: str", "Broken.name: str is not a field type; write Text"),
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
def test_class_body_errors_name_class_field_and_fix(body: str, wording: str) -> None:
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
        (
            "TSModel, cap=1",
            "unknown option cap=1; known are abstract, byte_order, align, ",
        ),
        ("TSModel, froozen=True", "unknown option froozen=True"),
        ("TSModel, byte_order='middle'", "byte_order='middle'; expected 'little' or 'big'"),
        ("Reading", "Reading has records of its own"),
    ],
)
def test_class_statement_errors(header: str, wording: str) -> None:
    with pytest.raises(SchemaError) as caught:
        declare("pass", header)
    assert wording in str(caught.value)
    assert "class Broken" in str(caught.value)


def test_redeclared_field_is_refused() -> None:
    with pytest.raises(SchemaError, match="Broken.counter is already declared by a base class"):
        declare("counter: Int16", "Base")


def test_field_refuses_default_and_factory_together() -> None:
    with pytest.raises(TypeError, match="not both"):
        field(default=1, default_factory=int)


KEY_ARGUMENTS = {"cid": 1, "mid": 2, "moid": 3, "cap": 4}


def test_keyword_arguments_in_any_order() -> None:
    assert Reading(volts=1.5, counter=5, cap=4, moid=3, mid=2, cid=1) == reading()


def test_explicit_acq() -> None:
    assert reading(acq=9).key == Key(1, 2, 3, 4, 9)


def test_factory_runs_for_each_object() -> None:
    numbers = iter(range(10))

    class Event(TSModel):
        number: Int16 = field(default_factory=lambda: next(numbers))

    assert [Event(**KEY_ARGUMENTS).number for _ in range(3)] == [0, 1, 2]
    assert Event(**KEY_ARGUMENTS, number=7).number == 7


def test_field_without_default_is_required() -> None:
    class Event(TSModel):
        code: Int16 = field()

    with pytest.raises(TypeError, match="missing required argument 'code'"):
        Event(**KEY_ARGUMENTS)


@pytest.mark.parametrize(
    "fixed", [{"cid": 1}, {"mid": 2}, {"moid": 3}, {"cid": 1, "mid": 2, "moid": 3}, {"cid": 1, "moid": 3}]
)
def test_unfixed_key_components_are_required(fixed: dict[str, int]) -> None:
    header = ", ".join(["TSModel", *(f"{name}={value}" for name, value in fixed.items())])
    model: Any = declare("code: Int16", header)
    given = {name: value for name, value in KEY_ARGUMENTS.items() if name not in fixed}
    assert model(**given, code=1).key == Key(1, 2, 3, 4, -1)
    for name in given:
        with pytest.raises(TypeError, match=f"[Mm]issing required argument '{name}'"):
            model(**{other: value for other, value in given.items() if other != name}, code=1)


def test_fixed_key_components_at_range_limits() -> None:
    model: Any = declare("code: Int16", "TSModel, cid=2**31 - 2, mid=-(2**63), moid=-(2**31)")
    assert model(cap=4, code=1).key == Key(2**31 - 2, -(2**63), -(2**31), 4, -1)


def test_fixed_key_components_are_inherited_and_overridden() -> None:
    class Site(TSModel, abstract=True, cid=5, moid=6):
        pass

    class Event(Site, moid=7):
        code: Int16

    assert Event(mid=1, cap=2, code=3).key == Key(5, 1, 7, 2, -1)


def test_conflicting_fixed_components_are_refused() -> None:
    class First(TSModel, abstract=True, moid=1):
        pass

    class Second(TSModel, abstract=True, moid=2):
        pass

    class Resolved(First, Second, moid=3):
        pass

    assert Resolved(cid=1, mid=2, cap=4).moid == 3
    with pytest.raises(SchemaError, match="Broken.*moid"):
        type("Broken", (First, Second), {})


def test_diamond_base_contributes_fields_once() -> None:
    class Left(Base, abstract=True):
        volts: Float32

    class Right(Base, abstract=True):
        valid: Bool

    class Both(Left, Right):
        code: Int8

    assert [each.name for each in Both.layout.fields] == ["counter", "volts", "valid", "code"]


def test_bases_with_conflicting_fields_are_refused() -> None:
    class Left(TSModel, abstract=True):
        level: Float32

    class Right(TSModel, abstract=True):
        level: Float64

    with pytest.raises(SchemaError, match=r"Broken.level is already declared by a base class; .*rename one") as caught:
        type("Broken", (Left, Right), {})
    assert (caught.value.model, caught.value.field) == ("Broken", "level")


def test_defaults_are_inherited() -> None:
    class Event(TSModel, abstract=True):
        code: Int16 = field(default=7)
        number: Int16 = field(default_factory=lambda: 8)

    class Alarm(Event):
        level: Int8

    alarm = Alarm(**KEY_ARGUMENTS, level=1)
    assert (alarm.code, alarm.number) == (7, 8)


def test_subclass_overrides_byte_order() -> None:
    class Big(TSModel, abstract=True, byte_order="big"):
        code: Int16

    class Heir(Big):
        pass

    class Little(Big, byte_order="little"):
        pass

    assert (Heir.struct_format, Little.struct_format) == (">h", "<h")


def test_post_init_is_inherited() -> None:
    seen = []

    class Logged(TSModel, abstract=True):
        code: Int16

        def __post_init__(self) -> None:
            seen.append(self.code)

    class Event(Logged):
        pass

    with pytest.raises(TypeError, match="Logged is abstract"):
        Logged()
    Event(**KEY_ARGUMENTS, code=2)
    assert seen == [2]


def test_tsmodel_itself_is_abstract() -> None:
    with pytest.raises(TypeError, match="TSModel is abstract"):
        TSModel()


def test_mixin_methods() -> None:
    class Slotted:
        __slots__ = ()

        def doubled(self) -> int:
            return 2 * self.counter  # type: ignore[attr-defined, no-any-return]

    class Meter(Slotted, TSModel):
        counter: Int32

    assert Meter(**KEY_ARGUMENTS, counter=4).doubled() == 8


@pytest.mark.parametrize("header", ["Loose, TSModel", "TSModel, Loose", "Loose, TSModel, abstract=True"])
def test_mixin_without_slots_is_refused(header: str) -> None:
    class Loose:
        pass

    with pytest.raises(SchemaError, match="Broken.*__slots__"):
        declare("counter: Int32", header, Loose=Loose)


@pytest.mark.parametrize(
    "annotation", ["ClassVar[float]", "typing.ClassVar[float]", "t.ClassVar[float]", "Alias", "'ClassVar'"]
)
@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"], ids=["types", "strings"])
def test_classvar_spellings(annotation: str, future: str) -> None:
    names: dict[str, Any] = {**globals(), "typing": typing, "t": typing, "Alias": ClassVar[float]}
    source = f"{future}class Meter(TSModel):\n    scale: {annotation} = 0.1\n    counter: Int32\n"
    exec(compile(source, "elsewhere", "exec", dont_inherit=True), names)
    meter = names["Meter"](**KEY_ARGUMENTS, counter=5)
    assert meter.scale == names["Meter"].scale == 0.1
    assert names["Meter"].struct_format == "<i"
    assert "scale" not in repr(meter)


def test_annotations_resolve_function_locals() -> None:
    def make() -> type[TSModel]:
        from tsmodel import UInt8 as Byte

        class Local(TSModel):
            first: Byte
            second: "Byte"  # noqa: UP037

        return Local

    assert make().struct_format == "<BB"


def test_annotations_resolve_class_body_names() -> None:
    class Own(TSModel):
        Kind: ClassVar = Int8
        first: Kind  # type: ignore[valid-type]

    assert Own.struct_format == "<b"


def test_model_created_by_type_call() -> None:
    made: Any = type("Made", (TSModel,), {"__annotations__": {"code": Int16}, "code": 3})
    assert made(**KEY_ARGUMENTS).code == 3
    assert made.struct_format == "<h"


@pytest.mark.parametrize("name", ["mro", "name", "self", "cls", "type", "größe", "encode", "min", "x" * 200])
def test_unusual_field_names(name: str) -> None:
    model: Any = declare(f"{name}: Int16")
    row = model(**KEY_ARGUMENTS, **{name: 5})
    assert getattr(row, name) == 5
    assert repr(getattr(model, name)) == f"<Column Broken.{name}: Int16>"
    assert model.from_record(row.to_record()) == row
    assert model.payload_type.to_bytes(row) == b"\5\0"
    assert model.dtype.names == (name,)


def test_many_fields() -> None:
    model: Any = declare("\n    ".join(f"field{at}: Int32 = {at}" for at in range(500)))
    assert model.layout.size == 2000
    assert struct.unpack("<500i", model.payload_type.to_bytes(model(**KEY_ARGUMENTS))) == tuple(range(500))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_protocols(protocol: int) -> None:
    assert pickle.loads(pickle.dumps([reading(), reading(acq=9)], protocol)) == [reading(), reading(acq=9)]


def test_copies_are_independent() -> None:
    row = reading()
    for other in (copy.copy(row), copy.deepcopy(row), msgspec.structs.replace(row)):
        other.counter = 99
        assert row.counter == 5


def test_replacing_fields() -> None:
    assert msgspec.structs.replace(reading(), counter=9) == reading(counter=9)


def test_objects_of_two_models_are_not_equal() -> None:
    class Twin(TSModel):
        counter: Int32
        volts: Float32
        valid: Bool = field(default=True)

    assert Twin(**KEY_ARGUMENTS, counter=5, volts=1.5) != reading()
    assert reading() != "something else"
    for name, value in {**KEY_ARGUMENTS, "acq": -1, "counter": 5, "volts": 1.5, "valid": True}.items():
        assert reading(**{name: value + 1}) != reading()


def test_objects_are_not_hashable() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        {reading()}


def test_json_round_trip() -> None:
    text = msgspec.json.encode(reading())
    assert msgspec.json.decode(text, type=Reading) == reading()
    with pytest.raises(msgspec.ValidationError, match=r"Expected `int`, got `str` - at `\$.counter`"):
        msgspec.json.decode(text.replace(b"5", b'"5"', 1), type=Reading)


@pytest.mark.parametrize("name", ["cid", "mid", "moid", "cap", "acq"])
@pytest.mark.parametrize("body", ["{} = 5", "def {}(self): return 5", "{} = field(default=5)"])
def test_key_component_set_in_class_body_is_refused(name: str, body: str) -> None:
    with pytest.raises(SchemaError) as caught:
        declare(body.format(name))
    assert f"Broken.{name}" in str(caught.value)
    assert (caught.value.model, caught.value.field) == ("Broken", name)


@pytest.mark.parametrize("body", ["counter = 5", "def counter(self): return 5"])
def test_inherited_field_set_in_class_body_is_refused(body: str) -> None:
    with pytest.raises(SchemaError, match="Broken.counter") as caught:
        declare(body, "Base")
    assert (caught.value.model, caught.value.field) == ("Broken", "counter")


@pytest.mark.parametrize("options", ["default_factory=5", "default_factory='now'"])
def test_uncallable_factory_is_refused(options: str) -> None:
    with pytest.raises(SchemaError, match="Broken.code.*default_factory"):
        declare(f"code: Int16 = field({options})")


@pytest.mark.parametrize(
    "annotation",
    ["Int8 | str", "set[Int8]", "Int8()", "None", "5", "Any", "TSModel", "Key", "type[Int8]", "'Int8 | str'"],
)
def test_annotation_that_is_not_a_field_type_is_refused(annotation: str) -> None:
    with pytest.raises(
        SchemaError, match=r"^Broken.code: .* is not a field type; known are Acq, .*Int8, .*Timestamp"
    ) as caught:
        declare(f"code: {annotation}")
    assert (caught.value.model, caught.value.field) == ("Broken", "code")


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        ("Int8", "-129"),
        ("UInt8", "-1"),
        ("UInt64", "2**64"),
        ("Float32", "1e39"),
        ("Bool", "1"),
        ("Timestamp", "'now'"),
        ("Int8", "[]"),
    ],
)
def test_default_out_of_range_is_refused(annotation: str, default: str) -> None:
    for body in (f"code: {annotation} = {default}", f"code: {annotation} = field(default={default})"):
        with pytest.raises(SchemaError, match="^Broken.code: the default .* is (not|too large) ") as caught:
            declare(body)
        assert (caught.value.model, caught.value.field) == ("Broken", "code")


def test_failed_class_can_be_declared_again() -> None:
    with pytest.raises(SchemaError):
        declare("volts: float")
    assert declare("volts: Float32").struct_format == "<f"


def test_renamed_key_component_conflicting_with_inherited_field_is_refused() -> None:
    class WithField(TSModel, abstract=True):
        meter: Int32

    class WithMid(TSModel, abstract=True):
        meter: Mid

    class WithMoid(TSModel, abstract=True):
        meter: Moid

    for bases, declared in (
        ((WithField,), {"meter": Mid}),
        ((WithMid,), {"meter": Int32}),
        ((WithField, WithMid), {}),
        ((WithMid, WithMoid), {}),
    ):
        with pytest.raises(SchemaError, match="Both.meter: this name is a field already; choose another name") as caught:
            type(TSModel)("Both", bases, {"__annotations__": declared})
        assert (caught.value.model, caught.value.field) == ("Both", "meter")
