"""Models as Python classes: introspection, abstract methods, weak references, cached properties, class keywords."""

from __future__ import annotations

import abc
import copy
import datetime as dt
import functools
import inspect
import pickle
import pydoc
import sys
import weakref
from enum import IntEnum
from typing import Any, Optional

import msgspec
import pytest

from tsmodel import (
    Bool,
    Enumerated,
    Float32,
    Int32,
    Mid,
    Nullable,
    Packed,
    Text,
    Timestamp,
    TSModel,
    TSStruct,
    connect,
    field,
)
from tsmodel.errors import SchemaError, UnavailableError


class State(IntEnum):
    OFF = 0


class Reading(TSModel, moid=7):
    meter: Mid
    counter: Int32
    volts: Float32
    temp: Nullable[float] = field(item=Float32)
    valid: Bool = field(default=True)
    tags: Packed[dict[str, int]] = field(default={"a": 1})
    name: Text = field(default_factory=lambda: "x")


class Base(TSModel, abstract=True):
    volts: Float32


class Phase(TSStruct):
    volts: Float32
    amps: Float32 = field(default=0.0)


@pytest.mark.parametrize("model", [Reading, Base, Phase, TSModel, TSStruct], ids=lambda model: model.__name__)
def test_help_and_getmembers(model: type[Any]) -> None:
    assert model.__name__ in pydoc.render_doc(model)
    assert "__class__" in dict(inspect.getmembers(model))


def test_missing_attributes() -> None:
    assert (hasattr(Reading, "dtype"), hasattr(Reading, "query"), hasattr(Base, "query")) == (False, True, False)
    assert getattr(Base, "payload_type", None) is None
    assert hasattr(Phase, "dtype")
    reading = Reading(cid=1, meter=1, cap=1, counter=1, volts=1.0, temp=None)
    for ask in (lambda: Reading.dtype, lambda: reading.dtype):
        with pytest.raises(UnavailableError, match="Reading: a payload of variable size has no dtype"):
            ask()
    with pytest.raises(SchemaError, match="TSModel is abstract and has no records"):
        TSModel.query
    with pytest.raises(AttributeError, match="Reading has no field or attribute 'wolts'; its fields are cid, mid, meter"):
        Reading.wolts  # type: ignore[attr-defined]
    with connect("memory:") as session, pytest.raises(SchemaError, match="Base is abstract"):
        session.query(Base).all()
    assert str(pickle.loads(pickle.dumps(UnavailableError("why", model="A")))) == "why"


def test_signatures() -> None:
    assert str(inspect.signature(Reading)) == (
        "(*, cid: int, meter: int, moid: int = 7, cap: int, acq: int = -1, counter: int, volts: float, "
        "temp: float | None, valid: bool = True, tags: dict[str, int] = {'a': 1}, name: str = <factory>)"
    )
    assert str(inspect.signature(Phase)) == "(*, volts: float, amps: float = 0.0)"
    assert list(inspect.signature(Base).parameters) == ["cid", "mid", "moid", "cap", "acq", "volts"]
    required = {
        name: 1 for name, each in inspect.signature(Reading).parameters.items() if each.default is inspect.Parameter.empty
    }
    assert Reading(**required).counter == 1
    for name in required:
        with pytest.raises(TypeError, match=f"(?i)missing required argument '{name}'"):
            Reading(**{other: 1 for other in required if other != name})


class Described(TSModel, abc.ABC):
    volts: Float32

    @abc.abstractmethod
    def text(self) -> str: ...

    @property
    @abc.abstractmethod
    def amps(self) -> float: ...


class Complete(Described):
    amps: Float32  # type: ignore[assignment]

    def text(self) -> str:
        return f"{self.volts} V"


class WithPostInit(Described):
    amps: Float32  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.amps += 1

    def text(self) -> str:
        return "post"


def test_abstract_methods() -> None:
    row = Complete(cid=1, mid=1, moid=1, cap=1, volts=2.0, amps=3.0)
    assert (row.text(), row.amps, isinstance(row, Described), issubclass(Complete, abc.ABC)) == ("2.0 V", 3.0, True, True)
    assert not isinstance(3, Described)

    class Incomplete(Described):
        amps: Float32  # type: ignore[assignment]

    for model in (Described, Incomplete):
        with pytest.raises(TypeError, match="abstract"):
            model(cid=1, mid=1, moid=1, cap=1, volts=2.0, amps=3.0)  # type: ignore[abstract, call-arg]
        with pytest.raises((TypeError, msgspec.ValidationError), match="abstract"):
            msgspec.convert({"volts": 2.0, "cap": 1, "cid": 1, "mid": 1, "moid": 1, "amps": 3.0}, model)
        with pytest.raises(SchemaError, match="is abstract and has no records"):
            model.query
    with connect("memory:") as session:
        session.add_all([row, WithPostInit(cid=2, mid=1, moid=1, cap=1, volts=2.0, amps=3.0)])
        session.flush()
        assert [each.text() for each in session.query(Complete).cid(1)] == ["2.0 V"]
        assert [(each.text(), each.amps) for each in session.query(WithPostInit).cid(2)] == [("post", 4.0)]


def test_abstract_method_implemented_by_sibling_base() -> None:
    class Left(Described, abstract=True):
        amps: Float32  # type: ignore[assignment]

    class Right(Described, abstract=True):
        def text(self) -> str:
            return "right"

    class Both(Left, Right):
        pass

    assert Both(cid=1, mid=1, moid=1, cap=1, volts=2.0, amps=3.0).text() == "right"


