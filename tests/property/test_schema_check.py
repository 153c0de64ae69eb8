"""A model that `schema.check` calls compatible decodes payloads of the old model to the same values."""

from __future__ import annotations

from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any

import attrs
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from msgspec import Meta
from support.budget import examples

import tsmodel as ts
from tsmodel import TSModel, TSStruct, field, schema
from tsmodel.client.record import Record
from tsmodel.errors import TSModelError
from tsmodel.keys import Key
from tsmodel.model.model import codec_of

KEY = Key(1, 2, 3, 4, 5)


def enumeration(base: Any, *names: str) -> Any:
    return base("State", {name: at for at, name in enumerate(names)})


KINDS = [
    enumeration(base, *names) for base in (IntEnum, Enum) for names in (("A", "B"), ("A", "B", "C"), ("B", "A"), ("A", "X"))
]
WHICH = ["Scaled", "Enumerated", "Array", "Packed", "Nested", "Nullable", "Text", "Float", "Int"]
SMALL = st.integers(-3, 9)
STRUCT_FIELDS = st.sampled_from(
    [{"x": ts.Int16, "y": ts.Int16}, {"y": ts.Int16, "x": ts.Int16}, {"x": ts.Int16, "z": ts.Int16}]
)


@st.composite
def declared(draw: st.DrawFn, *, in_message: bool, like: Any = None) -> tuple[Any, dict[str, Any]]:
    """A field type with options; of the same kind as `like` if given."""
    which = draw(st.sampled_from(WHICH)) if like is None else next((each for each in WHICH if each in repr(like)), "Int")
    options: dict[str, Any] = {}
    if draw(st.booleans()):
        options["unit"] = draw(st.sampled_from(["V", "mV"]))
    if which == "Int":
        options |= draw(
            st.sampled_from([{}, {}, {"ge": 0}, {"gt": 0}, {"le": 5}, {"lt": 5}, {"multiple_of": 2}, {"multiple_of": 4}])
        )
        annotation: Any = like or draw(st.sampled_from([ts.Int8, ts.Int16, ts.Int32, ts.UInt8, ts.UInt16]))
        if in_message and draw(st.booleans()):
            options["default"] = draw(st.sampled_from([4, 4]))
        return annotation, options
    if which == "Scaled":
        options |= {"digits": draw(st.sampled_from([1, 2])), "storage": draw(st.sampled_from([ts.Int32, ts.Int64]))}
        return draw(st.sampled_from([ts.Scaled, ts.Scaled[float]])), options
    if which == "Enumerated":
        options |= {"storage": ts.UInt8} | draw(st.sampled_from([{}, {"unknown": "keep"}]))
        return ts.Enumerated[draw(st.sampled_from(KINDS))], options
    if which == "Array":
        options |= {"item": ts.Enumerated[draw(st.sampled_from(KINDS))], "length": 2} | draw(
            st.sampled_from([{}, {"unknown": "keep"}])
        )
        return ts.Array[Any], options
    if which == "Packed":
        number = draw(
            st.sampled_from([int, Annotated[int, Meta(ge=0)], Annotated[int, Meta(gt=0)], Annotated[int, Meta(le=5)]])
        )
        kind: Any = draw(st.sampled_from([list[number], Annotated[list[number], Meta(max_length=1)], dict[str, number]]))  # type: ignore[valid-type]
        return ts.Packed[kind], options
    if which == "Nested":
        return ts.Nested[draw(structures())], options
    if which == "Nullable":
        return ts.Nullable[Any], {**options, "item": draw(st.sampled_from([ts.Int8, ts.Int16]))}
    if which == "Text":
        return ts.Text, {**options, **draw(st.sampled_from([{"size": 4}, {"size": 5}, {}]))}
    return draw(st.sampled_from([ts.Float32, ts.Float64])), options


@st.composite
def structures(draw: st.DrawFn) -> Any:
    annotations = dict(draw(STRUCT_FIELDS))
    namespace: dict[str, Any] = {"__annotations__": annotations, "__module__": __name__}
    for name in annotations:
        options: dict[str, Any] = draw(st.sampled_from([{}, {"unit": "V"}, {"unit": "mV"}, {"default": 7}]))
        namespace[name] = field(**options)
    return type(TSStruct)("Phase", (TSStruct,), namespace)


Fields = dict[str, tuple[Any, dict[str, Any]]]


