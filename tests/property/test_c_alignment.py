"""`align="c"` places fields where a C compiler does, according to `offsetof` and `sizeof`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.budget import examples
from support.fields import Kind, declared

import tsmodel as ts
from tsmodel import TSModel, TSStruct
from tsmodel.errors import SchemaError

COMPILER = shutil.which("cc") or shutil.which("gcc")

NUMBERS: dict[Any, str] = {
    ts.Int8: "int8_t",
    ts.Int16: "int16_t",
    ts.Int32: "int32_t",
    ts.Int64: "int64_t",
    ts.UInt8: "uint8_t",
    ts.UInt16: "uint16_t",
    ts.UInt32: "uint32_t",
    ts.UInt64: "uint64_t",
    ts.Float32: "float",
    ts.Float64: "double",
    ts.Bool: "_Bool",
    ts.Timestamp: "int64_t",
    ts.DateTime: "int64_t",
    ts.Date: "int32_t",
    ts.Char: "unsigned char",
}
Member = tuple[Kind, str]
"""A field and its C declaration, with NAME in place of the name."""


def kind(annotation: Any, **options: Any) -> Kind:
    return Kind(annotation, options, st.nothing())


numbers = st.sampled_from(list(NUMBERS.items())).map(lambda pair: (kind(pair[0]), f"{pair[1]} NAME"))
arrays = st.tuples(st.sampled_from(list(NUMBERS.items())), st.integers(1, 5)).map(
    lambda made: (kind(ts.Array[Any], item=made[0][0], length=made[1]), f"{made[0][1]} NAME[{made[1]}]")
)
texts = st.integers(1, 9).map(lambda size: (kind(ts.Text, size=size), f"char NAME[{size}]"))
uuids = st.just((kind(ts.Uuid), "unsigned char NAME[16]"))
bits = st.tuples(st.sampled_from([ts.UInt8, ts.UInt16, ts.UInt32, ts.UInt64]), st.integers(1, 8)).map(
    lambda made: (kind(ts.Bits, storage=made[0], bits=made[1]), f"{NUMBERS[made[0]]} NAME : {made[1]}")
)
simple = numbers | arrays | texts | uuids


def in_c(members: list[Member]) -> str:
    return " ".join(f"{text.replace('NAME', f'f{at}')};" for at, (_, text) in enumerate(members))


@st.composite
def structures(draw: st.DrawFn) -> Member:
    inner = draw(st.lists(simple, min_size=1, max_size=3))
    made = declared(TSStruct, [each for each, _ in inner], align="c")
    return kind(ts.Nested[made]), f"struct {{ {in_c(inner)} }} NAME"


def offsets(structs: list[list[Member]], directory: Path) -> list[list[int]]:
    """Size of each struct, and the offsets of its members; bit-fields have none."""
    lines = ["#include <stddef.h>", "#include <stdint.h>", "#include <stdio.h>"]
    main = ["int main(void) {"]
    for number, members in enumerate(structs):
        lines.append(f"struct s{number} {{ {in_c(members)} }};")
        asked = [f"sizeof(struct s{number})"]
        asked += [f"offsetof(struct s{number}, f{at})" for at, (_, text) in enumerate(members) if " : " not in text]
        main += [f'printf("%zu ", (size_t){each});' for each in asked]
        main.append('printf("\\n");')
    source = directory / "offsets.c"
    source.write_text("\n".join([*lines, *main, "return 0; }"]))
    subprocess.run([str(COMPILER), str(source), "-o", str(directory / "offsets")], check=True)
    printed = subprocess.run([directory / "offsets"], capture_output=True, text=True, check=True).stdout
    return [list(map(int, line.split())) for line in printed.splitlines()]


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
@settings(max_examples=examples(4), deadline=None, suppress_health_check=list(HealthCheck))
@given(structs=st.lists(st.lists(simple | structures() | bits, min_size=1, max_size=6), min_size=60, max_size=60))
def test_offsets_match_the_compiler(structs: list[list[Member]], tmp_path_factory: pytest.TempPathFactory) -> None:
    accepted = []
    for members in structs:
        try:
            accepted.append((declared(TSModel, [each for each, _ in members], align="c"), members))
        except SchemaError as error:
            if "a C compiler puts" not in str(error) or not any(" : " in text for _, text in members):
                raise
    assert len(accepted) > len(structs) // 3
    found = offsets([members for _, members in accepted], tmp_path_factory.mktemp("c"))
    for (model, members), (size, *places) in zip(accepted, found, strict=True):
        layout = model.layout
        ours = [each.offset for each, (_, text) in zip(layout.fields, members, strict=True) if " : " not in text]
        assert (layout.size, ours) == (size, places), in_c(members)
        assert model.dtype.itemsize == size


def test_bit_fields_match_the_compiler(tmp_path: Path) -> None:
    if COMPILER is None:
        pytest.skip("there is no C compiler")
    model = declared(
        TSModel,
        [kind(ts.Bits, bits=3), kind(ts.Bits, bits=5), kind(ts.Bits, bits=7), kind(ts.Bits, bits=9, storage=ts.UInt16)],
        align="c",
    )
    source = tmp_path / "bits.c"
    source.write_text(
        "#include <stdint.h>\n#include <stdio.h>\n"
        "struct s { uint8_t a : 3; uint8_t b : 5; uint8_t c : 7; uint8_t pad : 1; uint16_t d : 9; };\n"
        "int main(void) { struct s s = {5, 17, 100, 0, 300}; fwrite(&s, sizeof s, 1, stdout); return 0; }\n"
    )
    subprocess.run([str(COMPILER), str(source), "-o", str(tmp_path / "bits")], check=True)
    payload = subprocess.run([tmp_path / "bits"], capture_output=True, check=True).stdout
    value = model.payload_type.from_bytes(payload)
    assert value is not None
    assert (value.f0, value.f1, value.f2, value.f3) == (5, 17, 100, 300)


def test_bit_field_packed_into_preceding_integer_is_refused() -> None:
    # A compiler puts bit 249 into the uint64_t at byte 24, not into the next whole one at byte 32.
    members = [kind(ts.Array[int], item=ts.UInt8, length=31), kind(ts.Bits, bits=1)]
    declared(TSModel, [*members, kind(ts.UInt64)], align="c")
    with pytest.raises(SchemaError, match="puts f2 into the bits that the bit-fields before it leave free"):
        declared(TSModel, [*members, kind(ts.Bits, bits=1, storage=ts.UInt64)], align="c")