def test_fields_may_use_metaclass_names() -> None:
    class Meters(TSModel, abstract=True):
        register: Int32
        mro: Int32

    class Meter(Meters):
        pass

    for model in (Meters, Meter):
        assert repr(model.register) == f"<Column {model.__name__}.register: Int32>"
        assert repr(model.mro) == f"<Column {model.__name__}.mro: Int32>"
    assert Meter.__mro__[1] is Meters


class Linked(TSModel, abstract=True, weakref=True, dict=True):
    volts: Float32


class Linkable(Linked):
    amps: Float32

    @functools.cached_property
    def power(self) -> list[float]:
        return [self.volts * self.amps]


class Plain(TSModel):
    volts: Float32
    amps: Float32


def test_weak_references_and_cached_properties() -> None:
    row = Linkable(cid=1, mid=1, moid=1, cap=1, volts=2.0, amps=3.0)
    assert weakref.ref(row)() is row
    assert row.power is row.power
    assert row.power == [6.0]
    same = Linkable(cid=1, mid=1, moid=1, cap=1, volts=2.0, amps=3.0)
    assert row == same
    assert copy.copy(row) == pickle.loads(pickle.dumps(row)) == row
    with connect("memory:") as session:
        session.add(row)
        session.flush()
        (read,) = session.query(Linkable)
        assert read.power == [6.0]
        assert weakref.ref(read)() is read
    gone = weakref.ref(same)
    del same
    assert gone() is None
    plain = Plain(cid=1, mid=1, moid=1, cap=1, volts=2.0, amps=3.0)
    with pytest.raises(TypeError, match="weak reference"):
        weakref.ref(plain)
    assert not hasattr(plain, "__dict__")
    assert sys.getsizeof(plain) < sys.getsizeof(row)


def test_mixin_with_dict_needs_option() -> None:
    class Named:
        def named(self) -> str:
            return type(self).__name__

    with pytest.raises(SchemaError, match=r"write __slots__ = \(\) in Named, or class Refused\(\.\.\., dict=True\)"):

        class Refused(Named, TSModel):
            volts: Float32

    class Accepted(Named, TSModel, dict=True):
        volts: Float32

    assert Accepted(cid=1, mid=1, moid=1, cap=1, volts=2.0).named() == "Accepted"


class Registered:
    __slots__ = ()
    known: list[tuple[str, str, str]] = []  # noqa: RUF012

    def __init_subclass__(cls, /, *, unit: str = "", **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        layout = getattr(cls, "layout", None)
        Registered.known.append((cls.__name__, unit, ",".join(layout.names) if layout else ""))


def test_init_subclass_keywords() -> None:
    Registered.known.clear()

    class Volts(Registered, TSModel, unit="V", moid=7):
        volts: Float32

    class Abstract(TSModel, Registered, abstract=True, unit="A"):
        volts: Float32

    class Second(Abstract, unit="B"):
        amps: Float32

        def __post_init__(self) -> None: ...

    assert Registered.known == [("Volts", "V", "volts"), ("Abstract", "A", "volts"), ("Second", "B", "volts,amps")]
    assert Volts(cid=1, mid=1, cap=1, volts=1.0).moid == 7
    assert vars(Registered)["__init_subclass__"].__func__.__name__ == "__init_subclass__"
    assert Second.__mro__[:3] == (Second, Abstract, TSModel)
    with pytest.raises(TypeError, match="takes no keyword arguments"):

        class Third(Registered, TSModel, colour="red"):
            volts: Float32


@pytest.mark.parametrize(
    ("annotation", "hint"),
    [
        (Float32 | None, "write Nullable[float] = field(item=Float32)"),
        (Optional[Int32], "write Nullable[int] = field(item=Int32)"),  # noqa: UP045
        (Timestamp | None, "write Nullable[int] = field(item=Timestamp)"),
        (Enumerated[State] | None, "write Nullable[State] = field(item=Enumerated[State])"),
        (float | None, "write Nullable[float] = field(item=Float64)"),
        (list[float], "write Array[float] = field(item=Float64)"),
        (list[Float32], "write Array[float] = field(item=Float32)"),
        (dict[str, int], "write Packed[dict[str, int]]"),
        (dt.datetime, "write DateTime, or Timestamp"),
        (State, "write Enumerated[State]"),
        (str | int, "known are Acq, Array"),
    ],
    ids=str,
)
def test_annotation_errors_suggest_field_types(annotation: object, hint: str) -> None:
    with pytest.raises(SchemaError, match="is not a field type") as caught:
        type(TSModel)("Made", (TSModel,), {"__annotations__": {"value": annotation}})
    assert hint in str(caught.value)


def test_option_errors_suggest_spelling() -> None:
    with pytest.raises(TypeError, match=r"field\(\) has no option sise; did you mean size\?; it takes default, default_"):
        field(sise=3)  # type: ignore[call-arg]
    with pytest.raises(SchemaError, match=r"Made\.value: Int32 has no use for size=3; .* it takes byte_order"):
        type(TSModel)("Made", (TSModel,), {"__annotations__": {"value": Int32}, "value": field(size=3)})
    with pytest.raises(SchemaError, match=r"unknown option alihn='c'; did you mean align\?; known are abstract"):
        type(TSModel)("Made", (TSModel,), {}, alihn="c")
    assert "default" in inspect.signature(field).parameters