@attrs.frozen
class Version:
    """How a model is declared."""

    fields: Fields
    keywords: dict[str, Any]

    def model(self) -> Any:
        namespace: dict[str, Any] = {"__annotations__": {}, "__module__": __name__}
        for name, (annotation, options) in self.fields.items():
            namespace["__annotations__"][name] = annotation
            namespace[name] = field(**options)
        return type(TSModel)("Reading", (TSModel,), namespace, **self.keywords)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Version, Version]:
    """A model before and after up to three changes."""
    encoding = draw(st.sampled_from(["struct", "struct", "msgpack", "json"]))
    in_message = encoding != "struct"
    names = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=2, unique=True))
    fields: Fields = {name: draw(declared(in_message=in_message)) for name in names}
    keywords: dict[str, Any] = {"encoding": encoding} if in_message else {}
    if draw(st.booleans()):
        keywords["strict_read"] = True
    changed, others = dict(fields), dict(keywords)
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(sorted(changed)))
        what = draw(
            st.sampled_from(
                ["options", "options", "options", "type", "drop", "add", "rename", "order", "strict", "version"]
            )
        )
        annotation, options = changed[name]
        if what == "options":
            another, more = draw(declared(in_message=in_message, like=annotation))
            stored = {key: options[key] for key in ("digits", "storage", "length", "size") if key in options}
            changed[name] = (another, {**more, **stored})
        elif what == "type":
            changed[name] = draw(declared(in_message=in_message))
        elif what == "drop" and len(changed) > 1:
            del changed[name]
        elif what == "add":
            changed[draw(st.sampled_from("efg"))] = draw(declared(in_message=in_message))
        elif what == "rename":
            new = draw(st.sampled_from("efg"))
            if new not in changed:
                changed = {new if each == name else each: value for each, value in changed.items()}
        elif what == "order":
            changed = dict(draw(st.permutations(list(changed.items()))))
        elif what == "strict":
            others = {**others, "strict_read": draw(st.booleans())}
        elif what == "version":
            others = {**others, "version": draw(st.sampled_from([1, 2]))}
    return Version(fields, keywords), Version(changed, others)


def value_of(draw: Any, annotation: Any, options: dict[str, Any], model: Any, name: str) -> Any:
    """A valid value of the field, or a number that unknown="keep" accepts."""
    codec = next(each.codec for each in model.layout.fields if each.name == name)
    if "Scaled" in repr(annotation):
        value: Any = draw(st.integers(-(10**17), 10**17) | st.integers(-99, 99))
        return codec.load(value) if not codec.as_float or abs(value) < 10**15 else 0.5
    if "Packed" in repr(annotation):
        values = draw(st.lists(SMALL, max_size=3))
        return {str(at): each for at, each in enumerate(values)} if codec.fault([]) else values
    if "Nested" in repr(annotation):
        return codec.kind(**{each: draw(SMALL) for each in codec.layout.names})
    if annotation is ts.Text:
        return draw(st.sampled_from(["", "a", "abcd"]))
    if annotation in (ts.Float32, ts.Float64):
        return float(draw(SMALL))
    if "Nullable" in repr(annotation):
        return draw(st.none() | SMALL)
    if "Array" in repr(annotation):
        return [value_of(draw, options["item"], options, model, name) for _ in range(2)]
    if "Enumerated" in repr(annotation):
        kind = getattr(codec, "item", codec).kind
        known = st.sampled_from(list(kind))
        return draw(known | st.integers(0, 5) if options.get("unknown") and "encoding" not in options else known)
    return draw(SMALL)


def same(was: Any, now: Any) -> bool:
    """Whether values are equal. Structures compare field by field in order, ignoring names; or by common names, because a
    message may have lost or gained fields."""
    if isinstance(was, TSStruct) and isinstance(now, TSStruct):
        before, after = was.to_dict(), now.to_dict()
        common = before.keys() & after.keys()
        return list(before.values()) == list(after.values()) or all(before[name] == after[name] for name in common)
    if isinstance(was, list) and isinstance(now, list):
        return len(was) == len(now) and all(map(same, was, now))
    if isinstance(was, Enum) and isinstance(now, Enum):
        return bool(was.value == now.value)  # of two classes; unit tests compare their names
    return bool(was == now) and isinstance(was, float) == isinstance(now, float)


@settings(deadline=None, max_examples=examples(250), suppress_health_check=list(HealthCheck))
@given(pairs(), st.data())
def test_compatible_models_read_old_payloads_to_same_values(
    tmp_path_factory: Any, pair: tuple[Version, Version], data: st.DataObject
) -> None:
    try:
        old, new = pair[0].model(), pair[1].model()
    except (TSModelError, TypeError):  # not a valid model
        return
    lock = Path(tmp_path_factory.getbasetemp()) / "schema.lock"
    schema.freeze([old], lock)
    assert not schema.check([old], lock)
    changes = schema.check([new], lock)
    worst = {change.severity for change in changes}
    event(f"worst: {changes[0].severity if changes else 'none'}")
    if worst - {"compatible"}:
        return
    payloads = []
    for _ in range(4):
        given_values = {
            name: value_of(data.draw, annotation, options, old, name)
            for name, (annotation, options) in pair[0].fields.items()
        }
        try:
            row = old(cid=1, mid=2, moid=3, cap=4, **given_values)
            payloads.append(codec_of(old).payload_of(row))
        except TSModelError:
            continue
    by_name = pair[0].keywords.get("encoding") is not None
    for payload in payloads:
        try:
            was = old.from_record(Record(KEY, payload))
        except TSModelError:
            continue  # written without the constraints that reading checks
        event("a payload is compared")
        now = new.from_record(Record(KEY, payload))
        names = [(name, name) for name in pair[0].fields if name in pair[1].fields]
        if not by_name:
            names = list(zip(pair[0].fields, pair[1].fields, strict=True))
        for before, after in names:
            assert same(getattr(was, before), getattr(now, after)), f"{was} became {now}, and the changes are {changes}"
        units = {name: options.get("unit") for name, (_, options) in pair[1].fields.items()}
        for before, after in names:
            unit = pair[0].fields[before][1].get("unit")
            assert None in (unit, units[after]) or unit == units[after]
