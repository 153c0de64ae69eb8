"""Generated payload types: same bytes as Python in every language; models a language cannot express are refused."""

from __future__ import annotations

import os
import sys
import types
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any

import pytest
from support.commands import Done
from support.foreign import CLIENTS, JAVA, JAVAC, SANITIZED, STRICT, TOOLS, has_tool, program, run, write
from support.meter import LETTER, METER, Alarm, Letter, Meter

import tsmodel as ts
import tsmodel.client.payload_type
from tsmodel import TSModel, TSStruct, field, frames
from tsmodel.cli import main
from tsmodel.codegen import LANGUAGES, file_name, render, rendering
from tsmodel.errors import MissingLibraryError, SchemaError
from tsmodel.model.model import codec_of

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
    """Both headers define the same structures in one program."""
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
    run(*JAVAC, "-d", "classes", *sources, cwd=tmp_path)
    assert run(*JAVA, "-cp", "classes", "Driver", METER_BYTES.hex(), LETTER_BYTES.hex(), cwd=tmp_path).splitlines() == [
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


def damaged(at: int, byte: int) -> bytes:
    return METER_BYTES[:at] + bytes([byte]) + METER_BYTES[at + 1 :]


def offset(name: str) -> int:
    found = next(each.offset for each in Meter.layout.fields if each.name == name)
    assert found is not None
    return found


REFUSED = {
    "empty": b"",
    "too short": METER_BYTES[:-1],
    "too long": METER_BYTES + b"\0",
    "other version": damaged(0, 2),
    "unused presence bit": damaged(1, METER_BYTES[1] | 4),
    "invalid bool": damaged(offset("valid"), 2),
    "invalid member": damaged(offset("state"), 7),
    "invalid flag": damaged(offset("alarms"), 2),
    "bytes after text terminator": damaged(offset("name") + 3, 0),
    "invalid UTF-8": damaged(offset("name") + 1, 0xFF),
    "absent value that is not zero": damaged(offset("temp"), 1),
}


@pytest.mark.parametrize("language", list(TOOLS))
def test_invalid_bytes_are_refused(language: str, tmp_path: Path) -> None:
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
    """Generated code changes only on purpose; TSMODEL_WRITE_GOLDEN=1 rewrites the files."""
    if (model, language) == (Letter, "c"):
        return
    path = HERE / f"golden/{model.__name__}.{suffix}.txt"
    source = render(model, language)
    if os.environ.get("TSMODEL_WRITE_GOLDEN"):
        path.write_text(source, encoding="utf-8")
    assert source == path.read_text(encoding="utf-8")


class Mode(IntEnum):
    LEFT = 1
    RIGHT = 2


class Guarded(TSModel):
    bits: ts.Bits = field(bits=12, storage=ts.UInt16)
    mode: ts.Enumerated[Mode] = field(storage=ts.UInt8)
    alarms: ts.Flags[Alarm] = field(storage=ts.UInt8)
    name: ts.Text = field(size=4)
    level: ts.Nullable[int] = field(item=ts.Int16, null=-1)
    part: ts.Nullable[float] = field(item=ts.Float32, null=0.1)
    never: ts.Nullable[float] = field(item=ts.Float64, null=float("nan"))


WRITTEN = {
    "c": [
        ("value.bits = 5000;", "bits"),
        ("value.mode = (Mode)7;", "mode"),
        ("value.mode = (Mode)257;", "mode"),
        ("value.alarms = 2;", "alarms"),
        ('memcpy(value.name, "\\xff", 2);', "name"),
        ('memcpy(value.name, "abcde", 5);', "name"),
        ("value.has_level = true; value.level = -1;", "level"),
        ("value.has_part = true; value.part = 0.1f;", "part"),
        ("value.has_never = true; value.never = 0.0; value.never /= value.never;", "never"),
    ],
    "c++": [
        ("value.bits = 5000;", "length_error: bits has 12 bits"),
        ("value.mode = static_cast<Mode>(257);", "invalid_argument: mode is no member of Mode"),
        ("value.alarms = 2;", "invalid_argument: alarms has bits that stand for nothing"),
        ('value.name = "\\xff";', "invalid_argument: name is not UTF-8"),
        ('value.name = "abcde";', "length_error: name is too long"),
        ("value.has_level = true; value.level = -1;", "invalid_argument: level has the value that stands for none"),
        ("value.has_part = true; value.part = 0.1f;", "invalid_argument: part has the value that stands for none"),
        (
            'value.has_never = true; value.never = std::nan("");',
            "invalid_argument: never has the value that stands for none",
        ),
    ],
    "java": [
        ("value.bits = 5000;", "bits has 12 bits"),
        ("value.mode = null;", "mode is not set"),
        ("value.alarms = 2;", "alarms has bits that stand for nothing"),
        ("value.name = null;", "name is not set"),
        ("value.name = String.valueOf((char) 0xd800);", "name has half of a surrogate pair"),
        ("value.level = (short) -1;", "level has the value that stands for none"),
        ("value.part = 0.1f;", "part has the value that stands for none"),
        ("value.never = Double.NaN;", "never has the value that stands for none"),
    ],
    "python": [
        ("value.bits = 5000", "bits has 12 bits"),
        ("value.mode = 7", "7 is not a valid Mode"),
        ("value.alarms = 2", "alarms has bits that stand for nothing"),
        ("value.name = chr(0xd800)", "surrogates not allowed"),
        ("value.name = None", "cannot be stored"),
        ("value.level = -1", "level has the value that stands for none"),
        ("value.part = 0.1", "part has the value that stands for none"),
        ("value.never = float('nan')", "never has the value that stands for none"),
    ],
}
WRITERS = {
    "c": (
        (
            '#include <stdio.h>\n#include "Guarded.h"\n'
            'int main(void) {\n    const Guarded fine = {.bits = 4095, .mode = Mode_LEFT, .name = "abcd"};\n'
            '    printf("%d %zu\\n", Guarded_refused(&fine) == NULL, Guarded_toBytes(&fine, NULL, 0));\n'
        ),
        (
            "    {{\n        Guarded value = fine;\n        {change}\n"
            '        printf("%s %d\\n", Guarded_refused(&value), Guarded_toBytes(&value, NULL, 0) == TSMODEL_REFUSED);\n    }}\n'  # noqa: E501
        ),
        "    return 0;\n}\n",
    ),
    "c++": (
        (
            '#include <cmath>\n#include <iostream>\n#include "Guarded.hpp"\n'
            'int main() {\n    Guarded fine;\n    fine.bits = 4095;\n    fine.mode = Mode::LEFT;\n    fine.name = "abcd";\n'
            '    GuardedPayloadType type;\n    std::cout << type.toBytes(fine, nullptr, 0) << "\\n";\n'
        ),
        (
            "    try {{\n        Guarded value = fine;\n        {change}\n        type.toBytes(value, nullptr, 0);\n"
            '    }} catch (const std::length_error& error) {{\n        std::cout << "length_error: " << error.what() << "\\n";\n'  # noqa: E501
            '    }} catch (const std::invalid_argument& error) {{\n        std::cout << "invalid_argument: " << error.what() '  # noqa: E501
            '<< "\\n";\n    }}\n'
        ),
        "    return 0;\n}\n",
    ),
    "java": (
        (
            "public final class Main {\n    private static Guarded fine() {\n        Guarded value = new Guarded();\n"
            '        value.bits = 4095;\n        value.mode = Guarded.Mode.LEFT;\n        value.name = "abcd";\n'
            "        return value;\n    }\n\n    public static void main(String[] arguments) {\n"
            "        Guarded.PayloadType type = new Guarded.PayloadType();\n        System.out.println(type.toBytes(fine()).length);\n"  # noqa: E501
        ),
        (
            "        try {{\n            Guarded value = fine();\n            {change}\n            type.toBytes(value);\n"
            "        }} catch (IllegalArgumentException error) {{\n            System.out.println(error.getMessage());\n        }}\n"  # noqa: E501
        ),
        "    }\n}\n",
    ),
}


@pytest.mark.parametrize("language", list(WRITERS))
def test_invalid_values_are_refused(language: str, tmp_path: Path) -> None:
    """One record that no reader accepts would fail every query that finds it."""
    if not has_tool(language):
        pytest.skip(f"{TOOLS[language]} is not installed")
    write(Guarded, language, tmp_path)
    start, each, end = WRITERS[language]
    source = start + "".join(each.format(change=change) for change, _ in WRITTEN[language]) + end
    main = tmp_path / {"c": "main.c", "c++": "main.cpp", "java": "Main.java"}[language]
    main.write_text(source)
    size = Guarded.layout.size
    if language == "java":
        interface = CLIENTS / "java/industries/atende/ts/driver/PayloadType.java"
        run(*JAVAC, "-d", "classes", interface, "Main.java", "Guarded.java", cwd=tmp_path)
        answers = run(*JAVA, "-cp", "classes", "Main", cwd=tmp_path).splitlines()
    else:
        compiler = (
            ("gcc", "-std=c99", f"-I{CLIENTS / 'c'}") if language == "c" else ("g++", "-std=c++14", f"-I{CLIENTS / 'cpp'}")
        )
        sanitized = [each for each in SANITIZED if "address" not in each] if language == "c" else SANITIZED
        run(*compiler, *STRICT, *sanitized, "-I.", main.name, "-o", "main", cwd=tmp_path)
        answers = run("./main", cwd=tmp_path).splitlines()
    first = f"1 {size}" if language == "c" else f"{size}"
    expected = [f"Guarded.{why} 1" if language == "c" else why for _, why in WRITTEN[language]]
    assert answers == [first, *expected]


def test_invalid_values_are_refused_by_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tstorage_client", types.ModuleType("tstorage_client"))
    monkeypatch.setitem(sys.modules, "tstorage_client.payload_type", tsmodel.client.payload_type)
    module = types.ModuleType("guarded")
    monkeypatch.setitem(sys.modules, "guarded", module)
    exec(compile(render(Guarded, "python"), "guarded", "exec"), module.__dict__)
    payload_type = module.GuardedPayloadType()

    def fine() -> Any:
        return module.Guarded(4095, module.Mode.LEFT, 0, "abcd", None, None, None)

    assert len(payload_type.to_bytes(fine())) == Guarded.layout.size
    for change, why in WRITTEN["python"]:
        value = fine()
        exec(change, {"value": value})
        with pytest.raises(ValueError, match=why):
            payload_type.to_bytes(value)


def injected(kind: str, name: str) -> Any:
    namespace: dict[str, Any] = {"__annotations__": {"x": ts.Int32}, "__module__": __name__}
    if kind == "member":
        namespace = {
            "__annotations__": {"x": ts.Enumerated[IntEnum("State", {name: 1})]},  # type: ignore[misc]
            "x": field(storage=ts.UInt8),
            "__module__": __name__,
        }
    return type(TSModel)(name if kind == "model" else "Made", (TSModel,), namespace)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", ["member", "model"])
@pytest.mark.parametrize("name", ["x\nint pwned = 1;", "\\u002a/", "a b", "*/", "1x"])
def test_names_that_are_not_identifiers_are_refused(kind: str, name: str, language: str) -> None:
    with pytest.raises(SchemaError, match="is not an identifier; rename it"):
        render(injected(kind, name), language)


@pytest.mark.parametrize("language", ["c", "c++"])
def test_non_ascii_names_are_refused(language: str) -> None:
    for kind in ("member", "model"):
        with pytest.raises(SchemaError, match="is not ASCII; rename it"):
            render(injected(kind, "Gr\u00f6sse"), language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_units_and_docs_are_comments(language: str) -> None:
    class Made(TSModel):
        volts: ts.Float32 = field(unit="V\n*/ int pwned;", doc="First.\nSecond \\u000a int pwned;")
        low: ts.Bits = field(bits=3, unit="dB")

    source = render(Made, language)
    lines = [line.strip() for line in source.splitlines()]
    mark = "#" if language == "python" else "//"
    assert f"{mark} First." in lines
    assert any(line.endswith(f"{mark} V */ int pwned;") for line in lines)
    assert any(line.endswith(f"{mark} 3 bits, dB") for line in lines)
    assert all(mark in line.partition("pwned")[0] for line in lines if "pwned" in line)


def test_namespace(tmp_path: Path) -> None:
    """Models named like the official client's types work in a program that imports its whole namespace."""
    if not has_tool("c++"):
        pytest.skip("g++ is not installed")
    names = ["PayloadType", "Record", "Key", "Channel"]
    for name in names:
        made = type(TSModel)(name, (TSModel,), {"__annotations__": {"x": ts.Int32}, "__module__": __name__})
        (tmp_path / f"{name}.hpp").write_text(render(made, "c++", namespace="acme::meters"))
    uses = "".join(
        f"    acme::meters::{name} {name.lower()};\n    if (acme::meters::{name}PayloadType().toBytes({name.lower()}, nullptr, 0) != 4) "  # noqa: E501
        "return 1;\n"
        for name in names
    )
    includes = "".join(f'#include "{name}.hpp"\n' for name in names)
    (tmp_path / "main.cpp").write_text(f"{includes}using namespace tstorage;\nint main() {{\n{uses}    return 0;\n}}\n")
    run("g++", "-std=c++14", *STRICT, "-I.", f"-I{CLIENTS / 'cpp'}", "main.cpp", "-o", "main", cwd=tmp_path)
    run("./main", cwd=tmp_path)


@pytest.mark.parametrize("namespace", ["", "a b", "a::", "class", "std", "a::EOF", "a::b { int x; }", "1a"])
def test_invalid_namespaces_are_refused(namespace: str) -> None:
    with pytest.raises(SchemaError, match="cannot be a namespace"):
        render(Meter, "c++", namespace=namespace)
    with pytest.raises(SchemaError, match="is only for C"):
        render(Meter, "c", namespace="acme")


def test_file_names() -> None:
    made = type(TSModel)("String", (TSModel,), {"__annotations__": {"x": ts.Int32}, "__module__": __name__})
    assert [file_name(Meter, language) for language in LANGUAGES] == [
        "Meter.h",
        "Meter.hpp",
        "Meter.java",
        "Meter.cs",
        "Meter.py",
    ]
    assert file_name(made, "java") == "String_.java"
    assert "public final class String_ {" in render(made, "java")


class Wide(IntEnum):
    SMALL = 1
    LARGE = 2**40


class Small(TSStruct):
    x: ts.UInt8


@pytest.mark.parametrize(
    ("annotation", "options", "language", "why"),
    [
        (ts.Text, {}, "c", "variable length, and generated C does not allocate memory; give it a size="),
        (ts.Blob, {"rest": True}, "c", "variable length"),
        (ts.Array[int], {"item": ts.UInt8}, "c", "give it a length="),
        (ts.Packed[dict[str, str]], {}, "c", "variable length"),
        (ts.Float16, {}, "c", "no 16-bit float"),
        (ts.Float16, {}, "c++", "no 16-bit float"),
        (ts.Float16, {}, "java", "no 16-bit float"),
        (ts.Array[float], {"item": ts.Float16, "length": 2}, "c++", "no 16-bit float"),
        (ts.Nullable[float], {"item": ts.Float16}, "java", "no 16-bit float"),
        (ts.Enumerated[Wide], {"storage": ts.Int64}, "c", "an enumerator in C must fit into int"),
    ],
)
def test_inexpressible_types_are_refused(annotation: Any, options: dict[str, Any], language: str, why: str) -> None:
    made: Any = type(TSModel)("Made", (TSModel,), {"__annotations__": {"x": annotation}, "x": field(**options)})
    with pytest.raises(SchemaError, match=r"Made.x cannot be expressed in ") as caught:
        render(made, language)
    assert why in str(caught.value)
    assert (caught.value.model, caught.value.field) == ("Made", "x")


def test_refusal_inside_structure_names_the_path() -> None:
    class Inner(TSStruct):
        half: ts.Float16

    class Made(TSModel):
        inner: ts.Nested[Inner]

    with pytest.raises(SchemaError, match=r"Made\.Inner\.half cannot be expressed in Java"):
        render(Made, "java")


def test_models_and_languages_without_code() -> None:
    class Message(TSModel, encoding="json"):
        x: ts.Int32

    class Abstract(TSModel, abstract=True):
        x: ts.Int32

    with pytest.raises(SchemaError, match="Message is stored as json, which libraries of any language read"):
        render(Message, "c")
    with pytest.raises(SchemaError, match="Abstract is abstract"):
        render(Abstract, "c")
    with pytest.raises(SchemaError, match=r"no code is generated for 'rust'; languages are c, c\+\+, java, c#, python"):
        render(Meter, "rust")


def test_types_with_same_name_are_refused() -> None:
    def another() -> type[TSStruct]:
        class Small(TSStruct):
            y: ts.UInt16

        return Small

    made: Any = type(TSModel)(
        "Made",
        (TSModel,),
        {"__annotations__": {"a": ts.Nested[Small], "b": ts.Nested[another()]}},  # type: ignore[misc]
    )
    with pytest.raises(SchemaError, match="two types are named Small; rename one"):
        render(made, "c++")


@pytest.mark.parametrize("language", list(TOOLS))
def test_reserved_names(language: str, tmp_path: Path) -> None:
    """Keywords, type names, and names used by the generated code."""
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


def test_enumeration_with_several_storages() -> None:
    source = render(Meter, "c#")
    assert "public enum State : short" in source, "the type must hold both UInt8 and Int16"


def test_languages() -> None:
    assert LANGUAGES == ("c", "c++", "java", "c#", "python")
    assert render(Meter, "cpp") == render(Meter, "C++")
    assert render(Meter, "csharp") == render(Meter, "c#")
    assert all(Meter.fingerprint in render(Meter, language) for language in LANGUAGES)


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> Done:
        return Done(main(["codegen", *arguments]), *capsys.readouterr())

    assert command("support.meter:Meter", "java").out == render(Meter, "java")
    assert command("support.meter:Meter", "c", "-o", "meter.h").status == 0
    assert (tmp_path / "meter.h").read_text() == render(Meter, "c")
    (tmp_path / "sources").mkdir()
    assert command("support.meter:Meter", "java", "-o", "sources").status == 0
    assert (tmp_path / "sources/Meter.java").read_text() == render(Meter, "java")
    spaced = command("support.meter:Meter", "c++", "--namespace", "acme::meters").out
    assert spaced == render(Meter, "c++", namespace="acme::meters")
    several = command("support.meter", "c")
    assert (several.status, several.out) == (2, "")
    assert "choose one of support.meter:Meter, support.meter:Letter" in several.err
    assert "does not allocate memory" in command("support.meter:Letter", "c").err
    assert "cannot be written" in command("support.meter:Meter", "c", "-o", "missing/meter.h").err


def named(name: str, kind: str) -> Any:
    """A model with an enumeration, flags or structure of this name."""
    annotation: Any
    if kind == "structure":
        annotation = ts.Nested[type(TSStruct)(name, (TSStruct,), {"__annotations__": {"x": ts.UInt8}})]  # type: ignore[misc]
    elif kind == "flags":
        annotation = ts.Flags[IntFlag(name, {"A": 1, "B": 2})]  # type: ignore[misc]
    else:
        annotation = ts.Enumerated[IntEnum(name, {"A": 1, "B": 2})]  # type: ignore[misc]
    options = {} if kind == "structure" else {"storage": ts.UInt8}
    return type(TSModel)(
        f"Of{kind.title()}{name.strip('_')}",
        (TSModel,),
        {"__annotations__": {"x": annotation}, "x": field(**options), "__module__": __name__},
    )


SCOPE = {
    "c": ["MeterRecord", "TSCLIENT_Record", "TSMODEL_REFUSED", "FILE", "Value"],
    "c++": ["PayloadType", "PayloadTypeValue"],
    "java": ["PayloadType", "In", "Out", "String", "IllegalArgumentException", "Override", "Float", "Double", "Optional"],
}
"""Names used by the generated file or its includes."""


@pytest.mark.parametrize("language", list(SCOPE))
def test_types_named_like_surrounding_code(language: str, tmp_path: Path) -> None:
    if not has_tool(language):
        pytest.skip(f"{TOOLS[language]} is not installed")
    made = [named(name, kind) for name in SCOPE[language] for kind in ("enumeration", "flags", "structure")]
    answers = program(language, made, tmp_path)([(at, b"\1") for at in range(len(made))])
    assert answers == ["ok 01"] * len(made)


def test_enumeration_named_like_cpp_base_class() -> None:
    """Inside its subclasses `PayloadType` always means the base class."""
    source = render(named("PayloadType", "enumeration"), "c++")
    assert "enum class PayloadType : std::int64_t {" in source
    assert "using PayloadTypeValue = PayloadType;" in source
    assert "static_cast<PayloadTypeValue>(" in source
    assert "static_cast<PayloadType>(" not in source


def test_enumerator_reserved_by_csharp() -> None:
    made = injected("member", "value__")
    assert "value___ = 1," in render(made, "c#")


CODE = [
    "*/ int pwned; /*",
    "V\n int pwned;",
    "V\r\n int pwned;",
    "V\u2028 int pwned;",
    "V\u2029 int pwned;",
    "V\x85 int pwned;",
    "V\x0b\x0c int pwned;",
    "\\u000a int pwned;",
    "\\\\u000a int pwned;",
    "\\u002a\\u002f int pwned;",
    "pwned \\",
    "pwned ??/",
    "pwned ??/ ",
    '""" \npwned()\n"""',
    "''' \npwned()",
    '"; pwned(); "',
    "%> pwned {% raw %} {{ pwned }} {# pwned #}",
    "\0 \x02\n pwned \x03\n",
    "\u202e pwned \u2066",
    "// pwned # pwned",
]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("text", CODE)
def test_units_and_docs_never_become_code(text: str, language: str) -> None:
    class Inner(TSStruct):
        x: ts.UInt8 = field(unit=text, doc=text)

    class Plain(TSModel):
        inner: ts.Nested[Inner] = field(doc="pwned")
        low: ts.Bits = field(bits=3, doc="pwned")
        maybe: ts.Nullable[int] = field(item=ts.Int16, doc="pwned")
        volts: ts.Float32 = field(doc="pwned")

    class Described(TSModel):
        inner: ts.Nested[Inner] = field(unit=text, doc=text)
        low: ts.Bits = field(bits=3, unit=text, doc=text)
        maybe: ts.Nullable[int] = field(item=ts.Int16, unit=text, doc=text)
        volts: ts.Float32 = field(unit=text, doc=text)

    mark = "#" if language == "python" else "//"

    def code(model: type[TSModel]) -> list[str]:
        """The lines without comments."""
        source = render(model, language).replace(model.__name__, "Made")
        lines = source.split("\n")
        assert not any(line.endswith(("\\", "??/")) for line in lines), "a trailing backslash would join two lines"
        assert source.isprintable() or set(filter(lambda each: not each.isprintable(), source)) <= {"\n"}
        kept = (line.partition(mark)[0].rstrip() for line in lines if not line.lstrip().startswith(("#ifndef", "#define")))
        return [line for line in kept if line]

    assert code(Described) == code(Plain)
    if language == "java":
        assert "\\u000a" not in render(Described, language).replace("\\\\", "")


def test_missing_jinja_has_install_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    rendering._environment.cache_clear()
    frames._known.pop("jinja2", None)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    try:
        with pytest.raises(MissingLibraryError, match=r"code in other languages needs jinja2: pip install .*\[codegen\]"):
            render(Meter, "c")
    finally:
        rendering._environment.cache_clear()
