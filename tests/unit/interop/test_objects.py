"""Converting whole objects: names, defaults, constraints, fault paths, JSON, JSON Schema."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from support.json_schema import fault

from tsmodel import (
    Array,
    Cap,
    Char,
    Float32,
    Int16,
    Mid,
    Nested,
    Nullable,
    Packed,
    Scaled,
    Text,
    TSModel,
    TSStruct,
    UInt32,
    UnixTime,
    field,
)
from tsmodel.errors import ConversionError, EncodeError, QueryError, SchemaError, TSModelError
from tsmodel.interop.structures import structure_of
from tsmodel.types.text_facet import Spelling

COUNTER = iter(range(10**6))


class Phase(TSStruct):
    volts: Float32 = field(ge=0, unit="V", doc="between phase and neutral")
    name: Text = field(size=4, default="L1")


class Reading(TSModel, moid=7):
    meter: Mid
    at: Cap
    phase: Nested[Phase]
    spare: Nullable[Phase] = field(item=Phase, default=None)
    xs: Array[int] = field(item=Int16, default=[1], max_length=3)
    count: Int16 = field(default_factory=lambda: next(COUNTER), validate=lambda count: count != 13)


GOOD: dict[str, Any] = {"cid": 1, "meter": 5, "at": 9, "phase": {"volts": 230}}


def paths(error: ConversionError) -> list[str]:
    return [fault.path for fault in error.faults]


def test_missing_fields_take_defaults() -> None:
    first, second = Reading.from_dict(GOOD), Reading.from_dict(GOOD)
    assert (first.moid, first.acq, first.spare, first.phase.name) == (7, -1, None, "L1")
    assert second.count == first.count + 1, "the factory runs for each object"
    first.xs.append(2)
    assert second.xs == [1], "mutable defaults are not shared"


def test_renamed_key_components_accept_both_names() -> None:
    assert Reading.from_dict({"cid": 1, "mid": 5, "cap": 9, "phase": {"volts": 230}, "count": 1}).meter == 5
    with pytest.raises(ConversionError, match="meter: is given twice, as meter and mid"):
        Reading.from_dict({**GOOD, "mid": 5})


def test_all_faults_are_reported_with_paths() -> None:
    with pytest.raises(ConversionError) as caught:
        Reading.from_dict(
            {"meter": "x", "at": 9, "phase": {"volts": "y", "amps": 3}, "spare": {}, "xs": [1, "z", 2.5], "counts": 3}
        )
    assert paths(caught.value) == ["counts", "cid", "meter", "phase.amps", "phase.volts", "spare.volts", "xs.1", "xs.2"]
    assert str(caught.value).splitlines()[:3] == [
        "Reading: 8 faults",
        '  counts: is not a field of Reading; did you mean count? (unknown="ignore" leaves out such names)',
        "  cid: is missing, and has no default",
    ]
    assert [fault.value for fault in caught.value.faults] == [3, None, "x", 3, "y", None, "z", 2.5]


def test_unknown_names_can_be_ignored() -> None:
    made = Reading.from_dict({**GOOD, "phase": {"volts": 1, "amps": 2}, "other": 3, "count": 1}, unknown="ignore")
    assert made.phase == Phase(volts=1.0)


@pytest.mark.parametrize(
    ("data", "path", "why"),
    [
        ({"phase": {"volts": -1}}, "phase.volts", "-1.0 is not at least 0"),
        ({"xs": [1, 2, 3, 4]}, "xs", "[1, 2, 3, 4] has a length of 4; the maximum is 3"),
        ({"count": 13}, "count", "13 is rejected by <lambda>"),
        ({"moid": 8}, "moid", "8 is not 7, which the class fixes"),
        ({"cid": -1}, "cid", "-1 (int) is not an int from 0 to 2147483646"),
        ({"meter": 2**63 - 1}, "meter", "is not an int from -9223372036854775808 to 9223372036854775806"),
        ({"at": 2**63 - 1}, "at", "9223372036854775807 is not from -9223372036854775808 to 9223372036854775806"),
        ({"phase": [1]}, "phase", "[1] (list) is not an object with the fields of Phase"),
        ({"phase": None}, "phase", "None (NoneType) is not an object with the fields of Phase"),
    ],
)
def test_constraints_apply_to_input(data: dict[str, Any], path: str, why: str) -> None:
    with pytest.raises(ConversionError) as caught:
        Reading.from_dict({**GOOD, **data})
    (fault,) = caught.value.faults
    assert fault.path == path
    assert why in fault.why


def test_unexpected_validator_error_propagates() -> None:
    def broken(value: int) -> bool:
        raise KeyError("a bug in the validator")

    class Made(TSModel):
        x: Int16 = field(validate=broken)

    with pytest.raises(KeyError, match="a bug in the validator"):
        Made.from_dict({"cid": 1, "mid": 1, "moid": 1, "cap": 1, "x": 1})


def test_unassigned_acq() -> None:
    made = Reading.from_dict({**GOOD, "count": 1})
    assert made.to_dict()["acq"] is None
    assert made.to_dict(times="ns")["acq"] == -1
    assert Reading.from_dict({**GOOD, "acq": None}).acq == -1
    assert Reading.from_dict({**GOOD, "acq": "2001-01-01T00:00:01Z"}).acq == 10**9


@pytest.mark.parametrize("text", ["", "{", "[1, 2", b"\xff", '{"a": NaN}', "[" * 10_000, '{"cid": 1e999}'])
def test_invalid_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ConversionError, match="Reading: it is not JSON: "):
        Reading.from_json(text)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"'])
def test_json_that_is_not_an_object_is_refused(text: str) -> None:
    with pytest.raises(ConversionError, match="is not an object with the fields of Reading"):
        Reading.from_json(text)


def test_structures() -> None:
    assert Phase.from_json('{"volts": "1.5"}') == Phase(volts=1.5)
    assert Phase(volts=1.5).to_json() == '{"volts":1.5,"name":"L1"}'
    assert Phase.json_schema()["required"] == ["volts"]


def test_post_init_errors_are_faults() -> None:
    class Span(TSModel):
        start: Int16
        stop: Int16

        def __post_init__(self) -> None:
            if self.stop < self.start:
                raise ValueError("it stops before it starts")

    key = {"cid": 1, "mid": 1, "moid": 1, "cap": 1}
    with pytest.raises(ConversionError, match="Span: it stops before it starts"):
        Span.from_dict({**key, "start": 2, "stop": 1})
    lines = ["cid,mid,moid,cap,start,stop\n", "1,1,1,1,1,2\n", "1,1,1,1,2,1\n"]
    with pytest.raises(ConversionError, match="line 3: it stops before it starts"):
        list(Span.load_csv(lines))


def test_abstract_models_and_invalid_options_are_refused() -> None:
    class Base(TSModel, abstract=True):
        x: Int16

    with pytest.raises(SchemaError, match="Base is abstract: convert to a class derived from it"):
        Base.from_dict({})
    for option in ({"times": "s"}, {"binary": "octal"}):
        with pytest.raises(ValueError, match="; expected '"):
            Reading.from_dict(GOOD).to_dict(**option)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown='drop'; expected 'error' or 'ignore'"):
        Reading.from_dict(GOOD, unknown="drop")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="is not a model"):
        structure_of(int, Spelling())


def test_json_schema() -> None:
    schema = Reading.json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["required"] == ["cid", "meter", "at", "phase"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["moid"] == {"const": 7, "default": 7}
    assert schema["properties"]["at"] == {"type": "string", "format": "date-time"}
    assert Reading.json_schema(times="ns")["properties"]["at"]["type"] == "integer"
    assert schema["properties"]["phase"] == {"$ref": "#/$defs/Phase"}
    assert schema["properties"]["xs"]["maxItems"] == 3
    assert schema["$defs"]["Phase"]["properties"]["volts"] == {
        "anyOf": [{"type": "number", "minimum": 0}, {"enum": ["Infinity"]}],
        "description": "between phase and neutral",
        "x-unit": "V",
    }
    assert schema["$defs"]["Phase"]["properties"]["name"] == {"type": "string", "maxLength": 4, "default": "L1"}
    assert fault({**GOOD, "at": "x"}, schema, schema["$defs"]) is None
    assert fault({**GOOD, "at": 9}, schema, schema["$defs"]) == "at: 9 is no string"
    assert fault({**GOOD, "at": "x", "phase": {"volts": -1}}, schema, schema["$defs"]) is not None


def test_json_schema_of_constraints() -> None:
    class Made(TSModel):
        count: Int16 = field(gt=0, le=1000, multiple_of=5)
        price: Scaled = field(digits=2, ge=0)
        name: Text = field(min_length=2, max_length=5, pattern="^[a-z]")

    properties = Made.json_schema()["properties"]
    wanted = {"type": "integer", "minimum": -(2**15), "maximum": 1000, "exclusiveMinimum": 0, "multipleOf": 5}
    assert properties["count"] == wanted
    assert properties["price"] == {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{2}$"}
    assert properties["name"] == {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]"}


def test_json_schema_of_classes_with_same_name() -> None:
    def phase(kind: Any) -> Any:
        class Phase(TSStruct):
            x: kind

        return Phase

    one, two = phase(Int16), phase(Float32)

    class Made(TSModel):
        a: Nested[one]  # type: ignore[valid-type]
        b: Nested[two]  # type: ignore[valid-type]
        c: Nested[one]  # type: ignore[valid-type]

    schema = Made.json_schema()
    references = [schema["properties"][name]["$ref"] for name in "abc"]
    assert references[0] == references[2] != references[1]
    definitions = [schema["$defs"][reference.removeprefix("#/$defs/")] for reference in references[:2]]
    assert [each["properties"]["x"].get("type") for each in definitions] == ["integer", None]


def test_json_schema_of_messages() -> None:
    import attrs

    @attrs.define
    class Phase:
        a: int

    class Made(TSModel):
        tags: Packed[dict[str, list[int]]]
        other: Packed[Phase]

    schema = Made.json_schema()
    assert schema["properties"]["tags"]["additionalProperties"] == {"type": "array", "items": {"type": "integer"}}
    assert "$ref" in schema["properties"]["other"]
    json.dumps(schema)


def test_error_base_classes() -> None:
    with pytest.raises(TSModelError) as caught:
        Reading.from_dict({})
    assert isinstance(caught.value, ValueError)


def test_json_schema_of_times_outside_iso_range() -> None:
    class Old(TSModel):
        seen: UnixTime = field(resolution="ms")
        late: UnixTime = field(storage=UInt32)

    long_ago = Old(cid=1, mid=1, moid=1, cap=1, seen=-(2**70) // 10**6 * 10**6, late=0)
    schema = Old.json_schema()
    assert long_ago.to_dict()["seen"] == long_ago.seen
    assert fault(long_ago.to_dict(), schema, {}) is None
    assert schema["properties"]["late"] == {"type": "string", "format": "date-time"}
    assert Old.json_schema(times="ns")["properties"]["seen"]["type"] == "integer"


class Cells(TSModel, cid=1, mid=1, moid=1):
    count: Int16 = field(default=5)
    letter: Char = field(default="x")
    text: Text = field(size=4, default="none")
    note: Nullable[str] = field(item=Char, default="n")
    phase: Nested[Phase] = field(default_factory=lambda: Phase(volts=1.0))


HEADER = "cap,count,letter,text,note,phase.volts"


@pytest.mark.parametrize(
    ("line", "column"), [("1,,a,b,c,1", "count"), ("1,1,,b,c,1", "letter"), ("1,1,a,b,c,", "phase.volts")]
)
def test_empty_cell_does_not_mean_default(line: str, column: str) -> None:
    for lines in ([line], ["2,1,a,b,c,1", line], [line, line]):
        with pytest.raises(
            ConversionError, match=f"line [23], column '{column}': the cell is empty, but the field requires"
        ):
            list(Cells.load_csv([HEADER, *lines]))
    with pytest.raises(ConversionError, match=f"column '{column}': the cell is empty"):
        Cells.from_row(dict(zip(HEADER.split(","), line.split(","), strict=True)))


def test_empty_cells_as_text_and_null() -> None:
    for lines in (["1,1,a,,,1"], ["1,1,a,,,1", "2,2,b,b,b,2"]):
        first = next(iter(Cells.load_csv([HEADER, *lines])))
        assert (first.text, first.note) == ("", None)
    (absent,) = Cells.load_csv(["cap", "1"])
    assert (absent.count, absent.letter, absent.text, absent.note) == (5, "x", "none", "n")


@pytest.mark.parametrize("letter", ["", "ab", "\u0142"])
def test_char_is_one_latin_1_character(letter: str) -> None:
    lines = [json.dumps({"cap": 1, "letter": each}) for each in ("\xff", "\0", letter)]
    with pytest.raises(ConversionError, match=f"line 3, letter: {letter!r} .* is not a text of one character"):
        list(Cells.load_jsonl(lines))
    with pytest.raises(ConversionError, match="line 3, column 'note'"):
        list(Cells.load_csv(["cap,note", "1,a", f"2,{letter}"], null="-"))
    target = io.StringIO()
    for dump in (Cells.dump_csv, Cells.dump_jsonl):
        with pytest.raises(EncodeError, match=f"record 1: Cells.letter: {letter!r}"):
            dump([Cells(cap=1), Cells(cap=1, letter=letter)], target)
    assert [each.letter for each in Cells.load_jsonl(lines[:2])] == ["\xff", "\0"]


def test_last_of_duplicate_json_names_wins() -> None:
    text = '{"cap": 1, "count": 1, "phase": {"volts": 1, "volts": 2}, "count": 3}'
    for read in (Cells.from_json(text), *Cells.load_jsonl([text])):
        assert (read.count, read.phase.volts) == (3, 2.0)
    assert json.loads(text)["count"] == 3
