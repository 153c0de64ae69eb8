"""Payload types in other languages: values written there and here are the same bytes; what cannot be said is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest
from support.foreign import CLIENTS, SANITIZED, STRICT, TOOLS, has_tool, program, run, write
from support.meter import LETTER, METER, Letter, Meter

import tsmodel as ts
from tsmodel import TSModel, TSStruct, field
from tsmodel.codegen import LANGUAGES, render
from tsmodel.errors import SchemaError
from tsmodel.model.base import codec_of

HERE = Path(__file__).parent
METER_BYTES = codec_of(Meter).payload_of(METER)
LETTER_BYTES = codec_of(Letter).payload_of(LETTER)


def needs(language: str) -> Any:
    return pytest.mark.skipif(not has_tool(language), reason=f"{TOOLS[language]} is not installed")


@needs("c")
def test_c(tmp_path: Path) -> None:
    write(Meter, "c", tmp_path)
    driver = HERE / "drivers/meter.c"
    run("gcc", "-std=c99", *STRICT, *SANITIZED, "-I.", f"-I{CLIENTS / 'c'}", driver, "-o", "meter", cwd=tmp_path)
    assert run("./meter", METER_BYTES.hex(), cwd=tmp_path).splitlines() == [
        "-7 9223372036854775813 230.5 1 1 -3 1",
        "5 31 Zähler 255 1000000000 -1234 11ff",
        "-2.5 ab|| 0 2.0 -2 3.0 300",
        "0 0 1 7 1 äö -128 A",
        METER_BYTES.hex(),
    ]


@needs("c++")
def test_cpp(tmp_path: Path) -> None:
    """Both headers bring the same structures along, in one program."""
    write(Meter, "c++", tmp_path)
    write(Letter, "c++", tmp_path)
    driver = HERE / "drivers/letter.cpp"
    run("g++", "-std=c++14", *STRICT, *SANITIZED, "-I.", f"-I{CLIENTS / 'cpp'}", driver, "-o", "letter", cwd=tmp_path)
    assert run("./letter", LETTER_BYTES.hex(), cwd=tmp_path).splitlines() == [
        "1 Grüße 0 -2 1 1.5 1 6 0 2",
        LETTER_BYTES.hex(),
        "tag is too long",
        "name is too long",
    ]


@needs("java")
def test_java(tmp_path: Path) -> None:
    write(Meter, "java", tmp_path)
    write(Letter, "java", tmp_path)
    interface = CLIENTS / "java/industries/atende/ts/driver/PayloadType.java"
    sources = (interface, HERE / "drivers/Driver.java", "Meter.java", "Letter.java")
    run("javac", "-Xlint:all", "-Werror", "-d", "classes", *sources, cwd=tmp_path)
    assert run("java", "-cp", "classes", "Driver", METER_BYTES.hex(), LETTER_BYTES.hex(), cwd=tmp_path).splitlines() == [
        "-7 9223372036854775813 230.5 true BROKEN -3 true",
        "5 31 6 -1 1000000000 -1234 00112233445566778899aabbccddeeff",
        "[1.5, -2.5, 0.0] [ab, ] null -2 3.0",
        "null null 7 2 -128 A",
        METER_BYTES.hex(),
        "ON 5 [1, -2, 300] 1.5 null 00ff",
        LETTER_BYTES.hex(),
        "tag is too long: 256 bytes",
        "low has 3 bits",
        "65536 does not fit in 2 unsigned bytes",
        "name takes 8 bytes, not 9",
        "profile takes 3 items",
    ]


def spoilt(at: int, octet: int) -> bytes:
    return METER_BYTES[:at] + bytes([octet]) + METER_BYTES[at + 1 :]


def offset(name: str) -> int:
    found = next(each.offset for each in Meter.layout.fields if each.name == name)
    assert found is not None
    return found


REFUSED = {
    "nothing": b"",
    "too short": METER_BYTES[:-1],
    "too long": METER_BYTES + b"\0",
    "another version": spoilt(0, 2),
    "a bit that stands for no field": spoilt(1, METER_BYTES[1] | 4),
    "no bool": spoilt(offset("valid"), 2),
    "no member": spoilt(offset("state"), 7),
    "no flag": spoilt(offset("alarms"), 2),
    "something behind a text": spoilt(offset("name") + 3, 0),
    "no UTF-8": spoilt(offset("name") + 1, 0xFF),
    "an absent value that is not zero": spoilt(offset("temp"), 1),
}


@pytest.mark.parametrize("language", list(TOOLS))
def test_bytes_that_are_refused(language: str, tmp_path: Path) -> None:
    if not has_tool(language):
        pytest.skip(f"{TOOLS[language]} is not installed")
    answers = program(language, [Meter], tmp_path)
    asked = [(0, METER_BYTES), *((0, payload) for payload in REFUSED.values())]
    assert dict(zip(["fine", *REFUSED], answers(asked), strict=True)) == {
        "fine": f"ok {METER_BYTES.hex()}",
        **dict.fromkeys(REFUSED, "refused"),
    }


@pytest.mark.parametrize("model", [Meter, Letter])
@pytest.mark.parametrize(
    ("language", "suffix"), [("c", "h"), ("c++", "hpp"), ("java", "java"), ("c#", "cs"), ("python", "py")]
)
def test_golden_files(model: type[TSModel], language: str, suffix: str) -> None:
    """What is made changes only when it is meant to; TSMODEL_WRITE_GOLDEN=1 writes the files anew."""
    if (model, language) == (Letter, "c"):
        return
    path = HERE / f"golden/{model.__name__}.{suffix}.txt"
    source = render(model, language)
    if os.environ.get("TSMODEL_WRITE_GOLDEN"):
        path.write_text(source, encoding="utf-8")
    assert source == path.read_text(encoding="utf-8")


class Wide(IntEnum):
    SMALL = 1
    LARGE = 2**40


class Small(TSStruct):
    x: ts.UInt8


@pytest.mark.parametrize(
    ("annotation", "options", "language", "why"),
    [
        (ts.Text, {}, "c", "variable length, and C has no owner for the memory; give it a size="),
        (ts.Blob, {"rest": True}, "c", "variable length"),
        (ts.Array[int], {"item": ts.UInt8}, "c", "give it a length="),
        (ts.Packed[dict[str, str]], {}, "c", "variable length"),
        (ts.Float16, {}, "c", "no 16-bit float"),
        (ts.Float16, {}, "c++", "no 16-bit float"),
        (ts.Float16, {}, "java", "no 16-bit float"),
        (ts.Array[float], {"item": ts.Float16, "length": 2}, "c++", "no 16-bit float"),
        (ts.Nullable[float], {"item": ts.Float16}, "java", "no 16-bit float"),
        (ts.Enumerated[Wide], {"storage": ts.Int64}, "c", "an enumerator of C must fit int"),
    ],
)
def test_refusals(annotation: Any, options: dict[str, Any], language: str, why: str) -> None:
    made: Any = type(TSModel)("Made", (TSModel,), {"__annotations__": {"x": annotation}, "x": field(**options)})
    with pytest.raises(SchemaError, match=r"Made.x cannot be expressed in ") as caught:
        render(made, language)
    assert why in str(caught.value)
    assert (caught.value.model, caught.value.field) == ("Made", "x")


def test_a_refusal_within_a_structure_names_the_path() -> None:
    class Inner(TSStruct):
        half: ts.Float16

    class Made(TSModel):
        inner: ts.Nested[Inner]

    with pytest.raises(SchemaError, match=r"Made\.Inner\.half cannot be expressed in Java"):
        render(Made, "java")


def test_what_is_no_byte_layout() -> None:
    class Message(TSModel, encoding="json"):
        x: ts.Int32

    class Abstract(TSModel, abstract=True):
        x: ts.Int32

    with pytest.raises(SchemaError, match="Message is stored as json, which a library reads in any language"):
        render(Message, "c")
    with pytest.raises(SchemaError, match="Abstract is abstract"):
        render(Abstract, "c")
    with pytest.raises(SchemaError, match=r"no code is made for 'rust'; languages are c, c\+\+, java, c#, python"):
        render(Meter, "rust")


def test_two_types_of_one_name() -> None:
    def another() -> type[TSStruct]:
        class Small(TSStruct):
            y: ts.UInt16

        return Small

    made: Any = type(TSModel)(
        "Made",
        (TSModel,),
        {"__annotations__": {"a": ts.Nested[Small], "b": ts.Nested[another()]}},  # type: ignore[misc]
    )
    with pytest.raises(SchemaError, match="two types are called Small; rename one"):
        render(made, "c++")


@pytest.mark.parametrize("language", list(TOOLS))
def test_names_that_are_taken(language: str, tmp_path: Path) -> None:
    """Keywords, names of types, and names that the generated code gives."""
    if not has_tool(language):
        pytest.skip(f"{TOOLS[language]} is not installed")
    names = [
        "int",
        "class_",
        "double",
        "has_void",
        "in_",
        "value",
        "out",
        "present0",
        "stored1",
        "i1",
        "Small",
        "byte",
        "at",
    ]
    annotations: dict[str, Any] = dict.fromkeys(names, ts.UInt8)
    annotations |= {"void": ts.Nullable[int], "class": ts.Nested[Small]}
    made: Any = type(TSModel)(
        "Odd", (TSModel,), {"__annotations__": annotations, "void": field(item=ts.UInt8), "__module__": __name__}
    )
    payload = bytes([1, *range(2, 2 + len(names)), 9, 9])
    assert program(language, [made], tmp_path)([(0, payload)]) == [f"ok {payload.hex()}"]


def test_one_enumeration_in_several_numbers() -> None:
    source = render(Meter, "c#")
    assert "public enum State : short" in source, "one that holds what UInt8 and Int16 hold"


def test_languages() -> None:
    assert LANGUAGES == ("c", "c++", "java", "c#", "python")
    assert render(Meter, "cpp") == render(Meter, "C++")
    assert render(Meter, "csharp") == render(Meter, "c#")
    assert all(Meter.fingerprint in render(Meter, language) for language in LANGUAGES)


def test_the_command(tmp_path: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tsmodel", "codegen", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert command("support.meter:Meter", "java").stdout == render(Meter, "java")
    assert command("support.meter:Meter", "c", "-o", "meter.h").returncode == 0
    assert (tmp_path / "meter.h").read_text() == render(Meter, "c")
    several = command("support.meter", "c")
    assert (several.returncode, several.stdout) == (1, "")
    assert "say one of support.meter:Meter, support.meter:Letter" in several.stderr
    assert "no owner for the memory" in command("support.meter:Letter", "c").stderr
    assert "cannot be written" in command("support.meter:Meter", "c", "-o", "missing/meter.h").stderr
